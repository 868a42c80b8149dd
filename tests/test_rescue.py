"""The rescue estimate: simulated experts whose truth is known, and a real model asked by the command line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from manyminds import rescue
from manyminds.cli import app
from manyminds.errors import UserError
from manyminds.rescue import MARGIN, Interval, Rescue, Sample, estimate, interval, sentence
from manyminds.shipped import quick_checkpoint

DEMO = str(Path(__file__).parents[1] / "recipes" / "demo.yaml")
NAMES = ("plain", "a", "b", "c")


def sampled(chances: Any, rng: Any, each: int = 8) -> Rescue:
    """The estimate on answers drawn with these chances [questions, prompts] of being right."""
    asked = dict.fromkeys(NAMES[1:], each)
    draws = sum(asked.values())
    return estimate(Sample(NAMES, asked, draws, rng.binomial(draws, chances)), 1000)


def alike(questions: int, rng: Any) -> Any:
    """Hard and easy questions, equally so for every prompt."""
    return np.repeat(rng.beta(0.3, 0.6, size=(questions, 1)), 4, axis=1)


def complementary(questions: int, rng: Any) -> Any:
    """Every question is known to one of the experts; plain knows little."""
    chances = np.full((questions, 4), 0.0)
    chances[np.arange(questions), rng.integers(1, 4, size=questions)] = 0.7
    chances[:, 0] = 0.02
    return chances


def test_alike_experts_are_not_said_to_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescue, "RESAMPLES", 300)
    rng = np.random.default_rng(0)
    found = [sampled(alike(40, rng), rng) for _ in range(60)]
    assert sum(one.verdict == "yes" for one in found) <= 3
    gains = [one.gain.value for one in found]
    assert abs(np.mean(gains)) < 3 * np.std(gains) / len(gains) ** 0.5
    assert sampled(np.full((400, 4), 0.9), rng).verdict == "no"


def test_complementary_experts_are_said_to_help() -> None:
    rng = np.random.default_rng(1)
    found = sampled(complementary(40, rng), rng)
    assert found.verdict == "yes"
    assert found.many.value < 0.01
    # an expert knows a third; plain has 0.98^24 = 62 % all wrong
    assert found.one.value == pytest.approx(0.64, abs=0.12)
    assert sentence(found).startswith("Several experts will help here: of the same 24 answers a question, 3 prompts")
    # whoever fails a question is likely to be helped out by another, less so by himself
    assert found.together["a"]["a"] is not None
    assert found.fails["a"] == pytest.approx(1 - 0.7 / 3, abs=0.1)


def test_the_intervals_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pooled share is unbiased: over many samples its mean is the closed form, which most intervals hold."""
    monkeypatch.setattr(rescue, "RESAMPLES", 300)
    rng = np.random.default_rng(2)
    population = rng.beta(0.3, 0.8, size=(4000, 4))
    many = float(((1 - population[:, 1:]) ** 8).prod(1).mean())
    held, values = [], []
    for _ in range(60):
        found = sampled(population[rng.integers(4000, size=60)], rng)
        values.append(found.many.value)
        held.append(found.many.low <= many <= found.many.high)
    assert np.mean(values) == pytest.approx(many, abs=3 * np.std(values) / 60**0.5)
    assert np.mean(held) > 0.85


def test_one_expert_above_all_others_is_better_asked_alone() -> None:
    rng = np.random.default_rng(3)
    chances = rng.beta(0.5, 2.0, size=(300, 1)) * np.array([[0.1, 1.0, 0.05, 0.05]])
    found = sampled(chances, rng)
    assert found.best == "a"
    assert found.gain.high < 0
    assert found.verdict == "no"
    assert sentence(found).endswith("spend the answers on one prompt, such as 'a'.")


def test_a_small_sample_says_that_it_cannot_tell_and_how_many_could() -> None:
    rng = np.random.default_rng(4)
    chances = np.where(rng.random((12, 4)) < 0.15, 0.5, alike(12, rng))
    found = sampled(chances, rng)
    assert found.verdict == "unknown"
    assert found.gain.low <= 0 < MARGIN <= found.gain.high
    assert sentence(found).startswith("Cannot tell from 12 questions: ")
    assert f"ask more (about {found.more()})" in sentence(found)
    assert found.more() >= 24


def test_where_nobody_knows_anything_that_is_said() -> None:
    found = sampled(np.zeros((200, 4)), np.random.default_rng(5))
    assert (found.one.value, found.many.value, found.gain.value) == (1.0, 1.0, 0.0)
    assert found.verdict == "no"
    known = sampled(np.ones((200, 4)), np.random.default_rng(5))
    assert "hardly a question is left to be rescued" in sentence(known)
    assert known.together["a"]["b"] is None


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (None, "nothing to start from. Teach the model first (a warm-up on worked answers"),
        (0, "None of them has a final answer that can be read, so it may be the form alone that fails: say in"),
        (70, "nothing to start from. 70 of them have a final answer that can be read. Teach"),
    ],
)
def test_where_no_answer_is_right_more_questions_are_not_asked_for(read: int | None, said: str) -> None:
    right = np.zeros((8, 4), np.int64)
    found = estimate(Sample(NAMES, dict.fromkeys(NAMES[1:], 8), 24, right, read=read), 1000)
    assert sentence(found).startswith(
        "No answer of 768 to 8 questions was right under any prompt: the model cannot do these questions yet, and "
        "reinforcement learning has nothing to start from."
    )
    assert said in sentence(found)
    assert sentence(found).endswith("or take easier questions or a stronger model.")
    assert "ask more" not in sentence(found)
    right[3, 0] = 1  # one answer changes it: there is something to learn from
    one = estimate(Sample(NAMES, dict.fromkeys(NAMES[1:], 8), 24, right, read=read), 1000)
    assert sentence(one).startswith("Several experts will not help here: ")


