"""Files are whole after a crash, or the old ones; a torn line costs itself only."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from manyminds import durable
from manyminds.errors import UserError


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    obj = {"float": 0.1 + 0.2, "big": 2**127 + 1, "text": "né", "none": None, "list": [True, {"a": -0.0}]}
    durable.write_json(tmp_path / "a.json", obj)
    back = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert back == obj
    assert str(back["list"][1]["a"]) == "-0.0"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_refused_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    durable.write_json(tmp_path / "a.json", {"old": 1})
    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(UserError, match=r"cannot write .*a\.json: No space left on device; free some space"):
        durable.write_json(tmp_path / "a.json", {"new": 1})
    assert os.listdir(tmp_path) == ["a.json"]
    assert '"old"' in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_numbers_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.append_jsonl(tmp_path / "a.jsonl", {"loss": value})
    assert not (tmp_path / "a.jsonl").exists()


def test_keys_that_json_would_change_are_refused() -> None:
    with pytest.raises(TypeError, match=r"buffer\[1\]\.counts has the key 7"):
        durable.to_json({"buffer": [0, {"counts": {7: 1}}]})


def test_lines_are_appended_and_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        durable.append_jsonl(path, {"step": step})
    assert durable.read_jsonl(path) == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("torn", [b'{"step": 3, "rew', b'{"text": "n\xc3', b"\0\0\0\0", b'{"step": 3'])
def test_a_torn_last_line_is_dropped_and_cut_off_by_the_next_append(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + torn)
    assert durable.read_jsonl(path) == [{"step": 1}, {"step": 2}]
    durable.append_jsonl(path, {"step": 3})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\n{"step": 2}\n{"st')
    assert durable.read_numbered_jsonl(path) == [(1, {"step": 1}), (3, {"step": 2})]


def test_a_whole_last_line_without_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}')
    assert durable.read_jsonl(path) == [{"step": 1}, {"step": 2}]
    durable.append_jsonl(path, {"step": 3})
    assert durable.read_jsonl(path) == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_every_way_to_tear_a_file_leaves_the_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 1, "x": "é"}, {"step": 2, "x": [0.5, None]}]
    for line in lines:
        durable.append_jsonl(path, line)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        before = durable.read_jsonl(path)
        assert before == lines[: len(before)]
        durable.append_jsonl(path, "next")
        assert durable.read_jsonl(path) == [*before, "next"]


@pytest.mark.parametrize("bad", [b"{", b"\xff", b"nonsense"])
def test_a_bad_line_before_the_last_is_an_error_with_its_number(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + bad + b'\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl line 2 is not JSON"):
        durable.read_jsonl(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.jsonl: No such file or directory"):
        durable.read_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"cannot append to .*: No such file or directory"):
        durable.append_jsonl(tmp_path / "nowhere" / "a.jsonl", 1)
