"""How much memory a run takes at most, before it is started: what each phase holds, part by part.

    peak = process + weights + moments + max(drawing, updating, saving)

What is drawn, learnt and saved is never held at the same time. All numbers are bytes; weights, gradients and Adam's
moments are float32. Freed memory stays with the process on a CPU, so that phases fill the same room; what lies idle
between live blocks is not counted. benchmarks/estimate.py holds the sum against measured runs on a CPU; on CUDA the
same terms are added for the device, and nobody has measured them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from manyminds.loading import Outline
from manyminds.policy.fitting import activation_bytes, kv_bytes, widths
from manyminds.policy.head import LOGITS_AT_ONCE
from manyminds.policy.packing import MATH_SCORES
from manyminds.sampling.cache import BLOCK, COPIED_UP_TO
from manyminds.sections import Engine

FLOAT = 4
HEAD_COPIES = 3
"""Of a chunk of logits while log-probs are taken or their slope made: logits, log-probs, and a temporary."""
DRAW_BYTES = 28
"""For each row and word while a token is drawn: logits, log-probs, probabilities, a product, and a cumulative sum."""
CUDA_CONTEXT = 600 << 20
"""What CUDA itself takes of a device, about."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a step puts on the machine at most: answers drawn at once to so many prompts, and what an update reads.

    `longest_prompt`, `max_tokens` of an answer drawn and `row_tokens` of one learnt are in tokens; `prompts` and
    `answers` are in the cache together; `batch_tokens` and `batch_answers` are those of the largest micro-batch;
    `moments` are the numbers that the optimiser keeps, `copies` those of the weights (2 with a reference).
    """

    longest_prompt: int
    max_tokens: int
    prompts: int
    answers: int
    row_tokens: int
    batch_tokens: int
    batch_answers: int
    moments: int
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes by part, for what is always there and for each phase. `peak` is the most that is held together."""

    held: dict[str, int]
    phases: dict[str, dict[str, int]]

    @property
    def largest(self) -> str:
        """The phase that holds most."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def peak(self) -> int:
        return sum(self.held.values()) + sum(self.phases[self.largest].values())


def footprint(model: Outline, engine: Engine, load: Load) -> Footprint:
    """The memory of a run with this (derived) engine: of the process on a CPU, else of the device."""
    on_cpu = model.device.type == "cpu"
    held = {
        "process": process_bytes() if on_cpu else CUDA_CONTEXT,
        "weights": load.copies * FLOAT * model.parameters,
        "moments": FLOAT * load.moments,
    }
    phases = {"drawing": drawing(model, engine, load), "updating": updating(model, engine, load)}
    if on_cpu:  # a checkpoint is written from copies in the memory of the host
        phases["saving"] = {"copies": FLOAT * load.moments}
    return Footprint(held, {name: {k: int(v) for k, v in parts.items()} for name, parts in phases.items()})


def drawing(model: Outline, engine: Engine, load: Load) -> dict[str, float]:
    """The cache of answers and prompts, what choosing a token takes, and weights in the order of the fast products."""
    shape = widths(model.config)
    columns = load.max_tokens + load.max_tokens // 2 + COPIED_UP_TO
    width = min(max(1, BLOCK // (load.answers * shape.kv_heads * shape.head_dim)), columns)
    columns = -(-columns // width) * width
    mixed = engine.precision == "mixed"
    if model.device.type == "cpu":
        ordered = (1 if mixed else 2) * FLOAT * model.linear // 2
    else:
        ordered = 2 * model.linear if mixed else 0
    return {
        "cache": load.answers * columns * kv_bytes(model.config),
        "prompts": 2 * load.prompts * load.longest_prompt * kv_bytes(model.config),
        "next tokens": load.answers * shape.vocabulary * DRAW_BYTES,
        "ordered weights": ordered,
    }


def updating(model: Outline, engine: Engine, load: Load) -> dict[str, float]:
    """Gradients, what a micro-batch leaves for its backward pass, attention's scores, a chunk of the head's logits."""
    shape = widths(model.config)
    length = load.longest_prompt + load.row_tokens
    scores = load.batch_answers * shape.heads * load.row_tokens * length
    kept = 1 if engine.gradient_checkpointing else shape.layers
    # above, the fused kernel keeps no scores
    attention = (
        kept * 3 * FLOAT * scores if scores <= MATH_SCORES else FLOAT * load.batch_answers * load.row_tokens * length
    )
    spread = kept * 2 * FLOAT * load.batch_answers * length * shape.kv_heads * shape.head_dim
    logits = min(load.batch_answers * load.row_tokens * shape.vocabulary, max(LOGITS_AT_ONCE, shape.vocabulary))
    return {
        "gradients": FLOAT * model.trained,
        "activations": load.batch_tokens * activation_bytes(model.config, engine),
        "attention": attention + spread,
        "logits": HEAD_COPIES * FLOAT * logits,
        "joined weights": FLOAT * model.linear * 3 // 4,
    }


def process_bytes() -> int:
    """What this process holds now, with torch and transformers imported: what a run begins with."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def readable(size: int) -> str:
    """Bytes as MiB or GiB."""
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**20:.1f} MiB"
