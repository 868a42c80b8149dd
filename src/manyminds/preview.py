"""What a recipe would do, without doing it: prompts, who says what in the method, and what a step costs at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from manyminds.config import Recipe
from manyminds.errors import UserError
from manyminds.footprint import Footprint, Load, footprint
from manyminds.loading import Outline, check_needs, load_questions, outline, render
from manyminds.methods.compose import Composed
from manyminds.policy.fitting import derived
from manyminds.records import PLAIN, Ask, Ids, Question
from manyminds.rewards import Reward
from manyminds.rewards.judge import Judge
from manyminds.rewards.probes import Problem, probes
from manyminds.sections import Engine, OptimizerConfig, WarmUp
from manyminds.tasks import Task

CHECKED = 200
"""Questions of each set on which `check` tries the gold answer and tricks."""


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
    check_needs(recipe, task)
    model = outline(recipe.model, recipe.seed, recipe.lora, recipe.trusts(recipe.model))
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

    `memory_bytes` is the most that is held together (footprint.py): of the process on a CPU, else of the device.
    """
    method, recipe = Composed(seen.recipe.method), seen.recipe
    asks = asked(seen)
    answers = sum(ask.n for ask in asks) * method.questions_per_step
    longest = recipe.sampling.max_tokens
    step = answers * method.rounds * longest
    budget = recipe.sampled_tokens + step if recipe.sampled_tokens is not None else step * recipe.steps
    prompt = max((len(q.prompt_ids[a.prompt.expert]) for q in seen.questions["train"] for a in asks), default=0)
    return {
        "rollouts_per_step": answers * method.rounds,
        "sampled_tokens_per_step_at_most": step,
        "sampled_tokens_at_most": min(step * recipe.steps, budget),
        "rows_per_update": answers,
        "tokens_per_row_at_most": prompt + longest,
        **_memory(seen.model, training_footprint(seen)),
    }


def warm_up(seen: Preview) -> WarmUp:
    """The recipe's warm-up. Raises UserError if it has none."""
    if seen.recipe.warmup is None:
        raise UserError("warmup: the recipe has no such section; add one, or train without it")
    return seen.recipe.warmup


def warmup_cost(seen: Preview) -> dict[str, int]:
    """As `training_cost`, for the warm-up, which samples nothing. Raises UserError if the recipe has none."""
    config = warm_up(seen)
    rows = [len(q.prompt_ids[name]) + len(t.ids) for q in seen.questions["warmup"] for name, t in q.traces.items()]
    return {
        "rows_per_update": config.rows_per_step,
        "tokens_per_row_at_most": max(rows, default=0),
        "traces": len(rows),
        **_memory(seen.model, warmup_footprint(seen)),
    }


def _memory(model: Outline, memory: Footprint) -> dict[str, int]:
    return {"parameters": model.parameters, "trained": model.trained, "memory_bytes": memory.peak}


def asked(seen: Preview) -> tuple[Ask, ...]:
    """What the method asks about one question, in the first step: of that training question that costs most."""
    method = Composed(seen.recipe.method)
    return max(map(method.asks_if_all_fail, seen.questions["train"]), key=lambda asks: sum(ask.n for ask in asks))


def engine(seen: Preview) -> Engine:
    """The recipe's engine with what it leaves open as a run would derive it on this machine."""
    return derived(seen.recipe.engine, seen.model.config, seen.model.device, seen.recipe.sampling.max_tokens)


def training_footprint(seen: Preview) -> Footprint:
    """The memory of `manyminds train` at most."""
    method, asks = Composed(seen.recipe.method), asked(seen)
    prompts = len({ask.prompt.expert for ask in asks}) * method.questions_per_step
    answers = sum(ask.n for ask in asks) * method.questions_per_step
    copies = 2 if "reference" in method.needs and seen.recipe.lora is None else 1
    load = _load(seen, seen.recipe.optimizer, [(prompts, answers)], (prompts, answers), _longest_learnt(seen, method))
    return footprint(seen.model, engine(seen), replace(load, copies=copies))


def _longest_learnt(seen: Preview, method: Composed) -> int:
    """Tokens of the longest row that training learns: an answer of its own, or a worked one, which nothing cuts off."""
    lengths = [seen.recipe.sampling.max_tokens]
    for question in seen.questions["train"]:
        lengths += [len(trace.ids) for trace in question.traces.values() if "traces" in method.needs]
        lengths += [len(question.solution_ids)] if "solutions" in method.needs else []
    return max(lengths)


