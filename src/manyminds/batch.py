"""From examples to tensors: averages become row weights once, over the whole update; afterwards rows only add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyminds.records import Example, Floats, Ids

if TYPE_CHECKING:
    from manyminds.objective import Term

RowWeights = Callable[[Tensor, Tensor], Tensor]
"""(lengths, row weights) -> one token weight per row; see formulas/averages.py."""


@dataclass(frozen=True, slots=True)
class Row:
    """An example with its token weight in each term, in the order of the terms."""

    example: Example
    weights: Floats

    @property
    def length(self) -> int:
        return len(self.example.prompt_ids) + len(self.example.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as right-padded tensors. T counts response positions; `starts[b]` is where row b's response begins.

    `weights[k, b, t]` is the weight of token t of row b in term k: 0 at padding, at masked tokens, and in every term
    that does not read the row's kind.
    """

    tokens: Int[Tensor, "B L"]
    starts: Int[Tensor, " B"]
    targets: Int[Tensor, "B T"]
    mask: Float[Tensor, "B T"]
    weights: Float[Tensor, "K B T"]
    advantages: Float[Tensor, "B T"]
    planes: Mapping[str, Float[Tensor, "B T"]] = field(default_factory=dict)
    teacher_tokens: Int[Tensor, "B M"] | None = None
    teacher_starts: Int[Tensor, " B"] | None = None
    examples: tuple[Example, ...] = ()

    @property
    def media(self) -> tuple[tuple[str, ...], ...]:
        """The media of each row."""
        return tuple(example.media for example in self.examples)

    def plane(self, name: str, default: Tensor) -> Tensor:
        """A named per-token value; `default` in rows whose example carries none, whatever rows stand beside them."""
        if name not in self.planes:
            return default
        carried = [name in example.planes for example in self.examples]
        if all(carried):
            return self.planes[name]
        return torch.where(torch.tensor(carried, device=default.device)[:, None], self.planes[name], default)


def counted(example: Example) -> int:
    """How many response tokens count: those the policy chose."""
    return sum(example.mask) if example.mask else len(example.ids)


def weigh(examples: Sequence[Example], terms: Sequence[Term]) -> list[Row]:
    """Fold each term's average into one weight per row, over all examples of the update.

    Must see every row of the update, of all ranks and also those of advantage 0: an average over fewer rows is
    another average. Raises ValueError for a row whose term compares it with a teacher, and that has none.
    """
    weights = torch.zeros(len(terms), len(examples), dtype=torch.float64)
    for k, term in enumerate(terms):
        rows = [i for i, example in enumerate(examples) if example.kind == term.kind or example.kind in term.among]
        if term.kind not in {examples[i].kind for i in rows} or term.coefficient == 0:
            continue
        if "teacher_kl" in term.needs and not all(examples[i].teacher_prompt_ids for i in rows):
            raise ValueError(f"the term '{term.name}' needs a teacher's prompt in every example of kind '{term.kind}'")
        lengths = torch.tensor([float(counted(examples[i])) for i in rows], dtype=torch.float64)
        row_weights = torch.tensor([examples[i].weight for i in rows], dtype=torch.float64)
        read = torch.tensor([examples[i].kind == term.kind for i in rows])
        weights[k, rows] = term.average(lengths, row_weights) * read
    return [Row(example, tuple(w)) for example, w in zip(examples, weights.T.tolist(), strict=True)]


def alive(row: Row, terms: Sequence[Term]) -> bool:
    """Whether the row can have a gradient. Dropping dead rows *after* `weigh` leaves the gradient as it is."""
    advantage = row.example.advantage
    each = advantage if isinstance(advantage, tuple) else (advantage,)
    has = {"any": True, "nonzero": any(each), "positive": any(a > 0 for a in each)}
    return any(weight != 0 and has[term.credit] for weight, term in zip(row.weights, terms, strict=True))


def _right_padded(rows: Sequence[Sequence[int] | Floats], dtype: torch.dtype, fill: float = 0) -> Tensor:
    width = max((len(row) for row in rows), default=0)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=dtype)


def _per_token(value: float | Floats, ids: Ids) -> Floats:
    return value if isinstance(value, tuple) else (value,) * len(ids)


def collate(rows: Sequence[Row], *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> Batch:
    """Rows as one right-padded batch. Padding is told by `mask` and `weights`, never by a token id."""
    examples = [row.example for row in rows]
    mask = _right_padded([e.mask or (1,) * len(e.ids) for e in examples], dtype)
    row_weights = torch.tensor([row.weights for row in rows], dtype=dtype).T
    names = sorted({name for example in examples for name in example.planes})
    planes = {
        name: _right_padded([e.planes.get(name) or (0.0,) * len(e.ids) for e in examples], dtype).to(device)
        for name in names
    }
    taught = any(e.teacher_prompt_ids for e in examples)
    teachers = [e.teacher_prompt_ids or e.prompt_ids for e in examples]
    return Batch(
        tokens=_right_padded([e.prompt_ids + e.ids for e in examples], torch.long).to(device),
        starts=torch.tensor([len(e.prompt_ids) for e in examples], device=device),
        targets=_right_padded([e.ids for e in examples], torch.long).to(device),
        mask=mask.to(device),
        weights=(row_weights[:, :, None] * mask[None]).to(device),
        advantages=_right_padded([_per_token(e.advantage, e.ids) for e in examples], dtype).to(device),
        planes=planes,
        teacher_tokens=_right_padded([t + e.ids for t, e in zip(teachers, examples, strict=True)], torch.long).to(
            device
        )
        if taught
        else None,
        teacher_starts=torch.tensor([len(t) for t in teachers], device=device) if taught else None,
        examples=tuple(examples),
    )
