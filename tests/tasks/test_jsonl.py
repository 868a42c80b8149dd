"""A user's own questions: what is read, how it is divided, and what is said of every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manyminds.config import parse
from manyminds.errors import UserError
from manyminds.loading import load_questions
from manyminds.records import Expert, Question
from manyminds.rewards import Judge
from manyminds.sections import RewardConfig
from manyminds.tasks import load_task
from manyminds.tasks.jsonl import SHARES, after_marker, jsonl

Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def some(n: int, start: int = 0) -> Rows:
    return [{"id": f"q{i}", "question": f"What is {i}+1?", "answer": i + 1} for i in range(start, start + n)]


def ids(questions: tuple[Question, ...]) -> set[str]:
    return {q.id for q in questions}


def test_one_file_is_divided_by_shares(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", some(50))
    task = load_task("jsonl", questions=path, shares=SHARES, seed=3)
    assert {name: len(qs) for name, qs in task.splits.items()} == {
        "warmup": 20,
        "train": 20,
        "validation": 5,
        "test": 5,
    }
    assert set().union(*(ids(qs) for qs in task.splits.values())) == {f"q{i}" for i in range(50)}
    assert jsonl(questions=path, shares=SHARES, seed=3).splits == task.splits
    assert jsonl(questions=path, shares=SHARES, seed=4).splits != task.splits
    by_id = {q.id: q for qs in task.splits.values() for q in qs}
    assert by_id["q7"].answer == "8"
    assert by_id["q7"].source == f"{path}:8"


def test_equal_texts_stay_together(tmp_path: Path) -> None:
    rows = [{"question": f"Q{i % 10}", "answer": "1"} for i in range(40)]
    path = write(tmp_path / "mine.jsonl", rows)
    for seed in range(5):
        splits = jsonl(questions=path, seed=seed).splits
        assert sorted(len({q.text for q in qs}) for qs in splits.values()) == [0, 1, 1, 8]
        assert sum(map(len, splits.values())) == 40
    assert "mine:1" in set().union(*(ids(qs) for qs in splits.values()))


def test_without_worked_answers_no_question_waits_for_a_warm_up(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", some(50))
    traces = write(tmp_path / "traces.jsonl", [{"id": "q1", "expert": "a", "solution": "#### 2"}])
    bare, taught = jsonl(questions=path), jsonl(questions=path, experts_file=traces)
    assert {name: len(questions) for name, questions in bare.splits.items()} == {
        "warmup": 0,
        "train": 40,
        "validation": 5,
        "test": 5,
    }
    assert ids(bare.splits["train"]) == ids((*taught.splits["warmup"], *taught.splits["train"]))
    # What comes to be tested does not depend on whether somebody wrote worked answers.
    assert ids(bare.splits["validation"]) == ids(taught.splits["validation"])
    assert ids(bare.splits["test"]) == ids(taught.splits["test"])


def test_a_file_for_each_set(tmp_path: Path) -> None:
    files = {n: write(tmp_path / f"{n}.jsonl", some(3, 10 * i)) for i, n in enumerate(("train", "validation", "test"))}
    task = jsonl(**files)
    assert [len(task.splits[n]) for n in ("warmup", "train", "validation", "test")] == [0, 3, 3, 3]
    assert ids(task.splits["test"]) == {"q20", "q21", "q22"}
    # With `questions` besides, it goes to the sets that have no file.
    more = jsonl(questions=write(tmp_path / "more.jsonl", some(4, 100)), **files)
    assert ids(more.splits["warmup"]) == {"q100", "q101", "q102", "q103"}
    assert ids(more.splits["train"]) == ids(task.splits["train"])


def test_answers_are_read_after_the_marker() -> None:
    extract = after_marker("####")
    assert extract("so 3+4 = 7\n#### 7") == "7"
    assert extract("#### 7\n#### 8 \nthank you") == "8"
    assert extract("7") is None
    assert extract("#### ") is None


def test_solutions_state_their_answer_and_the_gold_scores(tmp_path: Path) -> None:
    rows = [row | {"solution": f"Count on: {row['answer']}."} for row in some(20)]
    rows[0]["solution"] = "One more.\n#### 1"
    task = jsonl(questions=write(tmp_path / "mine.jsonl", rows), answer_marker="####")
    every = [q for qs in task.splits.values() for q in qs]
    by_id = {q.id: q for q in every}
    assert by_id["q0"].solution == "One more.\n#### 1"
    assert by_id["q4"].solution == "Count on: 5.\n#### 5"
    assert Judge(task.rewards, task.extract).check(every, task.answer_form) == ()


TRACES: Rows = [
    {"id": "q1", "expert": "gpt", "solution": "two", "final_answer": "2"},
    {"id": "q1", "expert": "r1", "solution": "three", "correct": False},
    {"id": "q1", "expert": "r1", "solution": "two!", "correct": True},
    {"id": "q2", "expert": "gpt", "solution": "4", "final_answer": "4"},
    {"id": "q3", "expert": "gpt", "solution": "no idea", "correct": None},
]


def test_experts_file(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", some(20))
    traces = write(tmp_path / "traces.jsonl", TRACES)
    task = jsonl(questions=path, experts_file=traces)
    assert task.experts == (Expert("gpt", "You are the gpt expert."), Expert("r1", "You are the r1 expert."))
    by_id = {q.id: q for qs in task.splits.values() for q in qs}
    assert (by_id["q1"].traces["gpt"].text, by_id["q1"].traces["gpt"].reward) == ("two\n#### 2", 1.0)
    # The right one of two, and its answer is stated.
    assert (by_id["q1"].traces["r1"].text, by_id["q1"].traces["r1"].reward) == ("two!\n#### 2", 1.0)
    # A wrong one stays as it is and is known to be wrong; an unjudged one is None.
    assert (by_id["q2"].traces["gpt"].text, by_id["q2"].traces["gpt"].reward) == ("4", 0.0)
    assert by_id["q3"].traces["gpt"].reward is None
    assert by_id["q4"].traces == {}
    named = jsonl(questions=path, experts_file=traces, experts=(Expert("brief", None, teacher="gpt"),))
    brief = {q.id: q for qs in named.splits.values() for q in qs}["q1"]
    assert set(brief.traces) == {"brief"}
    assert brief.traces["brief"].source == "gpt"


def test_rows_without_ids_in_files_of_one_name(tmp_path: Path) -> None:
    places = {}
    for number, name in enumerate(("train", "validation", "test")):
        (tmp_path / name).mkdir()
        rows = [{"question": f"{name} {i}", "answer": i} for i in range(2 + number)]
        places[name] = write(tmp_path / name / "data.jsonl", rows)
    splits = jsonl(**places).splits
    assert [q.id for q in splits["test"]] == [f"test/data:{n}" for n in (1, 2, 3, 4)]


def test_worked_answers_without_a_verdict_are_judged_by_the_verifier(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [{"id": f"q{i}", "question": f"{i}", "answer": "1200"} for i in range(30)])
    said = {
        "q0": {"solution": "so #### 1,200"},
        "q1": {"solution": "so", "final_answer": "$1200.0"},
        "q2": {"solution": "so #### 12"},
        "q3": {"solution": "so #### 1,200", "correct": False},
        "q4": {"solution": "nothing is stated"},
    }
    rows = [{"id": name, "expert": "a", "origin": "model X", **its} for name, its in said.items()]
    traces = write(tmp_path / "t.jsonl", rows)

    def verdicts(rewards: tuple[str | RewardConfig, ...]) -> list[float | None]:
        task = jsonl(questions=path, experts_file=traces, rewards=rewards)
        by_id = {q.id: q for its in task.splits.values() for q in its}
        return [by_id[name].traces["a"].reward for name in said]

    assert verdicts(("number_answer",)) == [1.0, 1.0, 0.0, 0.0, None]
    assert verdicts(("exact_answer",)) == [0.0, 0.0, 0.0, 0.0, None]
    # A model that would have to be paid for each is not asked.
    asking = RewardConfig.model_validate({"name": "llm_judge", "url": "http://127.0.0.1:9/v1", "model": "m"})
    assert verdicts((asking,)) == [None, None, None, 0.0, None]
    recipe = {"task": {"name": "jsonl", "questions": str(path), "experts_file": str(traces), "licence": "CC0"}}
    named = {"name": "n", "model": "tiny", "method": {"name": "grpo"}, "rewards": ["number_answer"]}
    task = load_questions(parse(named | recipe))[0]
    right = {q.id: q.traces["a"].text for its in task.splits.values() for q in its if "a" in q.traces}
    assert right["q1"] == "so\n#### 1200"  # what is right and does not state its answer is taught to state it
    assert task.licence == "CC0; worked answers: model X"


def test_an_expert_without_any_trace(tmp_path: Path) -> None:
    path, traces = write(tmp_path / "mine.jsonl", some(20)), write(tmp_path / "traces.jsonl", TRACES)
    with pytest.raises(UserError, match=r"traces\.jsonl: there is no trace of expert 'qwen'; .* of gpt, r1"):
        jsonl(questions=path, experts_file=traces, experts=(Expert("gpt"), Expert("qwen")))
    with pytest.raises(UserError, match=r"there is no trace of expert 'a' \(teacher 'q'\)"):
        jsonl(questions=path, experts_file=traces, experts=(Expert("a", teacher="q"),))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"mine\.jsonl:2: not valid JSON"),
        ("[1]", r"mine\.jsonl:2: a row must be a JSON object, not \[1\]"),
        ('{"question": "x", "solution": "y"}', r"mine\.jsonl:2: the key `answer` is missing; .* question, solution"),
        ('{"question": "x", "answer": null}', r"mine\.jsonl:2: `answer` is null; it must hold text"),
        ('{"question": "x", "answer": NaN}', r"mine\.jsonl:2: `answer` is nan; it must hold text or a number"),
        ('{"question": "x", "answer": {"a": 1}}', r'mine\.jsonl:2: `answer` must be text or a number, not {"a": 1}'),
        (
            '{"question": "x", "answer": ["1", "2"]}',
            r'not the list \["1", "2"\]; if its first .* with answer.0 in `task',
        ),
        ('{"question": "x", "answer": "\\ud83d"}', r"mine\.jsonl:2: `answer` holds half a character \(\\ud83d\)"),
        ('{"question": "x", "answer": " "}', r"mine\.jsonl:2: `answer` is empty"),
        ('{"query": "x", "answer": "1"}', r"mine\.jsonl:2: the key `question` is missing; .* query, ans"),
        ('{"question": ["x"], "answer": "1"}', r'jsonl:2: turn 1 of `question` must have a `role` and .* not "x"'),
        ('{"question": "x", "answer": true}', r"mine\.jsonl:2: `answer` must be text or a number, not true"),
        (
            '{"id": "q0", "question": "x", "answer": "1"}',
            r"mine\.jsonl:2: the id 'q0' is also that of .*mine\.jsonl:1; ",
        ),
    ],
)
def test_bad_question_rows(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(some(1)[0]) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        jsonl(questions=path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "q99", "expert": "a", "solution": "s"}, r"t\.jsonl:1: there is no question with the id 'q99'; did you"),
        ({"id": "q1", "solution": "s"}, r"t\.jsonl:1: the key `expert` is missing; this row has id, solution"),
        ({"id": "q1", "expert": "a"}, r"t\.jsonl:1: the key `solution` is missing"),
        ({"id": "q1", "expert": "a", "solution": "s", "correct": "yes"}, r't\.jsonl:1: `correct` must be .* not "yes"'),
    ],
)
def test_bad_expert_rows(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "mine.jsonl", some(20))
    with pytest.raises(UserError, match=message):
        jsonl(questions=path, experts_file=write(tmp_path / "t.jsonl", [row]))


def test_bad_files(tmp_path: Path) -> None:
    good = write(tmp_path / "mine.jsonl", some(20))
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "latin.jsonl").write_bytes('{"question": "e"}\n{"question": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"task\.questions: there is no file .*none\.jsonl"):
        jsonl(questions=tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"task\.train: .*empty\.jsonl is empty"):
        jsonl(train=tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match=r"latin\.jsonl:2: byte 15 of the line \(0xe9\) is not UTF-8; save"):
        jsonl(questions=tmp_path / "latin.jsonl")
    with pytest.raises(UserError, match=r"task\.experts_file: .*empty\.jsonl is empty"):
        jsonl(questions=good, experts_file=tmp_path / "empty.jsonl")


def test_bad_options(tmp_path: Path) -> None:
    good = write(tmp_path / "mine.jsonl", some(20))
    same = write(tmp_path / "same.jsonl", [{"id": "z", "question": "What is 3+1?", "answer": "4"}])
    with pytest.raises(UserError, match=r"task\.train: this set has no question"):
        jsonl()
    with pytest.raises(UserError, match=r"task\.validation: this set has no question"):
        jsonl(train=good)
    with pytest.raises(UserError, match=r"task\.shares\.tests: there is no such set; did you mean 'test'\?"):
        jsonl(questions=good, shares={"tests": 1.0})
    with pytest.raises(UserError, match=r"task\.shares\.test is -1\.0"):
        jsonl(questions=good, shares={"test": -1.0})
    with pytest.raises(UserError, match=r"task\.shares: no set"):
        jsonl(questions=good, shares={})
    with pytest.raises(UserError, match=r"task\.answer_marker is empty"):
        jsonl(questions=good, answer_marker=" ")
    with pytest.raises(UserError, match=r"also in `train` .*mine\.jsonl:4"):
        jsonl(train=good, validation=write(tmp_path / "v.jsonl", some(2, 50)), test=same)


def test_parquet_and_the_other_layouts_come_through_too(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [
        {"prompt": [{"role": "user", "content": f"What is {i}+1?"}], "reward_model": {"ground_truth": str(i + 1)}}
        | {"data_source": "sums", "extra_info": {"index": i, "answer": f"{i}+1={i + 1}"}}
        for i in range(20)
    ]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "mine.parquet")
    task = jsonl(questions=tmp_path / "mine.parquet")
    by_id = {q.id: q for qs in task.splits.values() for q in qs}
    assert (by_id["mine:4"].text, by_id["mine:4"].answer) == ("What is 3+1?", "4")
    assert by_id["mine:4"].solution == "3+1=4\n#### 4"
    assert by_id["mine:4"].extras["extra_info"]["index"] == 3
    assert by_id["mine:4"].source == f"{tmp_path / 'mine.parquet'} row 4"
    (note,) = task.notes
    assert note.endswith(
        "mine.parquet: verl rows: the question is `prompt`, the gold answer `reward_model.ground_truth`, the worked "
        "solution `extra_info.answer`."
    )
    named = jsonl(questions=tmp_path / "mine.parquet", columns={"id": "extra_info.index", "solution": None})
    assert ids(named.splits["train"]) < {str(i) for i in range(20)}
    assert all(q.solution == "" for qs in named.splits.values() for q in qs)


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_conversations_are_equal_if_all_their_turns_are(tmp_path: Path) -> None:
    """A last turn such as `Go on.` says nothing of what is asked; a system message nothing of which question it is."""
    rows: Rows = [{"messages": turns(f"Story {i}.", "Yes?", "Go on."), "ground_truth": "1"} for i in range(8)]
    files = {
        name: write(tmp_path / f"{name}.jsonl", rows[i::3]) for i, name in enumerate(("train", "validation", "test"))
    }
    assert [len(jsonl(**files).splits[name]) for name in files] == [3, 3, 2]
    again = {"messages": [{"role": "system", "content": "S"}, *rows[0]["messages"]], "ground_truth": "1"}
    write(files["test"], [again])
    with pytest.raises(UserError, match=r"this question of `test` is also in `train`"):
        jsonl(**files)


def test_what_is_told_of_the_data(tmp_path: Path) -> None:
    assert jsonl(questions=write(tmp_path / "good.jsonl", some(20))).notes == ()
    said: Rows = [{"messages": turns(f"{i}+1?", f"It is {i + 1}."), "ground_truth": str(i + 1)} for i in range(20)]
    first, second = jsonl(questions=write(tmp_path / "said.jsonl", said)).notes
    assert first.endswith("the question is `messages`, the gold answer `ground_truth`.")
    assert second.startswith("Of 20 conversations 20 end with the assistant's answer: it is not asked but taken as")
    gsm: Rows = [{"question": f"{i}+1?", "answer": f"{i}+1={i + 1}\n#### {i + 1}"} for i in range(20)]
    (note,) = jsonl(questions=write(tmp_path / "gsm.jsonl", gsm)).notes
    assert "worked text that ends in a line `#### …` in 20 of 20 rows" in note
    remedy = {"answer": {"column": "answer", "after": "####"}, "solution": "answer"}
    task = jsonl(questions=tmp_path / "gsm.jsonl", columns=remedy)
    assert Judge(task.rewards, task.extract).check(task.splits["train"], task.answer_form) == ()
