"""The pages of docs/, and how tests read them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def blocks(*languages: str) -> list[tuple[str, str, str]]:
    """(page, file it names, text) of every fenced block in these languages."""
    found = []
    for page, text in PAGES.items():
        for head, body in FENCE.findall(text):
            language, _, file = head.partition(" ")
            if language in languages:
                found.append((page, file, body))
    return found


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row on a page, headings and rules left out."""
    lines = re.findall(r"^\|(.+)\|\n", text, re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    level = heading.count("#")
    _, _, rest = PAGES[page].partition(f"\n{heading}\n")
    assert rest, f"{page} has no heading {heading}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)
