"""The loop around the training step: questions, step, evaluation, checkpoint, resume."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manyminds import checkpoint, clock, yaml_text
from manyminds.clock import Clock
from manyminds.clusters import with_clusters
from manyminds.config import Recipe, dump
from manyminds.durable import understanding
from manyminds.errors import NotFinite, UserError
from manyminds.evaluate import evaluate, on_test
from manyminds.folder import RunFolder
from manyminds.interrupts import Interrupts
from manyminds.loading import Loaded, QuestionStream, answer_form, load, load_model, resolve
from manyminds.loggers import Loggers, numbers
from manyminds.memory import from_json, to_json
from manyminds.methods.compose import Composed
from manyminds.metrics import Metrics
from manyminds.policy.adapters import WithoutAdapters
from manyminds.policy.hf_policy import HFPolicy
from manyminds.profiling import Profiler
from manyminds.records import Progress
from manyminds.result import Result, Watch, noting, silent
from manyminds.rewards.sample import TrainerState
from manyminds.sampling.answer_spans import AnswerSpans
from manyminds.sampling.sampler import Sampler
from manyminds.step import training_step
from manyminds.warmup import restore, save


def train(recipe: Recipe | str | Path, *, resume: bool = False, watch: Watch = silent) -> Result:
    """Train with the recipe's method (a recipe, or its file) and evaluate; all is written to the recipe's `folder`.

    Starts from the finished warm-up of the recipe if it has a `warmup` section, else from `recipe.model`. With
    `resume` it goes on from the newest valid checkpoint, to the same numbers. Raises UserError for a user's mistake.
    """
    recipe = resolve(recipe)
    start = starting_model(recipe)
    folder = RunFolder(recipe.folder)
    saved, skipped = folder.find(recipe, resume=resume)
    if saved and (complete := Result.read(folder.path)):
        return complete
    recipe = recipe.going_on(saved.state["recipe"]) if saved else recipe
    loaded = load(recipe, saved.model if saved else start, folder.path)
    with folder.held(), loaded.judge:  # its worker processes end with it
        loaded = with_clusters(loaded, folder.path, begun=saved is not None)
        run = Run(loaded, folder, noting(folder, watch), start if saved else None)
        folder.begin(loaded.recipe, saved.step if saved else -1)
        for sentence in (*skipped, *loaded.notes):
            run.note(sentence)
        if saved:
            with understanding(saved.path):
                run.restore(saved)
        else:
            run.begin()
        run.go()
        return run.finish()


def starting_model(recipe: Recipe) -> str | Path:
    """Where training starts. Raises UserError if the recipe's warm-up has not been run to its end, or on another task:
    its questions could be among those that this run is tested on."""
    if recipe.warmup is None:
        return recipe.model
    folder = recipe.warmup_folder
    found, _ = checkpoint.latest(folder / "checkpoints") if (folder / "result.json").exists() else (None, [])
    if found is None:
        raise UserError(
            f"{folder}: there is no finished warm-up; run `manyminds warmup` with this recipe first (with --resume "
            "auto if it was begun), or leave its `warmup` section out (warmup=null on the command line)"
        )
    made = folder / "recipe.yaml"
    before = yaml_text.read(made, "a recipe")[0].get("task") if made.exists() else None
    if before is not None and before != dump(recipe)["task"]:
        raise UserError(
            f"{folder}: the warm-up was run with another `task`, so it may have learnt what this run is tested on; "
            "restore the task, or choose another `name` and run its warm-up"
        )
    return found / "model"


def sampler_of(loaded: Loaded) -> Sampler:
    """What the training step draws with: the sampler, which also looks for final answers if the method asks for it."""
    form = answer_form(loaded.recipe, loaded.task)
    return loaded.sampler if form is None else AnswerSpans(loaded.sampler, loaded.tokenizer, form)


def reference(loaded: Loaded, start: str | Path | None) -> Any:
    """The policy as training began, to be kept: the model without its adapters; else a copy of what was loaded, or
    where a run goes on what is at `start`."""
    recipe = loaded.recipe
    if recipe.lora is not None:
        return WithoutAdapters(loaded.model, recipe.engine.precision)
    if start is None:
        return copy.deepcopy(loaded.model)
    return load_model(start, recipe.seed, trust=recipe.trusts(start))[0]


@dataclass(frozen=True)
class Best:
    """The step after which the experts' mean accuracy on validation questions was highest, the earliest of equals."""

    step: int
    mean: float


