"""How near to a GPU's limits are drawing answers and learning from them, and how near is transformers' own generation?

    python benchmarks/gpu.py [--toy] [--json] [--out benchmarks/results/gpu.json]

Needs one CUDA GPU of 40 GB or more, and at most eight minutes; prints one JSON object. A Qwen2 of 494 million
parameters (the 0.5B shape) from random weights answers 64 prompts of 128 tokens 8 times with 512 tokens each, all to
full length, and takes one GRPO update on all of them. Ours is mixed: float32 weights, products in bfloat16.
transformers' `generate` and `generate_batch` (continuous batching) have the model in bfloat16, which is their fastest.

    bandwidth limit     the bytes that decoding must read (manyminds/limits.py), 2 a number, over the memory rate
    MFU                 FLOPs of the update, each prompt once, over its seconds and over the rate of bfloat16 products

Both rates are measured in the same run. A part that fails, or has no time left, says so in its place and the others go
on. `--toy` runs everything in seconds on a CPU, at a size of which the figures mean nothing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
import typer
from limit import Size, best, better, lesson
from telling import AsJson, Out, give, tell
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from manyminds.checkpoint import versions
from manyminds.limits import FLOAT32, Limits, Shape, Work, decode_work, linear_parameters, measure, update_work
from manyminds.machine import machine
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Decoding, Rollout
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import Engine, OptimizerConfig
from manyminds.step import learn
from manyminds.tasks.arithmetic_model import tokenizer

SECONDS = 450.0
"""The whole run's; the rest of eight minutes is for imports and what cannot be interrupted."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Qwen(Size):
    """A Qwen2 of some size, and how much it does."""

    def config(self) -> Any:
        return Qwen2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=self.prompt + self.new,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,  # the embedding of padding is zero, from which 24 norms make a gradient without end
        )

    def on(self, device: str) -> Any:
        """Random weights in float32, made where they stay."""
        torch.manual_seed(0)
        with torch.device(device):
            return Qwen2ForCausalLM(self.config()).eval()

    @property
    def drawn(self) -> int:
        """Tokens of all answers."""
        return self.prompts * self.answers * self.new


FULL = Qwen(896, 24, 14, 2, 4864, vocabulary=151_936, prompts=64, answers=8, prompt=128, new=512)
TOY = Qwen(32, 2, 4, 2, 64, vocabulary=105, prompts=3, answers=2, prompt=8, new=6)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside once the seconds are over."""

    def ring(*_: Any) -> None:
        raise TimeoutError("no time left")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Parts:
    """The parts of a run, each with what it found or why it did not; `deadline` is that of all."""

    def __init__(self, device: str, tell: Tell, seconds: float) -> None:
        self.device, self.tell, self.deadline = device, tell, time.monotonic() + seconds
        self.found: dict[str, dict[str, Any]] = {}

    def run(self, name: str, part: Callable[[], dict[str, Any]]) -> None:
        """Run a part. Whatever it raises is kept in its place: libraries on GPUs fail in ways that nobody lists."""
        self.tell(name)
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            with within(self.deadline - time.monotonic()):
                its = part()
        except Exception as error:
            self.found[name] = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:400]}
            return
        if self.device == "cuda":
            its["peak_gibibytes"] = torch.cuda.max_memory_allocated() / 2**30
        self.found[name] = its


class Ours:
    """Our sampler and policy on one model."""

    def __init__(self, size: Qwen, model: Any) -> None:
        self.size, self.model = size, model
        self.engine = Engine(precision="mixed" if model.device.type == "cuda" else "float32")
        self.rollouts: list[Rollout] = []

    def decode(self) -> dict[str, Any]:
        """All answers drawn."""
        short, long = (
            TransformersSampler(self.model, tokenizer(), Decoding(1.0, new), stop_ids=(), engine=self.engine)
            for new in (2, self.size.new)
        )
        short.sample(self.size.asks(), "warm")

        def sample(number: int) -> None:
            self.rollouts[:] = long.sample(self.size.asks(), str(number))

        seconds, _ = best(sample, 60.0)
        assert sum(len(rollout.ids) for rollout in self.rollouts) == self.size.drawn
        return {"seconds": seconds, "path": long.path, "answers_at_once": long.engine.answers_at_once}

    def update(self) -> dict[str, Any]:
        """One update on the answers drawn."""
        if not self.rollouts:
            raise RuntimeError("there are no answers to learn from")
        policy = HFPolicy(self.model, OptimizerConfig(), steps=9, engine=self.engine)
        learn(*lesson(self.rollouts[: self.size.answers]), policy)
        update, terms = lesson(self.rollouts)
        seconds, _ = best(lambda _: learn(update, terms, policy), 60.0)
        return {"seconds": seconds, "tokens_at_once": policy.tokens_at_once}


class Theirs:
    """transformers' generation by its own model, in the number format that suits it best."""

    def __init__(self, size: Qwen, model: Any) -> None:
        self.size, self.model = size, model
        self.prompts = [list(ask.prompt.ids) for ask in size.asks()]

    def config(self, new: int, **more: Any) -> GenerationConfig:
        """Plain sampling of `new` tokens, no fewer."""
        return GenerationConfig(max_new_tokens=new, do_sample=True, top_k=0, pad_token_id=0, **more)

    def generate(self) -> dict[str, Any]:
        """`generate` on all answers at once."""
        rows = torch.tensor([row for row in self.prompts for _ in range(self.size.answers)], device=self.model.device)

        def run(new: int) -> None:
            out = self.model.generate(rows, attention_mask=torch.ones_like(rows), generation_config=self.config(new))
            assert out.shape == (len(rows), self.size.prompt + new)

        with torch.inference_mode():
            run(2)
            return {"seconds": best(lambda _: run(self.size.new), 60.0)[0]}

    def generate_batch(self) -> dict[str, Any]:
        """`generate_batch`, every answer a request of its own; making its cache counts, as in each of its calls."""
        from transformers import ContinuousBatchingConfig

        on_cpu = self.model.device.type == "cpu"
        small: dict[str, Any] = {"num_blocks": 64, "max_batch_tokens": 64, "page_size": 32} if on_cpu else {}
        rows = [row for row in self.prompts for _ in range(self.size.answers)]

        def run(new: int) -> None:
            out = self.model.generate_batch(
                rows,
                generation_config=self.config(new, eos_token_id=-1),
                continuous_batching_config=ContinuousBatchingConfig(**small),
            )
            assert [len(one.generated_tokens) for one in out.values()] == [new] * len(rows), "answers are missing"

        run(2)
        return {"seconds": best(lambda _: run(self.size.new), 60.0)[0]}


