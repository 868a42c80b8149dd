"""Reads a run folder, or a folder of run folders. Missing parts are None or empty; broken ones are errors.

A run that is still going has no result and a last line that may be half written; both are read without complaint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyminds.errors import UserError
from manyminds.records import PLAIN
from manyminds.report.exploration import explorations
from manyminds.report.runs import Answered, Arm, Evaluation, Greedy, Measure, Result, Runs, Step

LARGEST = 1e300


def load(folder: Path) -> Runs:
    """Read one run folder, or every run folder directly inside `folder`; UserError where there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give a run folder, such as runs/demo.")
    inside = sorted(sub for sub in folder.iterdir() if sub.is_dir() and _is_run(sub))
    if _has_numbers(folder) or (_is_run(folder) and not inside):
        arms = [_arm(folder)]
    elif inside:
        arms = [_arm(sub) for sub in inside]
    else:
        raise UserError(
            f"{folder}: not a run folder, and it holds none; a run folder is what `manyminds train` writes under "
            "runs/, with recipe.yaml and metrics.jsonl in it."
        )
    arms.sort(key=lambda arm: not arm.is_warmup)  # stable: the warm-up first, the rest by folder name
    return Runs(folder.resolve().name, folder, tuple(_with_before(arms)))


def measures(metrics: Mapping[str, Any], where: str = "metrics") -> dict[str, Measure]:
    """The metrics of an evaluation, {"plain": {"value": 0.46, "low": 0.40, "high": 0.52}, ...}, as typed values.

    A bare number is a value without an interval; an entry that is None was not available and is left out.
    """
    found: dict[str, Measure] = {}
    for key, entry in metrics.items():
        if isinstance(entry, Mapping):
            value = _number(entry, "value", f"{where}: {key}")
            low, high = _number(entry, "low", f"{where}: {key}"), _number(entry, "high", f"{where}: {key}")
        else:
            value, low, high = _number(metrics, key, where), None, None
        if value is not None:
            found[key] = Measure(value, low, high)
    return found


def _with_before(arms: list[Arm]) -> Iterable[Arm]:
    """Arms that start from the warm-up's end and did not evaluate it again take its evaluation as their start."""
    start = next((arm.after for arm in arms if arm.is_warmup), None)
    for arm in arms:
        yield replace(arm, before=start) if arm.before is None and not arm.is_warmup else arm


def _has_numbers(folder: Path) -> bool:
    names = ("metrics.jsonl", "evaluations.jsonl", "result.json", "evaluation")
    return any((folder / name).exists() for name in names)


def _is_run(folder: Path) -> bool:
    return _has_numbers(folder) or (folder / "recipe.yaml").exists()


def _arm(folder: Path) -> Arm:
    recipe = folder / "recipe.yaml"
    result = _object(folder / "result.json")
    versions = _object(folder / "versions.json")
    return Arm(
        name=str(result.get("arm") or folder.resolve().name),
        folder=folder,
        recipe=_text(recipe) if recipe.exists() else "",
        versions={key: str(value) for key, value in versions.items()},
        steps=tuple(_step(line, where) for line, where in _lines(folder / "metrics.jsonl")),
        evaluations=tuple(_evaluation(line, where) for line, where in _lines(folder / "evaluations.jsonl")),
        before=evaluation_file(folder / "evaluation" / "before.json"),
        after=evaluation_file(folder / "evaluation" / "after.json"),
        result=_result(result, str(folder / "result.json")) if result else None,
        explorations=explorations(folder),
    )


def _result(found: Mapping[str, Any], where: str) -> Result:
    seed = _number(found, "seed", where)
    return Result(
        arm=str(found.get("arm", "")),
        seed=None if seed is None else int(seed),
        sampled_tokens=_number(found, "sampled_tokens", where),
        seconds=_number(found, "seconds", where),
        metrics=measures(_mapping(found, "metrics", where), where),
    )


