"""Texts that show what a reward pays for: the gold answer, which must be worth 1, and tricks, which must be worth 0."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from manyminds.records import Question

NONSENSE = "xyzzy"
VERY_LONG = "a very long response"
LONG = 100_000
"""Characters of the very long response."""
LONG_ONES = 4
"""Questions that get one."""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Probe:
    """A text as an answer, and what the verifier owes it."""

    what: str
    text: str
    due: float

    @property
    def name(self) -> str:
        """What it is, in short."""
        return self.what.removeprefix("the ").removeprefix("a ").removeprefix("an ").partition(",")[0]

    @property
    def long(self) -> bool:
        """Whether judging it costs more than all others."""
        return self.what == VERY_LONG

    @property
    def shown(self) -> str:
        """The text, what is beyond its first 200 characters only counted."""
        more = len(self.text) - 200
        return self.text if more <= 0 else f"{self.text[:200]}… and {more:,} characters more"


class Problem(str):
    """A sentence on what is wrong with a reward. `fooled`: it fell for a trick, and may be right otherwise."""

    fooled: bool

    def __new__(cls, sentence: str, fooled: bool = False) -> Problem:
        made = super().__new__(cls, sentence)
        made.fooled = fooled
        return made


def probes(question: Question, form: str) -> tuple[Probe, ...]:
    """All probes of a question, its answers written in the task's `form` (with {answer} in the answer's place)."""

    def written(*answers: str) -> str:
        return "\n".join(form.replace("{answer}", answer) for answer in answers)

    wrong = numbers_beside(question.answer)
    many = (*wrong[:4], question.answer, *wrong[4:])
    number = NUMBER.fullmatch(question.answer) and float(question.answer)
    made = [Probe("the gold answer", written(question.answer), 1.0)]
    if question.solution:
        made.append(Probe("the worked solution", question.solution, 1.0))
    made += [
        Probe("nonsense", written(NONSENSE), 0.0),
        Probe("an empty response", "", 0.0),
        Probe("another number", written(wrong[0]), 0.0),
        Probe("another number alone", wrong[0], 0.0),
        *([Probe("a number that ends like it", written(in_front(question.answer, "9")), 0.0)] if number else []),
        *([Probe("its opposite", written(opposite(question.answer)), 0.0)] if number else []),
        Probe("many answers, the gold one among them", written(*many), 0.0),
        Probe("many after the gold one", written(question.answer, *wrong), 0.0),
        Probe("many boxed answers, the gold one among them", " ".join(f"\\boxed{{{each}}}" for each in many), 0.0),
        Probe("the question itself", question.text, 0.0),
        Probe(VERY_LONG, (NONSENSE + " ") * (LONG // (len(NONSENSE) + 1)), 0.0),
    ]
    return tuple(made)


def of_all(questions: Sequence[Question], form: str) -> Iterator[tuple[int, Question, Probe]]:
    """The probes of every question, with its place; of the first few also the very long one."""
    for place, question in enumerate(questions):
        for probe in probes(question, form):
            if not probe.long or place < LONG_ONES:
                yield place, question, probe


def numbers_beside(answer: str) -> list[str]:
    """Eight numbers that are clearly not the answer, also for a verifier that rounds: a whole number with another digit
    at its end, so that a look at the beginning of a response does not tell them from it; any other number with one at
    its front.
    """
    number = NUMBER.fullmatch(answer)
    if number and "." in answer:
        return [in_front(answer, digit) for digit in "12345678"]
    return [(answer if number else "3133") + digit for digit in "12345678"]


def in_front(number: str, digit: str) -> str:
    """The number with another digit at its front."""
    sign = number[0] if number[0] in "+-" else ""
    return f"{sign}{digit}{number[len(sign) :]}"


def opposite(number: str) -> str:
    """The number with the other sign."""
    return number[1:] if number[0] == "-" else f"-{number.removeprefix('+')}"
