"""Multi-expert fine-tuning (MEF, arXiv 2508.09670): every expert's traces under its own prompt, one model.

    L = - sum over questions j and experts i of log p(trace_j^i | question_j, P_i)

It is the training step without sampling: examples of kind "trace", one cross-entropy term.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from manyminds import checkpoint
from manyminds.config import Recipe, dump
from manyminds.durable import understanding
from manyminds.errors import NotFinite, UserError
from manyminds.evaluate import evaluate, on_test
from manyminds.folder import RunFolder
from manyminds.formulas.averages import over_tokens
from manyminds.interrupts import Interrupts
from manyminds.loading import Loaded, load, resolve
from manyminds.loggers import Loggers, numbers
from manyminds.methods.terms import CrossEntropy
from manyminds.objective import Term
from manyminds.policy import adapters
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import PLAIN, Example, Question, Update
from manyminds.result import Result, Watch, noting, silent
from manyminds.sections import WarmUp
from manyminds.step import learn

TERMS = (Term("trace", "trace", CrossEntropy(), average=over_tokens),)


class Traces:
    """Rows to imitate, shuffled anew each epoch; a share stands under the plain prompt. No state but the step."""

    def __init__(self, questions: Sequence[Question], config: WarmUp, experts: Sequence[str], seed: int) -> None:
        self.config, self.seed = config, seed
        self.rows = [
            (question, trace.ids, name)
            for question in questions
            for name, trace in question.traces.items()
            if name in experts and not (config.only_correct and trace.reward is not None and trace.reward < 1)
        ]
        missing = [name for name in experts if not any(row[2] == name for row in self.rows)]
        if missing:
            raise UserError(
                f"task: expert '{missing[0]}' has no trace to learn from in the warm-up questions; give the task "
                "worked answers of this expert, or leave the `warmup` section out"
            )
        self._epoch, self._order = -1, list(range(len(self.rows)))

    def batch(self, step: int) -> tuple[Example, ...]:
        """The rows of step 1, 2, …"""
        n, size = len(self.rows), self.config.rows_per_step
        return tuple(self._example(place) for place in range((step - 1) * size, step * size) if n)

    def _example(self, place: int) -> Example:
        epoch, index = divmod(place, len(self.rows))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(len(self.rows)))
            random.Random(f"{self.seed}/traces/{epoch}").shuffle(self._order)
        question, ids, expert = self.rows[self._order[index]]
        plain = random.Random(f"{self.seed}/plain/{place}").random() < self.config.plain_share
        prompt = question.prompt_ids[PLAIN if plain else expert]
        return Example("trace", prompt, ids, media=question.media, group_id=(question.id, expert))


def warmup(recipe: Recipe | str | Path, *, resume: bool = False, watch: Watch = silent) -> Result:
    """Train the model of `recipe` (or of the recipe in that file) on the experts' traces and evaluate it.

    The result is in the recipe's `warmup_folder`.
    Raises UserError if the recipe has no `warmup` section, an expert has no trace, or the folder holds another run.
    """
    recipe = resolve(recipe)
    config = recipe.warmup
    if config is None:
        raise UserError("warmup: the recipe has no such section; add one, or train without it")
    folder = RunFolder(recipe.warmup_folder)
    saved, skipped = folder.find(recipe, resume=resume)
    if saved and (complete := Result.read(folder.path)):
        return complete
    recipe = recipe.going_on(saved.state["recipe"]) if saved else recipe
    loaded = load(recipe, saved.model if saved else recipe.model, folder.path)
    policy = HFPolicy(loaded.model, config.optimizer, steps=config.steps, engine=loaded.recipe.engine)
    with folder.held(), loaded.judge:  # its worker processes end with it
        stage = _Stage(loaded, config, policy, folder, noting(folder, watch))
        folder.begin(loaded.recipe, saved.step if saved else -1)
        for sentence in (*skipped, *loaded.notes):
            stage.note(sentence)
        if saved:
            with understanding(saved.path):
                stage.restore(saved)
        stage.run()
        return stage.finish()


class _Stage:
    """The loop of the warm-up and what it counts."""

    def __init__(self, loaded: Loaded, config: WarmUp, policy: HFPolicy, folder: RunFolder, watch: Watch) -> None:
        self.loaded, self.config, self.policy, self.folder, self.watch = loaded, config, policy, folder, watch
        self.experts = config.experts or tuple(expert.name for expert in loaded.experts)
        self.traces = Traces(loaded.questions["warmup"], config, self.experts, loaded.recipe.seed)
        self.step, self.trained_tokens, self.seconds = 0, 0, 0.0
        self.end = config.steps
        self.loggers = Loggers(loaded.recipe, "warmup", folder.path)

    def run(self) -> None:
        """Learn until the end, which moves nearer once the experts are good enough; evaluate and save on the way, and
        before a signal ends it (Interrupted)."""
        with Interrupts() as interrupts:
            while self.step < self.end:
                self.take_step()
                due = self.step % self.loaded.recipe.checkpoint.every == 0 or self.step == self.end
                if due or interrupts.asked:
                    self.save()
                interrupts.check(self.step, self.note)

    def take_step(self) -> None:
        """One update, and what is told and measured after it."""
        started, decay = time.perf_counter(), self.config.optimizer.schedule.decay_steps
        try:
            metrics = learn(Update(self.traces.batch(self.step + 1)), TERMS, self.policy)
        except NotFinite as error:
            self.note(self.folder.not_finite(self.step + 1, error, self.config.optimizer.on_not_finite))
            self.policy.forget()
            metrics = {"skipped_steps": 1.0, "trained_tokens": 0.0}
        self.policy.tick()
        self.step += 1
        self.seconds += time.perf_counter() - started
        self.trained_tokens += int(metrics["trained_tokens"])
        line = {"step": self.step, "kind": "warmup", **metrics, "step_time": time.perf_counter() - started}
        self.folder.log(line)
        self.loggers.log(line, self.step)
        self.watch("step", self.step, self.end, line)
        falls = self.policy.decay_from is not None
        reached = self.step % self.config.evaluate_every == 0 and self._accuracy() >= (self.config.decay_at or 2.0)
        if not falls and (reached or self.step >= self.config.steps - decay):
            self.policy.decay()
            self.end = min(self.config.steps, self.step + decay)

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.watch("note", self.step, self.end, {"text": text})

    def _accuracy(self) -> float:
        """The experts' mean accuracy on some validation questions; logged."""
        some = self.loaded.questions["validation"][: self.loaded.recipe.evaluation.questions]
        result = evaluate(self.loaded, some, split="validation", step=self.step)
        self.folder.evaluation(result, f"step-{self.step:06d}", num_tokens=0)
        self.loggers.log(numbers(result["metrics"], "validation"), self.step)
        self.watch("evaluation", self.step, self.end, result)
        return float(result["metrics"]["mean"]["value"])

    def save(self) -> None:
        state = {
            "recipe": dump(self.loaded.recipe),
            "policy": self.policy.state(),
            "end": self.end,
            "trained_tokens": self.trained_tokens,
            "seconds": self.seconds,
        }
        save(self.folder, self.step, self.loaded, self.policy, state)

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        restore(self.policy, saved)
        self.step, self.end = saved.step, saved.state["end"]
        self.trained_tokens, self.seconds = saved.state["trained_tokens"], saved.state["seconds"]
        self.note(f"goes on after step {saved.step}, from {saved.path}")

    def finish(self) -> Result:
        validation, test = on_test(self.loaded, self.step)
        self.folder.evaluation(validation, "validation", num_tokens=0)
        self.folder.evaluation(test, "after", num_tokens=0)
        self.loggers.log(numbers(test["metrics"], "test"), self.step)
        self.loggers.finish()
        counts = {"sampled_tokens": 0, "trained_tokens": self.trained_tokens, "seconds": self.seconds}
        return Result.write(self.folder, self.loaded.recipe, "mef", self.step, counts, test)


def save(
    folder: RunFolder, step: int, loaded: Loaded, policy: HFPolicy, state: dict[str, Any], kept: Collection[int] = ()
) -> None:
    """A checkpoint: the model as a Hugging Face folder, the optimisers, and everything else as JSON. Those of the steps
    in `kept` are not pruned."""

    def write(model: Any) -> None:
        adapters.write(loaded.model, model, loaded.recipe.model)
        loaded.tokenizer.save_pretrained(model)

    tensors = {f"optimizer_{i}": checkpoint.optimizer_tensors(o) for i, o in enumerate(policy.optimizers)}
    checkpoint.save(folder.checkpoints, step, write, state, tensors, keep=loaded.recipe.checkpoint.keep, keep_also=kept)


def restore(policy: HFPolicy, saved: checkpoint.Checkpoint) -> None:
    """Optimisers and schedule as they were; the weights were loaded from the checkpoint's model folder."""
    for i, optimizer in enumerate(policy.optimizers):
        checkpoint.load_optimizer(optimizer, saved.tensors[f"optimizer_{i}"])
    policy.load_state(saved.state["policy"])
