"""GSM8K's annotations as two more styles, and the data set as the hub has it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from manyminds.errors import UserError
from manyminds.rewards import Judge
from manyminds.tasks.gsm8k import equations, gsm8k, in_words, program
from manyminds.tasks.rows import Row
from manyminds.tasks.task import SPLITS

ANNOTATED = "She saves 5*4 = <<5*4=20>>20.\nShe gets 2*10 = $<<2*10=20>>20 and has 20+20=<<20+20=40>>40.\n#### 40"


def row(**columns: Any) -> Row:
    return Row("mine.jsonl", 1, columns)


@pytest.mark.parametrize("columns", [{"solution": ANNOTATED, "answer": "40"}, {"answer": ANNOTATED}])
def test_three_styles_from_one_solution(columns: Mapping[str, Any]) -> None:
    one = row(**columns)
    assert in_words(one) == "She saves 5*4 = 20.\nShe gets 2*10 = $20 and has 20+20=40."
    assert equations(one) == "5*4 = 20\n2*10 = 20\n20+20 = 40"
    # A number that was computed twice goes by its latest name.
    assert program(one) == "t1 = 5*4\nt2 = 2*10\nt3 = t2+t2\nanswer = t3"


def test_annotations_that_do_not_come_to_the_answer_are_not_taught() -> None:
    for text in ("Just 40.\n#### 40", "First <<2*10=20>>20, then twice that.\n#### 40"):
        assert equations(row(answer=text)) is None
        assert program(row(answer=text)) is None
        assert in_words(row(answer=text)) is not None


def hub_folder(place: Path, train: int = 40, test: int = 5) -> Path:
    """A folder that `datasets` loads, with the columns of the hub's GSM8K."""
    datasets = pytest.importorskip("datasets")

    def rows(first: int, count: int) -> list[dict[str, str]]:
        return [
            {"question": f"What is {i:,} plus 1?", "answer": f"It is {i}+1 = <<{i}+1={i + 1}>>{i + 1}.\n#### {i + 1:,}"}
            for i in range(first, first + count)
        ]

    place.mkdir()
    datasets.Dataset.from_list(rows(990, train)).to_parquet(str(place / "train-0.parquet"))
    datasets.Dataset.from_list(rows(5000, test)).to_parquet(str(place / "test-0.parquet"))
    return place


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.mark.usefixtures("cache")
def test_the_columns_of_the_hub(tmp_path: Path) -> None:
    task = gsm8k(data=hub_folder(tmp_path / "hub"), seed=1)
    assert {name: len(its) for name, its in task.splits.items()} == {
        "warmup": 18,
        "train": 18,
        "validation": 4,
        "test": 5,
    }
    assert all(question.source.startswith(f"{tmp_path / 'hub' / 'test'} row ") for question in task.splits["test"])
    every = [question for name in SPLITS for question in task.splits[name]]
    assert {question.answer for question in every} >= {"5001", "991", "1029"}  # without commas
    assert Judge(task.rewards, task.extract).check(every, task.answer_form) == ()
    for name in ("warmup", "train"):
        assert all(set(question.traces) == {"human_nl", "equations", "program"} for question in task.splits[name])
    # Who is held out for validation does not depend on the seed.
    again = gsm8k(data=tmp_path / "hub", seed=2)
    assert {q.id for q in again.splits["validation"]} == {q.id for q in task.splits["validation"]}
    assert {q.id for q in again.splits["train"]} != {q.id for q in task.splits["train"]}


@pytest.mark.usefixtures("cache")
def test_the_hub_is_asked_for_the_main_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str]] = []

    def load_dataset(name: str, configuration: str | None, split: str) -> list[dict[str, str]]:
        asked.append((name, configuration, split))
        if name != "openai/gsm8k":
            raise ConnectionError("no route\nto the hub")
        rows = [{"question": f"{i}?", "answer": f"It is <<{i}+0={i}>>{i}.\n#### {i}"} for i in range(30)]
        return {"train": rows, "test": [{"question": "x?", "answer": "It is 1.\n#### 1"}]}[split]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert [len(its) for its in gsm8k().splits.values()] == [14, 13, 3, 1]
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    with pytest.raises(
        UserError, match=r"some/folder@main is no file .*and as a data set .*no route.* 'gsm8k' .* a folder"
    ):
        gsm8k(data="some/folder")


@pytest.mark.usefixtures("cache")
def test_mistakes_about_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"task\.data: there is no folder '\.\./nowhere'; .* it must hold train\.jsonl"):
        gsm8k(data="../nowhere")
    datasets = pytest.importorskip("datasets")
    (tmp_path / "half").mkdir()
    datasets.Dataset.from_list([{"question": "1?", "answer": "#### 1"}]).to_parquet(
        str(tmp_path / "half/train.parquet")
    )
    with pytest.raises(UserError, match=r"half has no split 'test'; known are train\. .* the splits train and test"):
        gsm8k(data=tmp_path / "half")
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = r'needs `datasets`, which is not installed; run `pip install "manyminds\[data\]"`'
    with pytest.raises(UserError, match=said):
        gsm8k()
