"""Families of reasoning-gym: which are taken, what is drawn from them, and what counts as right."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from families import write
from manyminds.config import parse
from manyminds.errors import UserError
from manyminds.rewards import Judge
from manyminds.run import train
from manyminds.tasks import Task, load_task
from manyminds.tasks import reasoning_gym as gym
from manyminds.warmup import warmup

pytest.importorskip("reasoning_gym")

SMALL = {"train": 6, "validation": 2, "test": 4}
MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "gym_families.json"


def task(family: str = "chain_sum", **options: Any) -> Task:
    return load_task("reasoning_gym", family=family, **{**SMALL, **options})


def test_four_disjoint_sets_that_depend_on_the_seed_alone() -> None:
    one = task(warmup=3)
    assert {split: len(questions) for split, questions in one.splits.items()} == {"warmup": 3, **SMALL}
    texts = [question.text for questions in one.splits.values() for question in questions]
    assert len(set(texts)) == len(texts)
    assert task(warmup=3).splits == one.splits
    assert task(train=1, warmup=0).splits["test"] == one.splits["test"]
    assert task(seed=1).splits["test"] != one.splits["test"]
    easy = task(config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
    assert max(len(question.answer) for question in easy.splits["train"]) <= 2


def test_a_question_drawn_twice_stands_in_one_set() -> None:
    """Additions of two digits from 1 to 9: 162 questions, most of them drawn several times."""
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    made = task(config=tiny, train=70, validation=20, test=20)
    texts = [question.text for questions in made.splits.values() for question in questions]
    assert len(set(texts)) == len(texts) == 110
    with pytest.raises(UserError, match=r"task\.train wants 200 questions of chain_sum, but .* draws gave only \d+"):
        task(config=tiny, train=200)


@pytest.mark.parametrize(
    "family",
    ["chain_sum", "sudoku", "tower_of_hanoi", "bf", "family_relationships", *gym.FORMS],
)
def test_gold_is_right_and_nonsense_wrong(family: str) -> None:
    """One line and many, one that prints, and all whose scorers are guarded."""
    made = task(family, train=2, validation=1, test=1)
    every = [question for questions in made.splits.values() for question in questions]
    assert Judge(made.rewards, made.extract).check(every, made.answer_form) == ()


def test_only_the_exact_answer_after_the_marker_counts() -> None:
    made = task()
    question, judge = made.splits["train"][0], Judge(made.rewards, made.extract)
    gold = question.answer
    assert judge.score(question, f"3+4, so\n#### {gold}\n") == 1.0
    for text in (gold, f"#### {gold}0", f"#### the answer is {gold}.", f"#### {gold} {gold}", "####", ""):
        assert judge.score(question, text) == 0.0, text
    assert judge.quarantine == []


@pytest.mark.parametrize("family", gym.FORMS)
def test_what_would_be_run_or_break_a_scorer_does_not_reach_it(family: str) -> None:
    made = task(family, train=1, validation=1, test=1)
    question, judge = made.splits["train"][0], Judge(made.rewards, made.extract)
    code = "__import__('builtins').__dict__.update(MARK=1)"
    for text in (code, f"[{code}]", f"({code},)", "7**7**8", "[7**7**8]", "xyzzy", "{}", "1/0", "9" * 9999):
        assert judge.score(question, f"#### {text}") == 0.0, text
    assert not hasattr(builtins, "MARK")
    assert judge.quarantine == []


def test_refused_families_say_why() -> None:
    for family, reason in gym.REFUSED.items():
        with pytest.raises(UserError, match=f"{family} cannot be learnt from: ") as told:
            task(family)
        assert reason in str(told.value)


def test_the_tables_are_what_was_measured() -> None:
    """On the families' default settings: whatever is wrong with a family, it is refused, or its answers are guarded."""
    families = json.loads(MEASURED.read_text())["families"]
    assert set(gym.REFUSED) | set(gym.FORMS) <= set(families)
    for name, row in families.items():
        sound = "error" not in row and row["gold_right"] == 1 and row["same_questions"] and row["same_answers"]
        sound = sound and not row["no_answer_right"] and row["other_gold_right"] < 0.5
        sound = sound and row["beginning_right"] < 0.5
        assert (name in gym.REFUSED) >= (not sound), name
        assert (name in {**gym.REFUSED, **gym.FORMS}) >= bool(row.get("runs_code") or row.get("errors")), name
        assert not (name in gym.REFUSED and sound and not row["runs_code"]), name


def test_mistakes_are_named() -> None:
    with pytest.raises(
        UserError, match=r"task\.family: reasoning-gym has no family 'chain_sums'; did you mean 'chain_sum'"
    ):
        task("chain_sums")
    with pytest.raises(UserError, match=r"task\.config\.max_term: .*did you mean 'max_terms'"):
        task(config={"max_term": 3})
    with pytest.raises(UserError, match=r"task\.config: the family chain_sum does not take these settings"):
        task(config={"min_terms": 9, "max_terms": 2})
    with pytest.raises(UserError, match=r"task\.config\.seed: give it as task\.seed"):
        task(config={"seed": 3})
    with pytest.raises(UserError, match=r"task\.answer_marker is empty"):
        task(answer_marker=" ")
    with pytest.raises(UserError, match=r"task\.answer_marker: '\+' stands in the answer"):
        task("countdown", answer_marker="+")
    with pytest.raises(UserError, match=r"task\.test is -1"):
        task(test=-1)


def test_without_the_library_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "manyminds\[gym\]"'):
        task()


def test_another_task_does_not_import_it() -> None:
    code = "import sys; from manyminds.tasks import load_task; load_task('arithmetic'); print('reasoning_gym'"
    code += " in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_two_steps_of_training_and_a_warm_up_that_has_nothing_to_learn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The family prints dots where it likes, and standard output stays free."""
    data = {
        "name": "t",
        "model": "tiny",
        "output": str(tmp_path),
        "task": {"name": "reasoning_gym", "family": "bf", **SMALL, "config": {"difficulty": 1}},
        "method": {"name": "grpo", "questions_per_step": 2, "answers_per_prompt": 2},
        "steps": 2,
        "sampling": {"max_tokens": 4},
        "evaluation": {"samples": 2, "group": 1},
    }
    recipe = parse(data | {"model": str(write("qwen2.5", tmp_path / "model"))})
    capfd.readouterr()
    result = train(recipe)
    assert capfd.readouterr().out == ""
    assert result.metrics["mean"]["value"] == 0.0
    lines = [json.loads(line) for line in (recipe.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["rewards/family_score/mean"] for line in lines] == [0.0, 0.0]
    assert [line["verifier/errors"] for line in lines] == [0.0, 0.0]
    with pytest.raises(UserError, match=r"'direct' has no trace to learn from .* leave the `warmup` section out"):
        warmup(parse(data | {"model": recipe.model, "warmup": {"steps": 1}}))
