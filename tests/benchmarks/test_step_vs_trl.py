"""benchmarks/step_vs_trl.py and time_to_target.py at toy size: both sides do the same job; ratios are what they say.

TRL warns as it works, so its side runs in processes of their own, and only where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
WITH_TRL = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(BENCHMARKS), "PYTHONWARNINGS": "ignore"}


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts find their package; other tests do not."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield
    for name in {*sys.modules} - before:
        if name.partition(".")[0] == "vs_trl":
            del sys.modules[name]


def script(name: str) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["warm", "worst"])
def test_our_side_does_the_whole_job(name: str, tmp_path: Path) -> None:
    from vs_trl import our_side, workloads

    from manyminds.loading import load_model

    workload = workloads.tiny(workloads.WORKLOADS[name])
    model, tokenizer = load_model(workloads.model_folder(workload, tmp_path), 0)
    job = workloads.job(workload, tokenizer)
    laps, settings = our_side.run(job, model, tokenizer, "float32")  # prompts, answers and updates are asserted there
    assert [lap["completions"] for lap in laps] == [workload.completions] * 2
    assert all(0 < sum(lap["phases"].values()) == pytest.approx(lap["seconds"]) for lap in laps)
    assert settings["engine"]["precision"] == "float32"
    assert workload.full_length == (name == "worst")
    assert not workload.full_length or {lap["sampled_tokens"] for lap in laps} == {workload.completions * 8}


def test_the_conversations_are_the_prompts() -> None:
    from vs_trl import workloads

    from manyminds.tasks.arithmetic_model import tokenizer

    words = tokenizer()
    job = workloads.job(workloads.tiny(workloads.WORKLOADS["warm"]), words)
    rendered = words.apply_chat_template(list(job.conversations), add_generation_prompt=True, return_dict=True)
    assert rendered["input_ids"] == job.prompt_ids
    assert len(job.prompt_ids) == len(job.question_ids) == 2 * 2 * 3
    assert [job.reward(q.id, q.solution, ()) for q in job.questions] == [1.0] * 4
    assert job.reward(job.questions[0].id, "#", ()) == 0.0


@pytest.mark.parametrize(("name", "tokens", "completions"), [("warm", 60, 288), ("worst", 128, 64), ("m25", 128, 32)])
def test_the_workloads(name: str, tokens: int, completions: int) -> None:
    from vs_trl.trl_side import settings
    from vs_trl.workloads import WORKLOADS

    workload = WORKLOADS[name]
    assert (workload.new_tokens, workload.completions) == (tokens, completions)
    for precision in ("float32", "mixed"):
        args = settings(workload, precision, workload.trl_rows[precision])
        assert args["per_device_train_batch_size"] * args["gradient_accumulation_steps"] == completions
        assert args["bf16"] == (precision == "mixed")
    with pytest.raises(ValueError, match="cannot be split"):
        settings(workload, "float32", 7)


def test_every_answer_has_an_advantage() -> None:
    from vs_trl.workloads import chance

    rewards = [chance((i, 7, 3)) for i in range(64)]
    assert len(set(rewards)) == 64
    assert 0 <= min(rewards) < 0.2 < 0.8 < max(rewards) < 1
    assert chance((1, 23)) != chance((12, 3))


def measured(pair: int, variant: str, seconds: float, ids: str = "a") -> dict[str, Any]:
    figures = {"seconds_per_step": seconds, "cpu_seconds_per_step": 2 * seconds, "peak_mebibytes": 10.0}
    return {
        "pair": pair,
        "workload": "m25",
        "variant": variant,
        "sampled_tokens_per_step": 30,
        "prompt_ids_sha256": ids,
        **figures,
    }


def test_ratios_are_taken_pair_by_pair() -> None:
    from vs_trl.results import compared, table
    from vs_trl.workloads import WORKLOADS

    taken = {"trl float32": (6, 8, 30), "trl mixed": (4, 6, 6), "manyminds float32": (3, 2, 10)}
    runs = [measured(pair, name, its[pair]) for name, its in taken.items() for pair in range(3)]
    runs.append(measured(1, "manyminds mixed", 1.5))
    found = compared(runs, [WORKLOADS["m25"]])
    assert found["ratios"] == found["ratios_cpu"] == {"m25": 3.0}  # of 2, 4, 3; the medians' own would be 2.67
    assert found["ratios_mixed"] == {"m25": 4.0}  # TRL's own mixed, which is faster, in the pair that has both
    spread = found["spread"]["ratios"]["m25"]
    assert (spread["low"], spread["high"], spread["pairs"]) == (2.0, 4.0, [2.0, 4.0, 3.0])
    assert found["seconds_per_step"]["m25"]["trl float32"] == 8
    assert table(found).row_count == 4
    with pytest.raises(AssertionError, match="unequal prompts"):
        compared([*runs, measured(0, "trl float32", 1.0, "b")], [WORKLOADS["m25"]])


def test_what_is_compared_with_what() -> None:
    step = script("step_vs_trl")
    names = {
        name: [variant.name for variant in step.variants(step.WORKLOADS[name], precision)]
        for name, precision in (("worst", step.Precision.both), ("m25", step.Precision.both))
    }
    assert names["worst"] == ["trl float32", "manyminds float32", "manyminds mixed"]
    assert names["m25"] == ["trl float32", "manyminds float32", "trl mixed", "manyminds mixed"]
    assert [w.name for w in step.chosen(["warm,m25", "worst"], False)] == ["warm", "m25", "worst"]
    with pytest.raises(step.typer.BadParameter, match="no workload 'cold'"):
        step.chosen(["cold"], False)


def test_a_target_that_trl_missed_is_a_lower_bound() -> None:
    target = script("time_to_target")
    arm = {"reached": True, "mean": 0.6, "seconds": 10.0, "sampled_tokens": 500, "updates": 20, "curve": []}
    trl = {**arm, "reached": False, "seconds": 40.0, "sampled_tokens": 1000, "updates": 50}
    found = target.against({"meml_grpo": arm, "grpo": {**arm, "reached": False}, "trl": trl})
    assert found == {"meml_grpo": {"lower_bound": True, "seconds": 4.0, "sampled_tokens": 2.0, "updates": 2.5}}
    assert target.against({"meml_grpo": arm}) == {}


SAME_STEP = """
import json, sys
from pathlib import Path

