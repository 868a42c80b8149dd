"""Parts of a step in seconds, on a clock whose hands the tests move."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from manyminds import clock
from manyminds.clock import Clock


class Hands:
    """Stands for the wall clock: `pass_by` moves it on."""

    def __init__(self) -> None:
        self.at = 100.0
        self.read = 0

    def pass_by(self, seconds: float) -> None:
        self.at += seconds

    def __call__(self) -> float:
        self.read += 1
        return self.at


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands()
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=made))
    return made


def test_parts_add_up_and_the_rest_is_other(hands: Hands) -> None:
    with clock.running(Clock()) as found:
        hands.pass_by(1.0)
        for _ in range(2):
            with clock.span("decode"):
                hands.pass_by(2.0)
        with clock.span("checks"):
            hands.pass_by(0.5)
    assert found.seconds == {"decode": 4.0, "checks": 0.5, "other": 1.0}
    assert found.total == 5.5


def test_time_in_an_inner_span_is_not_counted_twice(hands: Hands) -> None:
    with clock.running(Clock()) as found, clock.span("prefill"):
        hands.pass_by(1.0)
        with clock.span("sync"):
            hands.pass_by(4.0)
            with clock.span("prefill"):
                hands.pass_by(16.0)
        with clock.span("decode"):
            hands.pass_by(64.0)
        hands.pass_by(2.0)
    assert found.seconds == {"prefill": 1.0 + 16.0 + 2.0, "sync": 4.0, "decode": 64.0, "other": 0.0}


def test_a_part_that_fails_counts_and_closes(hands: Hands) -> None:
    def fail() -> None:
        with clock.span("checks"):
            hands.pass_by(3.0)
            raise ValueError("no")

    with clock.running(Clock()) as found:
        with pytest.raises(ValueError, match="no"):
            fail()
        hands.pass_by(1.0)
    assert found.seconds == {"checks": 3.0, "other": 1.0}
    with clock.span("checks"):
        hands.pass_by(1.0)
    assert found.total == 4.0


def test_counts_add_up_and_what_is_kept_stays_in_order() -> None:
    with clock.running(Clock()) as found:
        clock.count("sequences", 3)
        with clock.span("decode"):
            clock.count("sequences", 4)
            clock.keep("drawn", "a")
        clock.keep("drawn", "b")
    assert found.counts == {"sequences": 7}
    assert found.kept == {"drawn": ["a", "b"]}


def test_without_a_clock_nothing_is_read_and_nothing_is_made(hands: Hands) -> None:
    with clock.span("decode"):
        clock.count("sequences", 3)
        clock.keep("drawn", "a")
    assert clock.span("decode") is clock.span("prefill")
    assert hands.read == 0


def test_a_clock_inside_a_clock_takes_its_place(hands: Hands) -> None:
    with clock.running(Clock()) as outer:
        with clock.running(Clock()) as inner, clock.span("decode"):
            hands.pass_by(2.0)
        with clock.span("decode"):
            hands.pass_by(1.0)
    assert inner.seconds == {"decode": 2.0, "other": 0.0}
    assert outer.seconds["decode"] == 1.0


def test_another_thread_does_not_see_the_clock() -> None:
    def work() -> None:
        with clock.span("decode"):
            clock.count("sequences", 1)

    with clock.running(Clock()) as found:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert set(found.seconds) == {"other"}
    assert found.counts == {}


def test_real_seconds() -> None:
    with clock.running(Clock()) as found, clock.span("decode"):
        time.sleep(0.02)
    assert 0.02 <= found.seconds["decode"] < 2.0


@pytest.mark.parametrize("begun", [True, False])
def test_a_gpu_is_waited_for_only_while_a_clock_runs(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    cuda = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: begun, synchronize=lambda: waited.append("here")
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with clock.span("decode"):
        pass
    assert waited == []
    with clock.running(Clock()), clock.span("decode"):
        pass
    assert len(waited) == (4 if begun else 0)


def test_it_imports_no_torch() -> None:
    code = "import sys, manyminds.clock; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
