"""The policy over a Hugging Face causal language model on one device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from manyminds.batch import Batch, Row, collate
from manyminds.config import OptimizerConfig
from manyminds.errors import UserError
from manyminds.objective import Outputs
from manyminds.policy.optimizers import optimizers, rate
from manyminds.records import Example, Scores, Span, SpanScore


class HFPolicy:
    """A model with its optimisers and their schedule.

    `temperature` is the sampler's: log-probs here are those of the tempered policy that drew the answers.
    `tokens_at_once` bounds the padded tokens of a micro-batch; rows are sorted by length first.
    """

    def __init__(
        self,
        model: Any,
        optimizer: OptimizerConfig,
        *,
        steps: int,
        temperature: float = 1.0,
        reference: Any = None,
    ) -> None:
        self.models = {"policy": model, "reference": reference}
        self.model = model
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
        """Stand where `state()` was taken."""
        self.version, self.ticks, self.decay_from = state["version"], state["ticks"], state["decay_from"]
        self._set_rates()

    def split(self, rows: Sequence[Row]) -> list[Batch]:
        """Micro-batches of rows of like length, each at most `tokens_at_once` padded tokens (or one row)."""
        wide = torch.promote_types(self.model.dtype, torch.float32)
        return [collate(chunk, dtype=wide, device=self.model.device) for chunk in self._lengthwise(rows)]

    def forward(self, batch: Batch, needs: frozenset[str]) -> Outputs:
        """Log-probs of the targets; logits, teacher logits and entropies where needed.

        Raises ValueError for a need that this policy does not know.
        """
        unknown = needs - {"old_logprobs", "reference_logprobs", "logits", "teacher_logits", "entropies"}
        if unknown:
            raise ValueError(f"this policy cannot give {', '.join(sorted(unknown))}")
        logits = self._logits(self.model, batch.tokens, batch.starts, batch.targets.shape[1])
        logprobs = torch.log_softmax(logits, dim=-1)
        teacher = None
        if "teacher_logits" in needs and batch.teacher_tokens is not None and batch.teacher_starts is not None:
            with torch.no_grad():
                teacher = self._logits(self.model, batch.teacher_tokens, batch.teacher_starts, batch.targets.shape[1])
        return Outputs(
            logprobs=logprobs.gather(-1, batch.targets[..., None]).squeeze(-1),
            logits=logits if "logits" in needs else None,
            teacher_logits=teacher,
            entropies=-(logprobs.exp() * logprobs).sum(-1) if "entropies" in needs else None,
        )

    def _logits(self, model: Any, tokens: Tensor, starts: Tensor, width: int) -> Tensor:
        """Tempered logits at the positions that predict the response, "B T V"; float32 or wider.

        Rows are right-padded and attention is causal, so real tokens never see padding and no mask is needed.
        """
        first = int(starts.min()) - 1
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=tokens.shape[1] - first).logits
        index = starts[:, None] - 1 - first + torch.arange(width, device=tokens.device)
        index = index.clamp(max=logits.shape[1] - 1)[..., None].expand(-1, -1, logits.shape[-1])
        wide = torch.promote_types(logits.dtype, torch.float32)
        picked: Tensor = logits.gather(1, index).to(wide) / self.temperature
        return picked

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`."""
        torch.autograd.backward(loss)

    def update(self, lr_scale: float) -> dict[str, float]:
        """Clip the gradient to norm `clip_norm`, take one optimiser step, and forget the gradient.

        Raises UserError, before the weights change, for a gradient that is not finite.
        """
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm))
        if not math.isfinite(norm):
            raise UserError(
                f"the gradient's norm is {norm}, so no update was made; lower `optimizer.lr`, or look for an extreme "
                "reward, and go on from the last checkpoint"
            )
        lr = float(self.optimizers[0].param_groups[0]["lr"])
        if any(p.grad is not None for p in parameters):
            for optimizer in self.optimizers:
                self._scaled_step(optimizer, lr_scale)
        self.model.zero_grad(set_to_none=True)
        self.version += 1
        return {"grad_norm": norm, "lr": lr * lr_scale}

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
        scorer = self.models.get(model)
        if scorer is None:
            raise UserError(f"the run holds no {model} model; the method must name it in `needs`")
        scores: dict[str, SpanScore] = {}
        by_key = {span.key: span for span in spans}
        rows = [Row(Example(span.key, span.prompt_ids, span.ids, media=span.media), ()) for span in by_key.values()]
        for chunk in self._lengthwise(rows):
            batch = collate(chunk, dtype=torch.float32, device=self.model.device)
            logprobs = torch.log_softmax(self._logits(scorer, batch.tokens, batch.starts, batch.targets.shape[1]), -1)
            picked = logprobs.gather(-1, batch.targets[..., None]).squeeze(-1).tolist()
            entropies = (-(logprobs.exp() * logprobs).sum(-1)).tolist()
            for i, row in enumerate(chunk):
                span, n = by_key[row.example.kind], len(row.example.ids)
                wanted = tuple(entropies[i][:n]) if "entropies" in span.want else ()
                scores[span.key] = SpanScore(tuple(picked[i][:n]), wanted)
        return scores

    def _lengthwise(self, rows: Sequence[Row]) -> list[list[Row]]:
        chunks: list[list[Row]] = []
        for row in sorted(rows, key=lambda row: row.length):
            if not chunks or row.length * (len(chunks[-1]) + 1) > self.config.tokens_at_once:
                chunks.append([])
            chunks[-1].append(row)
        return chunks
