"""The project's own files agree with one another and speak of no machine but the reader's."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import manyminds

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Written in pieces, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:work|root)" + r"/")
REGISTRY = re.compile(r"https?://\S*(?:pypi|pythonhosted|download\.pytorch)" + r"\.org|index-url" + r"[ =]")


def project_files() -> list[Path]:
    """Every text file that git keeps or would keep."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert manyminds.__version__ == PYPROJECT["project"]["version"] == citation["version"]
    assert citation["title"] == PYPROJECT["project"]["name"] == "manyminds"
    assert citation["license"] == PYPROJECT["project"]["license"] == "Apache-2.0"


def test_citation_names_the_paper() -> None:
    (paper,) = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    assert paper["title"].startswith("MEML-GRPO")
    assert [identifier["value"] for identifier in paper["identifiers"]] == ["arXiv:2508.09670"]


def test_changelog_speaks_of_this_version() -> None:
    headings = re.findall(r"^## \[([^]]+)]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings
    assert headings[0] in {"Unreleased", manyminds.__version__}


@pytest.mark.parametrize("extra", ["core", "demo", "dev"])
def test_every_dependency_is_pinned(extra: str) -> None:
    project = PYPROJECT["project"]
    wanted = project["dependencies"] if extra == "core" else project["optional-dependencies"][extra]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", pin) for pin in pins)
    names = {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in wanted} - {"manyminds"}
    assert names <= {pin.partition("==")[0] for pin in pins}


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine_path", "registry"])
def test_no_file_names_a_machine_or_a_registry(pattern: re.Pattern[str]) -> None:
    files = project_files()
    assert ROOT / "pyproject.toml" in files
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("cd /" + "work/main", MACHINE_PATH),
        ('"/' + 'root/.cache"', MACHINE_PATH),
        ("pip install --index-url" + " x", REGISTRY),
        ("https://" + "pypi.org/simple", REGISTRY),
    ],
)
def test_the_patterns_find_what_they_should(text: str, pattern: re.Pattern[str]) -> None:
    assert pattern.search(text)


def test_relative_folders_are_no_machine_paths() -> None:
    assert not MACHINE_PATH.search("net/" + "work/ and ./" + "root/ and a/" + "work/b")
