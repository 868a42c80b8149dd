"""From the text of an answer, LaTeX or plain, to tokens: one pass, no backtracking, nothing evaluated."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from manyminds.maths.units import WORDS
from manyminds.maths.vocabulary import (
    FENCES,
    FUNCTIONS,
    HEADS,
    NAMES,
    OPERATORS,
    RELATIONS,
    SILENT,
    SPELL,
    SPELLED,
    TEXTS,
)

LONGEST = 2_000
"""Characters that an answer may have; a longer one is not read."""
DIGITS = 300
DEEPEST = 30
"""Brackets, roots, functions and signs that may stand in one another."""


class Unreadable(ValueError):
    """The text is no mathematics that is read here."""


class Token(NamedTuple):
    """`kind` says how to read `text`; `value` is what a number is worth. `group`: a brace that only groups."""

    kind: str
    text: str
    value: Fraction | None = None


NUMBER = re.compile(
    r"(?P<grouped>[1-9]\d{0,2}(?:(?:\{,\}|, ?\\!\s?)\d{3})+(?![\d,])(?:\.\d{1,300})?)"
    r"|(?P<commas>[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)(?:\.\d{1,300})?)"
    r"|(?P<spaced>[1-9]\d{0,2}(?:(?: |\\,|\\ |~)\d{3})+(?! ?\d)(?:\.\d{1,300})?)"
    r"|(?P<repeating>\d*\.\d*(?:\\overline ?\{\d{1,40}\}|\\dot ?\{?\d\}?))"
    r"|(?P<science>(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})[eE][+-]?\d{1,2}(?![\d.]))"
    r"|(?P<plain>\d+(?:\.\d+|\.(?![\d.]))?|\.\d+)",
    re.ASCII,
)
DECIMALS = re.compile(r"\.(?:\d|\\overline)")
COMMAND = re.compile(r"\\(?:([A-Za-z]+)\*?|(.))", re.ASCII | re.DOTALL)
LETTERS = re.compile(r"[A-Za-z]+(?:'[a-z]+)?", re.ASCII)
DOUBLED = re.compile(r"\\\\(?=[A-Za-z()\[\]])")
WORDLESS = re.compile(r"[-+\d.,/:()\s]*(?:[A-Za-z][-+\d.,/:()\s]*)?", re.ASCII)


def respelled(text: str) -> str:
    """The text with Unicode's mathematical signs as LaTeX or ASCII, and doubled backslashes halved where no line of a
    matrix can end."""
    text = text.translate(SPELL)
    return text if "\\begin" in text else DOUBLED.sub(r"\\", text)


def tokens(text: str) -> list[Token]:
    """The tokens of an answer. Raises Unreadable."""
    if len(text) > LONGEST:
        raise Unreadable(f"{len(text):,} characters are more than {LONGEST:,}")
    reader = _Reader(respelled(text))
    reader.read()
    if reader.depth:
        raise Unreadable("a bracket is never closed")
    return reader.found


class _Reader:
    """Where in a text a reading is, how deep in brackets, and the tokens so far."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth, self.found = text, 0, 0, list[Token]()

    def add(self, kind: str, text: str, value: Fraction | None = None) -> None:
        """Count the bracket, if it is one, and keep the token."""
        self.depth += {"open": 1, "close": -1}.get(kind, 0)
        if not 0 <= self.depth <= DEEPEST:
            raise Unreadable("brackets that do not match, or too many")
        self.found.append(Token(kind, text, value))

    def read(self) -> None:
        """All tokens of the text. Raises Unreadable, as all that follow."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\\":
                self.command()
            elif (char.isascii() and char.isdigit()) or DECIMALS.match(self.text, self.at):
                self.number()
            elif char.isascii() and char.isalpha():
                self.letters()
            else:
                self.at += 1
                self.sign(char)

    def sign(self, char: str) -> None:
        """A character that is neither a letter, a digit nor a backslash."""
        if char.isspace() or char in '$~"`':
            return
        if char in "([{":
            self.add("open", "group" if char == "{" else char)
        elif char in ")]}":
            self.add("close", "group" if char == "}" else char)
        elif char in ",;":
            self.add("sep", char)
        elif char in "=<>!" and self.text[self.at : self.at + 1] == "=":
            self.at += 1
            self.add("rel", {"=": "=", "<": "<=", ">": ">=", "!": "!="}[char])
        elif char in RELATIONS:
            self.add("rel", RELATIONS[char])
        elif char in "+-*/^_!|:&%.":
            if char == "*" and self.text[self.at : self.at + 1] == "*":
                self.at, char = self.at + 1, "^"
            self.add("op", char)
        elif char in "€£¥":
            self.add("money", char)
        else:
            raise Unreadable(f"the character {char!r}")

    def number(self) -> None:
        """A literal number, with thousands separators and the like."""
        found = NUMBER.match(self.text, self.at)
        if found is None:  # a dot before a digit that is not ASCII's
            raise Unreadable("a digit that is none of 0 to 9")
        kind, text = found.lastgroup, found.group()
        if kind == "commas" and self.depth:  # (1,234) is a pair
            found = re.compile(r"\d+", re.ASCII).match(self.text, self.at)
            assert found is not None
            kind, text = "plain", found.group()
        if kind == "spaced" and self.found and self.found[-1].text in ("frac", "sqrt", "^", "_", "/"):
            text = re.split(r"[ \\~]", text, maxsplit=1)[0]
            kind = "plain"
        self.at += len(text)
        self.add("num", text if kind == "plain" else "", worth(text, kind or "plain"))

    def letters(self) -> None:
        """The run of letters that comes."""
        found = LETTERS.match(self.text, self.at)
        assert found is not None
        word, self.at = found.group(), found.end()
        self.word(word)

    def word(self, word: str) -> None:
        """A run of letters: a word, a function's name, or symbols side by side."""
        if word in ("and", "or"):
            self.add("sep", word)
        elif word in FUNCTIONS:
            self.add("fun" if word != "sqrt" else "head", word)
        elif word in ("pi", "infty", "infinity", "inf", "oo"):
            self.add("sym", "pi" if word == "pi" else "infty")
        elif len(word) == 1:
            self.add("sym", word)
        elif len(word) > 3 or word.casefold() in WORDS:
            self.add("word", word)
        else:
            if "'" in word:
                raise Unreadable("an apostrophe")
            for letter in word:
                self.add("sym", letter)

    def command(self) -> None:
        """A command such as \\frac or \\,."""
        found = COMMAND.match(self.text, self.at)
        if found is None:
            raise Unreadable("a backslash at the end")
        name, other = found[1], found[2]
        self.at = found.end()
        if name is None:
            self.escaped(other)
        elif name in TEXTS:
            self.words()
        elif name in ("begin", "end"):
            self.environment(name)
        elif name in SILENT:
            if name in ("left", "right") and self.text[self.at : self.at + 1] == ".":
                raise Unreadable("half a pair of brackets")
        elif name in FENCES:
            self.add(*FENCES[name])
        elif name in RELATIONS:
            self.add("rel", RELATIONS[name])
        elif name in OPERATORS:
            self.add("op", OPERATORS[name])
        elif name in FUNCTIONS and name != "sqrt":
            self.add("fun", name)
        elif name in NAMES:
            self.add("sym", {"varnothing": "emptyset"}.get(name, name))
        elif (head := SPELLED.get(name, name)) in HEADS:
            self.add("head", head)
        elif name in ("circ", "degree"):
            self.add("op", "circ")
        elif name in ("dots", "ldots", "cdots"):
            self.add("op", "dots")
        elif name in ("land", "lor"):
            self.add("sep", "and" if name == "land" else "or")
        elif name in ("mid", "vert"):
            self.add("op", "|")
        elif name == "not" and (after := re.compile(r"\s*=").match(self.text, self.at)):
            self.at = after.end()
            self.add("rel", "!=")
        else:
            raise Unreadable(f"the command \\{name}")

    def escaped(self, char: str) -> None:
        """A command of one character that is no letter."""
        if char in "{}":
            self.add("open" if char == "{" else "close", char)
        elif char == "$":
            self.add("money", "$")
        elif char == "%":
            self.add("op", "%")
        elif char == "|":
            self.add("op", "|")
        elif char == "\\":
            self.add("op", "row")
        elif not char.isspace() and char not in ",;:!()[]":
            raise Unreadable(f"the command \\{char}")

    def argument(self) -> str:
        """What stands in the braces that come next, without braces of its own."""
        found = re.compile(r"\s*\{([^{}]*)\}").match(self.text, self.at)
        if found is None:
            raise Unreadable("braces are missing")
        self.at = found.end()
        return found[1]

    def words(self) -> None:
        """The argument of \\text and its like: words, or a number or letter that might as well stand without it."""
        inside = self.argument().replace("\\ ", " ").replace("\\$", "$").strip().strip(",").strip()
        if inside.casefold() in ("and", "or"):
            self.add("sep", inside.casefold())
        elif self.plain(inside):
            before, self.text, self.at = (self.text, self.at), inside, 0
            self.read()
            self.text, self.at = before
        elif inside in FUNCTIONS:
            self.add("fun", inside)
        elif inside == "e" or inside == "i":
            self.add("sym", inside)
        elif inside:
            for one in re.findall(r"/|[^\s/]+", inside):
                self.add("word", one)

    def plain(self, inside: str) -> bool:
        """Whether words are a number, with or without its unit, or one letter at the beginning."""
        if re.match(r"[-+]?\d", inside, re.ASCII):
            return True
        return WORDLESS.fullmatch(inside) is not None and (
            all(token.kind == "open" for token in self.found) or not any(char.isalpha() for char in inside)
        )

    def environment(self, which: str) -> None:
        """The begin or end of a matrix."""
        name = self.argument().strip("*")
        if name not in ("pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix", "array"):
            raise Unreadable(f"the environment {name}")
        if which == "begin" and name == "array":
            self.argument()
        self.add("open" if which == "begin" else "close", "matrix")


def worth(text: str, kind: str = "plain") -> Fraction:
    """What a literal number is worth, exactly. Raises Unreadable beyond 300 digits."""
    if len(text) > DIGITS:
        raise Unreadable("a number of too many digits")
    if kind == "repeating":
        start, _, tail = text.partition("\\")
        cycle = "".join(char for char in tail if char.isdigit())
        whole, _, fixed = start.partition(".")
        scale = 10 ** len(fixed)
        base = Fraction(int((whole + fixed) or "0"), scale)
        return base + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    if kind != "plain" and kind != "science":
        text = re.sub(r"[^\d.]", "", text, flags=re.ASCII)
    return Fraction(text.rstrip(".") if kind == "plain" else text)
