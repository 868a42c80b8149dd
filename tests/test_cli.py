"""The command line: help that teaches, one sentence for a user's mistake, nothing half written, and the whole way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from manyminds.cli import app
from manyminds.limits import Limits

ROOT = Path(__file__).parents[1]
DEMO = str(ROOT / "recipes" / "demo.yaml")
COMMANDS = (
    "demo",
    "init",
    "check",
    "collect",
    "warmup",
    "train",
    "eval",
    "compare",
    "report",
    "export",
    "verify",
    "methods",
)
SMALL = (
    "task={name: arithmetic, warmup: 60, train: 30, validation: 6, test: 6}",
    "warmup.steps=4",
    "warmup.evaluate_every=2",
    "warmup.optimizer.schedule.decay_steps=2",
    "steps=2",
    "method.questions_per_step=2",
    "evaluation={every: 1, questions: 6, samples: 8, group: 8}",
    "checkpoint.every=1",
)


def run(*arguments: str) -> Any:
    """What a command printed and how it ended; an error that is no user's mistake is raised."""
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `runs` with a warm-up of four steps and a training of two, made by the command line."""
    place = tmp_path_factory.mktemp("finished")
    for command in ("warmup", "train"):
        done = run(command, DEMO, *SMALL, f"output={place / 'runs'}", "--json")
        assert done.exit_code == 0, done.output
        (place / f"{command}.json").write_text(done.stdout)
    return place


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str) -> None:
    text = run(command, "--help").stdout
    assert "Example:" in text
    assert f"manyminds {command}" in text
    assert any(word in text for word in ("Writes to", "Writes FOLDER", "Writes no file"))
    assert "[bold" not in text


def test_methods_as_json_is_exactly_the_table() -> None:
    found = json.loads(run("methods", "--json").stdout)
    assert list(found) == ["methods"]
    assert [list(one) for one in found["methods"]] == [["name", "paper", "arxiv", "summary"]] * len(found["methods"])
    named = {one["name"]: one["arxiv"] for one in found["methods"]}
    assert named["meml_grpo"] == "2508.09670"
    assert {"grpo", "dr_grpo", "meml_grpo"} <= named.keys()
    assert all(one["name"] and one["paper"] and one["summary"] for one in found["methods"])
    # Only what is published nowhere else has no number.
    assert all(bool(one["arxiv"]) != one["paper"].startswith("manyminds") for one in found["methods"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["optimizer.lrr=1"], "override 'optimizer.lrr=1': unknown key 'optimizer.lrr'; did you mean 'lr'?"),
        (["method.clip_lo=1"], "unknown key 'method.clip_lo'; did you mean 'clip_low'?"),
        (["steps=many"], ": steps: input should be a valid integer"),
        (["experts=[]"], "there is no expert"),
        (["experts=[{name: a}, {name: a}]"], "two experts have the name 'a'"),
        (["method={name: grpo, with: [{name: dr_grpo}, {name: rloo}]}"], "both set 'advantage', and only one may"),
        (["method.name=grop"], "did you mean 'grpo'?"),
        (["method.experts=[concice]"], "there is no expert 'concice'"),
        (
            ["method={name: grpo, with: [{name: ampo, experts: [concice]}]}"],
            "method.with: experts of 'ampo': there is no expert 'concice'",
        ),
        (["task.dgits=2"], "task.dgits"),
        (["sampling.max_tokens=250", "warmup=null"], "the model's context of 256 leaves 6"),
        (["model=./recipes", "warmup=null"], "is not a Hugging Face model folder"),
        (["steps"], "'steps' is not an override; write key=value"),
        ([], "there is no finished warm-up; run `manyminds warmup`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_a_recipe_is_one_sentence(there: Path, changes: list[str], said: str) -> None:
    done = run("train", DEMO, SMALL[0], *changes)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert done.stdout == ""
    assert list(there.iterdir()) == []


def test_the_line_of_an_unknown_key_is_that_in_the_file(there: Path) -> None:
    lines = Path(DEMO).read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("steps:"))
    (there / "mine.yaml").write_text("\n".join([*lines[:place], "stpes: 3", *lines[place:]]))
    done = run("check", "mine.yaml")
    assert done.exit_code == 2
    assert done.stderr == f"error: mine.yaml:{place + 1}: unknown key 'stpes'; did you mean 'steps'?\n"


def rows(path: Path, objects: list[dict[str, Any]]) -> None:
    """The objects as a file of JSON lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))


