"""The sections of a recipe, each a frozen value that refuses unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from manyminds.endpoint import Endpoint, check_options
from manyminds.errors import UserError
from manyminds.records import Expert


class Section(BaseModel):
    """A part of a recipe: frozen, no unknown keys, no number that is not finite: JSON could not keep it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Misplaced(ValueError):
    """A mistake found at a key below the one that is being read; `path` leads there."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


class ExpertConfig(Section):
    """An expert prompt; `teacher` names whose traces teach it (default: those under its own name)."""

    name: str = Field(min_length=1)
    system: str | None = None
    teacher: str | None = None

    def record(self) -> Expert:
        return Expert(self.name, self.system, self.teacher)


class Sampling(Section):
    """How answers are drawn. Top-p and top-k are not offered: they bias an on-policy loss.

    `temperature` is training's. An answer ends at the model's end of sequence, after `max_tokens`, or with the token
    that completes one of the strings `stop`. The run tells of it once if the log-probs of sampler and policy differ by
    more than `logp_difference_bound` nats on the mean token of a step: then training is not on-policy.
    """

    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=1)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    logp_difference_bound: float = Field(0.05, gt=0)


class Engine(Section):
    """How the work is done, not what is computed. What is left open is derived when a run begins, and kept.

    `precision`: "float32", or "mixed" (linear layers in bfloat16, everything else and the weights in float32); by
    default mixed on CUDA, else float32. `answers_at_once` are drawn together, `tokens_at_once` make a micro-batch: by
    default as many as the memory holds and the machine profits from. `gradient_checkpointing` saves the memory of a
    micro-batch's activations for a third more arithmetic.
    """

    precision: Literal["float32", "mixed"] | None = None
    answers_at_once: int | None = Field(None, ge=1)
    tokens_at_once: int | None = Field(None, ge=1)
    gradient_checkpointing: bool = False


class Lora(Section):
    """Low-rank adapters (arXiv 2106.09685) instead of all weights: W + alpha / rank * B A, with A and B trained.

    `target_modules`: the names of layers that get one; "all-linear" means all linear layers but the head.
    """

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"


class Schedule(Section):
    """The learning rate over training steps.

    `cosine` falls to `floor` * lr at the last step; `warmup_stable_decay` stays level until the run says so, then falls
    to `floor` * lr in `decay_steps`; `constant` stays level. All rise in `warmup_steps`, from 0
    (warmup_stable_decay: from `floor` * lr).
    """

    name: Literal["cosine", "warmup_stable_decay", "constant"] = "cosine"
    warmup_steps: int = Field(3, ge=0)
    decay_steps: int = Field(200, ge=1)
    floor: float = Field(0.1, ge=0, le=1)


class OptimizerConfig(Section):
    """How weights move: AdamW at `lr`; with `muon`, Muon at `matrix_lr` for the matrices between embedding and head.

    `on_not_finite`: where a loss or gradient is not finite the rows are saved, and the run stops, or goes on without
    this step.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(1e-6, gt=0)
    matrix_lr: float = Field(8e-3, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    on_not_finite: Literal["stop", "skip"] = "stop"
    schedule: Schedule = Schedule()


class RewardConfig(Section):
    """A reward: its name alone, or with its place in the sum. Further keys are options of the function itself.

    `name` is a built-in reward or `module:function`; `as` another name for metrics and gates. `weight` is by default
    the one that the function was decorated with, else 1. Where the reward that `gate` names gave nothing above 0
    (above one half, if that one is graded), this one is not asked and counts as 0. `normalise` "group" standardises it
    within the answers of one expert to one question before it is added, "batch" over all answers of a step. `from`:
    whose signature the function has, where its arguments do not show it; `columns` (their name: ours) and `messages`
    (completions as chat messages) say what TRL's and verl's are given.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1)
    called: str = Field("", alias="as")
    weight: float | None = Field(None, allow_inf_nan=False)
    gate: str = ""
    normalise: Literal["none", "group", "batch"] = "none"
    kind: Literal["trl", "verl"] | None = Field(None, alias="from")
    columns: dict[str, str] = Field(default_factory=dict)
    messages: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, entry: Any) -> Any:
        return {"name": entry} if isinstance(entry, str) else entry


class JudgeConfig(Section):
    """How rewards are asked. Plain functions run in `workers` processes (by default one a core, at most 8), which may
    hold `memory_gib` GiB of data each beyond what they start with; a call may take `deadline` seconds.

    An answer on which a reward fails has the reward 0 (`on_error` "zero"), is left out of its group ("skip"), or ends
    the run ("raise"). The run ends too if a reward fails on more than the share `max_error_rate` of 16 or more answers.
    """

    deadline: float = Field(10.0, gt=0, allow_inf_nan=False)
    memory_gib: float = Field(4.0, gt=0, allow_inf_nan=False)
    workers: int | None = Field(None, ge=1)
    on_error: Literal["zero", "skip", "raise"] = "zero"
    max_error_rate: float = Field(0.5, ge=0, le=1)


class WarmUp(Section):
    """Multi-expert fine-tuning (MEF): supervised training on every expert's traces under its own prompt.

    `plain_share` of the rows stand under the plain prompt instead. The learning rate is level until the experts' mean
    accuracy on validation questions reaches `decay_at`, then falls for `schedule.decay_steps`, and training ends;
    without `decay_at` it begins to fall in time to end at `steps`.
    """

    experts: tuple[str, ...] = ()
    plain_share: float = Field(0.0, ge=0, le=1)
    steps: int = Field(1000, ge=1)
    rows_per_step: int = Field(32, ge=1)
    decay_at: float | None = Field(None, gt=0, le=1)
    evaluate_every: int = Field(50, ge=1)
    only_correct: bool = True
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-5)

    @model_validator(mode="after")
    def _can_fall(self) -> WarmUp:
        if self.decay_at is not None and self.optimizer.schedule.name != "warmup_stable_decay":
            raise ValueError("decay_at needs another schedule; set optimizer.schedule.name to warmup_stable_decay")
        return self


class Teacher(Section):
    """Who writes worked answers: the chat model `model` at the OpenAI-compatible address `url`, or a model `folder` (or
    hub id) that runs here; with neither, the recipe's own model.

    It is asked under the expert's system message, or under its own `system`. `options` go along with every request to
    an address, as the API knows them. The others are those of `endpoint.Endpoint`.
    """

    url: str | None = None
    model: str | None = None
    folder: str | None = None
    system: str | None = None
    key_env: str = Field("OPENAI_API_KEY", min_length=1)
    timeout: float = Field(60.0, gt=0)
    retries: int = Field(5, ge=0)
    concurrency: int = Field(8, ge=1)
    per_minute: int | None = Field(None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_place(self) -> Teacher:
        if self.url is not None and self.folder is not None:
            raise ValueError("has both a url and a folder; a teacher is one or the other")
        if (self.url is None) != (self.model is None):
            raise ValueError("url and model go together: the address, and the name of the model there")
        try:
            check_options(self.options)
        except UserError as error:
            raise ValueError(str(error)) from error
        self.endpoint()
        return self

    def endpoint(self) -> Endpoint | None:
        """Where it answers; None for a model that runs here."""
        if self.url is None or self.model is None:
            return None
        shared = {name: getattr(self, name) for name in ("key_env", "timeout", "retries", "concurrency", "per_minute")}
        try:
            return Endpoint(self.url, self.model, **shared)
        except UserError as error:
            raise ValueError(str(error)) from error


class Collect(Section):
    """Worked answers to be collected: `n` under each expert's prompt to every question of `sets`, or to the first
    `questions` of each.

    `teachers` says by whom, by the name of the expert (or by its `teacher`); `teacher` writes for all others.
    `temperature` and `max_tokens` are those of `sampling` where they are left out.
    """

    n: int = Field(4, ge=1)
    sets: tuple[Literal["warmup", "train"], ...] = ("warmup",)
    questions: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    teacher: Teacher = Teacher()
    teachers: dict[str, Teacher] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _not_the_same(self) -> Collect:
        if self.temperature == 0 and self.n > 1:
            raise ValueError(f"at temperature 0 all {self.n} answers would be the same; set n to 1, or a temperature")
        return self


class EvaluationConfig(Section):
    """What is measured. `every` training steps: greedy answers to `questions` of validation. At the end: all of test.

    `samples` answers per expert to each of `sampled_questions` test questions (0: all) give pass@`group` and the
    shares of groups of `group` answers that carry no signal; and pass@k for every further k of `pass_at`.
    """

    every: int = Field(60, ge=1)
    questions: int = Field(150, ge=1)
    samples: int = Field(16, ge=2)
    sampled_questions: int = Field(0, ge=0)
    group: int = Field(8, ge=1)
    pass_at: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _enough(self) -> EvaluationConfig:
        if self.samples < self.group:
            raise ValueError(f"samples ({self.samples}) must be at least group ({self.group}); twice as many is better")
        if self.pass_at and self.samples < max(self.pass_at):
            raise ValueError(
                f"samples ({self.samples}) must be at least {max(self.pass_at)}, the greatest of pass_at; twice as "
                "many is better"
            )
        return self


class CheckpointConfig(Section):
    """When state is saved, in steps, and how many checkpoints are kept; with `keep_best` also the one after which the
    experts' mean accuracy on validation questions was highest."""

    every: int = Field(100, ge=1)
    keep: int = Field(2, ge=1)
    keep_best: bool = False
