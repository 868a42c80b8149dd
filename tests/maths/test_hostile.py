"""Hostile answers: each gets a verdict within the deadline, few of them by a kill; nothing is left over or kept."""

from __future__ import annotations

import gc
import time
from contextlib import suppress

import psutil
import pytest

from hostile import hostile
from manyminds.maths.checker import Checker
from manyminds.maths.equivalence import Undecided, quickly

DEADLINE = 5.0
AT_ONCE = 50


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def survive(count: int, seed: int) -> None:
    """Give `count` hostile pairs to a checker and see that all is well."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    killed, slowest, sizes = 0, 0.0, []
    with Checker(strict=False, count=2, deadline=DEADLINE) as check:
        check([("4", "5"), (r"\sum_{k=1}^n k", r"\sum_{k=1}^m k")])  # imports and processes are there
        for start in range(seed, seed + count, AT_ONCE):
            pairs = [hostile(one)[:2] for one in range(start, min(start + AT_ONCE, seed + count))]
            found = check(pairs)
            assert len(found) == len(pairs)
            assert all(one.value in (True, False, None) for one in found)
            killed += sum(one.killed for one in found)
            sizes.append(resident())
        for one in range(seed, seed + min(count, 300)):
            gold, response, how = hostile(one)
            began = time.perf_counter()
            with suppress(Undecided):
                quickly(gold, response, strict=False)
            slowest = max(slowest, time.perf_counter() - began)
            assert slowest < 1.0, (one, how)
    assert killed <= count / 100
    assert sizes[-1] - sizes[len(sizes) // 3] < 100 * 2**20
    left = [child.cmdline() for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert all("resource_tracker" in " ".join(name) for name in left), left


def test_hostile_answers_are_survived() -> None:
    survive(150, seed=0)


@pytest.mark.long
def test_many_hostile_answers_are_survived() -> None:
    survive(10_000, seed=1_000)


@pytest.mark.parametrize("text", ["9^{9^{9^{9}}}", "9^9^9^9", "(" * 3000 + "1" + ")" * 3000, "10000000!", "2^{2^{40}}"])
def test_what_would_take_for_ever_is_refused_at_once(text: str) -> None:
    began = time.perf_counter()
    with Checker(count=1) as check:
        (found,) = check([("4", rf"\boxed{{{text}}}")])
    assert found.value is False
    assert not found.killed
    assert time.perf_counter() - began < 10
