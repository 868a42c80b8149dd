from __future__ import annotations

import random

import pytest
from scipy import stats

from manyminds.errors import UserError
from manyminds.statistics import holm, mean_sd, paired


def test_five_seeds_by_hand() -> None:
    found = paired([13.7, 13.9, 6.1, 24.9, 29.4])
    assert found["difference"] == pytest.approx(17.6)
    # variance 353.68 / 4, sd 9.40319, error 4.20524, t(0.975, 4) 2.776445
    assert (found["low"], found["high"]) == pytest.approx((5.92439, 29.27561), abs=1e-4)
    assert found["differences"] == [13.7, 13.9, 6.1, 24.9, 29.4]


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_same_as_scipy(n: int) -> None:
    rng = random.Random(n)
    values = [rng.gauss(1.0, 2.0) for _ in range(n)]
    found, expected = paired(values), stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found["p"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_one_seed_has_no_interval_and_says_so() -> None:
    found = paired([2.5])
    assert (found["difference"], found["low"], found["high"], found["p"]) == (2.5, None, None, None)
    assert found["note"] == "one seed: no interval"


def test_seeds_that_all_say_the_same() -> None:
    assert paired([0.0, 0.0, 0.0])["p"] == 1.0
    found = paired([3.0, 3.0])
    assert (found["low"], found["high"], found["p"]) == (3.0, 3.0, 0.0)


def test_no_seed_is_an_error() -> None:
    with pytest.raises(UserError, match="no seed"):
        paired([])


def test_holm_by_hand() -> None:
    # Ordered .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; the last may not fall below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one_and_leaves_out_what_has_no_test() -> None:
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0]
    assert holm([None, 0.02]) == [None, 0.02]
    assert holm([]) == []


def test_mean_and_deviation() -> None:
    assert mean_sd([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5)}
    assert mean_sd([4.0]) == {"mean": 4.0, "sd": None}
