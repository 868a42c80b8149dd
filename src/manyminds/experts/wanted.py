"""Which worked answers are wanted, of whom, and which of them a file of answers already holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from manyminds.config import Recipe
from manyminds.durable import read_numbered_jsonl, to_json
from manyminds.errors import UserError
from manyminds.experts.rendering import conversation
from manyminds.records import Expert, Question
from manyminds.sections import Collect, Teacher
from manyminds.tasks.task import did_you_mean

Key = tuple[str, str, int, str]
"""Question, expert, number of the sample, and what was asked: an answer to it is never asked for again."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes under one expert's prompt. `expert` is the name that its answers are filed under; `model` is the name
    of the model, and `print` stands for everything but the question that an answer depends on."""

    expert: str
    system: str | None
    teacher: Teacher
    model: str
    print: str


@dataclass(frozen=True, slots=True)
class Want:
    """One worked answer: the `sample`-th (from 0) of a writer to a question."""

    question: Question
    writer: Writer
    sample: int

    @property
    def key(self) -> Key:
        asked = to_json([self.writer.print, self.messages()])
        print_ = hashlib.sha256(asked.encode()).hexdigest()[:16]
        return (self.question.id, self.writer.expert, self.sample, print_)

    def messages(self) -> list[dict[str, str]]:
        """What a chat model is asked."""
        system, turns = conversation(self.question, Expert(self.writer.expert, self.writer.system))
        messages = [("system", system), *turns] if system else turns
        return [{"role": role, "content": content} for role, content in messages]


@dataclass(frozen=True, slots=True)
class Answer:
    """A row of the file of answers: what was asked (see `Want.key`), and what came, judged by nobody."""

    id: str
    expert: str
    sample: int
    asked: str
    model: str
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int

    @classmethod
    def to(cls, want: Want, text: str, finish: str, prompt_tokens: int, completion_tokens: int) -> Answer:
        return cls(*want.key, want.writer.model, text, finish, prompt_tokens, completion_tokens)

    @property
    def key(self) -> Key:
        return (self.id, self.expert, self.sample, self.asked)

    def row(self) -> dict[str, Any]:
        return asdict(self)


def writers(recipe: Recipe, config: Collect, experts: Sequence[Expert]) -> tuple[Writer, ...]:
    """Who writes for each expert. Raises UserError for a teacher of nobody, or of two experts with unequal prompts."""
    names = [expert.teacher or expert.name for expert in experts]
    for name in config.teachers:
        if name not in names:
            raise UserError(f"collect.teachers.{name}: no expert learns from it; {did_you_mean(name, names)}")
    found: dict[str, Writer] = {}
    for name, expert in zip(names, experts, strict=True):
        teacher = config.teachers.get(name, config.teacher)
        system = expert.system if teacher.system is None else teacher.system
        model = teacher.model or teacher.folder or recipe.model
        writer = Writer(name, system, teacher, model, _print(recipe, config, teacher, model, system))
        if found.setdefault(name, writer) != writer:
            raise UserError(
                f"experts: two experts learn from the teacher '{name}' under unequal prompts; give one of them a "
                "`teacher` of its own, or leave `teacher` out"
            )
    return tuple(found.values())


def _print(recipe: Recipe, config: Collect, teacher: Teacher, model: str, system: str | None) -> str:
    """All that an answer depends on besides the question, as text. Where it is asked, and how often, is not in it."""
    drawn: dict[str, Any] = {"model": model, "system": system, **sampled(recipe, config)}
    if teacher.url is not None:
        return to_json({**drawn, "options": teacher.options})
    place = Path(model)
    # Weights that were trained on are another model under the same name.
    files = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in place.glob("*")) if place.is_dir() else []
    own = {"seed": recipe.seed, "stop": recipe.sampling.stop, "template": recipe.chat_template_kwargs, "files": files}
    return to_json({**drawn, **own})


def sampled(recipe: Recipe, config: Collect) -> dict[str, Any]:
    """The `temperature` and `max_tokens` of collected answers."""
    temperature = recipe.sampling.temperature if config.temperature is None else config.temperature
    return {"temperature": temperature, "max_tokens": config.max_tokens or recipe.sampling.max_tokens}


def wanted(
    config: Collect, splits: Mapping[str, Sequence[Question]], its_writers: Sequence[Writer]
) -> tuple[Want, ...]:
    """Every worked answer, question by question, so that an early end leaves whole questions. UserError without any."""
    questions = [question for name in config.sets for question in splits[name][: config.questions]]
    if not questions:
        raise UserError(
            f"collect.sets: there is no question in {', '.join(config.sets) or 'no set'}; give it a file or a share of "
            "`questions` (such as task.shares.warmup), or name another set"
        )
    return tuple(Want(q, writer, i) for q in questions for writer in its_writers for i in range(config.n))


def answers_beside(out: Path) -> Path:
    """The file in which answers are kept as they come, right or wrong."""
    return out.with_name(f"{out.stem}.answers.jsonl")


def read_answers(path: Path) -> dict[Key, Answer]:
    """The answers of a file by what was asked; none if it is not there. Raises UserError for rows of another kind."""
    answers: dict[Key, Answer] = {}
    kinds = get_type_hints(Answer)
    for number, row in read_numbered_jsonl(path) if path.exists() else []:
        its = {name: type(value) for name, value in row.items()} if isinstance(row, dict) else None
        if its != kinds:
            raise UserError(
                f"{path}: holds other rows than collected answers, first in line {number}; take it out, or move the "
                "file away"
            )
        answer = Answer(**row)
        answers.setdefault(answer.key, answer)
    return answers


def destination(recipe: Recipe, out: str | Path | None) -> Path:
    """The file of worked answers: `out`, else the recipe's `task.experts_file`.

    Raises UserError if there is neither, or if it holds something that was not collected.
    """
    named = out or recipe.task.get("experts_file")
    if not isinstance(named, str | Path):
        raise UserError("task.experts_file: is missing; it names the file to write, or name one with --out")
    path = Path(named)
    if path.exists() and not answers_beside(path).exists():
        raise UserError(f"{path}: is there and was not collected, so it is left as it is; name another file with --out")
    return path
