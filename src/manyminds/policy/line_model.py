"""A Hugging Face causal language model run on lines of tokens: which of them take part, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyminds.policy.allocator import keep_freed_memory
from manyminds.policy.attention import Layout, by_layout
from manyminds.policy.head import capped, selected
from manyminds.policy.linear import Quick
from manyminds.policy.packing import Packed

Precision = Literal["float32", "mixed"]


class LineModel:
    """The model's body and head under layouts.

    `mixed`: linear layers in bfloat16; weights, norms, attention, cache and log-probs stay float32 (on CUDA attention
    and cache are bfloat16 too). `fits` tells whether the architecture can be run so: it takes attention functions by
    name, and body and head together say what the whole model says.
    """

    def __init__(self, model: Any, precision: Precision | None = None) -> None:
        self.model, self.precision = model, precision or "float32"
        self.softcap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self.head: Any = model.get_output_embeddings()
        self.on_cpu = model.device.type == "cpu"
        if self.on_cpu:
            keep_freed_memory()
        self.quick = Quick(model, mixed=self.precision == "mixed") if self.on_cpu else None
        self.fits = self._agrees()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, `hidden` and `logits` may be called. Weights are rounded to bfloat16 once per `running`."""
        with (
            self.attending(),
            torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.precision == "mixed"),
        ):
            yield

    @contextmanager
    def attending(self) -> Iterator[None]:
        """Within, the model attends by layout, if it fits, and multiplies quickly on a CPU."""
        with (
            by_layout(self.model) if self.fits else nullcontext(),
            self.quick.running() if self.quick else nullcontext(),
        ):
            yield

    def hidden(self, tokens: Int[Tensor, " N"], positions: Int[Tensor, " N"], layout: Layout) -> Float[Tensor, "N W"]:
        """The last hidden states of N tokens in a line, each seeing what the layout lets it see."""
        run = self.model.base_model
        out = run(input_ids=tokens[None], position_ids=positions[None], use_cache=False, layout=layout)
        states: Tensor = out.last_hidden_state[0]
        return states

    def logits(self, hidden: Float[Tensor, "n W"]) -> Float[Tensor, "n V"]:
        """What the head makes of hidden states, float32 or wider."""
        logits = self.head(hidden)
        return capped(logits.to(torch.promote_types(logits.dtype, torch.float32)), self.softcap)

    def selected(
        self, hidden: Float[Tensor, "n W"], targets: Int[Tensor, " n"], temperature: float, *, entropy: bool
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"] | None]:
        """Log-probs of the targets, and entropies if wanted, never holding the logits of all rows."""
        if self.precision == "mixed" and not self.on_cpu:
            hidden = hidden.to(torch.bfloat16)
        return selected(self.head, hidden, targets, temperature=temperature, softcap=self.softcap, entropy=entropy)

    @torch.no_grad()
    def _agrees(self) -> bool:
        """Whether a short line says what the model says of it the ordinary way."""
        if not (getattr(self.model, "_supports_attention_backend", False) and isinstance(self.head, torch.nn.Linear)):
            return False
        tokens = torch.arange(5, device=self.model.device) % self.model.config.vocab_size
        line = Packed([(tuple(tokens[:2].tolist()), tuple(tokens[2:].tolist()))], self.model.device)
        try:
            with by_layout(self.model):
                ours = self.logits(self.hidden(line.tokens, line.positions, line)[line.predicts])
        except (NotImplementedError, TypeError, AttributeError):
            return False
        theirs = self.model(input_ids=tokens[None], use_cache=False).logits[0, 1:4].to(ours.dtype)
        return torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2 * float(theirs.abs().max()))
