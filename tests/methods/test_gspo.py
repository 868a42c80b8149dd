"""GSPO: ratio, clip and gradient of whole answers, by plain numbers from the paper's equations."""

from __future__ import annotations

from math import exp
from random import Random
from typing import Any

import numpy as np
import pytest

from hand import START, evaluated, group, lesson_of
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.gspo import GSPO
from manyminds.records import Example, Floats
from test_step import Looking, step
from toy import EXPERTS, Toy
from toy_methods import Faded

LEVELS = ("sequence", "token")


def gspo(**fields: Any) -> Composed:
    return Composed(GSPO(**{"experts": ("e0",), "answers_per_prompt": 2, **fields}))


def row(name: int, advantage: float | Floats, old: Floats, mask: tuple[int, ...] = ()) -> Example:
    return Example("sampled", (1,), (name,) * len(old), advantage=advantage, mask=mask, planes={"old_logprobs": old})


def by_hand(
    now: list[Floats], old: list[Floats], advantages: list[float], masks: list[tuple[int, ...]], low: float, high: float
) -> tuple[float, list[list[float]]]:
    """Eq. 5 and 7, and the gradient of eq. 10: 1/n A s / |o| at every token, 0 where the clip holds."""
    loss, gradients = 0.0, []
    for new, before, a, mask in zip(now, old, advantages, masks, strict=True):
        m = np.array(mask, float)
        s = float(np.exp((m * (np.array(new) - np.array(before))).sum() / m.sum()))
        held = (a > 0 and s > 1 + high) or (a < 0 and s < 1 - low)
        loss -= min(s * a, float(np.clip(s, 1 - low, 1 + high)) * a) / len(now)
        gradients.append([0.0 if held else -a * s * x / m.sum() / len(now) for x in m])
    return loss, gradients


def test_the_ratio_is_the_geometric_mean() -> None:
    """Log-ratios .1, .3 and -.1 have the mean .1: s = 1.105171, whatever the single tokens do."""
    told = evaluated(gspo(clip_high=1.0), [row(5, 1.0, (-1.0, -1.0, -1.0))], lambda *_: (-0.9, -0.7, -1.1))
    assert told.losses["policy"] == pytest.approx(-exp(0.1))
    assert told.gradients[0] == pytest.approx([-exp(0.1) / 3] * 3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("shift", "advantage", "value", "held"),
    [
        (3.9e-4, 1.0, -exp(3.9e-4), False),
        (4.1e-4, 1.0, -1.0004, True),
        (-2.9e-4, -1.0, exp(-2.9e-4), False),
        (-3.1e-4, -1.0, 0.9997, True),
        (-0.5, 1.0, -exp(-0.5), False),
        (0.5, -1.0, exp(0.5), False),
    ],
)
def test_the_papers_clip(level: str, shift: float, advantage: float, value: float, held: bool) -> None:
    """3e-4 below and 4e-4 above; what has become too unlikely (A > 0) or too likely (A < 0) is still pulled back."""
    told = evaluated(gspo(level=level), [row(5, advantage, (-1.0, -2.0))], lambda *_: (-1.0 + shift, -2.0 + shift))
    assert told.losses["policy"] == pytest.approx(value, abs=1e-9)
    assert told.gradients[0] == pytest.approx([0.0 if held else value / 2] * 2, abs=1e-9)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(4))
def test_random_answers_against_plain_numbers(level: str, seed: int) -> None:
    """Answers of 1 to 5 tokens, some masked, wide and narrow clips, both signs."""
    rng = Random(seed)
    lengths = [rng.randint(1, 5) for _ in range(6)]
    old = [tuple(-2 * rng.random() for _ in range(n)) for n in lengths]
    now = [tuple(x + rng.gauss(0, 0.2) for x in its) for its in old]
    masks = [(1, *(rng.randint(0, 1) for _ in range(n - 1))) for n in lengths]
    advantages = [rng.choice((-1.5, -0.5, 0.5, 1.5)) for _ in lengths]
    low, high = rng.choice(((0.05, 0.1), (3e-4, 4e-4)))
    rows = [row(i, a, its, mask) for i, (a, its, mask) in enumerate(zip(advantages, old, masks, strict=True))]
    told = evaluated(gspo(level=level, clip_low=low, clip_high=high), rows, lambda _, ids: now[ids[0]])
    loss, gradients = by_hand(now, old, advantages, masks, low, high)
    assert told.losses["policy"] == pytest.approx(loss, abs=1e-12)
    for mine, due in zip(told.gradients, gradients, strict=True):
        assert mine == pytest.approx(due, abs=1e-12)


