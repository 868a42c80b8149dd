"""Why the batch sizes are what they are: what the library derives from a recipe and the machine, a sentence each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from manyminds.footprint import Footprint, readable
from manyminds.methods.compose import Composed, sets
from manyminds.policy.fitting import Room, room
from manyminds.preview import Preview, asked, engine, warm_up
from manyminds.records import PLAIN, Ask, Progress
from manyminds.sections import Engine


def of_training(seen: Preview) -> tuple[str, ...]:
    """Rollouts of a step, how many are drawn together, micro-batches of an update, steps of an epoch."""
    asks, method = asked(seen), Composed(seen.recipe.method)
    questions, most = method.questions_per_step, seen.recipe.sampling.max_tokens
    counts: Counter[str] = Counter()  # who is asked a question twice has one group of answers
    for ask in asks:
        counts[ask.prompt.expert] += ask.n
    prompts, rollouts = questions * len(counts), questions * counts.total()
    each = sorted(set(counts.values()))
    answers = f"{each[0]} answers" if len(each) == 1 else f"{each[0]} to {each[-1]} answers"
    if any(sets(layer, "begin") for layer in method.layers):
        answers = f"at most {answers}"
    again = f"; in up to {method.rounds} rounds, where groups are refused" if method.rounds > 1 else ""
    at_once = engine(seen)
    longest = max((len(q.prompt_ids[a.prompt.expert]) for q in seen.questions["train"] for a in asks), default=0)
    tokens = prompts * longest + rollouts * most
    epoch = len(seen.questions["train"]) / questions
    return (
        f"{questions} questions under {_prompts(seen, asks)} are {prompts} prompts; {prompts} prompts x "
        f"{answers} = {rollouts} rollouts a step, in {prompts} groups{again}.",
        _answers(seen, at_once, rollouts),
        _tokens(seen, at_once),
        f"{rollouts} rows of at most {longest} + {most} tokens, each group's prompt once, are {tokens:,} tokens: "
        f"{_batches(tokens, at_once)}.",
        f"{len(seen.questions['train']):,} training questions / {questions} a step: an epoch is {epoch:,.1f} steps; a "
        "step at its end takes the rest from the next epoch.",
        _precision(seen, at_once),
    )


def _prompts(seen: Preview, asks: Sequence[Ask]) -> str:
    """Under what a question is asked; behind a semicolon whom only a follow-up asks."""
    method = Composed(seen.recipe.method)
    at_once = method.ask(asks[0].prompt.question, method.initial_memory(), Progress(1, 0.0))
    first = dict.fromkeys(ask.prompt.expert for ask in at_once)
    later = [name for name in dict.fromkeys(ask.prompt.expert for ask in asks) if name not in first]
    names = [*first, *later]
    if names == [PLAIN]:
        return "the plain prompt"
    systems = {expert.name for expert in seen.recipe.experts or () if expert.system}
    what = "system prompt" if systems.issuperset(names) else "prompt"
    then = f"; in a follow-up {', '.join(later)}" if later else ""
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({', '.join(first)}{then})"


def of_warmup(seen: Preview) -> tuple[str, ...]:
    """Rows of an update and its micro-batches. Raises UserError if the recipe has no warm-up."""
    config, at_once = warm_up(seen), engine(seen)
    rows = [len(q.prompt_ids[name]) + len(t.ids) for q in seen.questions["warmup"] for name, t in q.traces.items()]
    tokens = config.rows_per_step * max(rows, default=0)
    return (
        f"{len(rows):,} traces / {config.rows_per_step} rows an update: an epoch is "
        f"{len(rows) / config.rows_per_step:,.1f} steps of {config.steps:,} at most.",
        _tokens(seen, at_once),
        f"{config.rows_per_step} rows of at most {max(rows, default=0)} tokens are {tokens:,} tokens: "
        f"{_batches(tokens, at_once)}.",
        _precision(seen, at_once),
    )


def of_memory(memory: Footprint) -> tuple[str, ...]:
    """What is held, and what the phase that needs most adds to it."""

    def told(parts: dict[str, int]) -> str:
        return ", ".join(f"{name} {readable(size)}" for name, size in parts.items())

    others = ", ".join(
        f"{name} {readable(sum(parts.values()))}" for name, parts in memory.phases.items() if name != memory.largest
    )
    return (
        f"always held: {told(memory.held)}.",
        f"most is added by {memory.largest}: {told(memory.phases[memory.largest])}; by {others}.",
    )


def _room(seen: Preview) -> Room:
    recipe = seen.recipe
    return room(recipe.engine, seen.model.config, seen.model.device, recipe.sampling.max_tokens)


def _why(given: object, value: int, most: int, fits: int, part: int, memory: int, what: str) -> str:
    """Where a number comes from: the recipe, what gains anything, or the memory."""
    if given is not None:
        return "as the recipe says"
    holds = f"a quarter of {readable(memory)} holds {fits:,}, at {readable_small(part)} {what}"
    return f"more gains nothing ({holds})" if value == most else holds


def readable_small(size: int) -> str:
    """Bytes as KiB where MiB would be a fraction."""
    return readable(size) if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def _answers(seen: Preview, at_once: Engine, rollouts: int) -> str:
    has, value = _room(seen), at_once.answers_at_once or 1
    why = _why(seen.recipe.engine.answers_at_once, value, has.most_answers, has.answers, has.answer, has.memory, "each")
    together = "are drawn together" if rollouts <= value else f"take turns, {value} at a time: one enters as one ends"
    return f"engine.answers_at_once = {value:,}: {why}; the {rollouts} rollouts {together}."


def _tokens(seen: Preview, at_once: Engine) -> str:
    has, value = _room(seen), at_once.tokens_at_once or 1
    why = _why(seen.recipe.engine.tokens_at_once, value, has.most_tokens, has.tokens, has.token, has.memory, "a token")
    return f"engine.tokens_at_once = {value:,} in a micro-batch: {why}."


def _batches(tokens: int, at_once: Engine) -> str:
    number = max(1, math.ceil(tokens / (at_once.tokens_at_once or 1)))
    batches = "one micro-batch an update" if number == 1 else f"{number} micro-batches an update, or one more"
    return f"{batches} at most; they only add up, so that nothing needs to divide evenly"


def _precision(seen: Preview, at_once: Engine) -> str:
    device = seen.model.device.type
    why = "as the recipe says" if seen.recipe.engine.precision else f"the default on {device}"
    return f"engine.precision = {at_once.precision}: {why}; weights are float32."
