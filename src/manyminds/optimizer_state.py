"""A torch optimizer's state as named tensors and back, exactly. Imports torch only when called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from manyminds.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: "<parameter index>.<name>", and "layout", the parameters' shapes.

    Tensors are the optimizer's own (no copies); Python numbers become 0-dim tensors under "<index>.<name>#<type>".
    Raises TypeError for state that is neither a tensor nor a number.
    """
    import torch

    kinds = {bool: torch.bool, int: torch.int64, float: torch.float64}
    tensors = {"layout": torch.tensor(_layout(optimizer), dtype=torch.int64)}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            elif type(value) in kinds:
                tensors[f"{index}.{name}#{type(value).__name__}"] = torch.tensor(value, dtype=kinds[type(value)])
            else:
                raise TypeError(f"optimizer state {index}.{name} is a {type(value).__name__}, not a tensor or a number")
    return tensors


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts `optimizer_tensors` back, exactly. Hyper-parameters stay those of `optimizer`: they come from the config.

    Not through `Optimizer.load_state_dict`, which casts float32 moments of bfloat16 parameters to bfloat16.
    Raises UserError if the parameters differ in number, grouping or shape; the optimizer is then unchanged.
    """
    saved, own = tensors["layout"].tolist(), _layout(optimizer)
    if saved != own:
        raise UserError(
            f"the saved optimizer state does not fit this optimizer: it is for {_described(saved)}, not for "
            f"{_described(own)}, or the shapes differ; resume with the model and optimizer that wrote it"
        )
    owners = [(parameter, group) for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.state.clear()
    for key, value in tensors.items():
        if key == "layout":
            continue
        index, _, name = key.partition(".")
        name, _, kind = name.partition("#")
        parameter, group = owners[int(index)]
        # torch keeps the step count on the CPU unless the update itself runs on the device
        on_cpu = name == "step" and not (group.get("capturable") or group.get("fused"))
        device = "cpu" if on_cpu else parameter.device
        optimizer.state[parameter][name] = value.item() if kind else value.to(device, copy=True)


def _layout(optimizer: Optimizer) -> list[int]:
    """Per group the number of parameters, then per parameter its number of dimensions and its shape, all in a row."""
    numbers = []
    for group in optimizer.param_groups:
        numbers.append(len(group["params"]))
        for parameter in group["params"]:
            numbers += [parameter.dim(), *parameter.shape]
    return numbers


def _described(layout: list[int]) -> str:
    """A layout in words: "groups of 3, 2 parameters"."""
    counts, at = [], 0
    while at < len(layout):
        counts.append(layout[at])
        at += 1
        for _ in range(counts[-1]):
            at += 1 + layout[at]
    return f"groups of {', '.join(map(str, counts))} parameters"
