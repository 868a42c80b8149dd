"""A training step of any size on a small Llama from random weights, with the processor seconds of its halves."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from limit import Size
from vs_trl.workloads import NEVER, chance

from manyminds.limits import Shape, Work, decode_work, linear_parameters, update_work
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.policy.hf_policy import HFPolicy
from manyminds.policy.policy import Policy
from manyminds.records import Ask, Decoding, Progress, Question, Rollout, Scored
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import Engine, OptimizerConfig
from manyminds.step import training_step
from manyminds.tasks.arithmetic_model import tokenizer

HALVES = ("sampling", "update")


@dataclass(frozen=True)
class Point:
    """A step's size: every expert answers every question; each answer runs to its full length."""

    questions: int = 4
    answers: int = 8
    experts: int = 1
    length: int = 64
    vocabulary: int = 1024
    hidden: int = 128
    layers: int = 5
    prompt: int = 32

    @property
    def rows(self) -> int:
        """Answers in a step."""
        return self.questions * self.answers * self.experts

    @property
    def tokens(self) -> int:
        """Drawn in a step."""
        return self.rows * self.length


class Timed:
    """A sampler, and the processor seconds that it has taken so far."""

    def __init__(self, sampler: TransformersSampler) -> None:
        self.sampler, self.seconds = sampler, 0.0

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        """As the sampler does."""
        began = time.process_time()
        drawn = self.sampler.sample(asks, draw)
        self.seconds += time.process_time() - began
        return drawn

    def load(self, policy: Policy) -> None:
        """As the sampler does."""
        self.sampler.load(policy)


class Station:
    """A model with all that its training step takes: the step of `manyminds train`, with GRPO."""

    def __init__(self, point: Point) -> None:
        size = Size(
            hidden=point.hidden,
            layers=point.layers,
            heads=4,
            kv_heads=4,
            inner=3 * point.hidden,
            vocabulary=point.vocabulary,
            prompt=point.prompt,
            new=point.length,
        )
        self.point, self.taken = point, 0
        self.model, engine = size.model().cpu(), Engine(precision="float32")
        names = tuple(f"expert-{i}" for i in range(point.experts))
        method = GRPO(experts=names, questions_per_step=point.questions, answers_per_prompt=point.answers)
        self.method = Composed(method.settled(names, point.length))
        self.policy = HFPolicy(self.model, OptimizerConfig(), steps=99, engine=engine)
        decoding = Decoding(1.0, point.length)
        sampler = TransformersSampler(self.model, tokenizer(), decoding, stop_ids=NEVER, engine=engine)
        self.sampler, self.questions = Timed(sampler), self._asked(names)

    def _asked(self, names: Sequence[str]) -> Iterator[Question]:
        """Endless random prompts, another for every expert."""
        draw, words, number = random.Random(0), range(self.point.vocabulary), 0
        while True:
            prompts = {name: tuple(draw.choices(words, k=self.point.prompt)) for name in names}
            yield Question(str(number), "", "", prompt_ids=prompts)
            number += 1

    def needed(self) -> dict[str, Work]:
        """The arithmetic of either half."""
        shape, prompts = (
            Shape.of(self.model.config, linear_parameters(self.model)),
            self.point.questions * self.point.experts,
        )
        sizes = [self.point.prompt] * prompts, [[self.point.length] * self.point.answers] * prompts
        return {"sampling": decode_work(shape, *sizes), "update": update_work(shape, *sizes)}

    def step(self) -> dict[str, float]:
        """One training step: the processor seconds of its halves. Raises AssertionError if it did less than all."""
        began = time.process_time()
        self.sampler.seconds, self.taken = 0.0, self.taken + 1
        _, metrics = training_step(
            self.questions,
            self.method.initial_memory(),
            Progress(self.taken, 0.0),
            method=self.method,
            policy=self.policy,
            sampler=self.sampler,
            judge=lambda drawn: tuple(Scored(one, chance(one.ids)) for one in drawn),
            seed="0",
        )
        self.policy.tick()
        whole = time.process_time() - began
        assert metrics.values["sampled_tokens"] == self.point.tokens
        assert metrics.values["trained_rows"] == self.point.rows
        return {"sampling": self.sampler.seconds, "update": whole - self.sampler.seconds}
