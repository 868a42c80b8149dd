"""Which of a model's own answers it is to be taught: the data rules of arXiv 2508.07534 for rejection fine-tuning.

Base: right answers only. (a) some wrong ones among them; (b) of the right ones those of the highest entropy; (c) those
of the highest branching factor. One answer to a question under each prompt, since that is what a file of worked answers
can teach: (b) and (c) choose first among the answers to a question, then, if fewer are to be kept, among the questions.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from manyminds.durable import explaining, read_numbered_jsonl, to_json, write_text
from manyminds.errors import UserError

By = Literal["first", "entropy", "branching"]
Row = dict[str, Any]
Prompt = tuple[str, str]
"""A question's id and an expert's name."""
KEPT_BACK = ("validation", "test")
TEXT, NUMBER = ("text", (str,)), ("a finite number", (int, float))
KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("id", "expert", "text", "finish", "set", "model"), TEXT),
    **dict.fromkeys(("entropy", "branching"), NUMBER),
    "correct": ("true, false or null", (bool, NoneType)),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The answers chosen, as `analyse` wrote them: right ones, and wrong ones mixed in. `prompts`: how many questions
    under an expert there were answers to; `available`: all right answers that could be chosen from."""

    right: tuple[Row, ...]
    wrong: tuple[Row, ...]
    prompts: int
    available: tuple[Row, ...]


def read_samples(path: Path) -> list[Row]:
    """The answers in a file that `analyse` wrote. Raises UserError, with the line, for anything else, and for answers
    to questions on which models are measured."""
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such file; give one that `manyminds analyse` wrote, with an answer a line"
        )
    rows = read_numbered_jsonl(path)
    if not rows:
        raise UserError(f"{path}: holds no answer; `manyminds analyse` writes one a line")
    for number, row in rows:
        where = f"{path} line {number}"
        for name, (what, kinds) in KINDS.items():
            value = row.get(name, ...) if isinstance(row, dict) else ...
            if type(value) not in kinds or (isinstance(value, float) and not math.isfinite(value)):
                raise UserError(f"{where}: `{name}` is missing or is not {what}; `manyminds analyse` writes such lines")
        if row["set"] in KEPT_BACK:
            raise UserError(
                f"{where}: is an answer to a {row['set']} question, on which models are measured; ask those of the "
                "warm-up with `manyminds analyse RUN --set warmup`"
            )
    return [row for _, row in rows]


def choose(samples: Sequence[Row], by: By = "first", *, keep: float = 1.0, wrong: float = 0.0, seed: int = 0) -> Chosen:
    """One right answer to every question under every prompt that has any, of these a share `keep` of each expert's, and
    among what is kept a share `wrong` of wrong ones.

    `by` says which answer to a question, and which questions: those of the highest mean token entropy or branching
    factor (among equals the first); with "first" the first answer, and questions at random. A wrong answer, drawn at
    random, is one to a prompt of which no right one is kept; once these are used up it takes the place of a right one.
    Answers that are empty, were cut off or have no verdict are not chosen. Raises UserError for shares that are none,
    and if no answer is right.
    """
    if not 0 <= wrong < 1:
        raise UserError(f"--wrong: {wrong:g} is no share of the answers from 0 to below 1, such as 0.05")
    if not 0 < keep <= 1:
        raise UserError(f"--keep: {keep:g} is no share of the questions above 0 and up to 1, such as 0.5")
    by_prompt: dict[Prompt, list[Row]] = {}
    for row in samples:
        if row["correct"] is not None and row["finish"] != "length" and row["text"].strip():
            by_prompt.setdefault((row["id"], row["expert"]), []).append(row)
    available = tuple(row for its in by_prompt.values() for row in its if row["correct"])
    if not available:
        raise UserError(
            "no answer is right, so there is nothing to teach; ask more with --samples, or a stronger model"
        )
    rng = random.Random(f"{seed}/select")
    best = _best(available, by, keep, rng)
    bad = _mixed_in(by_prompt, set(best), wrong, rng)
    taught = tuple(row for prompt, row in best.items() if prompt not in bad)
    return Chosen(taught, tuple(bad.values()), len(by_prompt), available)


def _best(right: Sequence[Row], by: By, keep: float, rng: random.Random) -> dict[Prompt, Row]:
    """The best of the right answers to every prompt, of each expert's the share `keep` with the best ones."""
    best: dict[Prompt, Row] = {}
    for row in right:
        other = best.setdefault((row["id"], row["expert"]), row)
        if by != "first" and row[by] > other[by]:
            best[row["id"], row["expert"]] = row
    kept: dict[Prompt, Row] = {}
    for expert in dict.fromkeys(name for _, name in best):
        its = [prompt for prompt in best if prompt[1] == expert]
        if by == "first":
            rng.shuffle(its)
        else:
            its.sort(key=lambda prompt: -best[prompt][by])
        kept |= {prompt: best[prompt] for prompt in its[: _share(keep, len(its))]}
    return kept


def _share(keep: float, count: int) -> int:
    """How many of so many are a share of them, rounded up, at least one; 0.55 * 100 is 55, whatever floats make it."""
    return max(1, math.ceil(keep * count - 1e-9))


def _mixed_in(
    by_prompt: dict[Prompt, list[Row]], solved: set[Prompt], share: float, rng: random.Random
) -> dict[Prompt, Row]:
    """Wrong answers by prompt, until they are the share of all that is chosen, or none is left."""
    failed = {prompt: [row for row in its if not row["correct"]] for prompt, its in by_prompt.items()}
    candidates = [prompt for prompt, its in failed.items() if its]
    rng.shuffle(candidates)
    candidates.sort(key=lambda prompt: prompt in solved)  # stable: first those that cost no right answer
    found: dict[Prompt, Row] = {}
    for prompt in candidates:
        if len(found) + 0.5 > share * (len(solved | set(found)) + 0.5):  # one more would be further from it
            break
        found[prompt] = rng.choice(failed[prompt])
    return found


def write_traces(chosen: Chosen, path: Path) -> int:
    """The chosen answers as a file for `task.experts_file`; how many. Raises UserError if it is there already."""
    if path.exists():
        raise UserError(f"{path}: is there already; name a file that is not, or delete it")
    rows = sorted((*chosen.right, *chosen.wrong), key=lambda row: (row["expert"], row["id"]))
    lines = [
        {
            "id": row["id"],
            "expert": row["expert"],
            "solution": row["text"],
            "correct": row["correct"],
            "origin": row["model"],
        }
        for row in rows
    ]
    with explaining(f"{path}: cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(to_json(line) + "\n" for line in lines))
    return len(lines)
