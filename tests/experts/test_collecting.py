"""Collecting from fake endpoints and from real small models: what is asked, kept, judged, written and read again."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_server import ChatServer, Fault, serving
from manyminds.config import Recipe, dump, load_recipe, parse
from manyminds.durable import read_jsonl
from manyminds.errors import UserError
from manyminds.experts import asking
from manyminds.experts.collecting import Collected, collect, plan
from manyminds.experts.wanted import answers_beside
from manyminds.loading import load_questions
from manyminds.tasks import load_task

pytest.importorskip("openai")

QUESTIONS = 12
SYSTEMS = {"equations": "Equations only.", "words": "In words."}


def answer(body: dict[str, Any]) -> str:
    """Equations get all right; words only every other, and where they are wrong the answer has no marker."""
    system, text = body["messages"][0]["content"], body["messages"][-1]["content"]
    a, b = map(int, text.removeprefix("What is ").rstrip("?").split(" + "))
    if system == SYSTEMS["equations"]:
        return f"{a}+{b}={a + b}\n#### {a + b}"
    return f"The sum is {a + b}.\n#### {a + b}" if a % 2 == 0 else "I do not know."


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-7d1f0a")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(answer=answer) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a file of questions."""
    rows = [{"id": f"q{i:02}", "question": f"What is {i} + 5?", "answer": str(i + 5)} for i in range(QUESTIONS)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def recipe(place: Path, url: str = "", **config: Any) -> Recipe:
    """Two experts; half of the questions are for the warm-up."""
    endpoint = {"teacher": {"url": url, "model": "big", "retries": 1}} if url else {}
    return parse(
        {
            "name": "t",
            "model": "tiny",
            "task": {
                "name": "jsonl",
                "questions": str(place / "questions.jsonl"),
                "experts_file": str(place / "experts.jsonl"),
                "shares": {"warmup": 0.5, "train": 0.2, "validation": 0.2, "test": 0.1},
            },
            "experts": [{"name": name, "system": system} for name, system in SYSTEMS.items()],
            "method": {"name": "meml_grpo", "hard_coefficient": 0},
            "sampling": {"max_tokens": 20},
            "collect": {"n": 2, **endpoint, **config},
        }
    )


def asked(server: ChatServer) -> Counter[tuple[str, str]]:
    """How often each question was asked under each system message."""
    return Counter((b["messages"][-1]["content"], b["messages"][0]["content"]) for b in server.requests)


def rows(place: Path, name: str = "experts.jsonl") -> list[dict[str, Any]]:
    return read_jsonl(place / name)


def told(found: Collected) -> list[tuple[str, int, int, int]]:
    return [(one.expert, one.covered, one.answers, one.right) for one in found.experts]


def test_what_is_asked_judged_and_written(server: ChatServer, place: Path) -> None:
    found = collect(recipe(place, server.url, temperature=0.7))
    assert set(asked(server).values()) == {2}
    assert len(server.requests) == 6 * 2 * 2
    assert {(b["model"], b["temperature"], b["max_tokens"]) for b in server.requests} == {("big", 0.7, 20)}
    even = sum(int(row["id"][1:]) % 2 == 0 for row in rows(place)) // 4
    assert told(found) == [("equations", 6, 12, 12), ("words", even, 12, 2 * even)]
    assert (found.oracle, found.unanswered, found.rows) == (6, (), 24)
    assert found.together == {"equations": {"words": None}, "words": {"equations": 0.0}}
    assert sum(one.completion_tokens for one in found.experts) == sum(len(r["solution"].split()) for r in rows(place))
    right = next(r for r in rows(place) if r["expert"] == "words" and r["correct"])
    wrong = next(r for r in rows(place) if r["expert"] == "words" and not r["correct"])
    final = str(int(right["id"][1:]) + 5)
    assert right == {
        "id": right["id"],
        "expert": "words",
        "solution": f"The sum is {final}.\n#### {final}",
        "final_answer": final,
        "correct": True,
        "origin": "big",
    }
    assert (wrong["final_answer"], wrong["solution"]) == (None, "I do not know.")


def test_the_file_is_what_the_task_reads(server: ChatServer, place: Path) -> None:
    its = recipe(place, server.url)
    collect(its)
    task, _, _ = load_questions(its)
    for question in task.splits["warmup"]:
        assert question.traces["equations"].reward == 1.0
        assert question.traces["equations"].text.endswith(f"#### {question.answer}")
        assert question.traces["words"].reward == float(int(question.id[1:]) % 2 == 0)
    assert not any(question.traces for question in task.splits["test"])


def test_a_conversation_is_asked_turn_by_turn(place: Path) -> None:
    one = plan(recipe(place)).wanted[0]
    turns = (("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", one.question.text))
    talk = replace(one, question=replace(one.question, messages=turns))
    system = {"role": "system", "content": "Equations only.\n\nBe kind."}
    assert talk.messages() == [system, *({"role": role, "content": text} for role, text in turns[1:])]
    assert talk.key[:3] == one.key[:3]
    assert talk.key != one.key


def test_nothing_is_asked_twice(server: ChatServer, place: Path) -> None:
    collect(recipe(place, server.url))
    first = rows(place)
    again = collect(recipe(place, server.url))
    assert (len(server.requests), again.asked, rows(place)) == (24, 0, first)
    collect(recipe(place, server.url, n=3))  # only the third of each
    assert len(server.requests) == 36
    fewer = collect(recipe(place, server.url, n=1))
    assert (fewer.asked, fewer.rows, len(rows(place))) == (0, 12, 12)
    moved = recipe(place, server.url.replace("127.0.0.1", "localhost"))
    assert plan(moved).missing == ()


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.5}, {"max_tokens": 9}, {"teacher": {"model": "other"}}, {"teacher": {"system": "Be brief."}},
     {"teacher": {"options": {"top_p": 0.9}}}],
)  # fmt: skip
def test_what_is_asked_in_another_way_is_asked_anew(server: ChatServer, place: Path, change: dict[str, Any]) -> None:
    collect(recipe(place, server.url, n=1))
    teacher = {"url": server.url, "model": "big", **change.pop("teacher", {})}
    changed = recipe(place, n=1, teacher=teacher, **change)
    assert len(plan(changed).missing) == 12


