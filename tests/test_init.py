"""`init`: four answers, typed or given, become a recipe that `check` and `train` accept; mistakes are sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from manyminds import drafting
from manyminds.cli import app
from manyminds.config import load_recipe
from manyminds.drafting import Budget, Speed, draft, read_budget, read_data, read_prompts
from manyminds.errors import UserError
from manyminds.loading import outline
from manyminds.tasks.arithmetic_model import create


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with a small model and forty questions."""
    monkeypatch.chdir(tmp_path)
    create(tmp_path / "model", 0)
    questions(tmp_path / "mine.jsonl", [str(2 * i) for i in range(40)])
    return tmp_path


def questions(path: Path, golds: list[str], **more: str) -> str:
    rows = [{"question": f"{i}+{i}", "answer": gold, **more} for i, gold in enumerate(golds)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(*arguments: str, typed: str = "") -> Any:
    return CliRunner().invoke(app, list(arguments), input=typed, catch_exceptions=False)


def test_four_answers_become_a_run(there: Path) -> None:
    """Typed, with a mistake at each of them, then checked and trained with as it was written."""
    typed = [
        "nowhere/model",
        "./nothing",
        "model",
        "missing.jsonl",
        "mine.jsonl",
        "a: +",
        "a: +|b: -",
        "soon",
        "2 steps",
    ]
    done = run("init", typed="\n".join([*typed[1:], "y"]) + "\n")
    assert done.exit_code == 0, done.output
    for said in (
        "'./nothing' is not a Hugging Face model folder",
        "there is no file or folder missing.jsonl",
        "experts are two or more, not 1",
        "budget: 'soon' is none; give minutes, tokens or steps",
    ):
        assert done.output.count(said) == 1, said
    recipe = yaml.safe_load((there / "recipe.yaml").read_text())
    assert recipe["experts"] == [{"name": "a", "system": "+"}, {"name": "b", "system": "-"}]
    assert (recipe["steps"], recipe["method"]["hard_coefficient"]) == (2, 0)
    assert 10 <= len((there / "recipe.yaml").read_text().splitlines()) <= 20
    for line in done.stdout.split("Next:")[1].splitlines()[1:4]:
        command = line.split("  ")[1].split()
        fewer = ["sampling.max_tokens=12", "method.questions_per_step=2", "evaluation.samples=8"]
        did = run(*command[1:], *fewer, *(["--questions", "4"] if "--rescue" in command else []))
        assert did.exit_code == 0, did.output
    assert (there / "runs" / "recipe" / "meml_grpo" / "result.json").is_file()


def test_options_ask_nothing_and_nothing_is_overwritten(there: Path) -> None:
    given = ("init", "--model", "model", "--data", "mine.jsonl", "--prompts", "one: +", "--prompts", "two: -", "--yes")
    assert run(*given).exit_code == 0
    before = (there / "recipe.yaml").read_text()
    assert yaml.safe_load(before)["steps"] == 100
    again = run(*given, "--budget", "7 steps")
    assert again.exit_code == 2
    assert again.stderr == (
        "error: recipe.yaml: is there already; choose another file with --out, or write over it with --force\n"
    )
    assert (there / "recipe.yaml").read_text() == before
    assert run(*given, "--budget", "7 steps", "--force").exit_code == 0
    assert yaml.safe_load((there / "recipe.yaml").read_text())["steps"] == 7


def test_questions_that_hold_their_answer_are_told_and_not_refused(there: Path) -> None:
    """An example in the question may happen to have its answer: `init` says so, and `check` counts it."""
    rows = [{"question": f"1+1 #### 2\n{i}+{i}", "answer": str(2 * i)} for i in range(40)]
    (there / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("init", "--model", "model", "--data", "shown.jsonl", "--prompts", "+", "--prompts", "-", "--yes")
    assert done.exit_code == 0, done.output
    assert "Tricks that the verifier falls for: 1, first: " in " ".join(done.stdout.split())
    assert "gives the question itself" in " ".join(done.stdout.split())


def test_a_no_writes_nothing(there: Path) -> None:
    given = ("--model", "model", "--data", "mine.jsonl", "--prompts", "+", "--prompts", "-", "--budget", "1 step")
    done = run("init", *given, typed="n\n")
    assert done.exit_code == 0
    assert "Nothing was written." in done.stdout
    assert not (there / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "this has no default: Model"),
        (("--model", "./nothing"), "is not a Hugging Face model folder"),
        (("--model", "model", "--data", "none.jsonl"), "there is no file or folder none.jsonl"),
        (
            ("--model", "model", "--data", "mine.jsonl", "--prompts", "a: x", "--prompts", "a: y"),
            "two have the name 'a'",
        ),
        (("--model", "model", "--data", "mine.jsonl", "--prompts", "suggest", "--prompts", "no"), None),
        (("--model", "model", "--data", "mine.jsonl", "--budget", "0 steps"), "budget: '0 steps' is none"),
        (("--model", "model", "--data", "mine.jsonl", "--prompts", "x" * 300, "--prompts", "y"), "context of 256"),
    ],
)
def test_a_mistake_is_one_sentence(there: Path, given: tuple[str, ...], said: str | None) -> None:
    done = run("init", *given, "--yes")
    if said is None:  # "suggest" beside others is a prompt like others
        assert done.exit_code == 0
        return
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (there / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ("30 min", Budget(30.0, "minutes")),
        ("90s", Budget(1.5, "minutes")),
        ("2 hours", Budget(120.0, "minutes")),
        ("2M tokens", Budget(2e6, "tokens")),
        ("1,500 k tokens", Budget(1.5e6, "tokens")),
        ("200 steps", Budget(200.0, "steps")),
    ],
)
def test_a_budget_is_read(given: str, budget: Budget) -> None:
    assert read_budget(given) == budget


