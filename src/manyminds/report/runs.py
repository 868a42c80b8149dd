"""The values a report is made of: runs, their steps, evaluations and answers. `read.py` fills them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from manyminds.records import PLAIN

if TYPE_CHECKING:
    from manyminds.report.exploration import Exploration

LABELS = {
    "before": "Before RL",
    "warmup": "Before RL (warm-up)",
    "mef": "Before RL (warm-up)",
    "grpo": "GRPO",
    "grpo_all_experts": "GRPO on all experts",
    "grpo_best_expert": "GRPO on the best expert",
    "grpo_plain": "GRPO on the plain prompt",
    "cispo": "CISPO",
    "dapo": "DAPO",
    "dr_grpo": "Dr. GRPO",
    "gspo": "GSPO",
    "meml_grpo": "MEML-GRPO",
    "meml_tuned": "MEML-GRPO, tuned",
    "meml_published": "MEML-GRPO, published",
    "rs_grpo": "RS-GRPO",
    "tutored_grpo": "Tutored GRPO",
    "tutored_rs_grpo": "Tutored RS-GRPO",
}
WARMUP = ("warmup", "mef")


@dataclass(frozen=True, slots=True)
class Measure:
    """A share between 0 and 1, with a 95 % interval where one was computed."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Greedy:
    """The greedy answer under one prompt. `style` is empty where the task knows no styles."""

    text: str
    correct: bool
    style: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """One test question: `greedy` holds an answer per prompt, `right` how many of how many sampled ones were right."""

    id: str
    question: str
    answer: str
    family: str
    greedy: Mapping[str, Greedy]
    right: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All prompts on one question set after `step` updates; `answers` is empty for those made while training."""

    split: str
    step: int
    experts: tuple[str, ...]
    questions: int
    metrics: Mapping[str, Measure]
    answers: tuple[Answered, ...] = ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """The plain prompt and the experts, in the order in which they are shown; those that answered, if any did."""
        every = (PLAIN, *self.experts)
        return tuple(p for p in every if p in self.answers[0].greedy) if self.answers else every


@dataclass(frozen=True, slots=True)
class Step:
    """The numbers of one training step; `kind` is "train" or "warmup"."""

    step: int
    kind: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run cost, and its metrics on test questions."""

    arm: str
    seed: int | None
    sampled_tokens: float | None
    seconds: float | None
    metrics: Mapping[str, Measure]


@dataclass(frozen=True, slots=True)
class Arm:
    """One run folder."""

    name: str
    folder: Path
    recipe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    before: Evaluation | None = None
    after: Evaluation | None = None
    result: Result | None = None
    explorations: tuple[Exploration, ...] = ()

    @property
    def label(self) -> str:
        return label(self.name)

    @property
    def is_warmup(self) -> bool:
        return self.name in WARMUP or (bool(self.steps) and all(s.kind == "warmup" for s in self.steps))

    @property
    def metrics(self) -> Mapping[str, Measure]:
        """The final metrics on test questions; empty while the run goes on."""
        if self.result is not None and self.result.metrics:
            return self.result.metrics
        return self.after.metrics if self.after is not None else {}

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts' names, from whichever file knows them."""
        known = [e.experts for e in (self.after, self.before, *self.evaluations[-1:]) if e is not None and e.experts]
        if known:
            return known[0]
        keys = [*self.metrics, *(k for s in self.steps[-1:] for k in s.values)]
        names = (k.split("/")[1] for k in keys if k.startswith("experts/"))
        return tuple(dict.fromkeys(name for name in names if name != PLAIN))

    def series(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric of `metrics.jsonl`, steps that lack it left out."""
        found = [(s.step, s.values[key]) for s in self.steps if key in s.values]
        return [step for step, _ in found], [value for _, value in found]

    def has(self, prefix: str) -> bool:
        """Whether any step recorded a metric whose name starts with `prefix`."""
        return any(key.startswith(prefix) for s in self.steps for key in s.values)


@dataclass(frozen=True, slots=True)
class Runs:
    """What a report is made of: one arm or several, the warm-up first."""

    name: str
    folder: Path
    arms: tuple[Arm, ...]

    @property
    def warmup(self) -> Arm | None:
        return next((arm for arm in self.arms if arm.is_warmup), None)

    @property
    def trained(self) -> tuple[Arm, ...]:
        """The arms that did reinforcement learning."""
        return tuple(arm for arm in self.arms if not arm.is_warmup)

    @property
    def main(self) -> Arm | None:
        """The arm the report is about: MEML-GRPO where there is one, else the last."""
        trained = self.trained
        return next((arm for arm in trained if arm.name.startswith("meml")), trained[-1] if trained else None)

    @property
    def baseline(self) -> Arm | None:
        """The arm that `main` is compared with: GRPO over all experts where there is one, else the first other."""
        others = [arm for arm in self.trained if arm is not self.main]
        return next((arm for arm in others if arm.name == "grpo_all_experts"), others[0] if others else None)

    @property
    def reference(self) -> Arm | None:
        """What differences are taken against: the baseline, else what the main arm started from."""
        if self.main is None or self.baseline is not None:
            return self.baseline
        return self.start or self.warmup

    @property
    def start(self) -> Arm | None:
        """The main arm's start as a column of its own, where no warm-up shows it."""
        if self.main is None or self.main.before is None or self.warmup is not None:
            return None
        return Arm("before", self.folder, after=self.main.before)

    @property
    def columns(self) -> tuple[Arm, ...]:
        """The columns of the final table."""
        return self.arms if self.start is None else (self.start, *self.arms)

    @property
    def experts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(expert for arm in self.arms for expert in arm.experts))


def label(arm: str) -> str:
    """An arm's name as people read it."""
    return LABELS.get(arm, arm.replace("_", " "))
