"""How near is the memory that `--dry-run` estimates to what a run takes at most?

    python benchmarks/estimate.py [--only NAME ...] [--threads 1] [--json] [--out benchmarks/results/estimate.json]

Each setting is a recipe over a random Llama, two training steps with evaluation and checkpoint. It is estimated in one
fresh process and run in another, whose high-water mark (VmHWM) is the measure. Random weights hardly ever end an
answer, so that answers are as long as they may be: the most a run could need. Claimed: every estimate is within 25 % of
the measured peak. Takes about five minutes on one core. On CUDA the estimate adds up the same terms, unmeasured.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from fresh import MIB, called, needs_linux, peak
from rich.console import Console
from rich.table import Table
from telling import AsJson, Out, give, tell

from manyminds.checkpoint import versions
from manyminds.machine import machine

WITHIN = 0.25
"""The claim: the estimate is no further from the measured peak, as a share of it."""


@dataclass(frozen=True)
class Setting:
    """A model and a recipe over it: a Llama of this width, answers of up to `tokens` tokens.

    `bound` says why the estimate can only be an upper bound here, if so: then it is held from below alone.
    """

    name: str
    hidden: int = 64
    layers: int = 3
    heads: int = 4
    kv_heads: int = 1
    vocabulary: int = 1_000
    questions: int = 4
    answers: int = 8
    tokens: int = 64
    prompt: int = 24
    method: str = "grpo"
    lora: int = 0
    engine: tuple[tuple[str, Any], ...] = ()
    bound: str = ""

    @property
    def inner(self) -> int:
        return self.hidden * 11 // 4 // 8 * 8


SETTINGS = (
    Setting("tiny", questions=8),
    Setting("5m, short answers", 256, 6, 8, 8, questions=2, tokens=64),
    Setting("5m, long answers", 256, 6, 8, 8, questions=1, tokens=384),
    Setting("5m, 50,000 words", 256, 6, 8, 8, vocabulary=50_000, questions=1, tokens=64),
    Setting("5m, mixed", 256, 6, 8, 8, questions=2, tokens=64, engine=(("precision", "mixed"),)),
    Setting(
        "25m, meml_grpo", 512, 8, 8, 2, questions=2, tokens=64, method="meml_grpo", engine=(("tokens_at_once", 768),)
    ),
    Setting(
        "25m, meml_grpo, few rows",
        512,
        8,
        8,
        2,
        questions=1,
        tokens=96,
        method="meml_grpo",
        bound="half of the rows teach nothing, and one micro-batch would have held them all",
    ),
    Setting("25m, lora", 512, 8, 8, 2, questions=1, tokens=96, lora=16),
    Setting("25m, checkpointing", 512, 8, 8, 8, questions=1, tokens=96, engine=(("gradient_checkpointing", True),)),
    Setting("53m, small micro-batches", 768, 8, 12, 4, questions=1, tokens=48, engine=(("tokens_at_once", 256),)),
)


def verdict(response: str) -> float:
    """Right or wrong as a hash of the words decides, so that groups are mixed and nearly every row is learnt."""
    from zlib import crc32

    return float(crc32(response.encode()) % 2)


def recipe(setting: Setting, folder: Path) -> dict[str, Any]:
    """The recipe over a model and questions that are written into the folder."""
    words = [f"w{i}" for i in range(setting.vocabulary - 4)]
    model(setting, words, folder / "model")
    lines = []
    for i in range(24):
        text = " ".join(words[(i * 7 + j * 3) % len(words)] for j in range(setting.prompt - 2))
        lines.append(json.dumps({"id": str(i), "question": text, "answer": "w1", "solution": "w1 w2 w3"}))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    method = {"name": setting.method, "questions_per_step": setting.questions, "answers_per_prompt": setting.answers}
    return {
        "name": "estimate",
        "model": str(folder / "model"),
        "task": {
            "name": "jsonl",
            "questions": str(folder / "questions.jsonl"),
            "shares": {"warmup": 0, "train": 0.8, "validation": 0.1, "test": 0.1},
            "rewards": ["estimate:verdict"],
        },
        "experts": [{"name": "one", "system": "w5"}, {"name": "two", "system": "w6"}],
        "method": method,
        "steps": 2,
        "sampling": {"max_tokens": setting.tokens},
        "evaluation": {"every": 1, "questions": 2, "samples": 8, "sampled_questions": 1, "group": 8},
        "checkpoint": {"every": 1},
        "engine": dict(setting.engine),
        "lora": {"rank": setting.lora} if setting.lora else None,
        "output": str(folder / "runs"),
    }


def model(setting: Setting, words: list[str], folder: Path) -> None:
    """A Llama of random weights and a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    named = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*named.values(), *words])}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=core, **named).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=setting.vocabulary,
        hidden_size=setting.hidden,
        intermediate_size=setting.inner,
        num_hidden_layers=setting.layers,
        num_attention_heads=setting.heads,
        num_key_value_heads=setting.kv_heads,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