def run(size: Qwen, device: str, tell: Tell, seconds: float = SECONDS) -> dict[str, Any]:
    """Every part in turn, the limits measured before and after, and what the parts come to."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    parts = Parts(device, tell, seconds)
    before = measure(device, dtype)
    model = size.on(device)
    shape = Shape.of(model.config, linear_parameters(model))
    parameters = sum(p.numel() for p in model.parameters())
    ours = Ours(size, model)
    parts.run("decode", ours.decode)
    parts.run("update", ours.update)
    theirs = Theirs(size, model.to(getattr(torch, dtype)))
    del ours
    parts.run("generate", theirs.generate)
    parts.run("generate_batch", theirs.generate_batch)
    limits = better(measure(device, dtype), before)
    for name, its in parts.found.items():
        if "seconds" in its:
            its |= against_limits(name, its["seconds"], size, shape, limits)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "parameters": parameters,
        "size": asdict(size),
        "limits": asdict(limits),
        **parts.found,
        **ratios(parts.found),
    }


def against_limits(name: str, seconds: float, size: Qwen, shape: Shape, limits: Limits) -> dict[str, float]:
    """Tokens a second, and the shares of the machine's rates; a trained token is one of a row, prompts included."""
    rows, width = size.prompts * size.answers, 2 if limits.dtype == "bfloat16" else FLOAT32
    if name == "update":
        work = update_work(shape, *size.lengths())
        mfu = flops(work) / seconds / limits.gemm_flops_per_s
        return {"tokens_per_s": rows * (size.prompt + size.new) / seconds, "flops": flops(work), "mfu": mfu}
    work = decode_work(shape, *size.lengths(), width=width)
    work = replace(work, weight_bytes=work.weight_bytes * width / FLOAT32)  # counted as float32, read as they multiply
    least = (work.weight_bytes + work.moved_bytes) / limits.memory_bytes_per_s
    multiply = flops(work) / limits.gemm_flops_per_s
    return {
        "tokens_per_s": size.drawn / seconds,
        "bandwidth_limit_seconds": least,
        "share_of_bandwidth_limit": least / seconds,
        "matmul_limit_seconds": multiply,
        "share_of_matmul_limit": multiply / seconds,
    }


def flops(work: Work) -> float:
    """All of them."""
    return work.linear_flops + work.attention_flops


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How many times as many tokens a second our decoding draws as each of theirs that ran."""
    ours = found["decode"].get("tokens_per_s")
    theirs = {name: found[name].get("tokens_per_s") for name in ("generate", "generate_batch")}
    return {f"over_{name}": ours / rate for name, rate in theirs.items() if ours and rate}


def main(
    toy: Annotated[bool, typer.Option("--toy", help="On a CPU, at a size of which the figures mean nothing.")] = False,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """How near to a GPU's limits are drawing answers and learning from them, and how near is transformers' own?"""
    if not toy and not torch.cuda.is_available():
        typer.echo(
            "This benchmark needs a CUDA GPU, and torch finds none here; --toy tries the script on a CPU.", err=True
        )
        raise typer.Exit(2)
    began = time.perf_counter()
    found = run(TOY if toy else FULL, "cpu" if toy else "cuda", tell)
    head = {
        "command": f"python benchmarks/gpu.py{' --toy' if toy else ''}",
        "machine": machine(),
        "versions": versions(),
    }
    found = {**head, "wall_seconds": time.perf_counter() - began, **found}
    give(found, lambda text: text.print_json(data=found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
