"""Training goes on after a reload as if it had not stopped: bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from manyminds import checkpoint
from manyminds.errors import UserError
from manyminds.optimizer_state import load_optimizer, optimizer_tensors

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    groups = [{"params": parameters[:1], "weight_decay": 0.1}, {"params": parameters[1:], "lr": 3e-3}]
    return torch.optim.AdamW(groups, lr=1e-2, amsgrad=True)


def muon(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Muon(parameters, lr=1e-2, weight_decay=0.1)


def parameters_of(seed: int, dtype: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in ((5, 3), (4, 5), (2, 4))]


def train(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
    """A quadratic with other data at every step; the last parameter is frozen out of the odd ones."""
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        generator = torch.Generator().manual_seed(step)
        used = parameters if step % 2 == 0 else parameters[:2]
        loss = sum(((p.float() - torch.randn(p.shape, generator=generator)) ** 2).sum() for p in used)
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [adamw, muon])
def test_training_continues_bit_identically(tmp_path: Path, make: Make, dtype: torch.dtype) -> None:
    straight = parameters_of(0, dtype)
    straight_optimizer = make(straight)
    train(straight, straight_optimizer, range(5))

    stopped = [p.detach().clone() for p in straight]
    saved = {"optimizer": optimizer_tensors(straight_optimizer), "weights": {str(i): p for i, p in enumerate(stopped)}}
    checkpoint.save(tmp_path, 5, lambda model: None, {}, saved)
    train(straight, straight_optimizer, range(5, 12))

    loaded = checkpoint.load(tmp_path / "step-000005").tensors
    resumed = [nn.Parameter(loaded["weights"][str(i)]) for i in range(3)]
    resumed_optimizer = make(resumed)
    load_optimizer(resumed_optimizer, loaded["optimizer"])
    train(resumed, resumed_optimizer, range(5, 12))

    for ours, theirs, before in zip(resumed, straight, stopped, strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, before)
    fresh = [nn.Parameter(p.clone()) for p in stopped]
    train(fresh, make(fresh), range(5, 12))
    assert not torch.equal(fresh[0], straight[0]), "the optimizer's state must matter, or the test shows nothing"


def test_what_is_loaded_is_a_copy() -> None:
    first = parameters_of(0, torch.float32)
    optimizer = adamw(first)
    train(first, optimizer, range(3))
    tensors = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    kept = {name: value.clone() for name, value in tensors.items()}
    second = parameters_of(1, torch.float32)
    other = adamw(second)
    load_optimizer(other, tensors)
    train(second, other, range(3, 6))
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)
    assert sorted(tensors) == sorted(
        ["layout", *(f"{i}.{name}" for i in range(3) for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"))]
    )


class Odd(torch.optim.Optimizer):
    """Keeps float32 moments of bfloat16 parameters, Python numbers, and names with dots."""

    def __init__(self, parameters: list[nn.Parameter], extra: object = None) -> None:
        super().__init__(parameters, {"lr": 0.1})
        for parameter in parameters:
            self.state[parameter] = {
                "a.moment": torch.full(parameter.shape, 1 / 3, dtype=torch.float32),
                "count": 2**53 + 1,
                "scale": 0.1,
                "flag": True,
            }
            if extra is not None:
                self.state[parameter]["extra"] = extra


def test_numbers_and_wider_moments_are_kept_exactly(tmp_path: Path) -> None:
    source = Odd(parameters_of(0, torch.bfloat16))
    checkpoint.save(tmp_path, 1, lambda model: None, {}, {"optimizer": optimizer_tensors(source)})
    parameters = parameters_of(0, torch.bfloat16)
    target = Odd(parameters)
    target.state.clear()
    load_optimizer(target, checkpoint.load(tmp_path / "step-000001").tensors["optimizer"])
    assert len(target.state) == 3
    state = target.state[parameters[2]]
    assert {name: state[name] for name in ("count", "scale", "flag")} == {
        "count": 2**53 + 1,
        "scale": 0.1,
        "flag": True,
    }
    assert [type(state[name]) for name in ("count", "scale", "flag")] == [int, float, bool]
    assert state["a.moment"].dtype == torch.float32
    assert torch.equal(state["a.moment"], torch.full((2, 4), 1 / 3))


def test_state_of_before_is_gone_after_loading() -> None:
    parameters = parameters_of(0, torch.float32)
    optimizer = muon(parameters)
    empty = optimizer_tensors(optimizer)
    train(parameters, optimizer, range(2))
    assert len(optimizer_tensors(optimizer)) == 4
    load_optimizer(optimizer, empty)
    assert list(optimizer_tensors(optimizer)) == ["layout"]


def test_hyper_parameters_stay_those_of_the_config() -> None:
    source, target = adamw(parameters_of(0, torch.float32)), adamw(parameters_of(0, torch.float32))
    target.param_groups[0]["lr"] = 0.5
    load_optimizer(target, optimizer_tensors(source))
    assert [group["lr"] for group in target.param_groups] == [0.5, 3e-3]


def test_state_of_other_parameters_is_refused_and_changes_nothing() -> None:
    parameters = parameters_of(0, torch.float32)
    target = muon(parameters)
    train(parameters, target, range(2))
    before = {name: value.clone() for name, value in optimizer_tensors(target).items()}
    for other in (muon(parameters[:2]), adamw(parameters)):
        with pytest.raises(UserError, match=r"does not fit this optimizer: it is for groups of .* of 3 parameters"):
            load_optimizer(target, optimizer_tensors(other))
    turned = [nn.Parameter(p.detach().t().contiguous()) for p in parameters]
    with pytest.raises(UserError, match="or the shapes differ"):
        load_optimizer(target, optimizer_tensors(muon(turned)))
    after = optimizer_tensors(target)
    assert sorted(after) == sorted(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_state_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"optimizer state 0\.extra is a list"):
        optimizer_tensors(Odd(parameters_of(0, torch.float32), extra=[1]))
