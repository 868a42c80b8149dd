"""The figures of the report, one function each, as SVG text that takes its colours and font from the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from manyminds.records import PLAIN
from manyminds.report.drawing import ACCENT, EXPERTS, INK, MUTED, PAGE, PLAIN_INK, WIDTH, canvas, heading, inline
from manyminds.report.exploration import Exploration
from manyminds.report.findings import rolling
from manyminds.report.runs import Arm, Measure
from manyminds.report.timing import Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "solid",
    (0, (6, 2)),
    (0, (1.5, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (3, 3)),
    (0, (8, 2, 2, 2, 2, 2)),
)
UNKNOWN = ("other", "none")
PART_INKS = {
    "prefill": (ACCENT, 0.55),
    "decode": (ACCENT, 1.0),
    "checks": (MUTED, 0.4),
    "logprobs": (PLAIN_INK, 0.65),
    "backward": (PLAIN_INK, 1.0),
    "optimizer": (PLAIN_INK, 0.5),
    "sync": (MUTED, 0.55),
    "other": (MUTED, 0.25),
}
"""Colour and opacity of each part of a step: sampling in colour, the update in strong greys, the rest in faint ones."""


def colour(prompt: str, experts: Sequence[str]) -> str:
    """The marker colour of a prompt: an expert's by its place in `experts`; dark grey for plain, ink for the rest."""
    if prompt not in experts:
        return PLAIN_INK if prompt == PLAIN else INK
    return f"#0100{experts.index(prompt) % EXPERTS:02x}"


def accuracy(arms: Sequence[Arm], experts: Sequence[str]) -> str:
    """Validation accuracy of every prompt over training, one panel an arm, one y-axis."""
    figure, panels = canvas(1, len(arms), height=300)
    for axes, arm in zip(panels[0], arms, strict=True):
        lines = {}
        for prompt in (*experts, PLAIN):
            key = PLAIN if prompt == PLAIN else f"experts/{prompt}"
            seen = [(e.step, e.metrics[key].value) for e in arm.evaluations if key in e.metrics]
            if seen:
                lines[prompt] = ([s for s, _ in seen], [100 * v for _, v in seen])
        axes.set_ylim(0, 100)
        _draw_lines(axes, lines, experts, 300, marker="o")
        heading(axes, "Warm-up" if arm.is_warmup else arm.label)
        axes.set_xlabel("warm-up step" if arm.is_warmup else "update")
    panels[0][0].set_ylabel("accuracy, %")
    return inline(figure, "accuracy")


def groups(arms: Sequence[Arm], experts: Sequence[str]) -> str:
    """Shares of groups all wrong (top) and all right (below) over training, by prompt and pooled; one column an arm."""
    figure, panels = canvas(2, len(arms), height=480)
    for row, word in enumerate(("wrong", "right")):
        drawn = [_group_lines(arm, experts, word) for arm in arms]
        top = max((v for lines in drawn for _, values in lines.values() for v in values if v == v), default=100.0)
        for axes, arm, lines in zip(panels[row], arms, drawn, strict=True):
            axes.set_ylim(0, min(100.0, 10.0 * math.ceil(top / 10 + 0.4)))
            _draw_lines(axes, lines, experts, 240)
            if row == 0:
                heading(axes, arm.label)
            else:
                axes.set_xlabel("update")
        panels[row][0].set_ylabel(f"groups all {word}, %")
    return inline(figure, "groups")


