"""An analysis in a run's folder: read, shown on its page, and told in a sentence where it is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.made import asked
from manyminds.analysis.analyse import summary
from manyminds.analysis.asking import Plan
from manyminds.errors import UserError
from manyminds.report import build
from manyminds.report.exploration import Exploration, explored, in_words
from manyminds.report.read import load
from manyminds.sections import Sampling
from report.synthetic import write_demo
from report.test_page import Outline, sections

BEFORE = {"concise": ("rwww", "wwww", "wwwr"), "structured": ("wwww", "wwww", "rrrr")}
AFTER = {"concise": ("wwww", "rrww", "rrrr"), "structured": ("wwww", "wwww", "rrrr")}
STAGES = {"step": 20, "steps": 90, "entropy": [0.5, 0.25, 0.2], "accuracy": [0.1, 0.42, 0.45]}


def analysed(*labels: str) -> dict[str, Any]:
    models = [asked(label, its) for label, its in zip(labels, (BEFORE, AFTER), strict=False)]
    data = summary(models, Plan(questions=3, n=4), Sampling())
    data["models"][-1]["stages"] = {"found": True, "why": ""} | STAGES
    return json.loads(json.dumps(data))  # type: ignore[no-any-return]


def saved(run: Path, data: Any, split: str = "test") -> Path:
    file = run / "analysis" / split / "analysis.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(data))
    return file


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_demo(tmp_path_factory.mktemp("runs") / "demo", questions=12, updates=6)
    saved(folder / "meml_grpo", analysed("warmup", "<b>rl</b>"))
    saved(folder / "warmup", analysed("warmup") | {"set": "validation"}, "validation")
    return folder


def test_it_is_read_with_its_run(demo: Path) -> None:
    runs = load(demo)
    assert {arm.name: len(arm.explorations) for arm in runs.arms} == {
        "warmup": 1,
        "grpo_all_experts": 0,
        "meml_grpo": 1,
    }
    (found,) = runs.arms[-1].explorations
    assert found.curves == ("concise", "structured", "mean", "together")
    assert found.models[0].curves["concise"][2].value == pytest.approx(1 / 3)
    told = [(move.prompt, move.origin, len(move.solved), len(chance.solved)) for move, chance in found.moved()]
    assert told == [("concise", "warmup", 2, 1), ("structured", "warmup", 0, 0), ("together", "warmup", 1, 0)]


def test_the_page_shows_it(demo: Path) -> None:
    page = build(demo).read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert "b" not in outline.tags[outline.tags.index("nav") : outline.tags.index("section")]
    assert "exploration" in sections(page)
    part = page[page.index('<section id="exploration">') : page.index('<section id="configuration">')]
    assert part.count("<svg") == 2
    assert "MEML-GRPO, test questions" in part
    assert "validation questions</h3>" in part
    assert '<td class="gain">2 <span class="chance">(1)</span></td>' in part
    assert "&lt;b&gt;rl&lt;/b&gt;" in part
    assert "<b>rl" not in part
    assert "rising until step 20 of 90 (entropy 0.500 to 0.250, accuracy 10 to 42 %)" in part
    assert f"reach {100 * load(demo).arms[-1].explorations[0].reach:.0f} points to either side" in part
    assert "solved again" in part  # of the single model


def test_stages_in_words() -> None:
    found: Exploration = explored(analysed("old", "new"))
    assert found.sentences()[0] == "old: no two stages (no reinforcement learning in it)."
    assert found.sentences()[1] == in_words("new", found.models[1].stages)


def broken(data: dict[str, Any], *path: Any, value: Any = None) -> dict[str, Any]:
    """With another value at this place, or with nothing there."""
    its: Any = data
    for key in path[:-1]:
        its = its[key]
    if value is None:
        del its[path[-1]]
    else:
        its[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("questions",), None),
        (("points",), "many"),
        (("models",), []),
        (("models", 0, "pass_at", "concise", "2"), None),
        (("models", 1, "pass_at", "mean"), None),
        (("models", 1, "uncertainty", "concise"), None),
        (("models", 0, "uncertainty", "concise", "right", "entropy"), "x"),
        (("models", 0, "pass_at", "concise", "1", "value"), float("nan")),
        (("models", 1, "stages", "entropy"), [1.0]),
        (("unsolvable", 0), 3),
        (("unsolvable",), [{"from": "a"}]),
    ],
)
def test_what_is_broken_is_told_with_its_file(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    folder = write_demo(tmp_path / "demo", questions=6, updates=3)
    file = saved(folder / "meml_grpo", broken(analysed("old", "new"), *path, value=value))
    with pytest.raises(UserError, match="is not what `manyminds analyse` writes") as told:
        load(folder)
    assert str(file) in str(told.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_file_of_another_kind(tmp_path: Path, text: bytes) -> None:
    folder = write_demo(tmp_path / "demo", questions=6, updates=3)
    saved(folder / "meml_grpo", {}).write_bytes(text)
    with pytest.raises(UserError, match="is not what `manyminds analyse` writes"):
        load(folder)
