"""What must hold of the one-file MEML-GRPO's gradients, buffer and toy, whatever the numbers."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from one_file import GOLD, LOGPROBS, VOCAB, Given, Recurrent, golden, gradient, near, oracle, uneven

# ---------------------------------------------------------------- properties of the gradients


@pytest.mark.parametrize("policy_loss", ["positive_only", "clip"])
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_equal_rewards_give_no_policy_gradient(policy_loss: str, reward: float) -> None:
    model = Recurrent()
    loss = oracle.grpo_loss(model, [uneven([[reward] * 2] * 3)], policy_loss=policy_loss, scale="std")
    assert gradient(model, loss).abs().max() == 0.0


@pytest.mark.parametrize("estimator", ["sequence", "k3", "full"])
def test_the_teacher_side_gets_no_gradient(estimator: str) -> None:
    """In a table the rows are the prompts: only the weak expert's row moves."""
    model = Given(LOGPROBS)
    grad = gradient(model, oracle.mutual_loss(model, [golden()], estimator=estimator)).view(VOCAB, VOCAB)
    assert grad[10].abs().max() > 1e-3
    grad[10] = 0.0
    assert grad.abs().max() == 0.0


@pytest.mark.parametrize("estimator", ["sequence", "k3", "full"])
def test_the_teacher_side_gets_no_gradient_in_a_shared_model(estimator: str) -> None:
    """With shared weights, the gradient is that of the divergence from log-probs written down beforehand."""
    model, group = Recurrent(), uneven()
    answers = oracle.right_answers(group, 1)
    view: Callable[..., Tensor] = oracle.token_distributions if estimator == "full" else oracle.token_logprobs
    fixed = [view(model, group.prompts[1], answer).detach().clone() for answer in answers]
    total = torch.zeros(())
    for answer, strong in zip(answers, fixed, strict=True):
        weak = view(model, group.prompts[0], answer)
        per_token = {"k3": oracle.k3, "full": oracle.full_kl}.get(estimator, torch.sub)(strong, weak)
        total = total + per_token.mean() / len(answers)
    expected = gradient(model, total)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient(model, oracle.mutual_loss(model, [group], estimator=estimator)), expected)


@pytest.mark.parametrize("direction", ["strong_to_weak", "as_printed"])
def test_which_way_a_step_moves_the_weak_expert(direction: str) -> None:
    """The default raises log p(O+|P_E-) and leaves the strong expert; the printed one lowers it, and raises that."""
    model = Given(LOGPROBS)

    def likelihoods() -> Tensor:
        with torch.no_grad():
            scores = [[oracle.token_logprobs(model, [p], [t]) for t in (4, 5, 7)] for p in (10, 11)]
            return torch.tensor(scores, dtype=torch.float64).mean(1)

    before, loss = likelihoods(), oracle.mutual_loss(model, [golden()], direction=direction)
    loss.backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    weak, strong = (likelihoods() - before).tolist()
    if direction == "strong_to_weak":
        assert weak > 0.01
        assert strong == 0.0
        assert oracle.mutual_loss(model, [golden()]) < loss
    else:
        assert weak < -0.01
        assert strong > 0.01


@pytest.mark.parametrize(
    ("reward", "shift", "value", "moves"),
    [  # A = +1/2 or -1/2; rho = exp(shift)
        (1.0, 0.0, -0.5, True),
        (1.0, 0.1, -0.5 * math.exp(0.1), True),
        (1.0, 0.5, -0.5 * 1.2, False),
        (1.0, -0.5, -0.5 * math.exp(-0.5), True),
        (0.0, -0.5, 0.5 * 0.8, False),
        (0.0, 0.5, 0.5 * math.exp(0.5), True),
    ],
)
def test_the_clipped_surrogate(reward: float, shift: float, value: float, moves: bool) -> None:
    model = Given({10: {1: -2.0, 2: -2.0}})
    old = [[[-2.0 - shift], [-2.0]]]  # of the answer looked at, and of the other
    group = oracle.Group([[10]], [[[1], [2]]], [[reward, 1.0 - reward]], GOLD, old)
    loss = oracle.grpo_loss(model, [group], policy_loss="clip")
    other = -0.5 if reward == 0.0 else 0.5  # at rho = 1
    assert near(loss, (value + other) / 2)
    # d log pi(1) / d logit(1) = 1 - p and d log pi(2) / d logit(1) = -p, with p = exp(-2).
    p = math.exp(-2.0)
    expected = (value * (1 - p) if moves else 0.0) / 2 + other * -p / 2
    assert gradient(model, loss).view(VOCAB, VOCAB)[10, 1].item() == pytest.approx(expected)


