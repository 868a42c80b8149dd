"""How near do drawing answers and learning from them come to what this machine can do at most?

    python benchmarks/limit.py [--threads N] [--model NAME ...] [--json] [--out benchmarks/results/limit.json]

Measures the rates of matrix products and of main memory, counts the arithmetic that a step needs (manyminds/limits.py),
and times our sampler and our update on it: 8 prompts of 64 tokens, 8 answers of 128 to each (64 for the largest model),
all of full length, for Llamas of 1, 5 and 25 million parameters from random weights and for the demo's model. Takes
less than three minutes on two cores that nothing else uses; beside other work, wall times say little (`--threads 1` and
`cpu_seconds` in the JSON say more).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell
from transformers import LlamaConfig, LlamaForCausalLM

from manyminds.checkpoint import versions
from manyminds.limits import Limits, Shape, Work, decode_work, linear_parameters, measure, roofline_seconds, update_work
from manyminds.machine import machine
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.objective import Term
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Ask, Decoding, Progress, Prompt, Question, Rollout, Scored, Update
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import Engine, OptimizerConfig
from manyminds.step import by_question, learn
from manyminds.tasks.arithmetic_model import CHARACTERS, tokenizer

DTYPES = {"float32": "float32", "mixed": "bfloat16"}
"""The precisions that a recipe may name, and the number format whose products bound each."""
EXPERT = "one"
START = Progress(1, 0.0)


@dataclass(frozen=True)
class Size:
    """A Llama, and how much it does: `prompts` of `prompt` tokens, `answers` of `new` tokens to each."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int = 105
    prompts: int = 8
    answers: int = 8
    prompt: int = 64
    new: int = 128

    def config(self) -> LlamaConfig:
        return LlamaConfig(
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
        )

    def model(self) -> Any:
        """Random weights, the same every time."""
        torch.manual_seed(0)
        made: Any = LlamaForCausalLM(self.config())
        return made.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def asks(self) -> list[Ask]:
        """The prompts, no two alike."""
        draw = random.Random(0)
        rows = [tuple(draw.choices(range(self.vocabulary), k=self.prompt)) for _ in range(self.prompts)]
        questions = [Question(f"q{i}", "", "", prompt_ids={EXPERT: row}) for i, row in enumerate(rows)]
        return [Ask(Prompt(question, EXPERT), self.answers) for question in questions]

    def lengths(self) -> tuple[list[int], list[list[int]]]:
        """Of the prompts, and of the answers to each."""
        return [self.prompt] * self.prompts, [[self.new] * self.answers] * self.prompts


MODELS = {
    "demo": Size(64, 3, 4, 1, 160, vocabulary=len(CHARACTERS) + 7),
    "1m": Size(128, 5, 4, 4, 384),
    "5m": Size(256, 6, 8, 8, 704),
    "25m": Size(512, 8, 8, 8, 1408, new=64),
}


def lesson(rollouts: Sequence[Rollout]) -> tuple[Update, tuple[Term, ...]]:
    """What GRPO learns from the answers if every other one is right: every row has a gradient."""
    experts = (EXPERT,)
    method = Composed(GRPO(experts=experts, answers_per_prompt=2))
    groups = by_question([Scored(rollout, float(i % 2)) for i, rollout in enumerate(rollouts)])
    learnt = method.learn(
        method.credit(groups, method.initial_memory(), START), {}, method.initial_memory(), random.Random(0), START
    )
    return learnt.updates[0], method.terms(START)


def best(run: Callable[[int], Any], seconds: float = 5.0) -> tuple[float, float]:
    """The shortest of as many runs as `seconds` allow, three at most, one at least: wall and processor seconds."""
    times: list[tuple[float, float]] = []
    while not times or (len(times) < 3 and sum(wall for wall, _ in times) + times[-1][0] < seconds):
        wall, cpu = time.perf_counter(), time.process_time()
        run(len(times))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(times)


