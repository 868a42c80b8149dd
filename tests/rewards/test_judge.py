"""Adding rewards up, and what a broken one costs."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from manyminds.errors import UserError
from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge, model_reward, reward
from manyminds.rewards.sample import TrainerState
from manyminds.sections import JudgeConfig
from manyminds.tasks.arithmetic import extract


@reward(weight=0.5)
def short(response: str) -> tuple[float, dict[str, float]]:
    return float(len(response) < 4), {"length": len(response)}


@reward
def only_letters(response: str) -> float | None:
    return 1.0 if response.isalpha() else None


@reward
def fragile(response: str) -> float:
    if "!" in response:
        raise ValueError("an exclamation mark")
    return math.nan if "?" in response else 1.0


def answers(*texts: str) -> list[Rollout]:
    prompt = Prompt(Question("q", "1+1", "2"), "concise")
    return [Rollout(prompt, ids=(1,), logprobs=(-0.5,), text=text) for text in texts]


def test_weighted_sum() -> None:
    judge = Judge(["exact_answer", short], extract)
    rollouts = answers("#2", "c11#2", "#3", "c11#3")
    scored = judge(rollouts)
    assert [s.reward for s in scored] == [1.5, 1.0, 0.5, 0.0]
    assert [s.rollout for s in scored] == rollouts
    assert scored[1].parts == {"exact_answer": 1.0, "short": 0.0}
    assert judge.metrics == {
        "verifier/errors": 0.0,
        "verifier/killed": 0.0,
        "verifier/not_available": 0.0,
        "rewards/exact_answer/mean": 0.5,
        "rewards/exact_answer/std": 0.5,
        "rewards/short/mean": 0.5,
        "rewards/short/std": 0.5,
        "rewards/short/length": 3.5,
    }


def test_metrics_are_of_all_that_is_judged_in_a_step() -> None:
    judge = Judge(["exact_answer"], extract)
    judge.begin(TrainerState(0, 9))
    judge(answers("#2", "#2", "#2"))
    judge(answers("#3"))  # what is asked again
    assert judge.metrics["rewards/exact_answer/mean"] == 0.75
    judge.begin(TrainerState(1, 9))
    assert judge.metrics == {}
    judge(answers("#3"))
    assert judge.metrics["rewards/exact_answer/mean"] == 0.0


def test_parts_that_do_not_apply() -> None:
    judge = Judge([only_letters], extract)
    scored = judge(answers("abc", "12", "34"))
    assert [s.reward for s in scored] == [1.0, 0.0, 0.0]
    assert [s.parts["only_letters"] for s in scored] == [1.0, None, None]
    assert judge.metrics["verifier/not_available"] == 2.0
    assert judge.metrics["rewards/only_letters/mean"] == 1.0
    both = Judge([only_letters, "exact_answer"], extract)
    assert [s.reward for s in both(answers("#2", "abc"))] == [1.0, 1.0]
    assert both.metrics["verifier/not_available"] == 0.0


def test_a_bad_sample_costs_itself() -> None:
    judge = Judge([fragile, "exact_answer"], extract)
    scored = judge(answers("#2", "#2!", "#2?", "#3"))
    assert [s.reward for s in scored] == [2.0, 0.0, 0.0, 1.0]
    assert [s.parts["fragile"] for s in scored] == [1.0, None, None, 1.0]
    assert judge.metrics["verifier/errors"] == 2.0
    assert judge.metrics["verifier/not_available"] == 0.0
    assert [(put["response"], put["error"]) for put in judge.quarantine] == [
        ("#2!", "ValueError: an exclamation mark"),
        ("#2?", "ValueError: the result is nan, not a finite number"),
    ]
    assert json.loads(json.dumps(judge.quarantine[0])) == {
        "step": 0,
        "reward": "fragile",
        "error": "ValueError: an exclamation mark",
        "question_id": "q",
        "source": "",
        "question": "1+1",
        "answer": "2",
        "expert": "concise",
        "response": "#2!",
    }
    judge(answers("#2"))
    assert judge.metrics["verifier/errors"] == 0.0
    assert len(judge.quarantine) == 2


def test_a_broken_reward_ends_the_run() -> None:
    judge = Judge(["exact_answer", fragile], extract)
    assert sum(s.reward for s in judge(answers(*["!"] * 15))) == 0.0  # too few to tell
    judge(answers(*["!"] * 8, *["#2"] * 8))  # exactly half
    with pytest.raises(
        UserError, match=r"the reward 'fragile' failed on 9 of 16 answers, first with ValueError: an ex"
    ):
        judge(answers(*["!"] * 9, *["#2"] * 7))
    assert len(judge.quarantine) == 15 + 8 + 9
    assert len(Judge([fragile], extract, config=JudgeConfig(max_error_rate=1.0))(answers(*["!"] * 16))) == 16


def test_no_answers() -> None:
    assert Judge(["exact_answer"], extract)([]) == ()


def test_check() -> None:
    right = Question("a", "1+1", "2", solution="c2#2", source="f:1")
    wrong = Question("b", "1+2", "3", solution="c4#4", source="f:2")
    judge = Judge(["exact_answer"], extract)
    assert judge.check([right], "#{answer}") == ()
    assert judge.check([right, wrong], "#{answer}") == (
        "f:2: exact_answer gives the worked solution ('c4#4') of question 'b' 0.0, not 1.",
    )
    assert judge.check([right]) == ("f:1: exact_answer gives the gold answer ('2') of question 'a' 0.0, not 1.",)
    generous = reward(lambda response: 1.0)
    assert len(Judge([generous], extract).check([right], "#{answer}")) == 11  # every trick

    @reward
    def breaks(response: str) -> float:
        raise RuntimeError("no")

    assert "f:1: breaks fails on nonsense ('#xyzzy') of question 'a': RuntimeError: no." in Judge(
        ["exact_answer", breaks], extract
    ).check([right], "#{answer}")


def test_check_asks_a_model_about_the_first_question_alone() -> None:
    asked: list[tuple[str, str]] = []

    @model_reward
    def paid(questions: list[Question], responses: list[str]) -> list[float]:
        asked.extend((question.id, response) for question, response in zip(questions, responses, strict=True))
        return [1.0] * len(responses)

    bare, worked = Question("a", "1+1", "2"), Question("b", "1+2", "3", solution="c3#3")
    judge = Judge(["exact_answer", paid], extract)
    assert judge.check([bare, worked, replace(worked, id="c")], "#{answer}") == ()
    assert asked[:3] == [("a", "#2"), ("a", "#xyzzy"), ("a", "")]
    assert {question for question, _ in asked} == {"a"}
    assert len(asked) == 11  # all but the very long response
    asked.clear()
    assert judge.check([worked, bare], "#{answer}") == ()
    assert asked[:4] == [("b", "#3"), ("b", "c3#3"), ("b", "#xyzzy"), ("b", "")]
    assert judge.check([], "#{answer}") == ()


def test_refused() -> None:
    with pytest.raises(UserError, match=r"task\.rewards: there is no reward; name at least one"):
        Judge([], extract)
    with pytest.raises(UserError, match="two rewards have one name"):
        Judge([short, short], extract)
