"""Runs whose reward is a verifier of one word: its judgments stand in the run's folder, each once, also when a run was
killed and goes on; `check` and `--dry-run` know it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from judges import letters, write_judge
from judging import RECIPE
from manyminds.cli import app
from manyminds.config import parse
from manyminds.rewards.judgments import FILE
from manyminds.run import train

AFTER = {letter: {"YES": 0.7, "NO": 0.2} for letter in "02468"}
AFTER |= {letter: {"NO": 0.6, "YES": 0.3} for letter in "13579"}
AFTER |= {"#": {"PERHAPS": 0.6, "YES": 0.3}}
DUE = {"YES": 0.7, "NO": 0.4, None: 0.0}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge for which even answers are right."""
    return write_judge(tmp_path_factory.mktemp("judge"), letters(AFTER), AFTER)


def recipe(judge: Path, folder: Path, **its: Any) -> dict[str, Any]:
    verifier = {"name": "generative_verifier", "model": str(judge), "prompt": "{response}", "quote": False}
    method = {"name": "reinforce", "normalise": "batch", "questions_per_step": 2, "answers_per_prompt": 4}
    more = {"method": method, "rewards": ["exact_answer", verifier], "steps": 3, "checkpoint": {"every": 1}}
    return {**RECIPE, **more, "output": str(folder), **its}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Killed(Exception):
    """The process is gone."""


@pytest.mark.usefixtures("quiet")
def test_each_judgment_is_kept_once_also_by_a_run_that_was_killed(here: Path, tmp_path: Path) -> None:
    whole = train(parse(recipe(here, tmp_path / "whole"))).folder
    rows = lines(whole / FILE)
    assert {row["step"] for row in rows} == {1, 2, 3}
    assert {row["label"] for row in rows} >= {"YES", "NO"}
    assert all(row["value"] == pytest.approx(DUE[row["label"]], abs=1e-6) for row in rows if row["label"])
    assert list(rows[0]) == [
        "step", "reward", "judge", "question_id", "question", "reference", "last_line", "label", "probability", "value",
        "expert",
    ]  # fmt: skip
    metrics = [line for line in lines(whole / "metrics.jsonl") if line["kind"] == "train"]
    for line in metrics:
        its = [row["value"] for row in rows if row["step"] == line["step"]]
        assert len(its) <= 24  # no line, no judgment: what was empty is 0
        assert line["rewards/generative_verifier/mean"] == pytest.approx(sum(its) / 24)

    def killed_in_step_3(what: str, step: int, steps: int, data: Any) -> None:
        if what == "step" and step == 3:  # judged and logged, not yet in a checkpoint
            raise Killed

    half = recipe(here, tmp_path / "half")
    with pytest.raises(Killed):
        train(parse(half), watch=killed_in_step_3)
    folder = next((tmp_path / "half").glob("*/*"))
    assert lines(folder / FILE) == rows
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "rew')  # the power went
    train(parse(half), resume=True)
    assert lines(folder / FILE) == rows
    same = [{**line, "step_time": 0} for line in lines(folder / "metrics.jsonl") if line["kind"] == "train"]
    assert same == [{**line, "step_time": 0} for line in metrics]


@pytest.mark.usefixtures("quiet")
def test_as_a_user_types_it(here: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(here, tmp_path / "runs", steps=1)), encoding="utf-8")

    def typed(*words: str) -> str:
        done = CliRunner().invoke(app, [*words])
        assert done.exit_code == 0, done.output
        return done.output

    checked = typed("check", str(path))
    assert "generative_verifier  weight 1" in checked
    assert "All is well" in checked
    assert not (tmp_path / "runs").exists()
    assert "generative_verifier" in typed("train", str(path), "--dry-run")
    typed("train", str(path))
    assert typed("train", str(path), "--resume", "auto")
    done = CliRunner().invoke(app, ["check", str(path), "rewards=[{name: generative_verifier, model: ./nowhere}]"])
    assert done.exit_code == 2
    assert "rewards.0.model: './nowhere' is not a Hugging Face model folder" in " ".join(done.output.split())


@pytest.mark.usefixtures("quiet")
def test_as_the_verifier_it_says_what_is_right_and_evaluations_are_not_logged(here: Path, tmp_path: Path) -> None:
    its = recipe(here, tmp_path, steps=1)
    folder = train(parse({**its, "rewards": its["rewards"][1:]})).folder
    found = json.loads((folder / "evaluation" / "after.json").read_text(encoding="utf-8"))
    for answer in found["answers"]:
        for one in answer["greedy"].values():
            assert one["correct"] == (one["text"].strip()[-1:] in [*"02468"])
    assert len(lines(folder / FILE)) <= 24  # of one training step
