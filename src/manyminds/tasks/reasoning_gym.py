"""Questions made by reasoning-gym, an extra: any of its families by name, each judged by the family's own scorer.

    task: {name: reasoning_gym, family: chain_sum, config: {max_terms: 3}, train: 1000}

A scorer sees what stands after the answer marker, never a whole response, and only an exact 1.0 counts: many give part
of the credit to text that merely holds the answer. Which families are refused, and why, was measured: see
benchmarks/gym_families.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

from manyminds.errors import UserError
from manyminds.records import Expert, Question
from manyminds.rewards.reward import reward
from manyminds.tasks.jsonl import after_marker
from manyminds.tasks.task import SPLITS, Task, did_you_mean

NO_GOLD = "its generator gives no answer that its own scorer takes"
UNSTEADY = "its questions differ from process to process, so a run could not be repeated or resumed"
UNSTEADY_GOLD = "the answers it gives differ from process to process, so a run could not be repeated or resumed"
RUNS = "its scorer runs the model's answer as Python"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"), NO_GOLD),
    **dict.fromkeys(("codeio", "isomorphic_strings", "polynomial_multiplication", "ransom_note"), UNSTEADY),
    **dict.fromkeys(("knight_swap", "word_ladder"), UNSTEADY_GOLD),
    **dict.fromkeys(("intermediate_integration", "simple_integration"), RUNS),
    "coin_flip": "its scorer takes the first digit of the right answer for all of it, so 0 is right nearly always",
    "game_of_life_halting": "its scorer takes any text for True",
    "puzzle24": "its scorer does not look which numbers were given, so one answer is right for every question",
    "composite": "it mixes families, and each is judged by itself here; name one of them",
}
"""Families that cannot be learnt from, and why."""

FORMS: Mapping[str, str] = {
    "binary_matrix": r"[0-9 \n]+",
    "countdown": r"(?!.*\*\*)[0-9+\-*/() ]+",
    "game_of_life": r"[\[\]0-9, \n]+",
    "n_queens": r"[Q_ \n]+",
    "prime_factorization": r"[0-9]+( *× *[0-9]+)*",
    "spiral_matrix": r"[-0-9 ]+",
    "string_insertion": r"[A-Z]+",
}
"""What an answer to these families looks like; what looks otherwise is wrong and is kept from their scorers, which
would run it as Python or break on it."""
LONGEST = 4000
"""Characters of an answer that a scorer is given."""
DRAWS = 20
"""Draws per question wanted, before a family counts as too small."""


def reasoning_gym(
    *,
    family: str,
    config: Mapping[str, Any] | None = None,
    warmup: int = 0,
    train: int = 1000,
    validation: int = 100,
    test: int = 300,
    answer_marker: str = "####",
    seed: int = 0,
) -> Task:
    """Four disjoint sets of questions of one family; the same arguments give the same questions.

    `config` are the family's own settings. Every set has seeds of its own, so that none depends on the size of another
    but for questions drawn twice, which stay in the set that comes last of warm-up, training, validation and test.
    There are no worked answers: a warm-up or a method that needs some cannot run. UserError for a family that is not
    there, or is refused; for settings that it does not take; and if it has too few different questions.
    """
    _needs_library()
    if not answer_marker.strip():
        raise UserError("task.answer_marker is empty; it must be the text that stands before a final answer.")
    _check_family(family)
    settings = json.dumps(_checked(family, config or {}), sort_keys=True)
    sizes, seen = {"warmup": warmup, "train": train, "validation": validation, "test": test}, set[str]()
    splits = {split: tuple(_questions(family, settings, split, seed, sizes[split], seen)) for split in reversed(SPLITS)}
    every = [question for questions in splits.values() for question in questions]
    long = any("\n" in question.answer for question in every)
    extract = all_after(answer_marker) if long else after_marker(answer_marker)
    for question in every:
        if extract(f"{answer_marker} {question.answer}") != question.answer:
            raise UserError(
                f"task.answer_marker: {answer_marker!r} stands in the answer to {question.id!r} itself; choose another"
            )
    return Task(
        name="reasoning_gym",
        splits={split: splits[split] for split in SPLITS},
        experts=experts_of(answer_marker),
        extract=extract,
        rewards=("manyminds.tasks.reasoning_gym:family_score",),
        answer_form=f"{answer_marker} {{answer}}",
        licence="Apache-2.0 (made by reasoning-gym)",
    )


def experts_of(marker: str) -> tuple[Expert, ...]:
    """Three ways to answer whatever a family asks."""
    end = f"End with {marker} and the final answer, in the form that was asked for."
    return (
        Expert("direct", f"Answer at once, without an explanation. {end}"),
        Expert("stepwise", f"Work it out step by step, each step on a short line of its own. {end}"),
        Expert("checking", f"Work it out, then check the result in another way and correct it if it fails. {end}"),
    )


def all_after(marker: str) -> Callable[[str], str | None]:
    """Reads all that stands after the last `marker`, for answers of several lines; None if there is nothing."""
    return partial(_all_after, marker)  # not a closure, so that it can be sent to the processes that judge answers


def _all_after(marker: str, text: str) -> str | None:
    _, found, rest = text.rpartition(marker)
    return (rest.strip() or None) if found else None


@reward
def family_score(question: Question, response: str, extract: Callable[[str], str | None]) -> bool:
    """Whether the family's scorer gives what the task reads out of the response exactly 1."""
    found, extras = extract(response), question.extras
    if found is None or len(found) > LONGEST or not re.fullmatch(FORMS.get(extras["family"], "(?s:.*)"), found):
        return False
    with contextlib.redirect_stdout(io.StringIO()):
        return float(_dataset(extras["family"], extras["config"], 0, 1).score_answer(found, extras["entry"])) == 1.0


