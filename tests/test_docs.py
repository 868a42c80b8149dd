"""The pages of docs/ are held to the source: excerpts, names, links, commands."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyminds.config import load_recipe
from pages import FENCE, PAGES, ROOT, blocks, code

NAMED = re.compile(r"`([\w./-]+\.py):([A-Za-z_][\w.]*)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
# Files that a script of this project writes; a page may link them before they are there, if the script is.
WRITTEN = {"benchmarks/results/ablation.json": "benchmarks/ablation.py"}


def missing(excerpt: str, source: str) -> bool:
    """Whether the lines do not stand in the source as they are, one after the other and equally indented."""
    return f"\n{excerpt}" not in f"\n{source}\n"


def defined(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a module or class defines at its top: functions, classes, assigned names, and `self.x` of `__init__`."""
    for node in getattr(tree, "body", ()):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
            if node.name == "__init__":
                inner = [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)]
                yield from ((attribute.attr, attribute) for attribute in inner)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = [n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            yield from ((name.id, node) for name in named)


def names_nothing(file: str, name: str) -> str | None:
    """What is wrong with `file:name`, if anything."""
    path = ROOT / file if file.startswith(("examples/", "tests/", "benchmarks/")) else ROOT / "src/manyminds" / file
    if not path.is_file():
        return f"there is no file {file}"
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for part in name.split("."):
        inside = dict(defined(node))
        if part not in inside:
            return f"{file} has no {name}"
        node = inside[part]
    return None


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(page: Path, link: str) -> str | None:
    """What is wrong with a relative link on a page, if anything."""
    if re.match(r"[a-z]+:", link):
        return None
    place, _, anchor = link.partition("#")
    path = (page.parent / place).resolve() if place else page
    script = next((ROOT / made for file, made in WRITTEN.items() if path == ROOT / file), None)
    if not path.exists() and not (script and script.is_file()):
        return f"{link}: there is no such file"
    if anchor and anchor not in anchors(path.read_text(encoding="utf-8")):
        return f"{link}: there is no such heading"
    return None


def test_every_page_is_there() -> None:
    pages = {"walkthrough.md", "papers.md", "glossary.md", "add_a_method.md", "add_a_reward.md", "log.md"}
    assert pages <= set(PAGES)


@pytest.mark.parametrize(("page", "file", "text"), blocks("python", "yaml"))
def test_an_excerpt_stands_in_the_file_it_names(page: str, file: str, text: str) -> None:
    assert (ROOT / file).is_file(), f"{page}: an excerpt must name its file after the language"
    assert not missing(text, (ROOT / file).read_text(encoding="utf-8")), f"{page}: {file} has no\n{text}"


def test_other_blocks_hold_no_code() -> None:
    languages = {head.split(" ")[0] for text in PAGES.values() for head, _ in FENCE.findall(text)}
    assert languages <= {"python", "yaml", "text", "console"}
    assert all(text.count("```") == 2 * len(FENCE.findall(text)) for text in PAGES.values())


def test_an_excerpt_that_drifted_is_found() -> None:
    source = "def f():\n    a = 1\n    b = 2\n"
    assert not missing("    a = 1\n    b = 2\n", source)
    assert missing("    a = 1\n    b = 3\n", source)
    assert missing("a = 1\n", source)
    assert missing("    b = 2\n    a = 1\n", source)


@pytest.mark.parametrize("page", PAGES)
def test_every_name_exists(page: str) -> None:
    wrong = [names_nothing(file, name) for file, name in NAMED.findall(PAGES[page])]
    assert [one for one in wrong if one] == []


def test_names_are_looked_up() -> None:
    assert len(NAMED.findall(PAGES["walkthrough.md"])) > 40
    assert names_nothing("step.py", "training_step") is None
    assert names_nothing("methods/grpo.py", "GRPO.advantage") is None
    assert names_nothing("loading.py", "QuestionStream.position") is None
    assert names_nothing("step.py", "train_step") == "step.py has no train_step"
    assert names_nothing("methods/grpo.py", "GRPO.credit") == "methods/grpo.py has no GRPO.credit"
    assert names_nothing("steps.py", "learn") == "there is no file steps.py"


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_resolves(page: str) -> None:
    wrong = [leads_nowhere(ROOT / "docs" / page, link) for link in LINK.findall(PAGES[page])]
    assert [one for one in wrong if one] == []


def test_links_are_followed() -> None:
    page = ROOT / "docs" / "papers.md"
    assert leads_nowhere(page, "https://arxiv.org/abs/2508.09670") is None
    assert leads_nowhere(page, "walkthrough.md#block-2-learn") is None
    assert leads_nowhere(page, "#meml_grpo") is None
    assert leads_nowhere(page, "walkthrough.md#block-6") == "walkthrough.md#block-6: there is no such heading"
    assert leads_nowhere(page, "../nowhere.md") == "../nowhere.md: there is no such file"


def test_every_command_and_option_exists() -> None:
    # In a Python of its own: the command line is checked by its own tests, here only its words matter.
    code = (
        "import json, typer; from manyminds.cli import app\n"
        "commands = typer.main.get_group(app).commands\n"
        "print(json.dumps({name: [o for p in c.params for o in p.opts] for name, c in commands.items()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    known = json.loads(done.stdout)
    lines = [line for text in PAGES.values() for command in commands(text) for line in command.splitlines()]
    told = [re.search(r"\bmanyminds ([a-z]+)(.*)", line) for line in lines]
    used = {(one[1], option) for one in told if one for option in [None, *re.findall(r"--[\w-]+", one[2])]}
    assert {("check", None), ("train", "--dry-run"), ("methods", None)} <= used
    assert {(name, o) for name, o in used if name not in known or (o and o not in known[name])} == set()


def commands(text: str) -> list[str]:
    """What a page tells the reader to type: code spans and console blocks."""
    return [*code(FENCE.sub("", text)), *(body for head, body in FENCE.findall(text) if head == "console")]


# Recipes that pages quote, and the log


@pytest.mark.parametrize(
    "file", ["recipes/jsonl_example.yaml", "recipes/collect_example.yaml", "recipes/demo.yaml", "examples/sums.yaml"]
)
def test_recipes_load(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load_recipe(file).name in file


def test_the_log_has_dated_entries_newest_first() -> None:
    headings = re.findall(r"^## (.+)$", PAGES["log.md"], re.MULTILINE)
    dates = [re.match(r"\d{4}-\d{2}-\d{2}\b", heading) for heading in headings]
    assert all(dates)
    found = [date.group() for date in dates if date]
    assert found == sorted(found, reverse=True)
