"""Checkpoints that are whole or not there: safetensors and JSON, never a pickle.

    checkpoints/latest.json            a pointer for people; `latest` does not trust it
    checkpoints/step-000120/           model/ (a plain Hugging Face folder), <name>.safetensors, state.json,
                                       manifest.json (sizes and SHA-256 of all the others, versions, the step)
    checkpoints/.step-000120.tmp-<pid> being written;  .old-<pid> being replaced;  .gone-<pid> being deleted

A folder is written under its temporary name, fsynced, read back against its manifest, and only then renamed; older
ones are pruned after that. What a killed process left under a hidden name is deleted by the next `save` or `tidy`,
or, where it is all that is left of a checkpoint, put back by the next `save` or `latest`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from manyminds import durable, manifest
from manyminds.errors import UserError
from manyminds.optimizer_state import load_optimizer, optimizer_tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Checkpoint",
    "best_model",
    "latest",
    "load",
    "load_optimizer",
    "newest_model",
    "optimizer_tensors",
    "save",
    "tidy",
    "validate",
    "versions",
]

_STEP = re.compile(r"step-(\d{6,})")
_HIDDEN = re.compile(r"\.(step-\d{6,}|latest\.json)\.(tmp|old|gone)-([1-9]\d*)")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was valid when read. `model` is a folder for `from_pretrained`; tensors are on the CPU."""

    step: int
    path: Path
    model: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def save(
    folder: Path,
    step: int,
    write: Callable[[Path], None],
    state: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]],
    *,
    keep: int = 2,
    keep_also: Collection[int] = (),
) -> Path:
    """Writes `folder`/step-<step>/ and returns it; a checkpoint of the same step is replaced.

    `write` gets an empty folder for the model part. `state` must be JSON (see `durable.to_json`). Afterwards the new
    checkpoint, the `keep` - 1 newest earlier ones and the steps in `keep_also` remain; later ones are left alone.
    Raises UserError if the disk refuses; what was there before is then untouched and nothing half-written remains.
    """
    from safetensors import SafetensorError

    if step < 0 or keep < 1:
        raise ValueError(f"a checkpoint needs step >= 0 and keep >= 1, got {step} and {keep}")
    final = folder / f"step-{step:06d}"
    temporary = _hidden(final, "tmp")
    failure = f"cannot save the checkpoint of step {step} in {folder} (earlier ones are untouched)"
    try:
        with durable.explaining(failure):
            folder.mkdir(parents=True, exist_ok=True)
            _restore(folder)
            _sweep(folder)
            _fill(temporary, step, write, state, tensors)
            _put_in_place(temporary, final)
            durable.write_json(folder / "latest.json", {"step": step, "folder": final.name})
        with durable.explaining(f"{final} is saved, but older checkpoints cannot be pruned"):
            _prune(folder, step, keep, keep_also)
    except SafetensorError as error:
        # safetensors reports a full disk as its own error, with the number of the system's in the text
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise durable.explained(failure, OSError(code, os.strerror(code))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def tidy(folder: Path) -> None:
    """Puts back or deletes what saves that died have left, for a run that may not save again. Raises UserError if the
    disk refuses."""
    if folder.is_dir():
        with durable.explaining(f"cannot tidy up the checkpoints in {folder}"):
            _restore(folder)
            _sweep(folder)


def validate(folder: Path) -> str | None:
    """None if every file of the manifest is there with its size and SHA-256; otherwise what is wrong, in a sentence."""
    try:
        fault = manifest.fault(folder, hashes=True)
        if fault is None:
            named, step = _STEP.fullmatch(folder.name), manifest.read(folder)["step"]
            if named and int(named[1]) != step:
                fault = f"the folder is named {folder.name} but its manifest says step {step}"
    except OSError as error:
        fault = f"{error.filename or folder} cannot be read: {error.strerror or error}"
    return fault


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """The valid checkpoint with the highest step, and a sentence for each higher one that was skipped."""
    if not folder.is_dir():
        return None, []
    with durable.explaining(f"cannot look for checkpoints in {folder}"):
        _restore(folder)
        steps = _steps(folder)
    skipped: list[str] = []
    for step in sorted(steps, reverse=True):
        fault = validate(steps[step])
        if fault is None:
            return steps[step], skipped
        skipped.append(f"{steps[step].name} was skipped: {fault}")
    return None, skipped


def newest_model(run: Path, remedy: str) -> Path:
    """The model folder of a run's newest valid checkpoint. Raises UserError, with the remedy, if there is none."""
    found, skipped = latest(run / "checkpoints")
    if found is None:
        why = f": {skipped[0]}" if skipped else ""
        raise UserError(f"{run}: holds no whole checkpoint{why}; {remedy}")
    return found / "model"


def best_model(run: Path) -> tuple[Path, int]:
    """The model folder of the checkpoint that was best on validation questions, and its step. Raises UserError if none
    was kept, or it is not whole."""
    newest = newest_model(run, "there is no best one either").parent
    with durable.understanding(newest):
        best = json.loads((newest / "state.json").read_text(encoding="utf-8")).get("best")
        found = run / "checkpoints" / f"step-{best['step']:06d}" if best else None
    if found is None or not found.is_dir():
        where = f"it was best after step {best['step']}, of which" if best else "of its best step"
        raise UserError(
            f"{run}: {where} there is no checkpoint; checkpoint.keep_best=true keeps all but that of step 0"
        )
    if fault := validate(found):
        raise UserError(f"{run}: the best checkpoint, {found.name}, is not whole: {fault}")
    return found / "model", int(best["step"])


def load(folder: Path) -> Checkpoint:
    """Reads one checkpoint, after validating it. Raises UserError if it is not valid."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if fault := validate(folder):
        raise UserError(f"cannot load the checkpoint {folder}: {fault}; choose another one")
    contents = manifest.read(folder)
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = {
            PurePosixPath(name).stem: load_file(folder / name)
            for name in sorted(contents["files"])
            if "/" not in name and name.endswith(".safetensors")
        }
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"cannot load the checkpoint {folder}: {error}; choose another one") from error
    if not isinstance(state, dict):
        raise UserError(f"cannot load the checkpoint {folder}: state.json must hold a JSON object")
    return Checkpoint(contents["step"], folder, folder / "model", state, tensors)


def versions() -> dict[str, str]:
    """The versions that a run's numbers depend on, without importing any of the libraries."""
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "manyminds"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _hidden(final: Path, purpose: str) -> Path:
    return final.with_name(f".{final.name}.{purpose}-{os.getpid()}")


def _fill(
    temporary: Path,
    step: int,
    write: Callable[[Path], None],
    state: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Writes the whole checkpoint into `temporary`, flushes it to the disk and reads it back."""
    import torch
    from safetensors.torch import save_file

    model = temporary / "model"
    model.mkdir(parents=True)
    write(model)
    for name, named in tensors.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"tensors are saved as <name>.safetensors; the name {name!r} may hold only A-Za-z0-9_-")
        # copied, because safetensors refuses tensors that share memory or are not contiguous
        whole = {
            key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for key, tensor in named.items()
        }
        save_file(whole, temporary / f"{name}.safetensors")
    (temporary / "state.json").write_text(durable.to_json(dict(state), indent=2) + "\n", encoding="utf-8")
    mode = (temporary / "state.json").stat().st_mode
    for path in temporary.rglob("*.safetensors"):
        path.chmod(mode)  # safetensors writes files that only their owner may read
    manifest.write(temporary, step, versions())
    durable.fsync_tree(temporary)
    fault = manifest.fault(temporary, hashes=True)
    if fault is not None:
        raise OSError(errno.EIO, f"what was written does not read back, {fault}")


def _put_in_place(temporary: Path, final: Path) -> None:
    """Renames `temporary` to `final`. What stood there is moved aside first and deleted last, or comes back."""
    aside = _hidden(final, "old")
    try:
        if final.exists():
            os.replace(final, aside)
        os.replace(temporary, final)
        durable.fsync(final.parent)
    finally:
        if aside.exists() and not final.exists():
            os.replace(aside, final)
        _delete(aside)


def _prune(folder: Path, step: int, keep: int, keep_also: Collection[int]) -> None:
    """Deletes checkpoints before `step` but the `keep` - 1 newest complete ones and `keep_also`.

    Complete means every file has its size; their contents are not hashed again at every save.
    """
    earlier = {number: path for number, path in _steps(folder).items() if number < step}
    complete = [
        number for number in sorted(earlier, reverse=True) if manifest.fault(earlier[number], hashes=False) is None
    ]
    kept = {*complete[: keep - 1], *keep_also}
    for number, path in earlier.items():
        if number not in kept:
            gone = _hidden(path, "gone")
            os.replace(path, gone)  # first under another name: a half-deleted folder never looks like a checkpoint
            _delete(gone)


def _steps(folder: Path) -> dict[int, Path]:
    """The checkpoints in `folder` by step, valid or not."""
    found = ((_STEP.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in found if match}


def _left_over(folder: Path) -> list[tuple[Path, str, Path]]:
    """Hidden paths whose process is dead, with their purpose and the final path. Our own count: we are not saving."""
    found = []
    for path in folder.iterdir():
        match = _HIDDEN.fullmatch(path.name)
        if match and (int(match[3]) == os.getpid() or not _alive(int(match[3]))):
            found.append((path, match[2], folder / match[1]))
    return found


def _restore(folder: Path) -> None:
    """Puts back what a save that died had moved aside before its replacement was there."""
    for path, purpose, final in _left_over(folder):
        if purpose == "old" and not final.exists():
            os.replace(path, final)


def _sweep(folder: Path) -> None:
    """Deletes what saves that died have left."""
    for path, _, _ in _left_over(folder):
        _delete(path)


def _delete(path: Path) -> None:
    """Deletes a folder or file under a hidden name; a failure costs only space, so it is left for the next sweep."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
