"""Does the memory of an update stay the same when the vocabulary grows from 1,000 to 150,000 words, weights apart?

    python benchmarks/memory.py [--tokens 4096] [--threads 1] [--json] [--out benchmarks/results/memory.json]

One update (rows split, forward, backward, optimiser) on 2 prompts with 2 answers of 4,096 tokens each, by a small Llama
with a head of its own, each time in a fresh process. The logits of one row alone would take 2.3 GiB. Claimed:

    peak(150,000) <= 1.3 * peak(1,000) + 4 * the bytes that embedding and head have grown by

4, for AdamW keeps weight, gradient and two moments. Where TRL is installed its GRPOTrainer stands beside it: its own
update of the same model on rows of the same sizes, one at a time (its leanest), drawn beforehand instead of generated.
"held" is what the process had when the update began, "above" what came on top. Takes about four minutes on one core.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from fresh import MIB, Failed, called, needs_linux, peak
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell

from manyminds.checkpoint import versions
from manyminds.machine import machine

VOCABULARIES = (1_000, 150_000)
SLACK, STATES = 1.3, 4
"""The claim's: what the peak may grow by, and the numbers kept for each weight."""


@dataclass(frozen=True)
class Rows:
    """The update: `prompts` of `prompt` tokens, `answers` of `tokens` to each, and a Llama of this width."""

    tokens: int = 4096
    prompts: int = 2
    answers: int = 2
    prompt: int = 32
    hidden: int = 64
    layers: int = 2
    heads: int = 4

    def added_bytes(self, vocabularies: tuple[int, int]) -> int:
        """By how much embedding and head together grow, in float32."""
        return 2 * 4 * self.hidden * (vocabularies[1] - vocabularies[0])

    def drawn(self, vocabulary: int) -> list[list[int]]:
        """Answers of random words."""
        draw = random.Random(1)
        return [draw.choices(range(4, vocabulary), k=self.tokens) for _ in range(self.prompts * self.answers)]


def _model(rows: Rows, vocabulary: int) -> tuple[Any, Any]:
    """The size, and a model of it from random weights whose head is not the embedding."""
    import torch
    from limit import Size
    from transformers import LlamaForCausalLM

    size = Size(
        rows.hidden, rows.layers, rows.heads, rows.heads, 11 * rows.hidden // 4,
        vocabulary=vocabulary, prompts=rows.prompts, answers=rows.answers, prompt=rows.prompt, new=rows.tokens,
    )  # fmt: skip
    config = size.config()
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    return size, LlamaForCausalLM(config)


def ours(vocabulary: int, rows: Mapping[str, int]) -> dict[str, Any]:
    """The figures of our update. Raises AssertionError if it learnt nothing."""
    from limit import lesson

    from manyminds.policy.hf_policy import HFPolicy
    from manyminds.records import Rollout
    from manyminds.sections import Engine, OptimizerConfig
    from manyminds.step import learn

    its = Rows(**rows)
    size, model = _model(its, vocabulary)
    prompts = [ask.prompt for ask in size.asks() for _ in range(its.answers)]
    drawn = [tuple(ids) for ids in its.drawn(vocabulary)]
    rollouts = [Rollout(p, ids, (0.0,) * len(ids), "") for p, ids in zip(prompts, drawn, strict=True)]
    update, terms = lesson(rollouts)
    policy = HFPolicy(model, OptimizerConfig(), steps=9, engine=Engine(precision="float32"))

    def run() -> None:
        metrics = learn(update, terms, policy)
        assert metrics["grad_norm"] > 0
        assert metrics["trained_rows"] == len(rollouts)

    return _figures(run)


