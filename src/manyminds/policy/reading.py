"""What a model says of a batch: the rows in a line with each prompt once, or padded where no layout fits the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from manyminds.batch import Batch, Row, collate
from manyminds.formulas.divergences import full_kl
from manyminds.objective import Outputs
from manyminds.policy.head import LOGITS_AT_ONCE
from manyminds.policy.line_model import LineModel
from manyminds.policy.packing import Packed
from manyminds.records import Ids


def read(model: LineModel, batch: Batch, needs: frozenset[str], temperature: float) -> Outputs:
    """Log-probs of the targets; entropies and the divergence from the teachers' prompts where needed."""
    reader = _InALine if model.fits else _Padded
    with model.running():
        row = reader(model, batch, [e.prompt_ids for e in batch.examples], temperature)
        logprobs, entropies = row.selected(entropy="entropies" in needs)
        kl = None
        if "teacher_kl" in needs and any(e.teacher_prompt_ids for e in batch.examples):
            with torch.no_grad():
                prompts = [e.teacher_prompt_ids or e.prompt_ids for e in batch.examples]
                teacher: Any = reader(model, batch, prompts, temperature)
            kl = row.divergence(teacher)
    return Outputs(logprobs, kl, entropies)


@torch.no_grad()
def describe(
    model: LineModel,
    rows: Sequence[Row],
    tokens: int,
    temperature: float,
    formula: Callable[[Tensor, Tensor], Tensor],
) -> list[Tensor]:
    """What `formula` makes of the whole distribution at every response token, "T F" of each row in their order, on CPU.

    `formula` takes log-probs over the vocabulary and targets, "n V" and "n", and gives "n F": of `LOGITS_AT_ONCE`
    numbers at a time, or where no layout fits the model of one row. At most `tokens` tokens run at once.
    """
    if not model.fits:  # all logits of a pass are there at once
        tokens = min(tokens, max(1, LOGITS_AT_ONCE // model.model.get_input_embeddings().num_embeddings))
    places = {id(row): i for i, row in enumerate(rows)}
    found: dict[int, Tensor] = {}
    reader = _InALine if model.fits else _Padded
    for chunk in chunked(rows, tokens, shared=model.fits):
        batch = collate(chunk, device=model.model.device)
        with model.running():
            said = reader(model, batch, [row.example.prompt_ids for row in chunk], temperature).described(formula)
        lengths = [len(row.example.ids) for row in chunk]
        found |= {places[id(row)]: its for row, its in zip(chunk, said.cpu().split(lengths), strict=True)}
    return [found[i] for i in range(len(rows))]


class _InALine:
    """The rows as `Packed` lays them out: no padding, and each distinct prompt once."""

    def __init__(self, model: LineModel, batch: Batch, prompts: Sequence[Ids], temperature: float) -> None:
        self.model, self.temperature, self.shape = model, temperature, batch.targets.shape
        device = batch.targets.device
        line = Packed([(p, e.ids) for p, e in zip(prompts, batch.examples, strict=True)], device)
        self.hidden = model.hidden(line.tokens, line.positions, line)[line.predicts]
        lengths = torch.tensor([len(e.ids) for e in batch.examples], device=device)
        filled = torch.arange(self.shape[1], device=device) < lengths[:, None]
        self.places = filled.flatten().nonzero().squeeze(1)
        self.targets = batch.targets.flatten()[self.places]

    def selected(self, *, entropy: bool) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the targets and their entropies, "B T"."""
        logprobs, entropies = self.model.selected(self.hidden, self.targets, self.temperature, entropy=entropy)
        return self._grid(logprobs), None if entropies is None else self._grid(entropies)

    def divergence(self, teacher: _InALine) -> Tensor:
        """KL(teacher || this) at every token, "B T"."""
        return self._grid(self.model.divergence(self.hidden, teacher.hidden, self.temperature))

    def described(self, formula: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What the formula makes of the response tokens, row after row, "n F"."""
        return self.model.described(self.hidden, self.targets, self.temperature, formula)

    def _grid(self, values: Tensor) -> Tensor:
        """What was said of response tokens in a line, at their rows; 0 at padding."""
        size = self.shape[0] * self.shape[1]
        return values.new_zeros(size).index_copy(0, self.places, values).view(self.shape)


class _Padded:
    """The rows right-padded, by the model's own forward pass. Attention is causal: no real token sees padding."""

    def __init__(self, model: LineModel, batch: Batch, prompts: Sequence[Ids], temperature: float) -> None:
        rows = [p + e.ids for p, e in zip(prompts, batch.examples, strict=True)]
        width = max(map(len, rows))
        tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=batch.targets.device)
        starts = torch.tensor([len(p) for p in prompts], device=batch.targets.device)
        first = int(starts.min()) - 1
        said = model.model(input_ids=tokens, use_cache=False, logits_to_keep=width - first).logits
        index = starts[:, None] - 1 - first + torch.arange(batch.targets.shape[1], device=tokens.device)
        index = index.clamp(max=said.shape[1] - 1)[..., None].expand(-1, -1, said.shape[-1])
        wide = torch.promote_types(said.dtype, torch.float32)
        self.tempered: Tensor = said.gather(1, index).to(wide) / temperature
        self.targets = batch.targets
        self.lengths = [len(e.ids) for e in batch.examples]

    def selected(self, *, entropy: bool) -> tuple[Tensor, Tensor | None]:
        """As `_InALine.selected`."""
        each = torch.log_softmax(self.tempered, dim=-1)
        entropies = -(each.exp() * each.clamp(min=-1e4)).sum(-1) if entropy else None
        return each.gather(-1, self.targets[..., None]).squeeze(-1), entropies

    def divergence(self, teacher: _Padded) -> Tensor:
        """As `_InALine.divergence`."""
        return full_kl(teacher.tempered, self.tempered)

    def described(self, formula: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """As `_InALine.described`."""
        said = [
            formula(torch.log_softmax(logits[:n], -1), targets[:n])
            for logits, targets, n in zip(self.tempered, self.targets, self.lengths, strict=True)
        ]
        return torch.cat(said)


def chunked(rows: Sequence[Row], tokens: int, *, shared: bool) -> list[list[Row]]:
    """The rows in chunks of at most `tokens` tokens (or one row), those of one prompt together, like lengths together.

    `shared`: a prompt counts once a chunk and nothing is padded; else every row counts as long as the longest.
    """
    by_prompt: dict[Any, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault((row.example.prompt_ids, row.example.media) if shared else id(row), []).append(row)
    families = sorted(by_prompt.values(), key=lambda its: max(row.length for row in its))
    chunks: list[list[Row]] = []
    size = 0
    for family in families:
        for row in family:
            prompt, response = len(row.example.prompt_ids), len(row.example.ids)
            new = not chunks or chunks[-1][-1].example.prompt_ids != row.example.prompt_ids
            more = response + prompt * new if shared else row.length * (len(chunks[-1]) + 1 if chunks else 1) - size
            if not chunks or size + more > tokens:
                chunks.append([])
                size, more = 0, prompt + response
            chunks[-1].append(row)
            size += more
    return chunks
