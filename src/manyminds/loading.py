"""Brings a recipe to life: task, rendered questions, model, sampler, judge."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manyminds.config import Recipe, load_recipe
from manyminds.errors import UserError
from manyminds.experts.finals import Finals
from manyminds.experts.rendering import Renderer, end_of_answer
from manyminds.experts.room import with_room
from manyminds.limits import linear_parameters
from manyminds.methods.compose import Composed
from manyminds.needs import check_clusters, check_traces
from manyminds.policy.fitting import fitted
from manyminds.records import PLAIN, Decoding, Expert, Ids, Question
from manyminds.rewards.judge import Judge
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import ExpertConfig, Lora
from manyminds.tasks import Task, load_task

LONGEST = 10**30
"""What transformers says of a tokenizer that does not know the longest sequence of its model."""


@dataclass(frozen=True)
class Loaded:
    """A recipe's parts, ready to run: `questions` by split are rendered for the model's tokenizer. `notes`: what the
    user should know before anything is asked."""

    recipe: Recipe
    task: Task
    experts: tuple[Expert, ...]
    questions: dict[str, tuple[Question, ...]]
    model: Any
    tokenizer: Any
    sampler: TransformersSampler
    judge: Judge
    notes: tuple[str, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names under which a question can be asked: the plain prompt and every expert."""
        return (PLAIN, *(expert.name for expert in self.experts))


def load_questions(recipe: Recipe) -> tuple[Task, tuple[Expert, ...], Recipe]:
    """The task, the experts, and the recipe with everything it left open filled in. Needs no model."""
    options = dict(recipe.task)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError("task.name is missing; it says which task, such as arithmetic or jsonl")
    if "experts" in options:
        raise UserError("task.experts: experts are named at the top of a recipe, under `experts:`, not under `task:`")
    given = None if recipe.experts is None else tuple(map(ExpertConfig.record, recipe.experts))
    task = load_task(name, given, recipe.rewards, **options)
    if recipe.rewards is not None:
        task = replace(task, rewards=recipe.rewards)
    experts = task.experts if given is None else given
    return task, experts, recipe.resolved(experts)


def resolve(recipe: Recipe | str | Path) -> Recipe:
    """The recipe (or the one in this file) with all it left open filled in, as a run folder keeps it. UserError."""
    return load_questions(recipe if isinstance(recipe, Recipe) else load_recipe(recipe))[2]


def load(recipe: Recipe, model: str | Path, folder: Path | None = None, *, trust: bool | None = None) -> Loaded:
    """Everything a stage needs, with the weights of `model` (a folder or hub id). Raises UserError.

    `folder` is that of the run, if it is to be written: rewards may keep in it what they need to go on.
    `trust`: whether code that comes with the model may be executed; by default what the recipe says of this model.
    """
    task, experts, recipe = load_questions(recipe)
    check_needs(recipe, task)
    trust = recipe.trusts(model) if trust is None else trust
    causal, tokenizer = load_model(model, recipe.seed, base=recipe.model, lora=recipe.lora, trust=trust)
    words = causal.get_input_embeddings().num_embeddings
    questions, notes = render(recipe, task, experts, tokenizer, context_of(causal.config, tokenizer), words)
    decoding = Decoding(recipe.sampling.temperature, recipe.sampling.max_tokens, stop=recipe.sampling.stop)
    engine = fitted(recipe.engine, causal, recipe.sampling.max_tokens)
    recipe = recipe.model_copy(update={"engine": engine})
    ends = stop_ids(causal, tokenizer, recipe.chat_template_kwargs)
    sampler = TransformersSampler(causal, tokenizer, decoding, stop_ids=ends, engine=engine)
    judge = Judge(task.rewards, task.extract, config=recipe.judge, folder=folder)
    from manyminds.policy.opening import trusting

    trusted = (trusting(recipe.model),) if trust and folder else ()
    told = (*trusted, *notes, *judge.rewards[0].notes)  # the verifier alone is asked outside training steps
    return Loaded(recipe, task, experts, questions, causal, tokenizer, sampler, judge, told)