def test_few_questions_that_all_say_the_same_do_not_settle_it() -> None:
    assert sampled(np.zeros((8, 4)), np.random.default_rng(6)).verdict == "unknown"
    # what occurs in 37 % of questions is not seen in 8 of them once in forty times: (1 - 0.3694)^8 = 0.025
    found = interval(0.0, np.zeros(100), 8)
    assert (found.low, found.high) == (0.0, pytest.approx(0.3694, abs=1e-4))


def test_more_questions_are_asked_for_the_less_clear_it_is() -> None:
    base = sampled(alike(40, np.random.default_rng(0)), np.random.default_rng(0))
    asked = []
    for value in (0.15, 0.08, 0.04):
        gain = Interval(value, value - 0.2, value + 0.2)
        asked.append(Rescue(**{name: getattr(base, name) for name in Rescue.__slots__} | {"gain": gain}).more())
    assert asked == [80, 250, 1000]
    assert all(few < many for few, many in pairwise(asked))


def test_a_sample_of_three_is_refused() -> None:
    with pytest.raises(ValueError, match="four questions"):
        estimate(Sample(("a", "b"), {"a": 1, "b": 1}, 2, np.zeros((3, 2), np.int64)), 3)


FEW = ("task.warmup=20", "task.train=200", "task.validation=20", "task.test=20")
"""What is not asked is rendered all the same."""


def check(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["check", DEMO, *FEW, *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def shipped() -> str:
    return str(next((quick_checkpoint() / "checkpoints").glob("step-*")) / "model")


def test_the_shipped_model_is_asked(shipped: str) -> None:
    arguments = ("--rescue", "--questions", "8", "--model", shipped, "sampling.max_tokens=40")
    done = check(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["rescue"]
    assert (found["questions"], found["draws_per_prompt"], found["answers"]) == (8, 24, 8 * 24 * 4)
    assert [one["name"] for one in found["prompts"]] == ["plain", "concise", "deliberate", "structured"]
    assert found["asked"] == {"concise": 8, "deliberate": 8, "structured": 8}
    assert 0 < found["oracle"]["value"] < 1
    assert found["gain"]["value"] == pytest.approx(found["one"]["value"] - found["many"]["value"])
    assert found["gain"]["low"] <= found["gain"]["value"] <= found["gain"]["high"]
    assert "8 questions" in found["sentence"]
    text = check(*arguments).stdout
    assert found["sentence"] in text
    assert "Errors in common" in text
    assert "All is well." in text


def test_a_model_that_knows_nothing_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("--rescue", "--questions", "4", "--model", "tiny", "sampling.max_tokens=4", "method.answers_per_prompt=2")
    done = check(*few)
    assert "No answer of 96 to 4 questions was right under any prompt" in done.stdout
    assert "All is well, but for the model, which cannot do these questions yet." in done.stdout
    assert done.stderr == ""
    found = json.loads(check(*few, "--json").stdout)["rescue"]
    assert found["answers"] == 96
    assert 0 <= found["readable_answers"] < 96
    assert ("None of them" in found["sentence"]) == (found["readable_answers"] == 0)


def test_a_verifier_that_asks_a_model_is_told_of_before_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "costly_verifier.py").write_text(
        "from manyminds.rewards import model_reward\n\n"
        "@model_reward\n"
        "def costly(responses, answers, samples):\n"
        "    return [float(r.endswith('#' + a)) for r, a in zip(responses, answers)]\n"
    )
    few = ("--rescue", "--questions", "4", "--model", "tiny", "sampling.max_tokens=4", "method.answers_per_prompt=2")
    done = check(*few, "rewards=[costly_verifier:costly]", "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == (
        "note: the reward 'costly' asks a model: it will judge 96 answers (4 questions x 4 prompts x 6 answers); "
        "--questions asks fewer\n"
    )
    assert json.loads(done.stdout)["rescue"]["answers"] == 96
    # only the verifier is asked about these answers
    assert check(*few, "rewards=[exact_answer, costly_verifier:costly]", "--json").stderr == ""
    assert check("rewards=[costly_verifier:costly]").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rescue",), "there is no finished warm-up; .* to ask another model, name it with --model"),
        (("--model", "x"), "give --rescue too"),
        (
            ("--rescue", "--model", "tiny", "method={name: grpo, experts: [concise]}"),
            "only concise is asked; .* two or",
        ),
        (("--rescue", "--model", "tiny", "task.train=3"), "3 training questions tell nothing"),
    ],
    ids=["no warm-up", "model alone", "one expert", "three questions"],
)
def test_what_cannot_be_estimated_is_one_sentence(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = check(*arguments)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    with pytest.raises(UserError, match=said):
        raise UserError(done.stderr)


def test_without_rescue_nothing_is_asked() -> None:
    assert "rescue" not in json.loads(check("--json").stdout)
