"""Recipes, overrides and comparisons with mistakes of every kind: accepted, or one sentence with file, line or key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from fuzzing import as_json, fuzz, misspelt, paths, plain_values, refused, spoilt, torn, values, words
from manyminds.comparison import load_comparison, plan
from manyminds.config import load_recipe
from manyminds.errors import UserError
from manyminds.loading import resolve

ROOT = Path(__file__).parents[2]
SMALL = {"name": "arithmetic", "warmup": 6, "train": 6, "validation": 3, "test": 3}
ROWS = [{"id": f"q{i}", "question": f"{i}+{i}", "answer": str(2 * i), "solution": f"so {2 * i}"} for i in range(20)]
TRACES = [{"id": f"q{i}", "expert": "equations", "solution": f"#### {2 * i}", "correct": True} for i in range(20)]
TRACES += [{**one, "expert": "words"} for one in TRACES]


def whole(name: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / name).read_text(encoding="utf-8")) | changes
    return found


EVERY_KEY: dict[str, Any] = {
    "name": "mine",
    "seed": 3,
    "model": "tiny",
    "task": SMALL,
    "rewards": [{"name": "exact_answer", "weight": 0.5}, {"name": "number_answer", "as": "n", "gate": "exact_answer"}],
    "judge": {"deadline": 5.0, "memory_gib": 1.0, "workers": 1, "on_error": "skip", "max_error_rate": 0.2},
    "experts": [{"name": "a", "system": "You are a."}, {"name": "b", "system": None, "teacher": "c"}],
    "method": {"name": "grpo", "experts": ["a", "plain"], "with": [{"name": "dr_grpo"}], "clip_low": 0.1},
    "steps": 5,
    "sampled_tokens": 1000,
    "sampling": {"temperature": 0.9, "max_tokens": 20, "stop": ["\n"]},
    "engine": {"precision": "float32", "answers_at_once": 8, "tokens_at_once": 64, "gradient_checkpointing": True},
    "lora": {"rank": 2, "alpha": 4, "target_modules": ["q_proj"]},
    "checkpoint": {"every": 2, "keep": 1, "keep_best": True},
    "profile": True,
    "loggers": [],
    "chat_template_kwargs": {"enable_thinking": False},
    "arm": "x",
    "output": "runs",
}
JSONL = {"name": "jsonl", "questions": "q.jsonl", "experts_file": "t.jsonl", "answer_marker": "####"}
WHOLE = (
    whole("demo.yaml", task=SMALL),
    EVERY_KEY,
    whole("jsonl_example.yaml", task={**JSONL, "columns": {"answer": {"column": "solution", "after": "so"}}}),
    whole(
        "jsonl_example.yaml", task={**JSONL, "shares": {"warmup": 0.4, "train": 0.4, "validation": 0.1, "test": 0.1}}
    ),
    whole("collect_example.yaml", task={"name": "jsonl", "questions": "q.jsonl"}),
)
COMPARISON = whole("ablation_arithmetic.yaml", base="base.yaml", seeds=[1, 2], results="results")
FEW = ("mef", "grpo_all_experts", "meml_tuned", "mef_longer")
COMPARISON["arms"] = {name: COMPARISON["arms"][name] for name in FEW}
COMPARISON["arms"] |= {"hsft": {"method": {"name": "meml_grpo", "hard_coefficient": 0}, "seeds": [1]}}
COMPARISON |= {
    "controls": [],
    "levels": {"demo": {}, "weak": {"warmup": {"decay_at": 0.1}, "arms": ["mef", "meml_tuned"]}},
}


def lay_out(place: Path) -> None:
    """The files that the recipes name."""
    if not (place / "q.jsonl").exists():
        (place / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        (place / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TRACES))


def read(file: Path, *overrides: str) -> None:
    resolve(load_recipe(file, overrides))


def written(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_what_the_others_are_made_from_is_valid(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path)
    (tmp_path / "r.yaml").write_text(written(WHOLE[number]))
    assert refused(lambda: read(tmp_path / "r.yaml")) is None


@fuzz("recipe keys", spoilt(st.sampled_from(WHOLE), most=3))
def test_keys(case: tuple[Any, list[str]], place: Path) -> None:
    """Keys that are gone, misspelt, new, or hold something else."""
    lay_out(place)
    data, touched = case
    (place / "r.yaml").write_text(written(data), encoding="utf-8")
    # What a resolved recipe is refused for may be told by its key alone.
    refused(lambda: read(place / "r.yaml"), "r.yaml", "q.jsonl", "t.jsonl", *KEYS, *touched)


KEYS = ("task", "method", "experts", "warmup", "collect")


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    made: bytes = draw(torn(written(draw(st.sampled_from(WHOLE))).encode()))
    return made


@fuzz("recipe bytes", texts())
def test_bytes(data: bytes, place: Path) -> None:
    """Recipes that were cut off, flipped, or saved in another encoding."""
    lay_out(place)
    (place / "r.yaml").write_bytes(data)
    refused(lambda: read(place / "r.yaml"), "r.yaml", "q.jsonl", "t.jsonl", *KEYS)


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    found = []
    for _ in range(draw(st.integers(1, 2))):
        keys = [".".join(map(str, path)) for one in WHOLE for path in paths(one)]
        key = draw(st.sampled_from(keys))
        how = draw(st.sampled_from(["known", "known", "misspelt", "deeper", "any", "none"]))
        key = {"misspelt": misspelt(draw, key), "deeper": f"{key}.{draw(words)}", "any": draw(words)}.get(how, key)
        value = draw(st.one_of(values.map(as_json), words, st.sampled_from(VALUES), plain_values.map(str)))
        found.append(key if how == "none" else f"{key}={value}")
    return found


VALUES = (
    *("2020-13-45", "0x", "0b", "1_", "!!int x", "!!bool x", "!!timestamp x", "!!float x", "!!python/object:os.x y"),
    *(
        "&a [*a]",
        "&a {b: *a}",
        "{a: 1, a: 2}",
        "[",
        "{",
        '"',
        "- x",
        "a: b",
        "<<: 1",
        "*a",
        "? [a]",
        "{[a]: b}",
        "=",
        "%",
    ),
    *(
        "9" * 5000,
        "[" * 3000,
        "'\\0'",
        '"\\0"',
        '"\\ud800"',
        "1e400",
        ".inf",
        "-.inf",
        ".nan",
        "~",
        "1:2:3",
        "\t",
        "@x",
    ),
)


@fuzz("overrides", overrides())
def test_overrides(given: list[str], place: Path) -> None:
    """`key=value` of any shape."""
    lay_out(place)
    file = place / "r.yaml"
    if not file.exists():
        file.write_text(written(EVERY_KEY))
    refused(lambda: read(file, *given), "override", "r.yaml", "q.jsonl", "t.jsonl", *KEYS)


@fuzz("comparisons", spoilt(st.just(COMPARISON), most=2))
def test_comparisons(case: tuple[Any, list[str]], place: Path) -> None:
    """The file of `manyminds compare`."""
    if not (place / "base.yaml").exists():
        (place / "base.yaml").write_text(written(WHOLE[0]))
    (place / "c.yaml").write_text(written(case[0]), encoding="utf-8")
    refused(lambda: plan(*load_comparison(place / "c.yaml")), "c.yaml", str(place), "arm", "levels", "outcome")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: 1\nsteps: 2", "r.yaml:2: is not valid YAML: the key 'steps' is there twice; take one out"),
        ("name: x\nsteps: 2020-13-45", "r.yaml:2: is not valid YAML: '2020-13-45' is not what it looks like"),
        ("name: x\ntask: &a {name: *a}", "r.yaml:2: is not valid YAML: *a stands inside of &a itself"),
        (f"name: {'[' * 80}{']' * 80}", "r.yaml:1: is not valid YAML: it is nested deeper than 64 levels"),
        (
            "name: x\nseed: 9223372036854775808",
            "r.yaml:2: is not valid YAML: 9223372036854775808 is too large a number",
        ),
        ('name: "a\\0"', "r.yaml:1: is not valid YAML: text may not hold the character NUL"),
        ('model: "\\ud800"', "r.yaml:1: is not valid YAML: text may not hold half a character (\\ud800)"),
        ("name: \x01", "r.yaml:1: is not valid YAML: special characters are not allowed"),
        ("- a", "r.yaml: holds no keys; a recipe starts with lines such as"),
    ],
)
def test_what_a_yaml_reader_lets_through_or_stumbles_over(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_recipe(tmp_path / "r.yaml")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.its=1", "task.its: arithmetic has no such key"),
        ("task.recipe_rewards=1", "task.recipe_rewards: arithmetic has no such key"),
        ("task.families=[1]", "task.families: input should be a valid dictionary, not [1]"),
        (
            "task.families={addition: x}",
            'task.families.addition: input should be a valid number, not {"addition": "x"}',
        ),
        ("task.train=many", 'task.train: input should be a valid integer, not "many"'),
        ("method.with=5", "method.with: input should be a valid tuple, not 5"),
        ("method={name: meml_grpo, preset: [a]}", "method.preset: input should be 'published' or 'tuned', not ['a']"),
        ("optimizer.lr=.inf", "optimizer.lr: input should be a finite number, not inf"),
        ("method.clip_low=.inf", "method.clip_low: input should be a finite number, not inf"),
        (f"name={'x' * 300}", "is too long to name a run's folder; give a shorter name"),
        (f"output={'x/' * 600}", "is too long to name a run's folder; give a shorter name"),
        (
            "sampling.stop=2020-13-45",
            "override 'sampling.stop=2020-13-45': is not valid YAML: '2020-13-45' is not what it looks",
        ),
        ("experts.0.name=x", "experts holds ["),
    ],
)
def test_mistakes_that_once_were_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(written(EVERY_KEY))
    with pytest.raises(UserError) as error:
        read(tmp_path / "r.yaml", override)
    assert said in str(error.value)
    assert len(str(error.value)) < 500


def test_a_word_that_would_fill_the_screen_is_cut() -> None:
    sentence = str(UserError(f"there is no '{'x' * 5000}'; name another one"))
    assert sentence == f"there is no '{'x' * 199}…x'; name another one"
