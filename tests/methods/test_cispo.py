"""CISPO: the clipped ratio is a weight without gradient; by plain numbers from the paper's equations."""

from __future__ import annotations

from math import log
from random import Random
from typing import Any

import numpy as np
import pytest

from hand import START, evaluated, group, lesson_of
from manyminds.methods import build
from manyminds.methods.cispo import CISPO
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.records import Example, Floats
from test_step import Looking, rarely_mixed, step
from toy import EXPERTS, Toy


def cispo(**fields: Any) -> Composed:
    return Composed(CISPO(**{"experts": ("e0",), "answers_per_prompt": 2, **fields}))


def row(name: int, advantage: float, old: Floats, mask: tuple[int, ...] = ()) -> Example:
    return Example("sampled", (1,), (name,) * len(old), advantage=advantage, mask=mask, planes={"old_logprobs": old})


@pytest.mark.parametrize(
    ("ratio", "weight"), [(1.0, 1.0), (0.01, 0.01), (0.5, 0.5), (4.9, 4.9), (5.1, 5.0), (40.0, 5.0)]
)
@pytest.mark.parametrize("advantage", [1.0, -2.0])
def test_one_token(ratio: float, weight: float, advantage: float) -> None:
    """Loss -w A log p, gradient -w A: never 0, and no lower bound."""
    told = evaluated(cispo(), [row(5, advantage, (-4.0,))], lambda *_: (log(ratio) - 4.0,))
    assert told.losses["policy"] == pytest.approx(-weight * advantage * (log(ratio) - 4.0))
    assert told.gradients[0] == pytest.approx([-weight * advantage])


def test_where_ppo_clips_a_token_away_it_keeps_its_gradient() -> None:
    rows = [row(5, 1.0, (-3.0,))]
    due = {Composed(GRPO(experts=("e0",))): 0.0, cispo(clip_high=0.28): -1.28}
    for method, gradient in due.items():
        assert evaluated(method, rows, lambda *_: (-1.0,)).gradients[0] == pytest.approx([gradient])


@pytest.mark.parametrize("seed", range(4))
def test_random_answers_against_plain_numbers(seed: int) -> None:
    """The token mean over all answers, some tokens masked, with and without a lower bound."""
    rng = Random(seed)
    lengths = [rng.randint(1, 5) for _ in range(6)]
    old = [tuple(-3 * rng.random() for _ in range(n)) for n in lengths]
    now = [tuple(x + rng.gauss(0, 1) for x in its) for its in old]
    masks = [(1, *(rng.randint(0, 1) for _ in range(n - 1))) for n in lengths]
    advantages = [rng.gauss(0, 1) for _ in lengths]
    low, high = rng.choice(((1.0, 0.5), (0.3, 0.2), (1.0, 4.0)))
    rows = [row(i, a, its, mask) for i, (a, its, mask) in enumerate(zip(advantages, old, masks, strict=True))]
    told = evaluated(cispo(clip_low=low, clip_high=high), rows, lambda _, ids: now[ids[0]])
    tokens, loss = sum(map(sum, masks)), 0.0
    for new, before, a, mask, gradient in zip(now, old, advantages, masks, told.gradients, strict=True):
        weights = np.clip(np.exp(np.array(new) - np.array(before)), 1 - low, 1 + high) * np.array(mask)
        loss -= float((weights * a * np.array(new)).sum()) / tokens
        assert gradient == pytest.approx((-weights * a / tokens).tolist(), abs=1e-12)
    assert told.losses["policy"] == pytest.approx(loss, abs=1e-12)


def test_the_first_update_has_the_gradient_of_grpo_over_tokens() -> None:
    rows = [row(0, 1.5, (-1.0, -2.0, -0.5)), row(1, -0.5, (-1.0,))]
    both = [
        evaluated(method, rows, lambda _, ids: rows[ids[0]].planes["old_logprobs"]).gradients
        for method in (cispo(), Composed(GRPO(experts=("e0",), average="over_tokens")))
    ]
    for mine, grpos in zip(*both, strict=True):
        assert mine == pytest.approx(grpos)


def test_answers_far_from_the_policy_stay_finite() -> None:
    told = evaluated(cispo(), [row(0, 1.0, (-800.0, -1.0))], lambda *_: (-1.0, -800.0))
    assert told.gradients[0] == pytest.approx((-2.5, 0.0))


def test_a_step_takes_four_mini_batches_and_all_rows_with_credit() -> None:
    policy = Looking(Toy(), lr=0.5)
    step(CISPO(experts=EXPERTS, questions_per_step=8), model=policy.model, policy=policy)
    assert policy.version == 4
    assert all("old_logprobs" in planes for planes in policy.planes)


# With others.


def test_with_dynamic_sampling_as_in_the_paper() -> None:
    spec = {"name": "cispo", "experts": ("alpha",), "questions_per_step": 3, "answers_per_prompt": 6}
    method = build({**spec, "with": [{"name": "dynamic_sampling"}]})
    _, policy, _, metrics = step(method, judge=rarely_mixed)
    assert (metrics["groups/refused"], metrics["groups/mixed"], policy.version) == (10, 1.0, 3)


def test_meml_grpo_with_its_loss() -> None:
    """All answers are learnt from, by centred credit; the mean is over tokens, mutual learning is as it was."""
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0, "answers_per_prompt": 2}
    method = Composed(build({**spec, "with": [{"name": "cispo"}]}))
    said = method.describe()
    assert (said["advantage"], said["term policy"], said["term mutual"]) == ("meml_grpo", "cispo", "meml_grpo")
    ids = [[(5, 6), (7,)], [(8,), (9,)]]
    (update,) = lesson_of(method, [group([[1.0, 0.0], [0.0, 0.0]], ids=ids)]).updates
    rows = [
        Example(e.kind, e.prompt_ids, e.ids, e.advantage, e.weight, planes={**e.planes, "old_logprobs": (-3.0,) * 2})
        if e.ids == (5, 6) and e.kind == "sampled"
        else e
        for e in update.examples
    ]
    told = evaluated(method, rows, lambda prompt, ids: (-2.0,) * len(ids))
    # Five tokens: two of A = 1/2, weight e and log-prob -2, one of A = -1/2 with weight 1.
    assert told.losses["policy"] == pytest.approx((2 * np.e * 0.5 * 2 - 0.5 * 2) / 5)
    assert told.losses["mutual"] == pytest.approx(1.0)  # -1 as it was drawn, -2 now
    assert method.terms(START)[0].credit == "nonzero"


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="clip_low"):
        build({"name": "cispo", "clip_low": -0.1})
