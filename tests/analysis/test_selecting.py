"""Which answers are chosen, by each rule; and that what is written is what a recipe reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from analysis.made import sample
from manyminds.analysis.selecting import choose, read_samples, write_traces
from manyminds.cli import app
from manyminds.errors import UserError
from manyminds.shipped import HERE
from manyminds.tasks import load_task

EXAMPLES = Path(__file__).parents[2] / "examples"
HEAD = {"set": "warmup", "model": "runs/m"}


def row(question: str, expert: str, number: int, correct: bool | None, **values: Any) -> dict[str, Any]:
    return asdict(sample(question, expert, number, correct, **values)) | HEAD


ROWS = [
    row("q1", "a", 0, False, text="w", entropy=9.0, branching=9.0),
    row("q1", "a", 1, True, text="low", entropy=0.1, branching=2.0),
    row("q1", "a", 2, True, text="high", entropy=0.3, branching=1.5),
    row("q1", "a", 3, True, text="cut", entropy=8.0, branching=8.0, finish="length"),
    row("q2", "a", 0, True, text="only", entropy=0.2, branching=1.1),
    row("q3", "a", 0, False, text="bad 1"),
    row("q3", "a", 1, False, text="bad 2"),
    row("q1", "b", 0, True, text="b", entropy=0.0, branching=1.0),
]


@pytest.mark.parametrize(
    ("by", "texts"), [("first", "low only b"), ("entropy", "high only b"), ("branching", "low only b")]
)
def test_one_right_answer_a_prompt(by: Any, texts: str) -> None:
    chosen = choose(ROWS, by)
    assert {one["text"] for one in chosen.right} == set(texts.split())
    assert len(chosen.right) == 3
    assert chosen.wrong == ()
    assert chosen.prompts == 4
    assert [one["text"] for one in chosen.available] == ["low", "high", "only", "b"]


def test_keeping_the_highest_of_each_expert() -> None:
    assert {one["text"] for one in choose(ROWS, "entropy", keep=0.5).right} == {"high", "b"}
    assert {one["text"] for one in choose(ROWS, "branching", keep=0.5).right} == {"low", "b"}
    drawn = {tuple(one["text"] for one in choose(ROWS, keep=0.5, seed=seed).right) for seed in range(20)}
    assert drawn == {("low", "b"), ("only", "b")}
    assert choose(ROWS, keep=0.5, seed=3) == choose(ROWS, keep=0.5, seed=3)


def many(solved: int, failed: int) -> list[dict[str, Any]]:
    rows = [row(f"s{i}", "a", j, j == 1, text=f"{i}-{j}") for i in range(solved) for j in range(2)]
    return rows + [row(f"f{i}", "a", 0, False, text=f"bad {i}") for i in range(failed)]


@pytest.mark.parametrize(
    ("keep", "of", "count"),
    [(0.55, 100, 55), (0.07, 100, 7), (0.14, 50, 7), (0.551, 100, 56), (1e-12, 100, 1), (1, 7, 7)],
)
def test_a_share_that_is_a_whole_number_is_kept_as_it_is(keep: float, of: int, count: int) -> None:
    assert len(choose(many(of, 0), keep=keep).right) == count


@pytest.mark.parametrize(("solved", "wrong", "count"), [(95, 0.05, 5), (19, 0.05, 1), (50, 0.5, 50), (3, 0.0, 0)])
def test_a_share_of_wrong_ones_is_mixed_in(solved: int, wrong: float, count: int) -> None:
    chosen = choose(many(solved, 200), wrong=wrong)
    assert len(chosen.right) == solved
    assert len(chosen.wrong) == count
    assert all(one["id"].startswith("f") and not one["correct"] for one in chosen.wrong)


def test_without_failed_questions_wrong_ones_take_the_place_of_right_ones() -> None:
    chosen = choose(many(100, 1), wrong=0.1)
    assert len(chosen.right) + len(chosen.wrong) == 101
    assert len(chosen.wrong) == 10
    assert not {one["id"] for one in chosen.right} & {one["id"] for one in chosen.wrong}


def test_bad_shares_and_nothing_right() -> None:
    with pytest.raises(UserError, match=r"--wrong: 1 is no share"):
        choose(ROWS, wrong=1)
    with pytest.raises(UserError, match=r"--keep: 0 is no share"):
        choose(ROWS, keep=0)
    with pytest.raises(UserError, match="no answer is right"):
        choose([ROWS[0]])


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def test_an_answer_without_a_verdict_is_not_wrong(tmp_path: Path) -> None:
    rows = many(4, 0) + [row(f"u{i}", "a", 0, None, text="?") for i in range(9)]
    chosen = choose(read_samples(written(tmp_path / "s.jsonl", rows)), wrong=0.5)
    assert {one["correct"] for one in chosen.wrong} == {False}
    assert (chosen.prompts, len(chosen.wrong)) == (4, 2)
    with pytest.raises(UserError, match="line 1: `correct` is missing"):
        read_samples(written(tmp_path / "s.jsonl", [{key: rows[0][key] for key in rows[0] if key != "correct"}]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"set": "test"}, "is an answer to a test question"),
        ({"correct": 1}, "`correct` is missing or is not true, false or null"),
        ({"entropy": float("nan")}, "`entropy` is missing or is not a finite number"),
        ({"text": None}, "`text` is missing or is not text"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=rf"s.jsonl line 2: {why}"):
        read_samples(written(tmp_path / "s.jsonl", [ROWS[0], ROWS[1] | change]))


def test_no_file_an_empty_one_and_a_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_samples(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match="holds no answer"):
        read_samples(written(tmp_path / "s.jsonl", []))
    with pytest.raises(UserError, match="line 1: `id` is missing"):
        read_samples(written(tmp_path / "s.jsonl", [[1]]))


def test_a_recipe_reads_what_was_written(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "question": f"{i}+1", "answer": str(i + 1)} for i in range(1, 9)]
    written(tmp_path / "q.jsonl", rows)
    samples = [
        row(f"q{i}", name, 0, i < 7, text=f"so it is #### {i + 1 + (i > 6)}") for i in range(1, 9) for name in "ab"
    ]
    assert write_traces(choose(samples, wrong=0.2), tmp_path / "made" / "t.jsonl") == 15
    task = load_task("jsonl", None, None, questions=tmp_path / "q.jsonl", experts_file=tmp_path / "made" / "t.jsonl")
    traces = {q.id: q.traces for its in task.splits.values() for q in its}
    assert {trace.reward for trace in traces["q1"].values()} == {1.0}
    assert sum(trace.reward == 0.0 for its in traces.values() for trace in its.values()) == 3
    assert traces["q1"]["a"].text == "so it is #### 2"
    assert "runs/m" in task.licence
    with pytest.raises(UserError, match="is there already"):
        write_traces(choose(samples), tmp_path / "made" / "t.jsonl")


def test_the_command(tmp_path: Path) -> None:
    written(tmp_path / "s.jsonl", many(19, 3))
    out = tmp_path / "t.jsonl"
    done = CliRunner().invoke(
        app, ["select", str(tmp_path / "s.jsonl"), str(out), "--by", "branching", "--wrong", "0.05", "--json"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["rows"], told["wrong"], told["prompts"]) == (20, 0.05, 22)
    assert [one["count"] for one in told["answers"]] == [19, 19, 1]
    assert sum(not json.loads(line)["correct"] for line in out.read_text().splitlines()) == 1
    again = CliRunner().invoke(app, ["select", str(tmp_path / "s.jsonl"), str(out)])
    assert again.exit_code == 2
    assert again.stderr.startswith("error: ")
    shown = CliRunner().invoke(app, ["select", str(tmp_path / "s.jsonl"), str(tmp_path / "u.jsonl"), "--wrong", "0.05"])
    assert "5.0 % of them wrong" in shown.stdout
    assert "warmup.only_correct=false" in shown.stdout


def test_what_was_chosen_under_the_plain_prompt_is_taught_to_it(tmp_path: Path) -> None:
    """The recipe that the note asks for trains; without an `experts` section the file is refused."""
    rows = [json.loads(text) for text in (EXAMPLES / "data" / "sums.jsonl").read_text().splitlines()[:30]]
    samples = [row(one["id"], "plain", 0, True, text=f"# {one['answer']}") | {"model": "runs/m"} for one in rows]
    written(tmp_path / "s.jsonl", samples)
    chosen = CliRunner().invoke(app, ["select", str(tmp_path / "s.jsonl"), str(tmp_path / "t.jsonl"), "--json"])
    assert chosen.exit_code == 0, chosen.output
    assert "note: the answers under the plain prompt" in chosen.stderr
    experts = chosen.stderr.strip().rpartition(": experts: ")[2]
    its = yaml.safe_load((EXAMPLES / "sums.yaml").read_text())
    del its["experts"], its["collect"]
    its |= {"model": str(HERE / "mef" / "checkpoints" / "step-001400" / "model"), "output": str(tmp_path)}
    its["task"] |= {"questions": str(written(tmp_path / "q.jsonl", rows)), "experts_file": str(tmp_path / "t.jsonl")}
    its["warmup"] |= {"steps": 1, "rows_per_step": 2, "optimizer": {"lr": 1e-4}}
    its |= {"method": {"name": "grpo"}, "sampling": {"max_tokens": 4}, "evaluation": {"samples": 2, "group": 2}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(its))
    done = CliRunner().invoke(app, ["warmup", str(tmp_path / "r.yaml"), f"experts={experts}"])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(app, ["warmup", str(tmp_path / "r.yaml"), "name=other"])
    assert refused.exit_code == 2
    assert "an expert may not be named 'plain'" in refused.stderr
