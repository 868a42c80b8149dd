"""Builds `report.html`: one file that needs nothing else, from a run folder or a folder of run folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from manyminds.report import figures, findings
from manyminds.report.read import load
from manyminds.report.runs import Arm, Evaluation, Measure, Runs
from manyminds.report.sentence import cost, duration, interval, main_difference, percent, points, sentence, tokens

HERE = Path(__file__).parent

METRICS: tuple[tuple[str, str, str], ...] = (
    ("plain", "plain", "the question alone, no system prompt"),
    ("mean", "mean", "average over the expert prompts"),
    ("worst", "worst", "the weakest expert prompt"),
    ("best", "best", "the expert prompt that was best on validation"),
    ("vote", "vote", "majority of the experts' answers"),
    ("oracle", "oracle", "at least one expert is right"),
    ("pass_at_8", "pass@8", "one of 8 sampled answers is right, per expert"),
    ("pooled_pass_at_24", "pooled pass@24", "one of 24 is right, 8 from each of 3 experts"),
    ("all_wrong", "all wrong", "groups without a right answer: nothing to learn from"),
    ("all_right", "all right", "groups without a wrong answer: nothing left to learn"),
    ("pooled_all_wrong", "pooled all wrong", "questions that no sampled answer of any expert gets right"),
)
LOWER_IS_BETTER = frozenset({"all_wrong", "pooled_all_wrong"})


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
    environment.filters |= {"percent": percent, "points": points, "tokens": tokens, "duration": duration}
    environment.globals["hue"] = _hue(runs.experts)
    template = environment.get_template("template.html.jinja")
    return template.render(
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),  # our own file, not a user's text
        runs=runs,
        main=runs.main,
        baseline=runs.baseline,
        sentence=sentence(runs),
        costs=[(arm.label, cost(arm)) for arm in runs.arms if cost(arm)],
        rows=_rows(runs),
        strip=_strip(runs, ablation),
        ablation=ablation,
        turnovers=_turnovers(runs),
        questions=_questions(runs),
        columns=_columns(runs),
        stages=_stages(runs),
        families=[(s, *findings.families(s.evaluation)) for s in _stages(runs)],
        overlaps=[(s, findings.overlap(s.evaluation)) for s in _stages(runs)],
        pairs=[(arm, found) for arm in runs.trained if (found := findings.pairs(arm)) is not None],
        **_curves(runs),
    )


def _hue(experts: Sequence[str]) -> Callable[[str], str]:
    """Names the CSS variable of a prompt's fixed colour."""

    def hue(prompt: str) -> str:
        if prompt not in experts:
            return "var(--plain)"
        return f"var(--expert-{experts.index(prompt) % figures.EXPERTS})"

    return hue


def _rows(runs: Runs) -> list[dict[str, Any]]:
    """One row a metric: its measure in every arm, and the main arm minus the baseline."""
    rows = []
    for key, name, meaning in METRICS:
        cells = [arm.metrics.get(key) for arm in runs.arms]
        if not any(cells):
            continue
        gap = None
        if runs.main is not None and runs.baseline is not None:
            gap = findings.gap(runs.main.metrics, runs.baseline.metrics, key)
        better = 0 if gap is None or abs(gap) < 0.0005 else (1 if (gap > 0) != (key in LOWER_IS_BETTER) else -1)
        rows.append(
            {
                "name": name,
                "meaning": meaning,
                "cells": [_cell(m) for m in cells],
                "difference": None if gap is None else points(gap),
                "better": 0 if key == "all_right" else better,
                "interval": interval(main_difference(runs) or Measure(0.0)) if key == "mean" else "",
                "group": key in ("all_wrong", "all_right", "pooled_all_wrong"),
            }
        )
    return rows


def _cell(measure: Measure | None) -> dict[str, Any] | None:
    if measure is None or math.isnan(measure.value):
        return None
    span = ""
    if measure.low is not None and measure.high is not None:
        span = f"{100 * measure.low:.1f} – {100 * measure.high:.1f}"
    return {"value": f"{100 * measure.value:.1f}", "interval": span}


def _strip(runs: Runs, ablation: Mapping[str, Any] | None) -> Markup | None:
    if ablation is None or not ablation.get("differences"):
        return None
    own = None
    if runs.main is not None and runs.baseline is not None:
        own = findings.gap(runs.main.metrics, runs.baseline.metrics, str(ablation["outcome"]))
        own = own if own is not None else findings.gap(runs.main.metrics, runs.baseline.metrics, "mean")
    return Markup(
        figures.strip(
            [float(x) for x in ablation["differences"]],
            float(ablation["difference"]),
            float(ablation["low"]),
            float(ablation["high"]),
            None if own is None else 100 * own,
            str(ablation["outcome"]),
        )
    )


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
    return [stage for stage in stages if stage.evaluation.answers or stage.evaluation.metrics]


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
