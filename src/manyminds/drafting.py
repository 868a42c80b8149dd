"""A first recipe from four answers: model, data, prompts, budget; and what was seen and assumed on the way."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manyminds.config import Recipe
from manyminds.errors import UserError
from manyminds.first_recipe import Plan, parsed, text_of
from manyminds.records import Question
from manyminds.rewards.number_answer import read_number, same_number
from manyminds.tasks import Task, load_task

SECONDS = 3.0
"""How long answers are drawn to see how fast that goes."""
CLASSES = 6
"""So few different gold answers are named in the suggested prompts."""
UNITS = {"s": 1 / 60, "min": 1.0, "h": 60.0, "tokens": 1.0, "k tokens": 1e3, "m tokens": 1e6, "steps": 1.0}
BUDGET = re.compile(r"([\d.,]+)\s*(s|min|minutes?|h|hours?|k tokens|m tokens|tokens|steps?)", re.IGNORECASE)
WAYS = {
    "numbers": (
        ("equations", "Solve the problem with equations only, one on each line, and no words."),
        ("steps", "Solve the problem step by step in short sentences, one step on each line."),
        ("twice", "Solve the problem, then solve it again by another route, and settle which result is right."),
        ("backwards", "Say first what is asked and what is needed to know it, then work back to what is given."),
    ),
    "words": (
        ("facts", "List the facts that decide the question, one on each line, then conclude from them."),
        ("steps", "Reason step by step in short sentences, one step on each line."),
        ("elimination", "Go through the possible answers one by one, and say of each what speaks for and against it."),
    ),
}


@dataclass(frozen=True, slots=True)
class Data:
    """What the questions look like: their gold answers, which are "numbers" or "words", and the few that there are."""

    path: str
    task: Task
    kind: str
    answers: tuple[str, ...]

    @property
    def questions(self) -> list[Question]:
        return [question for questions in self.task.splits.values() for question in questions]

    @property
    def solutions(self) -> int:
        """How many questions have a worked solution."""
        return sum(bool(question.solution) for question in self.questions)

    @property
    def solved(self) -> bool:
        """Whether all have one."""
        return self.solutions == len(self.questions)

    @property
    def verifier(self) -> str:
        """The reward that says what is right: numbers compare as such where each gold answer is one, equal to itself.

        A gold answer of 4/2 is not: to a verifier that is a division left undone.
        """
        golds = (question.answer for question in self.questions)
        return "number_answer" if all(same_number(gold, gold) for gold in golds) else "exact_answer"


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent: an amount of "minutes", "tokens" or "steps"."""

    amount: float
    unit: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Drawn in a few seconds: tokens a second, and the mean length of an answer."""

    tokens_per_s: float
    mean_length: float


@dataclass(frozen=True, slots=True)
class Draft:
    """The recipe's text and what was assumed in it, a sentence each."""

    text: str
    assumed: tuple[str, ...]


def read_data(path: str) -> Data:
    """Look at the questions. Raises UserError as the run would."""
    task = load_task("jsonl", questions=path)
    questions = [question for its in task.splits.values() for question in its]
    golds = [question.answer for question in questions]
    numbers = all(read_number(gold) is not None for gold in golds)
    distinct = sorted(set(golds))
    few = tuple(distinct) if len(distinct) <= CLASSES and not numbers else ()
    return Data(path, task, "numbers" if numbers else "words", few)


def read_prompts(given: Sequence[str], data: Data) -> dict[str, str]:
    """Name and system prompt of each expert: "suggest", or prompts, or files with one on each line.

    A prompt may begin with its name and a colon. Raises UserError for fewer than two, or a name given twice.
    """
    if [one.strip().lower() for one in given] == ["suggest"]:
        return suggested(data)
    lines = [line for one in given for line in _lines(one)]
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        named = re.fullmatch(r"([\w-]{1,30}):\s+(.+)", line, re.DOTALL)
        name, text = (named[1], named[2]) if named else (f"expert{number}", line)
        if name in found:
            raise UserError(f"prompts: two have the name '{name}'; names must differ")
        found[name] = text
    if len(found) < 2:
        raise UserError(f"prompts: experts are two or more, not {len(found)}; give more, or `suggest`")
    return found


