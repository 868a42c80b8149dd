"""What a step learns from a workload, by the real path, and the loss and gradient of its rows however arranged."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from hand import START
from manyminds.batch import Batch, Row, alive, weigh
from manyminds.formulas.divergences import full_kl
from manyminds.methods.compose import Composed
from manyminds.objective import Outputs, Term, evaluate, needed, total
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Group, Ids, Lesson
from manyminds.sections import Engine, OptimizerConfig
from manyminds.step import recall
from manyminds.step import scored as spans_scored
from properties.workload import SIZE, Workload

RELATIVE, ABSOLUTE = 1e-10, 1e-13
"""Promised is 1e-6; what is seen is rounding, some 1e-14. Absolute, for gradients that are 0 but for rounding."""


def model_of(seed: int) -> Any:
    """A Llama of two layers with grouped heads and opinions, float64 throughout: its own norms round to float32."""
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        attn_implementation="sdpa",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        norms = [name for name, module in model.named_modules() if type(module) is LlamaRMSNorm]
        for name in norms:
            model.set_submodule(name, torch.nn.RMSNorm(16, config.rms_norm_eps))
        with torch.no_grad():
            for p in model.parameters():
                p.normal_(0, 0.3) if p.ndim > 1 else p.add_(torch.randn_like(p), alpha=0.1)
    return model.to(torch.float64)


def nudged(model: Any, by: float) -> Any:
    """The model some updates later: every weight a little elsewhere, so that ratios differ from 1."""
    later = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in later.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype), alpha=by)
    return later


def policy_of(model: Any, kind: type[HFPolicy] = HFPolicy, **fields: Any) -> Any:
    """A policy that runs everything at once, at a temperature of its own."""
    engine = Engine(precision="float32", tokens_at_once=100_000)
    return kind(model, OptimizerConfig(), steps=1, temperature=0.7, engine=engine, **fields)


@cache
def before() -> HFPolicy:
    """The policy that drew the answers, with a reference beside it."""
    return policy_of(model_of(0), reference=model_of(1))


@cache
def now() -> HFPolicy:
    """The policy that learns, a little later."""
    return policy_of(nudged(before().model, 0.05))


# The lesson.


@dataclass(frozen=True)
class Learnt:
    """A step's lesson, with the planes that its terms read, and the terms."""

    lesson: Lesson
    terms: tuple[Term, ...]


def usable(method: Composed, groups: Sequence[Group], memory: Any) -> tuple[tuple[Group, ...], Any]:
    """The groups with shaped rewards and credit, without those that a layer refuses; and the scores wanted for it."""
    scores = spans_scored(before(), method.wants(groups))
    shaped = method.shape(groups, scores, memory, START)
    return method.credit([g for g in shaped if method.keeps(g, memory)], memory, START), scores


def lesson_of(method: Composed, workload: Workload, rng: str = "") -> Lesson:
    """What a second step on these groups teaches, with the memory that a first one left."""
    memory = method.initial_memory()
    for step in range(2):
        groups, scores = usable(method, workload.groups, memory)
        lesson = method.learn(groups, scores, memory, Random(f"{workload.seed}/{step}/{rng}"), START)
        memory = lesson.memory
    return lesson


def learnt(method: Composed, workload: Workload) -> Learnt:
    """The lesson, with the log-probs that its terms need of the policy that drew and of the reference."""
    terms = method.terms(START)
    return Learnt(recall(lesson_of(method, workload), terms, before()), terms)


def living(rows: Iterable[Row], terms: Sequence[Term]) -> list[Row]:
    return [row for row in rows if alive(row, terms)]


# Loss and gradient.


@dataclass(frozen=True)
class Told:
    """The loss of every term, and the gradient of every parameter."""

    losses: dict[str, float]
    gradient: dict[str, Tensor]

    def largest(self) -> float:
        """The largest entry of the gradient."""
        return max(float(g.abs().max()) for g in self.gradient.values())


def gradient_of(policy: HFPolicy) -> dict[str, Tensor]:
    """What was gathered, which is then forgotten; 0 where nothing was."""
    parameters = dict(policy.model.named_parameters())
    taken = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in parameters.items()}
    policy.forget()
    return taken


def told(terms: Sequence[Term], batches: Iterable[Batch], policy: HFPolicy) -> Told:
    """Of these micro-batches, added up as `step.learn` does; rows that no term reads cost a forward pass here."""
    policy.forget()
    losses: dict[str, float] = {}
    for batch in batches:
        shares = evaluate(terms, policy.forward(batch, needed(terms)), batch)
        if shares:
            policy.backward(total(terms, shares))
        for name, share in shares.items():
            losses[name] = losses.get(name, 0.0) + float(share.detach())
    return Told(losses, gradient_of(policy))


