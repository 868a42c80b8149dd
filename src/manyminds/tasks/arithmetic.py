"""The embedded task: addition, multiplication by a digit, division with remainder; three ways to work them out.

    addition         237+682   c9,11,9#919
                               d7+2=9,3+8=11,2+6+1=9#919
                               s800+110=910+9#919
    multiplication   237*3     c21,11,7#711
                               d600+90=690+21#711
                               s7*3=21,3*3=9+2=11,2*3=6+1=7#711
    division         907/8     c9/8=1r1,10/8=1r2,27/8=3r3#113r3
                               d100:107,10:27,2:11,1:3#113r3
                               s8*110=880,27/8=3r3#113r3

The first character of a trace says its style (concise, deliberate, structured); the answer stands after `#`. Each
style is easy for one family and hard for another, so the experts that learn them differ in what they know.
Operands have a fixed number of digits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction

from manyminds.errors import UserError
from manyminds.records import Expert, Question, Trace
from manyminds.tasks.task import SPLITS, Task, did_you_mean, with_experts

Work = Callable[[int, int], str]

EXPERTS = (
    Expert("concise", "You are the concise expert."),
    Expert("deliberate", "You are the deliberate expert."),
    Expert("structured", "You are the structured expert."),
)
MARKERS = {"c": "concise", "d": "deliberate", "s": "structured"}
SIGNS = {"addition": "+", "multiplication": "*", "division": "/"}
WARMUP_FAMILIES = {"addition": 0.25, "multiplication": 0.25, "division": 0.5}
FAMILIES = {"addition": 1 / 3, "multiplication": 1 / 3, "division": 1 / 3}


def arithmetic(
    *,
    seed: int = 0,
    digits: int = 3,
    warmup: int = 2000,
    train: int = 2000,
    validation: int = 300,
    test: int = 1000,
    warmup_families: Mapping[str, float] = WARMUP_FAMILIES,
    families: Mapping[str, float] = FAMILIES,
    experts: Sequence[Expert] = (),
) -> Task:
    """Four disjoint sets of questions with a trace in every style; the same arguments give the same questions.

    `digits` (2, 3 or 4) is the width of the operands: more digits, rarer right answers. The shares of the
    families hold for the warm-up set (`warmup_families`) and for the other three (`families`). The questions of
    test and validation do not depend on how many are asked for in warm-up and training. If one of the `experts` names
    a style as its `teacher`, there is a trace for each of them, in their names: several may learn one style. Raises
    UserError for one of them that names no style.
    """
    if digits not in (2, 3, 4):
        raise UserError(f"task.digits is {digits}; the operands may have 2, 3 or 4 digits.")
    sizes = {"warmup": warmup, "train": train, "validation": validation, "test": test}
    rest = ("families", families)
    mixes = {"warmup": ("warmup_families", warmup_families), "train": rest, "validation": rest, "test": rest}
    counts = {split: _counts(split, sizes[split], *mixes[split]) for split in SPLITS}
    splits: dict[str, list[Question]] = {split: [] for split in SPLITS}
    for family in SIGNS:
        wanted = sum(count[family] for count in counts.values())
        if wanted > space(family, digits):
            keys = ", ".join(f"task.{split}={sizes[split]}" for split in SPLITS)
            raise UserError(
                f"task.digits={digits} has only {space(family, digits)} questions of the family {family!r}, and {keys} "
                f"want {wanted}; raise task.digits or lower these sizes."
            )
        drawn = _operands(random.Random(f"arithmetic/{seed}/{digits}/{family}"), family, digits)
        for split in reversed(SPLITS):
            splits[split] += [question(family, *next(drawn)) for _ in range(counts[split][family])]
    for split, questions in splits.items():
        random.Random(f"arithmetic/{seed}/{digits}/{split}").shuffle(questions)
        if questions and any(expert.teacher in MARKERS.values() for expert in experts):
            splits[split] = list(with_experts(questions, experts, "experts"))
    return Task(
        name="arithmetic",
        splits={split: tuple(questions) for split, questions in splits.items()},
        experts=EXPERTS,
        extract=extract,
        style=style,
        answer_form="#{answer}",
        licence="Apache-2.0 (made by this package)",
    )


def question(family: str, a: int, b: int) -> Question:
    """The question `a` sign `b`, its answer, and its worked answer in every style."""
    answer = ANSWERS[family](a, b)
    traces = {
        name: Trace(text=f"{marker}{WORK[family, name](a, b)}#{answer}", source=name, reward=1.0)
        for marker, name in MARKERS.items()
    }
    text = f"{a}{SIGNS[family]}{b}"
    return Question(
        id=text,
        text=text,
        answer=answer,
        solution=traces["concise"].text,
        source=f"arithmetic {text}",
        traces=traces,
        extras={"family": family},
    )


def extract(text: str) -> str | None:
    """What stands after the last `#`; None if there is no `#`, or nothing after it."""
    _, mark, answer = text.rpartition("#")
    return (answer.strip() or None) if mark else None


def style(text: str) -> str:
    """The style a response is marked with by its first character; `other` if it is marked with none."""
    return MARKERS.get(text[:1], "other")


def space(family: str, digits: int) -> int:
    """How many different questions a family has."""
    operands = len(range(10 ** (digits - 1), 10**digits))
    return operands * (operands if family == "addition" else 8)


def _operands(rng: random.Random, family: str, digits: int) -> Iterator[tuple[int, int]]:
    """Endless distinct operands, each pair equally likely; the caller must not ask for more than there are."""
    low, high = 10 ** (digits - 1), 10**digits
    second = (low, high) if family == "addition" else (2, 10)
    seen: set[tuple[int, int]] = set()
    while True:
        pair = (rng.randrange(low, high), rng.randrange(*second))
        if pair not in seen:
            seen.add(pair)
            yield pair


def _counts(split: str, size: int, key: str, shares: Mapping[str, float]) -> dict[str, int]:
    """`size` divided among the families by largest remainder, ties in the order of `SIGNS`."""
    if size < 0:
        raise UserError(f"task.{split} is {size}; it must be 0 or more.")
    for family, share in shares.items():
        if family not in SIGNS:
            raise UserError(f"task.{key} names the family {family!r}; {did_you_mean(family, SIGNS)}")
        if not 0 <= share < float("inf"):
            raise UserError(f"task.{key}.{family} is {share}; a share must be 0 or more.")
    total = sum(shares.values())
    if total <= 0:
        raise UserError(f"task.{key} gives no family a share above 0.")
    exact = {family: Fraction(shares.get(family, 0.0) / total).limit_denominator(10**6) * size for family in SIGNS}
    counts = {family: int(exact[family]) for family in SIGNS}
    by_remainder = sorted(SIGNS, key=lambda family: counts[family] - exact[family])
    for family in by_remainder[: size - sum(counts.values())]:
        counts[family] += 1
    return counts


def _digits(number: int) -> list[int]:
    """Decimal digits, units first."""
    return [int(digit) for digit in reversed(str(number))]


def _columns(a: int, b: int) -> Iterator[tuple[int, int, int, int]]:
    """Adding from the units up: digit of a, digit of b, carry in, column sum with the carry."""
    carry = 0
    for x, y in zip(_digits(a), _digits(b), strict=True):
        column = x + y + carry
        yield x, y, carry, column
        carry = column // 10


def _products(a: int, b: int) -> Iterator[tuple[int, int, int]]:
    """Multiplying from the units up: digit of a, carry in, column product with the carry."""
    carry = 0
    for x in _digits(a):
        column = x * b + carry
        yield x, carry, column
        carry = column // 10


def _running(parts: list[int]) -> str:
    """`800+110=910+9`: the parts added one after the other; the last sum is the answer and is left to `#`."""
    text, total = f"{parts[0]}+{parts[1]}", parts[0] + parts[1]
    for part in parts[2:]:
        text += f"={total}+{part}"
        total += part
    return text


def _places(digits: list[int]) -> list[int]:
    """Values of units-first digits (or column sums) by place, the highest first."""
    return [digit * 10**place for place, digit in enumerate(digits)][::-1]


def _add_concise(a: int, b: int) -> str:
    return ",".join(str(column) for _, _, _, column in _columns(a, b))


def _add_deliberate(a: int, b: int) -> str:
    return ",".join(f"{x}+{y}{'+1' if carry else ''}={column}" for x, y, carry, column in _columns(a, b))


def _add_structured(a: int, b: int) -> str:
    return _running(_places([x + y for x, y in zip(_digits(a), _digits(b), strict=True)]))


def _multiply_concise(a: int, b: int) -> str:
    return ",".join(str(column) for _, _, column in _products(a, b))


def _multiply_deliberate(a: int, b: int) -> str:
    return _running(_places([x * b for x in _digits(a)]))


def _multiply_structured(a: int, b: int) -> str:
    return ",".join(
        f"{x}*{b}={x * b}" + (f"+{carry}={column}" if carry else "") for x, carry, column in _products(a, b)
    )


def _divide_concise(a: int, b: int) -> str:
    """Long division, digit by digit from the highest, a leading 0 in the quotient included."""
    steps, rest = [], 0
    for digit in reversed(_digits(a)):
        part = 10 * rest + digit
        rest = part % b
        steps.append(f"{part}/{b}={part // b}r{rest}")
    return ",".join(steps)


def _divide_deliberate(a: int, b: int) -> str:
    """Repeated subtraction of the greatest 1, 2 or 5 times a power of ten that fits; `times:what is left`."""
    steps, rest = [], a
    for times in (k * 10**power for power in range(len(str(a)), -1, -1) for k in (5, 2, 1)):
        while rest >= times * b:
            rest -= times * b
            steps.append(f"{times}:{rest}")
    return ",".join(steps)


def _divide_structured(a: int, b: int) -> str:
    """The tens of the quotient at once, then its units."""
    tens = a // b // 10 * 10
    rest = a - tens * b
    return f"{b}*{tens}={tens * b},{rest}/{b}={rest // b}r{rest % b}"


ANSWERS: Mapping[str, Work] = {
    "addition": lambda a, b: str(a + b),
    "multiplication": lambda a, b: str(a * b),
    "division": lambda a, b: f"{a // b}r{a % b}",
}
WORK: Mapping[tuple[str, str], Work] = {
    ("addition", "concise"): _add_concise,
    ("addition", "deliberate"): _add_deliberate,
    ("addition", "structured"): _add_structured,
    ("multiplication", "concise"): _multiply_concise,
    ("multiplication", "deliberate"): _multiply_deliberate,
    ("multiplication", "structured"): _multiply_structured,
    ("division", "concise"): _divide_concise,
    ("division", "deliberate"): _divide_deliberate,
    ("division", "structured"): _divide_structured,
}
