"""The one sentence: it worked, it did not, it did harm, it is not finished; and what it cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manyminds.report.runs import Answered, Arm, Evaluation, Greedy, Measure, Result, Runs, Step
from manyminds.report.sentence import duration, percent, points, sentence, tokens

N = 100


def evaluation(right: int, oracle: float = 0.9) -> Evaluation:
    """One expert that gets the first `right` of 100 questions right."""
    answers = tuple(
        Answered(f"q{i}", "", "", "", {"plain": Greedy("", False), "solo": Greedy("", i < right)}, {}) for i in range(N)
    )
    return Evaluation("test", 0, ("solo",), N, {"mean": Measure(right / N), "oracle": Measure(oracle)}, answers)


def arm(name: str, right: int, spent: float = 2e6, oracle: float = 0.9) -> Arm:
    after = evaluation(right, oracle)
    result = Result(name, 0, spent, 132.0, after.metrics)
    return Arm(name, Path(name), before=evaluation(40), after=after, result=result)


def text(*arms: Arm) -> str:
    return sentence(Runs("demo", Path(), arms)).replace("\u00a0", " ")


def test_worked() -> None:
    said = text(arm("grpo_all_experts", 50), arm("meml_grpo", 70))
    assert said.startswith(
        "MEML-GRPO worked on this seed: on 100 test questions, accuracy rose from 40.0 % to 70.0 %, "
    )
    stated = re.search(
        r"which is \+20.0 points \[\+(.*), \+(.*) over questions\] against GRPO on all experts \(50.0 %\)", said
    )
    assert stated is not None
    # 20 of 100 questions gained: 20 +- 1.96 * sqrt(0.2 * 0.8 * 100) in points
    assert float(stated[1]) == pytest.approx(20 - 7.84, abs=1.5)
    assert float(stated[2]) == pytest.approx(20 + 7.84, abs=1.5)
    assert "it rescued 30 answers and forgot 0" in said
    assert (
        "it cost 2.00 M sampled tokens and 2 min 12 s (GRPO on all experts: 2.00 M sampled tokens and 2 min 12 s)"
        in said
    )
    assert "oracle" not in said
    assert "budgets" not in said
    assert said.endswith(".")
    assert said.count(". ") == 0


def test_no_clear_difference() -> None:
    said = text(arm("grpo_all_experts", 50), arm("meml_grpo", 51))
    assert said.startswith("MEML-GRPO made no clear difference on this seed")
    assert "+1.0 points [+0.0, +3.0 over questions]" in said


def test_did_harm() -> None:
    said = text(arm("grpo_all_experts", 50), arm("meml_grpo", 30, oracle=0.7))
    assert said.startswith("MEML-GRPO did harm on this seed")
    assert "fell from 40.0 % to 30.0 %" in said
    assert "\u221220.0 points" in said
    assert "it rescued 0 answers and forgot 10" in said
    assert "the oracle) fell from 90.0 % to 70.0 %" in said


def test_unequal_budgets_are_said() -> None:
    assert "so the budgets are not equal" in text(arm("grpo_all_experts", 50, spent=1e6), arm("meml_grpo", 70))


def test_one_arm_is_measured_against_its_start() -> None:
    said = text(arm("grpo", 60))
    assert said.startswith(
        "GRPO worked on this seed: on 100 test questions, accuracy rose from 40.0 % to 60.0 %, +20.0"
    )


def test_one_arm_is_measured_against_the_warmup() -> None:
    warm = Arm("warmup", Path(), after=evaluation(40))
    said = text(warm, arm("grpo", 40))
    assert said.startswith(
        "GRPO made no clear difference on this seed: on 100 test questions, accuracy stayed at 40.0 %"
    )


def test_no_interval_no_verdict() -> None:
    bare = Arm("meml_grpo", Path(), result=Result("meml_grpo", 0, None, None, {"mean": Measure(0.5)}))
    said = text(bare)
    assert said == "MEML-GRPO: averaged over the expert prompts, accuracy ended at 50.0 %; its cost was not recorded."


def test_unfinished() -> None:
    steps = (Step(1, "train", {}), Step(240, "train", {}))
    early, late = (Evaluation("validation", s, (), 10, {"mean": Measure(v)}) for s, v in ((0, 0.25), (200, 0.5)))
    assert text(Arm("meml_grpo", Path())) == "MEML-GRPO has not taken a step yet."
    assert text(Arm("meml_grpo", Path(), steps=steps, evaluations=(early, late))) == (
        "MEML-GRPO is not finished: 240 steps are recorded, and on validation the mean over the expert prompts "
        "is 50.0 % (at step 0: 25.0 %)."
    )


def test_warmup_only() -> None:
    after = evaluation(45)
    warm = Arm("warmup", Path(), after=after, result=Result("mef", 0, 0, 74.2, after.metrics))
    assert text(warm).startswith(
        "After warm-up, on 100 test questions, accuracy is 45.0 % after 74 s; no reinforcement"
    )
    assert "not finished" in text(Arm("warmup", Path()))


@pytest.mark.parametrize(
    ("seconds", "said"), [(45.4, "45 s"), (132, "2 min 12 s"), (11100, "3 h 05 min"), (119.8, "2 min 00 s")]
)
def test_duration(seconds: float, said: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0"), (9999, "9999"), (312_400, "312 k"), (999_600, "1.00 M"), (2.41e6, "2.41 M")]
)
def test_tokens(count: float, said: str) -> None:
    assert tokens(count).replace("\u00a0", " ") == said


def test_numbers() -> None:
    assert percent(0.719) == "71.9\u00a0%"
    assert percent(float("nan")) == "–"
    assert points(0.145) == "+14.5"
    assert points(-0.002) == "\u22120.2"
