"""MEML-GRPO: each of the paper's ambiguities A to J, with its default and its alternatives.

A (direction), A2 (estimator) and E (comparison) are among the golden numbers, in test_meml_grpo.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from golden import LOGPROBS, REWARDS, golden, meml, says, says_borrowed
from hand import GOLD, Draws, evaluated, group, lesson_of, of_kind
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.records import Example, Ids, Progress

STORED = Example("solution", (9, 9), (901,))


def test_a2_a_sequence_counts_per_token_or_as_its_sum() -> None:
    """Answers of 1 and 3 tokens, each token 2 nats less likely for the weak expert."""
    two = group([[0.0, 0.0], [1.0, 1.0]], ids=[[(1,), (2,)], [(3,), (4, 5, 6)]])
    for per_token, loss in ((True, 2.0), (False, (2.0 + 6.0) / 2)):
        method = meml(mutual_per_token=per_token)
        borrowed = of_kind(lesson_of(method, [two]), "borrowed")
        told = evaluated(method, borrowed, lambda prompt, ids: (-3.0,) * len(ids))
        assert told.losses["mutual"] == pytest.approx(loss)
    assert meml().base.mutual_per_token


def test_a2_as_printed_goes_with_the_sequence_estimator_alone() -> None:
    for estimator in ("k3", "full"):
        with pytest.raises(ValidationError, match="as_printed"):
            meml(mutual_direction="as_printed", mutual_estimator=estimator)


def test_b_every_expert_gives_all_answers_or_they_share_them() -> None:
    asked = golden().question
    counts = {
        (split, g): [ask.n for ask in method.ask(asked, ((),), Progress(1, 0.0))]
        for split, g in ((False, 8), (True, 8), (True, 9), (True, 2))
        for method in [Composed(MEMLGRPO(experts=("e0", "e1", "e2"), answers_per_prompt=g, split_answers=split))]
    }
    assert counts == {(False, 8): [8] * 3, (True, 8): [2] * 3, (True, 9): [3] * 3, (True, 2): [1] * 3}
    assert not MEMLGRPO().split_answers


THREE = [
    group([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]], name="q"),
    group([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]], name="qq"),
    group([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], name="qqq"),
]


def test_c_best_and_worst_are_chosen_per_question() -> None:
    metrics = lesson_of(meml(), THREE).metrics
    assert {name: n for name, n in metrics.items() if name.startswith("mutual/pairs")} == {
        "mutual/pairs": 3,
        "mutual/pairs/e0->e1": 2,
        "mutual/pairs/e1->e0": 1,
    }
    assert metrics["mutual/gap"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_c_or_over_the_whole_step() -> None:
    """Means over the step 2/3, 1/2, 1/2: E0 teaches E1 everywhere it is right, not in the second question."""
    lesson = lesson_of(meml(mutual_pairing="step"), THREE)
    metrics = lesson.metrics
    assert {e.group_id for e in of_kind(lesson, "borrowed")} == {("q", "e1"), ("qqq", "e1")}
    assert metrics["mutual/pairs"] == metrics["mutual/pairs/e0->e1"] == 2
    assert metrics["mutual/skipped_no_correct"] == 1
    assert metrics["mutual/gap"] == pytest.approx(2 / 3 - 1 / 2)


def test_c_over_the_whole_step_only_questions_that_all_were_asked_count() -> None:
    some = [group([[1.0, 1.0], [1.0, 0.0]], name="q"), group([[0.0, 0.0]], name="qq")]
    lesson = lesson_of(meml(mutual_pairing="step"), some)
    assert {e.group_id for e in of_kind(lesson, "borrowed")} == {("q", "e1")}
    assert lesson.metrics["mutual/gap"] == 0.5
    other = group([[1.0], [0.0]], name="qq")
    apart = [group([[1.0, 1.0]], name="q"), replace(other, answers=other.answers[1:])]
    metrics = lesson_of(meml(mutual_pairing="step"), apart).metrics
    assert (metrics["mutual/pairs"], metrics["mutual/skipped_tie"]) == (0, 2)


@pytest.mark.parametrize("ties", ["lowest", "random"])
def test_c_over_the_whole_step_too_the_best_must_lead(ties: str) -> None:
    even = [group([[1.0, 0.0], [0.0, 0.0]], name="q"), group([[0.0, 0.0], [0.0, 1.0]], name="qq")]
    for seed in range(8):
        lesson = lesson_of(meml(mutual_pairing="step", mutual_ties=ties), even, rng=Random(seed))
        assert of_kind(lesson, "borrowed") == []
        assert lesson.metrics["mutual/skipped_tie"] == 2


def test_c_of_equals_the_first_or_one_at_random() -> None:
    tied = [group([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])]

    def pairs(ties: str) -> set[str]:
        lessons = [lesson_of(meml(mutual_ties=ties), tied, rng=Random(seed)) for seed in range(40)]
        return {name for lesson in lessons for name in lesson.metrics if "->" in name}

    assert pairs("lowest") == {"mutual/pairs/e0->e2"}
    assert pairs("random") == {f"mutual/pairs/e{best}->e{worst}" for best in (0, 1) for worst in (2, 3)}


@pytest.mark.parametrize(("gap", "pairs"), [(0.0, 1), (0.75, 1), (0.8, 0)])
def test_the_best_expert_must_lead_by_the_gap(gap: float, pairs: int) -> None:
    lesson = lesson_of(meml(mutual_gap=gap), [golden()])
    assert lesson.metrics["mutual/pairs"] == pairs
    assert bool(of_kind(lesson, "borrowed")) is bool(pairs)


@pytest.mark.parametrize(
    ("most", "lent"), [(0, [(1,), (1,), (2,), (3,)]), (1, [(1,)]), (2, [(1,), (2,)]), (8, [(1,), (2,), (3,)])]
)
def test_d_every_right_answer_is_lent_or_some_distinct_ones(most: int, lent: list[Ids]) -> None:
    """Each question weighs 1 / questions, however many answers it lends."""
    ids = [[(9,)] * 5, [(1,), (1,), (8,), (2,), (3,)]]
    one = group([[0.0] * 5, [1.0, 1.0, 0.0, 1.0, 1.0]], ids=ids)
    borrowed = of_kind(lesson_of(meml(mutual_answers=most), [one, group([[0.0], [0.0]], name="qq")]), "borrowed")
    assert [e.ids for e in borrowed] == lent
    assert [e.weight for e in borrowed] == pytest.approx([0.5 / len(lent)] * len(lent))


def test_d_the_mutual_term_is_a_mean_over_all_questions() -> None:
    """2 nats in a question with three answers, 4 in one with one answer, nothing in one without a pair."""
    groups = [
        group([[0.0] * 3, [1.0] * 3], name="q"),
        group([[0.0] * 3, [1.0, 0.0, 0.0]], name="qq"),
        group([[0.0], [0.0]], name="qqq"),
    ]
    method = meml()
    borrowed = of_kind(lesson_of(method, groups), "borrowed")
    told = evaluated(method, borrowed, lambda prompt, ids: (-1.0 - 2.0 * prompt[0],))
    assert told.losses["mutual"] == pytest.approx((2 + 4 + 0) / 3)


@pytest.mark.parametrize(
    ("odds", "below", "above"),
    [("K/G", 0.74, 0.76), ("w/G", 0.99, None), (0.3, 0.29, 0.31), (0.0, None, 0.0), (1.0, 0.99, None)],
)
def test_f_the_odds_of_entering(odds: str | float, below: float | None, above: float | None) -> None:
    method = meml(hard_coefficient=0.1, hard_wrong=3, hard_probability=odds)
    for draw, size in ((below, 1), (above, 0)):
        if draw is not None:
            assert len(lesson_of(method, [golden()], rng=Draws(draw)).memory[0]) == size


def test_f_w_of_g_follows_the_wrong_answers() -> None:
    method = meml(hard_coefficient=0.1, hard_wrong=2, hard_probability="w/G")
    three_of_four = [group([[0.0, 0, 0, 1]])]
    assert len(lesson_of(method, three_of_four, rng=Draws(0.74)).memory[0]) == 1
    assert len(lesson_of(method, three_of_four, rng=Draws(0.76)).memory[0]) == 0


@pytest.mark.parametrize("odds", [-0.1, 1.5, "G/K"])
def test_f_odds_are_a_probability(odds: Any) -> None:
    with pytest.raises(ValidationError, match="hard_probability"):
        meml(hard_probability=odds)


@pytest.mark.parametrize(("source", "ids"), [("ground_truth", [GOLD, GOLD]), ("own", [(700,), (702,)])])
def test_g_the_solution_is_the_data_sets_or_the_experts_own(source: str, ids: list[Ids]) -> None:
    method = meml(hard_coefficient=0.1, hard_wrong=2, hard_probability=1.0, hard_source=source)
    (buffer,) = lesson_of(method, [group(REWARDS, LOGPROBS)]).memory
    assert [(e.kind, e.prompt_ids, e.ids) for e in buffer] == [
        ("solution", (1, 100), ids[0]),
        ("solution", (1, 102), ids[1]),
    ]


@pytest.mark.parametrize(
    ("reduction", "loss"),
    [("token_mean", 18 / 4), ("sequence_mean", (8 + 10 / 3) / 2), ("sum", 18), ("mean_of_sums", 9)],
)
def test_h_how_solutions_are_averaged(reduction: str, loss: float) -> None:
    method = meml(hard_coefficient=0.1, hard_reduction=reduction)
    rows = [Example("solution", (1, 100), (5,)), Example("solution", (1, 100), (6, 7, 8))]
    told = evaluated(method, rows, lambda prompt, ids: (-8.0,) if ids == (5,) else (-1.0, -2.0, -7.0))
    assert told.losses["hard"] == pytest.approx(loss)
    assert meml().base.hard_reduction == "token_mean"


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [("joint", [{"sampled", "borrowed", "solution"}]), ("separate", [{"sampled", "borrowed"}, {"solution"}])],
)
def test_h_solutions_join_the_step_or_are_a_step_of_their_own(mode: str, kinds: list[set[str]]) -> None:
    method = meml(hard_coefficient=0.1, hard_wrong=3, hard_capacity=2, hard_probability=1.0, hard_mode=mode)
    lesson = lesson_of(method, [golden()], memory=((STORED,),))
    assert [{e.kind for e in update.examples} for update in lesson.updates] == kinds
    assert len(of_kind(lesson, "solution")) == 2


def test_h_what_does_not_fit_waits() -> None:
    method = meml(hard_coefficient=0.1, hard_wrong=3, hard_capacity=3, hard_probability=1.0)
    stored = tuple(Example("solution", (9, i), (901,)) for i in range(4))
    lesson = lesson_of(method, [golden()], memory=(stored,))
    assert of_kind(lesson, "solution") == list(stored[:3])
    assert [e.prompt_ids for e in lesson.memory[0]] == [(9, 3), (1, 100)]
    assert lesson.metrics["hard_buffer/size"] == 2


def test_i_the_published_policy_loss_learns_nothing_from_what_was_worse() -> None:
    method = meml(mutual_coefficient=0.0)
    sampled = of_kind(lesson_of(method, [golden()]), "sampled")
    gradients = evaluated(method, sampled, says).gradients
    assert [g[0] * 12 for g in gradients] == pytest.approx([0, 0, 0, 0, -0.25, -0.25, 0, -0.25, 0, -0.75, 0, 0])


def test_i_the_ratio_is_clipped() -> None:
    """exp(0.5) is beyond 1 + 0.2: no gradient where A > 0, all of it where A < 0."""
    method = meml(policy_loss="clip")
    old = {"old_logprobs": (-1.0,)}
    rows = [Example("sampled", (1,), (g,), advantage=a, planes=old) for g, a in ((0, 1.0), (1, -1.0))]
    told = evaluated(method, rows, lambda prompt, ids: (-0.5,))
    assert told.gradients == [(0.0,), (pytest.approx(math.exp(0.5) / 2),)]
    assert told.losses["policy"] == pytest.approx((-1.2 + math.exp(0.5)) / 2)


def test_j_defaults_are_the_published_preset() -> None:
    method = build({"name": "meml_grpo"})
    assert method == MEMLGRPO(preset="published")
    stated = {
        "mutual_coefficient": 0.1,
        "hard_coefficient": 0.1,
        "hard_wrong": 6,
        "hard_compare": "gt",
        "hard_probability": "K/G",
        "hard_capacity": 64,
        "hard_source": "ground_truth",
        "answers_per_prompt": 8,
        "scale": "none",
        "policy_loss": "positive_only",
        "mutual_direction": "strong_to_weak",
        "mutual_estimator": "sequence",
        "mutual_pairing": "question",
        "mutual_gap": 0.0,
        "mutual_answers": 0,
    }
    assert {name: getattr(method, name) for name in stated} == stated


def test_the_tuned_preset_fills_in_what_the_recipe_leaves_open() -> None:
    tuned = build({"name": "meml_grpo", "preset": "tuned"})
    assert (tuned.policy_loss, tuned.scale, tuned.mutual_gap, tuned.mutual_answers) == ("clip", "std", 0.25, 8)
    mine = build({"name": "meml_grpo", "preset": "tuned", "mutual_gap": 0.0, "scale": "none"})
    assert (mine.policy_loss, mine.scale, mine.mutual_gap, mine.mutual_answers) == ("clip", "none", 0.0, 8)
    with pytest.raises(ValidationError, match="preset"):
        build({"name": "meml_grpo", "preset": "best"})


def test_solutions_are_needed_only_where_they_are_learnt() -> None:
    assert MEMLGRPO().needs == {"solutions"}
    assert MEMLGRPO(hard_coefficient=0.0).needs == frozenset()


def test_the_full_estimator_says_so_when_it_is_given_none() -> None:
    method = meml(mutual_estimator="full")
    (term,) = [term for term in method.terms(Progress(1, 0.0)) if term.name == "mutual"]
    assert term.needs == {"teacher_kl"}
    with pytest.raises(ValueError, match="teacher_kl"):
        evaluated(method, of_kind(lesson_of(method, [golden()]), "borrowed"), says_borrowed)