def _step(line: Mapping[str, Any], where: str) -> Step:
    numbers = {
        key: _number(line, key, where) for key, v in line.items() if isinstance(v, int | float) and key != "step"
    }
    values = {key: value for key, value in numbers.items() if value is not None}
    return Step(int(_number(line, "step", where) or 0), str(line.get("kind", "train")), values)


def evaluation_file(path: Path) -> Evaluation | None:
    found = _object(path)
    return _evaluation(found, str(path)) if found else None


def _evaluation(found: Mapping[str, Any], where: str) -> Evaluation:
    answers = tuple(_answered(a, f"{where}: answers[{i}]") for i, a in enumerate(_list(found, "answers", where)))
    metrics = measures(_mapping(found, "metrics", where), where)
    named = [str(e) for e in _list(found, "experts", where)]
    named = named or [key.removeprefix("experts/") for key in metrics if key.startswith("experts/")]
    questions = _number(found, "questions", where)
    return Evaluation(
        split=str(found.get("split", "")),
        step=int(_number(found, "step", where) or 0),
        experts=tuple(name for name in named if name != PLAIN),
        questions=len(answers) if questions is None else int(questions),
        metrics=metrics,
        answers=answers,
    )


def _answered(found: object, where: str) -> Answered:
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected an object with id, question, answer and greedy, got {found!r:.80}.")
    greedy = _mapping(found, "greedy", where)
    right = _mapping(found, "right", where)
    return Answered(
        id=str(found.get("id", "")),
        question=str(found.get("question", "")),
        answer=str(found.get("answer", "")),
        family=str(found.get("family") or ""),
        greedy={prompt: _greedy(g, f"{where}: greedy: {prompt}") for prompt, g in greedy.items()},
        right={expert: _k_of_n(kn, f"{where}: right: {expert}") for expert, kn in right.items()},
    )


def _greedy(found: object, where: str) -> Greedy:
    if not isinstance(found, dict) or not isinstance(found.get("correct"), bool):
        raise UserError(f'{where}: expected {{"text": ..., "correct": true or false}}, got {found!r:.80}.')
    return Greedy(str(found.get("text", "")), found["correct"], str(found.get("style") or ""))


def _k_of_n(found: object, where: str) -> tuple[int, int]:
    if not isinstance(found, list) or len(found) != 2 or not all(isinstance(x, int) for x in found):
        raise UserError(f"{where}: expected [right, sampled], two whole numbers, got {found!r:.80}.")
    return int(found[0]), int(found[1])


def _number(found: Mapping[str, Any], key: str, where: str) -> float | None:
    value = found.get(key)
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise UserError(f"{where}: {key} should be a number, got {value!r:.80}.")
    if not -LARGEST < value < LARGEST:  # nan and the infinities too: a run writes null for them
        raise UserError(f"{where}: {key} should be a finite number, got {value!r:.80}.")
    return float(value)


def _mapping(found: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = found.get(key)
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{where}: {key} should be an object, got {value!r:.80}.")
    return value or {}


def _list(found: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = found.get(key)
    if value is not None and not isinstance(value, list):
        raise UserError(f"{where}: {key} should be a list, got {value!r:.80}.")
    return value or []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text in UTF-8; was it changed since the run wrote it?") from None


def _object(path: Path) -> Mapping[str, Any]:
    """A JSON file that holds one object; empty where the file does not exist."""
    if not path.exists():
        return {}
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); was the run cut off while it was written?") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected one JSON object, got {type(found).__name__}.")
    return found


def _lines(path: Path) -> Iterable[tuple[Mapping[str, Any], str]]:
    """The objects of a JSON-lines file with their places. The last line may be half written and is then left out."""
    lines = _text(path).split("\n") if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                return
            raise UserError(f"{path}, line {number}: not valid JSON ({error}); take the line out.") from None
        if not isinstance(found, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, got {found!r:.80}.")
        yield found, f"{path}, line {number}"
