"""Gradient checkpointing: a layer's activations are made again for the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Iterator
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


@contextmanager
def checkpointing(model: Any) -> Iterator[None]:
    """Within, forward passes keep only the input of each layer. Layers checkpoint while they train; their parts do not
    train, so that no dropout is drawn."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
