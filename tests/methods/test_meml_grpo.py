"""MEML-GRPO: the golden numbers of its notes, and the properties they list."""

from __future__ import annotations

import math

import pytest
import torch

from golden import LOGPROBS, REWARDS, golden, meml, says_borrowed
from hand import Draws, evaluated, group, lesson_of, of_kind
from manyminds.formulas.divergences import full_kl
from manyminds.methods.compose import Composed
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.records import Example, Floats, Progress

# The golden numbers.


def test_advantages_are_centred_inside_each_expert() -> None:
    (credited,) = meml().credit((golden(),), meml().initial_memory(), Progress(1, 0.0))
    advantages = [[s.advantage for s in a.scored] for a in credited.answers]
    assert advantages == [[0.0] * 4, [0.25, 0.25, -0.75, 0.25], [-0.25, 0.75, -0.25, -0.25]]
    assert [a.mean for a in credited.answers] == [0, 0.75, 0.25]


@pytest.mark.parametrize(("experts", "loss"), [((0,), 0.0), ((1,), 0.5625), ((2,), 0.375), ((0, 1, 2), 0.3125)])
def test_policy_loss_is_the_mean_over_experts_of_their_positive_parts(experts: tuple[int, ...], loss: float) -> None:
    rewards, logprobs = [REWARDS[i] for i in experts], [LOGPROBS[i] for i in experts]
    method = meml(mutual_coefficient=0.0)
    lesson = lesson_of(method, [group(rewards, logprobs)])
    sampled = of_kind(lesson, "sampled")
    told = evaluated(method, sampled, lambda prompt, ids: (logprobs[prompt[1] - 100][ids[0]],))
    assert told.losses["policy"] == pytest.approx(loss, abs=1e-12)
    assert len(sampled) == 4 * len(experts)


@pytest.mark.parametrize(("experts", "loss"), [((0,), 0.0), ((1,), 0.375), ((2,), -0.1875), ((0, 1, 2), 0.0625)])
def test_clip_is_the_signed_policy_gradient_where_the_ratio_is_one(experts: tuple[int, ...], loss: float) -> None:
    """I: its value is -mean A = 0, and its gradient g that of the signed loss: sum g log p = -mean A log p."""
    rewards, logprobs = [REWARDS[i] for i in experts], [LOGPROBS[i] for i in experts]
    method = meml(policy_loss="clip", mutual_coefficient=0.0)
    sampled = of_kind(lesson_of(method, [group(rewards, logprobs)]), "sampled")
    told = evaluated(method, sampled, lambda prompt, ids: (logprobs[prompt[1] - 100][ids[0]],))
    signed = [g[0] * logprobs[e.prompt_ids[1] - 100][e.ids[0]] for g, e in zip(told.gradients, sampled, strict=True)]
    assert told.losses["policy"] == pytest.approx(0.0, abs=1e-12)
    assert sum(signed) == pytest.approx(loss, abs=1e-12)


def test_mutual_loss_is_the_divergence_from_the_strong_expert() -> None:
    """A: mean of (-2+6, -3+5, -4+7)."""
    method = meml()
    borrowed = of_kind(lesson_of(method, [golden()]), "borrowed")
    told = evaluated(method, borrowed, says_borrowed)
    assert [(e.prompt_ids, e.ids) for e in borrowed] == [((1, 100), (0,)), ((1, 100), (1,)), ((1, 100), (3,))]
    assert [e.planes["writer_logprobs"] for e in borrowed] == [(-2.0,), (-3.0,), (-4.0,)]
    assert told.losses == {"mutual": pytest.approx(3.0)}
    assert told.total == pytest.approx(0.3)
    assert told.gradients == [(pytest.approx(-0.1 / 3),)] * 3


def test_mutual_loss_as_printed_has_the_other_sign_and_moves_both_experts() -> None:
    """A: log p(O+|P_E-) - log p(O+|P_E+), the gradient through both."""
    method = meml(mutual_direction="as_printed")
    lesson = lesson_of(method, [golden()])
    rows = of_kind(lesson, "borrowed") + of_kind(lesson, "lent")
    told = evaluated(method, rows, says_borrowed)
    assert told.losses == {"mutual": pytest.approx(-6.0), "mutual_strong": pytest.approx(3.0)}
    assert told.total == pytest.approx(-0.3)
    assert told.gradients == [(pytest.approx(0.1 / 3),)] * 3 + [(pytest.approx(-0.1 / 3),)] * 3
    assert [e.prompt_ids for e in rows] == [(1, 100)] * 3 + [(1, 101)] * 3


@pytest.mark.parametrize(
    ("compare", "draws", "entered"),
    [("gt", (0.5,), ["e0"]), ("ge", (0.5, 0.8), ["e0"]), ("ge", (0.5, 0.7), ["e0", "e2"])],
)
def test_hard_candidates_and_their_draws(compare: str, draws: Floats, entered: list[str]) -> None:
    """E: wrong counts 4, 1, 3 with K = 3: more than K is E0 alone, K or more also E2; each draws against K/G = 0.75."""
    method = meml(hard_coefficient=0.1, hard_wrong=3, hard_compare=compare)
    rng = Draws(*draws)
    lesson = lesson_of(method, [golden()], rng=rng)
    (buffer,) = lesson.memory
    assert [e.group_id for e in buffer] == [("q", expert) for expert in entered]
    assert {e.ids for e in buffer} == {(900,)}
    assert rng.draws == []
    assert lesson.metrics["hard_buffer/inserts"] == len(entered)


