"""Which parts go together under one base, which slot refuses the others, and what does a step of each method take?

    python benchmarks/pairs.py [--write]

Prints the tables of docs/composing.md, or with --write puts them there. They are what `Composed` says when it is asked,
not a list that somebody keeps; a test holds the page to them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from manyminds.errors import UserError
from manyminds.methods import METHODS, build, find
from manyminds.methods.compose import EXCLUSIVE, Composed, sets
from manyminds.methods.method import Method
from manyminds.objective import needed
from manyminds.records import Progress

PAGE = Path(__file__).parents[1] / "docs" / "composing.md"
COSTS = """## What a step takes

A step asks `questions_per_step` questions under each prompt, as often as `rounds` says where a method or part refuses
questions; the warm-up is not in this. `--dry-run` says it in answers and bytes for your recipe.
"""
MARK = "<!-- made by benchmarks/pairs.py -->\n"
SETS = ("ask", "advantage", "begin", "finish", "follow_up", "wants", "refine", "shape", "keeps", "examples", "terms")


def part(name: str) -> Method:
    return build({"name": name})


def refusal(parts: Sequence[str], base: str = "meml_grpo") -> str | None:
    """The slot over which the parts are refused under the base, such as `advantage`; None if they compose."""
    try:
        Composed(build({"name": base, "experts": ("a", "b"), "with": [{"name": name} for name in parts]}))
    except UserError as error:
        found = re.search(r"both set (?:the term )?'(\w+)'", str(error))
        return found[1] if found else str(error)
    return None


def parts_of_their_own() -> list[str]:
    """The methods that say something as parts of MEML-GRPO: not itself, and not plain GRPO."""
    return [name for name in METHODS if refusal([name]) is None]


def table() -> str:
    """A row for each part: what it sets, and with which others it is refused, by slot."""
    names = parts_of_their_own()
    rows = []
    for name in names:
        said = [hook for hook in SETS if sets(part(name), hook)]
        against: dict[str, list[str]] = {}
        for other in names:
            if other != name and (slot := refusal([name, other])) is not None:
                against.setdefault(slot, []).append(f"`{other}`")
        refused = "; ".join(f"{slot}: {', '.join(others)}" for slot, others in against.items())
        shown = ", ".join(f"**{hook}**" if hook in EXCLUSIVE else hook for hook in said)
        rows.append(f"| `{name}` | {shown} | {refused or '–'} |")
    head = "| part | what it sets | refused beside, over which slot |\n|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


TAKES = {
    "old_logprobs": "a forward pass over what is learnt",
    "reference": "a second model, and a forward pass by it",
    "solutions": "worked solutions",
    "traces": "experts' worked answers to training questions",
    "trace_answers": "in them a final answer that can be found",
    "answer_spans": "a final answer that can be found",
}


def costs() -> str:
    """A row for each method with its defaults, parts under GRPO: how much is drawn, how often it is learnt, and what
    else it takes."""
    rows = []
    for name in METHODS:
        alone = find(name).ask is not Method.ask
        spec = {"name": name} if alone else {"name": "grpo", "with": [{"name": name}]}
        method = Composed(build({**spec, "experts": ("a", "b")}))
        needs = method.needs | needed(method.terms(Progress(1, 0.0)))
        takes = [told for need, told in TAKES.items() if need in needs]
        takes += (
            ["a forward pass over references or traces"] if any(sets(its, "wants") for its in method.layers) else []
        )
        takes += ["fewer answers to some questions"] if any(sets(its, "begin") for its in method.layers) else []
        takes += ["more answers to some questions"] if any(sets(its, "follow_up") for its in method.layers) else []
        title = f"`{name}`" if alone else f"`grpo` with `{name}`"
        numbers = (method.base.answers_per_prompt, method.rounds, getattr(method.base, "minibatches", 1))
        rows.append(f"| {title} | {' | '.join(map(str, numbers))} | {'; '.join(takes) or '–'} |")
    head = "| method | answers a prompt | rounds at most | optimiser steps | and besides |\n|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def page() -> str:
    """The page with the tables of now."""
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return f"{before}{MARK}\n{table()}\n{COSTS}\n{costs()}"


def main() -> None:
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(table(), costs(), sep="\n")


if __name__ == "__main__":
    main()
