"""Rows as files hold them: where each stands, paths into it, and what is said of a broken file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from manyminds.errors import UserError
from manyminds.tasks.rows import Row, read_file, told_apart

ROWS = [{"question": "é 中", "answer": 1}, {"question": "b", "answer": None}]


def rows(path: Path) -> list[Row]:
    return list(read_file(path, "questions"))


def parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_json_lines(tmp_path: Path, mark: bytes, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    text = f"{json.dumps(ROWS[0], ensure_ascii=False)}{ending}{ending}{json.dumps(ROWS[1])}"
    (tmp_path / "mine.jsonl").write_bytes(mark + text.encode())
    found = rows(tmp_path / "mine.jsonl")
    assert [row.columns for row in found] == ROWS
    assert [row.place for row in found] == [f"{tmp_path / 'mine.jsonl'}:1", f"{tmp_path / 'mine.jsonl'}:3"]
    assert [row.name for row in found] == ["mine:1", "mine:3"]


def test_a_json_array_and_a_parquet_file_have_rows(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text(json.dumps(ROWS))
    parquet(tmp_path / "table.parquet", {"question": ["é 中", "b"], "answer": [1, None]})
    for file in ("array.json", "table.parquet"):
        found = rows(tmp_path / file)
        assert [row.columns for row in found] == ROWS
        assert found[1].place == f"{tmp_path / file} row 2"
        assert found[1].name == f"{Path(file).stem}:2"
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, ROWS)))
    assert rows(tmp_path / "lines.json")[1].place == f"{tmp_path / 'lines.json'}:2"


def test_paths_reach_inside() -> None:
    flat = Row("mine.jsonl", 3, {"a": {"b": "inside"}, "a.b": "flat"})
    assert flat.value("a.b") == "flat"
    nested = Row("mine.jsonl", 3, {"a": {"b": [{"c": 5}, None]}, "x": None}, by_line=True)
    assert nested.text("a.b.0.c") == "5"
    assert nested.has("a.b.1")
    assert nested.value("a.b.1") is None
    assert not nested.has("a.b.2")
    assert not nested.has("a.b.c")
    assert nested.text("x", "a.b.9", optional=True) == ""
    with pytest.raises(UserError, match=r"mine\.jsonl:3: the key `a\.q` is missing; this row has a, x\."):
        nested.text("a.q")


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        (
            "a.jsonl",
            b'{"q": 1}\n{"q": ',
            r"a\.jsonl:2: the last line is not valid JSON .* half written; complete it or",
        ),
        ("a.jsonl", b'{"q": \n{"q": 1}\n', r"a\.jsonl:1: not valid JSON \(Expecting value, column 7\); a line holds"),
        (
            "a.jsonl",
            b'{"q": 1}\n{"q": "\xff"}\n',
            r"a\.jsonl:2: byte 8 of the line \(0xff\) is not UTF-8; save the file",
        ),
        ("a.jsonl", '{"q": "é"}'.encode("utf-16"), r"a\.jsonl:1: byte 1 of the line \(0xff\) is UTF-16, not UTF-8"),
        ("a.jsonl", b"\n \n", r"task\.questions: .*a\.jsonl is empty; it must hold rows"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: not valid JSON"),
        ("a.json", b'[{"q": 1},\n {"q": ', r"a\.json:2: not valid JSON .*; the file must hold one array of objects"),
        ("a.json", b"[]", r"task\.questions: .*a\.json is empty"),
        ("a.json", b"[1]", r"a\.json row 1: a row must be a JSON object, not 1\."),
        (
            "a.csv",
            b"q\n1\n",
            r"a\.csv is none of the files that are read here, which are \.jsonl, \.ndjson, \.json, \.pa",
        ),
    ],
)
def test_broken_files(tmp_path: Path, file: str, data: bytes, said: str) -> None:
    (tmp_path / file).write_bytes(data)
    with pytest.raises(UserError, match=said):
        rows(tmp_path / file)


def test_a_parquet_file_that_is_cut_short(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "a.parquet", {"q": list(range(100))}).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as parquet beyond row 0 .* cut short: copy"):
        rows(tmp_path / "a.parquet")
    parquet(tmp_path / "none.parquet", {"q": []})
    with pytest.raises(UserError, match=r"none\.parquet is empty; it must hold rows"):
        rows(tmp_path / "none.parquet")


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "a.parquet", {"q": [1]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'needs pyarrow, .* run `pip install "manyminds\[data\]"`'):
        rows(tmp_path / "a.parquet")


def test_a_sample_is_cut() -> None:
    row = Row("a", 1, {"q": "x" * 100, "n": 1})
    assert row.sample(10) == '{"q": "xxxxxxxxx…, "n": 1}'


def test_rows_of_files_of_one_name_are_called_after_their_folders_too() -> None:
    def names(*sources: str) -> list[str]:
        return [row.name for row in told_apart(Row(source, 1, {}) for source in sources)]

    assert names("a/data.jsonl", "other.parquet", "a/data.jsonl") == ["data:1", "other:1", "data:1"]
    assert names("a/train/data.jsonl", "a/test/data.jsonl", "c.json") == ["train/data:1", "test/data:1", "c:1"]
    assert names("a/x/data.jsonl", "b/x/data.jsonl") == ["a/x/data:1", "b/x/data:1"]
    assert names("data.jsonl", "a/data.jsonl") == ["data:1", "a/data:1"]
    assert names("openai/gsm8k@main:train", "openai/gsm8k@main:test") == ["gsm8k@main:train:1", "gsm8k@main:test:1"]
