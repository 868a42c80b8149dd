"""What a recipe would do, without doing it: prompts, who says what in the method, and what a step costs at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manyminds.config import Recipe
from manyminds.errors import UserError
from manyminds.loading import Outline, load_questions, outline, render
from manyminds.methods.compose import Composed
from manyminds.records import PLAIN, Ids, Progress, Question
from manyminds.rewards import Reward
from manyminds.rewards.judge import NONSENSE, Judge
from manyminds.tasks import Task

CHECKED = 200
"""Questions of each set whose gold answer is judged by `check`."""


@dataclass(frozen=True)
class Preview:
    """A recipe as it was resolved, with the questions rendered for the model's tokenizer; no weights are read.

    `prompts` are the ids of one training question under every prompt, the plain one first, and `texts` the same as
    text. `says`: which layer of the method says what. `rewards` in order, the verifier first.
    """

    recipe: Recipe
    task: Task
    question: Question
    questions: dict[str, tuple[Question, ...]]
    prompts: dict[str, Ids]
    texts: dict[str, str]
    says: dict[str, str]
    notes: tuple[str, ...]
    model: Outline
    rewards: tuple[Reward, ...]


def preview(recipe: Recipe) -> Preview:
    """Everything but the weights. Raises UserError for whatever would stop the run before its first step."""
    task, experts, recipe = load_questions(recipe)
    model = outline(recipe.model, recipe.seed, recipe.lora)
    questions, notes = render(recipe, task, experts, model.tokenizer, model.context, model.words)
    if not questions["train"]:
        raise UserError("task: there is no question to train on")
    question = questions["train"][0]
    names = (PLAIN, *(expert.name for expert in experts))
    prompts = {name: question.prompt_ids[name] for name in names}
    texts = {name: model.tokenizer.decode(list(ids), skip_special_tokens=False) for name, ids in prompts.items()}
    says = Composed(recipe.method).describe()
    rewards = Judge(task.rewards, task.extract).rewards
    return Preview(recipe, task, question, questions, prompts, texts, says, notes, model, rewards)


def training_cost(seen: Preview) -> dict[str, int]:
    """What a training step costs at most, and the run; counts of answers, tokens, rows and bytes.

    Bytes are those of weights (and a reference copy where the method needs one), gradients and Adam's two moments, all
    as wide as the weights: an estimate, to which activations and the sampler's cache come on top.
    """
    method, recipe = Composed(seen.recipe.method), seen.recipe
    asks = method.ask(seen.question, method.initial_memory(), Progress(1, 0.0))
    answers = sum(ask.n for ask in asks) * method.questions_per_step
    longest = recipe.sampling.max_tokens
    step = answers * method.rounds * longest
    budget = recipe.sampled_tokens + step if recipe.sampled_tokens is not None else step * recipe.steps
    prompt = max((len(q.prompt_ids[a.prompt.expert]) for q in seen.questions["train"] for a in asks), default=0)
    copies = 2 if "reference" in method.needs and recipe.lora is None else 1
    return {
        "rollouts_per_step": answers * method.rounds,
        "sampled_tokens_per_step_at_most": step,
        "sampled_tokens_at_most": min(step * recipe.steps, budget),
        "rows_per_update": answers,
        "tokens_per_row_at_most": prompt + longest,
        **_memory(seen.model, copies),
    }


def warmup_cost(seen: Preview) -> dict[str, int]:
    """As `training_cost`, for the warm-up, which samples nothing. Raises UserError if the recipe has none."""
    config = seen.recipe.warmup
    if config is None:
        raise UserError("warmup: the recipe has no such section; add one, or train without it")
    rows = [len(q.prompt_ids[name]) + len(t.ids) for q in seen.questions["warmup"] for name, t in q.traces.items()]
    return {
        "rows_per_update": config.rows_per_step,
        "tokens_per_row_at_most": max(rows, default=0),
        "traces": len(rows),
        **_memory(seen.model, 1),
    }


def _memory(model: Outline, copies: int) -> dict[str, int]:
    numbers = copies * model.parameters + 3 * model.trained  # a gradient and two moments for what is trained
    return {"parameters": model.parameters, "trained": model.trained, "memory_bytes": numbers * model.width}


def judged(seen: Preview) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """What the rewards give a gold answer, nonsense and nothing on one question; and all that is wrong with them.

    Problems are looked for on the first `CHECKED` questions of every set, one sentence each.
    """
    judge = Judge(seen.rewards, seen.task.extract)
    form, question = seen.task.answer_form, seen.question
    texts = {
        "gold answer": form.replace("{answer}", question.answer),
        "worked solution": question.solution,
        "nonsense": form.replace("{answer}", NONSENSE),
        "empty": "",
    }
    if not question.solution:
        del texts["worked solution"]
    shown = [
        {"what": what, "text": text, "reward": judge.score(question, text), "parts": judge.parts(question, text)}
        for what, text in texts.items()
    ]
    some = [question for questions in seen.questions.values() for question in questions[:CHECKED]]
    return shown, judge.check(some, form)
