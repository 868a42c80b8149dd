"""RS-GRPO: golden numbers, the limits of beta, and the credit inside other methods."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.errors import UserError
from manyminds.formulas.advantages import centred, exponential_utility, risk_sensitive
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.records import Floats, Ids

GOLDEN = [
    ([1, 0, 0, 0], 2, [0.922469, -0.307490, -0.307490, -0.307490]),
    ([1, 0, 0, 0], 8, [0.374497, -0.124832, -0.124832, -0.124832]),
    ([1, 1, 1, 0], 2, [0.137890, 0.137890, 0.137890, -0.413671]),
    ([1, 0.5, 0.25, 0], 2, [0.658517, -0.073805, -0.241500, -0.343212]),
    ([1, -1, -1, -1], 2, [1.395830, -0.465277, -0.465277, -0.465277]),
    ([1, 0, 0, 0], 0, [0.75, -0.25, -0.25, -0.25]),
    ([1] + [0] * 15, 2, [2.140239] + [-0.142683] * 15),
    ([1] * 15 + [0], 2, [0.028564] * 15 + [-0.428467]),
]
graded = st.lists(st.integers(-12, 12), min_size=2, max_size=9).map(lambda xs: [x / 4 for x in xs])


def composed(*parts: dict[str, Any], **fields: Any) -> Composed:
    spec = {"name": "rs_grpo", "experts": ("e0", "e1"), "with": list(parts)}
    return Composed(build(spec | fields))


def credits(method: Composed, *rewards: list[float]) -> list[list[float]]:
    (credited,) = method.credit([group(rewards)], method.initial_memory(), START)
    return [[scored.advantage for scored in answers.scored] for answers in credited.answers]


def published(rewards: list[float], beta: float) -> list[float]:
    """The equation as it stands in the paper, in plain Python."""
    mean = sum(math.exp(beta * r) for r in rewards) / len(rewards)
    return [(math.exp(beta * r) / mean - 1) / beta for r in rewards]


@pytest.mark.parametrize(("rewards", "beta", "due"), GOLDEN)
def test_golden(rewards: list[float], beta: float, due: list[float]) -> None:
    (found,) = credits(composed(beta=beta), rewards)
    assert found == pytest.approx(due, abs=1e-6)


def test_golden_utility() -> None:
    assert exponential_utility(torch.tensor([1.0, 0, 0, 0]).double(), 2.0).item() == pytest.approx(0.477229, abs=1e-6)


def test_the_default_is_what_is_known_of_the_paper() -> None:
    base: Any = composed().base
    assert (base.beta, base.answers_per_prompt, base.clip_low, base.clip_high, base.scale) == (2, 16, 0.2, 0.28, "none")


@pytest.mark.parametrize("beta", [-3.0, 0.5, 2.0, 5.0])
@given(rewards=graded)
@settings(deadline=None, max_examples=25)
def test_any_rewards_beside_the_equation(beta: float, rewards: list[float]) -> None:
    found = risk_sensitive(torch.tensor(rewards, dtype=torch.float64), beta).tolist()
    assert found == pytest.approx(published(rewards, beta), abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(graded, st.sampled_from((-8.0, -0.3, 0.0, 1e-3, 1.0, 2.0, 20.0)), st.integers(-8, 8), st.randoms())
def test_sum_shift_scale_and_order(rewards: list[float], beta: float, shift: int, random: Any) -> None:
    r = torch.tensor(rewards, dtype=torch.float64)
    credit = risk_sensitive(r, beta)
    assert credit.sum().item() == pytest.approx(0, abs=1e-8)
    torch.testing.assert_close(risk_sensitive(r + shift, beta), credit, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(risk_sensitive(2 * r, beta), 2 * risk_sensitive(r, 2 * beta), rtol=1e-9, atol=1e-9)
    order = random.sample(range(len(r)), len(r))
    torch.testing.assert_close(risk_sensitive(r[order], beta), credit[order], rtol=1e-9, atol=1e-9)
    if beta > 0:
        assert -1 / beta - 1e-9 <= credit.min().item()
        assert credit.max().item() <= (len(r) - 1) / beta + 1e-9


@pytest.mark.parametrize("beta", [1e-4, -1e-4, 1e-8, 1e-300])
def test_a_small_beta_is_the_centred_reward(beta: float) -> None:
    rewards = torch.tensor([[1, 0, 0, 0], [1, 0.5, 0.25, 0]], dtype=torch.float64)
    assert torch.allclose(risk_sensitive(rewards, beta), centred(rewards), rtol=0, atol=2e-5)
    assert torch.allclose(risk_sensitive(rewards, 0.0), centred(rewards), rtol=0, atol=0)


@pytest.mark.parametrize("beta", [1e3, 1e6, -1e3])
def test_a_large_beta_overflows_nowhere(beta: float) -> None:
    """The best share all credit, (G/m - 1) / beta, the others have -1 / beta; for a negative beta the worst."""
    rewards = torch.tensor([0.9, 2.0, 2.0, -700.0, -700.0], dtype=torch.float64)
    told = rewards == (rewards.max() if beta > 0 else rewards.min())
    due = torch.where(told, (5 / 2 - 1) / beta, -1 / beta).double()
    torch.testing.assert_close(risk_sensitive(rewards, beta), due)


@pytest.mark.parametrize("beta", [-2.0, 0.0, 1e-8, 2.0, 1e6])
def test_equal_rewards_and_a_lone_answer_give_exactly_nothing(beta: float) -> None:
    for rewards in ([[0.0] * 3, [0.1] * 3, [1.0] * 3, [0.1 + 0.2, 0.3, 0.3]], [[0.7], [0.0]]):
        assert not risk_sensitive(torch.tensor(rewards, dtype=torch.float64), beta).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rewards_that_are_not_finite_stay_visible(bad: float) -> None:
    for beta in (-2.0, 2.0):
        for rewards in (torch.tensor([bad, 0.0]), torch.tensor([bad, bad])):
            assert not torch.isfinite(risk_sensitive(rewards, beta)).all()


@pytest.mark.parametrize("beta", [0.5, 2.0, 4.0, 8.0])
def test_which_groups_weigh_most(beta: float) -> None:
    """Of 1,000 answers with rewards 0 and 1: those with an accuracy of 1 / (1 + exp(beta / 2)); all credit by hand."""
    right = torch.arange(1, 1000)
    rewards = (torch.arange(1000) < right[:, None]).double()
    weights = risk_sensitive(rewards, beta).abs().mean(-1)
    p = right.double() / 1000
    due = 2 * p * (1 - p) * math.expm1(beta) / (beta * (p * math.exp(beta) + 1 - p))
    torch.testing.assert_close(weights, due, rtol=1e-9, atol=1e-12)
    assert p[weights.argmax()].item() == pytest.approx(1 / (1 + math.exp(beta / 2)), abs=1e-3)


def test_it_is_the_gradient_of_the_utility() -> None:
    """Where every answer of a softmax policy is drawn as often as it is likely, beside autograd through J."""
    counts, pays, beta = torch.tensor([4.0, 3.0, 1.0]).double(), torch.tensor([0.2, 0.0, 1.0]).double(), 3.0
    logits = counts.log().requires_grad_()
    torch.autograd.backward(((beta * pays).exp() * logits.softmax(-1)).sum().log() / beta)
    drawn = torch.repeat_interleave(torch.arange(3), counts.long())
    other = counts.log().requires_grad_()
    torch.autograd.backward((risk_sensitive(pays[drawn], beta) * other.log_softmax(-1)[drawn]).mean())
    torch.testing.assert_close(other.grad, logits.grad, rtol=1e-12, atol=1e-15)


# Beside other methods.


def says(prompt: Ids, ids: Ids) -> Floats:
    return (-1.0,) * len(ids)


def test_the_loss_alone() -> None:
    """Fresh answers of one token: -A is the gradient in the log-prob, over the number of answers."""
    lesson = lesson_of(composed(), [group([[1, 0, 0, 0], [1, 1, 1, 1]])])
    told = evaluated(composed(), lesson.updates[0].examples, says)
    assert [g for (g,) in told.gradients] == pytest.approx([-0.922469 / 8] + [0.307490 / 8] * 3 + [0] * 4, abs=1e-6)


def test_in_meml_grpo_it_is_the_credit_and_nothing_else() -> None:
    """The positive part of the new credit, mutual learning as it was."""
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0}
    rewards = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    plain, risky = (Composed(build(spec | {"with": parts})) for parts in ([], [{"name": "rs_grpo"}]))
    assert risky.terms(START) == plain.terms(START)
    assert risky.describe()["advantage"] == "rs_grpo"
    lesson, before = (lesson_of(method, [group(rewards)]) for method in (risky, plain))
    borrowed = of_kind(lesson, "borrowed")
    assert len(borrowed) == 3
    assert borrowed == of_kind(before, "borrowed")
    sampled = of_kind(lesson, "sampled")
    due = [0.922469, *[-0.307490] * 3, *[0.137890] * 3, -0.413671]
    assert [e.advantage for e in sampled] == pytest.approx(due, abs=1e-6)
    told = evaluated(risky, sampled, says)
    assert told.losses["policy"] == pytest.approx((0.922469 + 3 * 0.137890) / 8, abs=1e-6)
    assert [g for (g,) in told.gradients] == pytest.approx([-max(a, 0) / 8 for a in due], abs=1e-6)


def test_the_paper_s_setting_leaves_out_groups_without_a_signal() -> None:
    method = composed({"name": "dynamic_sampling"}, experts=("e0",))
    memory = method.initial_memory()
    given = [group([row], name=name) for row, name in (([1, 0, 0, 0], "q"), ([1] * 4, "qq"), ([0] * 4, "qqq"))]
    kept = [g for g in given if method.keeps(g, memory)]
    assert kept == given[:1]
    told = evaluated(method, lesson_of(method, kept).updates[0].examples, says)
    assert [g for (g,) in told.gradients] == pytest.approx([-0.922469 / 4] + [0.307490 / 4] * 3, abs=1e-6)


def test_credit_has_one_owner() -> None:
    with pytest.raises(UserError, match="'rs_grpo' and 'dr_grpo' both set 'advantage'"):
        Composed(build({"name": "grpo", "with": [{"name": "rs_grpo"}, {"name": "dr_grpo"}]}))


def test_a_trace_among_the_answers_counts_in_the_utility() -> None:
    whole = group([[0.0, 0.0, 0.0, 1.0]])
    *own, lent = whole.answers[0].scored
    lent = replace(lent, rollout=replace(lent.rollout, origin="trace:teacher"))
    mixed = replace(whole, answers=(replace(whole.answers[0], scored=(*own, lent)),))
    lesson = lesson_of(composed(), [mixed])
    assert [e.advantage for e in of_kind(lesson, "sampled")] == pytest.approx([-0.307490] * 3, abs=1e-6)


@pytest.mark.parametrize("bad", [{"beta": math.inf}, {"beta": math.nan}, {"beta": "risky"}, {"scale": "std"}])
def test_bad_fields_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        build({"name": "rs_grpo", **bad})


def test_one_answer_is_refused() -> None:
    with pytest.raises(UserError, match="rs_grpo compares answers with one another and needs 2 or more, not 1"):
        build({"name": "rs_grpo", "answers_per_prompt": 1}).settled(("e0",), 4)
