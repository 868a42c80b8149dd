"""One of several options: the gold answer is a letter, and a response may name the letter or the option's own text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from manyminds.records import Question
from manyminds.rewards.reward import reward

LETTER = re.compile(r"\(? ?([a-z]) ?\)?\.?", re.IGNORECASE)
BOTH = re.compile(r"\(? ?([a-z]) ?\) ?(\S.*)", re.IGNORECASE)


@reward(trusted=True)
def choice_answer(question: Question, response: str, answer: str, extract: Callable[[str], str | None]) -> bool:
    """Whether the option that the response names is the gold one; the question's column `options` holds their texts.

    Raises LookupError if there is no such column, and TypeError if it holds anything but texts.
    """
    options, found = options_of(question), extract(response)
    return found is not None and chosen(found, options) == answer.strip().lower()


def options_of(question: Question) -> Sequence[str]:
    """The texts of the options. Raises LookupError if the question has none, and TypeError for what is no list."""
    place = question.source or f"question {question.id!r}"
    if "options" not in question.extras:
        raise LookupError(
            f"{place} has no column `options`, in which choice_answer looks for the options' texts; give the column "
            "that name, or take exact_answer, which needs none"
        )
    options = question.extras["options"]
    if not isinstance(options, list | tuple) or not options or not all(isinstance(text, str) for text in options):
        raise TypeError(
            f'{place}: its `options` must be a list of the options\' texts, such as ["1/2", "31/36"], not '
            f"{str(options)[:60]!r}"
        )
    return options


def chosen(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option that `text` names: by letter (`b`, `(b)`), by letter and text (`b) 31/36`), or by a text
    that exactly one option has. None if it names no option, or if letter and text disagree."""
    letters = [chr(ord("a") + place) for place in range(len(options))]
    if alone := read_letter(text):
        return alone if alone in letters else None
    texts = [_bare(option) for option in options]
    if both := BOTH.fullmatch(text.strip()):
        letter, rest = both[1].lower(), _bare(both[2])
        if letter in letters and texts[letters.index(letter)] == rest:
            return letter
    fitting = [letter for letter, option in zip(letters, texts, strict=True) if option == _bare(text)]
    return fitting[0] if len(fitting) == 1 else None


def read_letter(text: str) -> str | None:
    """The letter that `text` is, alone or in brackets, in lower case."""
    found = LETTER.fullmatch(text.strip())
    return found[1].lower() if found else None


def _bare(text: str) -> str:
    return "".join(text.casefold().split()).removesuffix(".")
