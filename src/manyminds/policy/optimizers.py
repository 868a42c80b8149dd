"""Optimisers and learning-rate schedules, as torch and transformers have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from transformers import get_scheduler, get_wsd_schedule

from manyminds.sections import OptimizerConfig, Schedule

ENDLESS = 10**9


def optimizers(config: OptimizerConfig, model: Any) -> list[Optimizer]:
    """The optimisers over the model's trainable parameters: AdamW, and with `muon` Muon for the inner matrices.

    Low-rank adapters are such matrices, all of them.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    ends = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    matrices = [p for p in trained if config.name == "muon" and p.ndim == 2 and id(p) not in ends]
    chosen = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in chosen]
    decay = config.weight_decay
    made: list[Optimizer] = []
    if rest:
        made.append(torch.optim.AdamW(rest, lr=config.lr, betas=config.betas, weight_decay=decay, fused=True))
    if matrices:
        rate = config.matrix_lr
        made.append(torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return made


def rate(config: Schedule, steps: int, decay_from: int | None = None) -> Callable[[int], float]:
    """The schedule of a run of `steps`: the factor on the learning rate after so many steps. It has no state.

    `decay_from` is the step from which a warmup_stable_decay schedule falls; None: not yet.
    """
    carrier, rise = torch.optim.SGD([torch.zeros(1)], lr=1.0), config.warmup_steps
    if config.name == "warmup_stable_decay":
        made = get_wsd_schedule(
            carrier,
            num_warmup_steps=rise,
            num_decay_steps=config.decay_steps,
            num_stable_steps=ENDLESS if decay_from is None else max(0, decay_from - rise),
            min_lr_ratio=config.floor,
        )
    elif config.name == "cosine":
        made = get_scheduler(
            "cosine_with_min_lr",
            carrier,
            num_warmup_steps=rise,
            num_training_steps=max(steps, rise + 1),
            scheduler_specific_kwargs={"min_lr_rate": config.floor},
        )
    else:
        made = get_scheduler("constant_with_warmup", carrier, num_warmup_steps=rise)
    factor: Callable[[int], float] = made.lr_lambdas[0]
    return factor