class Run:
    """A run as it stands: everything but the weights and the optimiser is in `step`, `memory`, `position`, `costs`.

    `start`: the model that a run which goes on began with.
    """

    def __init__(self, loaded: Loaded, folder: RunFolder, watch: Watch, start: str | Path | None = None) -> None:
        self.loaded, self.folder, self.watch, self.recipe = loaded, folder, watch, loaded.recipe
        recipe = loaded.recipe
        self.method = Composed(recipe.method)
        self.policy = HFPolicy(
            loaded.model,
            recipe.optimizer,
            steps=recipe.steps,
            temperature=recipe.sampling.temperature,
            reference=reference(loaded, start) if "reference" in self.method.needs else None,
            engine=recipe.engine,
        )
        self.step = 0
        self.memory: Any = self.method.initial_memory()
        self.sampler = sampler_of(loaded)
        self.stream = QuestionStream(loaded.questions["train"], recipe.seed)
        self.costs: dict[str, float] = {"sampled_tokens": 0, "trained_tokens": 0, "seconds": 0.0}
        self.best: Best | None = None
        self.warned = False
        self.loggers = Loggers(recipe, folder.path.name, folder.path)

    def go(self) -> None:
        """Step until the budget is used; evaluate and save on the way, and before a signal ends it (Interrupted)."""
        profiler = Profiler.of(self.loaded.model, self.recipe.engine.precision) if self.recipe.profile else None
        with Interrupts() as interrupts:
            while self.share() < 1:
                self.take_step(profiler)
                if self.due() or interrupts.asked:
                    self.save()
                interrupts.check(self.step, self.note)
        if profiler:
            self.note(profiler.note(self.loaded.sampler))

    def take_step(self, profiler: Profiler | None) -> None:
        """One training step, and what is told and measured after it."""
        started, parts = time.perf_counter(), Clock()
        progress = Progress(self.step + 1, self.share())
        self.loaded.judge.begin(TrainerState(self.step, self.recipe.steps))
        try:
            with clock.running(parts) if profiler else nullcontext():
                self.memory, metrics = training_step(
                    self.stream,
                    self.memory,
                    progress,
                    method=self.method,
                    policy=self.policy,
                    sampler=self.sampler,
                    judge=self.loaded.judge,
                    seed=str(self.recipe.seed),
                )
        except NotFinite as error:
            metrics = self.skipped(error)
        self.policy.tick()
        self.step += 1
        self.tell()
        self.heed(metrics.values)
        seconds = time.perf_counter() - started
        self._count(metrics.values, seconds)
        tokens = {"num_tokens": self.costs["sampled_tokens"], "step_time": seconds}
        line = {"step": self.step, "kind": "train", **metrics.values, **self.loaded.judge.metrics, **tokens}
        if profiler:
            line |= profiler.metrics(parts, metrics.values)
        self.folder.log(line)
        self.loggers.log(line, self.step)
        self.watch("step", self.step, self.expected_steps(), line)
        if self.step % self.recipe.evaluation.every == 0 or self.share() >= 1:
            self.validate()

    def skipped(self, error: NotFinite) -> Metrics:
        """Go on without this step: memory as before it, no gradient left. Raises NotFinite if the recipe says stop."""
        self.note(self.folder.not_finite(self.step + 1, error, self.recipe.optimizer.on_not_finite))
        self.policy.forget()
        self.loaded.sampler.load(self.policy)  # an earlier update of the step may stand
        metrics = Metrics()
        metrics.add({"skipped_steps": 1.0})
        return metrics

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.watch("note", self.step, self.expected_steps(), {"text": text})

    def heed(self, metrics: Mapping[str, float]) -> None:
        """Tell, once, of log-probs of the sampler that are not the policy's."""
        apart, bound = metrics.get(Metrics.OF_THE_DRAW[0], 0.0), self.recipe.sampling.logp_difference_bound
        if not apart <= bound and not self.warned:
            self.warned = True
            self.note(
                f"step {self.step}: the sampler's log-probs and the policy's differ by {apart:.3g} nats on the mean "
                f"token, more than sampling.logp_difference_bound ({bound:g}): training is off-policy by that much; "
                "docs/interruptions.md says what helps"
            )

    def tell(self) -> None:
        """Pass on what the judge has to say."""
        for note in self.loaded.judge.notes:
            self.note(note)
        self.loaded.judge.notes.clear()

    def due(self) -> bool:
        """Whether the step that was taken is one to be saved."""
        best = self.recipe.checkpoint.keep_best and self.best is not None and self.best.step == self.step
        return best or self.step % self.recipe.checkpoint.every == 0 or self.share() >= 1

    def share(self) -> float:
        """The share of the budget that is used: of the steps or of the tokens, whichever is further on."""
        steps = self.step / self.recipe.steps if self.recipe.steps else 1.0
        return max(steps, self.costs["sampled_tokens"] / (self.recipe.sampled_tokens or math.inf))

    def expected_steps(self) -> int:
        """How many steps the run will take, by what they cost so far."""
        return round(self.step / self.share()) if self.step else self.recipe.steps

    def _count(self, metrics: dict[str, float], seconds: float) -> None:
        self.costs["seconds"] += seconds
        for name in ("sampled_tokens", "trained_tokens"):
            self.costs[name] += int(metrics.get(name, 0))

    def validate(self) -> None:
        """Greedy accuracy of every prompt on some validation questions."""
        some = self.loaded.questions["validation"][: self.recipe.evaluation.questions]
        result = evaluate(self.loaded, some, split="validation", step=self.step)
        self.folder.evaluation(result, f"step-{self.step:06d}", num_tokens=int(self.costs["sampled_tokens"]))
        self.loggers.log(numbers(result["metrics"], "validation"), self.step)
        self.watch("evaluation", self.step, self.expected_steps(), result)
        mean = float(result["metrics"]["mean"]["value"])
        if self.best is None or mean > self.best.mean:
            self.best = Best(self.step, mean)

    def test(self, name: str) -> dict[str, Any]:
        """Everything on the test questions, the best prompt chosen on all validation questions."""
        _, test = on_test(self.loaded, self.step)
        self.folder.evaluation(test, name, num_tokens=int(self.costs["sampled_tokens"]))
        return test

    def begin(self) -> None:
        """What the model can do before training: the warm-up's own evaluation where there is one."""
        measured = self.recipe.warmup_folder / "evaluation" / "after.json"
        if self.recipe.warmup and measured.exists():
            (self.folder.path / "evaluation").mkdir(exist_ok=True)
            shutil.copyfile(measured, self.folder.path / "evaluation" / "before.json")
        else:
            self.test("before")
        self.validate()

    def save(self) -> None:
        """Everything that changes training."""
        state = {
            "recipe": dump(self.recipe),
            "policy": self.policy.state(),
            "memory": to_json(self.memory),
            "position": self.stream.position,
            "costs": self.costs,
            "best": asdict(self.best) if self.best else None,
        }
        kept = [self.best.step] if self.best and self.recipe.checkpoint.keep_best else []
        save(self.folder, self.step, self.loaded, self.policy, state, kept)

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Stand where the checkpoint was taken."""
        restore(self.policy, saved)
        self.loaded.sampler.load(self.policy)
        memory, costs, position = (saved.state[name] for name in ("memory", "costs", "position"))
        if type(position) is not int or position < 0 or {*map(type, costs.values())} - {int, float}:
            raise TypeError(f"position {position!r} and costs {costs!r} must be numbers")
        self.step, self.memory = saved.step, from_json(memory)
        if not isinstance(self.memory, tuple) or len(self.memory) != len(self.method.layers):
            raise TypeError("memory must be a list with an entry for each layer of the method")
        self.stream.position, self.costs = position, {name: costs[name] for name in self.costs}
        best = saved.state.get("best")
        self.best = Best(**best) if best else None
        self.note(f"goes on after step {saved.step}, from {saved.path}")

    def finish(self) -> Result:
        """Evaluate on the test questions and write what the run came to."""
        arm, test = self.recipe.arm_name, self.test("after")
        self.loggers.log(numbers(test["metrics"], "test"), self.step)
        self.loggers.finish()
        return Result.write(self.folder, self.recipe, arm, self.step, self.costs, test)
