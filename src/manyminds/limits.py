"""What a machine could do at most, and the arithmetic that drawing answers and learning from them needs.

    seconds at least = max(linear FLOPs / GEMM rate, weight bytes / memory rate)
                       + attention FLOPs / GEMM rate + moved bytes / memory rate

Every prompt is run once for all its answers, every answer token but the last once (the last predicts nothing), and
nothing is padding. A multiply-add is two FLOPs. Norms, activations, softmax, rotary angles and look-ups are left out.
So this is a bound from below, except where answers begin alike (what they have in common may be computed once), where
weights are read as bfloat16 (they count four bytes), and for a model so small that its weights and its cache stay in
the processor's own memory, which is faster than what `measure` reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from manyminds.errors import UserError

FLOAT32 = 4
"""Bytes of a number as weights are kept, and the cache unless it is said otherwise."""
ADAM = 7
"""Numbers moved for each weight by AdamW: weight, gradient and two moments read, weight and moments written."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model decides its arithmetic. `linear`: parameters of the matrices that every token goes through."""

    linear: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any, linear: int | None = None) -> Shape:
        """From a Hugging Face configuration; `linear` None: counted as Llama and its relatives (gated MLP) have them.

        Raises UserError if the configuration does not say what it takes.
        """
        text = config.get_text_config()
        try:
            hidden, layers, heads = text.hidden_size, text.num_hidden_layers, text.num_attention_heads
            kv_heads = getattr(text, "num_key_value_heads", None) or heads
            head_dim = getattr(text, "head_dim", None) or hidden // heads
            if linear is None:
                attention = 2 * hidden * head_dim * (heads + kv_heads)
                linear = layers * (attention + 3 * hidden * text.intermediate_size)
            return cls(linear, layers, heads, kv_heads, head_dim, hidden, text.vocab_size)
        except AttributeError as error:
            raise UserError(
                f"model: the arithmetic of a {text.model_type} is not known ({error}); leave `profile` out"
            ) from error

    @property
    def head(self) -> int:
        """Parameters of the head: the matrix from the last hidden state to the logits."""
        return self.hidden * self.vocabulary

    @property
    def cache(self) -> int:
        """Numbers that the KV cache holds for one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def linear_parameters(model: Any) -> int:
    """Parameters of the matrices that every token goes through: all but the embeddings and the head."""
    from torch.nn import Embedding

    head = model.get_output_embeddings()
    modules = [module for module in model.modules() if not isinstance(module, Embedding) and module is not head]
    own = [parameter for module in modules for parameter in module.parameters(recurse=False)]
    return sum(parameter.numel() for parameter in own if parameter.ndim == 2)


@dataclass(frozen=True, slots=True)
class Work:
    """FLOPs of linear layers and of attention, bytes of weights read while multiplying, bytes moved besides."""

    linear_flops: float = 0.0
    attention_flops: float = 0.0
    weight_bytes: float = 0.0
    moved_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.linear_flops + other.linear_flops,
            self.attention_flops + other.attention_flops,
            self.weight_bytes + other.weight_bytes,
            self.moved_bytes + other.moved_bytes,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens run through the model, the positions they see (their own included), and positions whose logits count."""

    tokens: int
    seen: int
    scored: int


def counts(prompts: Sequence[int], answers: Sequence[Sequence[int]]) -> Counts:
    """Of prompts of these lengths, each with answers of such lengths: prompts once, answers without their last token.

    The first tokens of a prompt's answers are predicted from its one last position.
    """
    tokens = seen = scored = 0
    for prompt, its in zip(prompts, answers, strict=True):
        fed = [length - 1 for length in its if length > 0]
        tokens += prompt + sum(fed)
        seen += prompt * (prompt + 1) // 2 + sum(n * prompt + n * (n + 1) // 2 for n in fed)
        scored += bool(fed) + sum(fed)
    return Counts(tokens, seen, scored)


def forward_work(shape: Shape, prompts: Sequence[int], answers: Sequence[Sequence[int]]) -> Work:
    """One forward pass over prompts and answers, by their lengths; weights are read once."""
    count = counts(prompts, answers)
    return Work(
        linear_flops=2.0 * shape.linear * count.tokens + 2.0 * shape.head * count.scored,
        attention_flops=4.0 * shape.layers * shape.heads * shape.head_dim * count.seen,
        weight_bytes=float(FLOAT32 * (shape.linear + shape.head)) if count.tokens else 0.0,
    )


