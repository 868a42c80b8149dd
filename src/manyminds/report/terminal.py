"""What the terminal shows of a run: the final table, and single answers as they change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from manyminds.records import PLAIN
from manyminds.report.read import measures
from manyminds.report.runs import Greedy, Measure, label
from manyminds.report.sentence import duration, tokens
from manyminds.report.table import rows
from manyminds.report.timing import Timing

Kind = Literal["complementary", "rescued", "forgotten"]

HIDDEN = ("all_right", "pooled_all_wrong")
"""Metrics that the page shows and the terminal leaves out."""


def final_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The final metrics of every arm, one column each, with 95 % bootstrap intervals over questions.

    `results` maps an arm's name to what its result.json holds: "metrics", and "sampled_tokens" and "seconds" if known.
    Raises UserError if a metric is not a number.
    """
    metrics = {arm: measures(result.get("metrics") or {}, arm) for arm, result in results.items()}
    table = Table(
        caption="Greedy accuracy in %, pass@k and groups from sampled answers; in brackets 95 % bootstrap intervals "
        "over questions, not over seeds.",
        caption_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("%", no_wrap=True)
    for arm in results:
        table.add_column(Text(label(arm)), justify="right")
    for row in rows(list(metrics.values())):
        if row.key not in HIDDEN:
            table.add_row(row.name, *(_cell(found.get(row.key)) for found in metrics.values()))
    spent = [result.get("sampled_tokens") for result in results.values()]
    took = [result.get("seconds") for result in results.values()]
    if any(n is not None for n in spent):
        table.add_row("sampled tokens", *("–" if n is None else tokens(n) for n in spent), style="dim")
    if any(s is not None for s in took):
        table.add_row("wall time", *("–" if s is None else duration(s) for s in took), style="dim")
    return table


def time_table(timing: Timing) -> Table:
    """Where a step's time went, a part a line: seconds, share of the step, tokens a second, share of the limit."""
    table = Table(
        caption=f"Means over {timing.steps} steps. Limit: the least time that the needed arithmetic takes at the "
        "machine's measured rates, as a share of the time taken.",
        caption_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("where the time went", no_wrap=True)
    for name in ("s a step", "% of step", "tokens/s", "% of limit"):
        table.add_column(name, justify="right")
    for line in timing.lines:
        speed = "" if line.tokens_per_s is None else f"{line.tokens_per_s:,.0f}"
        limit = "" if line.limit is None else f"{100 * line.limit:.0f}"
        numbers = (f"{line.seconds:.3f}", f"{100 * line.share:.1f}", speed, limit)
        table.add_row(f"  {line.name}" if line.inner else line.name, *numbers, style="dim" if line.inner else "")
    return table


def moment(
    kind: Kind,
    question: str,
    before: Mapping[str, Greedy],
    after: Mapping[str, Greedy],
    expert: str,
    *,
    answer: str = "",
) -> RenderableType:
    """One question worth a look, with answers by prompt.

    "complementary": what every prompt answers `before`; `expert` is the one that is right. "rescued" and "forgotten":
    the answer under `expert` before and after, and which other prompts were right before.
    """
    titles = {
        "complementary": ("bold", f"only {expert} knows this one"),
        "rescued": ("bold green", f"rescued: {expert} gets it now"),
        "forgotten": ("bold red", f"forgotten: {expert} knew this one"),
    }
    style, title = titles[kind]
    grid = Table.grid(padding=(0, 2))
    if kind == "complementary":
        for prompt, greedy in before.items():
            grid.add_row(Text(prompt, style="bold" if prompt == expert else ""), _said(greedy))
    else:
        for when, answers in (("before", before), ("after", after)):
            if expert in answers:
                grid.add_row(Text(when), _said(answers[expert]))
        knew = [p for p, g in before.items() if g.correct and p != expert and p != PLAIN]
        if kind == "rescued" and knew:
            grid.add_row(Text(""), Text(f"before, {' and '.join(knew)} knew it", style="dim"))
    heading = Text.assemble((question, "bold"), (f"   answer {answer}" if answer else "", "dim"))
    outer = Table.grid()
    outer.add_row(heading)
    outer.add_row(grid)
    return Panel(
        outer, title=Text(title, style=style), title_align="left", border_style=style.split()[-1], expand=False
    )


def _said(greedy: Greedy) -> Text:
    """An answer with its verdict as a symbol and a colour; its text is never read as markup."""
    mark, colour = ("✓", "green") if greedy.correct else ("✗", "red")
    text = " ".join(greedy.text.split())
    shown = text if len(text) <= 100 else text[:70] + " … " + text[-27:]
    return Text.assemble((f"{mark} ", colour), shown, (f"  {greedy.style}" if greedy.style else "", "dim"))


def _cell(measure: Measure | None) -> Text:
    if measure is None:
        return Text("–")
    value = f"{100 * measure.value:.1f}"
    if measure.low is None or measure.high is None:
        return Text(value)
    return Text.assemble(value, (f" [{100 * measure.low:.0f}, {100 * measure.high:.0f}]", "dim"))
