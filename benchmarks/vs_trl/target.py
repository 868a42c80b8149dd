"""One arm on its way to a target accuracy, in a process of its own: `python -m vs_trl.target SPEC OUT`.

Every evaluation is printed as it comes, as JSON after `POINT`. Neither clock runs while an evaluation does.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyminds import shipped
from manyminds.config import Recipe, dump, load_recipe
from vs_trl.laps import Laps, peak_mebibytes
from vs_trl.workloads import WORKLOADS, arithmetic_job

POINT = "POINT "


class Enough(Exception):
    """The target is reached."""


class Curve:
    """The points of an arm: after so many updates, seconds and sampled tokens, so accurate on validation questions."""

    def __init__(self, level: float) -> None:
        self.level = level
        self.points: list[dict[str, Any]] = []
        self.seconds, self.tokens, self.updates = 0.0, 0, 0

    def stepped(self, seconds: float, tokens: int) -> None:
        """One more update."""
        self.seconds, self.tokens, self.updates = self.seconds + seconds, self.tokens + tokens, self.updates + 1

    def evaluated(self, result: Mapping[str, Any]) -> bool:
        """Whether that is the target: the mean over the experts' prompts."""
        accuracy = result["metrics"]["mean"]["value"]
        point = {"updates": self.updates, "seconds": self.seconds, "sampled_tokens": self.tokens, "mean": accuracy}
        self.points.append(point)
        print(POINT + json.dumps(point), flush=True)
        return bool(accuracy >= self.level)


def recipe(spec: Mapping[str, Any], place: Path) -> Recipe:
    """The demo's recipe with the arm's method, in `place`, where the shipped warm-up is put too."""
    method = {"grpo": "{name: grpo}", "meml_grpo": "{name: meml_grpo, preset: tuned}"}[spec["method"]]
    changes = [f"method={method}", f"engine.precision={spec['precision']}", f"output={place}", "name=target"]
    changes += [f"evaluation.every={spec['every']}", f"evaluation.questions={spec['questions']}"]
    changes += [f"sampled_tokens={spec['sampled_tokens']}", f"steps={spec['steps']}", "checkpoint.every=1000000"]
    made = load_recipe(shipped.demo_recipe(), changes)
    shutil.copytree(
        shipped.quick_checkpoint(), made.warmup_folder, ignore=shutil.ignore_patterns(shipped.SUMS), dirs_exist_ok=True
    )
    return made


def ours(spec: Mapping[str, Any], its: Recipe, curve: Curve) -> dict[str, Any]:
    """`manyminds train`, until the target or the end of its budget. Returns its recipe."""
    from manyminds.run import train

    def watch(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if what == "step":
            curve.stepped(data["step_time"], int(data["sampled_tokens"]))
        elif what == "evaluation" and curve.evaluated(data):
            raise Enough

    with suppress(Enough):
        train(its, watch=watch)
    return {key: value for key, value in dump(its).items() if key != "output"}


def trl(spec: Mapping[str, Any], its: Recipe, curve: Curve) -> dict[str, Any]:
    """TRL's GRPOTrainer on the same questions with the same schedule. Returns its settings."""
    from transformers import TrainerCallback

    from manyminds.evaluate import evaluate
    from manyminds.loading import load, stop_ids
    from manyminds.records import Decoding
    from manyminds.run import starting_model
    from manyminds.sampling.transformers_sampler import TransformersSampler
    from vs_trl import trl_side

    loaded = load(its, starting_model(its))
    model, tokenizer = loaded.model, loaded.tokenizer
    workload = replace(WORKLOADS["warm"], warm=0, timed=its.steps, lr=its.optimizer.lr)
    job = arithmetic_job(workload, tokenizer)
    laps, seen = Laps(), trl_side.Seen()

    def reached() -> bool:
        was = model.training
        model.eval()
        decoding = Decoding(0.0, its.sampling.max_tokens)
        fresh = TransformersSampler(model, tokenizer, decoding, stop_ids=stop_ids(model, tokenizer))
        some = loaded.questions["validation"][: its.evaluation.questions]
        result = evaluate(replace(loaded, sampler=fresh), some, split="validation", step=curve.updates)
        model.train(was)
        return curve.evaluated(result)

    class Timing(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            reached()
            laps.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **__: Any) -> None:
            laps.end(sampled_tokens=seen.tokens[-1])
            curve.stepped(laps.all[-1]["seconds"], seen.tokens[-1])
            over = curve.tokens >= spec["sampled_tokens"] or curve.updates >= its.steps
            if over or curve.updates % spec["every"] == 0:
                control.should_training_stop = reached() or over
                laps.start()

    schedule = its.optimizer.schedule
    settings = trl_side.settings(workload, "float32", workload.trl_rows["float32"]) | {
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": schedule.floor},
        "warmup_steps": schedule.warmup_steps,
    }
    with tempfile.TemporaryDirectory() as folder:
        args = settings | {"output_dir": folder}
        trl_side.trainer(job, model, tokenizer, args, Timing(), seen).train()
    seen.check(job, curve.updates)
    return settings


def main() -> None:
    """Run what the command line says."""
    spec, out = json.loads(sys.argv[1]), Path(sys.argv[2])
    import torch

    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    curve = Curve(spec["level"])
    with tempfile.TemporaryDirectory() as place:
        its = recipe(spec, Path(place))
        settings = (trl if spec["side"] == "trl" else ours)(spec, its, curve)
    last = curve.points[-1]
    found = {"reached": last["mean"] >= curve.level, **last, "curve": curve.points, "settings": settings}
    out.write_text(json.dumps(found | {"peak_mebibytes": peak_mebibytes()}), encoding="utf-8")


if __name__ == "__main__":
    main()
