"""DARL: the golden numbers, the gate, its bound, and the bonus beside RLPR's reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log
from random import Random
from statistics import stdev
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hand import START
from manyminds.formulas.confidence import shortfall, within
from manyminds.methods.compose import Composed
from manyminds.methods.darl import DARL
from manyminds.records import Floats, Group
from methods.test_rlpr import answers, composed, group, rollout, shaped, told

REFERENCE, OWN = (0.8, 0.6, 0.4, 0.9), (0.76, 0.7, 0.2, 0.5)


def rewarded(method: Composed, reference: Sequence[float], own: Sequence[float], bare: float = 0.0) -> Group:
    """One group of answers of which these are the probabilities of the reference and of the own answer."""
    rows = [replace(r, logprobs=(-1.0, -1.0, log(p), -1.0)) for r, p in zip(answers(len(own)), own, strict=True)]
    return shaped(method, group(*rows), told(rows, reference, bare))


def darl(**fields: Any) -> Composed:
    return composed("darl", format_share=0.0, **fields)


@pytest.mark.parametrize(
    ("beta", "rewards", "advantages"),
    [
        (0.01, (0.8004, 0.6, 0.4, 0.9), (0.564893, -0.338575, -1.240240, 1.013923)),
        (0.5, (0.82, 0.6, 0.4, 0.9), (0.620333, -0.354476, -1.240667, 0.974809)),
    ],
)
def test_golden(beta: float, rewards: Floats, advantages: Floats) -> None:
    method = darl(beta=beta)
    after = rewarded(method, REFERENCE, OWN)
    assert after.answers[0].rewards == pytest.approx(rewards)
    (credited,) = method.credit((after,), method.initial_memory(), START)
    assert [s.advantage for s in credited.answers[0].scored] == pytest.approx(advantages, abs=2e-5)


def test_golden_of_the_gate() -> None:
    due, own = torch.tensor(REFERENCE, dtype=torch.float64), torch.tensor(OWN, dtype=torch.float64)
    below = shortfall(due, own)
    assert below.tolist() == pytest.approx([0.04, 0, 0.2, 0.4])
    assert (due / 10).tolist() == pytest.approx([0.08, 0.06, 0.04, 0.09])
    assert within(below, due / 10).tolist() == pytest.approx([0.04, 0, 0, 0])
    edge = torch.tensor([0.1, 0.3], dtype=torch.float64)
    assert within(edge, torch.tensor([0.1, 0.1 + 0.2 - 1e-12], dtype=torch.float64)).tolist() == [0.1, 0.0]


@pytest.mark.parametrize(
    ("fields", "bonus"),
    [
        ({}, (0.02, 0, 0, 0)),
        ({"gamma": 2.0}, (0.02, 0, 0.1, 0.2)),  # r*/2 = .4, .3, .2, .45
        ({"gamma": 1e9}, (0, 0, 0, 0)),
        ({"gate": "static"}, (0.02, 0, 0, 0)),
        ({"gate": "static", "tau": 0.3}, (0.02, 0, 0.1, 0)),
        ({"gate": "static", "tau": 0.01}, (0, 0, 0, 0)),
        ({"beta": 0.0}, (0, 0, 0, 0)),
    ],
)
def test_which_shortfalls_have_a_bonus(fields: dict[str, Any], bonus: Floats) -> None:
    after = rewarded(darl(**{"beta": 0.5, **fields}), REFERENCE, OWN)
    assert after.answers[0].rewards == pytest.approx([r + b for r, b in zip(REFERENCE, bonus, strict=True)])
    assert [s.parts["diversity_bonus"] for s in after.answers[0].scored] == pytest.approx(bonus)


def test_the_bonus_is_bounded() -> None:
    rng = Random(0)
    method = darl(beta=0.7, gamma=8.0)
    for _ in range(100):
        (due,), (own,) = [rng.uniform(0.01, 1)], [rng.uniform(0.01, 1)]
        (reward,) = rewarded(method, [due], [own]).answers[0].rewards
        assert due <= reward + 1e-12 <= due * (1 + 0.7 / 8) + 2e-12


def test_without_a_bonus_it_is_rlpr() -> None:
    """beta = 0, whichever way the reference is debiased, with the share of the form."""
    for debias in ("none", "rlpr"):
        plain, without = composed("rlpr", debias=debias), composed("darl", debias=debias, beta=0.0)
        found = [rewarded(m, REFERENCE, OWN, 0.5).answers[0].rewards for m in (plain, without)]
        assert found[0] == found[1]


def test_debiased_the_gate_still_reads_the_probabilities_as_they_are() -> None:
    """r = .9 (2 max(r* - .5, 0) + .5 d) + .1, the first answer's d = .04 <= .08."""
    after = rewarded(composed("darl", debias="rlpr", alpha=2.0, beta=0.5), REFERENCE, OWN, 0.5)
    assert after.answers[0].rewards == pytest.approx((0.9 * 0.62 + 0.1, 0.9 * 0.2 + 0.1, 0.1, 0.9 * 0.8 + 0.1))


def test_an_answer_that_cannot_be_read_has_no_bonus() -> None:
    form, other = answers(1)[0], rollout((30, 31), finish="length", said=(log(0.01), log(0.01)))
    method = darl(beta=1.0, gamma=1.0)
    after = shaped(method, group(form, other), told([form, other], (0.9, 0.9)))
    first, second = after.answers[0].scored
    assert first.reward == pytest.approx(0.9 + 0.9 - 0.36787944)  # its own token has the log-prob -1
    assert second.reward == pytest.approx(0.9)
    assert second.parts["own_probability"] is None


def test_a_longer_answer_counts_with_its_mean() -> None:
    its = rollout((20, 7, 5, 6, 0), (2, 4), said=(-9.0, -9.0, log(0.9), log(0.5), -9.0))
    after = shaped(darl(), group(its), told([its], (0.75,)))
    assert after.answers[0].scored[0].parts["own_probability"] == pytest.approx(0.7)
    assert after.answers[0].rewards == pytest.approx((0.75 + 0.01 * 0.05,))


def test_what_is_told() -> None:
    method = darl(beta=0.5)
    after = rewarded(method, REFERENCE, OWN)
    lesson = method.learn((after,), {}, method.initial_memory(), Random(0), START)
    assert lesson.metrics["darl/gate_rate"] == 0.25
    assert lesson.metrics["darl/bonus_mean"] == pytest.approx(0.005)
    share = stdev((0.02, 0, 0, 0)) / stdev((0.82, 0.6, 0.4, 0.9))
    assert lesson.metrics["darl/bonus_share_of_std"] == pytest.approx(share)


@pytest.mark.parametrize("fields", [{"gamma": 0.0}, {"beta": -1.0}, {"gate": "open"}, {"tau": -0.1}])
def test_bad_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DARL(**fields)
