"""The demo, small: a folder of its own, children that are followed, and the object that --json prints."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from rich.console import Console

from manyminds import demo as demo_module
from manyminds import shipped
from manyminds.children import Child, Tail, children
from manyminds.demo import ARMS, METRICS, Stage, budget, demo, distribution, fresh, merged, of_the_student
from manyminds.durable import sha256
from manyminds.errors import UserError

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = {
    "task": {"warmup": 60, "train": 30, "validation": 6, "test": 6},
    "steps": 2,
    "sampled_tokens": None,
    "method": {"questions_per_step": 2},
    "warmup": {"steps": 4, "evaluate_every": 2, "optimizer": {"schedule": {"decay_steps": 2}}},
    "evaluation": {"every": 1, "questions": 6, "samples": 8, "sampled_questions": 4},
}


def shown(output: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """A demo's result and everything it printed."""
    said = io.StringIO()
    console = Console(file=said, width=120)
    found = demo(output=str(output), changes=SMALL, text=console, place=console, **options)
    return found, said.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A whole demo beside one that was there before."""
    output = tmp_path_factory.mktemp("runs")
    (output / "demo").mkdir()
    (output / "demo" / "mine.txt").write_text("keep")
    return output, *shown(output, seed=3)


def script() -> ModuleType:
    """The script that makes the shipped checkpoint."""
    spec = util.spec_from_file_location("build_quick_checkpoint", ROOT / "benchmarks" / "build_quick_checkpoint.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_object_that_json_prints(finished: tuple[Path, dict[str, Any], str]) -> None:
    output, found, _ = finished
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"arms", "sampled_tokens", "seconds", "report"}
    assert set(found["arms"]) == {"mef", *ARMS}
    for arm in found["arms"].values():
        for name in METRICS:
            assert 0 <= arm[name]["low"] <= arm[name]["high"] <= 1, name
            assert 0 <= arm[name]["value"] <= 1, name
    spent = [found["arms"][arm]["sampled_tokens"] for arm in ("mef", *ARMS)]
    assert spent[0] == 0
    assert found["sampled_tokens"] == sum(spent) > 0
    assert found["seconds"] > 0
    assert Path(found["report"]) == output / "demo-2" / "report.html"
    assert Path(found["report"]).is_file()


def test_the_arms_differ_in_the_method_alone(finished: tuple[Path, dict[str, Any], str]) -> None:
    folder = finished[0] / "demo-2"
    grpo, meml, tutored = (yaml.safe_load((folder / arm / "recipe.yaml").read_text()) for arm in ARMS)
    for other in (grpo, tutored):
        assert {key for key in meml if other[key] != meml[key]} == {"method", "arm"}
    assert [part["name"] for part in tutored["method"]["with"]] == ["tutored_grpo", "replay", "adaptive_sampling"]
    assert tutored["method"]["answers_per_prompt"] == meml["method"]["answers_per_prompt"]
    assert meml["seed"] == 3
    assert (meml["method"]["preset"], grpo["method"]["name"]) == ("tuned", "grpo")
    for key in ("questions_per_step", "answers_per_prompt", "experts"):
        assert grpo["method"][key] == meml["method"][key]
    before = [(folder / arm / "evaluation" / "before.json").read_text() for arm in ARMS]
    assert before[0] == before[1] == before[2] == (folder / "warmup" / "evaluation" / "after.json").read_text()


def test_what_was_there_is_not_touched(finished: tuple[Path, dict[str, Any], str]) -> None:
    output, _, text = finished
    assert [path.name for path in (output / "demo").iterdir()] == ["mine.txt"]
    assert f"Everything goes to {output / 'demo-2'}." in text.replace("\n", "")
    assert fresh(output).name == "demo-3"


def test_the_text_tells_the_story(finished: tuple[Path, dict[str, Any], str]) -> None:
    _, found, text = finished
    places = [text.index(f"\n{n}. ") for n in (1, 2, 3, 4)]
    assert places == sorted(places)
    assert "MEML-GRPO" in text[places[3] :]
    assert "over questions, not over seeds" in text.replace("\n", " ")
    assert found["report"] in text.replace("\n", "")


def test_the_quick_demo_starts_from_the_shipped_model(
    finished: tuple[Path, dict[str, Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "mef"
    script().keep(finished[0] / "demo-2" / "warmup", made)
    monkeypatch.setattr(shipped, "quick_checkpoint", lambda: made)
    monkeypatch.setattr(shipped, "ablation", lambda: PRIMARY)
    found, text = shown(tmp_path / "runs", quick=True)
    assert found["arms"]["mef"] == finished[1]["arms"]["mef"]
    assert "early phase" in text
    assert "`make demo`" in text
    assert "Over 3 seeds" in text
    assert (tmp_path / "runs" / "demo" / "meml_grpo" / "evaluation" / "before.json").read_bytes() == (
        made / "evaluation" / "after.json"
    ).read_bytes()


PRIMARY = {"outcome": "mean", "difference": 5.0, "low": 1.0, "high": 9.0, "seeds": 3, "differences": [2.0, 5.0, 8.0]}


def test_the_distribution_over_seeds_stands_beside_the_one_seed() -> None:
    found = {arm: {"metrics": {"mean": {"value": value}}} for arm, value in zip(ARMS, (0.5, 0.625, 0.4), strict=True)}
    text = distribution(PRIMARY, found, quick=False)
    assert "+12.5 points" in text
    assert "+5.0 [+1.0, +9.0]" in text
    assert "from +2.0 to +8.0" in text
    assert "early phase" not in text


def test_the_third_arm_ends_with_half_the_tokens(tmp_path: Path) -> None:
    console = Console()
    ends = {}
    for tokens in (100, None):
        stage = Stage(tmp_path, {"sampled_tokens": tokens}, console, console)
        ends[tokens] = [budget(stage, arm) for arm in ARMS]
    assert ends == {100: [100, 100, 50], None: [None, None, None]}


def test_the_third_arm_is_told_by_what_it_is_for() -> None:
    found = {arm: {"metrics": {"plain": {"value": v}}} for arm, v in (("tutored_rs_grpo", 0.9), ("meml_grpo", 0.84))}
    text = of_the_student({**found, "mef": {"metrics": {"oracle": {"value": 0.823}}}})
    assert "right on 90.0 % there, MEML-GRPO on 84.0 %; " in text
    assert "one at least of the three experts was on 82.3 % before, the oracle" in text


def test_a_shipped_model_that_was_changed_is_refused(
    finished: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    made = tmp_path / "mef"
    script().keep(finished[0] / "demo-2" / "warmup", made)
    assert shipped.quick_checkpoint(made) == made
    assert sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) < 1_000_000
    result = made / "result.json"
    result.write_text(result.read_text().replace("mef", "mfe"))
    with pytest.raises(UserError, match=r"was changed: result\.json has another SHA-256"):
        shipped.quick_checkpoint(made)
    result.unlink()
    with pytest.raises(UserError, match=r"is not whole: result\.json"):
        shipped.quick_checkpoint(made)
    (made / shipped.SUMS).unlink()
    with pytest.raises(UserError, match="this installation has none; run `manyminds demo`"):
        shipped.quick_checkpoint(made)


def test_a_run_that_fails_is_one_sentence_with_its_log(tmp_path: Path) -> None:
    recipe = tmp_path / "broken.yaml"
    recipe.write_text("name: broken\nstpes: 3\n")
    child = Child("meml_grpo", recipe, "train", tmp_path / "meml_grpo")
    with children([child]):
        child.process.wait()
        with pytest.raises(UserError, match=r"^meml_grpo failed: .*broken\.yaml.*meml_grpo\.log\)$"):
            child.ended()
    assert child.log.is_file()


def test_no_child_outlives_the_demo(tmp_path: Path) -> None:
    child = Child("endless", tmp_path / "none.yaml", "train", tmp_path / "endless")
    child.process.kill()
    child.process.wait()
    with pytest.raises(UserError, match=r"^endless was stopped by signal 9 and said nothing$"):
        child.ended()
    child.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    def interrupted() -> None:
        with children([child]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert child.process.returncode is not None
    assert not child.log.exists()


def test_a_tail_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"step": 1}\n{"st')
    assert tail.read() == [{"step": 1}]
    assert tail.read() == []
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert tail.read() == [{"step": 2}]


def test_changes_are_laid_over_key_by_key() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(base, {"a": {"c": 4}, "e": 5}) == {"a": {"b": 1, "c": 4}, "d": 3, "e": 5}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_the_report_is_promised_only_if_it_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"install manyminds\[demo\]"):
        shown(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_the_shipped_model_is_what_the_script_makes(tmp_path: Path) -> None:
    """The same bytes where everything is as it was made; elsewhere a model of the same quality."""
    there, made = shipped.quick_checkpoint(), script().build(tmp_path / "mef")
    names = [*there.glob("checkpoints/*/model/*.safetensors"), there / "evaluation" / "after.json"]
    if all(sha256(path) == sha256(made / path.relative_to(there)) for path in names):
        return
    results = [json.loads((folder / "result.json").read_text())["metrics"] for folder in (there, made)]
    for name in ("mean", "plain", "oracle"):
        assert abs(results[0][name]["value"] - results[1][name]["value"]) < 0.15, name
