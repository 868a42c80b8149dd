"""Where a final answer stands in sampled ids, however they spell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from manyminds.records import Ask, Ids, Prompt, Question, Rollout
from manyminds.sampling.answer_spans import AnswerSpans, place_of
from toy import Toy, ToyPolicy


class Pieces:
    """A tokenizer whose ids are places in a list of pieces of bytes; a special one is text to nobody."""

    def __init__(self, *pieces: str | bytes) -> None:
        self.pieces = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return b"".join(self.pieces[i] for i in ids if self.pieces[i] != b"<eos>").decode(errors="replace")


class Fixed:
    """A sampler that gives what it was made with."""

    def __init__(self, *rollouts: Rollout) -> None:
        self.rollouts, self.loaded = rollouts, 0

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        return self.rollouts

    def load(self, policy: Any) -> None:
        self.loaded += 1


def span(form: str, *pieces: str | bytes) -> Ids:
    words = Pieces(*pieces)
    ids = tuple(range(len(pieces)))
    return AnswerSpans(Fixed(), words, form).find(ids, words.decode(ids, skip_special_tokens=True))


MARKED = "#### {answer}"
TAGGED = "<answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("form", "pieces", "wanted"),
    [
        (MARKED, ("so", " ####", " 4", "2", "<eos>"), (2, 4)),
        (MARKED, ("so\n", "##", "##", " ", "4", "2"), (4, 6)),  # not as a tokenizer would have it
        (MARKED, ("####", " ", "a b", " c", "\n", "more"), (2, 4)),  # a line
        (MARKED, ("####", "\n", "42"), (2, 3)),
        (MARKED, ("#### ", "42\n", "x"), (1, 2)),
        (MARKED, ("", "####", "42"), (2, 3)),
        ("#{answer}", ("1", "#", "4", "2"), (2, 4)),
        (TAGGED, ("<ans", "wer>", " blue ", "sky", " </", "answer>", "<eos>"), (2, 4)),
        (MARKED, ("#### ", b"\xf0\x9f", b"\x98\x80", "!"), (1, 4)),  # a character of two tokens
        (MARKED, ("#### a", "b"), ()),  # marker and answer share a token
        (MARKED, ("no", " mark"), ()),
        (MARKED, ("####", " "), ()),
        (MARKED, ("####", " 4", " ####", " 2"), ()),  # two answers are none
        (TAGGED, ("<answer>", "blue"), ()),  # cut before it closed
        (TAGGED, ("</answer>", "<answer>", "blue", "</answer>"), ()),
        (TAGGED, ("<answer>", "</answer>"), ()),
        (MARKED, (), ()),
    ],
)
def test_where_an_answer_stands(form: str, pieces: tuple[str | bytes, ...], wanted: Ids) -> None:
    assert span(form, *pieces) == wanted


def test_every_way_to_cut_a_text_finds_the_same_answer() -> None:
    """All 2^14 ways to cut 15 characters into tokens: the answer's tokens, or nothing if one begins in the marker."""
    text = "so ab #### 4 2\n"
    begins, ends = text.index("4"), text.index("2") + 1
    for cuts in range(2 ** (len(text) - 1)):
        pieces, last = [], 0
        for i in range(1, len(text) + 1):
            if i == len(text) or cuts >> (i - 1) & 1:
                pieces.append(text[last:i])
                last = i
        starts = [sum(map(len, pieces[:i])) for i in range(len(pieces) + 1)]
        found = span(MARKED, *pieces)
        first = max(i for i, at in enumerate(starts) if at <= begins)
        if starts[first] < text.index("#") + 4:
            assert found == (), pieces
        else:
            assert found == (first, min(i for i, at in enumerate(starts) if at >= ends)), pieces


def test_the_text_of_a_form_is_read_as_its_task_does() -> None:
    assert place_of("x #### 4 2 \ny", MARKED) == (6, 7, 10)
    assert place_of("<answer>\n4\n</answer>", TAGGED) == (8, 9, 10)


def test_what_is_drawn_stays_as_it_was() -> None:
    words = Pieces("so", "####", " 4")
    prompt = Prompt(Question("q", "", "4"), "e")
    rollouts = (Rollout(prompt, (0, 1, 2), (-1.0,) * 3, "so#### 4"), Rollout(prompt, (0,), (-1.0,), "so"))
    inner = Fixed(*rollouts)
    sampler = AnswerSpans(inner, words, MARKED)
    drawn = sampler.sample([], "0")
    sampler.load(ToyPolicy(Toy()))
    assert [one.answer_span for one in drawn] == [(2, 3), ()]
    assert tuple(replace(one, answer_span=()) for one in drawn) == rollouts
    assert inner.loaded == 1