def test_a_solution_that_is_too_long_for_the_model_is_not_remembered() -> None:
    method = meml(hard_coefficient=0.1, hard_wrong=3, hard_compare="ge", hard_probability=1.0)
    rewards = [[0.0] * 4, [0.0] * 4]
    lesson = lesson_of(method, [group(rewards, name="long", solution=()), group(rewards, name="short")])
    (buffer,) = lesson.memory
    assert [e.group_id for e in buffer] == [("short", "e0"), ("short", "e1")]
    assert lesson.metrics["hard_buffer/inserts"] == 2


STORED = Example("solution", (9, 9), (901,))


@pytest.mark.parametrize(("reduction", "sft", "total"), [("sum", 18.0, 2.4125), ("token_mean", 9.0, 1.5125)])
def test_the_full_buffer_is_spent_and_the_total_is_the_golden_one(reduction: str, sft: float, total: float) -> None:
    method = meml(hard_coefficient=0.1, hard_wrong=3, hard_compare="ge", hard_capacity=2, hard_reduction=reduction)
    lesson = lesson_of(method, [golden()], memory=((STORED,),), rng=Draws(0.5, 0.8))
    (update,) = lesson.updates
    told = evaluated(method, update.examples, says_borrowed)
    assert told.losses == {
        "policy": pytest.approx(0.3125),
        "mutual": pytest.approx(3.0),
        "hard": pytest.approx(sft),
    }
    assert told.total == pytest.approx(total)
    assert lesson.memory == ((),)
    assert lesson.metrics["hard_buffer/size"] == 0
    assert lesson.metrics["hard_buffer/inserts"] == lesson.metrics["hard_buffer/flushes"] == 1
    assert (lesson.metrics["hard_buffer/rows"], lesson.metrics["hard_buffer/tokens"]) == (2, 2)


STRONG, WEAK = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.3, 0.3, 0.4]).double()


def test_full_estimator_is_the_divergence_over_the_vocabulary() -> None:
    """A2: KL(p+ || p-) = 0.373386, not the reverse 0.421968; the strong side has no gradient."""
    method = meml(mutual_estimator="full")
    borrowed = of_kind(lesson_of(method, [golden()]), "borrowed")
    teacher = STRONG.log().expand(3, 1, 3).clone().requires_grad_()
    student = WEAK.log().expand(3, 1, 3).clone().requires_grad_()
    told = evaluated(method, borrowed, says_borrowed, teacher_kl=full_kl(teacher, student))
    assert told.losses["mutual"] == pytest.approx(0.373386, abs=1e-6)
    assert {e.teacher_prompt_ids for e in borrowed} == {(1, 101)}
    assert teacher.grad is None
    assert student.grad is not None
    assert (student.grad.sum((0, 1)) / 0.1).tolist() == pytest.approx((WEAK - STRONG).tolist())


def test_k3_estimator_at_one_token() -> None:
    """A2: exp(u) - 1 - u with u = log 0.3 - log 0.7."""
    method = meml(mutual_estimator="k3")
    one = group([[0.0], [1.0]], [[0.0], [math.log(0.7)]])
    borrowed = of_kind(lesson_of(method, [one]), "borrowed")
    told = evaluated(method, borrowed, lambda prompt, ids: (math.log(0.3),))
    assert told.losses["mutual"] == pytest.approx(0.275869, abs=1e-6)
    assert told.gradients[0][0] == pytest.approx(0.1 * (0.3 / 0.7 - 1))


# The properties.


def test_equal_rewards_give_no_policy_gradient() -> None:
    rows = [[0.1] * 8, [1.0] * 8]
    for loss in ("positive_only", "clip"):
        method = meml(policy_loss=loss, mutual_coefficient=0.0)
        sampled = of_kind(lesson_of(method, [group(rows)]), "sampled")
        told = evaluated(method, sampled, lambda prompt, ids: (-1.0,))
        assert told.gradients == [(0.0,)] * 16


def test_mutual_loss_falls_when_the_weak_expert_finds_the_answer_likelier() -> None:
    method = meml()
    borrowed = of_kind(lesson_of(method, [golden()]), "borrowed")
    losses = [evaluated(method, borrowed, lambda p, ids, x=x: (x,)).losses["mutual"] for x in (-6.0, -5.0, -3.0)]
    assert losses == [pytest.approx(3.0), pytest.approx(2.0), pytest.approx(0.0)]


@pytest.mark.parametrize("estimator", ["sequence", "k3", "full"])
def test_no_one_is_lent_anything_where_all_do_equally_well(estimator: str) -> None:
    lesson = lesson_of(meml(mutual_estimator=estimator), [group([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])])
    assert of_kind(lesson, "borrowed") == []
    assert lesson.metrics["mutual/pairs"] == 0
    assert lesson.metrics["mutual/skipped_tie"] == 1


@pytest.mark.parametrize("experts", [2, 5])
def test_any_number_of_experts(experts: int) -> None:
    """The first is always wrong, expert i has i right answers of 8: the last teaches the first."""
    rewards = [[float(g < i) for g in range(8)] for i in range(experts)]
    method = Composed(MEMLGRPO(experts=tuple(f"e{i}" for i in range(experts))))
    lesson = lesson_of(method, [group(rewards)])
    borrowed = of_kind(lesson, "borrowed")
    assert len(of_kind(lesson, "sampled")) == 8 * experts
    assert len(borrowed) == experts - 1
    assert {e.prompt_ids for e in borrowed} == {(1, 100)}
    assert lesson.metrics[f"mutual/pairs/e{experts - 1}->e0"] == 1
    asks = method.ask(group(rewards).question, method.initial_memory(), Progress(1, 0.0))
    assert [(ask.prompt.expert, ask.n) for ask in asks] == [(f"e{i}", 8) for i in range(experts)]
