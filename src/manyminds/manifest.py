"""manifest.json: the list of a folder's files with their sizes and SHA-256, which vouches for itself as well."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from manyminds import durable

FORMAT = 1
NAME = "manifest.json"


def write(folder: Path, step: int, versions: Mapping[str, str]) -> None:
    """Lists every file below `folder` in its manifest.json. Raises OSError."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": durable.sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest: dict[str, Any] = {"format": FORMAT, "step": step, "versions": dict(versions), "files": files}
    manifest["sha256"] = _digest(manifest)
    (folder / NAME).write_text(durable.to_json(manifest, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest as `write` wrote it. Raises OSError if it is not there and ValueError if it was changed since."""
    try:
        manifest = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(manifest, dict) or manifest.get("sha256") != _digest(manifest):
        raise ValueError("it was changed after it was written")
    if manifest.get("format") != FORMAT:
        raise ValueError(f"its format is {manifest.get('format')}, this version reads {FORMAT}")
    files = manifest.get("files")
    if type(manifest.get("step")) is not int or not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise ValueError("it does not hold a step and files with their sizes and SHA-256")
    return manifest


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("size")) is int and isinstance(entry.get("sha256"), str)


def fault(folder: Path, *, hashes: bool) -> str | None:
    """What is wrong with the files of `folder`, as a sentence, or None. Raises OSError where they cannot be read.

    Without `hashes` only names and sizes are compared. Files that the manifest does not name are ignored.
    """
    if not folder.is_dir():
        return "it is not a folder" if folder.exists() else "it does not exist"
    if not (folder / NAME).is_file():
        return f"{NAME} is missing"
    try:
        files = read(folder)["files"]
    except ValueError as error:
        return f"{NAME} cannot be trusted: {error}"
    for name, expected in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            return f"its manifest names {name}, which is outside the folder"
        path = folder / relative
        if not os.path.isfile(path):  # which also takes what no file can be called
            return f"{name} is missing"
        size = path.stat().st_size
        if size != expected["size"]:
            return f"{name} has {size} bytes where the manifest says {expected['size']}"
        if hashes and durable.sha256(path) != expected["sha256"]:
            return f"{name} has other contents than the manifest says: its SHA-256 differs"
    return None


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without its own "sha256"."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