def added(parts: Sequence[Told], share: float = 1.0) -> Told:
    """What ranks come to together: losses and gradients added up, each times `share`."""
    names = dict.fromkeys(name for part in parts for name in part.losses)
    losses = {name: share * sum(part.losses.get(name, 0.0) for part in parts) for name in names}
    gradient = {name: share * sum(part.gradient[name] for part in parts) for name in parts[0].gradient}
    return Told(losses, gradient)


def differences(ours: Told, wanted: Told) -> list[str]:
    """Which losses and which parameters' gradients are others, relative to the largest entry of each."""
    far = [
        f"loss of {name}: {ours.losses.get(name)} instead of {wanted.losses.get(name)}"
        for name in ours.losses | wanted.losses
        if not abs(ours.losses.get(name, 0.0) - (value := wanted.losses.get(name, 0.0)))
        <= RELATIVE * abs(value) + ABSOLUTE
    ]
    for name, value in wanted.gradient.items():
        error, largest = float((ours.gradient[name] - value).abs().max()), float(value.abs().max())
        if not error <= RELATIVE * largest + ABSOLUTE:  # so written that NaN is a difference
            far.append(f"gradient of {name}: off by {error:.1e} of {largest:.1e}")
    return far


def weighed(terms: Sequence[Term], examples: Sequence[Any]) -> tuple[list[Row], Told]:
    """All rows of an update with their weights, and what all living ones come to at once: the yardstick."""
    rows = weigh(examples, terms)
    return rows, told(terms, now().split(living(rows, terms)), now())


# Other ways to run the same model.


class Padded(HFPolicy):
    """Rows right-padded by the library, as for models that no layout fits."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.lines["policy"].fits = False


class Plain(HFPolicy):
    """The model by itself, none of the library's readers: rows padded at one side with tokens of any kind.

    `masked` False takes the padding for content.
    """

    side, extra, masked = "left", 0, True
    rng = torch.Generator()

    def forward(self, batch: Batch, needs: frozenset[str]) -> Outputs:
        """As `HFPolicy.forward`."""
        tempered = self._tempered(batch, [e.prompt_ids for e in batch.examples])
        each = tempered.log_softmax(-1)
        kl = None
        if "teacher_kl" in needs and any(e.teacher_prompt_ids for e in batch.examples):
            with torch.no_grad():
                teacher = self._tempered(batch, [e.teacher_prompt_ids or e.prompt_ids for e in batch.examples])
            kl = full_kl(teacher, tempered)
        return Outputs(each.gather(-1, batch.targets[..., None]).squeeze(-1), kl, -(each.exp() * each).sum(-1))

    def _tempered(self, batch: Batch, prompts: Sequence[Ids]) -> Tensor:
        """Logits at response positions [B, T, V]; 0 behind the end of a response."""
        rows = [prompt + e.ids for prompt, e in zip(prompts, batch.examples, strict=True)]
        width = max(map(len, rows)) + self.extra
        tokens = torch.randint(SIZE, (len(rows), width), generator=self.rng)
        real, positions = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens)
        begins = [width - len(row) if self.side == "left" else 0 for row in rows]
        for b, (row, at) in enumerate(zip(rows, begins, strict=True)):
            own = slice(at, at + len(row))
            tokens[b, own], real[b, own], positions[b, own] = torch.tensor(row), True, torch.arange(len(row))
        causal, itself = torch.ones(width, width).tril().bool(), torch.eye(width).bool()
        seen = causal & real[:, None, None, :] | itself  # padding sees itself, which keeps it finite
        told = {"attention_mask": seen, "position_ids": positions} if self.masked else {}
        logits = self.model(input_ids=tokens, use_cache=False, **told).logits / self.temperature
        out = logits.new_zeros(*batch.targets.shape, SIZE)
        for b, (prompt, example) in enumerate(zip(prompts, batch.examples, strict=True)):
            first = begins[b] + len(prompt) - 1
            out[b, : len(example.ids)] = logits[b, first : first + len(example.ids)]
        return out


@cache
def padded() -> HFPolicy:
    """The learning policy without a line."""
    return policy_of(copy.deepcopy(now().model), Padded)


@cache
def by_itself(side: str, masked: bool = True) -> Plain:
    """The learning policy's model as transformers runs it, seven tokens of padding more than needed."""
    policy = policy_of(copy.deepcopy(now().model), Plain)
    policy.side, policy.masked, policy.extra = side, masked, 7
    return policy
