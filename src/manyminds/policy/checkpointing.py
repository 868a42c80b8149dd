"""Gradient checkpointing: a layer's activations are made again for the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from manyminds.errors import UserError


def enable(model: Any) -> None:
    """Make the model ready for `checkpointing`. Raises UserError for an architecture that has no such layers."""
    if not any(isinstance(module, GradientCheckpointingLayer) for module in model.modules()):
        raise UserError(
            f"engine.gradient_checkpointing: {type(model).__name__} does not support it; set it to false, and "
            "engine.tokens_at_once lower if memory runs out"
        )
    model.activation_checkpointing_enable({"use_reentrant": False})
    for layer in _layers(model):
        layer._gradient_checkpointing_func = _untrained(layer, layer._gradient_checkpointing_func)


def _layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _untrained(layer: Any, checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The checkpoint function with the layer out of training mode while it runs, both times: no dropout is drawn."""

    def run(function: Callable[..., Any], *args: Any) -> Any:
        def inside(*its: Any) -> Any:
            before, layer.training = layer.training, False
            try:
                return function(*its)
            finally:
                layer.training = before

        return checkpoint(inside, *args)

    return run


@contextmanager
def checkpointing(model: Any) -> Iterator[None]:
    """Within, forward passes keep only the input of each layer: layers checkpoint while they are in training mode."""
    layers = _layers(model)
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
