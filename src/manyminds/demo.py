"""The demo: a warm-up, then GRPO over all experts, MEML-GRPO and a tutored prompt from it; and what came of it.

The parent process only follows: the runs are children, and what is shown is read from the files they write.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.text import Text

from manyminds import shipped
from manyminds.children import Child, children
from manyminds.commands.checking import per_prompt, plain
from manyminds.commands.console import accuracies, bars, latest
from manyminds.durable import explaining
from manyminds.errors import UserError
from manyminds.moments import Moments, complementary
from manyminds.report import build
from manyminds.report.read import evaluation_file, load
from manyminds.report.runs import label
from manyminds.report.sentence import duration, sentence
from manyminds.report.terminal import final_table

ARMS: dict[str, dict[str, Any]] = {
    "grpo_all_experts": {"name": "grpo"},
    "meml_grpo": {"name": "meml_grpo", "preset": "tuned"},
    "tutored_rs_grpo": {
        "name": "rs_grpo",
        "questions_per_step": 36,
        "with": [{"name": "tutored_grpo", "stuck": 0.25}, {"name": "replay"}, {"name": "adaptive_sampling"}],
    },
}
"""The ways on from the warm-up. The third is the winner of docs/beyond.md: one prompt, taught by traces."""
SHARES = {"tutored_rs_grpo": 0.5}
"""Which share of the recipe's sampled tokens an arm draws, if not all: the third has passed the others by then."""
QUICK: dict[str, Any] = {
    "steps": 75,
    "sampled_tokens": 425_000,
    "evaluation": {"every": 15, "questions": 90, "sampled_questions": 90},
}
"""What --quick changes in the recipe."""
METRICS = (
    "plain",
    "mean",
    "worst",
    "best",
    "vote",
    "oracle",
    "pass_at_8",
    "pooled_pass_at_24",
    "all_wrong",
    "all_right",
    "pooled_all_wrong",
)
PAUSE = 0.2
NOTICED = 0.08
"""A line is printed when the warm-up's mean accuracy on validation has risen by this much."""


@dataclass(frozen=True)
class Stage:
    """Where things are shown: text on `text`, bars on `place`; `folder` is the demo's own, `recipe` its plain data."""

    folder: Path
    recipe: Mapping[str, Any]
    text: Console
    place: Console

    def say(self, words: str) -> None:
        plain(self.text, words)

    def title(self, words: str) -> None:
        self.text.print()
        self.text.print(Text(words, style="bold"), soft_wrap=True)


def demo(
    *,
    output: str = "runs",
    seed: int = 0,
    quick: bool = False,
    changes: Mapping[str, Any] | None = None,
    text: Console,
    place: Console,
) -> dict[str, Any]:
    """Run the demo in a fresh folder under `output`; returns what `--json` prints.

    `changes` are laid over the recipe. Raises UserError if a run fails or nothing can be written.
    """
    began = time.monotonic()
    if find_spec("matplotlib") is None:
        raise UserError("the demo draws its report with matplotlib, which is not there; install manyminds[demo]")
    ready = shipped.quick_checkpoint() if quick else None
    data = yaml.safe_load(shipped.demo_recipe().read_text(encoding="utf-8"))
    folder = fresh(Path(output))
    data = merged(data, {"name": folder.name, "output": output, "seed": seed})
    data = merged(merged(data, QUICK if quick else {}), changes or {})
    stage = Stage(folder, data, text, place)
    recipes = {arm: write_recipe(stage, arm, method) for arm, method in ARMS.items()}
    stage.say(f"Everything goes to {folder}.")
    if ready is None:
        warm_up(stage, recipes["meml_grpo"])
    else:
        shutil.copytree(ready, folder / "warmup", ignore=shutil.ignore_patterns(shipped.SUMS))
        stage.title("1. Warm-up: shipped, the very checkpoint that `manyminds demo` begins with")
        stage.say(
            "From here this quick demo shows the early phase, in which the weak prompts rise first. What MEML-GRPO"
        )
        stage.say("comes to takes eight times as many updates: `make demo`, or `manyminds demo`.")
    show_start(stage)
    train(stage, recipes)
    return finish(stage, began, quick)


