from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from manyminds.compare import Runner, compare
from manyminds.comparison import Cell, digest, fill, load_comparison, merged, plan
from manyminds.config import parse
from manyminds.errors import UserError

BASE: dict[str, Any] = {
    "name": "base",
    "model": "tiny",
    "task": {"name": "arithmetic", "digits": 2, "warmup": 20, "train": 10, "validation": 4, "test": 6},
    "warmup": {
        "steps": 4,
        "rows_per_step": 4,
        "decay_at": 0.2,
        "evaluate_every": 2,
        "optimizer": {"schedule": {"name": "warmup_stable_decay", "decay_steps": 2}},
    },
    "method": {"name": "meml_grpo", "preset": "tuned", "questions_per_step": 2, "answers_per_prompt": 2},
    "steps": 2,
    "sampling": {"max_tokens": 8},
    "evaluation": {"every": 1, "questions": 3, "samples": 4, "group": 2},
}
FILE: dict[str, Any] = {
    "name": "tiny",
    "base": "base.yaml",
    "overrides": {"task": {"seed": "{seed}"}},
    "seeds": [7],
    "levels": {"demo": {}},
    "arms": {
        "mef": {"stage": "warmup"},
        "grpo": {"method": {"name": "grpo"}},
        "meml": {"method": {"preset": "tuned"}},
        "mef_longer": {"stage": "warmup", "longer_than": "meml"},
        "broken": {"method": {"name": "grpo", "experts": ["nobody"]}, "seeds": [7]},
        "after_broken": {"stage": "warmup", "longer_than": "broken", "seeds": [7]},
    },
    "primary": {"outcome": "mean", "arm": "meml", "against": "grpo"},
    "secondary": ["worst", "pass_at_2", "pooled_pass_at_6"],
    "controls": [{"outcome": "plain", "arm": "meml", "against": "mef_longer"}],
    "results": "results/tiny",
}
Told = list[tuple[str, str]]
Finished = tuple[Path, dict[str, Any], Told]