@pytest.mark.parametrize("given", ["", "30", "steps", "-3 min", "1.2.3 min", "5 euros", "1,5 h"])
def test_what_is_no_budget_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="such as 30 min, 2M tokens, 200 steps"):
        read_budget(given)


def test_suggested_prompts_say_how_this_data_is_answered(tmp_path: Path) -> None:
    numbers = read_data(questions(tmp_path / "n.jsonl", [str(i) for i in range(20)]))
    prompts = read_prompts(["suggest"], numbers)
    assert list(prompts) == ["equations", "steps", "twice", "backwards"]
    assert all(text.endswith("End with a line that holds #### and then the number.") for text in prompts.values())
    choice = read_data(questions(tmp_path / "c.jsonl", ["yes", "no"] * 10))
    assert all(text.endswith("#### and then no or yes.") for text in read_prompts(["Suggest"], choice).values())
    words = read_data(questions(tmp_path / "w.jsonl", [f"word {i}" for i in range(20)]))
    assert all(text.endswith("#### and then the answer.") for text in read_prompts(["suggest"], words).values())


def test_prompts_from_a_file(tmp_path: Path) -> None:
    data = read_data(questions(tmp_path / "n.jsonl", [str(i) for i in range(20)]))
    (tmp_path / "prompts.txt").write_text("short: Be short.\n\nBe long: very long.\n")
    assert read_prompts([str(tmp_path / "prompts.txt")], data) == {
        "short": "Be short.",
        "expert2": "Be long: very long.",
    }


def test_prompts_of_any_letters_and_names(there: Path) -> None:
    long, odd = "解" * 90, "A bell \x07, a dash \N{EM DASH} and \U0001f600: done."
    given = ("--prompts", long, "--prompts", f"yes: {odd}", "--prompts", "1: Be short.")
    done = run("init", "--model", "model", "--data", "mine.jsonl", "--budget", "2 steps", *given, "--yes")
    assert done.exit_code == 0, done.stderr
    experts = {expert.name: expert.system for expert in load_recipe("recipe.yaml").experts or ()}
    assert experts == {"expert1": long, "yes": odd, "1": "Be short."}


