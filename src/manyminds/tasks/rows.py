"""Rows as files hold them: JSON Lines, a JSON array, parquet. Every row knows its place, for messages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manyminds.errors import UserError
from manyminds.tasks.task import listed

BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and the errors about it. `number` counts from 1: lines of a file of JSON Lines, rows of anything else.

    A path names a column, or with dots what is inside of one: `extra_info.index`, `ground_truth.0`. `file` is what the
    source is called in the names of its rows, by default the file's name without its ending.
    """

    source: str
    number: int
    columns: Mapping[str, Any]
    by_line: bool = False
    file: str = ""

    @property
    def place(self) -> str:
        return f"{self.source}:{self.number}" if self.by_line else f"{self.source} row {self.number}"

    @property
    def name(self) -> str:
        """What a row without an id is called."""
        return f"{self.file or _without_ending(self.source).name}:{self.number}"

    def has(self, path: str) -> bool:
        """Whether there is such a column, whatever it holds."""
        return self._found(path)[0]

    def value(self, path: str) -> Any:
        """What the path leads to; None if it leads nowhere."""
        return self._found(path)[1]

    def text(self, *paths: str, optional: bool = False) -> str:
        """The first of these that is there, as text; empty only if `optional` and none is there."""
        path = next((path for path in paths if self.value(path) is not None), None)
        if path is None:
            if optional:
                return ""
            raise UserError(f"{self.place}: {self._absent(paths)}")
        text = _text(self.value(path), f"{self.place}: `{path}`", path).strip()
        if not text and not optional:
            raise UserError(f"{self.place}: `{path}` is empty; it must hold text.")
        return text

    def sample(self, most: int = 60) -> str:
        """The row as JSON, its long values cut."""
        cut = {name: shortened(value, most) for name, value in list(self.columns.items())[:12]}
        return "{" + ", ".join(f'"{name}": {value}' for name, value in cut.items()) + "}"

    def _found(self, path: str) -> tuple[bool, Any]:
        if path in self.columns:
            return True, self.columns[path]
        here: Any = self.columns
        for part in path.split("."):
            if isinstance(here, Mapping) and part in here:
                here = here[part]
            elif isinstance(here, list) and part in map(str, range(len(here))):
                here = here[int(part)]
            else:
                return False, None
        return True, here

    def _absent(self, paths: tuple[str, ...]) -> str:
        wanted = " or ".join(f"`{path}`" for path in paths)
        if any(self.has(path) for path in paths):
            return f"{wanted} is null; it must hold text."
        return f"the key {wanted} is missing; this row has {listed(self.columns)}."


def told_apart(rows: Iterable[Row]) -> list[Row]:
    """The rows, those of files of the same name called after as many of the folders above as it takes to differ."""
    found = list(rows)
    paths = {source: _without_ending(source).parts for source in dict.fromkeys(row.source for row in found)}
    names = {source: "/".join(parts[-_parts(parts, paths.values()) :]) for source, parts in paths.items()}
    return [replace(row, file=names[row.source]) for row in found]


def _parts(its: tuple[str, ...], every: Collection[tuple[str, ...]]) -> int:
    """How many of the last parts of this path no other one has alike."""
    return next((n for n in range(1, len(its)) if sum(its[-n:] == other[-n:] for other in every) == 1), len(its))


def _without_ending(source: str) -> Path:
    path = Path(source)
    return path.with_suffix("") if path.suffix in READERS else path


def _text(value: Any, subject: str, path: str) -> str:
    if isinstance(value, list) and value:
        raise UserError(
            f"{subject} must be text or a number, not the list {shortened(value)}; if its first entry is the right "
            f"one, point to it with {path}.0 in `task.columns`."
        )
    if isinstance(value, bool):
        raise UserError(f'{subject} must be text or a number, not {shortened(value)}; write it as text, such as "yes".')
    if not isinstance(value, str | int | float):
        raise UserError(f"{subject} must be text or a number, not {shortened(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{subject} is {value}; it must hold text or a number, or the row must go.")
    return whole_text(str(value), subject)


