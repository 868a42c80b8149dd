"""Draws answers in this process from a Hugging Face causal language model.

The answers to a prompt share its prefill, finished rows leave the batch, and every answer has its own stream of random
numbers, so that it comes out the same whatever else is drawn beside it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from manyminds.errors import UserError
from manyminds.policy.policy import Policy
from manyminds.records import Ask, Decoding, Ids, Rollout

COMPACT_BELOW = 0.8
"""Finished rows are dropped once fewer than this share of the rows is still running."""


def uniforms(draw: str, group_id: tuple[str, str], answer: int, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """n uniform numbers in [0, 1) that depend on these keys alone (Philox, keyed by their BLAKE2 hash)."""
    key = hashlib.blake2b("\x1f".join([draw, *group_id, str(answer)]).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(n)


@dataclass
class _Drawn:
    """The rows being drawn, one line per answer; columns are response positions."""

    tokens: Tensor
    logprobs: Tensor
    entropies: Tensor
    lengths: Tensor
    stopped: Tensor


class TransformersSampler:
    """Samples from `model` (shared with the policy that trains it).

    `rows_at_once` bounds how many answers run together. Answers end at a token of `stop_ids`, which is kept.
    """

    def __init__(
        self, model: Any, tokenizer: Any, decoding: Decoding, *, stop_ids: Ids, rows_at_once: int = 512
    ) -> None:
        self.model, self.tokenizer, self.decoding = model, tokenizer, decoding
        self.stop = torch.tensor(stop_ids, device=model.device)
        self.rows_at_once = rows_at_once
        self.version = 0

    def load(self, policy: Policy) -> None:
        """The model is the policy's own: only its version is new."""
        self.version = policy.version

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        """All answers, in the order of the asks. Raises UserError for decoding that this sampler cannot do."""
        rollouts: list[Rollout] = []
        before: Counter[tuple[str, str]] = Counter()
        for decoding, chunk in self._chunks(asks):
            if decoding.mixture or decoding.environment:
                raise UserError("the transformers sampler draws from one model in one turn: no mixture, no environment")
            rollouts += self._sample_chunk(chunk, decoding, draw, before)
        return tuple(rollouts)

    def _chunks(self, asks: Sequence[Ask]) -> Iterator[tuple[Decoding, list[Ask]]]:
        """Consecutive asks of equal decoding, at most `rows_at_once` answers together."""
        chunk: list[Ask] = []
        for ask in asks:
            full = sum(a.n for a in chunk) + ask.n > self.rows_at_once
            if chunk and (full or ask.decoding != chunk[0].decoding):
                yield chunk[0].decoding or self.decoding, chunk
                chunk = []
            chunk.append(ask)
        if chunk:
            yield chunk[0].decoding or self.decoding, chunk

    def _sample_chunk(
        self, asks: list[Ask], decoding: Decoding, draw: str, before: Counter[tuple[str, str]]
    ) -> list[Rollout]:
        """`before` counts the answers to each prompt, so that a prompt asked twice is answered anew."""
        rows: list[tuple[Ask, int]] = []
        for ask in asks:
            first = before[ask.prompt.group_id]
            rows += [(ask, first + g) for g in range(ask.n)]
            before[ask.prompt.group_id] += ask.n
        noise = None
        if decoding.temperature > 0:
            streams = [uniforms(draw, ask.prompt.group_id, g, decoding.max_tokens) for ask, g in rows]
            noise = torch.from_numpy(np.stack(streams)).to(self.model.device)
        drawn = self._decode(asks, decoding, noise)
        tokens, logprobs, entropies = drawn.tokens.tolist(), drawn.logprobs.tolist(), drawn.entropies.tolist()
        ids = [tuple(line[:n]) for line, n in zip(tokens, drawn.lengths.tolist(), strict=True)]
        texts = self.tokenizer.batch_decode([list(i) for i in ids], skip_special_tokens=True)
        return [
            Rollout(
                prompt=ask.prompt,
                ids=ids[i],
                logprobs=tuple(logprobs[i][: len(ids[i])]),
                text=texts[i],
                finish="stop" if drawn.stopped[i] else "length",
                entropies=tuple(entropies[i][: len(ids[i])]),
                policy_version=self.version,
            )
            for i, (ask, _) in enumerate(rows)
        ]

    @torch.inference_mode()
    def _decode(self, asks: list[Ask], decoding: Decoding, noise: Tensor | None) -> _Drawn:
        """Prefill every prompt once, then one token per running row and pass until all have stopped."""
        device, count = self.model.device, sum(ask.n for ask in asks)
        tokens, mask = left_padded([ask.prompt.ids for ask in asks], device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        logits = self._forward(tokens, mask, positions, cache)
        which = torch.repeat_interleave(torch.tensor([ask.n for ask in asks], device=device))
        cache.batch_select_indices(which)
        logits, mask, position = logits[which], mask[which], positions[which, -1:]
        out = _Drawn(
            torch.zeros(count, decoding.max_tokens, dtype=torch.long, device=device),
            torch.zeros(count, decoding.max_tokens, device=device),
            torch.zeros(count, decoding.max_tokens, device=device),
            torch.zeros(count, dtype=torch.long, device=device),
            torch.zeros(count, dtype=torch.bool, device=device),
        )
        live = torch.arange(count, device=device)
        for t in range(decoding.max_tokens):
            token, logprob, entropy = choose(logits, decoding.temperature, None if noise is None else noise[live, t])
            running = ~out.stopped[live]
            out.tokens[live, t], out.logprobs[live, t], out.entropies[live, t] = token, logprob, entropy
            out.lengths[live] += running
            out.stopped[live] |= torch.isin(token, self.stop)
            running = ~out.stopped[live]
            left = int(running.sum())
            if left == 0 or t + 1 == decoding.max_tokens:
                break
            if left < COMPACT_BELOW * len(live):
                keep = running.nonzero().squeeze(1)
                cache.batch_select_indices(keep)
                live, token, mask, position = live[keep], token[keep], mask[keep], position[keep]
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
            position = position + 1
            logits = self._forward(token[:, None], mask, position, cache)
        return out

    def _forward(self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Logits of the last position, float32."""
        out = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits


def left_padded(rows: Sequence[Ids], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Prompts as one left-padded tensor, and the mask of their real tokens."""
    width = max(len(row) for row in rows)
    tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return tokens, mask


def choose(logits: Tensor, temperature: float, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The next token of each row, its log-prob and the entropy in nats, all under the tempered policy.

    Greedy without noise; with it, the token at which the cumulative probability passes the row's uniform number.
    """
    logprobs = torch.log_softmax(logits / (temperature or 1.0), dim=-1)
    probabilities = logprobs.exp()
    if noise is None:
        token = logits.argmax(-1)
    else:
        cumulative = probabilities.double().cumsum(-1)
        threshold = noise[:, None] * cumulative[:, -1:]
        token = (cumulative <= threshold).sum(-1).clamp(max=logits.shape[-1] - 1)
    entropy = -(probabilities * logprobs.clamp(min=-1e4)).sum(-1)
    return token, logprobs.gather(-1, token[:, None]).squeeze(-1), entropy
