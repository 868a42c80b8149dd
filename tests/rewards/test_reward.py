"""The decorator gives a function what it names, and refuses what no reward is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyminds.errors import UserError
from manyminds.records import Question, Rollout
from manyminds.rewards import REWARDS, Reward, resolve, reward

GIVEN: dict[str, Any] = {"question": Question("q", "1+1", "2"), "response": "#2", "answer": "2", "extract": str.strip}


@reward
def length(response: str) -> float:
    return len(response) / 10


@reward(weight=0.25)
def named(answer: str, question: Question) -> bool:
    return question.answer == answer


def plain(response: str) -> float:
    return float(len(response))


def test_arguments_by_name() -> None:
    assert length == Reward("length", length.function, 1.0, ("response",))
    assert length(GIVEN) == (0.2, {})
    assert (named.name, named.weight, named.arguments) == ("named", 0.25, ("answer", "question"))
    assert named(GIVEN) == (1.0, {})


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
    assert gives(result)(GIVEN) == (value, extras)


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
    with pytest.raises(error):
        gives(result)(GIVEN)


def test_refused_functions() -> None:
    def typo(respnse: str) -> float:
        return 0.0

    def anything(**kwargs: Any) -> float:
        return 0.0

    async def later(response: str) -> float:
        return 0.0

    def fine(rollout: Rollout) -> float:
        return 0.0

    with pytest.raises(
        UserError, match=r"reward 'typo' \(.*test_reward\.py:\d+\): it asks for 'respnse'.*question, re"
    ):
        reward(typo)
    with pytest.raises(UserError, match=r"its argument 'kwargs' takes any name"):
        reward(anything)
    with pytest.raises(UserError, match="it is an `async def`"):
        reward(later)
    with pytest.raises(UserError, match="its weight is nan"):
        reward(weight=math.nan)(fine)
    assert reward(fine).arguments == ("rollout",)


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
    assert (mine.name, mine.weight, mine(GIVEN)) == ("mine", 0.5, (0.5, {}))
    assert resolve("own_rewards_7:bare").weight == 1.0
    assert resolve(mine) is mine
    for name, message in {
        "exact_anser": "there is no reward 'exact_anser'; it must be one of exact_answer, or `module:function`",
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


@pytest.mark.parametrize("name", REWARDS)
def test_built_in(name: str) -> None:
    assert resolve(name).name == name


def test_exact_answer() -> None:
    exact = resolve("exact_answer")

    def score(response: str, answer: str) -> float | None:
        return exact(
            {"response": response, "answer": answer, "extract": lambda t: t.split("#")[-1] if "#" in t else None}
        )[0]

    assert score("c#113r3", "113r3") == 1.0
    assert score("c# 113r3 ", "113r3") == 1.0
    assert score("c#113r2", "113r3") == 0.0
    assert score("c#113", "113r3") == 0.0
    assert score("113r3", "113r3") == 0.0
    assert score("#1.0", "1") == 0.0