def whole_text(text: str, subject: str) -> str:
    """The text, which `subject` names. UserError if it holds half a character, as JSON can and no file may."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{subject} holds half a character (\\u{ord(text[error.start]):x}); mend it.") from error
    return text


def shortened(value: Any, most: int = 60) -> str:
    """A value as JSON (what JSON does not know, as Python writes it), cut with `…`."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= most else f"{text[:most]}…"


def read_file(path: Path, key: str) -> Iterator[Row]:
    """The rows of a file; `key` is the recipe's key that names it. Raises UserError for whatever cannot be read."""
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise UserError(
            f"task.{key}: {path} is none of the files that are read here, which are {', '.join(READERS)}; name one."
        )
    none = True
    for row in read(path, f"task.{key}"):
        none = False
        yield row
    if none:
        raise UserError(f"task.{key}: {path} is empty; it must hold rows.")


def json_lines(path: Path, where: str) -> Iterator[Row]:
    """An object a line; blank lines are passed over. `where` is what names the file, for messages. Raises UserError."""
    lines = _decoded(path, where).split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            columns = json.loads(line)
        except (ValueError, RecursionError) as error:
            why, column = getattr(error, "msg", str(error)), getattr(error, "colno", 1)
            if number == len(lines) > 1:  # no line break after it
                raise UserError(
                    f"{place}: the last line is not valid JSON ({why}, column {column}) and has no end: it seems to be "
                    "half written; complete it or take it out."
                ) from error
            raise UserError(f"{place}: not valid JSON ({why}, column {column}); a line holds one object.") from error
        yield Row(str(path), number, _object(columns, place), by_line=True)


def _json_array(path: Path, where: str) -> Iterator[Row]:
    """An array of objects; a file of JSON Lines under the name .json is read as such."""
    text = _decoded(path, where)
    if not text.lstrip().startswith("["):
        yield from json_lines(path, where)
        return
    try:
        array = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(
            f"{path}:{line}: not valid JSON ({getattr(error, 'msg', error)}); the file must hold one array of objects, "
            "or an object a line."
        ) from error
    for number, columns in enumerate(array, start=1):
        yield Row(str(path), number, _object(columns, f"{path} row {number}"))


def _object(columns: Any, place: str) -> dict[str, Any]:
    if _too_deep(columns):
        raise UserError(f"{place}: the row is nested deeper than {DEEPEST} levels; take some out, or its column.")
    if not isinstance(columns, dict):
        raise UserError(f"{place}: a row must be a JSON object, not {shortened(columns, 40)}.")
    return columns


def _too_deep(value: Any) -> bool:
    """Whether there are more levels in one another than what writes, copies and shows values can follow."""
    levels = [value]
    for _ in range(DEEPEST):
        inner = [one for one in levels if isinstance(one, dict | list)]
        if not inner:
            return False
        levels = [each for one in inner for each in (one.values() if isinstance(one, dict) else one)]
    return any(isinstance(one, dict | list) for one in levels)


def _decoded(path: Path, where: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{where}: {path} cannot be read ({error.strerror}); name a file that is there.") from error
    data = data.removeprefix(BOM)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, byte = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        what = "UTF-16, not UTF-8" if data.startswith(UTF_16) else "not UTF-8"
        raise UserError(
            f"{path}:{line}: byte {byte} of the line (0x{data[error.start]:02x}) is {what}; save the file as UTF-8."
        ) from error


def _parquet(path: Path, where: str) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UserError(
            f'{where}: {path} needs pyarrow, which is not installed; run `pip install "manyminds[data]"`.'
        ) from error
    try:
        number = 0
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                for columns in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, columns)
    except (ArrowException, OSError) as error:
        raise UserError(
            f"{where}: {path} cannot be read as parquet beyond row {number} ({str(error).rstrip('.')}); it may be "
            "cut short: copy or write it anew."
        ) from error


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": _json_array,
    ".parquet": _parquet,
}
"""How a file is read, by its suffix."""