def trl(vocabulary: int, rows: Mapping[str, int]) -> dict[str, Any]:
    """The figures of TRL's update on rows of the same sizes. Raises AssertionError if it did another job."""
    from transformers import TrainerCallback
    from vs_trl import trl_side
    from vs_trl.workloads import Workload, character_tokenizer, random_job

    its = Rows(**rows)
    _, model = _model(its, vocabulary)
    workload = Workload(
        "memory", its.prompts, its.answers, its.tokens, lr=1e-6, warm=0, timed=1,
        hidden=its.hidden, layers=its.layers, heads=its.heads, prompt_tokens=its.prompt,
    )  # fmt: skip
    drawn, seen = its.drawn(vocabulary), trl_side.Seen()
    job = random_job(workload, character_tokenizer())
    with tempfile.TemporaryDirectory() as folder:
        args = trl_side.settings(workload, "float32", 1) | {"output_dir": folder}
        trainer = trl_side.trainer(job, model, character_tokenizer(), args, TrainerCallback(), seen)
        trainer._generate_single_turn = lambda *_, **__: (drawn, None)
        figures = _figures(trainer.train)
    seen.check(job, 1)
    return figures


def _figures(run: Callable[[], object]) -> dict[str, Any]:
    """MiB before and at most during the run, and the processor seconds it took."""
    began = time.process_time()
    with peak() as found:
        run()
    return {**found, "above": found["peak"] - found["held"], "cpu_seconds": time.process_time() - began}


def compared(small: Mapping[str, float], large: Mapping[str, float], added: int) -> dict[str, Any]:
    """The claim on two runs, by MiB: the bound, the ratio of peaks, and whether it holds."""
    allowed = SLACK * small["peak"] + STATES * added / MIB
    without = large["peak"] - STATES * added / MIB
    return {
        "ratio": large["peak"] / small["peak"],
        "ratio_without_weights": without / small["peak"],
        "allowed": allowed,
        "holds": large["peak"] <= allowed,
    }


def measured(rows: Rows, threads: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Both sides at both vocabularies, and the claim on each side that ran."""
    added = rows.added_bytes(VOCABULARIES)
    sides: dict[str, Any] = {}
    for side in ("ours", *(["trl"] if find_spec("trl") else [])):
        runs: dict[str, Any] = {}
        for vocabulary in VOCABULARIES:
            tell(f"{side}, {vocabulary:,} words")
            try:
                runs[str(vocabulary)] = called(
                    "memory", side, {"vocabulary": vocabulary, "rows": asdict(rows)}, threads=threads
                )
            except Failed as failure:
                if side == "ours":
                    raise
                runs[str(vocabulary)] = {"failed": str(failure)}
        small, large = runs.values()
        verdict = {} if {"failed"} & {*small, *large} else compared(small, large, added)
        sides[side] = {"runs": runs, **verdict}
    return {"rows": asdict(rows), "added_bytes": added, "logits_bytes": 4 * rows.tokens * VOCABULARIES[1], **sides}


def show(found: Mapping[str, Any], text: Console) -> None:
    """A line per side and vocabulary, and the claim."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("side", "words", "held, MiB", "above", "peak", "CPU s"):
        table.add_column(column, justify="left" if column == "side" else "right")
    sides = [side for side in ("ours", "trl") if side in found]
    for side in sides:
        for words, run in found[side]["runs"].items():
            cells = [f"{run[name]:,.0f}" for name in ("held", "above", "peak", "cpu_seconds") if name in run]
            table.add_row(side, f"{int(words):,}", *(cells or [run.get("failed", "")]))
    text.print(table)
    for side in sides:
        its = found[side]
        if "holds" in its:
            text.print(
                f"{side}: the peak grows {its['ratio']:.2f} times, {its['ratio_without_weights']:.2f} without weights; "
                f"allowed are {its['allowed']:,.0f} MiB: the claim {'holds' if its['holds'] else 'DOES NOT HOLD'}",
                highlight=False,
                soft_wrap=True,
            )


def main(
    tokens: Annotated[int, typer.Option(min=2, help="Of every answer.")] = Rows.tokens,
    threads: Annotated[int, typer.Option(min=1, help="Threads of either side.")] = 1,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Does the memory of an update stay the same when the vocabulary grows from 1,000 to 150,000 words?"""
    needs_linux()
    taken = measured(Rows(tokens), threads, tell)
    command = f"python benchmarks/memory.py {' '.join(sys.argv[1:])}".strip()
    found = {"machine": machine(), "versions": versions(), "command": command, "threads": threads, **taken}
    give(found, partial(show, found), as_json=as_json, out=out)


if __name__ == "__main__":
    typer.run(main)
