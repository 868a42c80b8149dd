"""A recipe: everything a run needs, as one frozen value read from YAML. Unknown keys are refused by name and line."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, field_validator

from manyminds import yaml_text
from manyminds.errors import UserError
from manyminds.methods.method import Method
from manyminds.records import PLAIN, Expert
from manyminds.sections import (
    CheckpointConfig,
    Collect,
    Engine,
    EvaluationConfig,
    ExpertConfig,
    JudgeConfig,
    Lora,
    Misplaced,
    OptimizerConfig,
    RewardConfig,
    Sampling,
    Section,
    WarmUp,
)

SHARED_BY_METHODS = ("experts", "questions_per_step", "answers_per_prompt", "rounds")
"""What stays of a method's settings when another is put in its place."""

LONGEST_NAME, LONGEST_PATH = 200, 1000
"""In bytes. File systems take names of 255, and runs put files with longer names and paths beside and below."""


class Recipe(Section):
    """One run. `model` is a Hugging Face folder or hub id; "tiny" is the embedded task's own small model.

    Training ends after `steps`, over which the learning rate is scheduled, or once `sampled_tokens` have been drawn,
    those of refused groups included: arms that answer at unequal length are compared at equal cost.
    The run is written to `output/name/arm`; `arm` defaults to the names of the method and its parts. Training starts
    from the end of `output/name/warmup` if the recipe has a `warmup` section, else from `model`.
    `rewards` stand in place of the task's own; the first is the verifier. `judge` says how they are asked.
    With `lora` adapters are trained and everything else stays as it was.
    `loggers` get copies of all metrics: tensorboard, wandb, trackio and others that accelerate knows.
    `chat_template_kwargs` are handed to the model's chat template, such as {enable_thinking: false}.
    `trust_remote_code` lets transformers execute Python code that comes with `model`, and with no other; it is off, and
    told where it is used.
    With `profile` each training step logs where its time went; what is learnt stays the same, also in a resumed run.
    """

    name: str = Field(min_length=1)
    seed: int = 0
    model: str = Field(min_length=1)
    trust_remote_code: bool = False
    task: dict[str, Any]
    rewards: tuple[RewardConfig, ...] | None = None
    judge: JudgeConfig = JudgeConfig()
    experts: tuple[ExpertConfig, ...] | None = None
    collect: Collect | None = None
    warmup: WarmUp | None = None
    method: SerializeAsAny[Method]
    steps: int = Field(480, ge=0)
    sampled_tokens: int | None = Field(None, ge=1)
    sampling: Sampling = Sampling()
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: Engine = Engine()
    lora: Lora | None = None
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    profile: bool = False
    loggers: tuple[str, ...] = ()
    chat_template_kwargs: dict[str, str | int | float | bool] = Field(default_factory=dict)
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

    @field_validator("rewards")
    @classmethod
    def _named_rewards(cls, rewards: tuple[RewardConfig, ...] | None) -> tuple[RewardConfig, ...] | None:
        from manyminds.rewards.resolve import agree, build

        if rewards is None:
            return None
        made = []
        for place, config in enumerate(rewards):
            try:
                made.append(build(config))
            except Misplaced as error:
                raise Misplaced((str(place), *error.path), str(error)) from error
        agree(made)
        pairs = zip(rewards, made, strict=True)
        return tuple(config.model_copy(update={"weight": reward.weight}) for config, reward in pairs)

    @field_validator("name", "arm")
    @classmethod
    def _one_folder(cls, value: str) -> str:
        if value in (".", "..", "warmup") or Path(value).name != value:
            raise ValueError(f"'{value}' cannot name a run's folder; give a plain name, not a path and not 'warmup'")
        return cls._a_path(value)

    @field_validator("output")
    @classmethod
    def _a_path(cls, value: str) -> str:
        """Whether a disk can have it, which would else refuse it in the middle of a run."""
        if odd := yaml_text.unheld(value):
            raise ValueError(f"{value!r} cannot name a run's folder, as it holds {odd}; give a plain name")
        if len(value.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in Path(value).parts):
            raise ValueError(f"'{value[:20]}…' is too long to name a run's folder; give a shorter name")
        return value

    @field_validator("experts")
    @classmethod
    def _distinct(cls, experts: tuple[ExpertConfig, ...] | None) -> tuple[ExpertConfig, ...] | None:
        names = [expert.name for expert in experts or ()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two experts have the name '{twice[0]}'; names must differ")
        if PLAIN in names:
            raise ValueError(f"an expert may not be named '{PLAIN}': that is the prompt without an expert; rename it")
        if experts is not None and not experts:
            raise ValueError("there is no expert; give at least one, or leave `experts` out for the task's own")
        return experts

    @property
    def folder(self) -> Path:
        """Where this run lives."""
        return Path(self.output) / self.name / self.arm_name

    @property
    def arm_name(self) -> str:
        """`arm`, or the method's name and those of its parts: grpo_curiosity."""
        layers = (self.method, *self.method.parts)
        return self.arm or "_".join(layer.name.rpartition(":")[2] for layer in layers)

    @property
    def warmup_folder(self) -> Path:
        """Where the warm-up of this recipe lives."""
        return Path(self.output) / self.name / "warmup"

    def trusts(self, model: str | Path) -> bool:
        """Whether code that comes with this model may be executed: `trust_remote_code` is on, and it is the recipe's
        own model or a checkpoint that this run or its warm-up made of it."""
        its = Path(model).resolve()
        made = any(its.is_relative_to(folder.resolve()) for folder in (self.folder, self.warmup_folder))
        return self.trust_remote_code and (str(model) == self.model or made)

    def resolved(self, experts: Sequence[Expert]) -> Recipe:
        """The recipe with what it left open filled in: the experts, those the method asks, Dr. GRPO's length.

        Raises UserError if the method or the warm-up names an expert that is not there, or has too few.
        """
        names = [expert.name for expert in experts]
        asked = {"method.experts": self.method.experts, "warmup.experts": self.warmup.experts if self.warmup else ()}
        asked |= {f"method.with: experts of '{part.name}'": part.experts for part in self.method.parts}
        for key, wanted in asked.items():
            for name in wanted:
                if wanted.count(name) > 1:
                    raise UserError(f"{key}: '{name}' is named twice; name each expert once")
                if name not in (*names, PLAIN):
                    raise UserError(f"{key}: there is no expert '{name}'; known are {', '.join([*names, PLAIN])}")
        method = self.method.settled(tuple(names), self.sampling.max_tokens)
        configs = tuple(ExpertConfig(name=e.name, system=e.system, teacher=e.teacher) for e in experts)
        return self.model_copy(update={"experts": configs, "method": method})

    def going_on(self, before: dict[str, Any]) -> Recipe:
        """The recipe of a resumed run: what it leaves open about the engine is as it was derived `before`."""
        known = {name: before.get("engine", {}).get(name) for name in Engine.model_fields}
        opened = {name: value for name, value in known.items() if getattr(self.engine, name) is None}
        return self.model_copy(update={"engine": self.engine.model_copy(update=opened)})


def dump(model: BaseModel) -> dict[str, Any]:
    """A recipe or section as plain data that YAML and JSON can hold and that loads again as the same value."""
    return model.model_dump(mode="json", by_alias=True)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with dotted `key=value` overrides. Raises UserError naming file, line and key."""
    path = Path(path)
    data, text = yaml_text.read(path, "a recipe")
    if "arms" in data and "base" in data:
        raise UserError(f"{path}: this is a comparison of several arms; run it with `manyminds compare {path}`")
    for override in overrides:
        override_in(data, override)
    return parse(data, str(path), text, overrides)


def override_in(data: dict[str, Any], override: str) -> None:
    """Set one dotted key (`method.clip_low=0.1`) in place; the value is read as YAML. Raises UserError.

    A method of another name keeps only what all methods have: whom it asks, and how much.
    """
    key, equals, value = override.partition("=")
    shown = _named(override)
    if not equals or not key or yaml_text.unheld(key):
        raise UserError(f"{shown} is not an override; write key=value, such as steps=100 or method.clip_low=0.1")
    *parents, last = key.split(".")
    place = data
    for parent in parents:
        inner = place.get(parent)
        if inner is None:
            inner = place[parent] = {}
        if not isinstance(inner, dict):
            raise UserError(
                f"override {shown}: {parent} holds {_cut(inner)}, which has no keys of its own; give all of it anew"
            )
        place = inner
    before, place[last] = place.get(last), yaml_text.load(value, f"override {shown}", by_line=False)
    if key == "method.name" and before != place[last]:
        for other in set(place) - {"name", *SHARED_BY_METHODS}:
            del place[other]


def parse(data: dict[str, Any], where: str = "recipe", text: str = "", overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in plain data. Raises UserError with the first thing that is wrong, and its line in `text` or the
    override that it came from."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = [str(part) for part in first["loc"]]
        path += getattr(first.get("ctx", {}).get("error"), "path", ())
        place = _overriding(path, overrides) or f"{where}{_line(text, path)}"
        raise UserError(f"{place}: {_sentence(data, path, first)}") from error
    except UserError as error:  # the methods know their names and parts, but no file
        place = _overriding(["method"], overrides) or f"{where}{_line(text, ['method'])}"
        raise UserError(f"{place}: {error}") from error


def _sentence(data: dict[str, Any], path: list[str], error: Any) -> str:
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        known = _fields(data, path)
        close = get_close_matches(path[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known here are {', '.join(sorted(known))}"
        return f"unknown key '{key}'; {hint}"
    if error["type"] == "missing":
        return f"the key '{key}' is missing"
    if error["type"] == "int_parsing_size":
        return f"{key}: must be a whole number of fewer digits, not {_cut(error['input'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = "" if "error" in error.get("ctx", {}) else f", not {_cut(error['input'])}"
    return f"{key}: {message[:1].lower()}{message[1:]}{given}"


def _cut(value: Any, most: int = 120) -> str:
    """A value as Python writes it, the middle left out of a long one."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 4 :]}"


def _named(override: str, most: int = 120) -> str:
    """An override between quotes, its end left out if it is long."""
    return f"'{override}'" if len(override) <= most else f"'{override[:most]}…'"


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


def _overriding(path: list[str], overrides: Sequence[str]) -> str:
    """The last override that set this key, or one above it; for a whole section also one in it. Else nothing."""
    key = ".".join(path)
    for override in reversed(overrides):
        name = override.partition("=")[0]
        if f"{key}.".startswith(f"{name}.") or (len(path) == 1 and name.startswith(f"{key}.")):
            return f"override {_named(override)}"
    return ""


def _line(text: str, path: list[str]) -> str:
    """ ":12" if the key (or the nearest key above it) stands on line 12 of the YAML text, else nothing."""
    node = yaml_text.node(text)
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
