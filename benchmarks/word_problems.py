"""Word problems that are read, re-made with other numbers, names and things, and worked out in three ways.

A problem is a text and an equation over the numbers that stand in it. Another one of the same template has fresh
numbers of the same length, and often other names and things, each put in the place of every occurrence of the old one;
its answer is computed from the equation, never written down. Templates come from the questions that are handed in and
from nowhere else, so what was kept back stays unseen. Answers are formulas; `calculated` works them out.
"""

from __future__ import annotations

import ast
import operator
import random
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType

from manyminds.rewards import reward

Tree = Fraction | tuple[str, "Tree", "Tree"]
"""A number, or an operation on two trees."""
OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
COUNTED = re.compile(r"\b\d+ (?:more |other )?([a-z]+[^s\W]s)\b")
UNITS = frozenset(
    [
        *("cents", "days", "dollars", "grams", "hours", "inches", "miles", "minutes", "months", "ones", "ounces"),
        *("pounds", "times", "weeks", "years"),
    ]
)
STYLES = ("equation", "program", "postfix")
MARKER, VARIABLES = "####", "abcdefgh"
TRIES = 400
TABLE = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, the tree of its answer, and the name of its template: the id of the question it was made from."""

    id: str
    text: str
    tree: Tree
    template: str

    @property
    def answer(self) -> str:
        return shown(value(self.tree))

    def worked(self, style: str) -> str:
        """Its answer worked out in one of `STYLES`."""
        return solution(self.tree, style)


def parse(equation: str, names: Mapping[str, Tree] = MappingProxyType({})) -> Tree:
    """The tree of an equation such as `X=((7.0+5.0)*3.0)`; ValueError for anything but numbers, `names` and + - * /."""

    def read(node: ast.expr) -> Tree:
        match node:
            case ast.Constant(int() | float() as number):
                return Fraction(str(number))
            case ast.Name(name) if name in names:
                return names[name]
            case ast.BinOp(left, op, right) if type(op) in SIGNS:
                return SIGNS[type(op)], read(left), read(right)
        raise ValueError(f"{equation!r} is not an equation over + - * /")

    with warnings.catch_warnings():  # of "3and 4", which a model may write
        warnings.simplefilter("ignore", SyntaxWarning)
        return read(ast.parse(equation.rpartition("=")[2].strip(), mode="eval").body)


def value(tree: Tree) -> Fraction:
    """What the tree comes to, exactly. ZeroDivisionError where it divides by 0."""
    if isinstance(tree, Fraction):
        return tree
    sign, left, right = tree
    return OPERATIONS[sign](value(left), value(right))


def natural(tree: Tree) -> bool:
    """Whether all numbers on the way and the result are whole and not negative, and nothing is divided by 0."""
    if not isinstance(tree, Fraction) and not (
        natural(tree[1]) and natural(tree[2]) and (tree[0] != "/" or value(tree[2]))
    ):
        return False
    return (its := value(tree)).denominator == 1 and its >= 0


def easy(tree: Tree) -> bool:
    """Whether each product has a factor of at most `TABLE`, and each quotient, or what it divides by, is as small."""
    if isinstance(tree, Fraction):
        return True
    sign, left, right = tree
    pairs = {"*": (value(left), value(right)), "/": (value(tree), value(right))}
    return min(pairs.get(sign, (0, 0))) <= TABLE and easy(left) and easy(right)


def numbers(tree: Tree) -> list[Fraction]:
    """The numbers of a tree, from left to right."""
    return [tree] if isinstance(tree, Fraction) else [*numbers(tree[1]), *numbers(tree[2])]


def shown(number: Fraction) -> str:
    """A whole number without a point, another one as a decimal."""
    return str(number.numerator) if number.denominator == 1 else str(float(number))


def read(rows: Iterable[Mapping[str, str]]) -> list[Problem]:
    """The problems of rows with `id`, `question`, `answer` and `equation`, without those whose equation does not give
    the answer in whole numbers."""
    found = []
    for row in rows:
        tree = parse(row["equation"])
        if natural(tree) and shown(value(tree)) == row["answer"]:
            found.append(Problem(row["id"], row["question"], tree, row["id"]))
    return found


def solution(tree: Tree, style: str) -> str:
    """How the answer comes about: as an equation, a program that names what it computes, or signs after their numbers.

    After the marker stands what is to be worked out, not its result: `calculated` does that.
    """
    if style == "equation":
        return f"#### {_flat(tree)}"
    lines: list[str] = []
    after: list[str] = []

    def visit(node: Tree) -> str:
        if isinstance(node, Fraction):
            after.append(shown(node))
            return shown(node)
        line = f"{visit(node[1])}{node[0]}{visit(node[2])}"
        after.append(node[0])
        lines.append(f"{VARIABLES[len(lines)]}={line}")
        return VARIABLES[len(lines) - 1]

    result = visit(tree)
    return "\n".join([*lines, f"#### {result}"]) if style == "program" else f"#### {','.join(after)}"


def _flat(tree: Tree, inner: bool = False) -> str:
    if isinstance(tree, Fraction):
        return shown(tree)
    flat = f"{_flat(tree[1], True)}{tree[0]}{_flat(tree[2], True)}"
    return f"({flat})" if inner else flat


@reward
def calculated(response: str, answer: str) -> bool:
    """Whether what stands after the marker comes to the gold answer, with the names that the lines before it give.

    Worked out exactly; what is no such formula, or divides by 0, is wrong.
    """
    text, found, last = response.rpartition(MARKER)
    names: dict[str, Tree] = {}
    try:
        for line in filter(None, map(str.strip, text.split("\n"))):
            name, _, formula = line.partition("=")
            names[name] = parse(formula, names)
        tree = _stacked(last.strip().split(",")) if "," in last else parse(last, names)
        return bool(found) and shown(value(tree)) == answer
    except (SyntaxError, ValueError, ZeroDivisionError, IndexError, RecursionError):
        return False


def _stacked(pieces: Sequence[str]) -> Tree:
    """The tree of a formula with its signs after their numbers."""
    stack: list[Tree] = []
    for piece in pieces:
        if piece in OPERATIONS:
            right, left = stack.pop(), stack.pop()
            stack.append((piece, left, right))
        else:
            stack.append(parse(piece))
    (tree,) = stack
    return tree


@dataclass(frozen=True, slots=True)
class Words:
    """Names and things that may stand in one another's place."""

    names: tuple[str, ...]
    things: tuple[str, ...]


