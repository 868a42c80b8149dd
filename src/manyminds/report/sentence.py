"""The one sentence that says what happened: also when it did not work, and what it cost."""

from __future__ import annotations

import math

from manyminds.report.findings import difference, gap, turnover
from manyminds.report.runs import Arm, Evaluation, Measure, Runs

GLUE = "\u00a0"
"""A space that does not break, between a number and its unit."""

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
    return "–" if math.isnan(share) else f"{100 * share:.1f}{GLUE}%"


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
        return f"{count / 1e6:.2f}{GLUE}M"
    return f"{count / 1e3:.0f}{GLUE}k" if count >= 10_000 else f"{count:.0f}"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 2 min 12 s or 3 h 05 min."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole}{GLUE}s"
    if whole < 3600:
        return f"{whole // 60}{GLUE}min {whole % 60:02d}{GLUE}s"
    return f"{whole // 3600}{GLUE}h {whole % 3600 // 60:02d}{GLUE}min"


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


def main_difference(runs: Runs, metric: str = "mean") -> Measure | None:
    """One metric of the main arm minus the reference's; with a paired interval where the answers give that number."""
    main, reference = runs.main, runs.reference
    if main is None or reference is None:
        return None
    reported = gap(main.metrics, reference.metrics, metric)
    if reported is None:
        return None
    found = None
    if main.after is not None and reference.after is not None:
        found = difference(main.after, reference.after, metric)
    return found if found is not None and abs(found.value - reported) < 5e-4 else Measure(reported)


def _verdict(runs: Runs, main: Arm) -> str:
    over = _on_what(main.after)
    now = main.metrics["mean"].value
    start = main.before.metrics.get("mean") if main.before is not None else None
    moved = f"ended at {percent(now)}"
    if start is not None:
        moved = f"{'rose' if now > start.value else 'fell'} from {percent(start.value)} to {percent(now)}"
        moved = f"stayed at {percent(now)}" if percent(now) == percent(start.value) else moved
    ahead = main_difference(runs)
    text = f"{_opening(main.label, ahead)}: {over}accuracy {moved}"
    if ahead is None:
        return text
    if runs.baseline is None:
        return f"{text}, {_size(ahead)}"
    theirs = f"{runs.baseline.label} ({percent(runs.baseline.metrics['mean'].value)})"
    return f"{text}, which is {_size(ahead)} against {theirs}"


def _size(change: Measure) -> str:
    """A difference in points, with its interval and what the interval covers."""
    if change.low is None or change.high is None:
        return f"{points(change.value)} points"
    return f"{points(change.value)} points [{points(change.low)}, {points(change.high)} over questions]"


def _own_change(main: Arm) -> Measure | None:
    if main.before is None or main.after is None:
        return None
    return difference(main.after, main.before)


def _opening(name: str, change: Measure | None) -> str:
    """Says whether it worked; only an interval clear of zero is called an effect."""
    if change is None or change.low is None or change.high is None:
        return name
    if change.low > 0:
        return f"{name} worked on this seed"
    return f"{name} did harm on this seed" if change.high < 0 else f"{name} made no clear difference on this seed"


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