def test_a_half_written_line_is_dropped_and_its_answer_asked_for_again(server: ChatServer, place: Path) -> None:
    its = recipe(place, server.url)
    collect(its)
    whole, file = rows(place), answers_beside(place / "experts.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:10]) + lines[10][:20])
    collect(its)
    assert len(server.requests) == 24 + 14
    assert sorted(map(str, rows(place))) == sorted(map(str, whole))
    assert len(read_jsonl(file)) == 24


def test_a_wiser_reward_judges_anew_without_asking(server: ChatServer, place: Path) -> None:
    collect(recipe(place, server.url))
    its = recipe(place, server.url)
    other = its.model_copy(update={"task": {**its.task, "answer_marker": "="}})
    assert told(collect(other)) == [("equations", 6, 12, 12), ("words", 0, 12, 0)]
    assert len(server.requests) == 24


def noted(its: Recipe) -> tuple[Collected, list[str]]:
    """What came of it, and the notes on the way."""
    notes: list[str] = []
    found = collect(its, watch=lambda what, step, steps, data: notes.append(data["text"]) if what == "note" else None)
    return found, notes


def test_a_server_that_does_not_sample_is_told(server: ChatServer, place: Path) -> None:
    assert noted(recipe(place, server.url, n=1))[1] == []
    said = "big: all its answers to a question are the same, so it does not sample; see docs/collect.md"
    assert noted(recipe(place, server.url))[1][1:] == [said]
    server.answer = lambda body: f"{len(server.requests)} #### {answer(body)}"
    assert len(noted(recipe(place, server.url, n=3))[1]) == 1


def test_experts_have_teachers_of_their_own(server: ChatServer, place: Path) -> None:
    with serving(answer=answer) as second:
        teachers = {"words": {"url": second.url, "model": "wordy", "options": {"max_completion_tokens": 50}}}
        found = collect(recipe(place, server.url, teachers=teachers))
    assert {system for _, system in asked(server)} == {SYSTEMS["equations"]}
    assert {system for _, system in asked(second)} == {SYSTEMS["words"]}
    assert [one.model for one in found.experts] == ["big", "wordy"]
    assert "max_tokens" not in second.requests[0]
    assert second.requests[0]["max_completion_tokens"] == 50


def test_what_does_not_come_is_counted_and_asked_for_the_next_time(server: ChatServer, place: Path) -> None:
    server.faults = [Fault(), Fault(400), Fault(), Fault(500), Fault(500), Fault(500)]
    teacher = {"url": server.url, "model": "big", "retries": 2, "concurrency": 1}
    its = recipe(place, teacher=teacher)
    server.faults[3:] = [Fault(500, {"Retry-After-Ms": "1"})] * 3
    found = collect(its)
    assert Counter(cause for _, _, cause in found.unanswered) == {"status 400": 1, "status 500": 1}
    assert sum(one.answers for one in found.experts) == 22
    assert len(server.requests) == 24 + 2
    again = collect(its)
    assert (again.asked, again.unanswered) == (2, ())


@pytest.mark.parametrize("status", [401, 404])
def test_a_hopeless_endpoint_is_asked_no_further_and_others_go_on(server: ChatServer, place: Path, status: int) -> None:
    with serving(fault=Fault(status)) as broken:
        teachers = {"words": {"url": broken.url, "model": "gone", "concurrency": 2}}
        its = recipe(place, server.url, teachers=teachers)
        found, notes = noted(its)
    assert len(broken.requests) <= 2
    assert any("the key was refused" in note or "no such model" in note for note in notes)
    assert any(note.endswith("questions are not asked") for note in notes)
    assert told(found) == [("equations", 6, 12, 12), ("words", 0, 0, 0)]
    causes = Counter(cause for _, _, cause in found.unanswered)
    assert causes == {f"status {status}": len(broken.requests), "not asked": 12 - len(broken.requests)}


def test_nobody_answers_at_all(place: Path) -> None:
    with serving(fault=Fault(401)) as broken, pytest.raises(UserError, match="status 401, the key was refused"):
        collect(recipe(place, broken.url))
    assert not (place / "experts.jsonl").exists()


def test_an_endpoint_that_went_away_is_given_up(
    server: ChatServer, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ENOUGH", 3)
    server.faults, server.fault = [Fault(), Fault()], Fault(422)
    found = collect(recipe(place, teacher={"url": server.url, "model": "big", "concurrency": 1}))
    assert len(server.requests) == 5
    assert Counter(cause for _, _, cause in found.unanswered) == {"status 422": 3, "not asked": 19}


def test_empty_and_cut_answers_are_left_out(place: Path) -> None:
    def reply(body: dict[str, Any]) -> str:
        return "" if body["messages"][0]["content"] == SYSTEMS["words"] else answer(body)

    with serving(answer=reply) as its:
        found = collect(recipe(place, its.url))
    assert [(one.right, one.left_out) for one in found.experts] == [(12, 0), (0, 12)]
    assert {row["expert"] for row in rows(place)} == {"equations"}


def test_ctrl_c_keeps_what_is_in_flight_and_asks_no_more(place: Path) -> None:
    def reply(body: dict[str, Any]) -> str:
        with server.lock:
            last = len(server.requests) == 6 and not sent
            if last:
                sent.append(True)
        if last:
            os.kill(os.getpid(), signal.SIGINT)
        return answer(body)

    sent: list[bool] = []
    with serving(answer=reply, delay=0.1) as server:
        its = recipe(place, teacher={"url": server.url, "model": "big", "concurrency": 3})
        with pytest.raises(KeyboardInterrupt):
            collect(its)
        in_time = len(server.requests)
        assert len(read_jsonl(answers_beside(place / "experts.jsonl"))) == in_time
        assert in_time <= 9
        collect(its)
    assert len(server.requests) == 24
    assert set(asked(server).values()) == {2}


MODEL = Path(__file__).parents[2] / "src" / "manyminds" / "assets" / "mef" / "checkpoints"


@pytest.fixture
def sums(tmp_path: Path) -> dict[str, Any]:
    """A recipe for the shipped small model: its own questions as a file without any trace."""
    (model,) = MODEL.glob("step-*/model")
    task = load_task("arithmetic", warmup=8, train=4, validation=2, test=2)
    for name, questions in task.splits.items():
        its = [{"id": q.id, "question": q.text, "answer": q.answer} for q in questions]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in its))
    files = {name: str(tmp_path / f"{name}.jsonl") for name in task.splits}
    return {
        "name": "own",
        "model": str(model),
        "task": {"name": "jsonl", **files, "experts_file": str(tmp_path / "experts.jsonl"), "answer_marker": "#"},
        "experts": [{"name": e.name, "system": e.system} for e in task.experts],
        "method": {"name": "meml_grpo", "hard_coefficient": 0},
        "sampling": {"max_tokens": 60},
        "collect": {"n": 3},
        "output": str(tmp_path / "runs"),
    }


