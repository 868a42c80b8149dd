"""Builds `report.html`: one file that needs nothing else, from a run folder or a folder of run folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from manyminds.report import drawing, figures, findings, table
from manyminds.report.exploration import Exploration
from manyminds.report.read import load
from manyminds.report.runs import Arm, Evaluation, Measure, Runs
from manyminds.report.sentence import duration, interval, main_difference, points, sentence, tokens
from manyminds.report.timing import timing

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Stage:
    """A moment at which all prompts were evaluated: before training, or after one arm."""

    title: str
    evaluation: Evaluation


def build(folder: Path, out: Path | None = None, *, ablation: Mapping[str, Any] | None = None) -> Path:
    """Write the report of `folder` to `out` (default: report.html inside it) and return its path.

    `ablation` is the committed ablation's primary outcome, {"outcome", "differences", "difference", "low", "high",
    "seeds"} in percentage points; with it, this run stands beside the distribution over seeds.
    UserError where `folder` holds no run, or matplotlib is missing.
    """
    folder = Path(folder)
    page = render(load(folder), ablation)
    path = Path(out) if out is not None else folder / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def render(runs: Runs, ablation: Mapping[str, Any] | None = None) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["hue"] = _hue(runs.experts)
    template = environment.get_template("template.html.jinja")
    timings = [its for arm in runs.trained if (its := timing(arm)) is not None]
    answered = [stage for stage in _stages(runs) if stage.evaluation.answers]
    return template.render(
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),  # our own file, not a user's text
        runs=runs,
        main=runs.main,
        reference=runs.reference,
        sentence=sentence(runs),
        rows=_rows(runs),
        costs=_costs(runs),
        strip=_strip(runs, ablation),
        ablation=ablation,
        turnovers=_turnovers(runs),
        questions=_questions(runs),
        columns=_columns(runs),
        families=[(s, *known) for s in answered if (known := findings.families(s.evaluation))[0]],
        overlaps=[(s, findings.overlap(s.evaluation)) for s in answered],
        pairs=[(arm, found) for arm in runs.trained if (found := findings.pairs(arm)) is not None],
        timings=timings,
        parts=Markup(figures.parts(timings)) if timings else None,
        inks={part: _ink(part) for part in figures.PART_INKS},
        explorations=_explorations(runs),
        **_curves(runs),
    )


def _hue(experts: Sequence[str]) -> Callable[[str], str]:
    """Names the CSS variable of a prompt's fixed colour."""

    def hue(prompt: str) -> str:
        if prompt not in experts:
            return "var(--plain)"
        return f"var(--expert-{experts.index(prompt) % drawing.EXPERTS})"

    return hue


def _ink(part: str) -> str:
    """The colour of a part of a step, as the figure has it."""
    marker, opacity = figures.PART_INKS[part]
    return f"color-mix(in srgb, var(--{drawing.MARKED[marker]}) {100 * opacity:.0f}%, var(--page))"


def _rows(runs: Runs) -> list[dict[str, Any]]:
    """One row a metric: its measure in every arm, and the main arm minus what it is compared with."""
    shown = []
    for row in table.rows([arm.metrics for arm in runs.columns]):
        gap = main_difference(runs, row.key)
        shown.append(
            {
                "name": row.name,
                "meaning": row.meaning,
                "cells": [_cell(arm.metrics.get(row.key)) for arm in runs.columns],
                "difference": "–" if gap is None else points(gap.value),
                "interval": "" if gap is None else interval(gap),
                "verdict": "" if gap is None else _verdict(gap),
                "group": row.group,
            }
        )
    return shown


def _verdict(gap: Measure) -> str:
    """Colour only what is clear of zero."""
    if gap.low is not None and gap.low > 0:
        return "better"
    return "worse" if gap.high is not None and gap.high < 0 else ""


def _costs(runs: Runs) -> list[tuple[str, list[str]]]:
    """The rows of the table that say what each arm cost."""
    spent = [arm.result.sampled_tokens if arm.result else None for arm in runs.columns]
    took = [arm.result.seconds if arm.result else None for arm in runs.columns]
    rows = [
        ("sampled tokens", ["–" if n is None else tokens(n) for n in spent]),
        ("wall time", ["–" if s is None else duration(s) for s in took]),
    ]
    return [(name, cells) for name, cells in rows if set(cells) != {"–"}]


