"""Optimisers and learning-rate schedules, as torch and transformers have them."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler, get_wsd_schedule

from manyminds.config import OptimizerConfig, Schedule

ENDLESS = 10**9


def optimizers(config: OptimizerConfig, model: Any) -> list[Optimizer]:
    """The optimisers over the model's trainable parameters: AdamW, and with `muon` Muon for the inner matrices."""
    trained = [p for p in model.parameters() if p.requires_grad]
    ends = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    matrices = [p for p in trained if config.name == "muon" and p.ndim == 2 and id(p) not in ends]
    chosen = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in chosen]
    decay = config.weight_decay
    made: list[Optimizer] = [torch.optim.AdamW(rest, lr=config.lr, betas=config.betas, weight_decay=decay, fused=True)]
    if matrices:
        rate = config.matrix_lr
        made.append(torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return made


def schedule(config: Schedule, optimizer: Optimizer, steps: int, done: int, decay_from: int | None) -> LambdaLR:
    """The schedule of a run of `steps`, as it stands after `done` of them; it has no other state.

    `decay_from` is the step from which a warmup_stable_decay schedule falls; None: not yet.
    """
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"])
    rise = config.warmup_steps
    if config.name == "warmup_stable_decay":
        made = get_wsd_schedule(
            optimizer,
            num_warmup_steps=rise,
            num_decay_steps=config.decay_steps,
            num_stable_steps=ENDLESS if decay_from is None else max(0, decay_from - rise),
            min_lr_ratio=config.floor,
        )
    elif config.name == "cosine":
        made = get_scheduler(
            "cosine_with_min_lr",
            optimizer,
            num_warmup_steps=rise,
            num_training_steps=max(steps, rise + 1),
            scheduler_specific_kwargs={"min_lr_rate": config.floor},
        )
    else:
        made = get_scheduler("constant_with_warmup", optimizer, num_warmup_steps=rise)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    return LambdaLR(optimizer, made.lr_lambdas[0], last_epoch=done - 1)
