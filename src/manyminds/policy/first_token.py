"""The first token that a language model would say to each of several prompts, without drawing any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from manyminds.records import Ids
from manyminds.sampling.plain_cache import left_padded


def first_ids(tokenizer: Any, word: str) -> Ids:
    """The tokens with which a reply that is this word may begin: at its start, after a blank or after a line break."""
    found = []
    for before in ("", " ", "\n"):
        alone, ids = (tokenizer.encode(text, add_special_tokens=False) for text in (before, before + word))
        same = next((n for n, (a, b) in enumerate(zip(alone, ids, strict=False)) if a != b), min(len(alone), len(ids)))
        found += ids[same : same + 1]
    return tuple(dict.fromkeys(map(int, found)))


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
    owner = {token: which for which, ids in enumerate(words) for token in ids}
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
        chances = logits.double().softmax(-1).cpu()
        for place, chance in zip(places, chances, strict=True):
            best = int(chance.argmax())
            which = owner.get(best)
            ids = [best] if which is None else list(words[which])
            found[place] = (which, float(chance[ids].sum().clamp(max=1)))
    return [found[place] for place in range(len(prompts))]
