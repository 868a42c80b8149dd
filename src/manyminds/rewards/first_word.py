"""Judges that say one word, and how sure they are of it: a model run in this process, or one behind an address."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from manyminds.endpoint import Reply
from manyminds.errors import UserError
from manyminds.records import Expert, Ids, Question
from manyminds.rewards.kept import Asked, Said
from manyminds.rewards.waiting import wait


@dataclass(frozen=True, slots=True)
class Heard:
    """What a judge said to a prompt: the place of the word among its words, None for another, and its probability; or
    `why` it said nothing that counts."""

    which: int | None = None
    probability: float = 0.0
    why: str = ""


Say = Callable[[Sequence[str]], list[Heard]]


@dataclass(frozen=True)
class JudgeHere:
    """A Hugging Face folder (or hub id) that is run in this process. It is read when it is first asked.

    Raises UserError when it is made if the folder is not there, else when it is first asked.
    """

    model: str
    words: tuple[str, str]
    precision: str
    rows_at_once: int
    chat_template_kwargs: Mapping[str, Any]

    def __post_init__(self) -> None:
        from manyminds.loading import check_folder

        check_folder(self.model)

    def said(self, prompts: Sequence[str]) -> list[Heard]:
        """What it says to each prompt, put to it as a user's turn where it has a chat template."""
        from manyminds.experts.rendering import Renderer
        from manyminds.loading import context_of
        from manyminds.policy.first_token import likeliest

        try:
            causal, tokenizer = opened(self.model, self.precision, _stamp(self.model))
            words = self._first_ids(tokenizer)
            context = context_of(causal.config, tokenizer)
            renderer = Renderer(tokenizer, context, options=self.chat_template_kwargs)
            rows = [renderer.prompt_ids(Question("", prompt, ""), Expert("judge")) for prompt in prompts]
        except UserError as error:
            raise UserError(f"generative_verifier: {error}") from error
        fitting = [place for place, row in enumerate(rows) if len(row) < context]
        said = likeliest(causal, [rows[place] for place in fitting], words, self.rows_at_once)
        heard = [Heard(why=f"its prompt has more tokens than the judge's context of {context:,} holds")] * len(rows)
        for place, (which, probability) in zip(fitting, said, strict=True):
            fine = math.isfinite(probability)
            heard[place] = Heard(which, probability) if fine else Heard(why="its logits are not finite")
        return heard

    def _first_ids(self, tokenizer: Any) -> tuple[Ids, Ids]:
        """The tokens with which each word may begin. Raises UserError if they do not tell the words apart."""
        from manyminds.policy.first_token import first_ids

        yes, no = (first_ids(tokenizer, word) for word in self.words)
        for word, ids in zip(self.words, (yes, no), strict=True):
            if not ids or tokenizer.unk_token_id in ids:
                raise UserError(
                    f"the tokenizer of the judge {self.model!r} has no token for {word!r}; take other words"
                )
        if both := set(yes) & set(no):
            raise UserError(
                f"{self.words[0]!r} and {self.words[1]!r} begin with the same token of the judge {self.model!r}, "
                f"{tokenizer.decode([min(both)])!r}, so its first token does not tell them apart; take other words"
            )
        return yes, no


@lru_cache(maxsize=4)
def opened(model: str, precision: str, stamp: int) -> tuple[Any, Any]:
    """The model and its tokenizer, read once for all rewards that name it, and anew if its files (`stamp`) changed."""
    from manyminds.loading import load_model

    causal, tokenizer = load_model(model, 0, precision=precision)
    return causal.requires_grad_(False), tokenizer


def _stamp(model: str) -> int:
    """When a folder was last written; 0 for what is no folder."""
    folder = Path(model)
    return max((file.stat().st_mtime_ns for file in folder.iterdir()), default=0) if folder.is_dir() else 0


@dataclass
class JudgeThere:
    """A judge behind an address. With `votes` above 1 what it drew so many times is counted."""

    asked: Asked
    words: tuple[str, str]
    votes: int

    def said(self, prompts: Sequence[str]) -> list[Heard]:
        """What it said to each prompt. Raises UserError if it can never answer."""
        said = wait(self.asked.replies(prompts, self.votes))
        each = [said[place : place + self.votes] for place in range(0, len(said), self.votes)]
        return [self._vote(its) if self.votes > 1 else self._first(*its) for its in each]

    def _first(self, said: Said) -> Heard:
        if said.reply is None:
            return Heard(why=said.why)
        chances = read_first(said.reply)
        if not chances:
            return Heard(why="its reply has no log-probs of the first token; the endpoint must give `top_logprobs`")
        best = max(chances, key=lambda token: chances[token])
        which = self._word(best)
        its = [best] if which is None else [token for token in chances if self._word(token) == which]
        return Heard(which, min(1.0, math.fsum(math.exp(chances[token]) for token in its)))

    def _vote(self, said: Sequence[Said]) -> Heard:
        """The majority's word and its share of the replies; those that are neither word are not for yes."""
        if any(one.reply is None for one in said):
            return Heard(why=next(one.why for one in said if one.reply is None))
        words = [self._word(str(json.loads(one.reply or "")["text"])) for one in said]
        which = 0 if 2 * words.count(0) >= len(words) else 1 if 1 in words else None
        return Heard(which, words.count(which) / len(words))

    def _word(self, said: str) -> int | None:
        """The word that what was said begins, or is; None for neither, or for what begins both."""
        bare = said.strip()
        bare = (re.match(r"\w+", bare) or [bare])[0]
        its = [n for n, word in enumerate(self.words) if bare and word.startswith(bare)]
        return its[0] if len(its) == 1 else None


def first_of(reply: Reply) -> str:
    """What of a reply is kept: its text, and the likeliest first tokens with their log-probs."""
    return json.dumps({"text": reply.text, "logprobs": dict(reply.logprobs or {})}, ensure_ascii=False)


def read_first(reply: str) -> dict[str, float]:
    """The log-probs of a reply that was kept; those that are not finite count as tokens that cannot be."""
    return {token: float(its) for token, its in json.loads(reply)["logprobs"].items() if math.isfinite(its)}