def _lines(given: str) -> list[str]:
    if not os.path.isfile(given):  # which also takes a prompt that is longer than any file's name
        return [given.strip()] if given.strip() else []
    try:
        text = Path(given).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompts: {given} cannot be read as UTF-8 text; write one prompt on each line") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def suggested(data: Data) -> dict[str, str]:
    """Unlike ways to solve, each with how the final answer of this data is to be written."""
    what = "the number" if data.kind == "numbers" else "the answer"
    if data.answers:
        what = f"{', '.join(data.answers[:-1])} or {data.answers[-1]}" if len(data.answers) > 1 else data.answers[0]
    end = f"End with a line that holds {data.task.answer_form.replace('{answer}', '').strip()} and then {what}."
    return {name: f"{way} {end}" for name, way in WAYS[data.kind]}


def read_budget(given: str) -> Budget:
    """ "30 min", "2M tokens", "200 steps". Raises UserError for anything else."""
    found = BUDGET.fullmatch(given.strip())
    try:
        amount = float(re.sub(r",(?=\d{3}(?:\D|$))", "", found[1])) if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or not 0 < amount < 1e15:
        raise UserError(
            f"budget: '{given}' is none; give minutes, tokens or steps, such as 30 min, 2M tokens, 200 steps"
        )
    unit = found[2].lower()
    short = {"minute": "min", "minutes": "min", "hour": "h", "hours": "h", "step": "steps"}.get(unit, unit)
    kind = "steps" if short == "steps" else "tokens" if "tokens" in short else "minutes"
    return Budget(amount * UNITS[short], kind)


def answer_room(data: Data, tokenizer: Any, context: int, longest_prompt: int) -> tuple[int, str]:
    """How long an answer may be in tokens, and why: twice the longest worked solution (without solutions at least 256),
    but no more than `context` leaves beside the longest prompt. Raises UserError where that is less than a solution."""
    ids = [len(tokenizer.encode(q.solution or q.answer, add_special_tokens=False)) for q in data.questions]
    wanted = max(32, math.ceil((2 * max(ids) if data.solved else max(256, 2 * max(ids))) / 32) * 32)
    room = min(wanted, context - longest_prompt)
    if room < max(ids) + 8:
        raise UserError(
            f"model: its context of {context} tokens leaves {max(room, 0)} beside the longest prompt, but the longest "
            f"{'solution' if data.solved else 'answer'} in {data.path} has {max(ids)}; shorten the prompts, or take a "
            "model with a longer context"
        )
    why = "twice the longest solution, rounded up" if data.solved else "a guess, for want of worked solutions"
    if room < wanted:
        why = f"all that the model's context leaves beside the longest prompt, not {wanted} ({why})"
    return room, why


def lr_for(parameters: int) -> float:
    """A learning rate to begin with: 1e-6 from 100 M parameters on, smaller models take and need larger ones."""
    return 1e-6 if parameters >= 1e8 else 1e-5 if parameters >= 1e7 else 1e-4


