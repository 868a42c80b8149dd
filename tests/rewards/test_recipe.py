"""The `rewards` section of a recipe: what an entry may say, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from manyminds.config import Recipe, dump, load_recipe, parse
from manyminds.errors import UserError
from manyminds.loading import load_questions
from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge, Reward, resolve
from manyminds.rewards.kinds import EachSample, Verl
from manyminds.rewards.trl import Trl
from manyminds.run import train
from manyminds.sections import RewardConfig

MODULE = """
from collections.abc import Callable
from manyminds.rewards import Reward, model_reward, reward

@reward(weight=0.25)
def short(response: str, limit: int = 3) -> float:
    return float(len(response) <= limit)

def trl(completions, answer, **kwargs):
    return [float(c.endswith(a)) for c, a in zip(completions, answer)]

def any_of_trl(**kwargs):
    return [1.0] * len(kwargs["completions"])

def compute_score(data_source, solution_str, ground_truth, extra_info=None, method="strict"):
    return {"score": float(ground_truth in solution_str), "strict": method == "strict"}

def get_length_reward(longest: int) -> Callable:
    def length_reward(completions, **kwargs):
        return [min(len(c) / longest, 1.0) for c in completions]
    return length_reward

def unsaid(longest=10):
    return lambda response: len(response) / longest

def wrong(longest: int) -> Callable:
    return 3

def broken(longest: int) -> Callable:
    raise ValueError("longest is too long")

class Counts:
    def __init__(self, letter="#"):
        self.letter = letter
    def __call__(self, response):
        return float(response.count(self.letter))

@model_reward
def model(responses):
    return [0.5 for _ in responses]
"""

HEAD = """\
name: t
model: tiny
task: {name: arithmetic, warmup: 0, train: 4, validation: 2, test: 2}
method: {name: grpo, questions_per_step: 2, answers_per_prompt: 4}
sampling: {max_tokens: 4}
evaluation: {samples: 2, group: 2}
steps: 2
"""


@pytest.fixture(autouse=True)
def _their_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs_3.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def loaded(tmp_path: Path, rewards: str, *overrides: str) -> Recipe:
    (tmp_path / "recipe.yaml").write_text(HEAD + rewards)
    return load_recipe(tmp_path / "recipe.yaml", overrides)


def made(**entry: Any) -> Reward:
    return resolve(RewardConfig.model_validate(entry))


def value(its: Reward, text: str, **extras: Any) -> float | None:
    judge = Judge([its], lambda text: text)
    return judge.look(Question("q", "1+1", "2", extras=extras), [text])[0][1].parts[its.name]


def test_they_stand_in_place_of_the_tasks_own(tmp_path: Path) -> None:
    recipe = loaded(
        tmp_path,
        """
rewards:
  - exact_answer
  - {name: "theirs_3:short", limit: 5}
  - name: theirs_3:trl
    as: ends
    weight: 0.5
    gate: short
    normalise: group