def test_minutes_become_tokens_and_steps_by_the_measured_speed(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafting, "measured", lambda recipe: Speed(tokens_per_s=1000.0, mean_length=50.0))
    data = read_data("mine.jsonl")
    found = draft("model", data, {"a": "+", "b": "-"}, Budget(4.0, "minutes"), "x")
    recipe = yaml.safe_load(found.text)
    # half of 240 s of drawing; 8 questions x 2 experts x 8 answers of 50 tokens are 6,400 a step
    assert (recipe["sampled_tokens"], recipe["steps"]) == (120_000, 19)
    assert any("learning is assumed to take as long as drawing" in line for line in found.assumed)


def test_a_model_that_is_not_on_the_disk_is_not_timed(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = outline("model", 0)
    monkeypatch.setattr("manyminds.loading.outline", lambda *_: known)
    monkeypatch.setattr("manyminds.preview.outline", lambda *_: known)
    monkeypatch.setattr(drafting, "measured", None)
    data, prompts = read_data("mine.jsonl"), {"a": "+", "b": "-"}
    with pytest.raises(UserError, match=r"minutes need the model 'some/id' on this disk, .*; give tokens or steps"):
        draft("some/id", data, prompts, Budget(4.0, "minutes"), "x")
    found = draft("some/id", data, prompts, Budget(1e6, "tokens"), "x")
    assert any("half of what they may have: a guess" in line for line in found.assumed)


def test_the_speed_is_that_of_the_model(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafting, "SECONDS", 0.2)
    found = draft("model", read_data("mine.jsonl"), {"a": "+", "b": "-"}, Budget(50_000, "tokens"), "x")
    recipe = yaml.safe_load(found.text)
    assert recipe["sampled_tokens"] == 50_000
    length = 50_000 / (recipe["steps"] * 8 * 2 * 8)
    assert 1 < length <= recipe["sampling"]["max_tokens"] * 1.5


@pytest.mark.parametrize(
    ("solved", "told", "why"),
    [
        (0, "none has", "a guess, for want of worked solutions"),
        (7, "7 of them have", "a guess, for want of worked solutions"),
        (40, "all have", "twice the longest solution, rounded up"),
    ],
)
def test_what_is_said_of_worked_solutions_and_the_length_of_answers(
    there: Path, solved: int, told: str, why: str
) -> None:
    rows = [
        {"question": f"{i}+1", "answer": str(i + 1)} | ({"solution": f"{i}+1={i + 1}"} if i < solved else {})
        for i in range(40)
    ]
    (there / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = draft("model", read_data("some.jsonl"), {"a": "+", "b": "-"}, Budget(1, "steps"), "x")
    assert found.assumed[0].endswith(f" {told} a worked solution.")
    length = yaml.safe_load(found.text)["sampling"]["max_tokens"]
    if solved == 40:
        assert found.assumed[2] == f"Answers of up to 32 tokens: {why}."
    else:  # 256 is what the whole context has
        left = "all that the model's context leaves beside the longest prompt"
        assert found.assumed[2] == f"Answers of up to {length} tokens: {left}, not 256 ({why})."
    assert ("hard_coefficient" in found.text) == (solved < 40)


@pytest.mark.parametrize(
    ("golds", "rewards"),
    [
        (["1,200", "-3", "0.5", "7"], ["number_answer"]),
        (["12", "3", "cannot be known", "7"], None),
        (["12", "4/2", "1/2", "7"], None),  # 4/2 is a division left undone: the verifier would not take it
    ],
    ids=["numbers", "one is none", "a division"],
)
def test_numbers_are_compared_as_numbers(there: Path, golds: list[str], rewards: list[str] | None) -> None:
    data = read_data(questions(there / "golds.jsonl", golds * 5))
    found = draft("model", data, {"a": "+", "b": "-"}, Budget(1, "steps"), "x")
    assert yaml.safe_load(found.text).get("rewards") == rewards
    assert ("# all gold answers are numbers" in found.text) == (rewards is not None)


def test_long_solutions_need_a_long_context(there: Path) -> None:
    data = read_data(questions(there / "long.jsonl", [str(i) for i in range(20)], solution="1+" * 118))
    with pytest.raises(
        UserError, match=r"context of 256 tokens leaves \d+ beside the longest prompt, but the longest solu"
    ):
        draft("model", data, {"a": "+", "b": "-"}, Budget(1, "steps"), "x")
