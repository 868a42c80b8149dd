"""Memory as JSON and back: records, tuples, mappings, numbers, strings and None; nothing is ever executed."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from manyminds import records

RECORD = "record"


def to_json(value: Any) -> Any:
    """The value as plain JSON data. Raises TypeError for what would not come back as it was."""
    if is_dataclass(value) and not isinstance(value, type):
        return {RECORD: type(value).__name__} | {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        strange = [key for key in value if not isinstance(key, str) or key == RECORD]
        if strange:
            raise TypeError(f"keys of a mapping in memory must be strings other than '{RECORD}', not {strange[0]!r}")
        return {key: to_json(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"memory must be records or plain data, not {type(value).__name__}")


def from_json(data: Any) -> Any:
    """What `to_json` was given; sequences come back as tuples. Raises ValueError for a record that there is not."""
    if isinstance(data, list):
        return tuple(from_json(one) for one in data)
    if isinstance(data, dict):
        values = {key: from_json(one) for key, one in data.items() if key != RECORD}
        return _record(data[RECORD])(**values) if RECORD in data else values
    return data


def _record(name: str) -> type[Any]:
    kind = getattr(records, name, None)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise ValueError(f"memory holds a record '{name}', which there is not")
    return kind
