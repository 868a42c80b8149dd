"""The text of an answer without what only dresses it, and words that are an answer themselves."""

from __future__ import annotations

import re

from manyminds.maths.answers import Word
from manyminds.maths.tokens import LONGEST, respelled
from manyminds.maths.vocabulary import TEXTS

DRESS = re.compile(r"\\(?:" + "|".join(sorted(TEXTS)) + r")\s*\{([^{}]*)\}")
COMMAND = re.compile(r"\\[A-Za-z]+|[\^_=+<>|]")
YES = {"true": "yes", "false": "no"}


def words(text: str) -> Word | None:
    """The text as words, in one spelling; None if it has mathematics in it, or nothing."""
    plain = undressed(text)
    if len(text) > LONGEST or COMMAND.search(plain):
        return None
    bare = " ".join(re.findall(r"[^\W_]+(?:[.,'/-][^\W_]+)*|[^\w\s.,;:!?\"'`*(){}\[\]$]", plain.casefold()))
    bare = bare.removeprefix("the ").removeprefix("an ").removeprefix("a ") if " " in bare else bare
    return Word(YES.get(bare, bare)) if any(char.isalpha() for char in bare) else None


def undressed(text: str) -> str:
    """The text without dollar signs, \\text{} and its like, and spaces around it."""
    return DRESS.sub(r" \1 ", text.replace("\\$", "").replace("$", "")).replace("\\ ", " ").replace("~", " ").strip()


def without_stop(text: str) -> str:
    """The text without what ends a sentence, spaces and delimiters of mathematics around it."""
    text = respelled(text).strip()
    while True:
        before = text
        text = text.strip().strip("`").removesuffix("\\\\").strip()
        for start, end in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
            if len(text) >= len(start + end) and text.startswith(start) and text.endswith(end):
                inner = text[len(start) : -len(end)]
                text = text if start in inner or text.endswith("\\$") else inner
        if text.endswith((".", ",", ";", "!", "?")) and not text.endswith(("\\,", "\\;", "\\!", "...")):
            text = text[:-1] if text[-1] != "!" or " " in text else text
        if text == before:
            return text
