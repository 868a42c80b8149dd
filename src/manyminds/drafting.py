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

import yaml

from manyminds.config import Recipe, parse
from manyminds.errors import UserError
from manyminds.records import Question
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
    """What the questions look like: how many, their gold answers, and whether all have a worked solution."""

    path: str
    task: Task
    kind: str
    answers: tuple[str, ...]
    solved: bool

    @property
    def questions(self) -> list[Question]:
        return [question for questions in self.task.splits.values() for question in questions]


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
    numbers = all(re.fullmatch(r"-?[\d.,/]+%?", gold) for gold in golds)
    distinct = sorted(set(golds))
    few = tuple(distinct) if len(distinct) <= CLASSES and not numbers else ()
    return Data(path, task, "numbers" if numbers else "words", few, all(question.solution for question in questions))


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


def answer_room(data: Data, tokenizer: Any, context: int, longest_prompt: int) -> int:
    """How long an answer may be: twice the longest worked solution or 256 tokens, as far as the context goes."""
    ids = [len(tokenizer.encode(q.solution or q.answer, add_special_tokens=False)) for q in data.questions]
    wanted = 2 * max(ids) if data.solved else max(256, 2 * max(ids))
    room = min(max(32, math.ceil(wanted / 32) * 32), context - longest_prompt)
    if room < max(ids) + 8:
        raise UserError(
            f"model: its context of {context} tokens leaves {max(room, 0)} beside the longest prompt, but the longest "
            f"{'solution' if data.solved else 'answer'} in {data.path} has {max(ids)}; shorten the prompts, or take a "
            "model with a longer context"
        )
    return room


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
    plain = _Plan(model, data, prompts, name, questions, 1, lr_for(seen.parameters), 1, None)
    at_first = preview(_parsed(plain))
    longest = max(len(ids) for its in at_first.questions.values() for q in its for ids in q.prompt_ids.values())
    plan = replace(plain, max_tokens=answer_room(data, seen.tokenizer, seen.context, longest))
    speed = None
    if budget.unit != "steps" and (model == "tiny" or Path(model).is_dir()):
        speed = measured(_parsed(plan))
    if budget.unit == "minutes" and speed is None:
        raise UserError(
            f"budget: minutes need the model '{model}' on this disk, to see how fast it is; give tokens or steps"
        )
    plan, assumed = _spent(plan, budget, speed)
    checked = preview(_parsed(plan))
    problems = judged(checked)[1]
    if problems:
        raise UserError(f"{data.path}: the verifier cannot read the gold answers: {problems[0]}")
    golds = "numbers" if data.kind == "numbers" else f"one of {', '.join(data.answers)}" if data.answers else "words"
    sizes = ", ".join(f"{len(its):,} for {split}" for split, its in data.task.splits.items() if its)
    looked = (
        f"Data: {len(data.questions):,} questions ({sizes}), gold answers are {golds}, "
        f"{'all have' if data.solved else 'not all have'} a worked solution.",
        f"Model: {seen.parameters / 1e6:,.1f} M parameters, {seen.context:,} tokens of context, "
        f"{'a' if getattr(seen.tokenizer, 'chat_template', None) else 'no'} chat template.",
        f"Answers of up to {plan.max_tokens} tokens: "
        + ("twice the longest solution" if data.solved else "as there are no solutions to go by")
        + ", as far as the context goes.",
    )
    return Draft(text_of(plan), (*looked, *assumed, *checked.notes))


@dataclass(frozen=True, slots=True)
class _Plan:
    model: str
    data: Data
    prompts: dict[str, str]
    name: str
    questions: int
    max_tokens: int
    lr: float
    steps: int
    sampled_tokens: int | None

    @property
    def rollouts(self) -> int:
        return self.questions * len(self.prompts) * 8


def _spent(plan: _Plan, budget: Budget, speed: Speed | None) -> tuple[_Plan, tuple[str, ...]]:
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


def _parsed(plan: _Plan) -> Recipe:
    import yaml

    text = text_of(plan)
    return parse(yaml.safe_load(text), "recipe", text)


def text_of(plan: _Plan) -> str:
    """The commented recipe."""
    from manyminds.preview import CHECKED

    def quoted(words: str, plainly: bool = False) -> str:
        whole = yaml.safe_dump(words, default_style='"', allow_unicode=True, width=math.inf).strip()
        return words if plainly and yaml.safe_load(words) == words else whole

    experts = "\n".join(
        f"  - {{name: {quoted(name, plainly=True)}, system: {quoted(text)}}}" for name, text in plan.prompts.items()
    )
    every = max(1, plan.steps // 8)
    hard = "" if plan.data.solved else ", hard_coefficient: 0"
    buffer = "worked solutions return where an expert keeps failing"
    why = buffer if plan.data.solved else "no worked solutions, no buffer"
    tokens = "" if plan.sampled_tokens is None else f"sampled_tokens: {plan.sampled_tokens}  # training ends here too\n"
    test = len(plan.data.task.splits["test"])
    return f"""\
# Written by `manyminds init`; every key can be changed. Paths count from the folder in which commands are run.
name: {quoted(plan.name)}
model: {quoted(plan.model)}
# Of the questions 80 % train, the rest validates and tests. A final answer stands after the marker.
task: {{name: jsonl, questions: {quoted(plan.data.path)}, answer_marker: "####"}}
experts:
{experts}
# {plan.questions} questions x {len(plan.prompts)} experts x 8 answers a step; {why}.
method: {{name: meml_grpo, preset: tuned, questions_per_step: {plan.questions}, answers_per_prompt: 8{hard}}}
steps: {plan.steps}
{tokens}sampling: {{max_tokens: {plan.max_tokens}}}
optimizer: {{lr: {plan.lr:.1e}}}  # to begin with; ten times less if the reward falls, more if nothing moves
evaluation: {{every: {every}, questions: {CHECKED}, sampled_questions: {min(test, 100)}}}
checkpoint: {{every: {every}}}
"""
