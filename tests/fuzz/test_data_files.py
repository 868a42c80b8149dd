"""Files of questions, worked answers and pairs with mistakes of every kind: read, or a sentence with file and line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from fuzzing import as_json, fuzz, plain_values, refused, spoilt, torn, values
from manyminds.errors import UserError
from manyminds.experts.wanted import read_answers
from manyminds.maths.pairs import read_pairs
from manyminds.tasks import load_task

PAIRS = [{"question": f"{i}+{i}", "answer": str(2 * i), "solution": f"= {2 * i}", "id": f"q{i}"} for i in range(12)]
TRL = [{"prompt": [{"role": "user", "content": one["question"]}], "answer": one["answer"], "level": 1} for one in PAIRS]
VERL = [
    {
        "data_source": "sums",
        "prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": one["question"]}],
        "reward_model": {"style": "rule", "ground_truth": one["answer"]},
        "extra_info": {"index": i, "answer": f"so\n#### {one['answer']}"},
    }
    for i, one in enumerate(PAIRS)
]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": one["question"]},
            {"role": "assistant", "content": one["answer"]},
            {"role": "user", "content": "Again?"},
            {"role": "assistant", "content": f"#### {one['answer']}"},
        ],
        "ground_truth": [one["answer"]],
    }
    for one in PAIRS
]
TRACES = [
    {"id": f"q{i}", "expert": name, "solution": f"#### {2 * i}", "correct": True, "final_answer": "2", "origin": "me"}
    for i in range(12)
    for name in ("a", "b")
]
ANSWERS = [
    {
        **{
            "id": f"q{i}",
            "expert": "a",
            "sample": 0,
            "asked": "0123",
            "model": "m",
            "text": "#### 4",
            "finish": "stop",
        },
        **{"prompt_tokens": 3, "completion_tokens": 4},
    }
    for i in range(4)
]
LABELLED = [
    {"gold": "1/2", "prediction": "0.5", "expected_equal": True, "kind": "fraction", "tier": "clear"},
    {"gold": "3", "prediction": "4", "expected_equal": False, "kind": None, "tier": "hard"},
    {"gold": "x", "prediction": "so \\boxed{x}"},
]
COLUMNS = ({}, {"answer": "ground_truth.0"}, {"answer": {"column": "extra_info.answer", "after": "####"}})


def lines(rows: list[Any]) -> str:
    return "".join(as_json(row) + "\n" for row in rows)


def asked(place: Path, name: str, columns: Any = None, **more: Any) -> None:
    options = {"columns": columns} if columns else {}
    load_task("jsonl", questions=str(place / name), **options, **more)


@pytest.mark.parametrize("rows", [PAIRS, TRL, VERL, CHATS], ids=["pairs", "trl", "verl", "chats"])
def test_what_the_others_are_made_from_is_valid(rows: list[Any], tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(lines(rows))
    (tmp_path / "p.jsonl").write_text(lines(PAIRS))
    (tmp_path / "t.jsonl").write_text(lines(TRACES))
    (tmp_path / "a.jsonl").write_text(lines(ANSWERS))
    asked(tmp_path, "q.jsonl", COLUMNS[1] if rows is CHATS else None)
    asked(tmp_path, "p.jsonl", experts_file=str(tmp_path / "t.jsonl"))
    assert len(read_answers(tmp_path / "a.jsonl")) == 4


wholes = st.sampled_from([PAIRS, TRL, VERL, CHATS])


@fuzz(
    "rows", st.tuples(spoilt(wholes, most=3), st.sampled_from([".jsonl", ".json", ".ndjson"]), st.sampled_from(COLUMNS))
)
def test_rows(case: tuple[Any, str, Any], place: Path) -> None:
    """Rows whose columns are gone, misspelt, new, or hold something else, ids that are there twice."""
    (rows, _), ending, columns = case
    file = place / f"q{ending}"
    file.write_text(json.dumps(rows, default=str) if ending == ".json" else lines(rows), encoding="utf-8")
    refused(lambda: asked(place, file.name, columns), file.name, "task.columns", "task.")


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    rows = draw(wholes)
    ending = draw(st.sampled_from([".jsonl", ".json", ".parquet", ".ndjson"]))
    text = json.dumps(rows) if ending == ".json" and draw(st.booleans()) else lines(rows)
    return f"q{ending}", draw(torn(text.encode()))


@fuzz("data bytes", files())
def test_bytes(case: tuple[str, bytes], place: Path) -> None:
    """Files that are empty, half written, flipped, or in another encoding."""
    name, data = case
    (place / name).write_bytes(data)
    refused(lambda: asked(place, name), name, "task.")


def broken(rows: list[Any]) -> st.SearchStrategy[bytes]:
    """A file of these rows with other values, or after an accident."""
    return st.one_of(spoilt(st.just(rows)).map(lambda its: lines(its[0]).encode()), torn(lines(rows).encode()))


@fuzz("pairs", broken(LABELLED))
def test_pairs(data: bytes, place: Path) -> None:
    """What `manyminds verify --pairs` reads."""
    file = place / "pairs.jsonl"
    file.write_bytes(data)
    refused(lambda: [str(pair).encode() for pair in read_pairs(file)], "pairs.jsonl")


@fuzz("worked answers", broken(TRACES))
def test_worked_answers(data: bytes, place: Path) -> None:
    """The file of the experts."""
    if not (place / "q.jsonl").exists():
        (place / "q.jsonl").write_text(lines(PAIRS))
    file = place / "t.jsonl"
    file.write_bytes(data)
    refused(partial(asked, place, "q.jsonl", experts_file=str(file)), "t.jsonl")


@fuzz("collected answers", broken(ANSWERS))
def test_collected_answers(data: bytes, place: Path) -> None:
    """The file in which `manyminds collect` keeps answers."""
    file = place / "t.answers.jsonl"
    file.write_bytes(data)
    refused(lambda: read_answers(file), "t.answers.jsonl")


@pytest.mark.parametrize("value", [plain_values, values], ids=["plain", "nested"])
def test_values_are_of_many_kinds(value: st.SearchStrategy[Any]) -> None:
    """So that nobody narrows the strategies without noticing."""
    from hypothesis import find

    for kind in (type(None), bool, int, float, str):
        find(value, lambda one, kind=kind: type(one) is kind)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"gold": "\ud800", "prediction": "1"}, r"p\.jsonl:1: `gold` holds half a character \(\\ud800\); mend it"),
        ({"gold": "1", "prediction": "1", "kind": "\udfff"}, r"p\.jsonl:1: `kind` holds half a character"),
        ({"gold": 1, "prediction": "1"}, r"p\.jsonl:1: `gold` must be there and hold text"),
    ],
)
def test_a_pair_that_could_not_be_printed(tmp_path: Path, row: Any, said: str) -> None:
    (tmp_path / "p.jsonl").write_text(lines([row]))
    with pytest.raises(UserError, match=said):
        read_pairs(tmp_path / "p.jsonl")


def test_a_file_of_one_line_has_no_question_for_every_set(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(lines(PAIRS[:1]))
    with pytest.raises(UserError, match=r"task\.validation: this set has no question; name a file, or give `ques"):
        asked(tmp_path, "q.jsonl")


def test_a_row_that_is_nested_too_deep(tmp_path: Path) -> None:
    deep = '{"question": "1+1", "answer": "2", "more": ' + "[" * 90 + "]" * 90 + "}"
    (tmp_path / "q.jsonl").write_text(lines(PAIRS) + deep + "\n")
    with pytest.raises(UserError, match=r"q\.jsonl:13: the row is nested deeper than 64 levels; take some out"):
        asked(tmp_path, "q.jsonl")


@pytest.mark.parametrize("part", ["²", "9" * 5000, "-1"])
def test_a_path_whose_digits_are_no_number(tmp_path: Path, part: str) -> None:
    (tmp_path / "q.jsonl").write_text(lines(CHATS))
    with pytest.raises(UserError, match=r"task\.columns\.answer: .* has no `ground_truth\."):
        asked(tmp_path, "q.jsonl", {"answer": f"ground_truth.{part}"})


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a/" * 3000])
def test_a_place_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"task\.questions: there is no file or folder"):
        load_task("jsonl", questions=name)


def test_an_expert_of_the_file_that_has_the_name_of_the_plain_prompt(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(lines(PAIRS))
    (tmp_path / "t.jsonl").write_text(lines([{**TRACES[0], "expert": "plain"}]))
    with pytest.raises(UserError, match=r"t\.jsonl:1: an expert may not be named 'plain'"):
        asked(tmp_path, "q.jsonl", experts_file=str(tmp_path / "t.jsonl"))


def test_a_collected_answer_of_another_kind_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines([ANSWERS[0], {**ANSWERS[1], "id": ["q1"]}]))
    with pytest.raises(UserError, match=r"a\.jsonl: holds other rows than collected answers, first in line 2"):
        read_answers(tmp_path / "a.jsonl")
