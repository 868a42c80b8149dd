"""Functions written for other trainers and of our own, each run as it is: what they are given, what their results mean,
and what a broken one costs."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from manyminds.errors import UserError
from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge, Outcome, Reward, Sample, model_reward, reward
from manyminds.rewards.sample import TrainerState
from manyminds.rewards.waiting import wait
from manyminds.tasks.arithmetic import extract

CHAT = [{"role": "user", "content": "What is 1+1?"}]


def sample(text: str, question: Question | None = None, expert: str = "concise", ids: tuple[int, ...] = ()) -> Sample:
    question = question or Question("q", "1+1", "2", solution="c#2", extras={"level": 3})
    return Sample(Rollout(Prompt(question, expert), ids, (), text), extract, TrainerState(7, 20))


def values(its: Reward, *texts: str) -> list[float | None]:
    return [outcome.value for outcome in its([sample(text) for text in texts])]


# TRL


def test_a_trl_function_is_given_what_trl_gives() -> None:
    seen: dict[str, Any] = {}

    def spy(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        seen.update(kwargs, prompts=prompts, completions=completions, completion_ids=completion_ids)
        return [0.25, 1]

    its = reward(weight=0.5)(spy)
    assert (its.name, its.weight) == ("spy", 0.5)
    other = Question("r", "2+2", "4", extras={"level": 5, "source": "book"})
    outcomes = its([sample("#2", ids=(4, 5)), sample("#5", other, "deliberate", (6,))])
    assert [outcome.value for outcome in outcomes] == [0.25, 1.0]
    state = seen.pop("trainer_state")
    assert (state.global_step, state.max_steps) == (7, 20)
    assert callable(seen.pop("log_extra"))
    assert callable(seen.pop("log_metric"))
    assert seen == {
        "prompts": ["1+1", "2+2"],
        "completions": ["#2", "#5"],
        "completion_ids": [[4, 5], [6]],
        "id": ["q", "r"],
        "question": ["1+1", "2+2"],
        "answer": ["2", "4"],
        "solution": ["c#2", "4"],
        "expert": ["concise", "deliberate"],
        "level": [3, 5],
        "source": [None, "book"],
    }


def test_completions_are_messages_where_the_question_is() -> None:
    def contents(prompts: Any, completions: Any, **kwargs: Any) -> list[float]:
        assert prompts == [CHAT, CHAT]
        assert [c[0]["role"] for c in completions] == ["assistant", "assistant"]
        return [len(c[0]["content"]) for c in completions]

    for column in ("prompt", "messages"):
        chat = Question("q", "What is 1+1?", "2", extras={column: CHAT})
        assert [o.value for o in reward(contents)([sample("#2", chat), sample("#22", chat)])] == [2.0, 3.0]


def test_a_function_of_messages_that_is_given_text_says_what_helps() -> None:
    def contents(completions: Any, **kwargs: Any) -> list[float]:
        return [len(c[0]["content"]) for c in completions]

    (outcome,) = reward(contents)([sample("#2")])
    assert outcome.failure.startswith("TypeError: string indices must be integers")
    assert outcome.failure.endswith("; if it reads chat messages, say `messages: true`")


def test_only_what_it_names_where_it_does_not_take_the_rest() -> None:
    def right(completions: Sequence[str], answer: Sequence[str]) -> list[bool]:
        return [c.endswith(a) for c, a in zip(completions, answer, strict=True)]

    def scaled(completion_ids: list[list[int]], scale: float = 2.0) -> list[float]:
        return [len(ids) / scale for ids in completion_ids]

    assert values(reward(right), "#2", "#3") == [1.0, 0.0]
    assert [o.value for o in reward(scaled)([sample("", ids=(1, 2, 3))])] == [1.5]


@pytest.mark.parametrize(
    "results",
    [[1, None, 0.5], (True, None, 0.5), np.array([1.0, math.nan, 0.5]), torch.tensor([1.0, math.inf, 0.5])],
    ids=["list", "tuple", "array", "tensor"],
)
def test_what_a_trl_function_returns(results: Any) -> None:
    def given(completions: list[str], **kwargs: Any) -> Any:
        return results

    outcomes = reward(given)([sample("a"), sample("b"), sample("c")])
    assert [o.value for o in outcomes] == [1.0, None, 0.5]
    assert bool(outcomes[1].failure) == (not isinstance(results, list | tuple))  # a number that is none is a failure


def test_what_it_logs() -> None:
    def logs(completions: list[str], log_extra: Any, log_metric: Any, **kwargs: Any) -> list[float]:
        log_extra("length", [len(c) for c in completions])
        log_extra("text", completions)
        log_metric("share", 0.25)
        log_metric("share", 0.75)
        return [0.0] * len(completions)

    judge = Judge([reward(logs)], extract)
    judge([sample("#2").rollout, sample("#222").rollout])
    assert judge.metrics["rewards/logs/length"] == 3.0
    assert judge.metrics["rewards/logs/share"] == 0.5
    assert "rewards/logs/text" not in judge.metrics


def test_an_async_trl_function() -> None:
    async def later(completions: list[str], **kwargs: Any) -> list[float]:
        await asyncio.sleep(0)
        return [float(len(c)) for c in completions]

    assert values(reward(later), "a", "bb") == [1.0, 2.0]


def test_a_batch_that_raises_is_asked_again_answer_by_answer() -> None:
    calls: list[int] = []

    def fragile(completions: list[str], **kwargs: Any) -> list[float]:
        calls.append(len(completions))
        return [1 / len(c) for c in completions]

    samples = [sample("a"), sample(""), sample("bb", expert="other"), sample("cccc", expert="other")]
    outcomes = reward(fragile)(samples)
    assert [o.value for o in outcomes] == [1.0, None, 0.5, 0.25]
    assert [o.failure for o in outcomes] == ["", "ZeroDivisionError: division by zero", "", ""]
    assert calls == [4, 1, 1, 1, 1]


def test_results_that_are_too_few_are_a_failure() -> None:
    def short(completions: list[str], **kwargs: Any) -> list[float]:
        return [1.0]

    (one, _) = reward(short)([sample("a"), sample("b")])
    assert one.failure == "ValueError: it returned 1 rewards for 2 completions"


def test_a_column_that_is_not_there_is_named() -> None:
    def wants(completions: list[str], target: list[int]) -> list[float]:
        return [1.0]

    (one,) = reward(wants)([sample("a")])
    assert "it asks for the column 'target'; the questions have id, question, answer, solution" in one.failure
    assert "level" in one.failure


def test_a_broken_trl_function_ends_the_run() -> None:
    def broken(completions: list[str], **kwargs: Any) -> list[float]:
        raise RuntimeError("no")

    with pytest.raises(UserError, match=r"'broken' failed on 16 of 16 answers, first with RuntimeError: no"):
        Judge(["exact_answer", reward(broken)], extract)([sample("#2").rollout] * 16)


# verl


def test_compute_score_is_given_what_verl_gives() -> None:
    seen: list[Any] = []

    def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
        seen.append((data_source, solution_str, ground_truth, extra_info))
        return float(solution_str.endswith(ground_truth))

    row = {
        "data_source": "openai/gsm8k",
        "reward_model": {"style": "rule", "ground_truth": "02"},
        "extra_info": {"split": "train", "index": 4},
    }
    verl = Question("q", "1+1", "2", extras=row)
    outcomes = reward(compute_score)([sample("#2"), sample("#02", verl)])
    assert [o.value for o in outcomes] == [1.0, 1.0]
    assert seen == [("", "#2", "2", {"level": 3}), ("openai/gsm8k", "#02", "02", row["extra_info"])]


def test_a_dict_with_a_score() -> None:
    def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any, **kwargs: Any) -> Any:
        if solution_str == "bad":
            return {"acc": 1.0}
        return {"score": -1.0, "acc": True, "length": len(solution_str), "pred": "two"}

    good, bad = reward(compute_score)([sample("#2"), sample("bad")])
    assert good == Outcome(-1.0, {"acc": 1.0, "length": 2.0})
    assert bad.failure == "TypeError: compute_score returned a dict without `score`; it has acc"


def test_a_bad_sample_costs_itself_in_verl_too() -> None:
    async def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any) -> float:
        return 1 / len(solution_str)

    assert values(reward(compute_score), "", "ab") == [None, 0.5]


# Our own, async


def test_async_rewards_run_side_by_side_within_the_cap() -> None:
    under_way, most = 0, 0

    @reward(concurrency=3)
    async def slow(response: str) -> float:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        if response == "x":
            raise ValueError("an x")
        return float(response)

    assert values(slow, "1", "x", "3", "4", "5", "6", "7") == [1.0, None, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert most == 3


def test_a_deadline_costs_the_answer_that_is_late() -> None:
    @reward(deadline=0.05)
    async def sleeps(response: str) -> float:
        await asyncio.sleep(float(response))
        return 1.0

    late, early = sleeps([sample("30"), sample("0")])
    assert (late.failure, early.value) == ("TimeoutError: no result in 0.05 s", 1.0)


def test_an_object_that_is_awaited() -> None:
    class Later:
        async def __call__(self, response: str) -> float:
            return 0.5

    its = reward(Later())
    assert (its.name, values(its, "a")) == ("Later", [0.5])


def test_one_loop_for_the_life_of_the_process_also_where_one_is_running() -> None:
    loops: list[Any] = []

    @reward
    async def where(response: str) -> float:
        loops.append((asyncio.get_running_loop(), threading.current_thread()))
        return 1.0

    async def notebook() -> list[float | None]:
        return values(where, "a")

    assert values(where, "a") == asyncio.run(notebook()) == [1.0]
    assert loops[0] == loops[1]
    assert loops[0][1] is not threading.current_thread()


def test_an_interruption_cancels_what_is_awaited() -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    class Interrupted(BaseException): ...

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Interrupted):
            wait(forever())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert started.is_set()
    assert cancelled.wait(5)


# Models


def test_a_model_reward_gets_lists() -> None:
    @model_reward(weight=0.5)
    def model(questions: list[Question], responses: list[str], answers: list[str], samples: list[Sample]) -> list[Any]:
        assert [q.id for q in questions] == ["q"] * 4
        assert [s.rollout.text for s in samples] == responses
        return [1, None, (0.5, {"margin": 2}), math.nan]

    assert (model.name, model.weight, model.paid) == ("model", 0.5, True)
    first, second, third, fourth = model([sample(t) for t in "abcd"])
    assert first == Outcome(1.0, {"unanswered": 0.0})
    assert second == Outcome(None, {"unanswered": 0.0})
    assert third == Outcome(0.5, {"margin": 2.0, "unanswered": 0.0})
    assert (fourth.value, fourth.failure, fourth.extras) == (None, "", {"unanswered": 1.0})
    assert fourth.unanswered == "ValueError: the result is nan, not a finite number"


async def late(responses: list[str]) -> list[float]:
    await asyncio.sleep(30)
    return [1.0]


def raises(responses: list[str]) -> list[float]:
    raise RuntimeError("out of memory")


def too_few(responses: list[str]) -> list[float]:
    return [1.0]


@pytest.mark.parametrize(
    ("function", "options", "why"),
    [
        (late, {"deadline": 0.05}, "no result in 0.05 s"),
        (raises, {}, "RuntimeError: out of memory"),
        (too_few, {}, "ValueError: it returned 1 scores for 2 samples"),
    ],
)
def test_a_model_that_fails_gives_none(function: Callable[..., Any], options: Any, why: str) -> None:
    its = model_reward(**options)(function)
    judge = Judge(["exact_answer", its], extract)
    started = time.monotonic()
    scored = judge([sample("#2").rollout, sample("#3").rollout])
    assert time.monotonic() - started < 5
    assert [s.reward for s in scored] == [1.0, 0.0]
    assert [s.parts[its.name] for s in scored] == [None, None]
    assert judge.metrics["verifier/errors"] == 0.0
    assert judge.metrics[f"rewards/{its.name}/unanswered"] == 1.0
    assert [put["error"] for put in judge.quarantine] == [why, why]
    assert judge.notes == [
        f"the reward '{its.name}' gave no score to 2 of 2 answers, which count without it: {why}",
    ]


def test_a_model_reward_is_refused_what_there_is_not() -> None:
    def one(response: str) -> list[float]:
        return [1.0]

    with pytest.raises(UserError, match=r"it asks for 'response', which rewards are not given; they may ask for quest"):
        model_reward(one)
    with pytest.raises(UserError, match=r"that of a plain function is `judge.deadline`"):
        model_reward(deadline=1.0)(raises)


def test_a_model_as_verifier_that_fails_makes_nothing_right() -> None:
    @reward
    def polite(response: str) -> float:
        return 1.0

    scored = Judge([model_reward(raises), polite], extract)([sample("#2").rollout])
    assert (scored[0].reward, scored[0].right) == (1.0, False)
