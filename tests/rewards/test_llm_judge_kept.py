"""What a judge said is kept in a run's folder, or in a file that the recipe names; else a note says that it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chat_server import ChatServer, serving
from judging import RECIPE, by_length, judge, scores
from manyminds.config import Recipe, parse
from manyminds.errors import UserError
from manyminds.loading import load
from manyminds.rewards.llm_judge import KEPT
from manyminds.run import train
from manyminds.warmup import warmup

pytest.importorskip("openai")


def test_the_same_is_asked_once_and_kept_for_a_run_that_goes_on(tmp_path: Path) -> None:
    with serving(answer=by_length) as server:
        its = judge(server, tmp_path)
        assert scores(its, "#2", "#2", "#33") == [0.5, 0.5, 0.0]
        assert scores(its, "#33", "#2") == [0.0, 0.5]
        assert len(server.requests) == 2
        server.answer = lambda body: "1"
        assert scores(judge(server, tmp_path), "#2", "#33", "#444") == [0.5, 0.0, 1.0]
        assert len(server.requests) == 3
        assert scores(judge(server, tmp_path, options={"temperature": 1}), "#2") == [1.0]  # another judge
    lines = [json.loads(line) for line in (tmp_path / KEPT).read_text().splitlines()]
    assert [line["tokens"] for line in lines] == [13, 13, 8, 8]  # 7 of the prompt, the words of the reply
    assert len({line["key"] for line in lines}) == 4


def test_a_torn_line_is_asked_again(tmp_path: Path) -> None:
    with serving(answer=by_length) as server:
        scores(judge(server, tmp_path), "#2", "#3")
        kept = (tmp_path / KEPT).read_bytes()
        (tmp_path / KEPT).write_bytes(kept[:-20])
        assert scores(judge(server, tmp_path), "#2", "#3") == [0.5, 0.5]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "row",
    [
        '{"question": "1+1", "answer": "2"}',
        '{"by": "a", "key": "b", "reply": "c"}',
        '{"by": "a", "key": "b", "reply": "c", "tokens": "7"}',
        '{"by": "a", "key": "b", "reply": null, "tokens": 7}',
        '{"by": "a", "key": ["b"], "reply": "c", "tokens": 7}',
        "[1]",
        "7",
    ],
)
def test_a_row_of_another_file_is_refused_by_its_place(row: str, tmp_path: Path) -> None:
    with serving(answer=by_length) as server:
        file = tmp_path / "judge.jsonl"
        scores(judge(server, cache=str(file)), "#2")
        file.write_text(f"{file.read_text()}\n{row}\n")  # one line is blank
        with pytest.raises(UserError) as error:
            judge(server, cache=str(file))
    assert str(error.value) == (
        f"rewards.cache: {file} line 3 is no reply of a judge: it must be an object with the texts `by`, `key` and "
        "`reply` and the whole number `tokens`; take the line out, or name another file with `cache`"
    )


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "judge.jsonl").write_text('{"by"\n{}\n')
    with serving(answer=by_length) as server:
        with pytest.raises(UserError, match=r"rewards\.cache: .*judge\.jsonl line 1 is not JSON"):
            judge(server, cache=str(tmp_path / "judge.jsonl"))
        with pytest.raises(UserError, match=r"rewards\.cache: cannot read .*directory"):
            judge(server, cache=str(tmp_path))
        with pytest.raises(UserError, match=r"cannot write to the folder .*judge\.jsonl"):
            scores(judge(server, cache=str(tmp_path / "judge.jsonl" / "inside.jsonl")), "#2")


def test_outside_a_run_a_named_file_keeps_what_was_said_and_without_one_a_note_says_so(tmp_path: Path) -> None:
    with serving(answer=by_length) as server:
        its = judge(server, **{"as": "style"})
        assert its.rewards[1].notes == (
            "the reward 'style' keeps its replies in no file here, so the same answers will be paid for again next "
            "time; `cache: judge.jsonl` in its entry keeps them for every command",
        )
        assert judge(server, tmp_path).rewards[1].notes == ()
        for _ in range(2):  # two commands
            named = judge(server, cache=str(tmp_path / "new" / "judge.jsonl"), max_calls=1)
            assert named.rewards[1].notes == ()
            assert scores(named, "#2") == [0.5]
        assert scores(named, "#3") == [None]  # they share the budget too
        assert len(server.requests) == 1


def test_what_is_loaded_without_a_folder_tells_of_a_verifier_that_keeps_nothing(tmp_path: Path) -> None:
    entry = {"name": "llm_judge", "url": "http://here/v1", "model": "m"}

    def told(rewards: list[Any], folder: Path | None = None) -> bool:
        return any("in no file" in note for note in load(parse({**RECIPE, "rewards": rewards}), "tiny", folder).notes)

    assert told([entry])
    assert not told([entry], tmp_path)
    assert not told([{**entry, "cache": str(tmp_path / "judge.jsonl")}])
    assert not told(["exact_answer", entry])  # it is not asked


def test_a_run_keeps_what_was_said_beside_its_metrics(tmp_path: Path) -> None:
    def recipe(server: ChatServer, arm: str) -> Recipe:
        entry = {"name": "llm_judge", "url": server.url, "model": "fake", "weight": 0.5, "max_calls": 5}
        return parse({**RECIPE, "rewards": ["exact_answer", entry], "output": str(tmp_path), "arm": arm})

    told: list[str] = []

    def watch(what: str, step: int, steps: int, data: Any) -> None:
        told.extend([data["text"]] if what == "note" else [])

    with serving(answer=by_length) as server:
        result = train(recipe(server, "one"), watch=watch)
    assert len(server.requests) == 5
    assert len((result.folder / KEPT).read_text().splitlines()) == 5
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["rewards/llm_judge/unanswered"] < 1
    assert any("budget of 5 calls" in note for note in told)


def test_a_run_that_goes_on_finds_the_scores_it_had(tmp_path: Path) -> None:
    def lines(folder: Path) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{name: its for name, its in line.items() if name != "step_time"} for line in found]

    with serving(answer=by_length) as server:
        entry = {"name": "llm_judge", "url": server.url, "model": "fake", "weight": 0.5}
        rewards = {"rewards": ["exact_answer", entry], "output": str(tmp_path), "checkpoint": {"every": 1}}
        folder = train(parse({**RECIPE, **rewards})).folder
        before, asked = lines(folder), len(server.requests)
        assert {line["rewards/llm_judge/unanswered"] for line in before} == {0.0}
        assert asked > 2
        (folder / "result.json").unlink()
        shutil.rmtree(folder / "checkpoints" / "step-000002")
        server.answer = lambda body: "1"  # whom it would ask again now says something else
        train(parse({**RECIPE, **rewards}), resume=True)
        assert lines(folder) == before
        assert len(server.requests) == asked


def test_a_warm_up_keeps_the_verdicts_on_its_validation_questions(tmp_path: Path) -> None:
    with serving(answer=by_length) as server:
        verifier = {"name": "llm_judge", "url": server.url, "model": "fake"}
        task = {"name": "arithmetic", "warmup": 4, "train": 4, "validation": 2, "test": 2}
        section = {"steps": 1, "rows_per_step": 2, "optimizer": {"schedule": {"decay_steps": 1}}}
        recipe = {**RECIPE, "task": task, "rewards": [verifier], "warmup": section, "output": str(tmp_path)}
        folder = warmup(parse(recipe)).folder
    assert len((folder / KEPT).read_text().splitlines()) == len(server.requests) > 0
