"""A recipe: everything a run needs, as one frozen value read from YAML. Unknown keys are refused by name and line."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_validator, model_validator

from manyminds.errors import UserError
from manyminds.methods.method import Method
from manyminds.records import PLAIN, Expert


class Section(BaseModel):
    """A part of a recipe: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExpertConfig(Section):
    """An expert prompt; `teacher` names whose traces teach it (default: those under its own name)."""

    name: str = Field(min_length=1)
    system: str | None = None
    teacher: str | None = None

    def record(self) -> Expert:
        return Expert(self.name, self.system, self.teacher)


class Sampling(Section):
    """How answers are drawn in training. Top-p and top-k are not offered: they bias an on-policy loss."""

    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=1)
    rows_at_once: int = Field(512, ge=1)


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

    `tokens_at_once` bounds the padded tokens of a micro-batch.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(1e-6, gt=0)
    matrix_lr: float = Field(8e-3, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    schedule: Schedule = Schedule()
    tokens_at_once: int = Field(16384, ge=1)


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


class EvaluationConfig(Section):
    """What is measured. `every` training steps: greedy answers to `questions` of validation. At the end: all of test.

    `samples` answers per expert to each of `sampled_questions` test questions (0: all) give pass@`group` and the
    shares of groups of `group` answers that carry no signal.
    """

    every: int = Field(60, ge=1)
    questions: int = Field(150, ge=1)
    samples: int = Field(16, ge=2)
    sampled_questions: int = Field(0, ge=0)
    group: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _enough(self) -> EvaluationConfig:
        if self.samples < self.group:
            raise ValueError(f"samples ({self.samples}) must be at least group ({self.group}); twice as many is better")
        return self


class CheckpointConfig(Section):
    """When state is saved, in steps, and how many checkpoints are kept."""

    every: int = Field(100, ge=1)
    keep: int = Field(2, ge=1)


class Recipe(Section):
    """One run. `model` is a Hugging Face folder or hub id; "tiny" is the embedded task's own small model.

    Training ends after `steps`, over which the learning rate is scheduled, or once `sampled_tokens` have been drawn,
    those of refused groups included: arms that answer at unequal length are compared at equal cost.
    The run is written to `output/name/arm`; `arm` defaults to the method's name. Training starts from the end of
    `output/name/warmup` if the recipe has a `warmup` section, else from `model`.
    """

    name: str = Field(min_length=1)
    seed: int = 0
    model: str = Field(min_length=1)
    task: dict[str, Any]
    experts: tuple[ExpertConfig, ...] | None = None
    warmup: WarmUp | None = None
    method: SerializeAsAny[Method]
    steps: int = Field(480, ge=0)
    sampled_tokens: int | None = Field(None, ge=1)
    sampling: Sampling = Sampling()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    arm: str = ""
    output: str = "runs"

    @field_validator("method", mode="before")
    @classmethod
    def _named_method(cls, method: Any) -> Any:
        from manyminds.methods import build
        from manyminds.methods.compose import Composed

        made = build(method) if isinstance(method, dict) else method
        if isinstance(made, Method):
            Composed(made)  # refuses parts that contradict each other
        return made

    @field_validator("name", "arm")
    @classmethod
    def _one_folder(cls, value: str) -> str:
        if value in (".", "..", "warmup") or Path(value).name != value:
            raise ValueError(f"'{value}' cannot name a run's folder; give a plain name, not a path and not 'warmup'")
        return value

    @field_validator("experts")
    @classmethod
    def _distinct(cls, experts: tuple[ExpertConfig, ...] | None) -> tuple[ExpertConfig, ...] | None:
        names = [expert.name for expert in experts or ()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two experts have the name '{twice[0]}'; names must differ")
        if PLAIN in names:
            raise ValueError(f"an expert may not be named '{PLAIN}': that is the prompt without an expert")
        if experts is not None and not experts:
            raise ValueError("there is no expert; give at least one, or leave `experts` out for the task's own")
        return experts

    @property
    def folder(self) -> Path:
        """Where this run lives."""
        return Path(self.output) / self.name / (self.arm or self.method.name.rpartition(":")[2])

    @property
    def warmup_folder(self) -> Path:
        """Where the warm-up of this recipe lives."""
        return Path(self.output) / self.name / "warmup"

    def resolved(self, experts: Sequence[Expert]) -> Recipe:
        """The recipe with what it left open filled in: the experts, those the method asks, Dr. GRPO's length.

        Raises UserError if the method or the warm-up names an expert that is not there, or has too few.
        """
        names = [expert.name for expert in experts]
        asked = {"method.experts": self.method.experts, "warmup.experts": self.warmup.experts if self.warmup else ()}
        for key, wanted in asked.items():
            for name in wanted:
                if wanted.count(name) > 1:
                    raise UserError(f"{key}: '{name}' is named twice; name each expert once")
                if name not in (*names, PLAIN):
                    raise UserError(f"{key}: there is no expert '{name}'; known are {', '.join([*names, PLAIN])}")
        method = self.method.settled(tuple(names), self.sampling.max_tokens)
        configs = tuple(ExpertConfig(name=e.name, system=e.system, teacher=e.teacher) for e in experts)
        return self.model_copy(update={"experts": configs, "method": method})


def dump(model: BaseModel) -> dict[str, Any]:
    """A recipe or section as plain data that YAML and JSON can hold and that loads again as the same value."""
    return model.model_dump(mode="json", by_alias=True)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with dotted `key=value` overrides. Raises UserError naming file, line and key."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe, a YAML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text in UTF-8; a recipe is a YAML file") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: is not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds no keys; a recipe starts with lines such as `name:` and `model:`")
    for override in overrides:
        override_in(data, override)
    return parse(data, str(path), text)


def override_in(data: dict[str, Any], override: str) -> None:
    """Set one dotted key (`method.clip_low=0.1`) in place; the value is read as YAML. Raises UserError."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"'{override}' is not an override; write key=value, such as steps=100 or method.clip_low=0.1")
    *parents, last = key.split(".")
    place = data
    for parent in parents:
        inner = place.get(parent)
        if inner is None:
            inner = place[parent] = {}
        if not isinstance(inner, dict):
            raise UserError(f"'{override}': {parent} holds {inner!r}, which has no keys of its own")
        place = inner
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"'{override}': the value is not valid YAML") from error


def parse(data: dict[str, Any], where: str = "recipe", text: str = "") -> Recipe:
    """The recipe in plain data. Raises UserError with the first thing that is wrong, and its line in `text`."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = [str(part) for part in first["loc"]]
        raise UserError(f"{where}{_line(text, path)}: {_sentence(data, path, first)}") from error
    except UserError as error:  # the methods know their names and parts, but no file
        raise UserError(f"{where}{_line(text, ['method'])}: {error}") from error


def _sentence(data: dict[str, Any], path: list[str], error: Any) -> str:
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        known = _fields(data, path)
        close = get_close_matches(path[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known here are {', '.join(sorted(known))}"
        return f"unknown key '{key}'; {hint}"
    if error["type"] == "missing":
        return f"the key '{key}' is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = "" if "error" in error.get("ctx", {}) else f", not {error['input']!r}"
    return f"{key}: {message[0].lower()}{message[1:]}{given}"


def _fields(data: dict[str, Any], path: list[str]) -> list[str]:
    """The keys that are known where the path's last one stands."""
    from manyminds.methods import find

    kind: Any = find(data["method"]["name"]) if path[0] == "method" else Recipe
    for part in path[:-1]:
        annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        sections = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        kind = sections[0] if sections else kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def _line(text: str, path: list[str]) -> str:
    """ ":12" if the key (or the nearest key above it) stands on line 12 of the YAML text, else nothing."""
    node = yaml.compose(text) if text else None
    found = ""
    for part in path:
        children = node.value if isinstance(node, yaml.MappingNode) else []
        match = [(key, value) for key, value in children if key.value == part]
        if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            match = [(node.value[int(part)], node.value[int(part)])]
        if not match:
            break
        found, node = f":{match[0][0].start_mark.line + 1}", match[0][1]
    return found