def render(
    recipe: Recipe, task: Task, experts: Sequence[Expert], tokenizer: Any, context: int, words: int
) -> tuple[dict[str, tuple[Question, ...]], tuple[str, ...]]:
    """The task's questions by split, as token ids for every expert; and what the user should know about the prompts.

    What does not fit into `context` tokens is left out and told. Raises UserError for a set of which nothing fits, or a
    token that a model of `words` words does not know.
    """
    form = answer_form(recipe, task)
    renderer = Renderer(tokenizer, context, recipe.sampling.max_tokens, recipe.chat_template_kwargs, words, form)
    finals = Finals(task.extract, task.answer_form, renderer.encode)
    # What is too long is told in one sentence, by the renderer; a tokenizer would warn of it besides.
    getattr(tokenizer, "deprecation_warnings", {})["sequence-length-is-longer-than-the-specified-maximum"] = True
    rendered = {
        split: tuple(renderer.render(question, experts) for question in its) for split, its in task.splits.items()
    }
    if "trace_answers" in Composed(recipe.method).needs:
        rendered["train"] = tuple(map(finals.found, rendered["train"]))
    questions, left_out = with_room(rendered, context, recipe.sampling.max_tokens)
    return questions, (*task.notes, *renderer.notes, *left_out)


def stop_ids(model: Any, tokenizer: Any, options: Mapping[str, Any] | None = None) -> Ids:
    """Where answers end: the tokenizer's end of sequence, what the model's own generation settings name besides, and
    what the chat template (with these options) closes an answer with.

    A base model with a chat template closes its turn with another token than the end of a document.
    """
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    more = [named] if isinstance(named, int) else named or []
    if not isinstance(more, list | tuple) or not all(isinstance(token, int) for token in more):
        raise UserError(f"model: `eos_token_id` in its generation_config.json is {named!r}; it must be ids of tokens")
    ends = [tokenizer.eos_token_id, *more, end_of_answer(tokenizer, options)]
    return tuple(dict.fromkeys(map(int, ends)))


def context_of(config: Any, tokenizer: Any) -> int:
    """The longest sequence of a model, in tokens. Raises UserError where its files do not say it as a number."""
    found = getattr(config, "max_position_embeddings", 0) or tokenizer.model_max_length
    if isinstance(found, bool) or not isinstance(found, int | float) or not found >= 1:
        raise UserError(
            f"model: its context is {found!r}; give `max_position_embeddings` in its config.json, or "
            "`model_max_length` in its tokenizer_config.json, as a number of tokens"
        )
    return int(min(found, LONGEST))


def answer_form(recipe: Recipe, task: Task) -> str | None:
    """How the task writes a final answer, if the method asks where one begins. UserError if nothing marks it."""
    if "answer_spans" not in Composed(recipe.method).needs:
        return None
    if not task.answer_form.partition("{answer}")[0].strip():
        raise UserError(
            f"task.name: {task.name} writes final answers without a mark before them, but {recipe.method.name} must "
            "know where an answer begins; take a task that has one, such as jsonl with its `answer_marker`"
        )
    return task.answer_form


def check_needs(recipe: Recipe, task: Task) -> None:
    """Raises UserError if the method needs what the questions do not have. What is too long counts as there: its
    question is asked, and the method does without it."""
    needs, questions = Composed(recipe.method).needs, task.splits["train"]
    answer_form(recipe, task)
    check_traces(recipe.method, questions)
    check_clusters(recipe.method)
    for question in questions if "answer_spans" in needs else ():
        if not question.answer:
            raise UserError(
                f"{question.source or 'task'}: question '{question.id}' has no gold `answer`, whose probability is the "
                f"reward of {recipe.method.name}; add it"
            )
    for question in questions if "solutions" in needs else ():
        if not question.solution:
            raise UserError(
                f"{question.source or 'task'}: question '{question.id}' has no worked `solution`, which the "
                "hard-example buffer teaches; add it, or set method.hard_coefficient to 0"
            )


