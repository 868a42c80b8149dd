"""The oracle, `examples/one_file_meml_grpo.py`, as a module, with questions and models to put to it."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

PATH = Path(__file__).parents[1] / "examples" / "one_file_meml_grpo.py"


def load() -> ModuleType:
    """The module, executed once; its dataclasses look themselves up in `sys.modules`, so it is entered there."""
    if PATH.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[PATH.stem] = module
        spec.loader.exec_module(module)
    return sys.modules[PATH.stem]


oracle: Any = load()

VOCAB = 16
# One question, three experts, four answers of one token each. Answers of E1 (tokens 4 to 7) are also read under E0.
PROMPTS = [[10], [11], [12]]
ANSWERS = [[[0], [1], [2], [3]], [[4], [5], [6], [7]], [[0], [1], [2], [3]]]
REWARDS = [[0.0, 0, 0, 0], [1.0, 1, 0, 1], [0.0, 1, 0, 0]]
GOLD = [8]
LOGPROBS = {
    10: {0: -3, 1: -3, 2: -3, 3: -3, 4: -6, 5: -5, 7: -7, 8: -8},
    11: {4: -2, 5: -3, 6: -1, 7: -4},
    12: {0: -5, 1: -2, 2: -1, 3: -3, 8: -10},
}


class Given(torch.nn.Module):
    """A model that is a table: the log-probs of the next token, whatever came before, depend on the prompt alone."""

    def __init__(self, logprobs: dict[int, dict[int, float]], rest: int = 15) -> None:
        super().__init__()
        table = torch.full((VOCAB, VOCAB), -50.0, dtype=torch.float64)
        for prompt, row in logprobs.items():
            for token, logprob in row.items():
                table[prompt, token] = logprob
            table[prompt, rest] = math.log1p(-sum(math.exp(logprob) for logprob in row.values()))
        self.table = torch.nn.Parameter(table)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids[:, 0]].unsqueeze(1).expand(-1, ids.shape[1], -1)


class Recurrent(torch.nn.Module):
    """A small model that reads everything before: a causal running mean, then a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(VOCAB, 12, dtype=torch.float64)
        self.out = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(12, VOCAB, dtype=torch.float64))

    def forward(self, ids: Tensor) -> Tensor:
        counts = torch.arange(1, ids.shape[1] + 1, dtype=torch.float64).unsqueeze(-1)
        return self.out(self.embed(ids).cumsum(1) / counts * 3)


class Draws:
    """In place of a random generator: the given numbers, in order."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


def golden() -> Any:
    return oracle.Group(PROMPTS, ANSWERS, REWARDS, GOLD)


def uneven(rewards: list[list[float]] | None = None) -> Any:
    """A question whose answers have several lengths and share prompts of two tokens."""
    answers = [[[1, 2, 3], [4]], [[5, 6], [7, 8, 9, 1]], [[2], [3, 4, 5]]]
    return oracle.Group([[10, 0], [11, 0], [12, 0]], answers, rewards or [[0.0, 0], [1.0, 1], [1.0, 0]], [1, 2])


def gradient(model: torch.nn.Module, loss: Tensor) -> Tensor:
    """The gradient of `loss` over all parameters, as one vector."""
    grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    pairs = zip(grads, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def near(value: Tensor, expected: float, absolute: float = 1e-9) -> bool:
    return bool(abs(value.item() - expected) < absolute)
