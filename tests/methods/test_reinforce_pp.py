"""REINFORCE++: credit standardised over the step's tokens, with and without a baseline, by hand."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.records import Group

BATCH = [[0.7, 0.4], [0, 0.95]]
IDS = [[(1, 2, 3), (4,)], [(5,), (6, 7)]]


def composed(*parts: dict[str, Any], **fields: Any) -> Composed:
    return Composed(build({"name": "reinforce_pp", "experts": ("e0", "e1"), "with": list(parts)} | fields))


def credits(method: Composed, *groups: Group) -> list[Any]:
    credited = method.credit(groups, method.initial_memory(), START)
    return [scored.advantage for its in credited for answers in its.answers for scored in answers.scored]


def z(values: list[float], counts: list[int], ddof: int = 0) -> list[float]:
    """The z-score of values, each of which stands there so many times, in plain Python."""
    many = [v for v, n in zip(values, counts, strict=True) for _ in range(n)]
    mean = sum(many) / len(many)
    spread = sqrt(sum((v - mean) ** 2 for v in many) / (len(many) - ddof))
    return [(v - mean) / spread for v in values]


@pytest.mark.parametrize(
    ("ddof", "due"),
    [(0, [0.529339, -0.317603, -1.446859, 1.235123]), (1, [0.458421, -0.275052, -1.253016, 1.069648])],
)
def test_golden_over_the_batch(ddof: int, due: list[float]) -> None:
    """Over answers; and over tokens where all answers are equally long."""
    assert credits(composed(normalise_over="answers", ddof=ddof), group(BATCH, ids=IDS)) == pytest.approx(due, abs=1e-6)
    assert credits(composed(ddof=ddof), group(BATCH)) == pytest.approx(due, abs=1e-6)


def test_long_answers_count_more() -> None:
    assert credits(composed(), group(BATCH, ids=IDS)) == pytest.approx(z([0.7, 0.4, 0, 0.95], [3, 1, 1, 2]))
    assert credits(composed(ddof=1), group(BATCH, ids=IDS)) == pytest.approx(z([0.7, 0.4, 0, 0.95], [3, 1, 1, 2], 1))


def test_masked_tokens_do_not_count() -> None:
    """What an environment said in an answer is no token of the policy's."""
    given = group(BATCH, ids=IDS)
    first = given.answers[0].scored[0]
    first = replace(first, rollout=replace(first.rollout, mask=(1, 0, 1)))
    answers = replace(given.answers[0], scored=(first, *given.answers[0].scored[1:]))
    found = credits(composed(), replace(given, answers=(answers, given.answers[1])))
    assert found == pytest.approx(z([0.7, 0.4, 0, 0.95], [2, 1, 1, 2]))


@pytest.mark.parametrize(
    ("baseline", "inside"),
    [("group", [0.15, -0.15, -0.475, 0.475]), ("leave_one_out", [0.3, -0.3, -0.95, 0.95])],
)
def test_a_baseline_comes_before_the_batch(baseline: str, inside: list[float]) -> None:
    found = credits(composed(baseline=baseline), group(BATCH, ids=IDS))
    assert found == pytest.approx(z(inside, [3, 1, 1, 2]))


def test_groups_of_equal_size_have_one_z_score_for_both_baselines() -> None:
    """They differ by one factor, which the deviation takes out."""
    both = [credits(composed(baseline=b), group(BATCH, ids=IDS)) for b in ("group", "leave_one_out")]
    assert both[0] == pytest.approx(both[1])


def test_without_a_baseline_a_group_that_is_all_wrong_is_learnt_from() -> None:
    given = [[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
    assert credits(composed(normalise_over="answers"), group(given))[0] == pytest.approx(-1 / 3 / sqrt(2 / 9))
    with_baseline = credits(composed(baseline="group", normalise_over="answers"), group(given))
    assert with_baseline[:3] == pytest.approx([0.0] * 3, abs=1e-12)
    assert with_baseline[3:] == pytest.approx([c / sqrt(2 / 3 / 6) for c in (1 / 3, -2 / 3, 1 / 3)])


@pytest.mark.parametrize("baseline", ["none", "group", "leave_one_out"])
def test_equal_credit_gives_exactly_nothing(baseline: str) -> None:
    method = composed(baseline=baseline)
    assert credits(method, group([[0.1] * 3, [0.1] * 3])) == [0.0] * 6
    assert method.credit([], method.initial_memory(), START) == ()


def test_a_factor_and_a_constant_change_nothing() -> None:
    moved = [[3 * r - 2 for r in row] for row in BATCH]
    assert credits(composed(), group(moved, ids=IDS)) == pytest.approx(credits(composed(), group(BATCH, ids=IDS)))


def test_groups_of_several_sizes_share_one_mean() -> None:
    assert credits(composed(), group([[0.7], [0.4, 0, 0.95]])) == pytest.approx(z([0.7, 0.4, 0, 0.95], [1] * 4))


def test_the_loss_is_the_clipped_one() -> None:
    assert composed().terms(START) == Composed(build({"name": "grpo"})).terms(START)
    lesson = lesson_of(composed(), [group(BATCH, ids=IDS)])
    told = evaluated(composed(), lesson.updates[0].examples, lambda prompt, ids: (-1.0,) * len(ids))
    due = z([0.7, 0.4, 0, 0.95], [3, 1, 1, 2])
    assert told.total == pytest.approx(-sum(due) / 4)
    assert told.gradients[0] == pytest.approx((-due[0] / 12,) * 3)


def test_in_meml_grpo_it_is_the_credit_and_nothing_else() -> None:
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0}
    part = {"name": "reinforce_pp", "baseline": "group"}
    plain, joined = (Composed(build(spec | {"with": parts})) for parts in ([], [part]))
    assert joined.terms(START) == plain.terms(START)
    assert joined.describe()["refine"] == "reinforce_pp"
    sampled = of_kind(lesson_of(joined, [group(BATCH)]), "sampled")
    due = z([0.15, -0.15, -0.475, 0.475], [1] * 4)
    assert [e.advantage for e in sampled] == pytest.approx(due)
    told = evaluated(joined, sampled, lambda prompt, ids: (-1.0,))
    assert told.losses["policy"] == pytest.approx((due[0] + due[3]) / 4)


def test_risk_sensitive_credit_over_the_batch() -> None:
    """RS-GRPO's credit as a part, then this base's normalisation."""
    found = credits(composed({"name": "rs_grpo"}), group([[1, 0, 0, 0], [1, 1, 1, 0]]))
    due = z([0.922469, *[-0.307490] * 3, *[0.137890] * 3, -0.413671], [1] * 8)
    assert found == pytest.approx(due, abs=1e-5)


def test_credit_per_token_is_counted_token_by_token() -> None:
    """A part that fades credit, refined first, would be standardised by its tokens."""
    faded = ((1.0, 0.5), (0.0,))
    given = group([[1, 0]], ids=[[(1, 2), (3,)]]).with_advantages((faded,))
    (found,) = composed().base.refine((given,), None, START)
    due = z([1.0, 0.5, 0.0], [1, 1, 1])
    assert [s.advantage for s in found.answers[0].scored] == [pytest.approx(tuple(due[:2])), pytest.approx((due[2],))]


def test_a_baseline_needs_a_second_answer() -> None:
    one = {"name": "reinforce_pp", "answers_per_prompt": 1}
    assert build(one).settled(("e0",), 4).answers_per_prompt == 1
    with pytest.raises(UserError, match="the baseline 'group' of reinforce_pp compares answers with one another"):
        build({**one, "baseline": "group"}).settled(("e0",), 4)