def load_model(
    model: str | Path,
    seed: int,
    *,
    base: str | None = None,
    lora: Lora | None = None,
    trust: bool = False,
    precision: str = "float32",
) -> tuple[Any, Any]:
    """Model (in evaluation mode) and tokenizer; "tiny" makes the embedded one.

    Weights are float32 on every device: bfloat16 would round away updates at the learning rates of this work. What is
    not trained may have another `precision`.
    With `lora` only adapters can be trained: fresh ones, or those in the folder `model`, which stand on `base`.
    Code that comes with the model is executed only if `trust` is set.
    Raises UserError if a folder is not there or is not a Hugging Face model, or holds adapters that nobody asked for.
    """
    import torch
    from transformers.utils import logging

    from manyminds.policy import adapters, opening

    logging.disable_progress_bar()  # the run has its own; this one would break into it at every save
    device = "cuda" if torch.cuda.is_available() else "cpu"
    adapted = adapters.holds_adapters(model)
    if adapted and (lora is None or base is None or adapters.holds_adapters(base)):
        raise UserError(
            f"model: '{model}' holds adapters and not a model; give the recipe the `lora` section that they were made "
            "with and the `model` that they stand on, or merge them with `manyminds export`"
        )
    with _place(base if adapted and base else model, seed) as place:
        opening.read_config(place, trust)
        tokenizer, causal = (
            opening.read_tokenizer(place, trust),
            opening.read_model(place, trust, getattr(torch, precision)),
        )
        causal.to(device).eval()
        if adapted:
            adapters.read(causal, Path(model))
        elif lora is not None:
            adapters.add(causal, lora, seed)
        return causal, tokenizer


@dataclass(frozen=True)
class Outline:
    """A model without its weights: its tokenizer, its longest sequence in tokens, how many words it knows, how many
    parameters it has, how many of them are trained and how many are those of matrices between embedding and head, its
    configuration, and where it would run."""

    tokenizer: Any
    context: int
    words: int
    parameters: int
    trained: int
    linear: int
    config: Any
    device: Any


def outline(model: str | Path, seed: int, lora: Lora | None = None, trust: bool = False) -> Outline:
    """What is known of a model before its weights are read. Raises UserError as `load_model`."""
    import torch
    from transformers import AutoModelForCausalLM

    from manyminds.policy import adapters, opening

    with _place(model, seed) as place:
        config, tokenizer = opening.read_config(place, trust), opening.read_tokenizer(place, trust)
        with torch.device("meta"):
            empty: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
            if lora is not None:
                adapters.add(empty, lora, seed)
    parameters = list(empty.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return Outline(
        tokenizer=tokenizer,
        context=context_of(config, tokenizer),
        words=empty.get_input_embeddings().num_embeddings,
        parameters=sum(p.numel() for p in parameters),
        trained=trained,
        linear=linear_parameters(empty),
        config=config,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )


def check_folder(model: str | Path) -> None:
    """Raises UserError for what can only be meant as a folder and is not that of a model."""
    local = Path(model).is_absolute() or str(model).startswith((".", "runs/")) or os.path.exists(model)
    if local and not os.path.isfile(Path(model) / "config.json"):
        raise UserError(
            f"model: '{model}' is not a Hugging Face model folder (it has no config.json); give a folder that "
            "`save_pretrained` wrote, a hub id, or tiny"
        )


@contextmanager
def _place(model: str | Path, seed: int) -> Iterator[str]:
    """Where a model is read from, "tiny" from a folder made for the moment; failures to read it become a UserError."""
    check_folder(model)
    try:
        if str(model) == "tiny":
            from manyminds.tasks.arithmetic_model import create

            with tempfile.TemporaryDirectory() as folder:
                yield str(create(Path(folder), seed))
        else:
            yield str(model)
    except UserError:
        raise
    except Exception as error:  # files of others are wrong in every way, and each library has its own word for it
        why = " ".join(" ".join(str(error).strip().splitlines()[:2]).split()) or "no reason is given"
        if isinstance(error, LookupError | TypeError | AttributeError):  # whose words alone say little
            why = f"{type(error).__name__}: {why}"
        raise UserError(
            f"model: '{model}' cannot be loaded as a causal language model: {why[:300]}; give another one, or mend it"
        ) from error


class QuestionStream(Iterator[Question]):
    """Questions without end, shuffled anew each epoch. Its only state is `position`: how many were drawn."""

    def __init__(self, questions: Sequence[Question], seed: int, position: int = 0) -> None:
        if not questions:
            raise UserError("task: there is no question to train on")
        self.questions, self.seed, self.position = questions, seed, position
        self._epoch, self._order = -1, list(range(len(questions)))

    def __next__(self) -> Question:
        epoch, place = divmod(self.position, len(self.questions))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(len(self.questions)))
            random.Random(f"{self.seed}/questions/{epoch}").shuffle(self._order)
        self.position += 1
        return self.questions[self._order[place]]
