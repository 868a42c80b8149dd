"""A Hugging Face causal language model run on lines of tokens: which of them take part, and in which precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyminds.policy.allocator import keep_freed_memory
from manyminds.policy.attention import Layout, Scoring, by_layout
from manyminds.policy.head import capped, chunks, divergence, selected
from manyminds.policy.linear import Quick
from manyminds.policy.packing import Packed

Precision = Literal["float32", "mixed"]


LENGTH_DEPENDENT = frozenset({"dynamic", "longrope"})
"""Rotations that change with the longest position of a pass: in a line, one long row would turn all others."""


def rope_types(config: Any) -> set[Any]:
    """The kinds of rotary embedding that a configuration names, for all layers or by kind of layer."""
    named = getattr(config, "rope_parameters", None) or {}
    each = [named, *(inner for inner in named.values() if isinstance(inner, dict))]
    return {one.get("rope_type") for one in each}


class Counted:
    """A layout that notes which layers asked, and with which windows; one that must be asked once a layer."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.calls: list[int] = []
        self.windows: set[int | None] = set()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """As `Packed` does. Raises NotImplementedError for keys and values of unlike shapes: no cache holds those."""
        if key.shape != value.shape:
            raise NotImplementedError("keys and values differ in shape")
        self.calls.append(layer)
        self.windows.add(scoring.window)
        return self.packed.attend(layer, query, key, value, scoring)

    def sees(self, window: int | None) -> bool:
        """Whether a window of the model's configuration was told to the layout, if its layers have one."""
        return window is None or self.windows != {None}


class LineModel:
    """The model's body and head under layouts.

    `mixed`: linear layers in bfloat16; weights, norms, attention, cache and head stay float32 (on CUDA attention, cache
    and the head's product are bfloat16 too; the softmax is float32). `fits` tells whether the architecture can be run
    so: it takes attention functions by name, body and head together say what the whole model says, and no rotation
    depends on the length of the longest row.
    """

    def __init__(self, model: Any, precision: Precision | None = None) -> None:
        self.model, self.precision = model, precision or "float32"
        self.softcap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self.head: Any = model.get_output_embeddings()
        self.on_cpu = model.device.type == "cpu"
        if self.on_cpu:
            keep_freed_memory()
        mixed = self.precision == "mixed"  # but the head: log-probs are float32, where they are drawn and where learnt
        self.quick = Quick(model, mixed=mixed, apart=self.head) if self.on_cpu else None
        self.fits = self._agrees()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, `hidden` and `logits` may be called. Weights are rounded to bfloat16 once per `running`."""
        autocast = self.precision == "mixed" and not self.on_cpu  # on a CPU `Quick` rounds, at less cost
        with self.attending(), torch.autocast(self.model.device.type, torch.bfloat16, enabled=autocast):
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
        hidden = self._for_head(hidden)
        return selected(self.head, hidden, targets, temperature=temperature, softcap=self.softcap, entropy=entropy)

    def divergence(
        self, hidden: Float[Tensor, "n W"], teacher: Float[Tensor, "n W"], temperature: float
    ) -> Float[Tensor, " n"]:
        """KL(teacher || this) between what the head makes of these hidden states, never holding all rows' logits."""
        hidden, teacher = self._for_head(hidden), self._for_head(teacher)
        return divergence(self.head, hidden, teacher, temperature=temperature, softcap=self.softcap)

    @torch.no_grad()
    def described(
        self,
        hidden: Float[Tensor, "n W"],
        targets: Int[Tensor, " n"],
        temperature: float,
        describe: Callable[[Tensor, Tensor], Tensor],
    ) -> Float[Tensor, "n F"]:
        """What `describe` makes of each row's log-probs over the vocabulary and its target, never holding the logits of
        all rows."""
        hidden, said = self._for_head(hidden), []
        for rows in chunks(len(hidden), len(self.head.weight)):
            each = torch.log_softmax(self.logits(hidden[rows]) / temperature, -1)
            said.append(describe(each, targets[rows]))
        return torch.cat(said)

    def _for_head(self, hidden: Tensor) -> Tensor:
        return hidden.to(torch.bfloat16) if self.precision == "mixed" and not self.on_cpu else hidden

    @torch.no_grad()
    def _agrees(self) -> bool:
        """Whether a line of several rows, with prompts and beginnings in common, says what the model says of each row.

        Rows leak into one another where tokens are mixed by anything but attention (convolutions, state spaces).
        """
        known = getattr(self.model, "_supports_attention_backend", False)
        if not (known and isinstance(self.head, torch.nn.Linear) and hasattr(self.model.config, "num_attention_heads")):
            return False
        if LENGTH_DEPENDENT & rope_types(self.model.config):
            return False
        size = self.model.config.vocab_size
        first, second = tuple(i % size for i in (1, 2, 3, 4)), tuple(i % size for i in (5, 6))
        answers = [tuple(i % size for i in ids) for ids in ((7, 8, 9, 10), (7, 8, 11, 12), (13, 14))]
        rows = [(first, answers[0]), (first, answers[1]), (second, answers[2])]
        line, layers = Counted(Packed(rows, self.model.device)), int(self.model.config.num_hidden_layers)
        try:
            with by_layout(self.model):
                packed = line.packed
                ours = self.logits(self.hidden(packed.tokens, packed.positions, line)[packed.predicts])
        except (NotImplementedError, TypeError, AttributeError, RuntimeError, IndexError):
            return False
        whole = [torch.tensor([prompt + ids], device=self.model.device) for prompt, ids in rows]
        said = [self.model(input_ids=ids, use_cache=False).logits[0].to(ours.dtype) for ids in whole]
        theirs = torch.cat([s[len(prompt) - 1 : -1] for s, (prompt, _) in zip(said, rows, strict=True)])
        tolerance = max(1e-3, 4 * torch.finfo(self.model.dtype).eps)
        near = torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))
        return (
            near and line.calls == list(range(layers)) and line.sees(getattr(self.model.config, "sliding_window", None))
        )
