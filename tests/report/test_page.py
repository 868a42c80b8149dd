"""The page: every section there, nothing live, nothing from elsewhere, and no crash where parts are missing."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from manyminds.errors import UserError
from manyminds.report import build
from report.synthetic import ABLATION, add_profile, write_demo

SECTIONS = (
    "results", "answers", "accuracy", "groups", "pairs", "buffer", "families", "overlap", "styles", "configuration",
)  # fmt: skip
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Outline(HTMLParser):
    """Ids, tag counts and nesting mistakes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("runs") / "demo", questions=24, updates=16, hostile=True)


@pytest.fixture(scope="module")
def page(demo: Path) -> str:
    path = build(demo, ablation=ABLATION)
    assert path == demo / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo, tmp_path / "demo"))


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', page)


def test_every_section_in_order(page: str) -> None:
    assert tuple(sections(page)) == SECTIONS


def test_well_formed_with_ids_that_are_unique_and_references_that_lead_somewhere(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {r.removeprefix("#") for r in outline.references} <= set(outline.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(outline.ids)


def test_nothing_comes_from_elsewhere(page: str) -> None:
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert all(reference.startswith("#") for reference in Outline(page).references)


def test_an_answer_is_text_whatever_it_holds(page: str) -> None:
    assert "&lt;script&gt;alert(" in page
    assert "script" not in Outline(page).tags


def test_figures_take_the_colours_of_the_page(page: str) -> None:
    outline = Outline(page)
    assert outline.tags.count("svg") == 5  # strip, accuracy, groups, buffer, styles
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--expert-0)" in drawn
    assert "var(--plain)" in drawn
    assert not re.search(r"#0[01]0[0-9]0[0-9]", drawn)  # no marker colour is left
    assert "DejaVu" not in drawn
    assert "<style" not in drawn


def test_twelve_questions_with_all_prompts(page: str) -> None:
    articles = re.findall(r"<article.*?</article>", page, flags=re.DOTALL)
    assert len(articles) == 12
    assert 'class="top rescued"' in articles[0]
    assert "rescued under" in articles[0]
    assert 'class="top forgotten"' in articles[1]
    assert "forgotten under" in articles[1]
    for article in articles:
        # four prompts, each before, after GRPO and after MEML-GRPO, with a symbol
        assert article.count("✓") + article.count("✗") == 12
        assert article.count('class="style"') == 12


def test_caption_says_what_the_intervals_are(page: str) -> None:
    assert "95 % bootstrap intervals over questions, not over seeds" in page


def test_numbers_of_the_table(demo: Path, page: str) -> None:
    metrics = json.loads((demo / "meml_grpo" / "result.json").read_text())["metrics"]
    table = page[page.index('<table class="results">') : page.index("</table>")]
    row = next(r for r in table.split("<tr") if ">oracle<" in r)
    assert f"<td>{100 * metrics['oracle']['value']:.1f}<small>" in row


def test_ablation_is_left_out_where_there_is_none(copy: Path) -> None:
    text = build(copy).read_text(encoding="utf-8")
    assert "committed ablation" not in text
    assert tuple(sections(text)) == SECTIONS


def test_ablation_of_one_seed_has_no_interval(copy: Path) -> None:
    single = {"outcome": "mean", "differences": [4.0], "difference": 4.0, "low": None, "high": None, "seeds": 1}
    text = build(copy, ablation=single).read_text(encoding="utf-8")
    assert "(1 seed)" in text


def test_one_run_folder_and_out(copy: Path, tmp_path: Path) -> None:
    out = build(copy / "grpo_all_experts", tmp_path / "elsewhere" / "page.html")
    text = out.read_text(encoding="utf-8")
    assert out == tmp_path / "elsewhere" / "page.html"
    assert "pairs" not in sections(text)
    assert "buffer" not in sections(text)
    assert "Before RL" in text


def test_a_run_that_is_still_going(copy: Path) -> None:
    for name in ("result.json", "evaluation/after.json", "versions.json"):
        (copy / "meml_grpo" / name).unlink()
    text = build(copy).read_text(encoding="utf-8")
    assert "MEML-GRPO is not finished: 16 steps are recorded" in text
    assert "accuracy" in sections(text)
    assert "<article" not in text


@pytest.mark.parametrize(
    "missing", ["recipe.yaml", "metrics.jsonl", "evaluations.jsonl", "versions.json", "result.json", "evaluation"]
)
def test_any_part_may_be_missing(copy: Path, missing: str) -> None:
    for arm in ("warmup", "grpo_all_experts", "meml_grpo"):
        path = copy / arm / missing
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    text = build(copy).read_text(encoding="utf-8")
    assert Outline(text).open == []
    assert "configuration" in sections(text)


def test_warmup_alone(copy: Path) -> None:
    for arm in ("grpo_all_experts", "meml_grpo"):
        shutil.rmtree(copy / arm)
    text = build(copy).read_text(encoding="utf-8")
    assert "no reinforcement learning has been run" in text
    assert sections(text) == ["results", "accuracy", "families", "overlap", "styles", "configuration"]


def test_one_expert_without_styles_or_families(copy: Path) -> None:
    for path in copy.glob("*/evaluation/*.json"):
        found = json.loads(path.read_text()) | {"experts": ["concise"]}
        found["metrics"] = {k: v for k, v in found["metrics"].items() if not k.startswith("styles/")}
        for answer in found["answers"]:
            answer.pop("family")
            answer["greedy"] = {p: answer["greedy"][p] | {"style": ""} for p in ("plain", "concise")}
        path.write_text(json.dumps(found))
    text = build(copy).read_text(encoding="utf-8")
    assert "styles" not in sections(text)
    assert "families" not in sections(text)
    assert "overlap" in sections(text)


def test_a_recipe_alone(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: <b>started</b>\n")
    text = build(tmp_path).read_text(encoding="utf-8")
    assert "has not taken a step yet" in text
    assert "&lt;b&gt;started&lt;/b&gt;" in text


def test_where_the_time_went(copy: Path) -> None:
    """Only where a run was profiled: after everything else, a bar an arm and a table an arm."""
    assert "Where the time went" not in build(copy).read_text(encoding="utf-8")
    add_profile(copy / "meml_grpo")
    one = build(copy).read_text(encoding="utf-8")
    assert tuple(sections(one)) == (*SECTIONS[:-1], "time", SECTIONS[-1])
    assert '<a href="#time">where the time went</a>' in one
    section = one[one.index('<section id="time">') : one.index('<section id="configuration">')]
    assert section.count("<table") == 1
    assert section.count('class="inner"') == 5
    assert "var(--accent)" in section
    assert not re.search(r"#0[01]0[0-9]0[0-9]", section)
    assert ">decode" in section
    add_profile(copy / "grpo_all_experts")
    both = build(copy).read_text(encoding="utf-8")
    section = both[both.index('<section id="time">') : both.index('<section id="configuration">')]
    assert section.count("<table") == 2
    outline = Outline(both)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        build(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_without_matplotlib(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r'pip install "manyminds\[demo\]"'):
        build(copy)


def test_same_page_twice(copy: Path, page: str) -> None:
    assert build(copy, ablation=ABLATION).read_text(encoding="utf-8") == page
