"""What methods that learn from traces ask of a task, and where two kinds share an average."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from manyminds.batch import weigh
from manyminds.config import Recipe, parse
from manyminds.errors import UserError
from manyminds.formulas.averages import over_tokens
from manyminds.loading import check_needs, load, load_questions, render
from manyminds.methods.compose import Composed
from manyminds.methods.external import among, right_traces
from manyminds.methods.terms import CrossEntropy
from manyminds.objective import Term
from manyminds.preview import preview, training_footprint
from manyminds.records import Answers, Example, Prompt, Question, Trace

METHODS = ("rl_plus", "luffy", "ampo")


def own_data(folder: Path, method: dict[str, Any], right: bool | None = None) -> Recipe:
    """Ten questions of the user's own, with an expert's worked answers if they are `right` or not."""
    names = [f"q{i}" for i in range(10)]
    rows = [{"id": n, "question": f"{n}?", "answer": str(i)} for i, n in enumerate(names)]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task: dict[str, Any] = {"name": "jsonl", "questions": str(folder / "q.jsonl")}
    experts = [{"name": "careful", "system": "Be careful."}]
    if right is not None:
        worked = [
            {"id": n, "expert": "careful", "solution": f"so #### {i if right else 'x'}"} for i, n in enumerate(names)
        ]
        (folder / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in worked))
        task["experts_file"] = str(folder / "e.jsonl")
    return parse({"name": "t", "model": "no/such-model", "task": task, "experts": experts, "method": method})


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("look", [preview, lambda recipe: load(recipe, recipe.model)], ids=["dry run", "run"])
def test_a_task_without_traces_is_refused_before_a_model_is_opened(name: str, look: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        look(own_data(tmp_path, {"name": name}))
    assert str(error.value) == (
        f"task: method '{name}' learns from experts' worked answers to the training questions, and none are there; "
        "give the task a file of them (task.experts_file; `manyminds collect` writes one), or take another method"
    )


def test_a_task_whose_traces_are_all_wrong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="and none are known to be right; give the task"):
        preview(own_data(tmp_path, {"name": "rl_plus"}, right=False))


@pytest.mark.parametrize(
    ("method", "way_out"),
    [
        ({"name": "tutored_grpo"}, "set `traces: never` of 'tutored_grpo', or take"),
        ({"name": "rs_grpo", "with": [{"name": "tutored_grpo"}]}, "set `traces: never` of 'tutored_grpo', or take"),
        ({"name": "tutored_grpo", "with": [{"name": "rl_plus"}]}, "or take"),  # which would need them still
    ],
)
def test_a_method_that_can_do_without_traces_says_how(method: dict[str, Any], way_out: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        preview(own_data(tmp_path, method))
    assert str(error.value).endswith(f"`manyminds collect` writes one), {way_out} another method")


def test_what_the_sentence_says_is_a_way_out(tmp_path: Path) -> None:
    recipe = own_data(tmp_path, {"name": "rs_grpo", "with": [{"name": "tutored_grpo", "traces": "never"}]})
    task, _, settled = load_questions(recipe)
    assert not any(trace.reward == 1.0 for question in task.splits["train"] for trace in question.traces.values())
    assert "traces" not in Composed(settled.method).needs
    check_needs(settled, task)  # which raises for what is missing


def test_a_parts_need_is_the_methods(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="method 'grpo with rl_plus' learns from"):
        preview(own_data(tmp_path, {"name": "grpo", "with": [{"name": "rl_plus"}]}))


def test_a_users_traces_are_judged_as_they_are_read(tmp_path: Path) -> None:
    for right in (True, False):
        task, _, _ = load_questions(own_data(tmp_path, {"name": "grpo"}, right=right))
        assert {q.traces["careful"].reward for q in task.splits["train"]} == {float(right)}


@pytest.mark.parametrize(("name", "filled"), [("ampo", True), ("rl_plus", False)])
def test_the_place_of_the_final_answer_is_found_where_a_method_asks_for_it(name: str, filled: bool) -> None:
    data = {"name": "arithmetic", "warmup": 3, "train": 4, "validation": 2, "test": 2}
    task, experts, recipe = load_questions(
        parse({"name": "t", "model": "tiny", "task": data, "method": {"name": name}})
    )
    questions, _ = render(recipe, task, experts, tiny.tokenizer(), 999, 999)
    traces = [t for q in questions["train"] for t in q.traces.values()]
    assert len(traces) == 12
    assert all(bool(t.reference_ids) is filled for t in traces)


def test_the_memory_estimate_knows_that_traces_are_longer_than_answers() -> None:
    data = {"name": "arithmetic", "warmup": 3, "train": 4, "validation": 2, "test": 2}

    def updating(most: int, **method: Any) -> dict[str, int]:
        recipe = {"name": "t", "model": "tiny", "task": data, "sampling": {"max_tokens": most}}
        return training_footprint(preview(parse({**recipe, "method": {"answers_per_prompt": 8, **method}}))).phases[
            "updating"
        ]

    assert updating(4, name="rl_plus")["attention"] > updating(4, name="grpo")["attention"]
    assert updating(4, name="meml_grpo")["attention"] > updating(4, name="grpo")["attention"]
    assert updating(60, name="rl_plus") == updating(60, name="grpo")


def test_right_traces_are_distinct_and_in_the_experts_order() -> None:
    traces = {
        "a": Trace("", "a", (1,), reward=0.0),
        "b": Trace("", "b", (2,), reward=1.0),
        "c": Trace("", "b", (2,), reward=1.0),
        "d": Trace("", "d", (), reward=1.0),
        "e": Trace("", "e", (5,)),
        "f": Trace("", "f", (6,), reward=1.0),
    }
    question = Question("q", "q", "1", traces=traces)
    assert [t.source for t in right_traces(question)] == ["b", "f"]
    group = Answers(Prompt(question, "a"), ())
    there = among(group, right_traces(question))
    assert [(s.rollout.origin, s.reward, s.right) for s in there] == [("trace:b", 1.0, True), ("trace:f", 1.0, True)]
    assert among(Answers(group.prompt, there[:1]), right_traces(question)) == there[1:]


def test_an_average_over_rows_of_two_kinds() -> None:
    """Three tokens of one kind and one of the other: each term has its own rows, over all four tokens."""
    rows = (Example("sampled", (1,), (1, 2, 3)), Example("trace", (1,), (4,)), Example("other", (1,), (5,) * 9))
    both = frozenset({"sampled", "trace"})
    terms = [Term(kind, kind, CrossEntropy(), average=over_tokens, among=both) for kind in ("sampled", "trace")]
    assert [row.weights for row in weigh(rows, terms)] == [(0.25, 0.0), (0.0, 0.25), (0.0, 0.0)]
    alone = Term("trace", "trace", CrossEntropy(), average=over_tokens)
    assert [row.weights for row in weigh(rows, [alone])] == [(0.0,), (1.0,), (0.0,)]
    assert [row.weights for row in weigh(rows[:1], terms[1:])] == [(0.0,)]