import torch
from transformers import TrainerCallback
from vs_trl import our_side, trl_side, workloads

from manyminds.loading import load_model

torch.set_num_threads(1)
workload = workloads.tiny(workloads.WORKLOADS[sys.argv[1]])
folder = workloads.model_folder(workload, Path(sys.argv[2]))


def moved(model):
    now = torch.cat([p.detach().flatten() for p in model.parameters()])
    return now - torch.cat([p.detach().flatten() for p in load_model(folder, 0)[0].parameters()])


model, tokenizer = load_model(folder, 0)
job, drawn = workloads.job(workload, tokenizer), []
judge = job.judge
kept = workloads.replace(job, judge=lambda rollouts: drawn.append([list(r.ids) for r in rollouts]) or judge(rollouts))
our_side.run(kept, model, tokenizer, "float32")
ours = moved(model)

model, tokenizer = load_model(folder, 0)
seen, answers = trl_side.Seen(), iter(drawn)
args = trl_side.settings(workload, "float32", 0) | {"output_dir": sys.argv[2]}
trainer = trl_side.trainer(job, model, tokenizer, args, TrainerCallback(), seen)
trainer._generate_single_turn = lambda *_, **__: (next(answers), None)
trainer.train()
seen.check(job, workload.steps)
theirs = moved(model)
cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=0)
print("FOUND", json.dumps([float(cosine), float(ours.norm() / theirs.norm()), float(ours.norm())]))
"""


@WITH_TRL
@pytest.mark.parametrize("name", ["warm", "worst"])
def test_both_sides_learn_the_same_from_the_same_answers(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAME_STEP, name, str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    cosine, ratio, norm = json.loads(done.stdout.rpartition("FOUND")[2])
    assert norm > 0
    assert cosine == pytest.approx(1.0, abs=1e-3)
    assert ratio == pytest.approx(1.0, abs=1e-3)


@WITH_TRL
def test_the_script_from_end_to_end(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    command = [sys.executable, str(BENCHMARKS / "step_vs_trl.py"), "--tiny", "--json", "--out", str(out)]
    command += ["--workloads", "worst", "--pairs", "1", "--threads", "1", "--precision", "float32"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads(out.read_text(encoding="utf-8"))
    assert found["ratios"]["worst"] > 0
    assert found["ratios_mixed"] == {}
    assert [run["variant"] for run in found["runs"]] == ["trl float32", "manyminds float32"]
    assert {run["sampled_tokens_per_step"] for run in found["runs"]} == {64}
    assert {"machine", "versions", "command", "threads", "environment", "workloads", "spread"} <= found.keys()
    assert {"trl", "torch", "transformers", "python", "manyminds"} <= found["versions"].keys()
