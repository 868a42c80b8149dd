"""Writes examples/data: sixty made-up word problems, and two experts' worked answers to them.

    python examples/make_data.py

The files show the shape of your own data; they are too few and too easy to say anything about a method. Every run
writes the same bytes. On purpose, one answer in ten of the expert `words` goes wrong in its last step, and one question
in ten has no answer by `equations`: experts may err, and need not answer everything.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

FOLDER = Path(__file__).parent / "data"
NAMES = ("Ada", "Bo", "Cem", "Dina", "Eli", "Fay")
THINGS = ("apple", "book", "coin", "stamp", "shell", "pencil")
SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}

Step = tuple[int, str, int, int]  # left, sign, right, result
Row = dict[str, str]


def problem(i: int, rng: random.Random) -> tuple[str, list[Step]]:
    """The text of problem i and the steps that solve it; there are six kinds, and a kind recurs every six."""
    name, thing = NAMES[i // 6 % 6], THINGS[(i + i // 6) % 6]
    a, b, c = rng.randint(12, 60), rng.randint(3, 9), rng.randint(4, 11)
    if i % 6 == 0:
        return f"{name} has {a} {thing}s and finds {b} more. How many are there now?", [(a, "+", b, a + b)]
    if i % 6 == 1:
        return f"{name} has {a} {thing}s and gives away {b}. How many are left?", [(a, "-", b, a - b)]
    if i % 6 == 2:
        return f"There are {b} boxes with {a} {thing}s each. How many {thing}s?", [(b, "*", a, b * a)]
    if i % 6 == 3:
        return f"{b} friends share {b * c} {thing}s evenly. How many has each?", [(b * c, "/", b, c)]
    if i % 6 == 4:
        steps = [(b, "*", c, b * c), (b * c, "+", a, b * c + a)]
        return f"{name} packs {b} bags of {c} {thing}s; {a} are left over. How many {thing}s?", steps
    paid = b * c + a
    steps = [(b, "*", c, b * c), (paid, "-", b * c, a)]
    return f"{name} buys {b} {thing}s at {c} cents and pays {paid} cents. What is the change?", steps


def rows() -> tuple[list[Row], list[Row]]:
    """The questions, and the experts' worked answers."""
    rng = random.Random(0)
    questions, answers = [], []
    for i in range(60):
        text, steps = problem(i, rng)
        equations = [f"{left}{sign}{right}={result}" for left, sign, right, result in steps]
        row = {"id": f"q{i:02}", "question": text, "answer": str(steps[-1][3]), "solution": ", ".join(equations)}
        questions.append(row)
        if i % 10 != 7:
            worked = "\n".join([*equations, f"#### {row['answer']}"])
            answers.append({"id": row["id"], "expert": "equations", "solution": worked})
        told = steps if i % 10 != 3 else [*steps[:-1], (*steps[-1][:3], steps[-1][3] + 1)]
        spoken = ", then ".join(f"{left} {SPOKEN[sign]} {right} is {result}" for left, sign, right, result in told)
        answers.append({"id": row["id"], "expert": "words", "solution": f"{spoken}.\n#### {told[-1][3]}"})
    return questions, answers


def main() -> None:
    """Write both files."""
    FOLDER.mkdir(exist_ok=True)
    for name, table in zip(("questions", "experts"), rows(), strict=True):
        lines = "".join(json.dumps(row) + "\n" for row in table)
        (FOLDER / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
