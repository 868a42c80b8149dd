"""Texts made to hurt whoever reads them: towers, nests, length, odd digits, control characters, half commands."""

from __future__ import annotations

from random import Random

SIZES = (10, 100, 1_000, 20_000, 1_000_000)
COMMANDS = r"""
    \frac \sqrt \boxed{ \text{ \left( \right) \begin{pmatrix} \end{pmatrix} ^{ _{ { } ( ) [ ] \{ \} $ $$ \[ \] \( \)
    9 99999999 0 . , ; = < > + - * / ^ ! % & \\ # #### | : x y e i \pi \infty \sum_{k=1}^{n} \int \log \sin \binom
    <answer> </answer> <think> </think> answer is \cup \in \pm \overline \dot \circ \, \! \operatorname \mathbb and or
"""
ODD = (
    "the answer is ",
    "Final Answer: ",
    " ",
    "\n",
    "\0",
    "\x1b",
    "\u202e",
    "\u0667",
    "\uff17",
    "½",
    "²",
    "\ud800",
    "é",
)
PIECES = (*COMMANDS.split(), *ODD, "1e99", "10^{10^{10}}")


def repeated(random: Random) -> str:
    """One piece, over and over."""
    piece = random.choice(PIECES)
    return (piece * (random.choice(SIZES) // len(piece) + 1))[:1_000_000]


def tower(random: Random) -> str:
    """Powers of powers, or factorials of factorials."""
    depth = random.choice((2, 3, 5, 30, 3_000))
    base = random.choice(("9", "99", "x", "(9!)", "e"))
    return random.choice((base + "^{" * depth + "9" + "}" * depth, "^".join([base] * depth), base + "!" * depth))


def nest(random: Random) -> str:
    """Brackets in brackets."""
    start, end = random.choice((("(", ")"), (r"\sqrt{", "}"), (r"\frac{1}{1+", "}"), (r"\boxed{", "}"), ("|", "|")))
    depth = random.choice((5, 29, 31, 500, 50_000))
    return start * depth + "1" + end * random.choice((depth, depth - 1, 0))


def large(random: Random) -> str:
    """Numbers that take long to work out."""
    digits = "9" * random.choice((20, 400, 5_000, 900_000))
    forms = ("{d}", "{d}^{d}", "{d}!", "2^{{{d}}}", r"\binom{{{d}}}{{7}}", "1/{d}", "0.{d}", r"\sqrt{{{d}}}", "{d}e{d}",
             r"\sum_{{k=1}}^{{{d}}} k!", r"\int_0^{{{d}}} x^x\,dx", "x^{{{d}}}", r"\log_{{{d}}} {d}", "{d}_{d}",
             r"\prod_{{k=1}}^{{9999999}} k", r"\sin({d}^{d})", r"e^{{e^{{{d}}}}}", "1,{d},{d}")  # fmt: skip
    return random.choice(forms).format(d=digits)


def soup(random: Random) -> str:
    """Pieces in any order."""
    return "".join(random.choice(PIECES) for _ in range(random.choice((3, 10, 40, 400))))


def hard(random: Random) -> str:
    """Short mathematics that only sympy can be asked about, and that can take it long."""
    n = random.choice((3, 9, 40, 999))
    return random.choice((
        rf"\sum_{{k=1}}^{{{n}}} \frac{{\sin k^{{{n}}}}}{{k}}", rf"\int_0^{{{n}}} \sin(x^{{{n}}}) e^{{-x^2}} \,dx",
        rf"\lim_{{x \to 0}} \frac{{\sin^{{{n}}} x}}{{x^{{{n}}}}}", rf"\prod_{{k=1}}^{{{n}}} (x - k)^k",
        rf"\{{x : x^{{{n}}} + x = 1\}}", rf"(x+y+z+1)^{{{n}}} \star 2", rf"\sum_{{k=1}}^n \sum_{{j=1}}^k k^{{{n}}}",
    ))  # fmt: skip


MAKERS = (repeated, tower, nest, large, soup, hard)


def hostile(seed: int) -> tuple[str, str, str]:
    """A gold answer, a response and how the worse of them was made; either may be the harmless one."""
    random = Random(seed)
    make = random.choice(MAKERS)
    bad = make(random)
    bad = random.choice((bad, rf"\boxed{{{bad}}}", f"The answer is {bad}", f"${bad}$", f"<answer>{bad}</answer>"))
    other = random.choice(("4", r"\frac{1}{2}", "x^2+1", r"\sum_{k=1}^n k", bad, make(random)))
    return (bad, other, make.__name__) if random.random() < 0.3 else (other, bad, make.__name__)
