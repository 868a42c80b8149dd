"""Where in a response its answer stands: boxes, `####`, `<answer>`; in the lenient mode sentences and what comes last.

Every scan is one pass over the text, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from manyminds.maths.answers import Word
from manyminds.maths.reading import read
from manyminds.maths.tokens import LONGEST, Unreadable
from manyminds.maths.wording import undressed

BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
BETWEEN = re.compile(r"(?:[\s$,;.]|\\[()\[\]]|and|or)*")
ANNOUNCED = re.compile(
    r"(?:final\s{1,9}answer(?:\s{1,9}is)?|\banswers?\s{1,9}(?:is|are)|\banswer\s?(?=[:=])|\banswer(?=\s{0,9}\$))",
    re.IGNORECASE,
)
CLOSING = re.compile(r"(?:[.\s]i hope (?:it|this) is correct|<\|)", re.IGNORECASE)
DOLLARS = re.compile(r"\$\$([^$]{1,2000})\$\$|\$([^$]{1,2000})\$")
CHOICE = re.compile(r"\bis (\([A-Z]\)|[A-Z])[.\s]*$", re.ASCII)
DENIED = re.compile(r"(?:\bnot|n't|\bnever|\bneither|\bnor|\bno)\s{1,9}(?:\w{1,20}\s)?$", re.IGNORECASE)
LAST_NUMBER = re.compile(
    r"(?<![\w.,/^])[-+]?(?:[$€£] ?)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.,]\d+)?(?:/\d+)?(?: ?%)?", re.ASCII
)
QUOTES = " \t\n\"'*"
MOST = 32
"""Boxes in a response; one with more has no answer."""


def boxed(text: str) -> list[str]:
    """What stands in the boxes of a text that are in no other box, in their order. Boxes that never end are none."""
    return [text[start:end] for _, _, start, end in _outer(_boxes(text))]


def stated(response: str) -> list[str]:
    """The answers that a response states by a box, else `####`, else `<answer>` tags: all of which must be right.

    Boxes with nothing but "and" or a comma between them are one answer of several parts.
    """
    text = after_thinking(response)
    if places := _outer(_boxes(text)):
        return _joined(text, places)
    _, marker, rest = text.rpartition("####")
    if marker:
        return [line] if (line := rest.strip().partition("\n")[0].lstrip(": ").strip()) else []
    tags = [tag.strip() for tag in _tagged(text)]
    return list(dict.fromkeys(tag for tag in tags if tag))[: MOST + 1]


def found(response: str) -> str | None:
    """The one answer of a response, leniently: what is announced as the final answer after the last box, else the last
    box, `####`, `<answer>`, "the answer is …", the whole text if it can be read, the last mathematics in it, the last
    number in it."""
    text = after_thinking(response)
    places = _outer(_boxes(text))
    announced = _announced(text, places[-1][1] if places else 0)
    if places:
        return announced or _joined(text, places)[-1]
    if said := stated(text):
        return settled(said[-1])
    if announced:
        return announced
    return settled(text) if text.strip() else None


def settled(text: str) -> str:
    """The answer in a text that holds little else."""
    text = text.strip()
    if len(text) <= LONGEST:
        try:
            if not isinstance(read(text), Word):
                return text
        except Unreadable:
            pass
    if not _prose(text):
        return text
    at, maths = _last_mathematics(text)
    if maths:
        return text if DENIED.search(text, max(0, at - 20), at) else maths
    if choice := CHOICE.search(text[-40:]):
        return choice[1]
    tail = text[-LONGEST:]
    last = max(LAST_NUMBER.finditer(tail), key=lambda one: one.start(), default=None)
    return text if last is None or DENIED.search(tail, max(0, last.start() - 20), last.start()) else last.group()


def _prose(text: str) -> bool:
    """Whether there are words in it, besides those in \\text{} and commands."""
    return re.search(r"(?<![\\A-Za-z{])[A-Za-z]{2,}", undressed(text[-LONGEST:])) is not None


def _last_mathematics(text: str) -> tuple[int, str]:
    """Where the last delimiters of mathematics begin, and what stands between them, or ""."""
    last, at, found = -1, 0, ""
    for one in DOLLARS.finditer(text):
        last, at, found = one.end(), one.start(), one[1] or one[2]
    for start, end in (("\\(", "\\)"), ("\\[", "\\]")):
        stop = text.rfind(end)
        begin = text.rfind(start, 0, stop) if stop > last else -1
        if begin >= 0:
            last, at, found = stop, begin, text[begin + 2 : stop]
    return at, found if any(char.isalnum() for char in found) else ""


def after_thinking(text: str) -> str:
    """What comes after the last `</think>`."""
    return text.rpartition("</think>")[2]


def _announced(text: str, start: int) -> str:
    """What follows the last "the answer is" after `start`, or ""."""
    last = max(ANNOUNCED.finditer(text, start), key=lambda one: one.start(), default=None)
    if last is None:
        return ""
    tail = CLOSING.split(text[last.end() : last.end() + 2 * LONGEST].lstrip(" :=*\t\n"), maxsplit=1)[0]
    tail = tail.partition("\n\n")[0].replace('\\"', '"').lstrip(QUOTES).rstrip(QUOTES + ".")
    if not tail:
        return ""
    try:
        if not isinstance(read(tail), Word):
            return tail
    except Unreadable:
        pass
    for verb in (" is ", " are ", " = "):
        before, _, rest = tail.rpartition(verb)
        if before and rest.strip():
            return settled(rest)
    return settled(tail)


def _joined(text: str, places: list[tuple[int, int, int, int]]) -> list[str]:
    """The boxes as answers; those side by side make one of several parts."""
    groups: list[list[str]] = []
    before = -1
    for at, end, start, stop in places[: MOST + 1]:
        inside = text[start:stop].strip()
        beside = groups and at - before < 40 and BETWEEN.fullmatch(text, before, at) and before < at
        if beside and re.search(r"and|or|,|;", text[before:at]) and inside not in groups[-1]:
            groups[-1].append(inside)
        elif not (beside and inside in groups[-1]):
            groups.append([inside])
        before = end
    return list(dict.fromkeys(", ".join(group) for group in groups))


def _boxes(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Begin and end of each box, and of what stands in it; by counting braces, those after a backslash apart."""
    starts = {}
    for box in BOX.finditer(text):
        at = box.end()
        while at < len(text) and text[at] in " \t\n" and at - box.end() < 9:
            at += 1
        if at < len(text) and text[at] == "{":
            starts[at] = box.start()
        elif bare := re.compile(r"[^\s$,;{}\\]{1,40}").match(text, at):
            yield box.start(), bare.end(), at, bare.end()
    opened: list[int] = []
    at = min(starts, default=len(text))
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at):
        if brace.group() == "{":
            opened.append(brace.start())
        elif brace.group() == "}" and opened:
            start = opened.pop()
            if start in starts:
                yield starts[start], brace.end(), start + 1, brace.start()


def _outer(boxes: Iterator[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Those that are in no other, in the order of the text."""
    kept: list[tuple[int, int, int, int]] = []
    for box in sorted(boxes):
        if not kept or box[0] >= kept[-1][1]:
            kept.append(box)
    return kept


def _tagged(text: str) -> Iterator[str]:
    """What stands between `<answer>` and the `</answer>` that follows."""
    at = 0
    while (start := text.find("<answer>", at)) >= 0:
        end = text.find("</answer>", start)
        if end < 0:
            return
        inside = text[start + 8 : end]
        yield inside[inside.rfind("<answer>") + 8 :] if "<answer>" in inside else inside
        at = end + 9
