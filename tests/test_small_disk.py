"""A run on a disk that is too small, then on one that cannot be written: one sentence each, and nothing is lost.

The disk is a tmpfs of a few megabytes in a name space of its own, so that no rights are needed; where the system
allows none, the test is skipped (tests/test_checkpoint_faults.py refuses every single write instead).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manyminds import checkpoint
from manyminds.errors import UserError
from manyminds.run import train
from test_resume import state, tiny

SPACE = ["unshare", "--map-root-user", "--mount"]


def mounted(*options: str, on: Path) -> None:
    subprocess.run(["mount", *options, str(on)], check=True)


def may_mount() -> bool:
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    tried = subprocess.run([*SPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return tried.returncode == 0


@pytest.mark.skipif(not may_mount(), reason="this system lets nobody mount a small disk")
def test_a_disk_that_is_full_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [*SPACE, sys.executable, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["full", "went on", "read-only"]


def inside(place: Path) -> None:
    """What happens there; a line for each thing that held."""
    whole = tiny(place / "whole", warmup=None, checkpoint={"every": 1, "keep": 9})
    train(whole)
    due = state(whole.folder)
    size = sum(file.stat().st_size for file in (whole.folder / "checkpoints").rglob("*") if file.is_file())

    disk = place / "disk"
    disk.mkdir()
    mounted("-t", "tmpfs", "-o", f"size={size // 2}", "tmpfs", on=disk)
    made = tiny(disk / "runs", warmup=None, checkpoint={"every": 1, "keep": 9})
    with pytest.raises(UserError, match=r"No space left on device; free some space or choose another folder"):
        train(made)
    newest, skipped = checkpoint.latest(made.folder / "checkpoints")
    assert newest is not None
    assert skipped == []
    assert 0 < checkpoint.load(newest).step < 6
    print("full")

    mounted("-o", f"remount,size={2 * size}", on=disk)
    train(made, resume=True)
    assert state(made.folder) == due
    print("went on")

    mounted("-o", "remount,ro", on=disk)
    with pytest.raises(UserError, match=r"Read-only file system; choose a folder that can be written"):
        train(tiny(disk / "others", warmup=None))
    assert not (disk / "others").exists()
    assert state(made.folder) == due
    print("read-only")


if __name__ == "__main__":
    inside(Path(sys.argv[1]))
