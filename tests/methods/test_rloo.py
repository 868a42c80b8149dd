"""RLOO: golden numbers, the leave-one-out mean by hand, its losses, and its credit inside other methods."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.errors import UserError
from manyminds.formulas.advantages import centred, leave_one_out
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.records import Floats, Ids

graded = st.lists(st.integers(-12, 12), min_size=2, max_size=9).map(lambda xs: [x / 4 for x in xs])


def composed(**fields: Any) -> Composed:
    return Composed(build({"name": "rloo", "experts": ("e0", "e1")} | fields))


def says(prompt: Ids, ids: Ids) -> Floats:
    return tuple(-0.5 - 0.25 * t for t in range(len(ids)))


def test_golden() -> None:
    (credited,) = composed().credit([group([[0.7, 0.4, 0, 0.95]])], (None,), START)
    due = [0.25, -0.15, -0.683333, 0.583333]
    assert [s.advantage for s in credited.answers[0].scored] == pytest.approx(due, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(graded)
def test_any_rewards_beside_the_mean_of_the_others(rewards: list[float]) -> None:
    found = leave_one_out(torch.tensor(rewards, dtype=torch.float64))
    due = [r - fmean(rewards[:i] + rewards[i + 1 :]) for i, r in enumerate(rewards)]
    assert found.tolist() == pytest.approx(due, abs=1e-12)
    assert found.sum().item() == pytest.approx(0, abs=1e-12)


def test_limits() -> None:
    for value in (0.0, 0.1, 1.0):
        assert not leave_one_out(torch.full((3, 7), value)).any()
    assert leave_one_out(torch.tensor([[0.3]])).tolist() == [[0.0]]
    many = torch.rand(4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(leave_one_out(many), centred(many), rtol=3e-4, atol=0)


def test_the_loss_sums_an_answer_s_tokens() -> None:
    """-A log pi(o) per answer, the mean over answers: long answers are not scaled down."""
    ids = [[(1, 2, 3), (4,)], [(5,), (6, 7)]]
    lesson = lesson_of(composed(), [group([[1, 0], [0.5, 0.5]], ids=ids)])
    told = evaluated(composed(), lesson.updates[0].examples, says)
    assert told.total == pytest.approx((-1.0 * (-0.5 - 0.75 - 1.0) + 1.0 * -0.5) / 4)
    assert told.gradients == [(-0.25,) * 3, (0.25,), (0.0,), (0.0, 0.0)]


def test_the_clipped_loss_is_grpo_s_with_another_credit() -> None:
    clipped = composed(policy_loss="clip", epochs=2, average="over_sequences", clip_high=0.3)
    assert clipped.terms(START) == Composed(build({"name": "grpo", "epochs": 2, "clip_high": 0.3})).terms(START)
    assert len(lesson_of(clipped, [group([[1, 0], [0, 1]])]).updates) == 2


def test_in_meml_grpo_it_is_the_credit_and_nothing_else() -> None:
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0}
    plain, joined = (Composed(build(spec | {"with": parts})) for parts in ([], [{"name": "rloo"}]))
    assert joined.terms(START) == plain.terms(START)
    sampled = of_kind(lesson_of(joined, [group([[1, 0, 0], [1, 1, 0]])]), "sampled")
    assert [e.advantage for e in sampled] == pytest.approx([1, -0.5, -0.5, 0.5, 0.5, -1])
    told = evaluated(joined, sampled, lambda prompt, ids: (-1.0,))
    assert told.losses["policy"] == pytest.approx((1 + 0.5 + 0.5) / 6)


def test_a_penalty_needs_a_reference() -> None:
    assert composed().needs == frozenset()
    assert composed(kl_coefficient=0.1).needs == {"reference"}
    assert composed(kl_coefficient=0.1).terms(START)[0].needs == {"reference_logprobs"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"epochs": 2}, "set policy_loss: clip"),
        ({"minibatches": 2}, "set policy_loss: clip"),
        ({"policy_loss": "clip", "kl_coefficient": 0.1}, "kl_coefficient is a part of policy_loss: reinforce"),
        ({"kl_coefficient": -0.1}, "greater than or equal to 0"),
        ({"scale": "std"}, "Input should be 'none'"),
    ],
)
def test_bad_fields_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        build({"name": "rloo", **fields})


def test_one_answer_has_no_others() -> None:
    with pytest.raises(UserError, match="rloo compares answers with one another and needs 2 or more, not 1"):
        build({"name": "rloo", "answers_per_prompt": 1}).settled(("e0",), 4)
