"""A task that nobody solves by chance: what is never drawn cannot be reinforced, and a trace shows it.

Three positions, ten symbols, an independent softmax at each; only 0 0 0 is right, and each 0 has probability 0.05.
Eight answers a step, SGD with a rate of 1, 400 steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from math import log
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.records import Decoding, Progress, Question, Rollout, Trace
from manyminds.step import training_step
from toy import SIZE, ToyPolicy, ToySampler, judged

SYMBOLS, POSITIONS, RIGHT = 10, 3, (0, 0, 0)


class Table(nn.Module):
    """Logits by position alone. Tokens that are no symbols are never drawn."""

    def __init__(self) -> None:
        super().__init__()
        start = torch.tensor([log(0.05), *[log(0.95 / 9)] * 9], dtype=torch.float64)
        self.table = nn.Parameter(start.repeat(POSITIONS, 1))

    def forward(self, ids: Tensor, images: Tensor | None = None) -> Tensor:
        places = torch.arange(ids.shape[1]).clamp(max=POSITIONS - 1)
        never = torch.full((*ids.shape, SIZE - SYMBOLS), -60.0, dtype=torch.float64)
        return torch.cat([self.table[places].expand(len(ids), -1, -1), never], -1)


QUESTION = Question(
    "q", "q", "0 0 0", traces={"e0": Trace("", "e0", RIGHT, reward=1.0)}, prompt_ids={"e0": (11,)}, solution_ids=RIGHT
)


@judged
def exact(rollout: Rollout) -> float:
    return float(rollout.ids == RIGHT)


def rates(seed: str, **spec: Any) -> Iterator[float]:
    """The share of right answers of every step."""
    model = Table()
    policy, sampler = ToyPolicy(model, lr=1.0), ToySampler(model, Decoding(max_tokens=POSITIONS))
    fields = {"experts": ["e0"], "questions_per_step": 1, "answers_per_prompt": 8}
    method = Composed(build({**fields, **spec}))
    memory = method.initial_memory()
    for step in range(400):
        memory, metrics = training_step(
            repeat(QUESTION),
            memory,
            Progress(step + 1, step / 400),
            method=method,
            policy=policy,
            sampler=sampler,
            judge=exact,
            seed=seed,
        )
        yield metrics.values["reward"]


RELEASE = {"variant": "release", "fixed_length": POSITIONS, "entropy_coefficient": 0.0}


SPECS: dict[str, dict[str, Any]] = {
    "rl_plus": {"name": "rl_plus", "answers_per_prompt": 7},
    "luffy": {"name": "luffy", "answers_per_prompt": 7},
    "ampo": {"name": "ampo", "traces": 1},
}
EVERY = [
    *(pytest.param(spec, "0", id=name) for name, spec in SPECS.items()),
    *(
        pytest.param({**spec, **how}, seed, id=f"{name}, {how.get('variant', 'paper')}, {seed}", marks=pytest.mark.long)
        for name, spec in SPECS.items()
        for how, seeds in (({}, "12"), (RELEASE, "012"))
        for seed in seeds
    ),
]


def test_centred_grpo_never_sees_a_right_answer() -> None:
    assert fmean(list(rates("0", name="grpo", scale="none"))[-50:]) < 0.01


@pytest.mark.parametrize(("spec", "seed"), EVERY)
def test_a_trace_shows_what_is_never_drawn(spec: dict[str, Any], seed: str) -> None:
    assert fmean(list(rates(seed, **spec))[-50:]) > 0.5
