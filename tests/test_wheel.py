"""What a wheel carries: the package, what is shipped beside its code, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

import manyminds

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "manyminds"
COPIES = {
    "manyminds/assets/demo.yaml": ROOT / "recipes" / "demo.yaml",
    "manyminds/assets/ablation.json": ROOT / "benchmarks" / "results" / "ablation.json",
}
"""What stands in the repository once and in a wheel beside the code."""
MOST = 2_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    assert path.name == f"manyminds-{manyminds.__version__}-py3-none-any.whl"
    assert path.stat().st_size < MOST
    with ZipFile(path) as found:
        yield found


def test_it_holds_the_package_and_nothing_else(wheel: ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT / "src").as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert inside == {name for name in files if "__pycache__" not in name} | {*COPIES}
    assert {"manyminds/py.typed", "manyminds/assets/mef/SHA256"} <= inside


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_what_the_repository_has(wheel: ZipFile, name: str) -> None:
    assert wheel.read(name) == COPIES[name].read_bytes()


def test_it_says_what_it_needs_and_which_command_it_brings(wheel: ZipFile) -> None:
    about = f"manyminds-{manyminds.__version__}.dist-info"
    told = message_from_string(wheel.read(f"{about}/METADATA").decode())
    needed = [one for one in told.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert any(one.startswith("torch>=") for one in needed)
    assert {"demo", "lora"} <= {*told.get_all("Provides-Extra", [])}
    assert "manyminds = manyminds.cli:main" in wheel.read(f"{about}/entry_points.txt").decode()
    assert f"{about}/licenses/LICENSE" in wheel.namelist()