def write(name: str, folder: str) -> dict[str, Any]:
    """The plain data of a setting's recipe, its model and questions written into the folder."""
    return recipe(next(one for one in SETTINGS if one.name == name), Path(folder))


def estimated(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the dry run says of the recipe's costs, and its memory part by part."""
    from manyminds.config import parse
    from manyminds.preview import preview, training_cost, training_footprint

    seen = preview(parse(dict(data)))
    parts = training_footprint(seen)
    return {**training_cost(seen), "held": parts.held, "phases": parts.phases, "largest": parts.largest}


def measured(data: Mapping[str, Any]) -> dict[str, float]:
    """MiB that the run took at most."""
    with peak() as found:
        import manyminds
        from manyminds.config import parse

        result = manyminds.train(parse(dict(data)))
        assert result.step == 2
        assert result.costs["trained_tokens"] > 0
    return found


def compared(setting: Setting, threads: int) -> dict[str, Any]:
    """A setting with its estimate, its measured peak, both in MiB, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        data = called("estimate", "write", {"name": setting.name, "folder": folder}, threads=threads)
        said = called("estimate", "estimated", {"data": data}, threads=threads)
        took = called("estimate", "measured", {"data": data}, threads=threads)["peak"]
    memory = said["memory_bytes"] / MIB
    return {
        "setting": asdict(setting),
        "estimate": said,
        "largest": said["largest"],
        "estimated": memory,
        "measured": took,
        "ratio": memory / took,
    }


def show(found: Mapping[str, Any], text: Console) -> None:
    """A line per setting, and the claim."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("setting", "M parameters", "estimated, MiB", "measured", "ratio", "largest phase"):
        table.add_column(column, justify="left" if column in ("setting", "largest phase") else "right")
    for one in found["settings"]:
        figures = (f"{one['estimated']:,.0f}", f"{one['measured']:,.0f}", f"{one['ratio']:.2f}")
        millions = f"{one['estimate']['parameters'] / 1e6:.1f}"
        table.add_row(one["setting"]["name"], millions, *figures, one["largest"])
    text.print(table)
    for one in found["settings"]:
        if one["setting"]["bound"]:
            text.print(f"{one['setting']['name']}: an upper bound, as {one['setting']['bound']}.", soft_wrap=True)
    text.print(f"Within {WITHIN:.0%} everywhere: the claim {'holds' if found['holds'] else 'DOES NOT HOLD'}.")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Settings to run, by name.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each run.")] = 1,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """How near is the memory that `--dry-run` estimates to what a run takes at most?"""
    needs_linux()
    settings = []
    for setting in SETTINGS:
        if not only or setting.name in only:
            tell(setting.name)
            settings.append(compared(setting, threads))
    command = f"python benchmarks/estimate.py {' '.join(sys.argv[1:])}".strip()
    head = {"machine": machine(), "versions": versions(), "command": command, "threads": threads}
    found = {
        **head,
        "holds": all(holds(one["ratio"], one["setting"]["bound"]) for one in settings),
        "settings": settings,
    }
    give(found, partial(show, found), as_json=as_json, out=out)


def holds(ratio: float, bound: str = "") -> bool:
    """Whether an estimate that is so many times what was measured is near enough; a bound may be higher."""
    return ratio >= 1 - WITHIN and (ratio <= 1 + WITHIN or bool(bound))


if __name__ == "__main__":
    typer.run(main)
