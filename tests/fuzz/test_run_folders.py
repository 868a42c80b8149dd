"""Checkpoints and run folders with files that are gone, cut off, flipped, or say something else.

A checkpoint that is not whole is skipped, and the others stay as they were; whatever else is wrong is one sentence.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from fuzzing import as_json, fuzz, is_sentence, refused, spoilt, torn
from manyminds import checkpoint, manifest
from manyminds.config import Recipe, load_recipe, parse
from manyminds.errors import UserError
from manyminds.export import checkpoint_of
from manyminds.folder import RunFolder
from manyminds.loading import resolve
from manyminds.report import build
from manyminds.result import Result
from manyminds.run import starting_model, train
from manyminds.tasks.arithmetic_model import create
from manyminds.warmup import warmup

pytestmark = pytest.mark.usefixtures("quiet")


def recipe(place: Path) -> Recipe:
    return parse(
        {
            "name": "t",
            "model": str(whole() / "model"),
            "output": str(place),
            "task": {"name": "arithmetic", "warmup": 6, "train": 6, "validation": 3, "test": 3},
            "warmup": {
                "steps": 2,
                "rows_per_step": 2,
                "evaluate_every": 1,
                "optimizer": {"schedule": {"name": "warmup_stable_decay", "decay_steps": 1}},
            },
            "method": {"name": "meml_grpo", "questions_per_step": 1, "answers_per_prompt": 2},
            "steps": 2,
            "sampling": {"max_tokens": 6},
            "engine": {"answers_at_once": 64, "tokens_at_once": 512, "precision": "float32"},
            "evaluation": {"every": 1, "questions": 2, "samples": 2, "group": 2, "sampled_questions": 1},
            "checkpoint": {"every": 1, "keep": 2, "keep_best": True},
        }
    )


@cache
def whole() -> Path:
    """The folder in which a model was made, and (`finished`) a run from it."""
    place = Path(tempfile.mkdtemp())
    create(place / "model", 0, hidden=16, layers=1, heads=2)
    return place


@cache
def finished() -> Path:
    """A warm-up of two steps and a training of two, each with two checkpoints."""
    warmup(recipe(whole() / "runs"))
    train(recipe(whole() / "runs"))
    return whole() / "runs" / "t"


@pytest.fixture(autouse=True)
def made() -> None:
    """So that nothing is trained while inputs are drawn."""
    finished()


def again(place: Path) -> Path:
    """A copy of the runs, to be spoilt; the training."""
    shutil.rmtree(place / "t", ignore_errors=True)
    shutil.copytree(finished(), place / "t")
    for head in (place / "t").glob("*/recipe.yaml"):
        head.write_text(head.read_text().replace(str(whole() / "runs"), str(place)))
    return place / "t" / "meml_grpo"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


FILES = ("state.json", "manifest.json", "optimizer_0.safetensors", "model/model.safetensors", "model/config.json")


@st.composite
def damage(draw: st.DrawFn) -> tuple[int, str, bytes | None]:
    step, file = draw(st.integers(1, 2)), draw(st.sampled_from(FILES))
    data = (finished() / "meml_grpo" / "checkpoints" / f"step-{step:06d}" / file).read_bytes()
    return step, file, draw(st.one_of(st.none(), torn(data)))


@fuzz("checkpoint files", damage())
def test_damaged_checkpoints(case: tuple[int, str, bytes | None], place: Path) -> None:
    """One of two checkpoints is damaged: the other is found, and stays as it was."""
    step, file, data = case
    run = again(place)
    spoilt_one, other = (run / "checkpoints" / f"step-{n:06d}" for n in (step, 3 - step))
    changed = not _same(data, (spoilt_one / file).read_bytes(), file)
    (spoilt_one / file).unlink()
    if data is not None:
        (spoilt_one / file).write_bytes(data)
    before = contents(other)
    found, skipped = checkpoint.latest(run / "checkpoints")
    assert found == (other if changed or step == 1 else spoilt_one)
    assert len(skipped) == (changed and step == 2)
    said = refused(lambda: checkpoint.load(spoilt_one), str(spoilt_one))
    assert (said is not None) == changed
    saved, _ = RunFolder(run).find(resolve(recipe(place)), resume=True)
    assert saved is not None
    refused(lambda: checkpoint.best_model(run), str(run))
    assert contents(other) == before


def _same(data: bytes | None, whole: bytes, file: str) -> bool:
    """Whether a file says what it did; the manifest vouches for its contents, however they are spaced."""
    if data is None or file != manifest.NAME:
        return data == whole
    try:
        return bool(json.loads(data.decode()) == json.loads(whole))
    except ValueError:
        return False


@st.composite
def states(draw: st.DrawFn) -> tuple[str, str]:
    folder = finished() / "meml_grpo" / "checkpoints" / "step-000002"
    file = draw(st.sampled_from(["state.json", "state.json", "manifest.json"]))
    its = json.loads((folder / file).read_text(encoding="utf-8"))
    if file == "state.json" and draw(st.booleans()):
        its = {key: value for key, value in its.items() if key != "recipe"}
        made = draw(spoilt(st.just(its)))[0] | {"recipe": json.loads((folder / file).read_text())["recipe"]}
    else:
        made = draw(spoilt(st.just(its)))[0]
    return file, as_json(made)


@fuzz("checkpoint states", states())
def test_checkpoints_of_another_program(case: tuple[str, str], place: Path) -> None:
    """Contents that nobody damaged, as the manifest vouches for them, but that this version would not write."""
    file, text = case
    run = again(place)
    (run / "result.json").unlink()
    last = run / "checkpoints" / "step-000002"
    if file == "state.json":
        (last / file).write_text(text, encoding="utf-8")
        (last / manifest.NAME).unlink()
        manifest.write(last, 2, {})
    else:
        its = json.loads(text)
        if isinstance(its, dict):
            text = as_json({**its, "sha256": manifest._digest({k: v for k, v in its.items() if k != "sha256"})})
        (last / file).write_text(text, encoding="utf-8")
    before = contents(run / "checkpoints" / "step-000001")
    refused(lambda: train(recipe(place), resume=True), str(run), "checkpoint")
    assert contents(run / "checkpoints" / "step-000001") == before


LOGS = (
    *("metrics.jsonl", "evaluations.jsonl", "result.json", "recipe.yaml", "versions.json"),
    *("evaluation/before.json", "evaluation/after.json"),
)
READERS = ("report", "result", "resume", "resume", "start", "export", "eval")


@st.composite
def logs(draw: st.DrawFn) -> tuple[str, str, bytes | None, str]:
    arm, file = draw(st.sampled_from(["meml_grpo", "warmup"])), draw(st.sampled_from(LOGS))
    if arm == "warmup" and file == "evaluation/before.json":
        file = "evaluation/after.json"
    data = (finished() / arm / file).read_bytes()
    made: bytes | None = draw(st.one_of(st.none(), torn(data)))
    if file.endswith(".json") and draw(st.booleans()):
        made = as_json(draw(spoilt(st.just(json.loads(data))))[0]).encode()
    elif file.endswith(".jsonl") and draw(st.booleans()):
        rows = draw(spoilt(st.just([json.loads(line) for line in data.splitlines()])))[0]
        made = "".join(as_json(row) + "\n" for row in rows).encode()
    return arm, file, made, draw(st.sampled_from(READERS))


@fuzz("run files", logs())
def test_logs_and_results(case: tuple[str, str, bytes | None, str], place: Path) -> None:
    """What a run has written is changed before something reads it."""
    arm, file, data, reader = case
    run = again(place)
    spoilt_one = place / "t" / arm / file
    spoilt_one.unlink()
    if data is not None:
        spoilt_one.write_bytes(data)
    places = (str(place), "recipe.yaml")
    if reader == "report":
        refused(lambda: build(place / "t"), *places)
    elif reader == "result":
        refused(lambda: Result.read(place / "t" / arm), *places)
    elif reader == "resume":
        refused(lambda: _resumed(run, recipe(place)), *places)
    elif reader == "start":
        refused(lambda: starting_model(resolve(recipe(place))), *places)
    elif reader == "export":
        refused(lambda: checkpoint_of(run), *places)
    else:
        refused(lambda: load_recipe(run / "recipe.yaml"), *places)


def _resumed(run: Path, its: Recipe) -> None:
    folder, its = RunFolder(run), resolve(its)
    for resume in (False, True):
        try:
            saved, _ = folder.find(its, resume=resume)
        except UserError:
            if resume:
                raise
    folder.begin(its, saved.step if saved else -1)


def test_what_the_others_are_made_from_is_valid(tmp_path: Path) -> None:
    run = again(tmp_path)
    assert refused(lambda: build(tmp_path / "t")) is None
    assert Result.read(run) is not None
    assert refused(lambda: _resumed(run, recipe(tmp_path)), "already holds") is None
    assert refused(lambda: starting_model(resolve(recipe(tmp_path)))) is None
    assert len(list((run / "checkpoints").glob("step-*"))) == 2


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("result.json", "{", "result.json: is not the result of a run"),
        ("result.json", '{"arm": "x"}', "delete it, and the same command with --resume auto writes it anew"),
        ("metrics.jsonl", '{"kind": "train"}\n', "metrics.jsonl line 1: has no `step`; take the line out"),
        ("metrics.jsonl", "3\n", "metrics.jsonl line 1: has no `step`; take the line out"),
    ],
)
def test_files_of_a_run_that_once_ended_in_a_traceback(tmp_path: Path, file: str, content: str, said: str) -> None:
    run = again(tmp_path)
    if file != "result.json":
        (run / "result.json").unlink()
    (run / file).write_text(content)
    with pytest.raises(UserError) as error:
        train(recipe(tmp_path), resume=True)
    assert said in str(error.value)
    is_sentence(str(error.value), file)


@pytest.mark.parametrize("content", [b"[]", b"task: [", b"\xff\xfe"])
def test_a_warm_up_whose_recipe_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    again(tmp_path)
    (tmp_path / "t" / "warmup" / "recipe.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"warmup/recipe\.yaml"):
        starting_model(resolve(recipe(tmp_path)))


@pytest.mark.parametrize("gone", ["recipe", "memory", "position", "costs", "policy"])
def test_a_state_without_a_part(tmp_path: Path, gone: str) -> None:
    run = again(tmp_path)
    (run / "result.json").unlink()
    last = run / "checkpoints" / "step-000002"
    state: dict[str, Any] = json.loads((last / "state.json").read_text())
    del state[gone]
    (last / "state.json").write_text(json.dumps(state))
    (last / manifest.NAME).unlink()
    manifest.write(last, 2, {})
    with pytest.raises(UserError, match=f"cannot go on from the checkpoint .*{gone}.*; choose another one"):
        train(recipe(tmp_path), resume=True)


@pytest.mark.parametrize(
    "changes", [{"files": None}, {"step": "2"}, {"files": {"state.json": 3}}, {"files": {"a\0b": {}}}]
)
def test_a_manifest_of_another_kind(tmp_path: Path, changes: dict[str, Any]) -> None:
    last = again(tmp_path) / "checkpoints" / "step-000002"
    its = {**json.loads((last / manifest.NAME).read_text()), **changes}
    del its["sha256"]
    (last / manifest.NAME).write_text(json.dumps({**its, "sha256": manifest._digest(its)}))
    said = checkpoint.validate(last)
    assert said is not None
    assert "it does not hold a step and files with their sizes and SHA-256" in said
