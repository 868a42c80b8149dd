"""What functions in worker processes may do: anything, at the cost of their own call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from manyminds.workers import Done, Workers


def misbehave(what: str) -> object:
    match what:
        case "sleep":
            time.sleep(60)
        case "raise":
            raise ValueError("no")
        case "exit":
            sys.exit(3)
        case "os._exit":
            os._exit(3)
        case "abort":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "allocate":
            return len(bytearray(10 * 2**30))
        case "hold the GIL":
            return 9**9**9
        case "fork":
            os.fork()
        case "fork and stay":
            if os.fork() == 0:
                time.sleep(60)
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        case "unpicklable":
            return (i for i in range(3))
        case "huge":
            return "x" * 2**21
    return what


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers([misbehave, lambda a, b: a / b], count=2, deadline=1.0) as its:
        yield its


def test_values_come_in_order(workers: Workers) -> None:
    assert [done.value for done in workers(1, [(i, 2) for i in range(50)])] == [i / 2 for i in range(50)]
    assert workers(1, []) == []


@pytest.mark.parametrize(
    ("what", "failure", "killed"),
    [
        ("sleep", "it did not return within 1 s", True),
        ("raise", "ValueError: no", False),
        ("exit", "SystemExit: 3", False),
        ("os._exit", "it ended its worker process (exit code 3)", True),
        ("abort", "it ended its worker process (exit code -11)", True),
        ("allocate", "MemoryError: ", False),
        ("hold the GIL", "it did not return within 1 s", True),
        ("ignore", "it did not return within 1 s", True),
        ("unpicklable", "TypeError: cannot pickle 'generator' object", False),
        ("huge", "its result of 2,097,", False),
    ],
)
def test_a_misbehaving_call_costs_itself(workers: Workers, what: str, failure: str, killed: bool) -> None:
    before, bad, after = workers(0, [("a",), (what,), ("b",)])
    assert (before, after) == (Done("a"), Done("b"))
    assert bad.failure.startswith(failure), bad.failure
    assert bad.killed == killed


@pytest.mark.parametrize("what", ["fork", "fork and stay"])
def test_a_fork_answers_once(workers: Workers, what: str) -> None:
    done = workers(0, [(what,), *[(str(i),) for i in range(10)]])
    assert [one.value for one in done] == [what, *map(str, range(10))]


def test_a_division_by_zero_and_an_argument_too_large(workers: Workers) -> None:
    zero, large = workers(1, [(1, 0), ("x" * 2**20, 1)])
    assert zero.failure == "ZeroDivisionError: division by zero"
    assert large.failure.startswith("its input of 1,048,")
    assert "over the limit of 1,048,576" in large.failure


def test_nothing_is_left_behind() -> None:
    mine = psutil.Process()
    before = {child.pid for child in mine.children(recursive=True)}
    with Workers([misbehave], count=2, deadline=0.5) as workers:
        workers(0, [(what,) for what in ("sleep", "fork and stay", "os._exit", "hold the GIL", "a")])
        started = {child.pid for child in mine.children(recursive=True)} - before
        assert started
    deadline = time.monotonic() + 10
    while (left := {child.pid for child in mine.children(recursive=True)} - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [psutil.Process(pid).cmdline() for pid in left if psutil.pid_exists(pid)]
    assert all("resource_tracker" in " ".join(name) for name in names), names


def test_a_script_is_not_run_again_in_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from manyminds.workers import Workers\n"
        "print('ran')\n"
        "def twice(x):\n    return 2 * x\n"
        "print([done.value for done in Workers([twice], count=2)(0, [(1,), (2,)])])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ran\n[2, 4]\n"
    assert not done.stderr


def test_killed_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\nfrom manyminds.workers import Workers\n"
        "def busy(path):\n    open(path, 'w').write(str(os.getpid()))\n    time.sleep(100)\n"
        f"Workers([busy], count=1, deadline=100)(0, [({str(tmp_path / 'pid')!r},)])\n"
    )
    with subprocess.Popen([sys.executable, str(script)]) as parent:
        until = time.monotonic() + 30
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        worker = psutil.Process(int((tmp_path / "pid").read_text()))
        parent.kill()
    worker.wait(10)
