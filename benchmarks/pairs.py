"""Which parts go together under one base, and which slot refuses the others?

    python benchmarks/pairs.py [--write]

Prints the table of docs/composing.md, or with --write puts it there. It is what `Composed` says when it is asked, not a
list that somebody keeps; a test holds the page to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from manyminds.errors import UserError
from manyminds.methods import METHODS, build
from manyminds.methods.compose import EXCLUSIVE, Composed, sets
from manyminds.methods.method import Method

PAGE = Path(__file__).parents[1] / "docs" / "composing.md"
MARK = "<!-- made by benchmarks/pairs.py -->\n"
SETS = ("ask", "advantage", "refine", "shape", "keeps", "examples", "terms")


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


def page() -> str:
    """The page with the table of now."""
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return f"{before}{MARK}\n{table()}"


def main() -> None:
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
