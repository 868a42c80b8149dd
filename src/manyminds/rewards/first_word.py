"""Judges that say one word, and how sure they are of it: a model run in this process, or one behind an address."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from manyminds.endpoint import Reply
from manyminds.errors import UserError
from manyminds.records import Expert, Ids, Question
from manyminds.rewards.kept import CONTROL, Asked, Said
from manyminds.rewards.waiting import wait


@dataclass(frozen=True, slots=True)
class Heard:
    """What a judge said to a prompt: the place of the word among its words, None for another, and its probability; or
    `why` it said nothing that counts."""

    which: int | None = None
    probability: float = 0.0
    why: str = ""


Guard = Callable[[str], str]
"""What makes a text that somebody else wrote fit to stand in a prompt."""


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
        options = json.dumps(dict(self.chat_template_kwargs), sort_keys=True, default=str)
        with _told():
            return [*heard(self._opened, self.words, self.rows_at_once, options, tuple(prompts))]

    def guard(self) -> Guard:
        """What takes a text's power to end a turn or begin one: it breaks the judge's control tokens apart."""
        with _told():
            return without_controls(self._opened.tokenizer)

    @property
    def _opened(self) -> Opened:
        return opened(self.model, self.precision, _stamp(self.model))


@dataclass(frozen=True, eq=False)
class Opened:
    """A judge that was read: itself and its tokenizer. One that is read again is another."""

    name: str
    causal: Any
    tokenizer: Any


@lru_cache(maxsize=4)
def opened(model: str, precision: str, stamp: int) -> Opened:
    """The model and its tokenizer, read once for all rewards that name it, and anew if its files (`stamp`) changed."""
    from manyminds.loading import load_model

    causal, tokenizer = load_model(model, 0, precision=precision)
    return Opened(model, causal.requires_grad_(False), tokenizer)


@lru_cache(maxsize=4)
def heard(
    judge: Opened, words: tuple[str, str], rows_at_once: int, options: str, prompts: tuple[str, ...]
) -> tuple[Heard, ...]:
    """What the judge says to the prompts. It is run once for rewards that ask the same of it one after another; only
    for the same prompts together, since a model's numbers depend in their last bits on what it is run with."""
    from manyminds.experts.rendering import Renderer
    from manyminds.loading import context_of
    from manyminds.policy.first_token import likeliest

    context = context_of(judge.causal.config, judge.tokenizer)
    renderer = Renderer(judge.tokenizer, context, options=json.loads(options))
    rows = [renderer.prompt_ids(Question("", prompt, ""), Expert("judge")) for prompt in prompts]
    fitting = [place for place, row in enumerate(rows) if len(row) < context]
    said = likeliest(judge.causal, [rows[place] for place in fitting], beginnings(judge, words), rows_at_once)
    found = [Heard(why=f"its prompt has more tokens than the judge's context of {context:,} holds")] * len(rows)
    for place, (which, probability) in zip(fitting, said, strict=True):
        fine = math.isfinite(probability)
        found[place] = Heard(which, probability) if fine else Heard(why="its logits are not finite")
    return tuple(found)


@lru_cache(maxsize=4)
def beginnings(judge: Opened, words: tuple[str, str]) -> tuple[Ids, ...]:
    """The tokens with which each word may begin, of all that the tokenizer has (`word_of`). Raises UserError if the
    judge cannot begin a word, or its first token does not tell the words apart."""
    its = judge.tokenizer
    ids = sorted(set(its.get_vocab().values()))
    said = its.batch_decode([[token] for token in ids], clean_up_tokenization_spaces=False)
    texts = {token: text.strip() for token, text in zip(ids, said, strict=True)}
    which = {token: word_of(text, words) for token, text in texts.items()}
    for n, word in enumerate(words):
        # Some tokenizers put a token for a blank before every text.
        first = next((token for token in its.encode(word, add_special_tokens=False) if texts.get(token)), None)
        if first is None or not word.startswith(texts[first]):
            raise UserError(f"the tokenizer of the judge {judge.name!r} has no token for {word!r}; take other words")
        if which[first] != n:
            raise UserError(
                f"{words[0]!r} and {words[1]!r} begin with the same token of the judge {judge.name!r}, "
                f"{texts[first]!r}, so its first token does not tell them apart; take other words"
            )
    return tuple(tuple(token for token in ids if which[token] == n) for n in range(len(words)))


def word_of(said: str, words: Sequence[str]) -> int | None:
    """The word that what was said begins, or is (YES, Y, " YES", "YES."); None for neither, or for what begins both."""
    bare = said.strip()
    bare = (re.match(r"\w+", bare) or [bare])[0]
    its = [n for n, word in enumerate(words) if bare and word.startswith(bare)]
    return its[0] if len(its) == 1 else None


def without_controls(tokenizer: Any) -> Guard:
    """What puts a blank behind the first character of each control token in a text, so that it is read as text.

    These are the tokenizer's special tokens, and of its other added tokens and of what stands in its chat template
    what looks like one, such as <think> and [INST].
    """
    from manyminds.experts.templates import template_of

    added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    like = [found[1] for text in [*added, template_of(tokenizer) or ""] for found in CONTROL.finditer(text)]
    known = {text.strip() for text in [*tokenizer.all_special_tokens, *like]} - {""}
    if not known:
        return str
    every = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))), re.IGNORECASE)

    def guarded(text: str) -> str:
        while every.search(text):  # what is left of one may be another
            text = every.sub(lambda found: f"{found[0][0]} {found[0][1:]}" if len(found[0]) > 1 else " ", text)
        return text

    return guarded


@contextmanager
def _told() -> Iterator[None]:
    """Says whose mistake it is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"generative_verifier: {error}") from error


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

    def guard(self) -> Guard:
        """Texts as they are: its tokenizer is not known here. What looks like a control token `kept.quoted` escapes."""
        return str

    def _first(self, said: Said) -> Heard:
        if said.reply is None:
            return Heard(why=said.why)
        chances = read_first(said.reply)
        if not chances:
            return Heard(why="its reply has no log-probs of the first token; the endpoint must give `top_logprobs`")
        best = max(chances, key=lambda token: chances[token])
        which = word_of(best, self.words)
        its = [best] if which is None else [token for token in chances if word_of(token, self.words) == which]
        return Heard(which, min(1.0, math.fsum(math.exp(chances[token]) for token in its)))

    def _vote(self, said: Sequence[Said]) -> Heard:
        """The majority's word and its share of the replies; those that are neither word are not for yes."""
        if any(one.reply is None for one in said):
            return Heard(why=next(one.why for one in said if one.reply is None))
        words = [word_of(str(json.loads(one.reply or "")["text"]), self.words) for one in said]
        which = 0 if 2 * words.count(0) >= len(words) else 1 if 1 in words else None
        return Heard(which, words.count(which) / len(words))


def first_of(reply: Reply) -> str:
    """What of a reply is kept: its text, and the likeliest first tokens with their log-probs."""
    return json.dumps({"text": reply.text, "logprobs": dict(reply.logprobs or {})}, ensure_ascii=False)


def read_first(reply: str) -> dict[str, float]:
    """The log-probs of a reply that was kept; those that are not finite count as tokens that cannot be."""
    return {token: float(its) for token, its in json.loads(reply)["logprobs"].items() if math.isfinite(its)}