@pytest.mark.parametrize(
    ("questions", "traces", "said"),
    [
        ({3: {"id": "q3", "question": "3+3"}}, {}, "questions.jsonl:4: the key `answer` is missing"),
        ({}, {1: {"id": "q9999", "expert": "a", "solution": "#1"}}, "traces.jsonl:2: there is no question with the id"),
        ({}, {0: {"id": "q0", "expert": "b", "solution": "#0"}}, "there is no trace of expert 'a'"),
    ],
    ids=["no answer", "unknown question", "expert without traces"],
)
def test_a_mistake_in_the_data_names_file_and_line(
    there: Path, questions: dict[int, Any], traces: dict[int, Any], said: str
) -> None:
    whole = [{"id": f"q{i}", "question": f"{i}+{i}", "answer": str(2 * i)} for i in range(20)]
    rows(there / "questions.jsonl", [questions.get(i, one) for i, one in enumerate(whole)])
    only_b = traces.get(0) is not None
    told = [{"id": f"q{i}", "expert": "b" if only_b else "a", "solution": f"#### {2 * i}"} for i in range(20)]
    rows(there / "traces.jsonl", [traces.get(i, one) for i, one in enumerate(told)])
    task = {"name": "jsonl", "questions": "questions.jsonl", "experts_file": "traces.jsonl"}
    recipe = {"name": "mine", "model": "tiny", "task": task, "experts": [{"name": "a"}], "method": {"name": "grpo"}}
    (there / "mine.yaml").write_text(yaml.safe_dump({**recipe, "sampling": {"max_tokens": 60}}))
    done = run("train", "mine.yaml")
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (there / "runs").exists()


