"""The one-file MEML-GRPO against numbers worked out by hand."""

from __future__ import annotations

import ast
import math

import pytest
import torch

from one_file import (
    ANSWERS,
    GOLD,
    LOGPROBS,
    PATH,
    PROMPTS,
    REWARDS,
    VOCAB,
    Draws,
    Given,
    Recurrent,
    golden,
    gradient,
    near,
    oracle,
)


def test_it_imports_nothing_but_torch() -> None:
    tree = ast.parse(PATH.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"__future__", "collections.abc", "copy", "dataclasses", "random", "torch", "typing"}


# ---------------------------------------------------------------- the golden question


@pytest.mark.parametrize(
    ("expert", "expected"), [(0, [0.0, 0, 0, 0]), (1, [0.25, 0.25, -0.75, 0.25]), (2, [-0.25, 0.75, -0.25, -0.25])]
)
def test_golden_advantages(expert: int, expected: list[float]) -> None:
    assert oracle.advantages(REWARDS[expert]).tolist() == expected


def test_advantages_by_the_sample_standard_deviation() -> None:
    # r = 0 1 0 0: mean 1/4, sample variance (9 + 1 + 1 + 1) / 16 / 3 = 1/4.
    assert oracle.advantages(REWARDS[2], "std").tolist() == pytest.approx([-0.5, 1.5, -0.5, -0.5], rel=3e-6)
    assert oracle.advantages(REWARDS[0], "std").tolist() == [0.0] * 4
    assert oracle.advantages([1.0], "std").tolist() == [0.0]


@pytest.mark.parametrize(("expert", "expected"), [(0, 0.0), (1, 0.5625), (2, 0.375)])
def test_golden_positive_only_loss_of_each_expert(expert: int, expected: float) -> None:
    one = slice(expert, expert + 1)
    alone = oracle.Group(PROMPTS[one], ANSWERS[one], REWARDS[one], GOLD)
    assert near(oracle.grpo_loss(Given(LOGPROBS), [alone]), expected)


def test_golden_positive_only_loss() -> None:
    assert near(oracle.grpo_loss(Given(LOGPROBS), [golden()]), 0.3125)
    assert near(oracle.grpo_loss(Given(LOGPROBS), [golden(), golden()]), 0.3125)


def test_golden_signed_loss_is_the_gradient_of_the_clipped_one() -> None:
    """-log pi * A is 0, 0.375, -0.1875 per expert; the clipped loss at rho = 1 has the gradient of its mean."""
    model, signed = Given(LOGPROBS), []
    for i, expected in enumerate((0.0, 0.375, -0.1875)):
        logprobs = torch.stack([oracle.token_logprobs(model, PROMPTS[i], answer)[0] for answer in ANSWERS[i]])
        signed.append(-(logprobs * oracle.advantages(REWARDS[i])).mean())
        assert near(signed[-1], expected)
    clipped = oracle.grpo_loss(model, [golden()], policy_loss="clip")
    assert near(clipped, 0.0)
    expected_gradient = gradient(model, torch.stack(signed).mean())
    assert expected_gradient.abs().max() > 0.01
    torch.testing.assert_close(gradient(model, clipped), expected_gradient)


def test_golden_pair() -> None:
    assert oracle.best_and_worst(REWARDS) == (1, 0)
    assert oracle.right_answers(golden(), 1) == [(4,), (5,), (7,)]


def test_golden_mutual_loss() -> None:
    model = Given(LOGPROBS)
    assert near(oracle.mutual_loss(model, [golden()]), 3.0)
    assert near(oracle.mutual_loss(model, [golden()], direction="as_printed"), -3.0)


def test_golden_hard_candidates() -> None:
    assert oracle.hard_candidates(REWARDS, 3) == [0]
    assert oracle.hard_candidates(REWARDS, 3, "ge") == [0, 2]
    assert oracle.hard_candidates(REWARDS, 4) == []
    assert oracle.hard_candidates(REWARDS, 1, "ge") == [0, 1, 2]


def test_golden_buffer_and_supervised_loss() -> None:
    buffer = oracle.HardBuffer(capacity=2, rng=Draws(0.5, 0.8), items=[([12], GOLD)])
    assert buffer.flush() == []
    buffer.offer(golden(), K=3, compare="ge")  # p = K/G = 0.75: 0.5 enters, 0.8 does not
    assert buffer.items == [([12], GOLD), ([10], GOLD)]
    flushed = buffer.flush()
    assert flushed == [([12], GOLD), ([10], GOLD)]
    assert buffer.items == []
    model = Given(LOGPROBS)
    assert near(oracle.sft_loss(model, flushed, average="sum"), 18.0)
    assert near(oracle.sft_loss(model, flushed, average="sequences"), 9.0)
    assert near(oracle.sft_loss(model, flushed), 9.0)


@pytest.mark.parametrize(("average", "expected"), [("sum", 2.4125), ("sequences", 1.5125), ("tokens", 1.5125)])
def test_golden_total(average: str, expected: float) -> None:
    model, pairs = Given(LOGPROBS), [([12], GOLD), ([10], GOLD)]
    grpo, mutual = oracle.grpo_loss(model, [golden()]), oracle.mutual_loss(model, [golden()])
    assert near(oracle.total_loss(grpo, mutual, oracle.sft_loss(model, pairs, average=average)), expected)


def test_each_lambda_weighs_its_own_term() -> None:
    one, ten, hundred = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    assert near(oracle.total_loss(one, ten, hundred, 0.2, 0.03), 6.0)
    assert near(oracle.total_loss(one, ten, hundred), 12.0)