def words(problems: Sequence[Problem]) -> Words:
    """Names: capitalised within a sentence, and more often at the start of one than written small. Things: regular
    plurals that are counted at least twice, but no units."""
    texts = [problem.text for problem in problems]
    small = Counter(word for text in texts for word in re.findall(r"\b[a-z]+", text))
    first = Counter(word for text in texts for word in re.findall(r"(?:^|[.?!] )([A-Z][a-z]+)", text))
    within = {word for text in texts for word in re.findall(r"[a-z,] ([A-Z][a-z]+)", text)}
    counted = Counter(word for text in texts for word in COUNTED.findall(text))
    names = sorted(word for word in within if first[word] > small[word.lower()])
    things = sorted(word for word, times in counted.items() if times > 1 and word not in UNITS)
    return Words(tuple(names), tuple(things))


def masked(text: str, known: Words) -> str:
    """The text without its numbers and names: two problems of one template are equal in this."""
    bare = NUMBER.sub("#", text)
    return re.sub(r"[A-Z][a-z]+", lambda its: "@" if its[0] in known.names else its[0], bare).lower()


def renumbered(problem: Problem, rng: random.Random) -> Problem | None:
    """The problem with fresh numbers; None if it is not clear which number of the text is meant in the equation, or no
    numbers were found that go out even."""
    stand = NUMBER.findall(problem.text)
    meant = [shown(number) for number in numbers(problem.tree)]
    if not all(number.isdigit() for number in stand) or any(stand.count(number) > 1 for number in meant):
        return None
    for _ in range(TRIES):
        fresh = {number: _like(number, rng) for number in stand}
        tree = _with(problem.tree, {Fraction(old): Fraction(new) for old, new in fresh.items()})
        if len(set(fresh.values())) == len(fresh) and natural(tree) and easy(tree) and value(tree) > 0:
            text = NUMBER.sub(lambda its, new=fresh: new[its[0]], problem.text)
            return replace(problem, text=text, tree=tree)
    return None


def _like(number: str, rng: random.Random) -> str:
    """A number with as many digits, not 0 or 1; small ones sometimes have a digit more."""
    digits = len(number) + (len(number) == 1 and rng.random() < 0.3)
    return str(rng.randrange(max(2, 10 ** (digits - 1)), 10**digits))


def _with(tree: Tree, fresh: Mapping[Fraction, Fraction]) -> Tree:
    if isinstance(tree, Fraction):
        return fresh.get(tree, tree)
    return tree[0], _with(tree[1], fresh), _with(tree[2], fresh)


def renamed(problem: Problem, known: Words, rng: random.Random) -> Problem:
    """The problem about other people; half the time also about other things, in plural and singular."""
    fresh = _swaps(re.findall(r"\b[A-Z][a-z]+", problem.text), known.names, rng)
    if rng.random() < 0.5:
        plural = _swaps(re.findall(r"\b[a-z]+", problem.text), known.things, rng)
        fresh |= plural | {old[:-1]: new[:-1] for old, new in plural.items()}
    return replace(problem, text=re.sub(r"\b[A-Za-z]+\b", lambda its: fresh.get(its[0], its[0]), problem.text))


def sums(count: int, rng: random.Random, taken: set[str]) -> list[Problem]:
    """`count` questions that state their equation, of one or two operations, with texts that are not `taken`."""
    made: list[Problem] = []
    while len(made) < count:
        some = [Fraction(_like("9" * rng.choices((1, 2, 3), (5, 8, 2))[0], rng)) for _ in range(3)]
        signs = rng.choices("+-*/", (3, 5, 3, 3), k=2)
        tree: Tree = (signs[0], some[0], some[1])
        if rng.random() < 0.5:
            tree = (signs[1], tree, some[2]) if rng.random() < 0.7 else (signs[1], some[2], tree)
        if not (natural(tree) and easy(tree) and value(tree) > 0):
            continue
        text = f"What is {_flat(tree)}?"
        if text not in taken:
            taken.add(text)
            made.append(Problem(f"sum/{len(made)}", text, tree, "sum"))
    return made


def _swaps(there: Sequence[str], pool: Sequence[str], rng: random.Random) -> dict[str, str]:
    """For each word of the pool that is there another one, no two the same."""
    old = [word for word in dict.fromkeys(there) if word in pool]
    return dict(zip(old, rng.sample(pool, len(old)), strict=True))


def more(problems: Sequence[Problem], count: int, known: Words, rng: random.Random, taken: set[str]) -> list[Problem]:
    """`count` new problems after the templates of `problems`, each template about equally often; none has a text that
    is `taken`, and theirs are added to it. Fewer where the templates do not yield as many."""
    made: list[Problem] = []
    left = list(problems)
    while left and len(made) < count:
        rng.shuffle(left)
        for problem in list(left):
            one = renumbered(problem, rng)
            if one is None:
                left.remove(problem)
                continue
            one = renamed(one, known, rng)
            if one.text not in taken and len(made) < count:
                taken.add(one.text)
                made.append(replace(one, id=f"{problem.template}/{len(made)}"))
    return made
