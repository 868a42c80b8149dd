"""A user's data through the command line: what is wrong is one sentence and exit code 2; what is odd is a note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from manyminds.cli import app

GOOD = [{"question": f"{i}+{i}", "answer": str(2 * i), "solution": f"{i}+{i}={2 * i}"} for i in range(10, 34)]
LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "pairs": GOOD,
    "prompt": [{"prompt": one["question"], "answer": one["answer"], "level": 1} for one in GOOD],
    "verl": [
        {
            "data_source": "sums",
            "prompt": [{"role": "user", "content": one["question"]}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": one["answer"]},
            "extra_info": {"split": "train", "index": i, "answer": f"{one['solution']}\n#### {one['answer']}"},
        }
        for i, one in enumerate(GOOD)
    ],
    "messages": [
        {"messages": [{"role": "user", "content": one["question"]}], "ground_truth": one["answer"], "dataset": "sums"}
        for one in GOOD
    ],
}


def run(*arguments: str) -> Any:
    """What a command printed and how it ended; an error that is no user's mistake is raised."""
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, with a recipe that reads mine.jsonl."""
    monkeypatch.chdir(tmp_path)
    recipe = {
        "name": "mine",
        "model": "tiny",
        "task": {"name": "jsonl", "questions": "mine.jsonl"},
        "experts": [{"name": "a", "system": "You are the concise expert."}, {"name": "b"}],
        "method": {"name": "grpo", "questions_per_step": 1, "answers_per_prompt": 2},
        "steps": 1,
        "sampling": {"max_tokens": 60},
        "engine": {"answers_at_once": 8, "tokens_at_once": 512},
        "evaluation": {"every": 1, "questions": 2, "samples": 2, "group": 2},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_well(there: Path, layout: str) -> None:
    (there / "mine.jsonl").write_text(lines(LAYOUTS[layout]))
    done = run("check", "mine.yaml")
    assert done.exit_code == 0, done.stderr
    noted = layout != "pairs"
    assert done.stdout.endswith(f"All is well{', but for what the note above says' if noted else ''}.\n")
    assert ("note: mine.jsonl:" in done.stdout) == noted


LAST = lines(GOOD[:-1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (LAST.encode() + b'{"question": "caf\xe9"}\n', "mine.jsonl:24: byte 18 of the line (0xe9) is not UTF-8"),
        (LAST.encode() + b'{"question": "1+1", "ans', "mine.jsonl:24: the last line is not valid JSON"),
        (b"", "task.questions: mine.jsonl is empty"),
        (lines([{"id": "x", **GOOD[0]}, {"id": "x", **GOOD[1]}]).encode(), "mine.jsonl:2: the id 'x' is also that"),
        (LAST.encode() + b'{"question": "1+1", "answer": NaN}\n', "mine.jsonl:24: `answer` is nan"),
        (LAST.encode() + b'{"question": "1+1", "answer": null}\n', "mine.jsonl:24: `answer` is null"),
        (LAST.encode() + b'{"question": "1+1", "answer": ["2"]}\n', 'mine.jsonl:24: `answer` must be text'),
        (LAST.encode() + b'{"question": "1+1", "answer": {"a": 2}}\n', 'a number, not {"a": 2}'),
        (lines([{"problem": "1+1", "gold": "2"}]).encode(), "task.columns: {question: problem, answer: gold}"),
    ],
    ids=["not utf-8", "half a line", "empty", "one id twice", "nan", "null", "list", "nested", "no layout"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["check", "train"])
def test_bad_rows_are_one_sentence(there: Path, command: str, data: bytes, said: str) -> None:
    (there / "mine.jsonl").write_bytes(data)
    done = run(command, "mine.yaml")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (there / "runs").exists()


def test_a_byte_order_mark_is_no_mistake(there: Path) -> None:
    (there / "mine.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(GOOD).encode())
    assert run("check", "mine.yaml").exit_code == 0


def test_places_that_cannot_be_read(there: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(GOOD).to_parquet("mine.parquet")
    (there / "cut.parquet").write_bytes((there / "mine.parquet").read_bytes()[:200])
    (there / "empty").mkdir()
    for place, said in (
        ("cut.parquet", "cut.parquet cannot be read as parquet beyond row 0"),
        ("empty", "the folder empty holds no data files"),
        ("no/where", "no/where is no file or folder here, and as a data set of the hub it cannot be read"),
    ):
        done = run("check", "mine.yaml", f"task.questions={place}")
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
    assert run("check", "mine.yaml", "task.questions=mine.parquet").exit_code == 0


def test_a_gold_that_cannot_be_read_is_found_by_check_and_told_by_train(there: Path) -> None:
    (there / "mine.jsonl").write_text(lines([*GOOD, {"question": "1+1", "answer": "2\nor so"}]))
    done = run("check", "mine.yaml")
    assert done.exit_code == 2
    assert "mine.jsonl:25: exact_answer gives the gold answer" in done.stderr
    done = run("train", "mine.yaml", "steps=0", "sampling.max_tokens=4")
    assert done.exit_code == 0, done.stderr
    assert (
        "note: The gold answer is not read back out of a response in 1 of 25 rows, such as mine.jsonl:25" in done.stderr
    )


def test_what_is_too_long_is_left_out_and_told(there: Path) -> None:
    long = {"question": "1" * 300, "answer": "1"}
    (there / "mine.jsonl").write_text(lines([*GOOD, long]))
    (there / "test.jsonl").write_text(
        lines([{"question": "2+2", "answer": "4"}, {"question": "2" * 200, "answer": "1"}])
    )
    done = run("check", "mine.yaml", "task.test=test.jsonl", "task.shares={train: 0.9, validation: 0.1}", "--json")
    assert done.exit_code == 0
    (note,) = json.loads(done.stdout)["notes"]
    assert note == (
        "Questions left out as their prompts are too long: 1 of 22 in train, 1 of 2 in test. The longest has 303 "
        "tokens (mine.jsonl:25), but the model's context of 256 leaves 196 beside `max_tokens`=60 for the answer."
    )
    done = run("train", "mine.yaml", "sampling.max_tokens=253")
    assert done.exit_code == 2
    assert "task.train: none of the 20 prompts fits; the shortest has " in done.stderr
    assert not (there / "runs").exists()


def test_a_column_called_family_may_hold_anything(there: Path) -> None:
    """The embedded task's own extra of this name goes into the evaluation's file; a user's need not be text."""
    rows = [{**one, "family": {"a": float("nan")}} for one in GOOD]
    (there / "mine.jsonl").write_text(lines(rows))
    done = run("train", "mine.yaml", "steps=0", "sampling.max_tokens=4")
    assert done.exit_code == 0, done.stderr


def test_a_method_that_needs_solutions_goes_on_where_one_is_too_long(there: Path) -> None:
    long = {"question": "9+9", "answer": "18", "solution": "9+9=18" * 50}
    (there / "mine.jsonl").write_text(lines([*GOOD, long]))
    meml = "method={name: meml_grpo, hard_capacity: 2}"
    done = run("check", "mine.yaml", meml, "task.shares={train: 0.8, validation: 0.1, test: 0.1}")
    assert done.exit_code == 0, done.stderr
    assert "1 of 25 worked solutions" in done.stdout