def fresh(output: Path) -> Path:
    """A new folder demo, demo-2, … under `output`; nothing that is there is touched. Raises UserError."""
    with explaining(f"{output}: the demo's folder cannot be made"):
        output.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = output / ("demo" if number == 1 else f"demo-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top, key by key."""
    return {**base} | {
        key: merged(base[key], value) if isinstance(value, Mapping) and isinstance(base.get(key), Mapping) else value
        for key, value in over.items()
    }


def write_recipe(stage: Stage, arm: str, method: Mapping[str, Any]) -> Path:
    """The recipe of one arm, as a file to run it again; what the arm leaves open it asks as the demo's recipe does."""
    asked = {key: stage.recipe["method"][key] for key in ("questions_per_step", "answers_per_prompt")}
    path = stage.folder / f"{arm}.yaml"
    data = {**stage.recipe, "method": {**asked, **method}, "arm": arm, "sampled_tokens": budget(stage, arm)}
    with explaining(f"cannot write {path}"):
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def budget(stage: Stage, arm: str) -> int | None:
    """The sampled tokens at which the arm ends; None if the recipe sets no end."""
    tokens = stage.recipe.get("sampled_tokens")
    return None if tokens is None else round(SHARES.get(arm, 1) * tokens)


def warm_up(stage: Stage, recipe: Path) -> None:
    """Stage 1, with the accuracy of every prompt as it rises."""
    config = stage.recipe["warmup"]
    steps, decay_at = config["steps"], config.get("decay_at")
    decay = config["optimizer"]["schedule"]["decay_steps"]
    stage.title("1. Warm-up: one model learns three experts' ways of working, each under its own prompt (MEF)")
    if decay_at is not None:
        stage.say(f"At most {steps} steps; once the experts are right on {100 * decay_at:.0f} %, {decay} more.")
    shown, end, note = 0.0, steps, "starting"
    running = children([Child("warmup", recipe, "warmup", stage.folder / "warmup")])
    with running as (child,), bars(stage.place) as progress:
        task = progress.add_task("warm-up", total=steps, note=note)
        while not child.ended():
            lines = child.steps.read()
            for one in child.evaluations.read():
                mean = one["metrics"]["mean"]["value"]
                note = f"experts {100 * mean:.0f} % right"
                if end == steps and decay_at is not None and mean >= decay_at:
                    end = min(steps, one["step"] + decay)
                if mean >= shown + NOTICED:
                    shown = mean
                    words = f"  step {one['step']}: right on validation, in %: {accuracies(one['metrics'])}"
                    say_above(stage, progress, words)
            if lines:
                progress.update(task, completed=lines[-1]["step"], total=end, note=note)
            if lines and lines[-1]["step"] >= end:
                progress.update(task, note="testing")
            time.sleep(PAUSE)


def show_start(stage: Stage) -> None:
    """Stage 2: every prompt on the test questions, and questions that only one expert knows."""
    start = load(stage.folder / "warmup").arms[0].after
    if start is None:
        raise UserError(f"{stage.folder / 'warmup'}: the warm-up was not evaluated; start the demo again")
    stage.title(f"2. Before reinforcement learning: every prompt on {start.questions} test questions")
    metrics = {key: {"value": m.value, "low": m.low, "high": m.high} for key, m in start.metrics.items()}
    stage.text.print(per_prompt(metrics))
    stage.say("In brackets 95 % intervals over questions. The oracle counts what any of the experts knows.")
    for shown in complementary(start):
        stage.text.print(shown)


def train(stage: Stage, recipes: Mapping[str, Path]) -> None:
    """Stage 3: all arms at once, a process each, with what MEML-GRPO rescues and forgets on the way."""
    stage.title(
        "3. Three ways on from this one model: two with as many sampled tokens each, the third with half of them"
    )
    moments = Moments("meml_grpo")
    started = [Child(arm, path, "train", stage.folder / arm) for arm, path in recipes.items()]
    with children(started), bars(stage.place) as progress:
        total = stage.recipe["steps"]
        tasks = {child.name: progress.add_task(label(child.name), total=total, note="starting") for child in started}
        running = list(started)
        while running:
            for child in list(running):
                if child.ended():
                    running.remove(child)
                follow(stage, child, progress, tasks[child.name])
                if child.name == moments.arm:
                    for line in child.evaluations.read():
                        file = child.folder / "evaluation" / f"step-{line['step']:06d}.json"
                        for shown in moments.seen(evaluation_file(file)):
                            show_above(stage, progress, shown)
            time.sleep(PAUSE)


def follow(stage: Stage, child: Child, progress: Progress, task: TaskID) -> None:
    """Move the bar of an arm on: it ends with its steps or with its tokens, whichever come first."""
    for line in child.steps.read()[-1:]:
        steps, tokens = stage.recipe["steps"], budget(stage, child.name)
        share = max(line["step"] / steps, line["num_tokens"] / tokens if tokens else 0.0)
        note = "testing" if share >= 1 else latest(line)
        progress.update(task, completed=line["step"], total=round(line["step"] / share), note=note)


def say_above(stage: Stage, progress: Progress, words: str) -> None:
    """A line of text above the bars."""
    plain(stage.text if progress.disable else progress.console, words)


def show_above(stage: Stage, progress: Progress, shown: Any) -> None:
    """A panel above the bars."""
    (stage.text if progress.disable else progress.console).print(shown)


def finish(stage: Stage, began: float, quick: bool) -> dict[str, Any]:
    """The final table, what happened in one sentence, the distribution over seeds, and the report."""
    runs = load(stage.folder)
    results = {arm.name: arm for arm in runs.arms if arm.result is not None}
    found = {name: outcome(stage.folder / ("warmup" if arm.is_warmup else name)) for name, arm in results.items()}
    over_seeds = shipped.ablation()
    page = build(stage.folder, ablation=over_seeds)
    seconds = time.monotonic() - began
    stage.title("4. What came of it")
    stage.text.print(final_table(found))
    stage.say(f"\n{sentence(runs)}")
    stage.say(of_the_student(found))
    if over_seeds is not None:
        stage.say(distribution(over_seeds, found, quick))
    stage.say(f"\n{duration(seconds)} in all. The report, with every answer side by side: {page}")
    arms = {name: arm_json(one) for name, one in found.items()}
    spent = sum(one["sampled_tokens"] for one in arms.values())
    return {"arms": arms, "sampled_tokens": spent, "seconds": round(seconds, 1), "report": str(page)}


def outcome(folder: Path) -> dict[str, Any]:
    """The result.json of a run."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def arm_json(result: Mapping[str, Any]) -> dict[str, Any]:
    """One arm as `--json` prints it: the metrics that are named, and what it cost."""
    metrics = {name: result["metrics"][name] for name in METRICS if name in result["metrics"]}
    return {**metrics, "sampled_tokens": result["sampled_tokens"], "seconds": round(result["seconds"], 1)}


def of_the_student(found: Mapping[str, Any]) -> str:
    """What the third arm is for: the prompt without an expert, beside all experts together before training."""
    plain = {arm: 100 * found[arm]["metrics"]["plain"]["value"] for arm in ("tutored_rs_grpo", "meml_grpo")}
    oracle = 100 * found["mef"]["metrics"]["oracle"]["value"]
    return (
        "Tutored RS-GRPO trains the plain prompt alone, with half the tokens: it is right on "
        f"{plain['tutored_rs_grpo']:.1f} % there, MEML-GRPO on {plain['meml_grpo']:.1f} %; "
        f"one at least of the three experts was on {oracle:.1f} % before, the oracle (docs/beyond.md)."
    )


def distribution(primary: Mapping[str, Any], found: Mapping[str, Any], quick: bool) -> str:
    """This run's difference beside those of the committed ablation."""
    name = primary["outcome"]
    here = 100 * (found["meml_grpo"]["metrics"][name]["value"] - found["grpo_all_experts"]["metrics"][name]["value"])
    low, high = min(primary["differences"]), max(primary["differences"])
    whole = ", after the whole training and not this early phase," if quick else ""
    return (
        f"This is one seed: MEML-GRPO is {here:+.1f} points from GRPO in {name}. Over {primary['seeds']} seeds of the "
        f"committed ablation{whole} it is {primary['difference']:+.1f} [{primary['low']:+.1f}, "
        f"{primary['high']:+.1f}], single seeds from {low:+.1f} to {high:+.1f}."
    )
