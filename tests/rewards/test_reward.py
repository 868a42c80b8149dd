"""The decorator gives a function what it names, and refuses what no reward is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyminds.errors import UserError
from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import REWARDS, Outcome, Reward, Sample, resolve, reward
from manyminds.rewards.kinds import EachSample
from manyminds.sections import RewardConfig


def sample(response: str = "#2", answer: str = "2", extract: Any = str.strip) -> Sample:
    return Sample(Rollout(Prompt(Question("q", "1+1", answer), "concise"), (), (), response), extract)


def asked(its: Reward, *samples: Sample) -> Outcome:
    (outcome,) = its(samples or (sample(),))
    return outcome


@reward
def length(response: str) -> float:
    return len(response) / 10


@reward(weight=0.25)
def named(answer: str, question: Question) -> bool:
    return question.answer == answer


def plain(response: str) -> float:
    return float(len(response))


def test_arguments_by_name() -> None:
    assert length == Reward("length", EachSample(length.function, ("response",)), 1.0)
    assert asked(length) == Outcome(0.2, {})
    assert (named.name, named.weight) == ("named", 0.25)
    assert named.run == EachSample(named.function, ("answer", "question"))
    assert asked(named) == Outcome(1.0, {})
    assert [outcome.value for outcome in length([sample("abc"), sample("")])] == [0.3, 0.0]
    assert length([]) == ()


def test_everything_that_may_be_asked_for() -> None:
    seen: dict[str, Any] = {}

    def everything(
        question: Question, response: str, answer: str, solution: str, rollout: Rollout, extract: Any, expert: str,
        prompt: Any, completion: Any, info: Any,
    ) -> bool:  # fmt: skip
        assert (question.id, response, answer, solution, expert) == ("q", "#2", "2", "c#2", "concise")
        assert (rollout.text, extract(" 2 ")) == ("#2", "2")
        seen.update(prompt=prompt, completion=completion, info=dict(info))
        return True

    chat = [{"role": "user", "content": "1+1"}]
    for extras, prompt, completion in (
        ({"level": 3}, "1+1", "#2"),
        ({"prompt": chat}, chat, [{"role": "assistant", "content": "#2"}]),
    ):
        question = Question("q", "1+1", "2", solution="c#2", extras=extras)
        one = Sample(Rollout(Prompt(question, "concise"), (), (), "#2"), str.strip)
        assert asked(reward(everything), one) == Outcome(1.0)
        assert seen == {"prompt": prompt, "completion": completion, "info": extras}


def gives(value: Any) -> Reward:
    def given() -> Any:
        return value

    return reward(given)


@pytest.mark.parametrize(
    ("result", "value", "extras"),
    [
        (0.5, 0.5, {}),
        (True, 1.0, {}),
        (-3, -3.0, {}),
        (None, None, {}),
        (np.float32(0.5), 0.5, {}),
        (np.bool_(True), 1.0, {}),
        ((1, {"steps": 3}), 1.0, {"steps": 3.0}),
        ((None, {"steps": 3}), None, {"steps": 3.0}),
    ],
)
def test_results(result: Any, value: float | None, extras: dict[str, float]) -> None:
    assert asked(gives(result)) == Outcome(value, extras)


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("1", TypeError),
        ([1.0], TypeError),
        ((1.0, 2.0), TypeError),
        ((1.0, {"steps": "many"}), TypeError),
        ((1.0, {"steps": math.nan}), ValueError),
    ],
)
def test_results_that_are_no_number(result: Any, error: type[Exception]) -> None:
    outcome = asked(gives(result))
    assert outcome.value is None
    assert outcome.failure.startswith(f"{error.__name__}: ")


def test_refused_functions() -> None:
    def typo(respnse: str) -> float:
        return 0.0

    def anything(**kwargs: Any) -> float:
        return 0.0

    def fine(rollout: Rollout) -> float:
        return 0.0

    with pytest.raises(
        UserError, match=r"reward 'typo' \(.*test_reward\.py:\d+\): it asks for 'respnse'.*question, re"
    ):
        reward(typo)
    with pytest.raises(UserError, match=r"its argument 'kwargs' takes any name"):
        reward(anything)
    with pytest.raises(UserError, match=r"it has a deadline, which an `async def` may have; that of a"):
        reward(deadline=1.0)(fine)
    with pytest.raises(UserError, match=r"its deadline is 0; it must be seconds above 0"):
        reward(deadline=0)(fine)
    with pytest.raises(UserError, match="its weight is nan"):
        reward(weight=math.nan)(fine)
    assert reward(fine).run == EachSample(fine, ("rollout",))


MODULE = """
from manyminds.rewards import reward

@reward(weight=0.5)
def mine(response: str) -> float:
    return 0.5

def bare(answer: str) -> bool:
    return True

number = 3
"""


def test_a_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards_7.py").write_text(MODULE)
    (tmp_path / "broken_rewards_7.py").write_text("1 / 0")
    (tmp_path / "wanting_rewards_7.py").write_text("import no_such_library_7")
    monkeypatch.chdir(tmp_path)
    mine = resolve("own_rewards_7:mine")
    assert (mine.name, mine.weight, asked(mine)) == ("mine", 0.5, Outcome(0.5))
    assert resolve("own_rewards_7:bare").weight == 1.0
    assert resolve(mine) is mine
    for name, message in {
        "exact_anser": "there is no reward 'exact_anser'; it must be one of exact_answer, ",
        ":mine": "there is no reward ':mine'",
        "own_rewards_8:mine": "there is no module 'own_rewards_8'",
        "own_rewards_7.sub:mine": "there is no module 'own_rewards_7.sub'",
        "own_rewards_7:mime": "the module 'own_rewards_7' has no 'mime'",
        "own_rewards_7:number": "'own_rewards_7:number' is int, not a function",
        "broken_rewards_7:mine": "its module fails with ZeroDivisionError",
        "wanting_rewards_7:mine": "its module wants 'no_such_library_7', which is not installed",
    }.items():
        with pytest.raises(UserError, match=r"task\.rewards: ") as error:
            resolve(name)
        assert message in str(error.value)


NEEDS = {"llm_judge": {"url": "http://here/v1", "model": "m"}, "generative_verifier": {"model": "org/judge"}}


@pytest.mark.parametrize("name", REWARDS)
def test_built_in(name: str) -> None:
    assert resolve(RewardConfig.model_validate({"name": name, **NEEDS.get(name, {})})).name == name


def test_exact_answer() -> None:
    exact = resolve("exact_answer")

    def score(response: str, answer: str) -> float | None:
        return asked(exact, sample(response, answer, lambda t: t.split("#")[-1] if "#" in t else None)).value

    assert score("c#113r3", "113r3") == 1.0
    assert score("c# 113r3 ", "113r3") == 1.0
    assert score("c#113r2", "113r3") == 0.0
    assert score("c#113", "113r3") == 0.0
    assert score("113r3", "113r3") == 0.0
    assert score("#1.0", "1") == 0.0
