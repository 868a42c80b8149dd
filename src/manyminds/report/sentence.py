"""The one sentence that says what happened: also when it did not work, and what it cost."""

from __future__ import annotations

import math

from manyminds.report.findings import difference, turnover
from manyminds.report.runs import Arm, Evaluation, Measure, Runs

NOTICEABLE = 0.02
"""A fall of the oracle, or a difference of budgets (as a ratio), that the sentence does not pass over."""


def sentence(runs: Runs) -> str:
    """One sentence on the main arm of `runs`, against the baseline where there is one."""
    main = runs.main
    if main is None:
        return _warmup_only(runs)
    if "mean" not in main.metrics:
        return _unfinished(main)
    return f"{_verdict(runs, main)}; {_price(runs, main)}."


def percent(share: float) -> str:
    """A share as people read it: 0.719 is 71.9 %."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def points(share: float, sign: bool = True) -> str:
    """A difference of shares in percentage points, with a true minus sign: 0.145 is +14.5."""
    text = f"{100 * share:+.1f}" if sign else f"{100 * share:.1f}"
    return text.replace("-", "\u2212")


def interval(measure: Measure) -> str:
    """The interval of a difference in points, such as [+10.3, +18.7]; empty where there is none."""
    if measure.low is None or measure.high is None:
        return ""
    return f"[{points(measure.low)}, {points(measure.high)}]"


def tokens(count: float) -> str:
    """A number of tokens in three digits: 1.21 M, 312 k."""
    if count >= 999_500:
        return f"{count / 1e6:.2f} M"
    return f"{count / 1e3:.0f} k" if count >= 10_000 else f"{count:.0f}"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 2 min 12 s or 3 h 05 min."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def cost(arm: Arm) -> str:
    """Sampled tokens and wall time of a finished run; empty where neither was recorded."""
    if arm.result is None:
        return ""
    parts = []
    if arm.result.sampled_tokens is not None:
        parts.append(f"{tokens(arm.result.sampled_tokens)} sampled tokens")
    if arm.result.seconds is not None:
        parts.append(duration(arm.result.seconds))
    return " and ".join(parts)


def main_difference(runs: Runs) -> Measure | None:
    """The mean over expert prompts, main arm minus baseline, with a paired interval where the answers are there."""
    main, baseline = runs.main, runs.baseline
    if main is None or baseline is None or "mean" not in main.metrics or "mean" not in baseline.metrics:
        return None
    if main.after is not None and baseline.after is not None:
        found = difference(main.after, baseline.after, main.after.experts)
        if found is not None:
            return found
    return Measure(main.metrics["mean"].value - baseline.metrics["mean"].value)


def _verdict(runs: Runs, main: Arm) -> str:
    over = _on_what(main.after)
    now = main.metrics["mean"].value
    start = main.before.metrics.get("mean") if main.before is not None else None
    moved = f"went from {percent(start.value)} to {percent(now)}" if start is not None else f"ended at {percent(now)}"
    gap = main_difference(runs)
    if gap is None or runs.baseline is None:
        change = _own_change(main)
        by = f", {points(change.value)} points {interval(change)}".rstrip() if change is not None else ""
        return f"{_opening(main.label, change)}: {over}accuracy {moved}{by}"
    theirs = f"{runs.baseline.label} ({percent(runs.baseline.metrics['mean'].value)})"
    size = f"{points(gap.value)} points {interval(gap)}".rstrip()
    return f"{_opening(main.label, gap)}: {over}accuracy {moved}, which is {size} against {theirs}"


def _own_change(main: Arm) -> Measure | None:
    if main.before is None or main.after is None:
        return None
    return difference(main.after, main.before, main.after.experts)


def _opening(name: str, gap: Measure | None) -> str:
    """Says whether it worked; only an interval clear of zero is called an effect."""
    if gap is None or gap.low is None or gap.high is None:
        return name
    if gap.low > 0:
        return f"{name} worked here"
    return f"{name} did harm here" if gap.high < 0 else f"{name} made no clear difference here"


def _on_what(evaluation: Evaluation | None) -> str:
    """ "on 300 test questions, averaged over the 3 expert prompts, " as far as it is known."""
    if evaluation is None:
        return "averaged over the expert prompts, "
    n = len(evaluation.experts)
    averaged = f"averaged over the {n} expert prompts, " if n > 1 else ""
    return f"on {evaluation.questions} {evaluation.split or 'held-out'} questions, {averaged}"


def _price(runs: Runs, main: Arm) -> str:
    """What was gained and lost in single answers, what the experts together lost, and tokens and time."""
    parts = []
    if main.before is not None and main.after is not None and main.before.answers and main.after.answers:
        rows = turnover(main.before, main.after)
        parts.append(f"it rescued {sum(r.rescued for r in rows)} answers and forgot {sum(r.forgotten for r in rows)}")
        then, now = main.before.metrics.get("oracle"), main.metrics.get("oracle")
        if then is not None and now is not None and then.value - now.value > NOTICEABLE:
            fell = f"from {percent(then.value)} to {percent(now.value)}"
            parts.append(f"what at least one expert knows (the oracle) fell {fell}")
    if paid := cost(main):
        parts.append(f"it cost {paid}{_against(runs.baseline)}{_unequal(main, runs.baseline)}")
    return "; ".join(parts) if parts else "its cost was not recorded"


def _against(baseline: Arm | None) -> str:
    paid = cost(baseline) if baseline is not None else ""
    return f" ({baseline.label}: {paid})" if baseline is not None and paid else ""


def _unequal(main: Arm, baseline: Arm | None) -> str:
    ours = main.result.sampled_tokens if main.result is not None else None
    theirs = baseline.result.sampled_tokens if baseline is not None and baseline.result is not None else None
    if not ours or not theirs or abs(ours / theirs - 1) <= NOTICEABLE:
        return ""
    return ", so the budgets are not equal"


def _unfinished(main: Arm) -> str:
    if not main.steps:
        return f"{main.label} has not taken a step yet."
    text = f"{main.label} is not finished: {main.steps[-1].step} steps are recorded"
    seen = [e for e in main.evaluations if "mean" in e.metrics]
    if seen:
        first, last = seen[0], seen[-1]
        text += f", and on validation the mean over the expert prompts is {percent(last.metrics['mean'].value)}"
        text += f" (at step {first.step}: {percent(first.metrics['mean'].value)})" if first is not last else ""
    return text + "."


def _warmup_only(runs: Runs) -> str:
    warmup = runs.warmup
    if warmup is None or "mean" not in warmup.metrics:
        return "The warm-up is not finished, and no reinforcement learning has been run in this folder yet."
    over = _on_what(warmup.after)
    mean = percent(warmup.metrics["mean"].value)
    paid = f" after {duration(warmup.result.seconds)}" if warmup.result and warmup.result.seconds is not None else ""
    return f"After warm-up, {over}accuracy is {mean}{paid}; no reinforcement learning has been run in this folder yet."