def test_credit_per_token_stays_where_it_is_at_the_level_of_tokens() -> None:
    """Eq. 17: A_t s / |o| at token t. At the level of sequences every token has the mean of them."""
    rows = [row(5, (2.0, -1.0, 0.0), (-1.0,) * 3)]
    for level, due in (("token", [2.0, -1.0, 0.0]), ("sequence", [1 / 3] * 3)):
        told = evaluated(gspo(level=level, clip_low=0.5, clip_high=0.5), rows, lambda *_: (-0.9,) * 3)
        assert told.gradients[0] == pytest.approx([-a * exp(0.1) / 3 for a in due])
        assert told.losses["policy"] == pytest.approx(-exp(0.1) / 3)


def test_an_answer_of_one_token_is_grpos() -> None:
    clips = {"clip_low": 0.2, "clip_high": 0.2}
    rows = [row(i, a, (-1.0,)) for i, a in enumerate((1.0, -1.0, 0.5))]
    told = [
        evaluated(Composed(kind(experts=("e0",), **clips)), rows, lambda _, ids: ((-0.5, -1.1, -1.3)[ids[0]],))
        for kind in (GSPO, GRPO)
    ]
    assert told[0].losses == pytest.approx(told[1].losses)
    assert told[0].gradients == told[1].gradients


@pytest.mark.parametrize("level", LEVELS)
def test_the_first_update_has_grpos_gradient(level: str) -> None:
    rows = [row(0, 1.5, (-1.0, -2.0, -0.5)), row(1, -0.5, (-1.0,))]
    mine = evaluated(gspo(level=level), rows, lambda _, ids: rows[ids[0]].planes["old_logprobs"])
    grpos = evaluated(Composed(GRPO(experts=("e0",))), rows, lambda _, ids: rows[ids[0]].planes["old_logprobs"])
    assert mine.total == pytest.approx(grpos.total)
    for a, b in zip(mine.gradients, grpos.gradients, strict=True):
        assert a == pytest.approx(b)


def test_a_wholly_masked_answer_says_nothing() -> None:
    told = evaluated(gspo(), [row(0, 1.0, (-1.0, -1.0), mask=(0, 0)), row(1, 1.0, (-1.0,))], lambda _, ids: (-1.0,) * 2)
    assert told.gradients[0] == (0.0, 0.0)
    assert told.losses["policy"] == pytest.approx(-0.5)


def test_a_step_takes_four_mini_batches_and_the_later_ones_are_clipped() -> None:
    policy = Looking(Toy(), lr=0.5)
    step(GSPO(experts=EXPERTS, questions_per_step=8), model=policy.model, policy=policy)
    assert policy.version == len(policy.ratios) == 4
    assert all("old_logprobs" in planes for planes in policy.planes)
    assert [bool((ratios - 1).abs().max() > 1e-3) for ratios in policy.ratios] == [False, True, True, True]


# With others.


def test_meml_grpo_with_its_loss() -> None:
    """Credit centred and mutual learning as they were; the policy term is GSPO's, over sequences."""
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0, "epochs": 2}
    method = Composed(build({**spec, "answers_per_prompt": 2, "with": [{"name": "gspo", "clip_high": 0.05}]}))
    assert method.describe()["term policy"] == "gspo"
    assert method.terms(START)[0].needs == {"old_logprobs"}
    lesson = lesson_of(method, [group([[1.0, 0.0], [0.0, 0.0]], [[-2.0] * 2] * 2)])
    rows = [
        Example(e.kind, e.prompt_ids, e.ids, e.advantage, e.weight, planes={**e.planes, "old_logprobs": (-2.0,)})
        for e in lesson.updates[0].examples
    ]
    told = evaluated(method, rows, lambda prompt, ids: (-1.9 if prompt[1] == 100 else -3.0,))
    # A = 1/2 at s = 1.105, held at 1.05, and A = -1/2 at 1.105; four rows. e0's answer is e1's at -3, drawn at -2.
    assert told.losses["policy"] == pytest.approx((-0.5 * 1.05 + 0.5 * exp(0.1)) / 4)
    assert told.losses["mutual"] == pytest.approx(1.0)


def test_credit_refined_per_token_reaches_the_loss() -> None:
    method = gspo(level="token", scale="none", parts=(Faded(),))
    (update,) = lesson_of(method, [group([[1.0, 0.0]], ids=[[(5, 6), (7,)]])]).updates
    assert [e.advantage for e in update.examples] == [(0.5, 0.25), (-0.5,)]
    told = evaluated(method, update.examples, lambda _, ids: (-1.0,) * len(ids))
    assert told.gradients[0] == pytest.approx([-0.5 / 4, -0.25 / 4])


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="'sequence' or 'token'"):
        build({"name": "gspo", "level": "answer"})
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        build({"name": "gspo", "minibatches": 0})
    with pytest.raises(UserError, match="gspo compares answers with one another and needs 2 or more, not 1"):
        GSPO(answers_per_prompt=1).settled(("e0",), 4)
    with pytest.raises(UserError, match="'gspo' and 'cispo' both set the term 'policy', differently"):
        Composed(build({"name": "grpo", "with": [{"name": "gspo"}, {"name": "cispo"}]}))
