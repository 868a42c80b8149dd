"""Divergences from a teacher: golden numbers, signs, unbiasedness, and the stop-gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyminds.formulas.divergences import full_kl, k3, log_ratio_from_teacher

Divergence = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
STRONG = torch.tensor([[[0.7, 0.2, 0.1]]], dtype=torch.float64)
WEAK = torch.tensor([[[0.3, 0.3, 0.4]]], dtype=torch.float64)
logits = st.lists(st.floats(-5, 5), min_size=4, max_size=4).map(lambda xs: torch.tensor([[xs]], dtype=torch.float64))


def test_full_kl_golden() -> None:
    assert full_kl(STRONG.log(), WEAK.log()).item() == pytest.approx(0.373386, abs=5e-7)
    assert full_kl(WEAK.log(), STRONG.log()).item() == pytest.approx(0.421968, abs=5e-7)


def test_k3_golden() -> None:
    assert k3(STRONG[..., 0].log(), WEAK[..., 0].log()).item() == pytest.approx(0.275869, abs=5e-7)


def test_log_ratio_of_the_paper_s_example() -> None:
    under_best = torch.tensor([[-2.0], [-3.0], [-4.0]])
    under_worst = torch.tensor([[-6.0], [-5.0], [-7.0]])
    ratio = log_ratio_from_teacher(under_best, under_worst)
    assert ratio.flatten().tolist() == [4.0, 2.0, 3.0]
    assert ratio.mean().item() == 3.0
    assert log_ratio_from_teacher(under_best, under_worst + 0.5).mean().item() == 2.5  # a likelier answer costs less


def test_the_samplers_of_the_kl_are_unbiased() -> None:
    """Averaged over the teacher's own distribution, both estimators are the full KL."""
    teacher, student = STRONG[0].log(), WEAK[0].log()
    exact = full_kl(STRONG.log(), WEAK.log()).item()
    assert (STRONG[0] * log_ratio_from_teacher(teacher, student)).sum().item() == pytest.approx(exact, abs=1e-12)
    assert (STRONG[0] * k3(teacher, student)).sum().item() == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("divergence", [log_ratio_from_teacher, k3])
def test_only_the_student_gets_a_gradient_per_token(divergence: Divergence) -> None:
    teacher = STRONG[..., 0].log().requires_grad_()
    student = WEAK[..., 0].log().requires_grad_()
    divergence(teacher, student).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    expected = -1.0 if divergence is log_ratio_from_teacher else 3 / 7 - 1  # exp(u) - 1
    assert student.grad.item() == pytest.approx(expected, abs=1e-12)


def test_one_set_of_weights_under_two_prompts_is_moved_only_as_the_student() -> None:
    """The same parameter on both sides: without the stop-gradient the log-ratio would not move it at all."""
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    as_teacher, as_student = (3 * weight).expand(1, 2), (1 * weight).expand(1, 2)
    (slope,) = torch.autograd.grad(log_ratio_from_teacher(as_teacher, as_student).sum(), weight)
    assert slope.item() == -2.0


def test_the_gradient_of_the_full_kl_is_the_difference_of_probabilities() -> None:
    teacher, student = STRONG.log().requires_grad_(), WEAK.log().requires_grad_()
    full_kl(teacher, student).sum().backward()
    assert teacher.grad is None
    torch.testing.assert_close(student.grad, WEAK - STRONG, rtol=0, atol=1e-12)


def test_full_kl_is_per_token() -> None:
    teacher, student = STRONG.log().expand(2, 3, 3), WEAK.log().expand(2, 3, 3).clone()
    student[1, 2] = STRONG[0, 0].log()
    divergence = full_kl(teacher, student)
    assert divergence.shape == (2, 3)
    assert divergence[1, 2].item() == pytest.approx(0, abs=1e-15)
    assert divergence[0].tolist() == pytest.approx([0.373386] * 3, abs=5e-7)


def test_tokens_that_are_ruled_out() -> None:
    teacher = torch.tensor([[[0.0, 0.0, -math.inf]]])
    both = torch.tensor([[[0.0, 0.0, -math.inf]]], requires_grad=True)
    loss = full_kl(teacher, both)
    loss.sum().backward()
    assert loss.item() == 0.0
    assert both.grad is not None
    assert both.grad.tolist() == [[[0.0, 0.0, 0.0]]]
    assert full_kl(teacher, torch.zeros(1, 1, 3)).item() == pytest.approx(math.log(1.5), abs=1e-6)
    assert full_kl(torch.zeros(1, 1, 3), teacher).item() == math.inf


def test_k3_keeps_its_precision_near_agreement() -> None:
    u = 1e-3
    value = k3(torch.zeros(1, 1), torch.full((1, 1), u)).item()
    assert value == pytest.approx(u * u / 2, rel=2e-3)


@settings(deadline=None, max_examples=50)
@given(logits, logits, st.floats(-3, 3))
def test_full_kl_is_not_negative_and_blind_to_constants(
    teacher: torch.Tensor, student: torch.Tensor, constant: float
) -> None:
    value = full_kl(teacher, student).item()
    assert value >= -1e-12
    assert full_kl(teacher, teacher).item() == 0.0
    assert full_kl(teacher + constant, student - constant).item() == pytest.approx(value, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.floats(-8, 0), st.floats(-8, 0))
def test_k3_is_never_negative(teacher: float, student: float) -> None:
    value = k3(torch.tensor([[teacher]], dtype=torch.float64), torch.tensor([[student]], dtype=torch.float64)).item()
    assert value >= 0
    if abs(teacher - student) > 1e-3:
        assert value > 4e-7  # about u^2 / 2
