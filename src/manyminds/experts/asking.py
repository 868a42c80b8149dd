"""Asks teachers for worked answers: chat models at their addresses at the same time, models that run here in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from manyminds.config import Recipe
from manyminds.endpoint import Chat, Endpoint, Unanswered
from manyminds.experts.room import left, place_of
from manyminds.experts.wanted import Answer, Want
from manyminds.records import Ask, Decoding, Expert, Prompt

if TYPE_CHECKING:
    from manyminds.experts.rendering import Renderer

ENOUGH = 20
"""So many unanswered questions in a row are taken for the end of an endpoint."""
NOT_ASKED = "not asked"
LOT = 128
"""Answers that a model draws here between two moments at which all are kept, at most."""

Keep = Callable[[Sequence[Answer]], None]
Tell = Callable[[str], None]


@dataclass
class Missed:
    """Worked answers that did not come: what was wanted, and the cause in a word or two; and what was said of it."""

    causes: list[tuple[Want, str]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def add(self, want: Want, error: Unanswered) -> None:
        self.causes.append((want, error.cause))
        self.said.setdefault(error.cause, str(error))


class Asking:
    """Asks one endpoint what is `wanted` of it, in order; `keep` gets each answer as it comes."""

    def __init__(
        self, endpoint: Endpoint, wanted: Iterable[Want], drawn: Mapping[str, Any], keep: Keep, missed: Missed
    ) -> None:
        self.endpoint, self.drawn, self.keep, self.missed = endpoint, drawn, keep, missed
        self.waiting = deque(wanted)
        self.in_flight, self.in_a_row = 0, 0

    async def run(self, tell: Tell) -> None:
        """Until all is asked, the endpoint turns out hopeless, or the caller is cancelled.

        When cancelled nothing more is asked, and what is in flight has `endpoint.timeout` seconds to arrive.
        """
        async with Chat(self.endpoint) as chat:
            count = min(self.endpoint.concurrency, len(self.waiting))
            workers = [asyncio.create_task(self._work(chat, tell)) for _ in range(count)]
            try:
                # Unlike gather, wait leaves the workers running when it is cancelled, or when one of them fails.
                await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
                self.waiting.clear()  # a worker that failed could not save what it was given
                await asyncio.wait(workers)
            except asyncio.CancelledError:
                self.waiting.clear()
                tell(f"waiting for {self.in_flight} answers of {self.endpoint.model}; Ctrl-C again gives them up")
                await asyncio.wait(workers, timeout=self.endpoint.timeout)
                raise
            finally:
                for worker in workers:
                    worker.cancel()
            for worker in workers:
                worker.result()

    async def _work(self, chat: Chat, tell: Tell) -> None:
        while self.waiting:
            want = self.waiting.popleft()
            self.in_flight += 1
            try:
                reply = await chat.ask(want.messages(), **self._options(want))
            except Unanswered as error:
                self.in_a_row += 1
                self.missed.add(want, error)
                if self.waiting and (error.hopeless or self.in_a_row >= ENOUGH):
                    self._give_up(error, tell)
            else:
                self.in_a_row = 0
                counts = (reply.prompt_tokens, reply.completion_tokens)
                self.keep([Answer.to(want, reply.text, reply.finish, *counts)])
            finally:
                self.in_flight -= 1

    def _options(self, want: Want) -> dict[str, Any]:
        """What is sent beside the messages; newer models know `max_tokens` under another name."""
        options = {**self.drawn, **want.writer.teacher.options}
        if "max_completion_tokens" in options:
            del options["max_tokens"]
        return options

    def _give_up(self, error: Unanswered, tell: Tell) -> None:
        tell(f"{error}; its other {len(self.waiting)} questions are not asked")
        self.missed.causes += [(want, NOT_ASKED) for want in self.waiting]
        self.waiting.clear()


def ask_endpoints(wanted: Sequence[Want], drawn: Mapping[str, Any], keep: Keep, missed: Missed, tell: Tell) -> None:
    """All endpoints at the same time; experts that share one share its limits. Raises UserError if `keep` does."""
    by_endpoint: dict[Endpoint, list[Want]] = {}
    for want in wanted:
        if endpoint := want.writer.teacher.endpoint():
            by_endpoint.setdefault(endpoint, []).append(want)

    async def run() -> list[BaseException | None]:
        askings = [Asking(endpoint, its, drawn, keep, missed) for endpoint, its in by_endpoint.items()]
        return await asyncio.gather(*(asking.run(tell) for asking in askings), return_exceptions=True)

    for error in asyncio.run(run()) if by_endpoint else ():
        if error is not None:
            raise error


def ask_models(
    wanted: Sequence[Want], recipe: Recipe, drawn: Mapping[str, Any], keep: Keep, missed: Missed, tell: Tell
) -> None:
    """Models that run here, one after another; told is what leaves no room for an answer, and is not asked. Raises
    UserError if a model cannot be loaded."""
    here = [want for want in wanted if want.writer.teacher.url is None]
    decoding = Decoding(**drawn, stop=recipe.sampling.stop)
    for model, its in groupby(sorted(here, key=lambda want: want.writer.model), key=lambda want: want.writer.model):
        if long := _ask_model(model, list(its), recipe, decoding, keep, tell):
            missed.said[f"too long for {model}"] = long
            tell(long)


def _ask_model(model: str, wanted: list[Want], recipe: Recipe, decoding: Decoding, keep: Keep, tell: Tell) -> str:
    """Lots of about as many answers as the sampler draws together, each kept as a whole; returned is what there is to
    say of prompts that are too long.

    Random numbers are keyed by question, expert and number of the sample, so the lots do not change an answer.
    """
    from manyminds.experts.rendering import Renderer
    from manyminds.loading import context_of, load_model, stop_ids
    from manyminds.sampling.transformers_sampler import TransformersSampler

    lora = recipe.lora if model == recipe.model else None
    causal, tokenizer = load_model(model, recipe.seed, base=recipe.model, lora=lora, trust=recipe.trusts(model))
    renderer = Renderer(
        tokenizer, context_of(causal.config, tokenizer), decoding.max_tokens, recipe.chat_template_kwargs
    )
    ends = stop_ids(causal, tokenizer, recipe.chat_template_kwargs)
    sampler = TransformersSampler(causal, tokenizer, decoding, stop_ids=ends, engine=recipe.engine)
    together: dict[tuple[Any, ...], list[Want]] = {}
    for want in wanted:
        together.setdefault(want.key[:2], []).append(want)
    prompts = {key: _prompt(its[0], renderer) for key, its in together.items()}
    room = renderer.context - decoding.max_tokens
    fitting = [its for key, its in together.items() if len(prompts[key].ids) <= room]
    for numbers, alike in groupby(sorted(fitting, key=numbers_of), key=numbers_of):
        size = max(1, min(sampler.engine.answers_at_once or 1, LOT) // len(numbers))
        while lot := list(islice(alike, size)):
            asks = [Ask(prompts[its[0].key[:2]], len(its)) for its in lot]
            rollouts = sampler.sample(asks, f"{recipe.seed}/collect/{numbers[0]}")
            flat = [want for its in lot for want in its]
            keep(
                [
                    Answer.to(want, one.text, one.finish, len(one.prompt.ids), len(one.ids))
                    for want, one in zip(flat, rollouts, strict=True)
                ]
            )
    for note in renderer.notes:
        tell(note)
    return _too_long(
        model, len(wanted) - sum(map(len, fitting)), max(prompts.values(), key=lambda one: len(one.ids)), renderer
    )


def _too_long(model: str, count: int, longest: Prompt, renderer: Renderer) -> str:
    """A sentence on answers for which there is no room; empty if there are none."""
    if not count:
        return ""
    return (
        f"{count:,} answers are not asked of {model}, as their prompts are too long: the longest has "
        f"{len(longest.ids)} tokens ({place_of(longest.question)}), but {left(renderer.context, renderer.max_tokens)}"
    )


def numbers_of(together: Sequence[Want]) -> tuple[int, ...]:
    """The numbers of these samples, which belong to one question and writer."""
    return tuple(want.sample for want in together)


def _prompt(want: Want, renderer: Renderer) -> Prompt:
    """The question rendered for the writer."""
    writer = Expert(want.writer.expert, want.writer.system)
    return Prompt(renderer.render(replace(want.question, solution="", traces={}), [writer]), writer.name)
