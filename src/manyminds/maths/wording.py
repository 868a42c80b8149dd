"""The text of an answer without what only dresses it, and words that are an answer themselves."""

from __future__ import annotations

import re

from manyminds.maths.answers import Word
from manyminds.maths.tokens import LONGEST, respelled
from manyminds.maths.vocabulary import FUNCTIONS, TEXTS

DRESS = re.compile(r"\\(?:" + "|".join(sorted(TEXTS)) + r")\s*\{([^{}]*)\}")
LETTERS = re.compile(r"[A-Za-z][A-Za-z' -]*", re.ASCII)
COMMAND = re.compile(r"\\[A-Za-z]+|[\^_=+<>|]")
YES = {"true": "yes", "false": "no"}


def words(text: str) -> Word | None:
    """The text as words, in one spelling; None if it has mathematics in it, or nothing."""
    plain = undressed(text)
    if len(text) > LONGEST or COMMAND.search(plain):
        return None
    bare = " ".join(re.findall(r"[^\W_]+(?:[.,'/-][^\W_]+)*|[^\w\s.,;:!?\"'`*(){}\[\]$]", plain.casefold()))
    for article in ("it is ", "the ", "an ", "a "):
        bare = bare.removeprefix(article)
    return Word(YES.get(bare, bare)) if any(char.isalpha() for char in bare) else None


def is_words(text: str) -> bool:
    """Whether there are only letters in the text, and more of them side by side than symbols would be."""
    plain = undressed(text)
    runs = set(plain.replace("-", " ").split()) if LETTERS.fullmatch(plain) else set()
    return any(len(run) > 2 for run in runs - FUNCTIONS - {"and", "infinity", "inf"})


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
        if text.startswith("\\boxed{") and _closes(text, 6) == len(text) - 1:
            text = text[7:-1]
        if text == before:
            return text


def _closes(text: str, at: int) -> int:
    """Where the brace at a place is closed, -1 if it is not."""
    depth, escaped = 0, False
    for place in range(at, len(text)):
        if escaped or text[place] == "\\":
            escaped = not escaped
            continue
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
    return -1