def test_clip_higher_widens_one_side() -> None:
    model = Given({10: {1: -2.0, 2: -2.0}})
    group = oracle.Group([[10]], [[[1], [2]]], [[1.0, 0.0]], GOLD, [[[-2.5], [-2.0]]])
    assert near(oracle.grpo_loss(model, [group], policy_loss="clip", clip=(0.2, 0.28)), (-0.5 * 1.28 + 0.5) / 2)


@pytest.mark.parametrize("scale", ["none", "std"])
def test_without_the_new_terms_and_with_one_expert_it_is_grpo(scale: str) -> None:
    model, rewards = Recurrent(), torch.tensor([1.0, 0, 0], dtype=torch.float64)
    answers = [[1, 2, 3], [4], [5, 6]]
    group = oracle.Group([[10, 0]], [answers], [rewards.tolist()], GOLD)
    total = oracle.total_loss(
        oracle.grpo_loss(model, [group], policy_loss="clip", scale=scale),
        oracle.mutual_loss(model, [group]),
        oracle.sft_loss(model, [([10, 0], GOLD)]),
        0.0,
        0.0,
    )
    advantage = rewards - 1 / 3
    if scale == "std":
        advantage = advantage / (math.sqrt(1 / 3) + 1e-6)
    means = [oracle.token_logprobs(model, [10, 0], answer).mean() for answer in answers]
    plain = -(torch.stack(means) * advantage).mean()
    torch.testing.assert_close(gradient(model, total), gradient(model, plain))


# ---------------------------------------------------------------- the buffer


def test_the_buffer_keeps_what_is_over_its_capacity() -> None:
    buffer = oracle.HardBuffer(capacity=2)
    for _ in range(3):
        buffer.offer(golden(), K=3, p=1.0)
    assert len(buffer.flush()) == 2
    assert len(buffer.items) == 1
    assert buffer.flush() == []


def test_the_share_that_enters_is_k_over_g() -> None:
    buffer = oracle.HardBuffer(capacity=10**6)
    for _ in range(4000):
        buffer.offer(golden(), K=3)
    assert len(buffer.items) / 4000 == pytest.approx(0.75, abs=0.03)
    never = oracle.HardBuffer()
    never.offer(golden(), K=3, p=0.0)
    assert never.items == []


def test_buffer_and_random_numbers_survive_a_restart() -> None:
    def flushes(buffer: Any, steps: int) -> list[Any]:
        taken = []
        for step in range(steps):
            group = golden()
            group.solution = [step]
            buffer.offer(group, K=3, compare="ge", p=0.5)
            taken.append(buffer.flush())
        return taken

    straight = oracle.HardBuffer(3, random.Random(5))
    expected = flushes(straight, 20) + flushes(straight, 20)
    stopped = oracle.HardBuffer(3, random.Random(5))
    first = flushes(stopped, 20)
    assert stopped.items
    assert first + flushes(pickle.loads(pickle.dumps(stopped)), 20) == expected


# ---------------------------------------------------------------- the toy


def toy() -> Any:
    layers = torch.nn.Embedding(13, 16), torch.nn.Flatten(2), torch.nn.Linear(128, 64), torch.nn.Linear(64, 12)
    return oracle.Toy(*layers)


def test_the_toy_sees_the_past_alone() -> None:
    model, ids = toy(), torch.randint(12, (1, 10))
    whole, changed = model(ids), model(torch.cat([ids[:, :6], 11 - ids[:, 6:]], 1))
    assert whole.shape == (1, 10, 12)
    torch.testing.assert_close(whole[:, :6], changed[:, :6])
    assert (whole[:, 6] - changed[:, 6]).abs().max() > 1e-3


def test_the_toy_rewards_the_sum() -> None:
    group = oracle.ask(toy(), 5, 4, 4000)
    assert group.prompts == [[7, 5, 4], [8, 5, 4], [9, 5, 4]]
    assert group.solution == [10, 2, 11]
    for answers, rewards in zip(group.answers, group.rewards, strict=True):
        assert len(answers) == len(rewards) == 4000
        for answer, reward in zip(answers, rewards, strict=True):
            assert len(answer) == 5 or answer.index(11) == len(answer) - 1
            assert reward == float(answer[-3:] == [10, 2, 11])
    assert 0 < sum(map(sum, group.rewards)) < 12000


@pytest.mark.long
def test_the_printed_rewards_say_what_the_docstring_says(capsys: pytest.CaptureFixture[str]) -> None:
    oracle.main(0)
    means = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()]
    warm, grpo, mutual, meml = means
    assert warm < grpo < meml < mutual
    assert mutual > grpo + 0.08