def timed(size: Size, precision: str) -> dict[str, Any]:
    """Seconds that drawing all answers took, and one update on them; and what was drawn by which path."""
    model, engine = size.model(), Engine.model_validate({"precision": precision})
    sampler = TransformersSampler(model, tokenizer(), Decoding(1.0, size.new), stop_ids=(), engine=engine)
    short = TransformersSampler(model, tokenizer(), Decoding(1.0, 2), stop_ids=(), engine=engine)
    policy = HFPolicy(model, OptimizerConfig(), steps=9, engine=engine)
    few = short.sample(size.asks()[:1], "warm")  # what is made at first use is made before the clock runs
    learn(*lesson(few), policy)
    drawn: list[Rollout] = []

    def sample(number: int) -> None:
        drawn[:] = sampler.sample(size.asks(), str(number))

    decode = best(sample)
    update, terms = lesson(drawn)
    seconds = {"decode": decode, "update": best(lambda _: learn(update, terms, policy))}
    parameters = sum(p.numel() for p in model.parameters())
    shape = Shape.of(model.config, linear_parameters(model))
    width = 2 if precision == "mixed" and model.device.type == "cuda" else 4
    needed = {"decode": decode_work(shape, *size.lengths(), width=width), "update": update_work(shape, *size.lengths())}
    return {"parameters": parameters, "path": getattr(sampler, "path", ""), "seconds": seconds, "needed": needed}


def compared(size: Size, taken: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Seconds and tokens a second, as they were and at the limit; a trained token is one of a row, prompts included."""
    rows = size.prompts * size.answers
    tokens = {"decode": rows * size.new, "update": rows * (size.prompt + size.new)}
    halves = {}
    for half, (seconds, cpu_seconds) in taken["seconds"].items():
        work: Work = taken["needed"][half]
        least = roofline_seconds(work, limits)
        halves[half] = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "tokens_per_s": tokens[half] / seconds,
            "limit_seconds": least,
            "limit_tokens_per_s": tokens[half] / least,
            "share_of_limit": least / seconds,
            "needed": asdict(work),
        }
    return {"parameters": taken["parameters"], "path": taken["path"], "size": asdict(size), **halves}


def better(one: Limits, other: Limits) -> Limits:
    """A machine can do the best that it was seen to do."""
    return replace(
        one,
        gemm_flops_per_s=max(one.gemm_flops_per_s, other.gemm_flops_per_s),
        memory_bytes_per_s=max(one.memory_bytes_per_s, other.memory_bytes_per_s),
    )


def run(models: Sequence[str], threads: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Limits, measured before and after, and every model in every precision."""
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def measured() -> dict[str, Limits]:
        return {dtype: measure(device, dtype, threads) for dtype in DTYPES.values()}

    tell("measuring the machine")
    before, taken = measured(), {}
    for precision in DTYPES:
        for name in models:
            tell(f"{name} in {precision}")
            taken[precision, name] = timed(MODELS[name], precision)
    after = measured()
    limits = {dtype: better(before[dtype], after[dtype]) for dtype in before}
    memory = max(one.memory_bytes_per_s for one in limits.values())
    limits = {dtype: replace(one, memory_bytes_per_s=memory) for dtype, one in limits.items()}
    rows = [
        {"model": name, "precision": precision, **compared(MODELS[name], one, limits[DTYPES[precision]])}
        for (precision, name), one in taken.items()
    ]
    head = {"machine": machine(), "versions": versions(), "threads": threads}
    return {**head, "limits": {dtype: asdict(one) for dtype, one in limits.items()}, "models": rows}


def show(found: dict[str, Any], text: Console) -> None:
    """The machine's rates, and a line for every model and precision."""
    for dtype, one in found["limits"].items():
        text.print(f"{dtype}: {one['gemm_flops_per_s'] / 1e9:.0f} GFLOP/s in matrix products", highlight=False)
    rate = found["limits"]["float32"]["memory_bytes_per_s"]
    text.print(f"memory: {rate / 1e9:.0f} GB/s; {found['threads']} threads\n", highlight=False)
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("model", "precision", "decode tokens/s", "limit", "share", "update tokens/s", "limit", "share"):
        table.add_column(column, justify="left" if column in ("model", "precision") else "right")
    for row in found["models"]:
        cells = []
        for half in (row["decode"], row["update"]):
            cells += [f"{half['tokens_per_s']:,.0f}", f"{half['limit_tokens_per_s']:,.0f}"]
            cells += [f"{100 * half['share_of_limit']:.0f} %"]
        table.add_row(row["model"], row["precision"], *cells)
    text.print(table)


def main(
    threads: Annotated[int, typer.Option(min=1, help="Threads; all of the machine's by default.")] = (
        torch.get_num_threads()
    ),
    model: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(MODELS)}; may be repeated.")] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """How near do drawing answers and learning from them come to what this machine can do at most?"""
    unknown = sorted({*(model or ())} - MODELS.keys())
    if unknown:
        raise typer.BadParameter(f"there is no model '{unknown[0]}'; known are {', '.join(MODELS)}")
    found = run(model or list(MODELS), threads, tell)
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
