"""Free-form questions without a verifier that means anything: from a recipe, on a small random model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from families import write
from manyminds.config import Recipe, load_recipe, parse
from manyminds.errors import UserError
from manyminds.experts.rendering import Renderer
from manyminds.loading import answer_form, check_needs, load
from manyminds.preview import preview
from manyminds.records import Ask, Decoding, Prompt, Question
from manyminds.run import sampler_of, train
from manyminds.tasks.arithmetic_model import tokenizer

ROOT = Path(__file__).parents[1]
SHARED = ROOT / ".." / "shared" / "data"
PAIRS = [
    {"id": f"q{i}", "question": f"Why is {thing} blue?", "answer": f"{thing} scatters short waves. Ångström {i}"}
    for i, thing in enumerate(("the sky", "the sea", "ice", "a vein", "smoke", "a far hill", "dusk", "a jay"))
]


def made(folder: Path) -> Path:
    """The first rows of the published files by the script that the recipe names; our own where there are none."""
    path = folder / "free_form.jsonl"
    if (SHARED / "exam" / "qasc_train_cot.jsonl").is_file():
        command = [sys.executable, str(ROOT / "examples" / "free_form_data.py"), str(SHARED), str(path), "4"]
        subprocess.run(command, check=True, capture_output=True)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS), encoding="utf-8")
    return path


def recipe(folder: Path, data: Path, **method: Any) -> Recipe:
    shipped = load_recipe(ROOT / "recipes" / "free_form_darl.yaml").model_dump(mode="json", by_alias=True)
    task = {"name": "jsonl", "questions": str(data), "shares": {"train": 0.5, "validation": 0.25, "test": 0.25}}
    return parse(
        {
            "name": "free",
            "model": str(write("qwen2.5", folder / "model")),
            "task": {**task, "answer_marker": shipped["task"]["answer_marker"], "rewards": shipped["task"]["rewards"]},
            "experts": [{k: v for k, v in expert.items() if v} for expert in shipped["experts"]],
            "method": {"name": "darl", "questions_per_step": 2, "answers_per_prompt": 3, **method},
            "steps": 2,
            "sampling": {"max_tokens": 12},
            "evaluation": {"every": 100, "questions": 2, "samples": 2, "group": 2},
            "output": str(folder / "runs"),
        }
    )


def test_the_shipped_recipe_loads() -> None:
    found = load_recipe(ROOT / "recipes" / "free_form_darl.yaml")
    assert found.method.name == "darl"
    assert found.task["answer_marker"] == "####"


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("method", [{"name": "darl"}, {"name": "rlpr", "debias": "none"}, {"name": "rlpr"}], ids=str)
def test_free_form_answers_are_learnt_without_a_verifier(method: dict[str, str], tmp_path: Path) -> None:
    """Where rewards differ. RLPR's may all be 0 at once: where no reasoning makes the reference likelier than none."""
    its = recipe(tmp_path, made(tmp_path), **method)
    train(its)
    lines = [json.loads(line) for line in (its.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line.get("kind") == "train"]
    assert [line["rewards/exact_answer/mean"] for line in lines] == [0.0, 0.0]
    assert all(0 < line["rewards/reference_probability/mean"] < 1 for line in lines)
    assert all(line["reward_std"] > 0 for line in lines) or method == {"name": "rlpr"}
    assert all((line["trained_rows"] > 0) == (line["grad_norm"] > 0) == (line["reward_std"] > 0) for line in lines)
    assert lines[0]["trained_rows"] > 0
    assert all(line["groups/all_wrong"] == 1 for line in lines)


def test_answers_of_the_arithmetic_task_are_found_in_what_is_drawn(tmp_path: Path) -> None:
    """By the embedded model's own sampler, against a search in the characters, which are its tokens."""
    its = parse(
        {
            "name": "sums",
            "model": "tiny",
            "task": {"name": "arithmetic", "warmup": 1, "train": 6, "validation": 1, "test": 1},
            "method": {"name": "rlpr", "questions_per_step": 2},
            "sampling": {"max_tokens": 24},
            "output": str(tmp_path),
        }
    )
    loaded = load(its, "tiny")
    sampler = sampler_of(loaded)
    questions = loaded.questions["train"]
    asks = [Ask(Prompt(question, "plain"), 60, Decoding(max_tokens=24)) for question in questions]
    drawn = sampler.sample(asks, "0")
    found = 0
    for rollout in drawn:
        parts = rollout.text.split("#")
        if len(parts) == 2 and rollout.answer_span:
            start, stop = rollout.answer_span
            assert loaded.tokenizer.decode(list(rollout.ids[start:stop]), skip_special_tokens=True) == parts[1]
            found += 1
        else:
            assert len(parts) != 2 or not parts[1]
            assert rollout.answer_span == ()
    assert found > 5
    words = tokenizer().convert_tokens_to_ids
    for question in questions:
        assert question.marker_ids == (words("#"),)
        assert question.answer_ids == tuple(words(list(question.answer)))


def test_a_method_that_does_not_ask_gets_no_spans(tmp_path: Path) -> None:
    loaded = load(recipe(tmp_path, made(tmp_path), name="grpo"), str(tmp_path / "model"))
    assert sampler_of(loaded) is loaded.sampler
    assert all(q.answer_ids == () for q in loaded.questions["train"])


class Words:
    """A tokenizer that has a token for a space and the word behind it, and perhaps for marker and answer at once."""

    chat_template = None
    eos_token_id = 0

    def __init__(self, *tokens: str) -> None:
        self.tokens = ["<eos>", *tokens]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids = []
        while text:
            longest = max((t for t in self.tokens if text.startswith(t)), key=len)
            ids.append(self.tokens.index(longest))
            text = text[len(longest) :]
        return ids

    def decode(self, token_ids: Any) -> str:
        return "".join(self.tokens[i] for i in token_ids)

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("tokens", "marker", "answer"),
    [
        (("####", " ", "4", "2"), ("####", " "), ("4", "2")),
        (("####", " ", " 4", "4", "2"), ("####",), (" 4", "2")),
        (("####", "##", "#### 4", " ", "4", "2"), ("####", " "), ("4", "2")),
    ],
)
def test_where_the_gold_answer_begins(
    tokens: tuple[str, ...], marker: tuple[str, ...], answer: tuple[str, ...]
) -> None:
    words = Words(*tokens)
    renderer = Renderer(words, 99, form="#### {answer}")
    found = renderer.final_ids("42")
    assert tuple(tuple(words.tokens[i] for i in ids) for ids in found) == (marker, answer)


def test_a_question_without_a_gold_answer_is_told_before_weights_are_read(tmp_path: Path) -> None:
    its = parse(
        {
            "name": "sums",
            "model": "tiny",
            "task": {"name": "arithmetic", "warmup": 1, "train": 2, "validation": 1, "test": 1},
            "method": {"name": "rlpr"},
            "sampling": {"max_tokens": 24},
            "output": str(tmp_path),
        }
    )
    seen = preview(its)
    assert seen.question.answer_ids
    with pytest.raises(UserError, match="has no gold `answer`, whose probability is the reward of rlpr; add it"):
        check_needs(seen.recipe, replace(seen.task, splits={**seen.task.splits, "train": (Question("q", "q", ""),)}))


def test_a_task_without_a_mark_is_told(tmp_path: Path) -> None:
    seen = preview(recipe(tmp_path, made(tmp_path)))
    with pytest.raises(UserError, match="must know where an answer begins; take a task that has one"):
        answer_form(seen.recipe, replace(seen.task, answer_form="{answer}"))
