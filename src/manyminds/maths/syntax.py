"""From the tokens of an expression to its tree, by recursive descent; no more is read into it than stands there.

What is ambiguous is refused or has one meaning: two numbers side by side are no product, `1\\frac12` is one and a half,
`\\frac12` is a half, and `1/2x` is `(1/2)x`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from manyminds.maths.bounded import summed
from manyminds.maths.tokens import DEEPEST, Token, Unreadable
from manyminds.maths.tree import Node, letters, number

END = Token("end", "")


def parsed(tokens: Sequence[Token]) -> Node:
    """The tree of an expression, of all the tokens. Raises Unreadable."""
    if not tokens:
        raise Unreadable("nothing")
    parser = Parser(tokens)
    found = parser.sum()
    if parser.next is not END:
        raise Unreadable(f"{parser.next.text!r} after an expression")
    return found


class Parser:
    """Where in the tokens a reading is, and how deep."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens, self.at, self.depth, self.bars = list(tokens), 0, 0, 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else END

    def take(self) -> Token:
        token = self.next
        self.at += 1
        return token

    def comes(self, kind: str, *texts: str) -> bool:
        return self.next.kind == kind and (not texts or self.next.text in texts)

    def need(self, kind: str, text: str) -> None:
        if not self.comes(kind, text):
            raise Unreadable(f"{text!r} is missing")
        self.at += 1

    def sum(self) -> Node:
        terms: list[Node] = []
        while True:
            sign = self.take().text if self.comes("op", "+", "-", "pm", "mp") else ""
            if terms and not sign:
                break
            term = self.product()
            terms.append(term if sign in ("", "+") else Node({"-": "neg"}.get(sign, sign), (term,)))
            if not self.comes("op", "+", "-", "pm", "mp"):
                break
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def product(self) -> Node:
        """Factors, with a sign between them or without."""
        factors = [self.power()]
        while True:
            if self.comes("op", "*", "/"):
                op = self.take().text
                negative = self.comes("op", "-") and bool(self.take())
                other = self.power()
                other = Node("neg", (other,)) if negative else other
                factors.append(other if op == "*" else Node("inverse", (other,)))
            elif self.begins():
                factors = self.beside(factors)
            else:
                return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))

    def beside(self, factors: list[Node]) -> list[Node]:
        """The factors with one more that has no sign before it, or with a mixed number for the last of them."""
        before, last = self.tokens[self.at - 1], factors[-1]
        if self.comes("num"):
            return [*factors[:-1], self.mixed(last)]
        other = self.power()
        if before.kind == "num" and before.text.isdigit() and last.op == "num" and other.op == "div":
            parts = [part.value for part in other.parts]
            if all(isinstance(part, Fraction) and part.denominator == 1 for part in parts):
                if not 0 < parts[0] < parts[1]:
                    raise Unreadable("a number before a fraction that is none of a mixed number")
                return [*factors[:-1], Node("add", (last, other))]
        return [*factors, other]

    def mixed(self, whole: Node) -> Node:
        """`1 1/2`. Raises Unreadable for other numbers side by side."""
        first, over, slash, under, after = [*self.tokens, END, END, END, END][self.at - 1 : self.at + 4]
        plain = whole.op == "num" and all(one.kind == "num" and one.text.isdigit() for one in (first, over, under))
        if not plain or slash.text != "/" or after.text in ("^", "!", "_") or not over.value or not under.value:
            raise Unreadable("two numbers side by side")
        if over.value >= under.value:
            raise Unreadable("a mixed number whose fraction is more than one")
        self.at += 3
        return Node("add", (whole, number(over.value / under.value)))

    def begins(self) -> bool:
        """Whether what comes may be a factor without a sign before it."""
        kind, text, _ = self.next
        if kind == "open":
            return text in ("(", "[", "group", "floor", "ceil", "abs", "matrix")
        return kind in ("num", "sym", "fun", "head") or (kind == "op" and text == "|" and not self.bars)

    def power(self) -> Node:
        """An atom, with what is written after it: !, ^, degrees, %."""
        found = self.atom()
        for _ in range(4):
            if self.comes("op", "!"):
                self.take()
                found = Node("factorial", (found,))
            elif self.comes("op", "^"):
                self.take()
                if self.degrees():
                    found = Node("degrees", (found,))
                    continue
                found = Node("pow", (found, self.script()))
                if self.comes("op", "^"):
                    raise Unreadable("two exponents")
            elif self.comes("op", "circ"):
                self.take()
                found = Node("degrees", (found,))
            elif self.comes("op", "%"):
                self.take()
                found = Node("div", (found, number(100)))
            else:
                break
        return found

    def degrees(self) -> bool:
        """Take `\\circ` or `{\\circ}`, if that comes."""
        ahead = [token.text for token in self.tokens[self.at : self.at + 3]]
        if ahead[:1] == ["circ"]:
            self.at += 1
        elif ahead == ["group", "circ", "group"]:
            self.at += 3
        else:
            return False
        return True

    def script(self) -> Node:
        """An exponent: braces, or one sign's worth; a number is taken whole."""
        if self.comes("op", "-", "+"):
            sign = self.take().text
            inner = self.atom()
            return Node("neg", (inner,)) if sign == "-" else inner
        return self.atom()

    def atom(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable("too deep")
        found = self.one()
        self.depth -= 1
        return found

    def one(self) -> Node:
        """What has no operator outside brackets, but a sign before it."""
        kind, text, value = self.take()
        if kind == "num":
            found = Node("num", value=value)
            return self.based(text, found) if self.comes("op", "_") else found
        if kind == "sym":
            return self.symbol(text)
        if kind == "fun":
            return self.function(text)
        if kind == "head":
            return self.head(text)
        if kind == "open" and text == "matrix":
            return self.matrix()
        if kind == "open" and text in ("(", "[", "group", "floor", "ceil", "abs"):
            bars, self.bars = self.bars, 0
            inner = self.sum()
            self.bars = bars
            self.need("close", {"(": ")", "[": "]"}.get(text, text))
            return Node(text, (inner,)) if text in ("floor", "ceil", "abs") else inner
        if kind == "op" and text == "|":
            self.bars += 1
            inner = self.sum()
            self.bars -= 1
            self.need("op", "|")
            return Node("abs", (inner,))
        if kind == "op" and text == "-":
            return Node("neg", (self.power(),))
        raise Unreadable(f"{text!r} where an expression should begin")

    def name(self) -> str:
        """A subscript as text."""
        self.need("op", "_")
        kind, text, _ = self.take()
        if kind in ("num", "sym", "word") and text:
            return text
        if (kind, text) != ("open", "group"):
            raise Unreadable("a subscript")
        found = []
        while not self.comes("close"):
            kind, text, _ = self.take()
            if kind not in ("num", "sym", "word", "op", "sep") or not text:
                raise Unreadable("a subscript")
            found.append(text)
        self.need("close", "group")
        return "".join(found)

    def based(self, digits: str, found: Node) -> Node:
        """A number in another base: one symbol, which no other base's is."""
        base = self.name()
        if not digits.isdigit() or not base.isdigit() or len(base) > 2 or any(int(d) >= int(base) for d in digits):
            raise Unreadable("a subscript on a number")
        return Node("sym", value=f"{digits.lstrip('0') or '0'} in base {int(base)}")

    def symbol(self, name: str) -> Node:
        if self.comes("op", "_"):
            name = f"{name}_{self.name()}"
        return Node("sym", value=name)

    def function(self, name: str) -> Node:
        """A function's value; `\\sin^2 x` and `\\sin^{-1} x` are the square and the inverse."""
        base = exponent = None
        for _ in range(2):
            if self.comes("op", "_") and base is None:
                self.take()
                base = self.argument(digit=True)
            elif self.comes("op", "^") and exponent is None:
                self.take()
                exponent = self.script()
        brackets = self.comes("open", "(", "group", "[")
        argument = self.atom() if brackets else self.bare()
        if exponent == Node("neg", (number(1),)):
            name, exponent = f"arc{name}", None
        found = Node("fun", (argument,) if base is None else (argument, base), name)
        return found if exponent is None else Node("pow", (found, exponent))

    def bare(self) -> Node:
        """A function's argument without brackets: factors side by side, up to a sign or another function."""
        if self.comes("op", "-"):
            self.take()
            return Node("neg", (self.bare(),))
        if self.next.kind == "fun":
            return self.power()
        factors = [self.power()]
        while self.begins() and not self.comes("fun") and not self.comes("open"):
            factors = self.beside(factors)
        return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))

    def argument(self, digit: bool = False) -> Node:
        """A command's argument: braces, or one digit, letter or command, as in `\\frac12`."""
        if self.comes("num") and (len(self.next.text) != 1 or digit):
            token = self.take()
            if not token.text.isdigit() or len(token.text) > 2:
                raise Unreadable("a number of several digits without braces")
            if len(token.text) == 2:
                self.at -= 1
                self.tokens[self.at] = Token("num", token.text[1], Fraction(int(token.text[1])))
            return number(int(token.text[0]))
        if self.comes("op", "-"):
            raise Unreadable("a sign without braces")
        if self.comes("sym"):
            return Node("sym", value=self.take().text)
        return self.atom()

    def head(self, name: str) -> Node:
        """What a command with arguments says: \\frac, \\sqrt, \\sum and the like."""
        if name == "sqrt":
            return self.root()
        if name in ("frac", "binom"):
            over = self.argument()
            under = self.argument()
            return Node("div" if name == "frac" else "binom", (over, under))
        if name in ("sum", "prod"):
            return summed(self, name)
        if name in ("mathbb", "mathcal", "overline"):
            inside = self.argument()
            return Node("sym", value=f"{name} {' '.join(letters(inside))}")
        raise Unreadable(f"\\{name}")

    def root(self) -> Node:
        index = number(2)
        if self.comes("open", "["):
            self.take()
            index = self.sum()
            self.need("close", "]")
        if self.comes("num"):  # \sqrt 51 means the root of 51, whatever LaTeX prints
            return Node("root", (Node("num", value=self.take().value), index))
        return Node("root", (self.argument(), index))

    def matrix(self) -> Node:
        """Rows up to the end of the environment, all of one length."""
        rows, row = [], [self.sum()]
        while not self.comes("close", "matrix"):
            if self.comes("op", "&"):
                self.take()
                row.append(self.sum())
            elif self.comes("op", "row"):
                self.take()
                rows.append(tuple(row))
                if self.comes("close", "matrix"):
                    row = []
                    break
                row = [self.sum()]
            else:
                raise Unreadable("a matrix")
        self.need("close", "matrix")
        rows += [tuple(row)] if row else []
        if len({len(one) for one in rows}) != 1:
            raise Unreadable("rows of different lengths")
        return Node("matrix", tuple(rows))
