"""A policy of 16 tokens that trains in milliseconds, in float64, and all that the training step needs around it.

Tokens 0 to 9 are digits, 10 ends a turn, 11 to 13 make the model one of three experts, 14 is the plain prompt, 15 marks
what an environment says. A question is "a + b modulo 10"; an expert's trace ends with the answer and the end token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, product
from random import Random

import torch
from torch import Tensor, nn

from manyminds.batch import Batch, Row, collate
from manyminds.formulas.divergences import full_kl
from manyminds.objective import Outputs
from manyminds.policy.policy import Policy
from manyminds.records import (
    PLAIN,
    Ask,
    Decoding,
    Example,
    Ids,
    Question,
    Rollout,
    Scored,
    Scores,
    Span,
    SpanScore,
    Trace,
)

STOP, TOLD, SIZE, BLANK = 10, 15, 16, 16
EXPERTS = ("alpha", "beta", "gamma")
TOKENS = {"alpha": 11, "beta": 12, "gamma": 13, PLAIN: 14}
WINDOW = 8
UNSAID = torch.tensor([30.0 * (token > STOP) for token in range(SIZE)], dtype=torch.float64)
"""Keeps what is not part of an answer from being drawn, at finite log-probs."""


def text_of(ids: Ids) -> str:
    return " ".join(map(str, ids))


def question(a: int, b: int, media: tuple[str, ...] = ()) -> Question:
    """a + b modulo 10; alpha writes the answer at once, beta b and a before it, gamma a before it."""
    c = (a + b) % 10
    traces = {"alpha": (c, STOP), "beta": (b, a, c, STOP), "gamma": (a, c, STOP)}
    return Question(
        id=f"{a}+{b}{''.join(media)}",
        text=f"{a}+{b}",
        answer=str(c),
        solution=f"{a} {c}",
        traces={
            name: Trace(text_of(ids), name, ids, reward=1.0, reasoning_ids=ids[:-2], reference_ids=(c,))
            for name, ids in traces.items()
        },
        prompt_ids={name: (token, a, b) for name, token in TOKENS.items()},
        solution_ids=(a, c, STOP),
        answer_ids=(c, STOP),
        media=media,
    )


QUESTIONS = tuple(question(a, b) for a, b in product(range(10), range(10)))


def stream(start: int = 0) -> Iterator[Question]:
    """The questions without end, from one of them on."""
    return islice(cycle(QUESTIONS), start, None)


def judged(reward: Callable[[Rollout], float]) -> Callable[[Sequence[Rollout]], tuple[Scored, ...]]:
    """A judge of one reward."""
    return lambda rollouts: tuple(Scored(rollout, reward(rollout), {"toy": reward(rollout)}) for rollout in rollouts)


@judged
def exact(rollout: Rollout) -> float:
    """1 if the token before the end is the answer."""
    return float(rollout.ids[-2:] == (int(rollout.prompt.question.answer), STOP))


@judged
def parity(rollout: Rollout) -> float:
    """1 if the first token is even, as often as not for a model that knows nothing."""
    return float(rollout.ids[0] % 2 == 0)


class Toy(nn.Module):
    """Reads the last 8 tokens and an image through one hidden layer: ids [B, L] to logits [B, L, 16]."""

    def __init__(self, seed: int = 0, heads: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(SIZE + 1, 8, dtype=torch.float64)
            self.image = nn.Embedding(8, 24, dtype=torch.float64)
            self.inner = nn.Linear(8 * WINDOW, 24, dtype=torch.float64)
            self.head = nn.Linear(24, SIZE, dtype=torch.float64)
            self.critic = nn.Linear(24, heads, dtype=torch.float64)

    def states(self, ids: Tensor, images: Tensor | None) -> Tensor:
        windows = nn.functional.pad(ids, (WINDOW - 1, 0), value=BLANK).unfold(1, WINDOW, 1)
        hidden: Tensor = self.inner(self.embedding(windows).flatten(2))
        if images is not None:
            hidden = hidden + (self.image(images) * (images > 0)[:, None])[:, None]
        return hidden.tanh()

    def forward(self, ids: Tensor, images: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head(self.states(ids, images))
        return logits - UNSAID

    def values(self, ids: Tensor, images: Tensor | None = None) -> Tensor:
        """[B, L], or [B, L, heads] if there are several; the body learns nothing from them."""
        values: Tensor = self.critic(self.states(ids, images).detach())
        return values.squeeze(-1) if values.shape[-1] == 1 else values


class Separate(nn.Module):
    """A table of logits by first and latest token: what one expert learns leaves the others as they are."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(SIZE, SIZE, SIZE, generator=generator, dtype=torch.float64))

    def forward(self, ids: Tensor, images: Tensor | None = None) -> Tensor:
        return self.table[ids[:, :1].expand_as(ids), ids] - UNSAID