def _group_lines(arm: Arm, experts: Sequence[str], word: str) -> dict[str, tuple[list[int], list[float]]]:
    """The smoothed shares (%) of groups all `word` ("wrong" or "right"), per expert, and over all experts."""
    together = [("pooled", f"groups/pooled_all_{word}")]
    if not arm.has(together[0][1]):
        together = [("all groups", f"groups/all_{word}")]
    window = max(1, len(arm.steps) // 16)
    lines = {}
    for name, key in [*((p, f"experts/{p}/frac_all_{word}") for p in (*experts, PLAIN)), *together]:
        steps, values = arm.series(key)
        if steps:
            lines[name] = (steps, [100 * v for v in rolling(values, window)])
    return lines


def pass_curves(found: Exploration, experts: Sequence[str], name: str) -> str:
    """pass@k against k, one panel a model, one y-axis: every prompt, their mean, and all together."""
    figure, panels = canvas(1, len(found.models), height=300, width=WIDTH if len(found.models) > 1 else 0.62 * WIDTH)
    places = list(range(len(found.points)))
    for axes, model in zip(panels[0], found.models, strict=True):
        lines = {
            prompt: (places, [100 * model.curves[prompt][k].value for k in found.points]) for prompt in found.curves
        }
        axes.set_ylim(0, 100)
        _draw_lines(axes, lines, experts, 300, marker="o")
        heading(axes, model.name)
        axes.set_xticks(places, [str(k) for k in found.points])
        axes.set_xlabel("k, answers")
    panels[0][0].set_ylabel("pass@k, %")
    return inline(figure, name)


def buffer(arms: Sequence[Arm]) -> str:
    """Questions waiting in the hard-example buffer over training; a triangle where it was full and was learnt from."""
    figure, panels = canvas(1, len(arms), height=200, width=WIDTH if len(arms) > 1 else 0.62 * WIDTH)
    for axes, arm in zip(panels[0], arms, strict=True):
        steps, sizes = arm.series("hard_buffer/size")
        axes.fill_between(steps, sizes, step="post", color=ACCENT, alpha=0.15, linewidth=0)
        axes.step(steps, sizes, where="post", color=ACCENT, linewidth=1.4)
        flushed = [step for step, flag in zip(*arm.series("hard_buffer/flushes"), strict=True) if flag > 0]
        top = max(sizes, default=1) * 1.12 or 1
        axes.plot(flushed, [top] * len(flushed), linestyle="none", marker="v", color=INK, markersize=6, clip_on=False)
        axes.set_ylim(0, top)
        if len(arms) > 1:
            heading(axes, arm.label)
        axes.set_xlabel("update")
    panels[0][0].set_ylabel("questions in the buffer")
    return inline(figure, "buffer")


def style_use(
    stages: Sequence[tuple[str, Mapping[str, Mapping[str, float]]]], experts: Sequence[str], names: Sequence[str]
) -> str:
    """Share of each style in each prompt's answers as stacked bars, one panel a stage (before, after each arm)."""
    prompts = [p for p in (PLAIN, *experts) if any(p in used for _, used in stages)]
    figure, panels = canvas(1, len(stages), height=70 + 34 * len(prompts))
    for axes, (title, used) in zip(panels[0], stages, strict=True):
        for row, prompt in enumerate(prompts):
            left = 0.0
            for k, style in enumerate(names):
                share = 100 * used.get(prompt, {}).get(style, 0.0)
                fill = f"#0100{(len(experts) + k) % EXPERTS:02x}" if style not in (*experts, *UNKNOWN) else ""
                fill = fill or (MUTED if style in UNKNOWN else colour(style, experts))
                axes.barh(row, share, left=left, height=0.72, color=fill, linewidth=0)
                if share >= 12:
                    size = f"{share:.0f}" if share < 40 else f"{style} {share:.0f}"
                    axes.text(left + share / 2, row, size, ha="center", va="center", color=PAGE, fontsize=11)
                left += share
        heading(axes, title)
        axes.set_xlim(0, 100)
        axes.set_ylim(len(prompts) - 0.5, -0.5)
        axes.set_yticks(range(len(prompts)), prompts)
        axes.grid(False)
        axes.set_xlabel("share of answers, %")
    for tick, prompt in zip(panels[0][0].get_yticklabels(), prompts, strict=True):
        tick.set_color(colour(prompt, experts))
    return inline(figure, "styles")


def parts(timings: Sequence[Timing]) -> str:
    """Mean seconds of a step as stacked bars by part, one bar an arm; a part's name and share (%) where it fits."""
    longest = max(timing.total for timing in timings) or 1.0
    figure, panels = canvas(1, 1, height=64 + 46 * len(timings))
    axes = panels[0][0]
    for row, timing in enumerate(timings):
        left = 0.0
        for part, seconds in timing.seconds.items():
            ink, opacity = PART_INKS[part]
            axes.barh(row, seconds, left=left, height=0.66, color=ink, alpha=opacity, linewidth=0)
            text = f"{part} {100 * seconds / timing.total:.0f}" if seconds else ""
            if seconds / longest * WIDTH > 9 * len(text):
                over = INK if opacity < 0.5 else PAGE
                axes.text(left + seconds / 2, row, text, ha="center", va="center", color=over, fontsize=11.5)
            left += seconds
    axes.set_xlim(0, longest)
    axes.set_ylim(len(timings) - 0.5, -0.5)
    axes.set_yticks(range(len(timings)), [timing.label for timing in timings])
    axes.grid(False)
    axes.set_xlabel("seconds of a step, mean")
    return inline(figure, "parts")


def strip(differences: Sequence[float], mean: Measure, own: float | None, outcome: str) -> str:
    """Differences by seed (points) as dots, their mean and its interval, and this run's own as a diamond."""
    figure, panels = canvas(1, 1, height=300, width=340)
    axes = panels[0][0]
    for i, value in enumerate(sorted(differences)):
        # a fixed zig-zag keeps equal values apart; where a dot stands from left to right means nothing
        axes.plot(0.0 + 0.16 * ((i % 3) - 1), value, "o", color=ACCENT, markersize=8, alpha=0.6, markeredgewidth=0)
    if mean.low is not None and mean.high is not None:
        axes.plot([0.55, 0.55], [mean.low, mean.high], color=INK, linewidth=2)
    axes.plot(0.55, mean.value, "_", color=INK, markersize=16, markeredgewidth=2)
    axes.axhline(0, color=MUTED, linewidth=1)
    ticks, names = [0.0, 0.55], ["seeds" if len(differences) > 1 else "seed", "mean"]
    if own is not None:
        axes.plot(1.1, own, "D", color=INK, markersize=9, markerfacecolor="none", markeredgewidth=1.8)
        ticks, names = [*ticks, 1.1], [*names, "this run"]
    axes.set_xlim(-0.4, 1.5 if own is not None else 0.95)
    axes.set_xticks(ticks, names)
    axes.margins(y=0.12)
    axes.grid(False, axis="x")
    axes.spines["bottom"].set_visible(False)  # the line that counts is zero's
    axes.set_ylabel(f"difference in {outcome}, points")
    return inline(figure, "strip")


def _draw_lines(
    axes: Axes,
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    experts: Sequence[str],
    panel_height: float,
    marker: str = "",
) -> None:
    """One line a prompt, each with its own dash, and its name at its right end, names kept apart."""
    ends: list[tuple[float, str]] = []
    for name, (steps, values) in lines.items():
        own = name in experts
        axes.plot(
            steps,
            values,
            color=colour(name, experts),
            linestyle=DASHES[experts.index(name) % len(DASHES)] if own else "solid",
            linewidth=1.8 if own else 2.6,
            marker=marker if len(steps) < 40 else "",
            markersize=3.5,
        )
        last = next((v for v in reversed(values) if not math.isnan(v)), None)
        if last is not None:
            ends.append((last, name))
    right = max((steps[-1] for steps, _ in lines.values()), default=1)
    ends.sort()
    # a name needs 15 px; how many units of the axis that is depends on how tall the panel is drawn
    least = 15 * (axes.get_ylim()[1] - axes.get_ylim()[0]) / (0.7 * panel_height)
    for (_, name), height in zip(ends, _apart([height for height, _ in ends], least), strict=True):
        axes.annotate(
            name,
            (right, height),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=colour(name, experts),
            fontsize=11.5,
            annotation_clip=False,
        )


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights moved as little as keeps neighbours `least` apart: crowded ones spread about their middle."""
    crowds: list[list[float]] = []  # of each crowd: where its lowest stands, and how many it holds
    for height in heights:
        crowds.append([height, 1.0])
        while len(crowds) > 1 and crowds[-2][0] + crowds[-2][1] * least > crowds[-1][0]:
            (low, n), (other, m) = crowds[-2:]
            crowds[-2:] = [[(n * low + m * (other - n * least)) / (n + m), n + m]]
    return [low + i * least for low, n in crowds for i in range(int(n))]
