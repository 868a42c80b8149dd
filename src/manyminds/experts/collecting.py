"""Collects worked answers: asks the teachers, keeps every answer as it comes, judges all, writes the experts' file.

Two files. `<experts>.answers.jsonl` only grows: every answer, right or wrong, under what was asked, so that nothing is
asked twice, whether the run was killed or wants more. `<experts>.jsonl` is made anew from it at the end, by the
recipe's reward as it is then; `tasks/jsonl.py` reads it as `task.experts_file`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyminds.config import Recipe
from manyminds.durable import append_jsonl, explaining, to_json, write_text
from manyminds.errors import UserError
from manyminds.experts.asking import Missed, ask_endpoints, ask_models
from manyminds.experts.coverage import Coverage, Judged, coverages, failing_together, oracle
from manyminds.experts.wanted import (
    Answer,
    Key,
    Want,
    Writer,
    answers_beside,
    destination,
    read_answers,
    sampled,
    wanted,
    writers,
)
from manyminds.loading import load_questions
from manyminds.records import Prompt, Rollout
from manyminds.result import Watch, silent
from manyminds.rewards.judge import Judge
from manyminds.sections import Collect
from manyminds.tasks import Task
from manyminds.tasks.jsonl import SHARES


@dataclass(frozen=True)
class Plan:
    """What will be asked: of all that is `wanted`, what `there` already holds is not asked again."""

    recipe: Recipe
    task: Task
    writers: tuple[Writer, ...]
    wanted: tuple[Want, ...]
    there: Mapping[Key, Answer]
    out: Path

    @property
    def missing(self) -> tuple[Want, ...]:
        return tuple(want for want in self.wanted if want.key not in self.there)

    @property
    def drawn(self) -> dict[str, Any]:
        return sampled(self.recipe, self.recipe.collect or Collect())


@dataclass(frozen=True)
class Collected:
    """What collecting came to. `out` has `rows` worked answers, right and wrong; `asked` were asked for this time.

    `oracle`: questions to which some expert has a right answer. `together`: see `coverage.failing_together`.
    `unanswered`: question, expert and cause of each answer that did not come; `said`: a sentence for each cause.
    """

    out: Path
    rows: int
    experts: tuple[Coverage, ...]
    oracle: int
    together: Mapping[str, Mapping[str, float | None]]
    unanswered: tuple[tuple[str, str, str], ...]
    said: Mapping[str, str]
    asked: int
    seconds: float


def plan(recipe: Recipe, out: str | Path | None = None) -> Plan:
    """What is wanted and what is there; asks nothing and writes nothing. Raises UserError for a recipe that cannot be
    collected for. A `collect` section that is missing is one with nothing in it."""
    config = recipe.collect or Collect()
    path = destination(recipe, out)
    # The traces that are there already, or not yet, have no part in it; the sets are those that there are with them.
    sets = {"shares": SHARES} if "questions" in recipe.task and recipe.task.get("shares") is None else {}
    bare = {key: value for key, value in recipe.task.items() if key != "experts_file"} | sets
    task, experts, _ = load_questions(recipe.model_copy(update={"task": bare}))
    its_writers = writers(recipe, config, experts)
    return Plan(
        recipe,
        task,
        its_writers,
        wanted(config, task.splits, its_writers),
        read_answers(answers_beside(path)),
        path,
    )


def collect(recipe: Recipe, out: str | Path | None = None, *, watch: Watch = silent) -> Collected:
    """Ask for every worked answer that is missing, judge all, and write the file of the experts (see the module).

    Raises UserError if not one answer is there at the end, or nothing can be asked at all.
    """
    started = time.perf_counter()
    its = plan(recipe, out)
    verifier = Judge(its.task.rewards, its.task.extract, config=recipe.judge)
    for note in (*its.task.notes, *verifier.rewards[0].notes):  # before anything is paid for
        watch("note", 0, len(its.missing), {"text": note})
    missing, answers, missed = its.missing, dict(its.there), Missed()
    total, tokens = len(missing), 0

    def keep(some: Sequence[Answer]) -> None:
        nonlocal tokens
        append_jsonl(answers_beside(its.out), *(answer.row() for answer in some))
        answers.update((answer.key, answer) for answer in some)
        tokens += sum(answer.prompt_tokens + answer.completion_tokens for answer in some)
        watch("step", len(answers) - len(its.there), total, {"tokens": tokens, "unanswered": len(missed.causes)})

    def tell(text: str) -> None:
        watch("note", 0, total, {"text": text})

    with explaining(f"cannot write to the folder {its.out.parent}"):
        its.out.parent.mkdir(parents=True, exist_ok=True)
    if total < len(its.wanted):
        rest = f"asking for {total:,}" if total else "nothing is asked"
        tell(f"{len(its.wanted) - total:,} of {len(its.wanted):,} answers are there already; {rest}")
    ask_endpoints(missing, its.drawn, keep, missed, tell)
    ask_models(missing, recipe, its.drawn, keep, missed, tell)
    came = [(want, answers[want.key]) for want in its.wanted if want.key in answers]
    if not came:
        raise UserError(next(iter(missed.said.values())))
    for model in unvaried(came) if its.drawn["temperature"] > 0 else ():
        tell(f"{model}: all its answers to a question are the same, so it does not sample; see docs/collect.md")
    judged, rows = judge(its, came, verifier)
    write_text(its.out, "".join(to_json(row) + "\n" for row in rows))
    names = [writer.expert for writer in its.writers]
    lost = [(want.writer.expert, cause) for want, cause in missed.causes]
    return Collected(
        out=its.out,
        rows=len(rows),
        experts=coverages(
            {writer.expert: writer.model for writer in its.writers},
            len({want.question.id for want in its.wanted}),
            judged,
            lost,
        ),
        oracle=oracle(judged),
        together=failing_together(names, judged),
        unanswered=tuple((want.question.id, want.writer.expert, cause) for want, cause in missed.causes),
        said=missed.said,
        asked=total,
        seconds=time.perf_counter() - started,
    )


def unvaried(came: Sequence[tuple[Want, Answer]], enough: int = 8) -> tuple[str, ...]:
    """Models that answered `enough` questions or more several times, and each time with the same words."""
    texts: dict[str, dict[tuple[str, str], list[str]]] = {}
    for _, answer in came:
        texts.setdefault(answer.model, {}).setdefault((answer.id, answer.expert), []).append(answer.text)
    several = {model: [its for its in by.values() if len(its) > 1] for model, by in texts.items()}
    return tuple(m for m, its in several.items() if len(its) >= enough and all(len(set(one)) == 1 for one in its))


def judge(its: Plan, came: Sequence[tuple[Want, Answer]], verifier: Judge) -> tuple[list[Judged], list[dict[str, Any]]]:
    """The verdicts, and the rows of the experts' file: whole answers, each with its final answer and its verdict.

    An answer that is empty or was cut off is no worked answer, whatever the verdict, and has no row.
    """
    rollouts = [
        Rollout(Prompt(want.question, want.writer.expert), (), (), answer.text, answer.finish) for want, answer in came
    ]
    judged, rows = [], []
    for (_, answer), scored in zip(came, verifier.verify(rollouts), strict=True):
        whole = bool(answer.text.strip()) and answer.finish != "length"
        right = whole and scored.right
        counts = (answer.prompt_tokens, answer.completion_tokens)
        judged.append(Judged(answer.id, answer.expert, right, whole, *counts))
        if whole:
            row = {"id": answer.id, "expert": answer.expert, "solution": answer.text.strip()}
            verdict = {"final_answer": its.task.extract(answer.text), "correct": right}
            rows.append({**row, **verdict, "origin": answer.model})
    return judged, rows
