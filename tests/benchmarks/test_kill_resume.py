"""Five kills at moments that benchmarks/kill_resume.py picks, and a run that notices a difference if there is one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

Load = Callable[[str], ModuleType]


def test_a_run_that_is_killed_five_times_is_the_same_run(load: Load, tmp_path: Path) -> None:
    found = load("kill_resume").measured(5, 0, tmp_path)
    assert found["kills"] == 5
    assert found["identical"], found["of_each_run"]
    assert {"warmup/metrics.jsonl", "meml_grpo/state.json", "meml_grpo/evaluations.jsonl"} <= {*found["compared"]}
    # What is compared would show a difference: in one weight, one metric, or one byte of the memory.
    script = load("kill_resume")
    before = script.remains(tmp_path / "whole")
    path = tmp_path / "whole" / "killed" / "meml_grpo" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"reward": 0', '"reward": 1', 1))
    after = script.remains(tmp_path / "whole")
    assert [name for name in before if before[name] != after[name]] == ["meml_grpo/metrics.jsonl"]
    assert not script.go_on(tmp_path / "whole", "sampling", random.Random(0))  # it has ended: there is nothing to kill
