"""Memory as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from manyminds.memory import from_json, to_json
from manyminds.records import Example, Expert, Lesson, Progress, Trace, Update

EXAMPLE = Example(
    "solution",
    (1, 2),
    (3, 4),
    advantage=(0.1, -1e-300),
    weight=1 / 3,
    mask=(1, 0),
    planes={"writer_logprobs": (-0.1, -2.0)},
    media=("image-1",),
    group_id=("q", "alpha"),
)


@pytest.mark.parametrize(
    "memory",
    [
        None,
        (),
        (None, (), 3, 0.1, "text", True),
        (EXAMPLE, EXAMPLE),
        ({"mean": 0.25, "seen": ("a", "b"), "last": EXAMPLE},),
        Lesson((Update((EXAMPLE,), 0.5),), (Progress(3, 0.1), Expert("alpha"), Trace("a", "b", (1,))), {"n": 1.0}),
    ],
)
def test_it_comes_back_as_it_was(memory: Any) -> None:
    assert from_json(json.loads(json.dumps(to_json(memory)))) == memory


def test_lists_come_back_as_tuples() -> None:
    assert from_json(to_json([1, [2]])) == (1, (2,))


@pytest.mark.parametrize("memory", [{1, 2}, object(), b"bytes", {"deep": [object()]}, Example])
def test_what_is_not_plain_is_refused(memory: Any) -> None:
    with pytest.raises(TypeError, match="memory must be records or plain data, not "):
        to_json(memory)


@pytest.mark.parametrize("memory", [{1: "a"}, {("q", "alpha"): 1}, {"record": "Example"}])
def test_keys_that_would_not_come_back_are_refused(memory: Any) -> None:
    with pytest.raises(TypeError, match="keys of a mapping in memory must be strings other than 'record', not "):
        to_json(memory)


@pytest.mark.parametrize("name", ["replace", "Any", "Mapping", "__loader__", "Nonsense", "Environment"])
def test_only_records_are_made(name: str) -> None:
    with pytest.raises(ValueError, match=f"memory holds a record '{name}', which there is not"):
        from_json({"record": name})
