"""Answers on which the verifier gives no verdict are told and not called wrong; too many of them end the analysis."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from analysis.made import asked
from analysis.test_analyse import SMALL
from chat_server import Fault, serving
from manyminds.analysis import asking
from manyminds.analysis.analyse import summary
from manyminds.analysis.asking import Plan
from manyminds.cli import app
from manyminds.config import load_recipe
from manyminds.evaluate import ask
from manyminds.loading import Loaded
from manyminds.records import Question
from manyminds.report.exploration import explored
from manyminds.run import train
from manyminds.sections import Sampling

pytestmark = pytest.mark.usefixtures("quiet")

DEMO = str(Path(__file__).parents[2] / "recipes" / "demo.yaml")
ASKED = ["--questions", "4", "--samples", "8", "--expert", "plain"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unjudged")
    return train(load_recipe(DEMO, [*SMALL, f"output={folder}", "steps=1"])).folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes the run one whose verifier is a judge that answers `after` so many faults, with these options."""
    monkeypatch.setenv("OPENAI_API_KEY", "x")

    def made(url: str, name: str = "rl", judge: dict[str, Any] | None = None, **options: Any) -> Path:
        its = Path(shutil.copytree(trained, tmp_path / name))
        recipe = yaml.safe_load((its / "recipe.yaml").read_text())
        verifier = {"name": "llm_judge", "url": url, "model": "fake", "retries": 0, "concurrency": 1, **options}
        recipe |= {"rewards": [verifier], "judge": judge or {}}
        (its / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return its

    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], catch_exceptions=False)


def test_answers_without_a_verdict_are_told_and_are_not_wrong(folder: Callable[..., Path]) -> None:
    with serving(answer=lambda body: '{"score": 0}', faults=[Fault(status=500, body=b"{}")] * 3) as server:
        its = folder(server.url, prompt="{question} {response}")
        done = run("analyse", str(its), *ASKED)
        assert done.exit_code == 0, done.output
    assert "note: the reward 'llm_judge' gave no score to" in done.stderr
    data = json.loads((its / "analysis/test/analysis.json").read_text())
    (model,) = data["models"]
    rows = [json.loads(line) for line in (its / "analysis/test" / model["samples"]).read_text().splitlines()]
    unjudged = [row for row in rows if row["correct"] is None]
    assert 3 <= len(unjudged) == model["unjudged"] < 16
    assert {row["reward"] for row in unjudged} == {None}
    counts = {which: one["answers"] for which, one in model["uncertainty"]["plain"].items()}
    assert counts == {"all": 32, "right": 0, "wrong": 32 - len(unjudged)}
    assert (
        f"rl: the verifier gave no verdict on {len(unjudged)} of 32 answers, which count as not right." in done.stdout
    )


def test_too_many_end_the_analysis(folder: Callable[..., Path]) -> None:
    with serving(answer=lambda body: '{"score": 1}') as server:
        its = folder(server.url, prompt="{question} {response}", max_calls=1)
        done = run("analyse", str(its), *ASKED)
        assert done.exit_code == 2
        assert "its budget of 1 calls is used up" in done.stderr
        assert f"error: {its}: the verifier 'llm_judge' gave no verdict on" in done.stderr
        assert not (its / "analysis").exists()
        lenient = folder(server.url, "lenient", {"max_error_rate": 1.0}, prompt="{question} {response}", max_calls=1)
        assert run("analyse", str(lenient), *ASKED).exit_code == 0


def test_eval_tells_why_a_judge_gave_no_score(folder: Callable[..., Path]) -> None:
    with serving(answer=lambda body: "{}") as server:
        done = run("eval", str(folder(server.url)), "--json")
    assert done.exit_code == 0, done.output
    assert "note: the reward 'llm_judge' gave no score to" in done.stderr
    assert "its reply does not end with a score" in done.stderr


def test_the_counts_of_an_analysis() -> None:
    data = summary([asked("m", {"a": ("r-w-", "wwww"), "b": ("----", "rrrr")})], Plan(n=4), Sampling())
    (model,) = data["models"]
    assert model["unjudged"] == 6
    counts = {which: its["answers"] for which, its in model["uncertainty"]["together"].items()}
    assert counts == {"all": 16, "right": 5, "wrong": 5}
    assert model["pass_at"]["a"]["1"]["value"] == 1 / 8
    found = explored(json.loads(json.dumps(data)))
    assert found.doubts() == ["m: the verifier gave no verdict on 6 of 16 answers, which count as not right."]


@pytest.mark.parametrize(("at_once", "lots"), [(1, [2, 2, 2, 1]), (3, [6, 1])])
def test_lots_fill_the_sampler_several_times(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, at_once: int, lots: list[int]
) -> None:
    """Two answers a question; with room for 3 at once it is handed 12, and never less than `AT_ONCE` questions."""
    found: list[int] = []

    def counted(loaded: Loaded, questions: Sequence[Question], *its: Any, **more: Any) -> Any:
        found.append(len(questions))
        return ask(loaded, questions, *its, **more)

    monkeypatch.setattr(asking, "ask", counted)
    monkeypatch.setattr(asking, "AT_ONCE", 2)
    its = folder("http://127.0.0.1:9", judge={"max_error_rate": 1.0})
    recipe = yaml.safe_load((its / "recipe.yaml").read_text())
    recipe |= {"rewards": ["exact_answer"], "engine": {**recipe["engine"], "answers_at_once": at_once}}
    (its / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = run("analyse", str(its), "--set", "warmup", "--questions", "7", "--samples", "2", "--expert", "plain")
    assert done.exit_code == 0, done.output
    assert found == lots