def test_golden_divergences_of_one_token() -> None:
    strong, weak = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64).log()
    assert near(oracle.full_kl(strong, weak), 0.373386, 5e-7)
    assert near(oracle.full_kl(weak, strong), 0.421968, 5e-7)
    assert near(oracle.k3(strong, weak)[0], 0.275869, 5e-7)
    assert near((strong.exp() * oracle.k3(strong, weak)).sum(), 0.373386, 5e-7)


@pytest.mark.parametrize(("estimator", "expected"), [("full", 0.373386), ("k3", 0.275869), ("sequence", 0.847298)])
def test_golden_divergences_through_a_model(estimator: str, expected: float) -> None:
    rows = {10: {0: 0.3, 1: 0.3}, 11: {0: 0.7, 1: 0.2}}
    model = Given({prompt: {t: math.log(p) for t, p in row.items()} for prompt, row in rows.items()})
    group = oracle.Group([[10], [11]], [[[1]], [[0]]], [[0.0], [1.0]], GOLD)
    assert near(oracle.mutual_loss(model, [group], estimator=estimator), expected, 5e-7)


# ---------------------------------------------------------------- log-probs and averages


def test_logprobs_are_read_one_position_earlier() -> None:
    model, ids = Recurrent(), [3, 1, 4, 1, 5]
    everything = model(torch.tensor([ids]))[0].log_softmax(-1)
    expected = [everything[1, 4], everything[2, 1], everything[3, 5]]
    torch.testing.assert_close(oracle.token_logprobs(model, ids[:2], ids[2:]), torch.stack(expected))


def test_logprobs_of_all_responses_add_up_to_one() -> None:
    model = Recurrent()
    total = sum(
        oracle.token_logprobs(model, [2], [a, b]).sum().exp().item() for a in range(VOCAB) for b in range(VOCAB)
    )
    assert total == pytest.approx(1.0)


def test_supervised_averages_differ_with_the_length() -> None:
    model, pairs = Given({10: {1: -1, 2: -2}}), [([10], [1, 1, 1]), ([10], [2])]
    assert near(oracle.sft_loss(model, pairs, average="sum"), 5.0)
    assert near(oracle.sft_loss(model, pairs, average="sequences"), 2.5)
    assert near(oracle.sft_loss(model, pairs, average="tokens"), 1.25)
    assert near(oracle.mef_loss(model, pairs, average="sum"), 5.0)
    assert near(oracle.sft_loss(model, []), 0.0)


@pytest.mark.parametrize(("tokens", "expected"), [("mean", 0.5), ("sum", 1.25)])
def test_policy_loss_over_tokens(tokens: str, expected: float) -> None:
    # Four answers, A = 1/2 for a right one of 3 and one of 2 tokens, 2 nats each: (1 + 1) / 4, or (3 + 2) / 4.
    model = Given({10: {1: -2.0}, 11: {1: -2.0}})
    answers = [[[1, 1, 1], [15]], [[1, 1], [15]]]
    group = oracle.Group([[10], [11]], answers, [[1.0, 0], [1.0, 0]], GOLD)
    assert near(oracle.grpo_loss(model, [group], tokens=tokens), expected)


@pytest.mark.parametrize(("tokens", "expected"), [("mean", 1.5), ("sum", 2.5)])
def test_mutual_loss_over_tokens(tokens: str, expected: float) -> None:
    # Two right answers of E+ (1 and 2 tokens), 1 and 2 nats a token less likely under E-.
    model = Given({10: {1: -2.0, 2: -4.0}, 11: {1: -1.0, 2: -2.0}})
    group = oracle.Group([[10], [11]], [[[0], [0]], [[1], [2, 2]]], [[0.0, 0], [1.0, 1]], GOLD)
    assert near(oracle.mutual_loss(model, [group], tokens=tokens), expected)


def test_questions_without_a_pair_count_as_zero() -> None:
    level = oracle.Group(PROMPTS, ANSWERS, [[0.0, 1, 0, 0]] * 3, GOLD)
    failed = oracle.Group(PROMPTS, ANSWERS, [[0.0] * 4] * 3, GOLD)
    assert near(oracle.mutual_loss(Given(LOGPROBS), [level, golden(), failed]), 1.0)
    assert near(oracle.mutual_loss(Given(LOGPROBS), [level, failed]), 0.0)


def test_ties_take_the_first_expert_and_close_pairs_are_left() -> None:
    assert oracle.best_and_worst([[0.0, 1], [1.0, 1], [1.0, 1], [1.0, 0]]) == (1, 0)
    assert oracle.best_and_worst([[1.0, 1], [0.0, 0], [0.0, 0]]) == (0, 1)
    assert oracle.best_and_worst([[1.0, 0], [0.0, 1]]) is None
    assert oracle.best_and_worst(REWARDS, min_gap=0.75) == (1, 0)
    assert oracle.best_and_worst(REWARDS, min_gap=0.76) is None


def test_most_takes_distinct_answers_in_order() -> None:
    group = oracle.Group([[10]], [[[3], [2], [3], [1], [4]]], [[1.0, 1, 1, 0, 1]], GOLD)
    assert oracle.right_answers(group, 0) == [(3,), (2,), (3,), (4,)]
    assert oracle.right_answers(group, 0, 2) == [(3,), (2,)]
    assert oracle.right_answers(group, 0, 9) == [(3,), (2,), (4,)]
    one = oracle.mutual_loss(Given(LOGPROBS), [golden()], most=1)
    assert near(one, 4.0)


def test_the_printed_direction_is_for_the_sequence_estimator() -> None:
    with pytest.raises(ValueError, match="as_printed"):
        oracle.mutual_loss(Given(LOGPROBS), [golden()], estimator="full", direction="as_printed")
