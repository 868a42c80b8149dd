"""LUFFY: the loss by hand, its limits, and its traces under other methods."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log
from typing import Any

import pytest

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.luffy import LUFFY
from manyminds.methods.terms import ClippedSurrogate
from manyminds.records import Example, Floats, Ids

TRACE = Example("trace", (1,), (7, 8, 9), advantage=0.75)
DRAWN = Example("sampled", (1,), (5, 6), advantage=-0.25, planes={"old_logprobs": (log(0.5), log(0.5))})


def composed(**fields: Any) -> Composed:
    return Composed(build({"name": "luffy", "experts": ["e0"], **fields}))


def says(prompt: Ids, ids: Ids) -> Floats:
    return tuple(map(log, (0.01, 0.2, 0.9) if len(ids) == 3 else (0.35, 0.5)))


F = [0.01 / 0.11, 0.2 / 0.3, 0.9 / 1.0]


def test_the_loss_as_published_by_hand() -> None:
    """All five tokens count alike, those of the trace with f; 0.7 is below 1 - 0.2 and A < 0, so it is clipped."""
    told = evaluated(composed(), (TRACE, DRAWN), says)
    assert told.losses["trace"] == pytest.approx(-0.75 * sum(F) / 5)
    assert told.losses["policy"] == pytest.approx(0.25 * (0.8 + 1) / 5)
    assert told.gradients[1] == pytest.approx((0.0, 0.25 / 5))
    slopes = [0.1 * p / (p + 0.1) ** 2 for p in (0.01, 0.2, 0.9)]
    assert told.gradients[0] == pytest.approx([-0.75 * s / 5 for s in slopes])


def test_the_release_by_hand() -> None:
    """One constant length for both kinds, and no clip: 0.7 counts as it is. Two rows of the update share it."""
    method = composed(variant="release", fixed_length=8, entropy_coefficient=0.0)
    told = evaluated(method, (TRACE, DRAWN), says)
    assert told.losses["trace"] * 2 * 8 == pytest.approx(-0.75 * sum(F))
    assert told.losses["policy"] * 2 * 8 == pytest.approx(0.25 * (0.7 + 1))
    assert method.terms(START)[0].per_token == ClippedSurrogate(inf, inf)
    assert [t.name for t in composed(variant="release").terms(START)] == ["policy", "trace", "entropy"]


def test_the_old_policy_has_no_part_in_the_traces_ratio() -> None:
    told = [
        evaluated(composed(), (replace(TRACE, planes={"old_logprobs": (x,) * 3}), DRAWN), says).losses["trace"]
        for x in (-1.0, -5.0)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize(("variant", "advantages"), [("paper", (0.577350, -1.154701)), ("release", (1 / 3, -2 / 3))])
def test_the_baseline_is_that_of_answers_and_trace(variant: str, advantages: tuple[float, float]) -> None:
    method = composed(variant=variant)
    lesson = lesson_of(method, method.shape([group([[1, 0]])], {}, (None,), START))
    right, wrong = advantages
    assert [e.advantage for e in lesson.updates[0].examples] == pytest.approx([right, wrong, right], abs=3e-6)
    assert [e.ids for e in of_kind(lesson, "trace")] == [(700,)]


def test_a_small_gamma_teaches_little_of_likely_tokens() -> None:
    """As gamma goes to 0, f goes to 1 whatever the policy says, and nothing is learnt of the trace."""
    told = evaluated(composed(shaping=1e-9), (TRACE,), says)
    assert told.losses["trace"] == pytest.approx(-0.75, rel=1e-5)
    assert max(map(abs, told.gradients[0])) < 1e-6


def test_under_meml_grpo_its_own_policy_loss_is_on_all_tokens() -> None:
    """LUFFY's average is over the tokens of both kinds, so it brings the policy loss as well; the credit is MEML's."""
    method = Composed(
        build({"name": "meml_grpo", "experts": ["e0", "e1"], "hard_wrong": 9, "with": [{"name": "luffy"}]})
    )
    said = method.describe()
    assert (said["term policy"], said["term trace"], said["advantage"]) == ("luffy", "luffy", "meml_grpo")
    lesson = lesson_of(method, method.shape([group([[1, 0], [0, 0]])], {}, method.initial_memory(), START))
    told = evaluated(method, lesson.updates[0].examples, lambda prompt, ids: (log(0.4),) * len(ids))
    assert told.losses["trace"] == pytest.approx(-(1 / 3 + 2 / 3) * 0.4 / 0.5 / 6)
    assert told.losses["policy"] == pytest.approx(-(1 / 3 - 2 / 3 - 1 / 3 - 1 / 3) / 6)


def test_two_parts_that_read_traces_otherwise_are_refused() -> None:
    with pytest.raises(
        UserError, match="'rl_plus' and 'luffy' both set the term 'trace', differently; keep one of them"
    ):
        Composed(build({"name": "grpo", "with": [{"name": "rl_plus"}, {"name": "luffy"}]}))


def test_bad_fields() -> None:
    with pytest.raises(ValueError, match="shaping"):
        LUFFY(shaping=0.0)
