"""What is shipped beside the code: the demo's recipe, a warmed-up model to start from, and the committed ablation.

The recipe and the ablation stand in the repository once; a wheel carries copies of them under assets/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from manyminds.durable import sha256
from manyminds.errors import UserError

HERE = Path(__file__).parent / "assets"
REPOSITORY = Path(__file__).parents[2]
SUMS = "SHA256"


def demo_recipe() -> Path:
    """The demo's recipe. Raises UserError if the installation lost it."""
    found = _first(HERE / "demo.yaml", REPOSITORY / "recipes" / "demo.yaml")
    if found is None:
        raise UserError("the demo's recipe is not part of this installation; install manyminds again")
    return found


def ablation() -> dict[str, Any] | None:
    """The primary outcome of the committed ablation over seeds, in points; None if there is none with an interval."""
    found = _first(HERE / "ablation.json", REPOSITORY / "benchmarks" / "results" / "ablation.json")
    primary: dict[str, Any] | None = json.loads(found.read_text(encoding="utf-8")).get("primary") if found else None
    return primary if primary and primary.get("low") is not None else None


def ablation_beside(folder: Path) -> dict[str, Any] | None:
    """As `ablation`, if a run in `folder` is of the demo's task and model, so that it is one more of such seeds."""
    demo = yaml.safe_load(demo_recipe().read_text(encoding="utf-8"))
    for path in (*folder.glob("recipe.yaml"), *folder.glob("*/recipe.yaml")):
        its = yaml.safe_load(path.read_text(encoding="utf-8"))
        if its["model"] == demo["model"] and its["task"]["name"] == demo["task"]["name"]:
            return ablation()
    return None


def quick_checkpoint(folder: Path = HERE / "mef") -> Path:
    """The folder of the shipped, finished warm-up. Raises UserError if it is not there or a file is not as it was."""
    if not (folder / SUMS).is_file():
        raise UserError(
            "--quick starts from a shipped model, and this installation has none; run `manyminds demo`, which makes "
            "its own"
        )
    listed = read_sums(folder)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    for name in sorted({*listed} ^ there):
        raise UserError(f"the shipped model in {folder} is not whole: {name} is missing or was added; install it again")
    for name, digest in listed.items():
        if sha256(folder / name) != digest:
            raise UserError(f"the shipped model in {folder} was changed: {name} has another SHA-256; install it again")
    return folder


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as `write_sums` wrote them."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def write_sums(folder: Path) -> None:
    """The SHA-256 of every file below `folder`, in the format of sha256sum."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