def _needs_library() -> None:
    if find_spec("reasoning_gym") is None:
        raise UserError('task.name: reasoning_gym needs the library reasoning-gym; pip install "manyminds[gym]"')


def _check_family(family: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        from reasoning_gym.factory import DATASETS
    if family not in DATASETS:
        raise UserError(f"task.family: reasoning-gym has no family {family!r}; {did_you_mean(family, DATASETS)}")
    if family in REFUSED:
        raise UserError(f"task.family: {family} cannot be learnt from: {REFUSED[family]}; choose another family")


def _checked(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, if the family takes them."""
    from reasoning_gym.factory import DATASETS

    known = [field.name for field in fields(DATASETS[family][1]) if field.name not in ("seed", "size")]
    for key in config:
        if key in ("seed", "size"):
            raise UserError(
                f"task.config.{key}: give it as task.{'seed' if key == 'seed' else 'train'}, not in `config`"
            )
        if key not in known:
            raise UserError(f"task.config.{key}: the family {family} has no such setting; {did_you_mean(key, known)}")
    settings = dict(config)
    try:
        _dataset(family, json.dumps(settings, sort_keys=True), 0, 1)
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"task.config: the family {family} does not take these settings ({error})") from error
    return settings


@cache
def _dataset(family: str, settings: str, seed: int, size: int) -> Any:
    """The family with these settings (JSON); what it prints is dropped, for standard output may be JSON's."""
    with contextlib.redirect_stdout(io.StringIO()):
        from reasoning_gym import create_dataset

        return create_dataset(family, seed=seed, size=size, **json.loads(settings))


def _questions(family: str, settings: str, split: str, seed: int, size: int, seen: set[str]) -> Iterator[Question]:
    """`size` questions whose texts are not in `seen`, which they enter."""
    if size < 0:
        raise UserError(f"task.{split} is {size}; it must be 0 or more.")
    first = random.Random(f"reasoning_gym/{family}/{seed}/{split}").randrange(2**31)
    draws = DRAWS * max(size, 10)
    data, made = _dataset(family, settings, first, draws), 0
    for index in range(draws):
        if made == size:
            return
        with contextlib.redirect_stdout(io.StringIO()):
            entry = data[index]
        text, answer = str(entry["question"]).strip(), str(entry["answer"]).strip()
        if text in seen or not answer:
            continue
        seen.add(text)
        made += 1
        name = f"{family}-{first + index}"
        extras = {"family": family, "config": settings, "entry": entry}
        yield Question(id=name, text=text, answer=answer, source=f"reasoning_gym {name}", extras=extras)
    if made < size:
        raise UserError(
            f"task.{split} wants {size} questions of {family}, but {draws} draws gave only {made} that are not in "
            "another set; lower the sizes, or widen `config`"
        )
