"""How parts become one number: gates, standardisation within the group, weights; and what decides right and wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from manyminds.formulas.advantages import standardised
from manyminds.records import Answers, Prompt, Question, Rollout, Scored
from manyminds.rewards import Judge, Reward, resolve, reward
from manyminds.rewards.verdict import over_all, within_groups
from manyminds.tasks.arithmetic import extract

ASKED: list[str] = []
"""What `length` was asked about: it is trusted, so it runs in this process."""


@reward(trusted=True)
def length(response: str) -> float:
    ASKED.append(response)
    return float(len(response))


@reward(trusted=True)
def digits(response: str) -> float | None:
    return None if "-" in response else float(sum(map(str.isdigit, response)))


@reward(trusted=True)
def fragile(response: str) -> float:
    return 1 / response.count("#")


def rollouts(*texts: str, question: str = "q", expert: str = "concise") -> list[Rollout]:
    prompt = Prompt(Question(question, "1+1", "2"), expert)
    return [Rollout(prompt, (1,), (-0.5,), text) for text in texts]


def totals(rewards: list[str | Reward], *drawn: Rollout) -> list[float]:
    return [scored.reward for scored in Judge(rewards, extract)(drawn)]


def its(made: Reward, **changes: Any) -> Reward:
    return replace(made, **changes)


# Gates


def test_a_gate_is_open_above_zero_and_what_it_shuts_counts_as_nothing() -> None:
    ASKED.clear()
    judge = Judge(["exact_answer", its(length, gate="exact_answer", weight=0.1)], extract)
    scored = judge(rollouts("#2", "#33", "c11#2"))
    assert [s.reward for s in scored] == pytest.approx([1.2, 0.0, 1.5])
    assert [s.parts["length"] for s in scored] == [2.0, None, 5.0]
    assert ASKED == ["#2", "c11#2"]
    assert judge.metrics["rewards/length/mean"] == 3.5  # over those that were asked


def test_a_gate_that_does_not_apply_is_shut() -> None:
    gated = [digits, its(length, gate="digits")]
    assert totals(gated, *rollouts("12", "x-", "x")) == [4.0, 0.0, 0.0]


def test_a_chain_of_gates() -> None:
    chain: list[str | Reward] = ["exact_answer", its(digits, gate="exact_answer"), its(length, gate="digits")]
    assert totals(chain, *rollouts("#2", "#3")) == [4.0, 0.0]


def test_a_share_of_errors_is_a_share_of_those_that_were_asked() -> None:
    gated = Judge([digits, its(fragile, gate="digits")], extract)
    gated(rollouts(*["x"] * 30, *["1"] * 15))  # fewer asked than tell anything
    with pytest.raises(Exception, match="failed on 16 of 16 answers"):
        gated(rollouts(*["x"] * 30, *["1"] * 16))


# Standardisation


def test_terms_are_standardised_within_the_answers_of_one_expert_to_one_question() -> None:
    drawn = [
        *rollouts("a", "bbb"),
        *rollouts("aaaaa", "bbbbb", expert="deliberate"),
        *rollouts("a", "bb", "cccccc", question="r"),
    ]
    judge = Judge([its(length, normalise="group", weight=2.0)], extract)
    scored = judge([drawn[i] for i in (0, 2, 4, 1, 3, 5, 6)])  # groups are known by name, not by place
    by_text = {(s.rollout.prompt.group_id, s.rollout.text): s.reward for s in scored}
    q, deliberate, r = ("q", "concise"), ("q", "deliberate"), ("r", "concise")
    # 1 and 3: mean 2, sample deviation sqrt(2). 1, 2, 6: mean 3, deviation sqrt(7).
    assert by_text[q, "a"] == pytest.approx(-2 / (math.sqrt(2) + 1e-6), abs=1e-12)
    assert by_text[q, "bbb"] == pytest.approx(2 / (math.sqrt(2) + 1e-6), abs=1e-12)
    assert by_text[deliberate, "aaaaa"] == by_text[deliberate, "bbbbb"] == 0.0
    found = [by_text[r, text] for text in ("a", "bb", "cccccc")]
    assert found == pytest.approx([2 * d / (math.sqrt(7) + 1e-6) for d in (-2, -1, 3)], abs=1e-12)
    assert judge.metrics["rewards/length/mean"] == pytest.approx(23 / 7)  # as it was given
    assert [s.parts["length"] for s in scored] == [float(len(s.rollout.text)) for s in scored]


def test_each_term_has_its_own_spread() -> None:
    texts = ("#2", "#3", "c12345678#2", "c12345678#3")
    both: list[str | Reward] = [
        its(resolve("exact_answer"), normalise="group"),
        its(length, normalise="group"),
    ]
    right, long = torch.tensor([1.0, 0, 1, 0], dtype=torch.float64), torch.tensor([2.0, 2, 11, 11], dtype=torch.float64)
    expected = (standardised(right) + standardised(long)).tolist()
    assert totals(both, *rollouts(*texts)) == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx([0.0, -math.sqrt(3), math.sqrt(3), 0.0], abs=1e-5)


def test_equal_values_add_exactly_nothing() -> None:
    tenth = reward(lambda response: 0.1)
    assert totals([its(tenth, normalise="group")], *rollouts(*"abcdefgh")) == [0.0] * 8
    assert totals([its(length, normalise="group")], *rollouts("abc")) == [0.0]


def test_over_the_whole_step_a_part_is_a_z_score() -> None:
    """The numbers of Crossing the Reward Bridge, over two groups; what does not apply is left out."""
    due = [0.529339, -0.317603, -1.446859, 1.235123]
    assert over_all([0.7, 0.4, 0.0, 0.95]) == pytest.approx(due, abs=1e-6)
    some = over_all([0.7, None, 0.4, 0.0, None, 0.95])
    assert [some[1], some[4]] == [None, None]
    assert [z for z in some if z is not None] == pytest.approx(due, abs=1e-6)
    assert over_all([0.1] * 7) == [0.0] * 7
    assert over_all([None]) == [None]
    drawn = [*rollouts("abcdefg"), *rollouts("abcd", "", question="r"), *rollouts("abcdefghi", expert="other")]
    part = its(length, normalise="batch", weight=2.0)
    assert part.describe() == "weight 2, standardised over the step"
    lengths = torch.tensor([7.0, 4.0, 0.0, 9.0], dtype=torch.float64)
    z = (lengths - lengths.mean()) / lengths.std(correction=0)
    assert totals([part], *drawn) == pytest.approx((2 * z).tolist())


def test_what_does_not_apply_stays_out_of_mean_and_spread() -> None:
    given = within_groups([("q", "e")] * 4, [1.0, None, 3.0, None])
    assert given == pytest.approx([-1 / (math.sqrt(2) + 1e-6), None, 1 / (math.sqrt(2) + 1e-6), None])
    texts = rollouts("1", "-", "123")
    assert totals([its(digits, normalise="group")], *texts) == pytest.approx([given[0], 0.0, given[2]])


def test_what_a_gate_shuts_is_standardised_as_nothing() -> None:
    gated = ["exact_answer", its(length, gate="exact_answer", normalise="group")]
    found = totals(gated, *rollouts("#2", "#3", "c11#2"))
    deviation = math.sqrt(((2 - 7 / 3) ** 2 + (7 / 3) ** 2 + (5 - 7 / 3) ** 2) / 2) + 1e-6
    assert found == pytest.approx([1 + (2 - 7 / 3) / deviation, -7 / 3 / deviation, 1 + (5 - 7 / 3) / deviation])


def test_an_answer_on_which_a_reward_failed_has_no_terms() -> None:
    found = totals([fragile, its(length, normalise="group")], *rollouts("#1", "#123", "xxxxxxxxxxx"))
    assert found[2] == 0.0
    assert found[:2] == pytest.approx([1 - 1 / math.sqrt(2), 1 + 1 / math.sqrt(2)], abs=1e-5)


# Right and wrong


def test_the_verifier_alone_says_what_is_right() -> None:
    both = Judge(["exact_answer", its(length, weight=5.0)], extract)
    assert [s.right for s in both(rollouts("#2", "c1111111#3"))] == [True, False]
    verifier = its(resolve("exact_answer"), normalise="group")
    shaped = Judge([verifier, its(length, normalise="group")], extract)
    scored = shaped(rollouts("#2", "c11111111#3", "#2", "#2"))
    assert scored[1].reward > 0 > scored[0].reward
    assert [s.right for s in scored] == [True, False, True, True]
    group = Answers(scored[0].rollout.prompt, scored)
    assert (group.mean, group.wrong, len(group.right)) == (0.75, 1, 3)
    assert sum(group.rewards) == pytest.approx(0)


def test_an_answer_of_which_the_verifier_says_nothing_is_not_right() -> None:
    polite = reward(lambda response: 1.0)
    (scored,) = Judge([digits, polite], extract)(rollouts("-"))
    assert (scored.reward, scored.verdict, scored.right) == (1.0, 0.0, False)
    bare = Scored(scored.rollout, 0.7)
    assert (bare.verdict, bare.right) == (0.7, True)


def test_an_evaluation_asks_the_verifier_alone() -> None:
    ASKED.clear()
    judge = Judge(["exact_answer", length, fragile], extract)
    judge.metrics = {"kept": 1.0}
    scored = judge.verify(rollouts("#2", "3"))
    assert [(s.reward, s.parts) for s in scored] == [(1.0, {"exact_answer": 1.0}), (0.0, {"exact_answer": 0.0})]
    assert (ASKED, judge.metrics) == ([], {"kept": 1.0})


def test_one_text_is_scored_without_a_group() -> None:
    judge = Judge(["exact_answer", its(length, normalise="group", weight=0.5, gate="exact_answer")], extract)
    question = Question("q", "1+1", "2")
    assert judge.score(question, "#2") == 2.0
    assert judge.score(question, "#3") == 0.0
    assert judge.look(question, ["#3"])[0][1].parts == {"exact_answer": 0.0, "length": None}
