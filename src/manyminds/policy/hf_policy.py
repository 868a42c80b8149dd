"""The policy over a Hugging Face causal language model on one device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from manyminds import clock
from manyminds.batch import Batch, Row, collate
from manyminds.errors import NotFinite, UserError
from manyminds.objective import Outputs
from manyminds.policy import checkpointing
from manyminds.policy.fitting import fitted
from manyminds.policy.line_model import LineModel
from manyminds.policy.optimizers import optimizers, rate
from manyminds.policy.reading import chunked, read
from manyminds.records import Example, Scores, Span, SpanScore
from manyminds.sections import Engine, OptimizerConfig


class HFPolicy:
    """A model with its optimisers and their schedule.

    `reference` is another model, or another way to run this one. `temperature` is the sampler's: log-probs here are
    those of the tempered policy that drew the answers.
    """

    def __init__(
        self,
        model: Any,
        optimizer: OptimizerConfig,
        *,
        steps: int,
        temperature: float = 1.0,
        reference: Any = None,
        engine: Engine | None = None,
    ) -> None:
        self.engine = fitted(engine or Engine(), model)
        models = {"policy": model, "reference": reference}
        self.lines = {
            name: m if isinstance(m, LineModel) else LineModel(m, self.engine.precision)
            for name, m in models.items()
            if m is not None
        }
        self.model, self.tokens_at_once = model, self.engine.tokens_at_once or 1
        if self.engine.gradient_checkpointing:
            checkpointing.enable(model)
        self.config = optimizer
        self.optimizers = optimizers(optimizer, model)
        self.steps, self.temperature = steps, temperature
        self.version = 0
        self.ticks = 0
        self.decay_from: int | None = None
        self._base = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        self._set_rates()

    def _set_rates(self) -> None:
        factor = rate(self.config.schedule, self.steps, self.decay_from)(self.ticks)
        for optimizer, base in zip(self.optimizers, self._base, strict=True):
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * factor

    def tick(self) -> None:
        """One training step has passed: the learning rate moves on."""
        self.ticks += 1
        self._set_rates()

    def decay(self) -> None:
        """From now on the warm-up-stable-decay schedule falls."""
        self.decay_from = self.ticks
        self._set_rates()

    def state(self) -> dict[str, Any]:
        """What resuming needs besides weights and optimiser tensors."""
        return {"version": self.version, "ticks": self.ticks, "decay_from": self.decay_from}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Stand where `state()` was taken. Raises TypeError for what it cannot have said."""
        version, ticks, falls = (state[name] for name in ("version", "ticks", "decay_from"))
        if {type(version), type(ticks), type(falls or 0)} != {int}:
            raise TypeError(f"version, ticks and decay_from must be whole numbers, not {version}, {ticks} and {falls}")
        self.version, self.ticks, self.decay_from = version, ticks, falls
        self._set_rates()

    def split(self, rows: Sequence[Row]) -> list[Batch]:
        """Micro-batches of at most `engine.tokens_at_once` tokens (or one row); rows of one prompt stay together."""
        wide = torch.promote_types(self.model.dtype, torch.float32)
        chunks = chunked(rows, self.tokens_at_once, shared=self.lines["policy"].fits)
        return [collate(chunk, dtype=wide, device=self.model.device) for chunk in chunks]

    def forward(self, batch: Batch, needs: frozenset[str]) -> Outputs:
        """Log-probs of the targets; entropies and the divergence from the teacher's prompt where needed.

        Raises ValueError for a need that this policy does not know.
        """
        unknown = needs - {"old_logprobs", "reference_logprobs", "teacher_kl", "entropies"}
        if unknown:
            raise ValueError(f"this policy cannot give {', '.join(sorted(unknown))}")
        saving = checkpointing.checkpointing(self.model) if self.engine.gradient_checkpointing else nullcontext()
        with clock.span("logprobs"), saving:
            return read(self.lines["policy"], batch, needs, self.temperature)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`."""
        with clock.span("backward"), self.lines["policy"].attending():  # checkpointed layers run forward once more
            torch.autograd.backward(loss)

    def update(self, lr_scale: float) -> dict[str, float]:
        """Clip the gradient to norm `clip_norm`, take one optimiser step, and forget the gradient.

        Raises NotFinite, before the weights change, for a gradient that is not finite; it is forgotten too.
        """
        with clock.span("optimizer"):
            return self._update(lr_scale)

    def _update(self, lr_scale: float) -> dict[str, float]:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm))
        if not math.isfinite(norm):
            self.forget()
            raise NotFinite(f"the gradient's norm is {norm}")
        lr = float(self.optimizers[0].param_groups[0]["lr"])
        if any(p.grad is not None for p in parameters):
            for optimizer in self.optimizers:
                self._scaled_step(optimizer, lr_scale)
        self.forget()
        self.version += 1
        return {"grad_norm": norm, "lr": lr * lr_scale}

    def forget(self) -> None:
        """Drop the gradient gathered so far."""
        self.model.zero_grad(set_to_none=True)

    def finite(self) -> bool:
        """Whether the gradient gathered so far is: every number of it."""
        return all(bool(p.grad.isfinite().all()) for p in self.model.parameters() if p.grad is not None)

    @staticmethod
    def _scaled_step(optimizer: torch.optim.Optimizer, lr_scale: float) -> None:
        rates = [group["lr"] for group in optimizer.param_groups]
        for group, lr in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lr * lr_scale
        optimizer.step()
        for group, lr in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lr

    @torch.no_grad()
    def score(self, spans: Sequence[Span], model: str = "policy") -> Scores:
        """The spans under the policy or the reference, without gradient, by span key."""
        scorer = self.lines.get(model)
        if scorer is None:
            raise UserError(f"the run holds no {model} model; the method must name it in `needs`")
        clock.keep("scored", spans)
        scores: dict[str, SpanScore] = {}
        by_key = {span.key: span for span in spans}
        rows = [Row(Example(span.key, span.prompt_ids, span.ids, media=span.media), ()) for span in by_key.values()]
        for chunk in chunked(rows, self.tokens_at_once, shared=scorer.fits):
            batch = collate(chunk, dtype=torch.float32, device=self.model.device)
            with clock.span("logprobs"):
                outputs = read(scorer, batch, frozenset({"entropies"}), self.temperature)
            assert outputs.entropies is not None
            logprobs, entropies = outputs.logprobs.tolist(), outputs.entropies.tolist()
            for i, example in enumerate(batch.examples):
                span, n = by_key[example.kind], len(example.ids)
                wanted = tuple(entropies[i][:n]) if "entropies" in span.want else ()
                scores[span.key] = SpanScore(tuple(logprobs[i][:n]), wanted)
        return scores