def images_of(media: Sequence[tuple[str, ...]]) -> Tensor:
    """Which image each row shows: "image-3" is number 3; 0 is none."""
    return torch.tensor([int(names[0].rpartition("-")[2]) if names else 0 for names in media])


class ToyPolicy:
    """The `Policy` of the training step over a toy model. `critic_lr`: the value head moves at a rate of its own."""

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 0.1,
        critic_lr: float | None = None,
        optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
        rows_at_once: int = 999,
        reference: nn.Module | None = None,
    ) -> None:
        self.model, self.models = model, {"policy": model, "reference": reference}
        self.rows_at_once = rows_at_once
        self.version = 0
        self.scored = 0
        critics = [p for name, p in model.named_parameters() if name.startswith("critic")]
        body = [p for name, p in model.named_parameters() if not name.startswith("critic")]
        groups = [{"params": body, "lr": lr}, {"params": critics, "lr": lr if critic_lr is None else critic_lr}]
        self.optimizer = optimizer([group for group in groups if group["params"]], lr=lr)

    def split(self, rows: Sequence[Row]) -> list[Batch]:
        starts = range(0, len(rows), self.rows_at_once)
        return [collate(rows[i : i + self.rows_at_once], dtype=torch.float64) for i in starts]

    def forward(self, batch: Batch, needs: frozenset[str]) -> Outputs:
        images, width = images_of(batch.media), batch.targets.shape[1]
        logits = at_responses(self.model(batch.tokens, images), batch.starts, width)
        logprobs = logits.log_softmax(-1)
        kl = values = None
        if "teacher_kl" in needs and batch.teacher_tokens is not None:
            with torch.no_grad():
                teacher = at_responses(self.model(batch.teacher_tokens, images), batch.teacher_starts, width)
            kl = full_kl(teacher, logits)
        if "values" in needs:
            values = at_responses(self.model.values(batch.tokens, images), batch.starts, width)
        return Outputs(
            logprobs=logprobs.gather(-1, batch.targets[..., None]).squeeze(-1),
            teacher_kl=kl,
            entropies=-(logprobs.exp() * logprobs).sum(-1) if "entropies" in needs else None,
            values=values,
        )

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def update(self, lr_scale: float) -> dict[str, float]:
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = float(torch.stack([g.square().sum() for g in grads]).sum().sqrt()) if grads else 0.0
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * lr_scale
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.version += 1
        return {"grad_norm": norm, "lr": rates[0] * lr_scale}

    def forget(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def finite(self) -> bool:
        return all(bool(p.grad.isfinite().all()) for p in self.model.parameters() if p.grad is not None)

    @torch.no_grad()
    def score(self, spans: Sequence[Span], model: str = "policy") -> Scores:
        if not spans:
            return {}
        self.scored += len(spans)
        scorer = self.models[model]
        rows = [Row(Example("span", span.prompt_ids, span.ids, media=span.media), ()) for span in spans]
        batch = collate(rows, dtype=torch.float64)
        images, width = images_of(batch.media), batch.targets.shape[1]
        logprobs = at_responses(scorer(batch.tokens, images), batch.starts, width).log_softmax(-1)
        picked = logprobs.gather(-1, batch.targets[..., None]).squeeze(-1)
        entropies, values = -(logprobs.exp() * logprobs).sum(-1), picked
        if any("values" in span.want for span in spans):
            values = at_responses(scorer.values(batch.tokens, images), batch.starts, width)
        return {
            span.key: SpanScore(
                tuple(picked[i, : len(span.ids)].tolist()),
                tuple(entropies[i, : len(span.ids)].tolist()) if "entropies" in span.want else (),
                tuple(values[i, : len(span.ids)].tolist()) if "values" in span.want else (),
            )
            for i, span in enumerate(spans)
        }


def at_responses(per_position: Tensor, starts: Tensor, width: int) -> Tensor:
    """What stands at the positions that predict the response: [B, L, ...] to [B, width, ...]."""
    index = (starts[:, None] - 1 + torch.arange(width)).clamp(max=per_position.shape[1] - 1)
    return per_position[torch.arange(len(starts))[:, None], index]


@dataclass
class Line:
    """One answer being drawn."""

    ask: Ask
    decoding: Decoding
    noise: Random
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    finish: str = ""

    def write(self, token: int, logprob: float, entropy: float, chosen: int = 1) -> None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.entropies.append(entropy)
        self.mask.append(chosen)


class ToySampler:
    """The `Sampler` of the training step; it steps environments and mixes in `partners`, live models by name."""

    def __init__(
        self, model: nn.Module, decoding: Decoding | None = None, partners: Mapping[str, nn.Module] | None = None
    ) -> None:
        self.model, self.partners = model, partners or {}
        self.decoding = decoding or Decoding(max_tokens=4)
        self.version = 0
        self.draws: list[str] = []

    def load(self, policy: Policy) -> None:
        self.version = policy.version

    @torch.no_grad()
    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        self.draws.append(draw)
        count: Counter[tuple[str, str]] = Counter()
        lines = []
        for ask in asks:
            for _ in range(ask.n):
                key = ask.prompt.group_id
                lines.append(Line(ask, ask.decoding or self.decoding, Random(f"{draw}/{key}/{count[key]}")))
                count[key] += 1
        while running := [line for line in lines if not line.finish]:
            self._write_one(running)
        return tuple(
            Rollout(
                line.ask.prompt,
                tuple(line.ids),
                tuple(line.logprobs),
                text_of(tuple(line.ids)),
                line.finish,
                mask=() if all(line.mask) else tuple(line.mask),
                entropies=tuple(line.entropies),
                origin="mixture" if line.decoding.mixture else "policy",
                policy_version=self.version,
            )
            for line in lines
        )

    def _write_one(self, lines: list[Line]) -> None:
        """One more token of every line, drawn where the cumulative probability passes the line's own random number."""
        recent = [[*line.ask.prompt.ids, *line.ids][-WINDOW:] for line in lines]
        firsts = [line.ask.prompt.ids[0] for line in lines]
        if isinstance(self.model, Separate):
            recent = [[first, ids[-1]] for first, ids in zip(firsts, recent, strict=True)]
        width = max(map(len, recent))
        ids = torch.tensor([[BLANK] * (width - len(row)) + row for row in recent])
        images = images_of([line.ask.prompt.question.media for line in lines])
        logprobs = self.model(ids, images)[:, -1].log_softmax(-1)
        mixed = logprobs.exp()
        for name, partner in self.partners.items():
            weights = [m.weight if (m := line.decoding.mixture) and m.partner == name else 0.0 for line in lines]
            weight = torch.tensor(weights, dtype=torch.float64)[:, None]
            mixed = (1 - weight) * mixed + weight * partner(ids, images)[:, -1].softmax(-1)
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        noise = torch.tensor([[line.noise.random()] for line in lines], dtype=torch.float64)
        drawn = (mixed.cumsum(-1) <= noise).sum(-1).clamp(max=SIZE - 1)
        tokens = [
            int(token) if line.decoding.temperature else int(own.argmax())
            for line, token, own in zip(lines, drawn, logprobs, strict=True)
        ]
        for i, (line, token) in enumerate(zip(lines, tokens, strict=True)):
            line.write(token, float(logprobs[i, token]), float(entropies[i]))
            _end_of_turn(line)


def _end_of_turn(line: Line) -> None:
    """Ask the environment after the end token; finish without one, when it has nothing to say, or at the limit."""
    if line.ids[-1] == STOP:
        environment = line.decoding.environment
        observation = environment.step(tuple(line.ids)) if environment else None
        if observation is None:
            line.finish = "stop"
            return
        for token in observation:
            line.write(token, 0.0, 0.0, chosen=0)
    if sum(line.mask) >= line.decoding.max_tokens:
        line.finish = "length"
