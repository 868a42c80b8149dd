"""A run that a signal stops has finished its step and saved; two runs do not write into one folder; the best stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from manyminds import checkpoint
from manyminds.config import Recipe, dump
from manyminds.durable import read_jsonl, sha256
from manyminds.errors import Interrupted, UserError
from manyminds.evaluate import evaluate
from manyminds.export import export
from manyminds.folder import RunFolder
from manyminds.interrupts import Interrupts
from manyminds.run import train
from manyminds.warmup import warmup
from test_resume import state, stopped_and_resumed, tiny

MAIN = "from manyminds.cli import main; raise SystemExit(main())"


class At:
    """A watcher that sends this process a signal when a step is logged."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self.step, self.number = step, number

    def __call__(self, what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if what == "step" and step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_step_is_finished_and_saved(
    tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tiny(tmp_path / "whole", warmup=None), tiny(tmp_path / "parts", warmup=None)
    train(whole)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(Interrupted, match=f"stopped by {number.name} after step 3, which is saved") as stopped:
        train(parts, watch=At(3, number))
    assert stopped.value.code == 128 + number
    assert before == {one: signal.getsignal(one) for one in before}
    assert "the step under way is finished and saved; once more stops at once" in capfd.readouterr().err
    assert checkpoint.latest(parts.folder / "checkpoints")[0] == parts.folder / "checkpoints" / "step-000003"
    train(parts, resume=True)
    assert state(parts.folder) == state(whole.folder)
    first, second = (note["text"] for note in read_jsonl(parts.folder / "notes.jsonl"))
    assert first == f"{number.name}: the run stops after this step, which is saved"
    assert second.startswith("goes on after step 3, from ")


def test_a_warm_up_too(tmp_path: Path) -> None:
    whole, parts = tiny(tmp_path / "whole"), tiny(tmp_path / "parts")
    warmup(whole)
    with pytest.raises(Interrupted, match="after step 5"):
        warmup(parts, watch=At(5, signal.SIGTERM))
    warmup(parts, resume=True)
    assert state(parts.warmup_folder) == state(whole.warmup_folder)


def test_a_second_signal_stops_at_once() -> None:
    def twice() -> None:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert interrupts.asked is signal.SIGINT
            signal.raise_signal(signal.SIGINT)
            pytest.fail("it went on")

    with pytest.raises(KeyboardInterrupt):
        twice()


def test_in_another_thread_signals_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def inside() -> None:
        with Interrupts() as interrupts:
            seen.append(signal.getsignal(signal.SIGTERM))
            interrupts.check(1, print)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]


def started(recipe: Recipe, path: Path) -> subprocess.Popen[str]:
    """`manyminds train` with this recipe, once it has taken a step."""
    path.write_text(yaml.safe_dump(dump(recipe), sort_keys=False))
    process = subprocess.Popen([sys.executable, "-c", MAIN, "train", str(path)], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (recipe.folder / "metrics.jsonl").exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def test_the_command_exits_with_the_signals_code_and_nobody_else_writes_meanwhile(tmp_path: Path) -> None:
    recipe = tiny(tmp_path, warmup=None, steps=100_000)
    with started(recipe, tmp_path / "mine.yaml") as process:
        with pytest.raises(UserError, match="another process is writing a run there"):
            train(recipe, resume=True)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM after step" in said
    assert "`--resume auto` goes on" in said
    assert "Traceback" not in said


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    recipe = tiny(tmp_path, warmup=None, steps=100_000)
    with started(recipe, tmp_path / "mine.yaml") as process:
        process.kill()
    with RunFolder(recipe.folder).held():
        pass


@pytest.mark.parametrize(("means", "best"), [([0, 0.2, 0.1, 0.5, 0.5, 0.4, 0.3], 3), ([0.5] * 7, 0)])
def test_the_best_checkpoint_is_kept_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, means: list[float], best: int
) -> None:
    def measured(*args: Any, step: int, **kwargs: Any) -> dict[str, Any]:
        found = evaluate(*args, step=step, **kwargs)
        return {**found, "metrics": {**found["metrics"], "mean": {**found["metrics"]["mean"], "value": means[step]}}}

    monkeypatch.setattr("manyminds.run.evaluate", measured)
    recipe = tiny(
        tmp_path,
        warmup=None,
        checkpoint={"every": 5, "keep": 1, "keep_best": True},
        evaluation={"every": 1, "questions": 4, "samples": 2, "group": 2},
    )
    stopped_and_resumed(train, recipe, 6)
    folder = recipe.folder / "checkpoints"
    state = json.loads((folder / "step-000006" / "state.json").read_text())
    assert state["best"] == {"step": best, "mean": means[best]}
    steps = {path.name for path in folder.glob("step-*")}
    if best:
        assert steps == {"step-000006", f"step-{best:06d}"}
        export(recipe.folder, tmp_path / "out", best=True)
        weights = sha256(folder / f"step-{best:06d}" / "model" / "model.safetensors")
        assert sha256(tmp_path / "out" / "model.safetensors") == weights
        assert sha256(folder / "step-000006" / "model" / "model.safetensors") != weights
        assert f"after step {best}" in (tmp_path / "out" / "README.md").read_text()
    else:
        assert steps == {"step-000006"}
        with pytest.raises(UserError, match=r"best after step 0, of which there is no checkpoint"):
            export(recipe.folder, tmp_path / "out", best=True)
