"""How many inputs the tests in this folder try."""

from __future__ import annotations

import re
from pathlib import Path

from fuzzing import CASES


def test_a_thousand_inputs_now_and_twenty_thousand_in_the_long_run() -> None:
    assert sum(quick for quick, _ in CASES.values()) >= 1000
    assert sum(long for _, long in CASES.values()) >= 20_000


def test_every_property_is_there_once() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    found = [name for name in CASES for _ in re.findall(rf'@fuzz\(\s*"{name}",', text)]
    assert sorted(found) == sorted(CASES)
