"""The first token that a language model would say to each of several prompts, without drawing any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from manyminds.records import Ids
from manyminds.sampling.plain_cache import left_padded


@torch.no_grad()
def likeliest(
    model: Any, prompts: Sequence[Ids], words: Sequence[Ids], rows_at_once: int
) -> list[tuple[int | None, float]]:
    """Which of the `words`, each given by its first tokens, the likeliest of all first tokens belongs to (None: to none
    of them), and the probability of that word's first tokens, or of the token.

    Probabilities are those of the whole vocabulary, in float64 from the model's logits; NaN where these are not finite.
    At most `rows_at_once` prompts are run together, those of like length, and only logits of last positions are made.
    """
    found: dict[int, tuple[int | None, float]] = {}
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    its = [torch.tensor(ids, dtype=torch.long, device=model.device) for ids in words]
    for start in range(0, len(order), rows_at_once):
        places = order[start : start + rows_at_once]
        tokens, mask = left_padded([prompts[place] for place in places], model.device)
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]
        chances = logits.double().softmax(-1)
        probability, best = chances.max(-1)
        which = torch.full_like(best, -1)
        for n, ids in enumerate(its):
            said = torch.isin(best, ids)
            which[said] = n
            probability = torch.where(said, chances[:, ids].sum(-1).clamp(max=1), probability)
        for place, n, chance in zip(places, which.tolist(), probability.tolist(), strict=True):
            found[place] = (None if n < 0 else n, chance)
    return [found[place] for place in range(len(prompts))]
