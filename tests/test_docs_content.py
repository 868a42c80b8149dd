"""papers.md and glossary.md are held to the source: fields and their defaults, records, shapes, metrics."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from manyminds import batch, objective, records
from manyminds.clock import Clock
from manyminds.config import parse
from manyminds.limits import Limits, Shape
from manyminds.methods import METHODS, build, find
from manyminds.methods.cispo import CISPO
from manyminds.methods.compose import Composed
from manyminds.methods.external import ExternalTraces
from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.metrics import of_groups, of_rollouts
from manyminds.profiling import PARTS, Profiler
from manyminds.records import PLAIN, Answers, Group, Progress, Prompt, Question, Rollout, Scored, SpanScore, Trace
from manyminds.rewards import Judge, reward
from manyminds.run import train
from manyminds.warmup import warmup
from pages import PAGES, ROOT, code, section, table_rows
from test_step import step
from toy import EXPERTS

# papers.md


@cache
def default_of(method: str, preset: str) -> dict[str, Any]:
    spec = {"name": method} | ({"preset": preset} if preset else {})
    return build(spec).model_dump(mode="json", by_alias=True)


def own_fields(method: str) -> set[str]:
    """The fields that a method declares itself; GRPO's include none of those that all methods share."""
    return set(find(method).__annotations__) & set(find(method).model_fields) - {"name"}


@pytest.mark.parametrize("method", METHODS)
def test_papers_lists_every_field_with_its_default(method: str) -> None:
    rows = table_rows(section("papers.md", f"## {method}"))
    heads = [i for i, row in enumerate(rows) if row[0] == "field"]
    columns = [code(cell)[0] if code(cell) else "" for cell in rows[heads[0]][1:-1]]
    told = {code(row[0])[0]: row[1:-1] for row in rows[heads[0] + 1 :] if row[0].startswith("`")}
    assert set(told) == own_fields(method)
    for name, cells in told.items():
        for preset, cell in zip(columns, cells, strict=True):
            assert yaml.safe_load(code(cell)[0]) == default_of(method, preset)[name], (name, preset)


def test_papers_lists_the_fields_that_all_share() -> None:
    _, _, rest = PAGES["papers.md"].partition("| field |")
    told = {code(row[0])[0]: code(row[1])[0] for row in table_rows(rest[: rest.index("\n## ")]) if code(row[0])}
    shared = {name: default for name, default in default_of("grpo", "").items() if name not in own_fields("grpo")}
    assert {name: yaml.safe_load(value) for name, value in told.items()} == {
        name: default for name, default in shared.items() if name not in ("name", "with")
    }


def test_papers_lists_the_fields_that_methods_with_traces_share() -> None:
    rows = table_rows(section("papers.md", "## Methods that learn from traces"))
    told = {code(row[0])[0]: yaml.safe_load(code(row[1])[0]) for row in rows if code(row[0])}
    shared = set(ExternalTraces.__annotations__) & set(ExternalTraces.model_fields)
    assert told == {name: default for name, default in default_of("rl_plus", "").items() if name in shared}


def test_papers_settles_every_ambiguity() -> None:
    text = section("papers.md", "### Ambiguities")
    assert re.findall(r"^\*\*(\w+)\. ", text, re.MULTILINE) == ["A", "A2", "B", "C", "D", "E", "F", "G", "H", "I", "J"]
    settled = re.findall(r"`(\w+)`(?: is the printed one| is ours)?\s+→\s+`([^`]+)`\s+/\s+`([^`]+)`", text)
    assert {name for name, _, _ in settled} >= own_fields("meml_grpo") - {"preset", "hard_reduction"}
    for name, published, tuned in settled:
        if name in own_fields("meml_grpo"):
            assert yaml.safe_load(published) == default_of("meml_grpo", "published")[name], name
            assert yaml.safe_load(tuned) == default_of("meml_grpo", "tuned")[name], name


@pytest.mark.parametrize("method", METHODS)
def test_papers_cites_the_paper(method: str) -> None:
    source = f"https://arxiv.org/abs/{find(method).arxiv}" if find(method).arxiv else "[beyond.md](beyond.md)"
    assert source in section("papers.md", f"## {method}")


# glossary.md


def test_the_glossary_lists_every_record_with_its_fields() -> None:
    told = {
        code(row[0])[0]: set(code(row[2])) for row in table_rows(section("glossary.md", "## Records")) if code(row[0])
    }
    classes = [c for module in (records, batch, objective) for c in vars(module).values() if isinstance(c, type)]
    ours = [c for c in classes if c.__module__ in (records.__name__, batch.__name__, objective.__name__)]
    expected = {c.__name__: {f.name for f in fields(c)} if is_dataclass(c) else set() for c in ours}
    assert "Environment" in expected
    assert told.keys() == expected.keys()
    assert {name: its - told[name] for name, its in expected.items() if its - told[name]} == {}
    known = {*expected, *(name for its in expected.values() for name in its), PLAIN}
    assert {name for its in told.values() for name in its} - known == set()


def test_the_glossary_knows_the_letters_of_shapes() -> None:
    letters = {
        code(row[0])[0] if code(row[0]) else row[0]
        for row in table_rows(section("glossary.md", "## Letters of shapes"))
    }
    shapes = [
        shape
        for path in (ROOT / "src").rglob("*.py")
        for shape in re.findall(r'(?:Float|Int|Bool)\[Tensor, "([^"]*)"\]', path.read_text(encoding="utf-8"))
    ]
    used = {letter.strip("*#") for shape in shapes for letter in shape.split()} - {"1", "any"}
    assert {"B", "T", "V", "K"} <= used
    assert used - letters == set()


