"""The folder of a run: recipe, versions, metrics, evaluations, checkpoints. Everything in it is text or safetensors."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from manyminds import checkpoint, yaml_text
from manyminds.config import Recipe, dump
from manyminds.durable import append_jsonl, explaining, read_numbered_jsonl, understanding, write_json, write_text
from manyminds.errors import NotFinite, UserError

NO_MATTER = {"output", "checkpoint", "profile", "arm", "loggers", "collect", "judge", "trust_remote_code"}
"""What a resumed run may name anew: where it is written and logged, how often it is saved, whether it is timed, who
wrote the worked answers that it reads, what a reward that fails may cost, which it may have ended of, and whether code
that comes with the model is trusted."""


class RunFolder:
    """Writes a run as it goes. Files of steps that a resumed run will take again are cut back to its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    def find(self, recipe: Recipe, *, resume: bool) -> tuple[checkpoint.Checkpoint | None, list[str]]:
        """The checkpoint to go on from (None: a new run), and a sentence on each newer one that was skipped.

        Writes nothing; `recipe` is resolved. Raises UserError if the folder holds a run and `resume` is not asked for,
        or holds one of another recipe.
        """
        if not resume and (self.path / "metrics.jsonl").exists():
            before = self._head()
            other = _changed(before, recipe) if before else None
            held = f"a run with another `{other}`;" if other else "a run; continue it with --resume auto, or"
            raise UserError(f"{self.path} already holds {held} choose another `name` or `arm`")
        found, skipped = checkpoint.latest(self.checkpoints) if self.checkpoints.is_dir() else (None, [])
        saved = checkpoint.load(found) if found else None
        if saved is None:
            return None, skipped
        with understanding(saved.path):
            other = _changed(saved.state["recipe"], recipe)
        if other:
            raise UserError(
                f"{self.path}: its checkpoint was made with another `{other}`; resume with the recipe.yaml in "
                "that folder, or choose another `name` for the changed run"
            )
        return saved, skipped

    def begin(self, recipe: Recipe, step: int) -> None:
        """Make the folder ready for a run of which `step` steps stand (-1: nothing does).

        Raises UserError if it cannot be written.
        """
        with explaining(f"{self.path}: the run folder cannot be written"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._cut_back(step)
            self._write_head(recipe)
        checkpoint.tidy(self.checkpoints)

    def _head(self) -> dict[str, Any]:
        """The recipe that the folder was made with; nothing if it is not there whole."""
        try:
            return yaml_text.read(self.path / "recipe.yaml", "a recipe")[0]
        except UserError:
            return {}

    def _write_head(self, recipe: Recipe) -> None:
        (self.path / "recipe.yaml").write_text(yaml.safe_dump(dump(recipe), sort_keys=False), encoding="utf-8")
        machine = f"{platform.system()} {platform.machine()}"
        write_json(self.path / "versions.json", checkpoint.versions() | {"machine": machine})

    def _cut_back(self, step: int) -> None:
        for name in ("metrics.jsonl", "evaluations.jsonl", "quarantine.jsonl", "judgments.jsonl"):
            file = self.path / name
            if not file.exists():
                continue
            lines = read_numbered_jsonl(file)
            for number, line in lines:
                if not isinstance(line, dict) or type(line.get("step")) is not int:
                    raise UserError(f"{file} line {number}: has no `step`; take the line out, or move the file away")
            write_text(
                file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for _, line in lines if line["step"] <= step)
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """For this time nobody else writes here. Raises UserError if somebody does; the lock ends with its process,
        however that ends."""
        from filelock import FileLock, Timeout

        with explaining(f"{self.path}: the run folder cannot be written"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                raise UserError(
                    f"{self.path}: another process is writing a run there; wait for its end, or choose another `name` "
                    "or `arm`"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def note(self, step: int, text: str) -> None:
        """Something the user should know, with the moment at which it was told."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append_jsonl(self.path / "notes.jsonl", {"time": now, "step": step, "text": text})

    def log(self, line: Mapping[str, Any]) -> None:
        """One step's metrics; what is not a finite number is written as null."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        append_jsonl(self.path / "metrics.jsonl", finite)

    def evaluation(self, result: Mapping[str, Any], name: str, *, num_tokens: int) -> None:
        """An evaluation: its metrics to evaluations.jsonl, and with all answers to evaluation/<name>.json."""
        whole = {**result, "num_tokens": num_tokens}
        (self.path / "evaluation").mkdir(exist_ok=True)
        write_json(self.path / "evaluation" / f"{name}.json", whole)
        if result["split"] == "validation":
            append_jsonl(self.path / "evaluations.jsonl", {k: v for k, v in whole.items() if k != "answers"})

    def not_finite(self, step: int, error: NotFinite, policy: Literal["stop", "skip"]) -> str:
        """Save the rows with which a loss or gradient was not finite; returns the sentence about it.

        Raises NotFinite with it if the `policy` is to stop.
        """
        path = self.path / "not_finite" / f"step-{step:06d}.json"
        with explaining(f"cannot write {path}"):
            path.parent.mkdir(exist_ok=True)
        write_json(path, {"step": step, "what": error.what, "rows": [_plain(asdict(row)) for row in error.rows]})
        said = f"step {step}: {error.what}; the rows are in {path}"
        if policy == "stop":
            raise NotFinite(said, error.rows) from error
        return f"{said}, and the step was skipped"

    def result(self, result: Mapping[str, Any]) -> None:
        """What the run came to: its last file, so that its presence says that the run is complete."""
        write_json(self.path / "result.json", dict(result))


def _plain(value: Any) -> Any:
    """The value with what is not a finite number in words, since JSON has none of these."""
    if isinstance(value, dict):
        return {key: _plain(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(its) for its in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _changed(before: Mapping[str, Any], recipe: Recipe) -> str | None:
    """The first key, by name, in which the recipe differs from that of a checkpoint, if it matters."""
    then, now = (_that_matters(one) for one in (before, dump(recipe.going_on(dict(before)))))
    return next((key for key in sorted({*then, *now}) if then.get(key) != now.get(key)), None)


def _that_matters(recipe: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in recipe.items() if key not in NO_MATTER}
    if isinstance(kept.get("sampling"), dict):  # when a run tells of a difference changes nothing of what it learns
        kept["sampling"] = {k: v for k, v in kept["sampling"].items() if k != "logp_difference_bound"}
    return kept