def decode_work(
    shape: Shape, prompts: Sequence[int], answers: Sequence[Sequence[int]], *, width: int = FLOAT32
) -> Work:
    """Drawing the answers, all at once: a pass for the prompts, then one a token until the longest has ended.

    Each pass reads the weights, the cache of each prompt once for all its answers that still run, and every such
    answer's own; `width` is the bytes of a number in the cache.
    """
    work = forward_work(shape, prompts, answers)
    longest = [max((*its, 1)) - 1 for its in answers]
    own = sum(n * (n - 1) // 2 for its in answers for n in its)
    read = sum(prompt * passes for prompt, passes in zip(prompts, longest, strict=True)) + own
    weights = work.weight_bytes * (1 + max(longest, default=0))
    return Work(work.linear_flops, work.attention_flops, weights, float(shape.cache * read * width))


def update_work(shape: Shape, prompts: Sequence[int], answers: Sequence[Sequence[int]]) -> Work:
    """One optimiser step on the rows: forward, backward at twice its FLOPs, and AdamW over every matrix.

    Weights are read forward and backward, and their gradients written.
    """
    work = forward_work(shape, prompts, answers)
    return Work(3 * work.linear_flops, 3 * work.attention_flops, 3 * work.weight_bytes, ADAM * work.weight_bytes)


@dataclass(frozen=True, slots=True)
class Limits:
    """What was measured: the rate of matrix products in `dtype`, FLOP/s, and the rate of main memory, bytes/s."""

    device: str
    dtype: str
    threads: int
    gemm_flops_per_s: float
    memory_bytes_per_s: float


def roofline_seconds(work: Work, limits: Limits) -> float:
    """The least seconds that the work takes at these rates; see the head of this file."""
    multiply, move = limits.gemm_flops_per_s, limits.memory_bytes_per_s
    linear = max(work.linear_flops / multiply, work.weight_bytes / move)
    return linear + work.attention_flops / multiply + work.moved_bytes / move


def measure(device: str = "cpu", dtype: str = "float32", threads: int | None = None) -> Limits:
    """The machine's rates with so many threads (None: as many as torch has now), the best of about a second of tries.

    Leaves torch's settings and its random numbers as they were. What else runs on the machine makes them lower.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.inference_mode():
            products = max(_products(torch, size, device, dtype) for size in _sizes(device))
            memory = _memory(torch, device)
        return Limits(device, dtype, torch.get_num_threads(), products, memory)
    finally:
        torch.set_num_threads(before)


def _sizes(device: str) -> tuple[int, ...]:
    return (512, 1024) if device == "cpu" else (4096, 8192)


def _products(torch: Any, size: int, device: str, dtype: str) -> float:
    """FLOP/s of square matrix products; float32 on a CPU also by oneDNN, where it is as exact as float32."""
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator, device=device) for _ in range(2))
    a, b = (one.to(getattr(torch, dtype)) for one in (left, right))
    rate = _best(torch, device, lambda: a @ b, 2.0 * size**3)
    if device != "cpu" or dtype != "float32":
        return rate
    with _onednn(torch):
        few = a[:32] @ b
        exact = left[:32].double() @ right.double()
        if float((few - exact).abs().max() / exact.abs().max()) < 1e-5:
            rate = max(rate, _best(torch, device, lambda: a @ b, 2.0 * size**3))
    return rate


@contextmanager
def _onednn(torch: Any) -> Iterator[None]:
    """float32 products go to oneDNN, which on some processors is faster and as exact, on others bfloat16."""
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def _memory(torch: Any, device: str) -> float:
    """Bytes/s of main memory: the better of reading a buffer that no cache holds, and copying it."""
    number = (64 if device == "cpu" else 256) * 2**20
    source = torch.ones(number, device=device)
    target = torch.empty_like(source)
    size = float(FLOAT32 * number)
    return max(
        _best(torch, device, source.max, size),
        _best(torch, device, lambda: target.copy_(source), 2 * size),
    )


def _best(torch: Any, device: str, run: Callable[[], object], amount: float, seconds: float = 0.15) -> float:
    """The best rate of `amount` in one run, over as many runs as `seconds` allow, two at least."""
    best, began, runs = float("inf"), time.perf_counter(), 0
    while runs < 2 or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
        runs += 1
    return amount / best
