"""Every number here is worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyminds.report import findings
from manyminds.report.findings import Turnover
from manyminds.report.runs import Answered, Arm, Evaluation, Greedy, Measure, Step

EXPERTS = ("a", "b")


def evaluation(verdicts: list[str], families: str = "", metrics: dict[str, Measure] | None = None) -> Evaluation:
    """Questions q0, q1, …; each verdict says for plain, a, b whether the answer was right: "+-+"."""
    answers = []
    for i, verdict in enumerate(verdicts):
        greedy = {p: Greedy(f"t{i}{p}", v == "+", p) for p, v in zip(("plain", *EXPERTS), verdict, strict=True)}
        answers.append(Answered(f"q{i}", f"{i}+1", str(i + 1), families[i : i + 1], greedy, {}))
    return Evaluation("test", 0, EXPERTS, len(answers), metrics or {}, tuple(answers))


BEFORE = evaluation(["---", "+-+", "++-", "+++", "--+"])
AFTER = evaluation(["-++", "+++", "+-+", "-++", "--+"])


def test_rescued_and_forgotten() -> None:
    assert [(c.rescued, c.forgotten) for c in findings.comparisons(BEFORE, AFTER)] == [
        (("a", "b"), ()),
        (("a",), ()),
        (("b",), ("a",)),
        ((), ("plain",)),
        ((), ()),
    ]
    assert findings.turnover(BEFORE, AFTER) == (
        Turnover("plain", rescued=0, forgotten=1, kept=2, still_wrong=2),
        Turnover("a", rescued=2, forgotten=1, kept=1, still_wrong=1),
        Turnover("b", rescued=2, forgotten=0, kept=3, still_wrong=0),
    )


def test_questions_of_one_evaluation_only_are_left_out() -> None:
    assert [c.after.id for c in findings.comparisons(evaluation(["---"]), AFTER)] == ["q0"]
    assert findings.turnover(evaluation([]), AFTER) == ()


def test_twelve_has_one_rescued_and_one_forgotten_on_top() -> None:
    shown = findings.twelve(BEFORE, AFTER, shown=4)
    assert [(c.after.id, c.why) for c in shown] == [("q0", "rescued"), ("q3", "forgotten"), ("q1", ""), ("q4", "")]


def test_twelve_shows_every_family_and_no_question_twice() -> None:
    families = "xyz" * 10
    shown = findings.twelve(evaluation(["---"] * 30, families), evaluation(["---"] * 30, families))
    assert len(shown) == 12
    assert len({c.after.id for c in shown}) == 12
    assert [c.after.family for c in shown] == ["x"] * 4 + ["y"] * 4 + ["z"] * 4
    assert all(c.why == "" for c in shown)


def test_twelve_of_few() -> None:
    assert len(findings.twelve(BEFORE, AFTER)) == 5
    assert findings.twelve(evaluation([]), evaluation([])) == ()


def test_overlap() -> None:
    # wrong: plain on q0 q4, a on q0 q1 q4, b on q0 q2
    assert findings.overlap(BEFORE) == ((0.4, 0.4, 0.2), (0.4, 0.6, 0.2), (0.2, 0.2, 0.4))


def test_families() -> None:
    names, accuracy = findings.families(evaluation(["+++", "+--", "--+", "-++"], "yxyx"))
    assert names == ("x", "y")
    assert accuracy == ((0.5, 0.5), (0.5, 0.5), (0.5, 1.0))
    assert findings.families(BEFORE) == ((), ())


def arm(*steps: dict[str, float]) -> Arm:
    return Arm(
        "meml_grpo", Path(), steps=tuple(Step(i, "train", values) for i, values in enumerate(steps, 1)), after=AFTER
    )


def test_pairs_matrix() -> None:
    found = findings.pairs(
        arm(
            {"mutual/pairs": 3, "mutual/pairs/a->b": 2, "mutual/pairs/b->a": 1}, {"mutual/pairs/a->b": 5}, {"reward": 1}
        )
    )
    assert found is not None
    assert found.names == ("a", "b")
    assert found.counts == ((0, 7), (1, 0))
    assert (found.taught, found.learnt, found.total) == ((7, 1), (1, 7), 8)


def test_no_pairs_is_not_no_mutual_learning() -> None:
    assert findings.pairs(arm({"reward": 1})) is None
    found = findings.pairs(arm({"mutual/pairs": 0}))
    assert found is not None
    assert found.total == 0


def test_styles_from_metrics_or_from_answers() -> None:
    told = {"styles/a/x": Measure(0.75), "styles/a/y": Measure(0.25), "plain": Measure(0.1)}
    assert findings.styles(evaluation(["+++"], metrics=told)) == {"a": {"x": 0.75, "y": 0.25}}
    assert findings.styles(evaluation(["+++", "+++"]))["b"] == {"b": 1.0}


def test_difference_is_paired() -> None:
    # per question, mean over a and b: before 0 .5 .5 1 .5, after 1 1 .5 1 .5
    found = findings.difference(AFTER, BEFORE)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(0.3)
    assert found.low == 0.0
    assert 0.6 <= found.high <= 0.8
    plain = findings.difference(AFTER, BEFORE, "plain")
    assert plain is not None
    assert plain.value == pytest.approx(-0.2)
    oracle = findings.difference(AFTER, BEFORE, "oracle")
    assert oracle is not None
    assert oracle.value == pytest.approx(0.2)
    same = findings.difference(AFTER, AFTER)
    assert same == Measure(0.0, 0.0, 0.0)


def test_difference_needs_questions_in_common_and_a_metric_it_can_count() -> None:
    assert findings.difference(AFTER, evaluation([])) is None
    assert findings.difference(AFTER, BEFORE, "vote") is None


def test_rolling() -> None:
    assert findings.rolling([1, 2, 6, float("nan"), 4], 3) == [1.5, 3.0, 4.0, 5.0, 4.0]
    assert findings.rolling([3.0], 1) == [3.0]
