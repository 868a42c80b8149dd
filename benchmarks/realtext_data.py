"""Real word problems for `realtext.py`: which question stands in which set, what is generated, what simple guesses get.

MultiArith (two steps) and SVAMP (one or two steps, numbers that do not matter among them) each come as `train.jsonl`
and `dev.jsonl` with `id`, `question`, `answer` and `equation`. The files `dev` are the test set. Of `train`, some
questions of either are for validation; the templates of the rest are divided: the warm-up reads those of one part,
reinforcement learning asks those of the other, both with further questions generated from them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import word_problems
from word_problems import NUMBER, STYLES, Problem, Tree, Words, masked, natural, shown, value

SETS = ("multiarith", "svamp")
Row = Mapping[str, str]


@dataclass(frozen=True)
class Sizes:
    """Questions of either data set for validation; the warm-up's share of the templates; how many word problems and how
    many bare sums are generated for the warm-up, and how many for each real question of reinforcement learning."""

    validation: int = 60
    warmup_share: float = 0.6
    generated: int = 5000
    sums: int = 2000
    per_question: int = 3


@dataclass(frozen=True)
class Split:
    """The four sets. Warm-up and training hold problems, generated ones among them; the others rows as they came."""

    warmup: tuple[Problem, ...]
    train: tuple[Problem, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    known: Words


def rows(path: Path) -> list[Row]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def divide(data: Path, sizes: Sizes, seed: int) -> Split:
    """The sets, the same for the same arguments. No text stands in two of them; what is generated comes from templates
    of real questions of its own set."""
    rng = random.Random(f"realtext/{seed}")
    validation, rest = [], []
    for name in SETS:
        its = rows(data / name / "train.jsonl")
        rng.shuffle(its)
        validation += its[: sizes.validation]
        rest += its[sizes.validation :]
    test = [row for name in SETS for row in rows(data / name / "dev.jsonl")]
    kept_back = {row["question"] for row in (*validation, *test)}
    problems = [problem for problem in word_problems.read(rest) if problem.text not in kept_back]
    known = word_problems.words(problems)
    by_template: dict[str, list[Problem]] = {}
    for problem in problems:
        by_template.setdefault(masked(problem.text, known), []).append(problem)
    templates = sorted(by_template)
    rng.shuffle(templates)
    cut = round(sizes.warmup_share * len(templates))
    first, second = ([p for t in its for p in by_template[t]] for its in (templates[:cut], templates[cut:]))
    taken = kept_back | {problem.text for problem in problems}
    warmup = [*first, *word_problems.more(first, sizes.generated, known, rng, taken)]
    warmup += word_problems.sums(sizes.sums, rng, taken)
    train = [*second, *word_problems.more(second, sizes.per_question * len(second), known, rng, taken)]
    return Split(tuple(warmup), tuple(train), tuple(validation), tuple(test), known)


def write(split: Split, folder: Path) -> dict[str, str]:
    """The sets as the task `jsonl` reads them, traces of every style for warm-up and training; its keys and files."""
    folder.mkdir(parents=True, exist_ok=True)
    problems = {"warmup": split.warmup, "train": split.train}
    tables: dict[str, Iterable[Mapping[str, Any]]] = {
        name: ({"id": p.id, "question": p.text, "answer": p.answer, "solution": p.worked("equation")} for p in its)
        for name, its in problems.items()
    }
    for name, kept in (("validation", split.validation), ("test", split.test)):
        tables[name] = ({key: row[key] for key in ("id", "question", "answer")} for row in kept)
    tables["experts_file"] = (
        {"id": p.id, "expert": style, "solution": p.worked(style), "correct": True}
        for p in (*split.warmup, *split.train)
        for style in STYLES
    )
    files = {name: folder / f"{name}.jsonl" for name in tables}
    for name, lines in tables.items():
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        if (
            not files[name].exists() or files[name].read_text(encoding="utf-8") != text
        ):  # another seed may be reading it
            files[name].write_text(text, encoding="utf-8")
    return {name: str(path) for name, path in files.items()}


def templates(split: Split) -> dict[str, str]:
    """Of each test question, where its template (its text without numbers and names) was seen: warmup, train or new."""
    seen = {masked(p.text, split.known): "train" for p in split.train if p.id == p.template}
    seen |= {masked(p.text, split.known): "warmup" for p in split.warmup if p.id == p.template}
    return {row["id"]: seen.get(masked(row["question"], split.known), "new") for row in split.test}


def facts(split: Split) -> dict[str, Any]:
    """What the sets hold, and what of the test questions occurs in training: texts (none may), templates."""
    texts = {p.text for p in (*split.warmup, *split.train)} | {row["question"] for row in split.validation}
    where = templates(split)
    found: dict[str, Any] = {"test_texts_in_training": sum(row["question"] in texts for row in split.test)}
    for name, its in (("warmup", split.warmup), ("train", split.train)):
        real, sums = sum(p.id == p.template for p in its), sum(p.template == "sum" for p in its)
        found[name] = {"real": real, "generated": len(its) - real - sums, "sums": sums}
    for name in SETS:
        of = [row["id"] for row in split.test if row["id"].startswith(name)]
        kept = sum(row["id"].startswith(name) for row in split.validation)
        found[name] = {"validation": kept, "test": len(of), "template_seen_in": Counter(where[id] for id in of)}
    return found


def baselines(split: Split, data: Path) -> dict[str, dict[str, Any]]:
    """Per data set, learnt on `train.jsonl`, the share of test questions that two guesses get right: the most common
    answer, and the most common equation, over the numbers of the question in their order."""
    found: dict[str, dict[str, Any]] = {}
    for name in SETS:
        known = rows(data / name / "train.jsonl")
        test = [row for row in split.test if row["id"].startswith(name)]
        answer = Counter(row["answer"] for row in known).most_common(1)[0][0]
        plans = Counter(plan for p in word_problems.read(known) if (plan := by_place(p.tree, p.text)))
        plan = plans.most_common(1)[0][0]
        found[name] = {
            "questions": len(test),
            "answer": answer,
            "majority_answer": _share(row["answer"] == answer for row in test),
            "equation": plan,
            "majority_equation": _share(row["answer"] == worked_out(plan, row["question"]) for row in test),
        }
    both = {
        key: sum(its[key] * its["questions"] for its in found.values()) / sum(i["questions"] for i in found.values())
        for key in ("majority_answer", "majority_equation")
    }
    return {**found, "both": {"questions": len(split.test), **both}}


def by_place(tree: Tree, text: str) -> str:
    """The tree with `n0`, `n1` for the first and the second number of the text; empty if it is not clear which."""
    stand = NUMBER.findall(text)

    def named(node: Tree) -> str:
        if isinstance(node, Fraction):
            return f"n{stand.index(shown(node))}" if stand.count(shown(node)) == 1 else "?"
        return f"({named(node[1])}{node[0]}{named(node[2])})"

    plan = named(tree)
    return "" if "?" in plan else plan


def worked_out(plan: str, text: str) -> str:
    """The answer of such a plan over the numbers of a text; empty if there are too few, or it does not go out even."""
    filled = plan
    for place, number in reversed(list(enumerate(NUMBER.findall(text)))):
        filled = filled.replace(f"n{place}", number.replace(",", ""))
    if "n" in filled:
        return ""
    tree = word_problems.parse(filled)
    return shown(value(tree)) if natural(tree) else ""


def _share(hits: Iterable[bool]) -> float:
    its: Sequence[bool] = list(hits)
    return sum(its) / len(its)
