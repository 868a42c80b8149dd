"""REINFORCE: golden numbers of the batch's z-score and of the penalty in the reward, and its loss by hand."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hand import START, Told, evaluated, group, lesson_of, of_kind
from manyminds.formulas.advantages import batch_standardised, standardised
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.records import Floats, Group, Ids

BATCH = [[0.7, 0.4], [0, 0.95]]
PAIRS = [[(1, 2), (3, 4)], [(5, 6), (7, 8)]]
Z = {0: [0.529339, -0.317603, -1.446859, 1.235123], 1: [0.458421, -0.275052, -1.253016, 1.069648]}


def composed(*parts: dict[str, Any], **fields: Any) -> Composed:
    return Composed(build({"name": "reinforce", "experts": ("e0", "e1"), "with": list(parts)} | fields))


def credits(method: Composed, *groups: Group) -> list[Any]:
    credited = method.credit(groups, method.initial_memory(), START)
    return [scored.advantage for its in credited for answers in its.answers for scored in answers.scored]


def says(prompt: Ids, ids: Ids) -> Floats:
    return tuple(-0.5 - 0.25 * t for t in range(len(ids)))


def test_the_credit_is_the_reward() -> None:
    assert credits(composed(), group(BATCH)) == [0.7, 0.4, 0, 0.95]


@pytest.mark.parametrize("ddof", [0, 1])
def test_golden_over_the_batch(ddof: int) -> None:
    """Whichever groups the answers stand in, of one size or of several."""
    method = composed(normalise="batch", ddof=ddof)
    alone = [group([[r]], name="q" * n) for n, r in enumerate((0.7, 0.4, 0, 0.95), 1)]
    for groups in ([group(BATCH)], alone, [group([[0.7], [0.4, 0, 0.95]])]):
        assert credits(method, *groups) == pytest.approx(Z[ddof], abs=1e-6)


def test_other_rewards_beside_the_equation() -> None:
    rewards = [2.0, -1.0, 0.5, 0.5, 3.0, 0.0]
    mean = 5 / 6
    spread = sqrt(sum((r - mean) ** 2 for r in rewards) / 5)
    due = [(r - mean) / spread for r in rewards]
    assert credits(composed(normalise="batch", ddof=1), group([rewards[:2], rewards[2:]])) == pytest.approx(due)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_equal_rewards_give_exactly_nothing(value: float) -> None:
    assert credits(composed(normalise="batch"), group([[value] * 7, [value] * 3])) == [0.0] * 10
    assert credits(composed(normalise="batch", ddof=1), group([[value]])) == [0.0]


def test_no_group_is_no_error() -> None:
    method = composed(normalise="batch")
    assert method.credit([], method.initial_memory(), START) == ()


def test_a_batch_of_one_group_is_grpo_without_a_floor() -> None:
    r = torch.tensor([0.0, 1.0, 0.25, 1.0], dtype=torch.float64)
    for ddof in (0, 1):
        found = batch_standardised(r, torch.ones(4, dtype=torch.float64), ddof)
        torch.testing.assert_close(found, standardised(r, ddof, floor=0.0), rtol=1e-12, atol=0)


def test_weights_are_counts() -> None:
    """A row that counts three times is three rows; one that does not count leaves the others as they are."""
    credit, counts = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([3.0, 1.0, 2.0]).double()
    repeated = batch_standardised(torch.repeat_interleave(credit, counts.long()), torch.ones(6).double(), ddof=1)
    torch.testing.assert_close(batch_standardised(credit, counts, ddof=1), repeated[[0, 3, 4]], rtol=1e-12, atol=0)
    with_one = batch_standardised(torch.tensor([1.0, -2.0, 9.0]).double(), torch.tensor([1.0, 1.0, 0.0]).double())
    assert with_one.tolist() == pytest.approx([1, -1, (9 + 0.5) / 1.5])
    assert not batch_standardised(torch.tensor([1.0, 1.0, 9.0]).double(), torch.tensor([2.0, 1.0, 0.0]).double()).any()
    assert not batch_standardised(torch.tensor([1.0, 9.0]).double(), torch.zeros(2).double()).any()


def test_credit_per_token_is_standardised_answer_by_answer() -> None:
    """Each answer counts once, each of its tokens a share of that."""
    faded = ((1.0, 0.5), (0.0,), (0.5, 0.25), (0.0,))
    given = group([[1, 0], [0.5, 0]], ids=[[(1, 2), (3,)], [(4, 5), (6,)]]).with_advantages((faded[:2], faded[2:]))
    (found,) = composed(normalise="batch").base.refine((given,), None, START)
    mean = (0.75 + 0 + 0.375 + 0) / 4
    squares = [[(c - mean) ** 2 for c in row] for row in faded]
    spread = sqrt(sum(sum(row) / len(row) for row in squares) / 4)
    told = [s.advantage for a in found.answers for s in a.scored]
    assert told == [pytest.approx(tuple((c - mean) / spread for c in row)) for row in faded]


def rows(method: Composed, drifts: list[float]) -> Told:
    """The gradient where each answer is likelier than the reference by so much, over its two tokens together."""
    examples = lesson_of(method, [group(BATCH, ids=PAIRS)]).updates[0].examples
    first, second = says((), (1, 2))
    references = [(first - drift / 4, second - 3 * drift / 4) for drift in drifts]
    given = [
        replace(e, planes={"reference_logprobs": reference}) for e, reference in zip(examples, references, strict=True)
    ]
    return evaluated(method, given, says)


def test_golden_penalty_in_the_reward() -> None:
    """Of each token's log-prob the gradient is minus the answer's credit, over the number of answers."""
    told = rows(composed(normalise="batch", kl_coefficient=0.01), [2, -1, 0, 5])
    due = [0.509339, -0.307603, -1.446859, 1.185123]
    assert [tuple(-4 * g for g in row) for row in told.gradients] == [pytest.approx((d, d), abs=1e-6) for d in due]


def test_without_drift_there_is_no_penalty() -> None:
    plain, near = composed(), composed(kl_coefficient=0.5)
    assert rows(near, [0.0] * 4).gradients == [pytest.approx(row) for row in rows(plain, [3.0] * 4).gradients]
    assert (plain.needs, near.needs) == (frozenset(), {"reference"})
    assert near.terms(START)[0].credit == "any"


def test_masked_tokens_do_not_drift() -> None:
    method = composed(kl_coefficient=1.0)
    (first, *_) = lesson_of(method, [group(BATCH, ids=PAIRS)]).updates[0].examples
    row = replace(first, mask=(1, 0), planes={"reference_logprobs": (-1.5, 77.0)})
    assert evaluated(method, [row], says).gradients == [pytest.approx((-(0.7 - 1.0), 0.0))]


def test_the_loss_sums_an_answer_s_tokens() -> None:
    lesson = lesson_of(composed(), [group([[1, 0.5]], ids=[[(1, 2, 3), (4,)]])])
    told = evaluated(composed(), lesson.updates[0].examples, says)
    assert told.total == pytest.approx((1 * 2.25 + 0.5 * 0.5) / 2)
    assert told.gradients == [(-0.5,) * 3, (-0.25,)]


def test_in_meml_grpo_it_is_the_credit_and_nothing_else() -> None:
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0}
    part = {"name": "reinforce", "normalise": "batch"}
    plain, joined = (Composed(build(spec | {"with": parts})) for parts in ([], [part]))
    assert joined.terms(START) == plain.terms(START)
    sampled = of_kind(lesson_of(joined, [group(BATCH)]), "sampled")
    assert [e.advantage for e in sampled] == pytest.approx(Z[0], abs=1e-6)
    told = evaluated(joined, sampled, lambda prompt, ids: (-1.0,))
    assert told.losses["policy"] == pytest.approx((Z[0][0] + Z[0][3]) / 4, abs=1e-6)


def test_its_z_score_can_follow_another_credit() -> None:
    """The base's `refine` stays in the chain when a part owns the credit."""
    found = credits(composed({"name": "rloo"}, normalise="batch"), group([[1, 0, 0], [1, 1, 0]]))
    others = torch.tensor([1, -0.5, -0.5, 0.5, 0.5, -1], dtype=torch.float64)
    assert found == pytest.approx((others / others.square().mean().sqrt()).tolist())


def test_one_answer_is_enough() -> None:
    assert build({"name": "reinforce", "answers_per_prompt": 1}).settled(("e0",), 4).answers_per_prompt == 1


@pytest.mark.parametrize(
    "bad", [{"epochs": 2}, {"minibatches": 2}, {"ddof": 2}, {"normalise": "group"}, {"kl_coefficient": -1}]
)
def test_bad_fields_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        build({"name": "reinforce", **bad})