def warmup_footprint(seen: Preview) -> Footprint:
    """The memory of `manyminds warmup` at most. Raises UserError if the recipe has no such section."""
    config = warm_up(seen)
    longest = max((len(t.ids) for q in seen.questions["warmup"] for t in q.traces.values()), default=1)
    rows = (config.rows_per_step, config.rows_per_step)
    return footprint(seen.model, engine(seen), _load(seen, config.optimizer, [], rows, longest))


def _load(
    seen: Preview,
    optimizer: OptimizerConfig,
    draws: Sequence[tuple[int, int]],
    update: tuple[int, int],
    row_tokens: int,
) -> Load:
    """What is drawn at most, in training or evaluation, and the largest micro-batch: (prompts, answers) of each.

    `row_tokens`: of the longest answer that is learnt.
    """
    recipe, model, at_once = seen.recipe, seen.model, engine(seen)
    longest = max(len(ids) for questions in seen.questions.values() for q in questions for ids in q.prompt_ids.values())
    rows, most = at_once.answers_at_once or 1, recipe.sampling.max_tokens
    each = [(min(answers, rows), min(prompts, rows)) for prompts, answers in (*draws, *_evaluations(seen))]
    answers, prompts = max(each, key=lambda its: its[0] * 3 * most + its[1] * 4 * longest)
    batch = min(at_once.tokens_at_once or 1, update[0] * longest + update[1] * row_tokens)
    halved = model.linear if optimizer.name == "muon" and recipe.lora is None else 0
    return Load(
        longest_prompt=longest,
        max_tokens=most,
        prompts=prompts,
        answers=answers,
        row_tokens=row_tokens,
        batch_tokens=max(batch, longest + row_tokens),
        batch_answers=max(1, min(update[1], batch // row_tokens)),
        moments=2 * model.trained - halved,
    )


def _evaluations(seen: Preview) -> list[tuple[int, int]]:
    """(prompts, answers) of what is drawn together when test and validation questions are asked."""
    config, experts = seen.recipe.evaluation, len(seen.prompts) - 1
    greedy = max(len(seen.questions["test"]), len(seen.questions["validation"])) * (experts + 1)
    sampled = min(config.sampled_questions or len(seen.questions["test"]), len(seen.questions["test"])) * experts
    return [(greedy, greedy), (sampled, sampled * config.samples)]


def judged(seen: Preview) -> tuple[list[dict[str, Any]], tuple[Problem, ...]]:
    """What the rewards give the gold answer and tricks (rewards/probes.py) on one question; and all that is wrong with
    them.

    `shut` names the rewards that were not asked of a text as their gate was shut: their part is None and counts as 0.
    Problems are looked for on the first `CHECKED` questions of every set, one sentence each.
    """
    form, question = seen.task.answer_form, seen.question
    paid = any(reward.paid for reward in seen.rewards)
    some = [probe for probe in probes(question, form) if not (paid and probe.long)]
    with Judge(seen.rewards, seen.task.extract, config=seen.recipe.judge) as judge:
        shown = [
            {
                "what": probe.name,
                "text": probe.shown,
                "reward": total,
                "parts": verdict.parts,
                "shut": sorted(verdict.shut, key=list(verdict.parts).index),
            }
            for probe, (total, verdict) in zip(some, judge.look(question, [p.text for p in some]), strict=True)
        ]
        order = sorted(seen.questions, key=lambda split: split != "train")  # the question that is shown comes first
        return shown, judge.check([q for split in order for q in seen.questions[split][:CHECKED]], form)


def tempting(seen: Preview, shown: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The rewards besides the verifier that pay for tricks, a sentence each: what training would find out."""
    said = []
    for reward in seen.rewards[1:]:
        paid = [
            one["what"]
            for one in shown
            if (one["parts"][reward.name] or 0.0) * reward.weight > 0 and not reward.gives(one["parts"][reward.name], 0)
        ]
        tricks = [what for what in paid if what not in ("gold answer", "worked solution")]
        if tricks:
            said.append(
                f"{reward.name} pays without a right answer, for {', '.join(tricks)}; if it should not, set its `gate` "
                f"to {seen.rewards[0].name}"
            )
    return tuple(said)