def test_a_mistake_leaves_no_traceback_in_a_real_process(there: Path) -> None:
    command = [sys.executable, "-m", "manyminds", "train", DEMO, "step=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: override 'step=3': unknown key 'step'; did you mean 'steps'?\n"


@pytest.mark.parametrize("arguments", [["train"], ["nonsense"], ["warmup", DEMO, "--resume", "never"], ["eval"]])
def test_a_wrong_command_line_is_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_ctrl_c_says_how_to_go_on(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("manyminds.run.train", interrupted)
    done = run("train", DEMO)
    assert done.exit_code == 130
    assert "--resume auto" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["train", "warmup"])
def test_a_dry_run_says_all_and_writes_nothing(there: Path, command: str) -> None:
    done = run(command, DEMO, *SMALL, "--dry-run")
    assert done.exit_code == 0
    before, _, rest = done.stdout.partition("The recipe, everything resolved\n")
    resolved, _, costs = rest.partition("What ")
    loaded = yaml.safe_load(resolved)
    assert [expert["name"] for expert in loaded["experts"]] == ["concise", "deliberate", "structured"]
    assert "<bos>You are the structured expert." in before
    assert "term mutual  meml_grpo\n" in before
    assert "125,184  parameters" in costs  # after the long recipe, where a terminal is read
    assert costs.splitlines()[-1 if command == "warmup" else -2].startswith("Nothing was written. The run would go to ")
    assert "under the prompts" not in costs
    assert list(there.iterdir()) == []


def test_the_estimate_adds_up(there: Path) -> None:
    changes = ["method.questions_per_step=5", "method.answers_per_prompt=4", "sampling.max_tokens=50", "steps=10"]
    done = run("train", DEMO, *SMALL, *changes, "sampled_tokens=null", "--dry-run", "--json")
    cost = json.loads(done.stdout)["estimate"]
    assert cost["rollouts_per_step"] == 5 * 3 * 4
    assert cost["sampled_tokens_per_step_at_most"] == 60 * 50
    assert cost["sampled_tokens_at_most"] == 60 * 50 * 10
    assert cost["parameters"] == 125_184
    memory = json.loads(done.stdout)["memory"]
    assert memory["held"]["weights"] + memory["held"]["moments"] + memory["updating"]["gradients"] == 125_184 * 16
    phases = [sum(parts.values()) for phase, parts in memory.items() if phase != "held"]
    assert abs(cost["memory_bytes"] - sum(memory["held"].values()) - max(phases)) < 2**24  # the process grows on
    assert cost["tokens_per_row_at_most"] == 1 + 1 + 7 + 1 + 50  # begin, system, 123+456, =, answer


def test_adapters_cost_less(there: Path) -> None:
    pytest.importorskip("peft")
    done = run("train", DEMO, *SMALL, "lora={rank: 2}", "--dry-run", "--json")
    cost = json.loads(done.stdout)["estimate"]
    assert cost["parameters"] == 125_184 + cost["trained"]
    assert cost["trained"] == 3 * 2 * (64 + 64 + 64 + 16 + 64 + 16 + 64 + 64 + 64 + 160 + 64 + 160 + 160 + 64)
    memory = json.loads(done.stdout)["memory"]
    assert memory["held"]["moments"] == 2 * memory["updating"]["gradients"] == 8 * cost["trained"]


def test_a_part_that_replaces_a_slot_shows(there: Path) -> None:
    done = run("train", DEMO, *SMALL, "method.with=[{name: dr_grpo}]", "--dry-run", "--json")
    says = json.loads(done.stdout)["method"]
    assert (says["ask"], says["advantage"]) == ("meml_grpo", "dr_grpo")


def test_check_shows_prompts_and_verdicts(there: Path) -> None:
    found = json.loads(run("check", DEMO, *SMALL, "--json").stdout)
    assert found["ok"] is True
    assert found["problems"] == []
    assert list(found["prompts"]) == ["plain", "concise", "deliberate", "structured"]
    assert found["prompts"]["plain"]["text"] == f"<bos>{found['question']}="
    assert len(found["prompts"]["concise"]["ids"]) == len(found["prompts"]["plain"]["ids"]) + 1
    rewards = {one["what"]: one["reward"] for one in found["judged"]}
    assert (rewards.pop("gold answer"), rewards.pop("worked solution")) == (1.0, 1.0)
    assert set(rewards.values()) == {0.0}
    assert list(rewards) == [
        "nonsense",
        "empty response",
        "another number",
        "another number alone",
        "number that ends like it",
        "its opposite",
        "many answers",
        "many after the gold one",
        "many boxed answers",
        "question itself",
        "very long response",
    ]
    assert list(there.iterdir()) == []


def test_another_method_leaves_behind_what_only_the_one_before_had(there: Path) -> None:
    """The demo's recipe names a preset, which GRPO does not have; how many questions it asks stays."""
    done = run("train", DEMO, *SMALL, "method.name=grpo", "method.clip_high=0.28", "--dry-run", "--json")
    method = json.loads(done.stdout)["recipe"]["method"]
    assert (method["name"], method["clip_high"]) == ("grpo", 0.28)
    assert run("train", DEMO, *SMALL, "method.name=meml_grpo", "--dry-run", "--json").exit_code == 0


def test_a_term_without_a_coefficient_is_shown_to_be_off(there: Path) -> None:
    for arguments in (["check", DEMO], ["train", DEMO, "--dry-run"]):
        done = run(*arguments, *SMALL, "method.hard_coefficient=0")
        assert "term hard    meml_grpo, off (coefficient 0)\n" in done.stdout


def test_check_tells_a_shut_gate_from_a_reward_that_does_not_apply(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(there))
    monkeypatch.setenv("COLUMNS", "160")
    (there / "never_applies.py").write_text("def never(response: str) -> None:\n    return None\n")
    rewards = "rewards=[exact_answer, {name: number_answer, gate: exact_answer}, never_applies:never]"
    lines = run("check", DEMO, *SMALL, rewards).stdout.splitlines()
    of = {line.split()[1]: line for line in lines if "exact_answer " in line and "number_answer " in line}
    assert "exact_answer 1, number_answer 1, never –" in of["gold"]
    assert "exact_answer 0, number_answer – (gate shut), never –" in of["nonsense"]
    found = json.loads(run("check", DEMO, *SMALL, rewards, "--json").stdout)["judged"]
    assert {one["what"]: one["shut"] for one in found}["nonsense"] == ["number_answer"]


def test_what_the_tokenizer_cannot_spell_is_told_and_recalled_at_the_end(there: Path) -> None:
    rows(there / "q.jsonl", [{"question": f"сколько будет {i}", "answer": str(i)} for i in range(20)])
    experts = [{"name": name, "system": "+"} for name in "ab"]
    recipe = {"name": "mine", "model": "tiny", "task": {"name": "jsonl", "questions": "q.jsonl"}, "experts": experts}
    recipe |= {"method": {"name": "meml_grpo", "hard_coefficient": 0}, "sampling": {"max_tokens": 60}}
    (there / "mine.yaml").write_text(yaml.safe_dump(recipe))
    done = run("check", "mine.yaml")
    assert (
        "  note: 20 of 20 questions have a prompt more than half of whose letters the tokenizer does not" in done.stdout
    )
    assert done.stdout.endswith("All is well, but for what the note above says.\n")
    assert "Heed the note under the prompts." in run("train", "mine.yaml", "--dry-run").stdout.splitlines()[-2:]


def test_check_fails_where_the_gold_answer_does_not_score(there: Path) -> None:
    rows(there / "q.jsonl", [{"question": f"{i}?", "answer": str(i), "solution": "#### no"} for i in range(20)])
    recipe = {"name": "mine", "model": "tiny", "task": {"name": "jsonl", "questions": "q.jsonl"}}
    experts = [{"name": "a", "system": "You are a."}]
    recipe |= {"experts": experts, "method": {"name": "grpo"}, "sampling": {"max_tokens": 60}}
    (there / "mine.yaml").write_text(yaml.safe_dump(recipe))
    done = run("check", "mine.yaml")
    assert done.exit_code == 2
    assert "the verifier is wrong 20 times" in done.stderr
    assert "<bos>You<unk>" not in done.stdout
    assert "  0  worked solution" in done.stdout


def test_the_whole_way(finished: Path) -> None:
    warm, trained = (json.loads((finished / f"{name}.json").read_text()) for name in ("warmup", "train"))
    assert (warm["arm"], warm["step"], warm["sampled_tokens"]) == ("mef", 4, 0)
    assert (trained["arm"], trained["step"]) == ("meml_grpo", 2)
    assert trained["sampled_tokens"] > 0
    folder = finished / "runs" / "demo" / "meml_grpo"
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"] == trained["metrics"]
    shares = {name: one for name, one in result["metrics"].items() if "low" in one and name != "entropy"}
    assert all(0 <= one["low"] <= one["value"] <= one["high"] <= 1 for one in shares.values())
    assert len(shares) == len([name for name in result["metrics"] if not name.startswith("styles/")]) - 1
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["experts"][0]["name"] == "concise"


def test_eval_measures_what_training_measured(finished: Path) -> None:
    folder = finished / "runs" / "demo" / "meml_grpo"
    found = json.loads(run("eval", str(folder), "--json").stdout)
    assert found["metrics"] == json.loads((folder / "result.json").read_text())["metrics"]
    assert found["split"] == "test"
    model = folder / "checkpoints" / "step-000002" / "model"
    named = run("eval", str(folder / "recipe.yaml"), "--model", str(model))
    assert named.exit_code == 0
    assert named.stdout.count("structured") == named.stdout.count("plain") == 1


def test_eval_needs_the_folder_of_a_run(there: Path) -> None:
    done = run("eval", ".")
    assert done.exit_code == 2
    assert "is not the folder of a run" in done.stderr


def test_report_prints_where_the_page_is(finished: Path) -> None:
    done = run("report", str(finished / "runs" / "demo"))
    assert done.exit_code == 0
    page = Path(done.stdout.strip())
    assert page.name == "report.html"
    assert "MEML-GRPO" in page.read_text()
    assert "committed ablation" not in page.read_text()  # there is no second arm, and so no difference to set beside it


def test_a_report_on_another_task_does_not_stand_beside_the_demos_seeds(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "demo", tmp_path / "mine")
    for recipe in tmp_path.rglob("recipe.yaml"):
        recipe.write_text(recipe.read_text().replace("name: arithmetic", "name: jsonl"))
    assert run("report", str(tmp_path / "mine")).exit_code == 0
    assert "committed ablation" not in (tmp_path / "mine" / "report.html").read_text()


def test_a_folder_that_holds_a_run_is_not_written_over(finished: Path) -> None:
    done = run("train", DEMO, *SMALL, f"output={finished / 'runs'}")
    assert done.exit_code == 2
    assert "already holds a run; continue it with --resume auto" in done.stderr
    other = run("train", DEMO, *SMALL, f"output={finished / 'runs'}", "optimizer.lr=0.5")
    assert other.exit_code == 2
    assert "already holds a run with another `optimizer`; choose another `name` or `arm`" in other.stderr


def test_resume_goes_on_to_the_same_numbers(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyminds.run import Run

    step = Run.validate

    def stopped(self: Run) -> None:
        if self.step == 2:
            raise KeyboardInterrupt
        step(self)

    arguments = ["train", DEMO, *SMALL, f"output={finished / 'runs'}", "arm=stopped"]
    monkeypatch.setattr(Run, "validate", stopped)
    assert run(*arguments).exit_code == 130
    monkeypatch.undo()
    assert run(*arguments, "--resume", "auto").exit_code == 0
    lines = [(finished / "runs" / "demo" / arm / "metrics.jsonl").read_text() for arm in ("meml_grpo", "stopped")]
    numbers = [[json.loads(line) | {"step_time": 0} for line in text.splitlines()] for text in lines]
    assert [line["step"] for line in numbers[1]] == [1, 2]
    assert numbers[0] == numbers[1]


def test_a_profiled_run_ends_with_where_the_time_went(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits("cpu", "float32", 1, gemm_flops_per_s=95e9, memory_bytes_per_s=35e9)
    monkeypatch.setattr("manyminds.profiling.measure", lambda device, dtype: limits)
    done = run("train", DEMO, *SMALL, f"output={finished / 'runs'}", "arm=timed", "profile=true")
    assert done.exit_code == 0, done.output
    assert "where the time went" in done.stdout
    assert "% of limit" in done.stdout
    assert "95 GFLOP/s in float32 (1 thread), 35 GB/s" in done.stderr
    assert "profile/other_s" in (finished / "runs" / "demo" / "timed" / "metrics.jsonl").read_text()


def test_resume_refuses_another_recipe(finished: Path) -> None:
    done = run("train", DEMO, *SMALL, f"output={finished / 'runs'}", "optimizer.lr=0.5", "--resume", "auto")
    assert done.exit_code == 2
    assert "was made with another `optimizer`" in done.stderr


def test_compare_says_what_it_would_run(there: Path) -> None:
    comparison = {
        "name": "two",
        "base": DEMO,
        "seeds": [1, 2],
        "arms": {"mef": {"stage": "warmup"}, "grpo": {"method": {"name": "grpo"}}},
        "primary": {"outcome": "mean", "arm": "grpo", "against": "mef"},
        "results": "results/two",
    }
    (there / "two.yaml").write_text(yaml.safe_dump(comparison))
    done = run("compare", "two.yaml", "--dry-run", "--json")
    cells = json.loads(done.stdout)["cells"]
    assert {(cell["arm"], cell["seed"], cell["done"]) for cell in cells} == {
        (arm, seed, False) for arm in ("mef", "grpo") for seed in (1, 2)
    }
    assert [path.name for path in there.iterdir()] == ["two.yaml"]


def test_demo_as_json_ends_with_one_line_of_it(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*, output: str, seed: int, quick: bool, text: Console, place: Console) -> dict[str, Any]:
        text.print("a table")
        return {"output": output, "seed": seed, "quick": quick}

    monkeypatch.setattr("manyminds.demo.demo", short)
    done = run("demo", "--json", "--quick", "--seed", "7", "--output", "elsewhere")
    assert done.stdout == '{"output": "elsewhere", "seed": 7, "quick": true}\n'
    assert done.stderr == "a table\n"
    assert run("demo").stdout == "a table\n"
