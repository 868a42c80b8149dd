"""Where rows come from: files, folders with and without splits, what `datasets` reads. Nothing asks the network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from manyminds.errors import UserError
from manyminds.tasks import places
from manyminds.tasks.places import read_rows

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; what `datasets` caches goes into another."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def table(first: int, n: int) -> Any:
    return datasets.Dataset.from_list([{"question": f"q{i}", "answer": str(i)} for i in range(first, first + n)])


def lines(path: Path, first: int, n: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"question": f"q{i}"}) + "\n" for i in range(first, first + n)))


def asked(place: str) -> list[str]:
    return [row.text("question") for row in read_rows(place, "train")]


def test_a_folder_of_data_files(there: Path) -> None:
    lines(there / "mine" / "b.jsonl", 2, 2)
    lines(there / "mine" / "a.jsonl", 0, 2)
    assert asked("mine") == ["q0", "q1", "q2", "q3"]
    assert [row.name for row in read_rows("mine", "train")] == ["a:1", "a:2", "b:1", "b:2"]
    assert next(row.place for row in read_rows("mine", "train")) == "mine/a.jsonl:1"
    assert len(list(read_rows(".", "train"))) == 4
    assert all(Path(row.source).is_file() and row.by_line for row in read_rows("mine", "train"))


def test_splits_of_a_folder(there: Path) -> None:
    for name, first in (("train-00000-of-00002", 0), ("train-00001-of-00002", 2), ("test-00000-of-00001", 4)):
        (there / "mine" / "data").mkdir(parents=True, exist_ok=True)
        table(first, 2).to_parquet(there / "mine" / "data" / f"{name}.parquet")
    assert asked("mine:train") == ["q0", "q1", "q2", "q3"]
    assert asked("mine:test") == ["q4", "q5"]
    with pytest.raises(UserError, match=r"task\.train: mine has the splits train, test; say which, such as mine:train"):
        read_rows("mine", "train")
    with pytest.raises(UserError, match=r"task\.train: mine has no split 'tset'; did you mean 'test'"):
        read_rows("mine:tset", "train")
    (there / "mine" / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet is missing, one of 2 parts"):
        read_rows("mine:train", "train")


def test_configs_of_a_folder(there: Path) -> None:
    for config, first in (("main", 0), ("hard", 10)):
        lines(there / "mine" / config / "train.jsonl", first, 2)
    card = [f"- config_name: {c}\n  data_files:\n  - split: train\n    path: {c}/*" for c in ("main", "hard")]
    (there / "mine" / "README.md").write_text("---\nconfigs:\n" + "\n".join(card) + "\n---\n")
    assert asked("mine@hard") == asked("mine@hard:train") == ["q10", "q11"]
    with pytest.raises(UserError, match=r"mine cannot be read as a data set: .*pick one .*\['main', 'hard'\]"):
        read_rows("mine", "train")


def test_what_save_to_disk_wrote(there: Path) -> None:
    table(0, 3).save_to_disk("one")
    datasets.DatasetDict(train=table(0, 2), test=table(5, 1)).save_to_disk("several")
    assert asked("one") == ["q0", "q1", "q2"]
    assert [row.place for row in read_rows("one", "train")][2] == "one row 3"
    assert asked("several:test") == ["q5"]
    assert [row.place for row in read_rows("several:test", "train")] == ["several:test row 1"]
    with pytest.raises(UserError, match=r"several has the splits train, test; say which"):
        read_rows("several", "train")
    with pytest.raises(UserError, match=r"one is one data set without splits; write one alone"):
        read_rows("one:train", "train")
    next((there / "one").glob("*.arrow")).unlink()
    with pytest.raises(UserError, match=r"task\.train: one cannot be read \(.*must be whole"):
        read_rows("one", "train")


def test_a_data_set_of_the_hub_is_read_by_its_library(there: Path) -> None:
    """The hub is out of reach; what would be its id is a folder that `datasets` reads in the same way."""
    lines(there / "mine" / "train.jsonl", 0, 2)
    lines(there / "mine" / "test.jsonl", 5, 1)
    found = list(places._hub(str(there / "mine"), None, "test", "train"))
    assert [(row.text("question"), row.number, row.by_line) for row in found] == [("q5", 1, False)]
    assert found[0].name == "mine:test:1"
    with pytest.raises(UserError, match=r"has the splits train, test; say which"):
        places._hub(str(there / "mine"), None, None, "train")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("none.jsonl", r"task\.train: there is no file or folder none\.jsonl; name a file \(\.jsonl, .*, a folder, or"),
        ("data/none.jsonl", r"there is no file or folder data/none\.jsonl"),
        ("a/b/c", r"there is no file or folder a/b/c"),
        ("", r"task\.train is empty; it must name a file, a folder, or"),
        (
            "org/none@main:train",
            r"org/none@main is no file or folder here, and as a data set of the hub it cannot be read",
        ),
        ("mine.jsonl:train", r"mine\.jsonl is a file and has neither configs nor splits; write mine\.jsonl alone"),
        ("empty", r"the folder empty holds no data files; they end in \.jsonl"),
    ],
)
def test_places_that_are_none(there: Path, place: str, said: str) -> None:
    lines(there / "mine.jsonl", 0, 1)
    (there / "empty").mkdir()
    (there / "empty" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=said):
        read_rows(place, "train")


def test_a_name_with_a_colon_is_a_name(there: Path) -> None:
    lines(there / "a@b:c.jsonl", 0, 1)
    assert asked("a@b:c.jsonl") == ["q0"]


def test_folders_without_the_library(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(there / "mine" / "a.jsonl", 0, 1)
    monkeypatch.setitem(sys.modules, "datasets", None)
    for place in ("mine", "org/none"):
        with pytest.raises(
            UserError, match=r'needs `datasets`, .* run `pip install "manyminds\[data\]"`, or name a file'
        ):
            read_rows(place, "train")


def test_what_makes_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"as org/name; `manyminds collect RECIPE` makes one\.$"):
        read_rows(tmp_path / "experts.jsonl", "experts_file")
    with pytest.raises(UserError, match=r"as org/name\.$"):
        read_rows(tmp_path / "mine.jsonl", "questions")
