"""Does credit that seeks risk leave a local optimum that the mean reward is caught in? The bandit of the RS-GRPO paper.

    python benchmarks/rs_grpo_bandit.py [--updates 25000] [--json] [--out benchmarks/results/rs_grpo_bandit.json]
        [--plot benchmarks/results/rs_grpo_bandit.png]

A hundred arms, whose reward is .1 and two hills: one of .5 around arm 75, one of .9 around arm 40. The policy, a softmax
over the arms, starts on the lower hill: a Gaussian of deviation 5 around arm 75 over a floor of a tenth of its height.
An update draws 16 arms from it, credits them by the library's `rs_grpo` (beta 0 is the mean reward), and takes one step
of learning rate .1 up the policy gradient. Setting and claim are those of the authors' `codes/bandit.py` (arXiv
2509.24261): beta 0 and 2 stay at arm 75 (reward .60), beta 4 and 8 reach arm 40 (.999 and .998 where we ran it with
another program). All betas and seeds run side by side. Takes about fifteen seconds on one core.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give
from torch import Tensor

from manyminds.checkpoint import versions
from manyminds.machine import machine
from manyminds.methods.rs_grpo import RSGRPO
from manyminds.records import Progress
from manyminds.report.drawing import WIDTH, canvas

ARMS, DRAWN, RATE, SPREAD = 100, 16, 0.1, 5.0
START, BEST = 75, 40
BETAS, SEEDS, UPDATES, POINTS = (0.0, 2.0, 4.0, 8.0), 5, 25_000, 250
INK, MUTED, RULE, PAGE = "#1d1d1f", "#6b6b70", "#e4e2dc", "#fdfcf9"
COLOURS = ("#6b6b70", "#0072b2", "#c96a00", "#9b4f96")
"""The report's, as its style sheet has them by day."""


def hill(middle: int) -> Tensor:
    """A Gaussian of height 1 over the arms."""
    return torch.exp(-((torch.arange(ARMS, dtype=torch.float64) - middle) ** 2) / (2 * SPREAD**2))


def rewards() -> Tensor:
    """What each arm pays."""
    return 0.1 + 0.9 * hill(BEST) + 0.5 * hill(START)


def bandit(
    betas: Sequence[float], seeds: int, updates: int, points: int, rate: float = RATE
) -> tuple[Tensor, Tensor, list[int]]:
    """The expected reward at `points` moments, [betas, seeds, points], the last policies and after which updates."""
    methods = [RSGRPO(beta=beta) for beta in betas]
    now, pays = Progress(1, 0.0), rewards()
    generator = torch.Generator().manual_seed(0)
    logits = (hill(START) + 0.1).log().expand(len(betas) * seeds, ARMS).clone()
    told, when = [], sorted({round(updates * (i + 1) / points) for i in range(points)})
    for update in range(1, updates + 1):
        policy = logits.softmax(-1)
        drawn = torch.multinomial(policy, DRAWN, replacement=True, generator=generator)
        groups = pays[drawn].unflatten(0, (len(betas), seeds))
        credit = torch.cat([method.advantage(its, now) for method, its in zip(methods, groups, strict=True)])
        # The gradient of sum A log softmax is the credit of each arm less its probability times all credit.
        logits -= rate / DRAWN * credit.sum(-1, keepdim=True) * policy
        logits.scatter_add_(-1, drawn, rate / DRAWN * credit)
        if update == when[len(told)]:
            told.append((logits.softmax(-1) @ pays).unflatten(0, (len(betas), seeds)))
    return torch.stack(told, -1), logits.softmax(-1).unflatten(0, (len(betas), seeds)), when