def glossary_metrics() -> dict[str, re.Pattern[str]]:
    """Every metric on the page, as a pattern in which `<name>` stands for anything without a slash."""
    names = [code(row[0])[0] for row in table_rows(section("glossary.md", "## Metrics")) if code(row[0])]
    return {name: re.compile(re.sub(r"<\w+>", "[^/]+", re.escape(name).replace(r"\-", "-"))) for name in names}


def answered(question: Question, expert: str, rewards: list[float]) -> Answers:
    prompt = Prompt(question, expert)
    ids = [(5, 6, 7 + i) for i in range(len(rewards))]
    rollouts = [Rollout(prompt, i, (-0.5,) * 3, "x", entropies=(0.1,) * 3) for i in ids]
    return Answers(prompt, tuple(Scored(o, r, {"exact": r}) for o, r in zip(rollouts, rewards, strict=True)))


def toy_groups() -> tuple[Group, ...]:
    traces = {
        name: Trace("", name, (i, 5, 6), 1.0, reasoning_ids=(i,), reference_ids=(5,))
        for i, name in enumerate(("one", "two", "three"))
    }
    prompts = dict.fromkeys(("one", "two", PLAIN), (1,))
    question = Question("q", "1+1", "2", traces=traces, prompt_ids=prompts, solution_ids=(5, 6))
    rows = {"one": [1.0, 1.0, 0.0, 0.0], "two": [0.0] * 4}
    return (Group(question, tuple(answered(question, name, its) for name, its in rows.items())),)


def logging_reward(response: str) -> tuple[float, dict[str, float]]:
    return 1.0, {"length": float(len(response))}


def emitted_by_toys() -> set[str]:
    """Metrics of groups, rewards, and every method's lesson on one question."""
    groups = toy_groups()
    rollouts = [s.rollout for a in groups[0].answers for s in a.scored]
    judge = Judge([reward(logging_reward)], lambda text: text)
    judge(rollouts)
    names = {*of_groups(groups), *of_rollouts(rollouts), *judge.metrics}
    for name in METHODS:
        part = find(name).ask is Method.ask
        spec = {"name": "grpo", "with": [{"name": name}]} if part else {"name": name}
        method = Composed(build({**spec, "experts": ("one", "two")}))
        memory, progress = method.initial_memory(), Progress(1, 0.0)
        scores = {span.key: SpanScore((-1.0,) * len(span.ids)) for span in method.wants(groups)}
        credited = method.credit(method.shape(groups, scores, memory, progress), memory, progress)
        lesson = method.learn(credited, scores, memory, Random(0), progress)
        names |= {*lesson.metrics}
    return names


def emitted_by_updates() -> set[str]:
    """Metrics of a step with several updates."""
    methods = (GRPO(experts=EXPERTS, minibatches=2), CISPO(experts=EXPERTS))
    return {name for method in methods for name in step(method)[-1]}


def emitted_by_profiling() -> set[str]:
    """Metrics of a step that was timed, all its parts told."""
    parts = Clock()
    parts.seconds |= dict.fromkeys(PARTS, 1.0)
    parts.kept |= {"drawn": [()], "trained": [()]}
    profiler = Profiler(Shape(1, 1, 1, 1, 1, 1, 1), Limits("cpu", "float32", 1, 1.0, 1.0))
    return {*profiler.metrics(parts, {})}


def emitted_by_runs(folder: Path) -> set[str]:
    """Metrics in the files of a warm-up and a training run."""
    recipe = parse(
        {
            "name": "tiny",
            "model": "tiny",
            "task": {"name": "arithmetic", "warmup": 6, "train": 6, "validation": 2, "test": 2},
            "warmup": {
                "steps": 2,
                "rows_per_step": 4,
                "evaluate_every": 1,
                "optimizer": {"schedule": {"decay_steps": 1}},
            },
            "method": {"name": "meml_grpo", "questions_per_step": 2, "answers_per_prompt": 2}
            | {"hard_wrong": 1, "hard_capacity": 2, "hard_probability": 1.0},
            "rewards": ["partly:even"],
            "steps": 2,
            "sampling": {"max_tokens": 8},
            "evaluation": {"every": 1, "samples": 2, "group": 2},
            "output": str(folder),
        }
    )
    warmup(recipe)
    train(recipe)
    names: set[str] = set()
    for file in folder.rglob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            names |= {*values["metrics"]} if file.name == "evaluations.jsonl" else {*values}
    for file in folder.rglob("result.json"):
        values = json.loads(file.read_text(encoding="utf-8"))
        names |= {*values["metrics"], *values} - {"name", "arm", "seed", "metrics"}
    return names


def test_the_glossary_lists_every_metric_and_no_other(tmp_path: Path) -> None:
    emitted = emitted_by_toys() | emitted_by_updates() | emitted_by_profiling() | emitted_by_runs(tmp_path)
    patterns = glossary_metrics()
    assert {"mutual/pairs/one->two", "loss/hard", "loss/trace", "verified/answers", "pass_at_2"} <= emitted
    assert {name for name in emitted if not any(p.fullmatch(name) for p in patterns.values())} == set()
    assert {name for name, p in patterns.items() if not any(p.fullmatch(e) for e in emitted)} == set()
