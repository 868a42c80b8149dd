"""Files that survive a crash: written whole, flushed to the disk, or not there at all. Imports no torch.

A file is written beside its place under a hidden name, fsynced, and renamed over the old one (rename is atomic
within a file system); the folder is fsynced so that the new name survives a power failure too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyminds.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EFBIG: "raise the limit on file sizes or choose another folder",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that can be written",
    errno.EPERM: "choose a folder that can be written",
    errno.ENOTDIR: "choose a folder, not a file",
    errno.EEXIST: "choose a folder, not a file",
}


def explained(what: str, error: OSError) -> UserError:
    """The one sentence for a failed file operation: what failed, why, and what would help."""
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return UserError(f"{what}: {reason}" + (f"; {remedy}" if remedy else ""))


@contextlib.contextmanager
def explaining(what: str) -> Iterator[None]:
    """Turns an OSError of the block into a UserError that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise explained(what, error) from error


@contextlib.contextmanager
def understanding(folder: Path) -> Iterator[None]:
    """Turns what goes wrong in the block with the contents of a whole checkpoint into a UserError: nobody damaged its
    files, but another program or version wrote them."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"cannot go on from the checkpoint {folder}: its state.json or optimiser is not what this version writes "
            f"({type(error).__name__}: {str(error)[:200]}); choose another one, or the version that wrote it"
        ) from error


def fsync(path: Path) -> None:
    """Flushes one file or folder to the disk; for a folder, the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Flushes every file below `folder`, then every folder, innermost first, and `folder` last."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            fsync(Path(parent, name))
        fsync(Path(parent))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(obj: Any, indent: int | None = None) -> str:
    """`obj` as JSON that reads back as it was.

    Raises ValueError for NaN and infinities (they are no JSON) and TypeError for what JSON cannot hold, keys that
    are not strings included: `json` would turn them into strings without a word. Tuples come back as lists.
    """
    _refuse_other_keys(obj, "")
    return json.dumps(obj, ensure_ascii=False, allow_nan=False, indent=indent)


def _refuse_other_keys(obj: Any, where: str) -> None:
    if isinstance(obj, dict):
        for key, value in obj.items():
            if not isinstance(key, str):
                raise TypeError(f"JSON keys are strings: {where or 'the top level'} has the key {key!r}")
            _refuse_other_keys(value, f"{where}.{key}".lstrip("."))
    elif isinstance(obj, list | tuple):
        for index, value in enumerate(obj):
            _refuse_other_keys(value, f"{where}[{index}]")


def write_json(path: Path, obj: Any) -> None:
    """Writes `obj` to `path` atomically: after a crash the file is the old one or the new one, never half of either.

    Raises UserError if the disk refuses; the old file then stays. ValueError and TypeError as `to_json`.
    """
    write_text(path, to_json(obj, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically, as `write_json`."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with explaining(f"cannot write {path}"):
        try:
            temporary.write_text(text, encoding="utf-8")
            fsync(temporary)
            os.replace(temporary, path)
            fsync(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def append_jsonl(path: Path, *objs: Any) -> None:
    """Appends each object as one line, all in one write, and flushes them to the disk; a torn line that a crash left
    behind is cut off first.

    Raises UserError if the disk refuses. ValueError and TypeError as `to_json`.
    """
    lines = "".join(to_json(obj) + "\n" for obj in objs)
    with explaining(f"cannot append to {path}"):
        if path.exists():
            _mend_tail(path)
        with path.open("ab") as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def _mend_tail(path: Path) -> None:
    """Ends the file with a newline: a last line without one is kept if it is whole JSON and cut off otherwise."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        tail = file.read().rpartition(b"\n")[2]
        if _is_json(tail):
            file.write(b"\n")
        else:
            file.truncate(size - len(tail))


def read_jsonl(path: Path) -> list[Any]:
    """The objects of a JSONL file, one a line. A torn last line (no newline, no whole JSON) is dropped.

    Blank lines are skipped. Raises UserError, with the line's number, where any other line is not JSON.
    """
    return [obj for _, obj in read_numbered_jsonl(path)]


def read_numbered_jsonl(path: Path) -> list[tuple[int, Any]]:
    """As `read_jsonl`, each object with the number of its line, counted from 1."""
    with explaining(f"cannot read {path}"):
        *lines, tail = path.read_bytes().split(b"\n")
    if _is_json(tail):
        lines.append(tail)
    objects = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            objects.append((number, json.loads(line.decode())))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} line {number} is not JSON: {error}; each line must be one JSON value") from error
    return objects


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode())
    except (ValueError, RecursionError):
        return False
    return True