def draft(model: str, data: Data, prompts: dict[str, str], budget: Budget, name: str) -> Draft:
    """The recipe, held against model and data. Raises UserError for what would stop a run, and for a budget in minutes
    where the model is not on this disk, so that its speed cannot be measured."""
    from manyminds.loading import outline
    from manyminds.preview import judged, preview

    seen = outline(model, 0)
    questions = min(8, len(data.task.splits["train"]))
    plain = Plan(model, data, prompts, name, questions, 1, lr_for(seen.parameters), 1, None)
    at_first = preview(parsed(plain))
    longest = max(len(ids) for its in at_first.questions.values() for q in its for ids in q.prompt_ids.values())
    room, why = answer_room(data, seen.tokenizer, seen.context, longest)
    plan = replace(plain, max_tokens=room)
    speed = None
    if budget.unit != "steps" and (model == "tiny" or Path(model).is_dir()):
        speed = measured(parsed(plan))
    if budget.unit == "minutes" and speed is None:
        raise UserError(
            f"budget: minutes need the model '{model}' on this disk, to see how fast it is; give tokens or steps"
        )
    plan, assumed = _spent(plan, budget, speed)
    checked = preview(parsed(plan))
    problems = judged(checked)[1]
    if unread := [problem for problem in problems if not problem.fooled]:
        raise UserError(f"{data.path}: the verifier cannot read the gold answers: {unread[0]}")
    fooled = (f"Tricks that the verifier falls for: {len(problems)}, first: {problems[0]}",) if problems else ()
    golds = "numbers" if data.kind == "numbers" else f"one of {', '.join(data.answers)}" if data.answers else "words"
    sizes = ", ".join(f"{len(its):,} for {split}" for split, its in data.task.splits.items() if its)
    looked = (
        f"Data: {len(data.questions):,} questions ({sizes}), gold answers are {golds}, "
        f"{_share_solved(data)} a worked solution.",
        f"Model: {seen.parameters / 1e6:,.1f} M parameters, {seen.context:,} tokens of context, "
        f"{'a' if getattr(seen.tokenizer, 'chat_template', None) else 'no'} chat template.",
        f"Answers of up to {room} tokens: {why}.",
    )
    return Draft(text_of(plan), (*looked, *assumed, *fooled, *checked.notes))


def _share_solved(data: Data) -> str:
    if not data.solutions:
        return "none has"
    return "all have" if data.solved else f"{data.solutions:,} of them have"


def _spent(plan: Plan, budget: Budget, speed: Speed | None) -> tuple[Plan, tuple[str, ...]]:
    """Steps and tokens for the budget, and what was assumed."""
    if budget.unit == "steps":
        most = plan.rollouts * plan.max_tokens
        return replace(plan, steps=max(1, int(budget.amount))), (
            f"Budget: {int(budget.amount):,} steps of {plan.rollouts} answers, at most {most:,} tokens each.",
        )
    length = speed.mean_length if speed else plan.max_tokens / 2
    told = f"answers of {length:.0f} tokens, " + ("as measured" if speed else "half of what they may have: a guess")
    tokens = budget.amount
    if speed and budget.unit == "minutes":
        tokens = budget.amount * 60 * speed.tokens_per_s / 2
        told += (
            f", drawn at {speed.tokens_per_s:,.0f} a second as measured; learning is assumed to take as long as drawing"
        )
    steps = max(1, round(tokens / (plan.rollouts * length)))
    return replace(plan, steps=steps, sampled_tokens=max(1, round(tokens))), (
        f"Budget: {budget.amount:g} {budget.unit} come to {tokens:,.0f} sampled tokens or {steps:,} steps ({told}); "
        "evaluation comes on top.",
    )


def measured(recipe: Recipe) -> Speed:
    """How fast the model answers here: a few questions at first, then as many as a few seconds hold."""
    from manyminds.evaluate import ask
    from manyminds.loading import load

    loaded = load(recipe, recipe.model)
    names, number = [expert.name for expert in loaded.experts], 1
    train = loaded.questions["train"]
    began = time.perf_counter()
    while True:
        started = time.perf_counter()
        rows = ask(loaded, train[:number], names, 8, temperature=recipe.sampling.temperature, draw=f"init/{number}")
        drawn = [one.rollout.ids for row in rows for its in row.values() for one in its]
        tokens, seconds = sum(map(len, drawn)), time.perf_counter() - started
        if seconds > SECONDS / 3 or time.perf_counter() - began > SECONDS or number >= len(train):
            return Speed(max(tokens, 1) / seconds, max(tokens, 1) / len(drawn))
        number *= 2