def _cell(measure: Measure | None) -> dict[str, Any] | None:
    if measure is None or math.isnan(measure.value):
        return None
    span = ""
    if measure.low is not None and measure.high is not None:
        span = f"{100 * measure.low:.1f} – {100 * measure.high:.1f}"
    return {"value": f"{100 * measure.value:.1f}", "interval": span}


def _strip(runs: Runs, ablation: Mapping[str, Any] | None) -> Markup | None:
    """The committed ablation beside this run's own difference; nothing where there is none to set beside it."""
    if ablation is None or not ablation.get("differences") or runs.main is None or runs.baseline is None:
        return None
    own = findings.gap(runs.main.metrics, runs.baseline.metrics, str(ablation["outcome"]))
    own = None if own is None else 100 * own
    over_seeds = Measure(float(ablation["difference"]), ablation.get("low"), ablation.get("high"))
    return Markup(figures.strip(ablation["differences"], over_seeds, own, str(ablation["outcome"])))


def _turnovers(runs: Runs) -> list[tuple[Arm, tuple[findings.Turnover, ...]]]:
    found = [
        (arm, findings.turnover(arm.before, arm.after))
        for arm in runs.trained
        if arm.before is not None and arm.after is not None
    ]
    return [(arm, rows) for arm, rows in found if rows]


def _questions(runs: Runs) -> tuple[findings.Comparison, ...]:
    main = runs.main
    if main is None or main.before is None or main.after is None:
        return ()
    return findings.twelve(main.before, main.after)


def _columns(runs: Runs) -> list[tuple[str, Mapping[str, Any]]]:
    """The answers shown beside one another: before, after the baseline, after the main arm; each by question id."""
    if runs.main is None or runs.main.before is None:
        return []
    shown = [("before RL", runs.main.before)]
    shown += [(f"after {arm.label}", arm.after) for arm in (runs.baseline, runs.main) if arm and arm.after is not None]
    return [(title, {a.id: a for a in evaluation.answers}) for title, evaluation in shown]


def _stages(runs: Runs) -> list[Stage]:
    """Before training, then after every arm; the warm-up's own end where nothing was trained from it."""
    main, warmup = runs.main, runs.warmup
    start = main.before if main is not None else None
    start = start or (warmup.after if warmup is not None else None)
    stages = [Stage("before RL", start)] if start is not None else []
    stages += [Stage(f"after {arm.label}", arm.after) for arm in runs.trained if arm.after is not None]
    return stages


def _explorations(runs: Runs) -> list[tuple[Arm, Exploration, Markup]]:
    """The analyses saved in the runs' folders, each with its figure of pass@k."""
    found = [(arm, one) for arm in runs.arms for one in arm.explorations]
    return [
        (arm, one, Markup(figures.pass_curves(one, runs.experts, f"pass-{i}"))) for i, (arm, one) in enumerate(found)
    ]


def _curves(runs: Runs) -> dict[str, Markup | None]:
    """The figures over training and of styles; None where the runs hold nothing to draw."""
    experts = runs.experts
    curves = [arm for arm in runs.arms if arm.evaluations]
    grouped = [arm for arm in runs.trained if arm.has("groups/") or any(arm.has(f"experts/{e}/") for e in experts)]
    buffered = [arm for arm in runs.trained if arm.has("hard_buffer/size")]
    used = [(stage.title, findings.styles(stage.evaluation)) for stage in _stages(runs)]
    used = [(title, by_prompt) for title, by_prompt in used if by_prompt]
    seen = {name for _, by_prompt in used for shares in by_prompt.values() for name in shares}
    names = [*(e for e in experts if e in seen), *sorted(seen - set(experts))]
    return {
        "accuracy": Markup(figures.accuracy(curves, experts)) if curves else None,
        "groups": Markup(figures.groups(grouped, experts)) if grouped else None,
        "buffer": Markup(figures.buffer(buffered)) if buffered else None,
        "styles": Markup(figures.style_use(used, experts, names)) if used else None,
    }
