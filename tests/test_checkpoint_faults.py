"""Writers that throw, disks that refuse and processes that are killed at any moment cost no checkpoint."""

from __future__ import annotations

import errno
import os
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from checkpoints import dead_pid, names, save, write_model
from manyminds import checkpoint
from manyminds.errors import UserError


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), UserError("a sentence")])
def test_a_failing_writer_leaves_no_trace(tmp_path: Path, error: BaseException) -> None:
    path = save(tmp_path, 10)

    def fail(model: Path) -> None:
        write_model(model)
        raise error

    with pytest.raises(type(error)) as raised:
        checkpoint.save(tmp_path, 20, fail, {}, {})
    assert raised.value is error
    assert names(tmp_path) == ["latest.json", "step-000010"]
    assert checkpoint.latest(tmp_path) == (path, [])


def test_what_cannot_be_saved_exactly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="has the key 3"):
        checkpoint.save(tmp_path, 1, write_model, {"buffer": {3: "a"}}, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.save(tmp_path, 1, write_model, {"best": float("nan")}, {})
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoint.save(tmp_path, 1, write_model, {"rng": torch.ones(1)}, {})
    with pytest.raises(ValueError, match=r"the name '\.\./x'"):
        checkpoint.save(tmp_path, 1, write_model, {}, {"../x": {}})
    for step, keep in ((-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="needs step >= 0 and keep >= 1"):
            save(tmp_path, step, keep=keep)
    assert names(tmp_path) == []


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "checkpoints"):
        with pytest.raises(UserError, match=r"cannot save the checkpoint of step 1 in .*; choose a folder, not a file"):
            save(folder, 1)


@pytest.mark.parametrize("big", ["model", "optimizer", "state"])
def test_a_full_disk(tmp_path: Path, big: str) -> None:
    """The limit on file sizes stands in for the disk's: the system refuses the bytes in the middle of a file."""
    path = save(tmp_path, 10)
    many = torch.zeros(50_000)
    model = {"w": many if big == "model" else many[:1]}
    optimizer = {"0": many if big == "optimizer" else many[:1]}
    state = {"text": "x" * (200_000 if big == "state" else 1)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"\(earlier ones are untouched\): File too large; raise the limit"):
            checkpoint.save(
                tmp_path, 20, lambda m: save_file(model, m / "model.safetensors"), state, {"optimizer": optimizer}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["latest.json", "step-000010"]
    assert checkpoint.latest(tmp_path) == (path, [])


class At:
    """Counts calls of os.replace and os.fsync, and at the n-th does something else instead."""

    def __init__(self, n: int, instead: Callable[[], object]) -> None:
        self.n, self.instead, self.calls = n, instead, 0

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self.n:
                self.instead()
            return real(*arguments)

        return call


def refuse() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def value_of_newest(folder: Path) -> float:
    newest, skipped = checkpoint.latest(folder)
    assert newest is not None
    assert skipped == []
    value = checkpoint.load(newest).state["value"]
    assert isinstance(value, float)
    return value


def refused_for_space(folder: Path, step: int) -> bool:
    try:
        save(folder, step, 3.0, keep=1)
    except UserError as error:
        return "No space left on device" in str(error)
    return False


@pytest.mark.parametrize("step", [20, 30], ids=["replaced", "new"])
def test_a_disk_that_refuses_at_any_moment(tmp_path: Path, step: int) -> None:
    for n in range(1, 99):
        folder = tmp_path / str(n)
        save(folder, 10, 1.0)
        save(folder, 20, 2.0)
        at = At(n, refuse)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", at.around(os.fsync))
            patch.setattr(os, "replace", at.around(os.replace))
            if not refused_for_space(folder, step):
                break
        assert value_of_newest(folder) in (2.0, 3.0)
        assert [name for name in names(folder) if name.startswith(".")] == []
        assert checkpoint.load(save(folder, step, 4.0, keep=1)).state["value"] == 4.0
        assert names(folder) == ["latest.json", f"step-{step:06d}"]
    assert n > 15, "too few moments were tried"


@pytest.mark.parametrize("step", [20, 30], ids=["replaced", "new"])
def test_a_process_killed_at_any_moment(tmp_path: Path, step: int) -> None:
    for n in range(1, 99):
        folder = tmp_path / str(n)
        save(folder, 10, 1.0)
        save(folder, 20, 2.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads at a fork
            child = os.fork()
        if child == 0:
            try:
                at = At(n, lambda: os._exit(9))
                os.fsync, os.replace = at.around(os.fsync), at.around(os.replace)
                save(folder, step, 3.0, keep=1)
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            break
        assert code == 9
        assert value_of_newest(folder) in (2.0, 3.0)
        assert checkpoint.load(save(folder, step, 4.0, keep=1)).state["value"] == 4.0
        assert names(folder) == ["latest.json", f"step-{step:06d}"]
    assert n > 15, "too few moments were tried"


def test_left_overs_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead, living = dead_pid(), os.getppid()
    for pid in (dead, living):
        for left in (f".step-000005.tmp-{pid}", f".step-000004.gone-{pid}"):
            (tmp_path / left).mkdir()
            (tmp_path / left / "half").write_text("")
        (tmp_path / f".latest.json.tmp-{pid}").write_text("")
    (tmp_path / ".step-x.tmp-notes").mkdir()
    save(tmp_path, 10)
    assert names(tmp_path) == sorted(
        [
            f".latest.json.tmp-{living}",
            f".step-000004.gone-{living}",
            f".step-000005.tmp-{living}",
            ".step-x.tmp-notes",
            "latest.json",
            "step-000010",
        ]
    )


def test_left_overs_go_also_where_nothing_is_saved_again(tmp_path: Path) -> None:
    checkpoint.tidy(tmp_path / "not there")
    save(tmp_path, 3)
    gone = tmp_path / f".step-000001.gone-{dead_pid()}"
    gone.mkdir()
    aside = tmp_path / f".step-000002.old-{dead_pid()}"
    aside.mkdir()
    checkpoint.tidy(tmp_path)
    assert names(tmp_path) == ["latest.json", "step-000002", "step-000003"]


def test_what_a_dead_process_moved_aside_is_put_back(tmp_path: Path) -> None:
    path = save(tmp_path, 10)
    path.rename(tmp_path / f".step-000010.old-{dead_pid()}")
    assert checkpoint.latest(tmp_path) == (path, [])
    path.rename(tmp_path / f".step-000010.old-{dead_pid()}")
    save(tmp_path, 20, keep=2)
    assert names(tmp_path) == ["latest.json", "step-000010", "step-000020"]