def test_a_model_teaches_itself(sums: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    its = parse(sums)
    found = collect(its)
    assert [one.answers for one in found.experts] == [24, 24, 24]
    assert 0.1 < sum(one.right for one in found.experts) / 72 < 0.9  # it is a model that knows something, not all
    assert all(one.prompt_tokens and one.completion_tokens for one in found.experts)
    by_style = {name[0]: name for name in ("concise", "deliberate", "structured")}
    right = [row for row in rows(tmp_path) if row["correct"]]
    gold = {q.id: q.answer for q in load_questions(its)[0].splits["warmup"]}
    assert all(row["final_answer"] == gold[row["id"]] for row in right)
    assert sum(by_style.get(row["solution"][0]) == row["expert"] for row in right) > 0.8 * len(right)
    # In other lots, and with a part there already, the same answers come.
    monkeypatch.setattr(asking, "LOT", 20)
    file = answers_beside(tmp_path / "experts.jsonl")
    whole = {line["id"] + line["expert"] + str(line["sample"]): line["text"] for line in read_jsonl(file)}
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:20]))
    assert collect(its).asked == 52
    assert {r["id"] + r["expert"] + str(r["sample"]): r["text"] for r in read_jsonl(file)} == whole


def test_what_leaves_no_room_is_not_asked_and_told(sums: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "warmup.jsonl"
    few = file.read_text().splitlines(keepends=True)[:2]
    long = json.dumps({"id": "long", "question": "1+" * 200 + "1", "answer": "201"}) + "\n"
    file.write_text(long + "".join(few))
    found, notes = noted(parse(sums))
    assert [one.answers for one in found.experts] == [6, 6, 6]
    assert not found.unanswered
    (note,) = (note for note in notes if "too long" in note)
    assert note.startswith("9 answers are not asked of ")
    assert f"({file}:1)" in note
    file.write_text(long)
    (tmp_path / "experts.jsonl").unlink()
    answers_beside(tmp_path / "experts.jsonl").unlink()
    with pytest.raises(UserError, match=r"9 answers are not asked of .*the longest has"):
        collect(parse(sums))


def test_the_way_from_questions_alone_to_a_trained_model(sums: dict[str, Any], tmp_path: Path) -> None:
    from manyminds.run import train
    from manyminds.warmup import warmup

    config = {
        "warmup": {"steps": 1, "rows_per_step": 4, "evaluate_every": 5},
        "steps": 1,
        "evaluation": {"every": 1, "questions": 2, "samples": 2, "group": 2},
    }
    method = {**sums["method"], "questions_per_step": 2, "answers_per_prompt": 4}
    its = parse({**sums, **config, "method": method})
    with pytest.raises(UserError, match=r"there is no file .*experts\.jsonl"):
        warmup(its)
    found = collect(its)
    assert all(one.covered for one in found.experts)
    assert warmup(its).step == 1
    assert train(its).step == 1
    kept = load_recipe(tmp_path / "runs" / "own" / "warmup" / "recipe.yaml")
    assert kept.collect == its.collect


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"teachers": {"word": {"url": "http://x/v1", "model": "m"}}}, "did you mean 'words'"),
        ({"teacher": {"url": "http://x/v1"}}, "url and model go together"),
        ({"teacher": {"url": "http://x/v1", "model": "m", "folder": "f"}}, "one or the other"),
        ({"teacher": {"url": "x", "model": "m"}}, "is not an address"),
        ({"teacher": {"url": "http://u:p@x/v1", "model": "m"}}, "keys come from the environment only"),
        ({"teacher": {"options": {"extra_headers": {"a": "b"}}}}, "keys come from the environment only"),
        ({"temperature": 0}, "would be the same"),
        ({"sets": ["test"]}, "'warmup' or 'train'"),
        ({"sets": []}, "there is no question in no set"),
        ({"teacher": {"folder": "./nowhere"}}, "is not a Hugging Face model folder"),
        ({"teacher": {"modle": "m"}}, "did you mean 'model'?"),
    ],
)
def test_mistakes_are_one_sentence(place: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        collect(recipe(place, **config))
    assert not (place / "experts.jsonl").exists()


def test_experts_that_share_a_teacher_must_share_a_prompt(place: Path, server: ChatServer) -> None:
    its = recipe(place, server.url)
    experts = [expert.model_copy(update={"teacher": "both"}) for expert in its.experts or ()]
    with pytest.raises(UserError, match="two experts learn from the teacher 'both' under unequal prompts"):
        plan(its.model_copy(update={"experts": tuple(experts)}))
    same = tuple(expert.model_copy(update={"system": "Equations only."}) for expert in experts)
    collect(its.model_copy(update={"experts": same}))
    assert len(server.requests) == 12
    assert {row["expert"] for row in rows(place)} == {"both"}


def test_somebody_elses_file_is_left_alone(place: Path, server: ChatServer) -> None:
    (place / "experts.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="was not collected, so it is left as it is; name another file with --out"):
        collect(recipe(place, server.url))
    collect(recipe(place, server.url), place / "new" / "mine.jsonl")
    assert (place / "experts.jsonl").read_text() == "{}\n"
    assert len(rows(place, "new/mine.jsonl")) == 24


def test_nobody_to_ask_and_nowhere_to_write(place: Path) -> None:
    its = recipe(place)
    with pytest.raises(UserError, match="needs 1 or more of them, not 0; add some under `experts`"):
        plan(parse({**dump(its), "experts": None, "method": {"name": "grpo"}}))
    bare = {name: value for name, value in its.task.items() if name != "experts_file"}
    with pytest.raises(UserError, match="name one with --out"):
        plan(its.model_copy(update={"task": bare}))


def test_rows_of_another_kind_in_the_way(place: Path) -> None:
    answers_beside(place / "experts.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(UserError, match=r"experts\.answers\.jsonl: holds other rows than collected answers"):
        plan(recipe(place))


@pytest.mark.parametrize("named", [True, False])
def test_the_sets_are_those_of_the_run_that_learns_from_it(place: Path, named: bool) -> None:
    """Without `shares` in the recipe, and whether it names the file already or only once it is there."""
    before = recipe(place)
    task = {key: value for key, value in before.task.items() if key != "shares"}
    first = before.model_copy(
        update={"task": task if named else {k: v for k, v in task.items() if k != "experts_file"}}
    )
    asked_for = {want.question.id for want in plan(first, place / "experts.jsonl").wanted}
    lines = [{"id": id, "expert": name, "solution": "#### 0"} for id in asked_for for name in SYSTEMS]
    (place / "experts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    learns, _, _ = load_questions(before.model_copy(update={"task": task}))
    assert asked_for == {question.id for question in learns.splits["warmup"]}
    assert all(set(question.traces) == set(SYSTEMS) for question in learns.splits["warmup"])