""",
    )
    task, _, resolved = load_questions(recipe)
    judge = Judge(task.rewards, task.extract)
    assert [(r.name, r.weight, r.gate, r.normalise) for r in judge.rewards] == [
        ("exact_answer", 1.0, "", "none"),
        ("short", 0.25, "", "none"),
        ("ends", 0.5, "short", "group"),
    ]
    assert value(judge.rewards[1], "12345") == 1.0
    assert value(judge.rewards[1], "123456") == 0.0
    data = dump(resolved)
    assert data["rewards"][1] | {"name": "theirs_3:short", "weight": 0.25, "limit": 5} == data["rewards"][1]
    assert (data["rewards"][2]["as"], data["rewards"][2]["gate"]) == ("ends", "short")
    assert parse(yaml.safe_load(yaml.safe_dump(data))) == resolved
    assert dump(load_questions(loaded(tmp_path, ""))[2])["rewards"] is None


def test_an_override_on_the_command_line(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "", 'rewards=[exact_answer, "theirs_3:model"]')
    assert [entry.name for entry in recipe.rewards or ()] == ["exact_answer", "theirs_3:model"]


def test_the_kind_shows_in_the_arguments_or_is_said() -> None:
    assert isinstance(made(name="theirs_3:trl").run, Trl)
    assert isinstance(made(**{"name": "theirs_3:any_of_trl", "from": "trl"}).run, Trl)
    assert isinstance(made(name="theirs_3:compute_score").run, Verl)
    assert isinstance(made(name="theirs_3:short").run, EachSample)
    assert made(name="theirs_3:model").paid
    assert value(made(**{"name": "theirs_3:any_of_trl", "from": "trl"}), "x") == 1.0


def test_options_of_the_function() -> None:
    strict, loose = made(name="theirs_3:compute_score"), made(name="theirs_3:compute_score", method="loose")
    for its, share in ((strict, 1.0), (loose, 0.0)):
        judge = Judge([its], lambda text: text)
        judge([Rollout(Prompt(Question("q", "1+1", "2"), "e"), (), (), "2")])
        assert judge.metrics["rewards/compute_score/strict"] == share


def test_functions_and_classes_that_make_rewards() -> None:
    assert (made(name="theirs_3:get_length_reward", longest=8).name) == "length_reward"
    assert value(made(name="theirs_3:get_length_reward", longest=8), "1234") == 0.5
    assert value(made(name="theirs_3:unsaid"), "1234") == 0.4
    assert value(made(name="theirs_3:unsaid", longest=4), "1234") == 1.0
    assert value(made(name="theirs_3:Counts"), "##") == 2.0
    assert (made(name="theirs_3:Counts", letter="x").name, value(made(name="theirs_3:Counts", letter="x"), "x")) == (
        "Counts",
        1.0,
    )


def test_columns_under_their_names() -> None:
    its = made(name="theirs_3:trl", columns={"answer": "target"})
    assert value(its, "it is 7", target="7") == 1.0
    verl = made(name="theirs_3:compute_score", columns={"ground_truth": "target"})
    assert value(verl, "it is 7", target="7") == 1.0
    assert value(verl, "it is 2", target="7") == 0.0


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ("rewards: []", ":8: rewards: there is no reward; name at least one"),
        ("rewards: [exact_anser]", ":8: rewards.0.name: there is no reward 'exact_anser'; it must be one of exact_"),
        (
            "rewards:\n  - exact_answer\n  - name: theirs_3:short\n    wieght: 0.5",
            ":11: rewards.1.wieght: 'theirs_3:short' has no such option; did you mean 'weight'?",
        ),
        (
            "rewards:\n  - exact_answer\n  - name: theirs_3:short\n    gate: shrt",
            ":11: rewards.1.gate: 'shrt' must name a reward that stands before this one; before it stand exact_answer.",
        ),
        ("rewards: [{name: exact_answer, gate: exact_answer}]", "before this one; the first one cannot have a gate."),
        ("rewards: [{name: exact_answer, weight: heavy}]", ":8: rewards.0.weight: input should be a valid number"),
        ("rewards: [{name: exact_answer, weight: .inf}]", "rewards.0.weight: input should be a finite number, not inf"),
        ("rewards: [{name: exact_answer, normalise: step}]", "rewards.0.normalise: input should be 'none', 'group' or"),
        ("rewards: [{name: 'theirs_3:trl', from: openrlhf}]", "rewards.0.from: input should be 'trl' or 'verl'"),
        ("rewards: [{name: 'theirs_3:short', from: trl}]", "'theirs_3:short' is a reward already; leave `from` out."),
        ("rewards: [{name: exact_answer, messages: true}]", "'exact_answer' takes no completions; TRL's functions do."),
        ("rewards: [{name: exact_answer, columns: {a: b}}]", "'exact_answer' takes no columns; TRL's and verl's func"),
        ("rewards: ['theirs_3:nothing']", "'theirs_3:nothing': the module 'theirs_3' has no 'nothing'"),
        ("rewards: ['theirs_3:get_length_reward']", "'theirs_3:get_length_reward' needs the option 'longest'."),
        ("rewards: [{name: 'theirs_3:wrong', longest: 1}]", "'theirs_3:wrong' made int, not a function."),
        (
            "rewards: [{name: 'theirs_3:broken', longest: 1}]",
            "rewards.0.name: it cannot be made: ValueError: longest is",
        ),
        ("rewards: ['theirs_3:trl', 'theirs_3:trl']", "rewards.1.name: two rewards have one name (trl, trl)"),
        ("rewards: exact_answer", ":8: rewards: input should be a valid tuple, not 'exact_answer'"),
        ("rewards: [3]", "rewards.0: input should be"),
    ],
)
def test_a_mistake_is_told_with_its_place(rewards: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        loaded(tmp_path, rewards)
    assert str(error.value).startswith(f"{tmp_path}/recipe.yaml:")
    assert message in str(error.value)


def test_a_mistake_in_an_override_names_the_override(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"override 'rewards=\[exact_anser\]': rewards.0.name: there is no reward"):
        loaded(tmp_path, "", "rewards=[exact_anser]")


def test_a_run_learns_from_them_and_goes_on(tmp_path: Path) -> None:
    rewards = "rewards: [exact_answer, {name: 'theirs_3:short', limit: 2, normalise: group}, 'theirs_3:trl']\n"
    recipe = loaded(tmp_path, rewards, f"output={tmp_path}", "checkpoint.every=1")
    result = train(recipe)
    again = load_recipe(result.folder / "recipe.yaml")
    assert [entry.name for entry in again.rewards or ()] == ["exact_answer", "theirs_3:short", "theirs_3:trl"]
    (result.folder / "result.json").unlink()
    assert train(again, resume=True).folder == result.folder
    with pytest.raises(UserError, match="its checkpoint was made with another `rewards`"):
        train(loaded(tmp_path, "", f"output={tmp_path}"), resume=True)
