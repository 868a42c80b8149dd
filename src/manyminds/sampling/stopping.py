"""When an answer ends: at a stop id, or with the token that completes a stop string in its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from manyminds.records import Ids


class Stopping:
    """Ends answers at `ids` and at `strings`, read in the text that the tokenizer makes of an answer's last tokens.

    Text, and not ids: tokens that spell a string are not always those that the tokenizer would choose for it. Special
    tokens are text here, though the answer's own text leaves them out.
    """

    def __init__(self, ids: Ids, strings: Sequence[str], tokenizer: Any, device: torch.device) -> None:
        self.ids = torch.tensor(ids, dtype=torch.long, device=device)
        self.strings, self.tokenizer = strings, tokenizer
        # A token has at least a byte; the one before the string is there because some decoders drop the first space.
        self.looks_back = 1 + max((len(string.encode()) for string in strings), default=0)

    def __call__(
        self, tokens: Int[Tensor, "L T"], lines: Int[Tensor, " n"], at: Int[Tensor, " n"]
    ) -> Bool[Tensor, " n"]:
        """Whether the answers in these lines end with their token at `at`."""
        ended = torch.isin(tokens[lines, at], self.ids)
        if not self.strings:
            return ended
        columns = (at[:, None] + torch.arange(1 - self.looks_back, 1, device=at.device)).clamp(min=0)
        recent, lengths = tokens[lines[:, None], columns].tolist(), (at + 1).tolist()
        last = [ids[-min(n, self.looks_back) :] for ids, n in zip(recent, lengths, strict=True)]
        texts = self.tokenizer.batch_decode(last, skip_special_tokens=False)
        spelled = [any(string in text for string in self.strings) for text in texts]
        return ended | torch.tensor(spelled, dtype=torch.bool, device=ended.device)