def write(folder: Path, *, recipe: Mapping[str, Any] = BASE, **changes: Any) -> Path:
    """The comparison file, with its base recipe and everything it writes in `folder`."""
    data = {**recipe, "output": str(folder / "runs")}
    (folder / "base.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False), encoding="utf-8")
    return folder / "tiny.yaml"


def planned(folder: Path, **changes: Any) -> tuple[Cell, ...]:
    return plan(*load_comparison(write(folder, **changes)))


def run(file: Path, **options: Any) -> tuple[dict[str, Any], Told]:
    told: Told = []
    found = compare(file, watch=lambda what, step, steps, data: told.append((data["arm"], data["state"])), **options)
    return found, told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One comparison, run to its end: its folder, what came back, what was told."""
    folder = tmp_path_factory.mktemp("comparison")
    return folder, *run(write(folder))


def copy(finished: Finished, folder: Path) -> Path:
    shutil.copytree(finished[0] / "results", folder / "results")
    return folder


def test_every_cell_is_written_and_the_summary_holds_them(finished: Finished) -> None:
    folder, found, _ = finished
    assert {cell["arm"] for cell in found["cells"]} == {"mef", "grpo", "meml", "mef_longer"}
    for cell in found["cells"]:
        assert json.loads((folder / "results/tiny/demo" / f"{cell['arm']}-seed7.json").read_text()) == cell
        assert "answers" not in cell
        assert {"value", "low", "high"} == set(cell["metrics"]["mean"])
    assert json.loads((folder / "results/tiny.json").read_text()) == json.loads(json.dumps(found))
    assert (found["primary"]["seeds"], found["primary"]["low"]) == (1, None)
    assert [one["outcome"] for one in found["secondary"]] == ["worst", "pass_at_2", "pooled_pass_at_6"]
    assert set(found["machine"]) == {"platform", "cpu", "cores"}


def test_all_arms_start_from_the_same_weights_and_draw_as_many_answers(
    finished: Finished,
) -> None:
    cells = {cell["arm"]: cell for cell in finished[1]["cells"]}
    assert cells["mef"]["weights"]
    assert {cells[arm]["started_from"]["weights"] for arm in ("grpo", "meml")} == {cells["mef"]["weights"]}
    assert [point["step"] for point in cells["grpo"]["validation"]] == [0, 1, 2]
    assert cells["grpo"]["validation"][-1]["num_tokens"] == cells["grpo"]["sampled_tokens"] > 0
    assert cells["grpo"]["training"]["step"] == [2]
    assert cells["mef"]["traces_used"] == 4 * 4


def test_a_cell_tells_accuracy_by_family(finished: Finished) -> None:
    for cell in finished[1]["cells"]:
        assert set(cell["families"]) <= {"addition", "multiplication", "division"}
        assert sum(its["plain"] for its in cell["families"].values()) >= cell["metrics"]["plain"]["value"]
        for its in cell["families"].values():
            assert its["any"] == max(its.values()) >= its["concise"]
            assert set(its) == {"plain", "concise", "deliberate", "structured", "any"}


def test_the_longer_warm_up_takes_the_seconds_of_the_arm_it_matches(
    finished: Finished,
) -> None:
    cells = {cell["arm"]: cell for cell in finished[1]["cells"]}
    extra = cells["meml"]["seconds"] / (cells["mef"]["seconds"] / cells["mef"]["step"])
    assert cells["mef_longer"]["step"] == cells["mef"]["step"] + round(extra) > cells["mef"]["step"]
    assert cells["mef_longer"]["recipe"]["warmup"]["decay_at"] is None


def test_a_failed_cell_stops_only_those_that_start_from_it(finished: Finished) -> None:
    _, found, told = finished
    errors = {one["arm"]: one["error"] for one in found["failed"]}
    assert set(errors) == {"broken", "after_broken"}
    assert "there is no expert 'nobody'" in errors["broken"]
    assert "'broken' of the same seed failed" in errors["after_broken"]
    order = [arm for arm, state in told if state == "started"]
    assert order[0] == "mef"
    assert set(order[1:3]) == {"grpo", "meml"}
    assert set(order[3:]) == {"mef_longer", "broken"}  # whichever of grpo and meml ended first


def test_finished_cells_are_not_run_again(finished: Finished, tmp_path: Path) -> None:
    file = write(copy(finished, tmp_path))
    found, told = run(file, only=["grpo", "meml", "mef_longer"])
    assert told == []
    assert json.loads((tmp_path / "results/tiny.json").read_text())["cells"] == found["cells"]
    assert found["primary"] == finished[1]["primary"]


def test_a_missing_cell_is_run_from_a_warm_up_rebuilt_to_the_same_weights(finished: Finished, tmp_path: Path) -> None:
    file = write(copy(finished, tmp_path))
    gone = tmp_path / "results/tiny/demo/grpo-seed7.json"
    before = json.loads(gone.read_text())
    gone.unlink()
    found, told = run(file, only=["grpo"])
    assert told == [("mef", "started"), ("mef", "finished"), ("grpo", "started"), ("grpo", "finished")]
    (again,) = (cell for cell in found["cells"] if cell["arm"] == "grpo")
    assert again["metrics"] == before["metrics"]
    assert again["sampled_tokens"] == before["sampled_tokens"]


def test_a_warm_up_rebuilt_to_other_weights_is_refused(finished: Finished, tmp_path: Path) -> None:
    file = write(copy(finished, tmp_path))
    (tmp_path / "results/tiny/demo/grpo-seed7.json").unlink()
    mef = tmp_path / "results/tiny/demo/mef-seed7.json"
    mef.write_text(json.dumps({**json.loads(mef.read_text()), "weights": "0" * 64}))
    found, told = run(file, only=["grpo"])
    assert told == [("mef", "started"), ("mef", "failed"), ("grpo", "failed")]
    assert "other weights" in found["failed"][0]["error"]


def test_a_cell_of_another_recipe_is_refused_before_anything_runs(finished: Finished, tmp_path: Path) -> None:
    copy(finished, tmp_path)
    with pytest.raises(UserError, match=r"grpo-seed7\.json: was run with another `steps`"):
        run(write(tmp_path, recipe={**BASE, "steps": 3}))
    with pytest.raises(UserError, match=r"mef-seed7\.json: was run with another `warmup`"):
        run(write(tmp_path, recipe={**BASE, "warmup": {**BASE["warmup"], "steps": 5}}))
    assert not (tmp_path / "runs").exists()


def test_what_is_no_cell_is_refused(finished: Finished, tmp_path: Path) -> None:
    file = write(copy(finished, tmp_path))
    (tmp_path / "results/tiny/demo/mef-seed7.json").write_text("{}")
    with pytest.raises(UserError, match=r"mef-seed7\.json: is not the result of a cell"):
        run(file)


def test_the_hash_ignores_where_a_run_lives_and_sees_every_number() -> None:
    def hashed(stage: str = "train", **changes: Any) -> str:
        return digest(stage, {**BASE, **changes})

    assert hashed() == hashed(name="other", output="elsewhere", checkpoint={"every": 1})
    assert hashed() != hashed("both")
    assert hashed() != hashed(optimizer={"lr": 1e-5})
    assert hashed("warmup") == hashed("warmup", optimizer={"lr": 1e-5}, steps=9)
    assert hashed("warmup") != hashed("warmup", sampling={"max_tokens": 9})


def test_main_arms_come_first_seed_by_seed_and_a_warm_up_before_what_starts_from_it(tmp_path: Path) -> None:
    arms = {"late": {"method": {"name": "grpo"}, "seeds": [2]}, "grpo": {}, "mef": {"stage": "warmup"}}
    pair = {"outcome": "mean", "arm": "late", "against": "grpo"}
    levels = {"demo": {}, "weak": {"seeds": [1], "warmup": {"decay_at": 0.1}, "arms": ["mef", "grpo"]}}
    cells = planned(tmp_path, arms=arms, seeds=[2, 1], levels=levels, primary=pair, controls=[])
    assert [cell.key for cell in cells] == [
        *[("demo", arm, seed) for seed in (2, 1) for arm in ("mef", "grpo")],
        ("demo", "late", 2),
        ("weak", "mef", 1),
        ("weak", "grpo", 1),
    ]
    warmups = [parse(dict(cell.data)).warmup for cell in cells]
    assert [config and config.decay_at for config in warmups] == [0.2] * 5 + [0.1] * 2
    assert cells[0].folder.name == "warmup"
    assert cells[0].recipe({}).warmup_folder == cells[1].recipe({}).warmup_folder == cells[0].folder
    assert cells[1].recipe({}).task["seed"] == 2


def test_the_longest_arm_of_a_seed_starts_first(tmp_path: Path) -> None:
    comparison, base = load_comparison(write(tmp_path))
    cells = plan(comparison, base)
    runner = Runner(comparison, base, cells, tmp_path / "none", lambda *_: None)
    by_arm = {cell.arm: cell for cell in cells}
    runner.done[by_arm["mef"].key] = {"wall_seconds": 1.0}
    runner.waiting = [by_arm["grpo"], by_arm["meml"], by_arm["mef_longer"]]
    runner.done["other", "grpo", 1] = {"wall_seconds": 10.0}
    runner.done["other", "meml", 1] = {"wall_seconds": 20.0}
    assert runner.next() is by_arm["meml"]
    runner.done["other", "meml", 2] = {"wall_seconds": 0.0}
    runner.done["other", "grpo", 2] = {"wall_seconds": 12.0}
    assert runner.next() is by_arm["grpo"]


def test_placeholders_take_what_other_cells_say(tmp_path: Path) -> None:
    single = {
        "stage": "both",
        "warmup": {"experts": ["{best}"], "decay_at": None, "steps": "{warmup_steps}"},
        "method": {"name": "grpo", "experts": ["{best}"]},
    }
    cells = planned(tmp_path, arms={**FILE["arms"], "single": single})
    cell = next(cell for cell in cells if cell.arm == "single")
    recipe = cell.recipe({"best": "structured", "warmup_steps": 1500})
    assert recipe.warmup is not None
    assert (recipe.warmup.experts, recipe.warmup.steps) == (("structured",), 1500)
    assert recipe.method.experts == ("structured",)
    assert recipe.warmup_folder == cell.folder / "warmup" != cells[0].folder
    assert fill({"a": ["{seed}", "{other}"]}, {"seed": 3}) == {"a": [3, "{other}"]}


def test_another_method_or_preset_takes_over_only_whom_it_asks_and_how_much() -> None:
    method = {"name": "meml_grpo", "preset": "tuned", "mutual_gap": 0.5, "questions_per_step": 2}
    assert merged({"method": method}, {"method": {"mutual_coefficient": 0}})["method"] == {
        **method,
        "mutual_coefficient": 0,
    }
    assert merged({"method": method}, {"method": {"name": "grpo"}})["method"] == {
        "name": "grpo",
        "questions_per_step": 2,
    }
    assert merged({"method": method}, {"method": {"preset": "published"}})["method"] == {
        "name": "meml_grpo",
        "preset": "published",
        "questions_per_step": 2,
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"primray": {}}, "did you mean 'primary'"),
        ({"primary": {"outcome": "mean", "arm": "nobody", "against": "grpo"}}, "there is no arm 'nobody'"),
        ({"primary": {"outcome": "mena", "arm": "meml", "against": "grpo"}}, "'mena' is not an outcome"),
        ({"levels": {"demo": {"arms": ["nobody"]}}}, "there is no arm 'nobody'"),
        ({"arms": {**FILE["arms"], "grpo": {"stage": "rl"}}}, "stage is 'rl'"),
        ({"arms": {**FILE["arms"], "grpo": {"stepz": 1}}}, "did you mean 'steps'"),
        ({"arms": {**FILE["arms"], "a/b": {}}}, "not a name for files"),
        ({"arms": {**FILE["arms"], "again": {"stage": "warmup"}}}, "'mef' is the warm-up already"),
        ({"arms": {**FILE["arms"], "broken": {"seeds": [8]}}}, r"arms\.after_broken: needs 'broken' of seed 7"),
        ({"arms": {**FILE["arms"], "grpo": {"seeds": [8]}}}, r"arms\.grpo: needs 'mef' of seed 8"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"base": "missing.yaml"}, r"missing\.yaml: cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        planned(tmp_path, **changes)


def test_a_name_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    for options, sentence in (({"only": ["x"]}, "no arm 'x'"), ({"seeds": [1]}, "no seed '1'")):
        with pytest.raises(UserError, match=sentence):
            run(file, **options)
