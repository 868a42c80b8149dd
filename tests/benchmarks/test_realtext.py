"""benchmarks/realtext.py at no size: from questions and random weights to a figure, and on from where it stopped."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

Load = Callable[[str], ModuleType]
TEXTS = (
    ("Tom had {} pens and {} cups. If he lost {} of them, how many were left?", "(({}.0+{}.0)-{}.0)"),
    ("There are {} boxes with {} pens. {} boxes were lost. How many pens are left?", "(({0}.0-{2}.0)*{1}.0)"),
    ("{} pens were shared by {} boys, who had {} dollars. How many did each get?", "({0}.0/{1}.0)"),
    ("Tom took {} pens. Tom took {} more and {} cups. How many pens does he have?", "({0}.0+{1}.0)"),
)
SMALL = [
    *("warmup.steps=3", "warmup.rows_per_step=4", "warmup.optimizer.schedule.decay_steps=1"),
    *(
        "warmup.evaluate_every=2",
        "steps=2",
        "sampled_tokens=100000",
        "sampling.max_tokens=4",
        "engine.precision=float32",
    ),
    *("evaluation={every: 2, questions: 2, samples: 2, group: 2}", "checkpoint.every=1"),
]


def written(folder: Path, count: int) -> Path:
    """A folder of made-up questions in the form of the real ones."""
    rng = random.Random(0)
    for name in ("multiarith", "svamp"):
        lines: list[dict[str, Any]] = []
        while len(lines) < count:
            text, equation = TEXTS[len(lines) % len(TEXTS)]
            three = rng.sample(range(10, 90), 3)
            filled = equation.format(*three)
            answer = eval(filled)
            if answer > 0 and answer == int(answer):
                question = text.format(*three)
                its = {"id": f"{name}-{len(lines)}", "question": question, "answer": str(int(answer))}
                lines.append({**its, "equation": filled})
        (folder / name).mkdir(parents=True)
        for part, its_lines in (("train", lines[: count * 3 // 4]), ("dev", lines[count * 3 // 4 :])):
            file = folder / name / f"{part}.jsonl"
            file.write_text("".join(f"{json.dumps(line)}\n" for line in its_lines), encoding="utf-8")
    return folder


def test_the_tokenizer_reads_words_and_digits(load: Load) -> None:
    words = load("word_model").tokenizer(["Tom had pens, pens and a pen", "had and,"], ["Answer in steps."])
    ids = words("Had TOM 12 pens?\n#### 3051")["input_ids"]
    assert words.convert_ids_to_tokens(ids) == ["had", "<unk>", "12", "pens", "<unk>", "\n", "####", "305", "1"]
    for text in ("a=3+2\nb=6-a\n####b", "####(898051-2)*7/1", "####2,3,+,0,05,-"):
        assert words.decode(words(text)["input_ids"]) == text
    chat = [{"role": "system", "content": "Answer in steps."}, {"role": "user", "content": "pens and pens"}]
    ids = words.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert words.convert_ids_to_tokens(ids) == ["<bos>", "answer", "in", "steps", ".", "pens", "and", "pens", "="]


def test_guesses(load: Load) -> None:
    data, problems = load("realtext_data"), load("word_problems")
    tree = problems.parse("(9.0-4.0)*2.0")
    plan = data.by_place(tree, "4 of 9 were lost, 2 for each")
    assert plan == "((n1-n0)*n2)"
    assert data.by_place(tree, "4 of 9 and 4, 2 for each") == ""
    assert data.worked_out(plan, "3 of 13 were lost, 12 for each") == "120"
    assert data.worked_out(plan, "3 of 13") == ""
    assert data.worked_out("(n0-n1)", "3 of 13") == ""
    assert data.worked_out("(n0/n1)", "3 of 0") == ""


def test_the_script_from_end_to_end(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    realtext, data = load("realtext"), load("realtext_data")
    source, work, out = written(tmp_path / "source", 48), tmp_path / "work", tmp_path / "out.json"
    sizes = data.Sizes(validation=4, warmup_share=0.5, generated=20, per_question=1, sums=9)
    settings: dict[str, Any] = {
        "sizes": sizes,
        "model": {"hidden": 64, "layers": 1, "inner": 32},
        "overrides": SMALL,
    }
    found = realtext.measure(source, [3], 3, work, 1, "a command", out, **settings)
    assert json.loads(out.read_text(encoding="utf-8")) == found
    assert found["sets"]["test_texts_in_training"] == 0
    assert found["before"].keys() == {"0"}
    assert [*found["cells"]["grpo"]] == [*found["cells"]["meml_grpo"]] == ["3"]
    for one in (found["before"]["0"], found["cells"]["meml_grpo"]["3"]):
        assert one["accuracy"]["both"].keys() == {"plain", "equation", "program", "postfix", "mean"}
        assert sum(its["questions"] for its in one["by_template"].values()) == 24
    assert found["cells"]["grpo"]["3"]["sampled_tokens"] > 0
    assert found["differences"]["both"]["meml_grpo - grpo"]["differences"] == [0.0]  # nobody knows anything yet
    assert str(tmp_path) not in json.dumps(found)

    monkeypatch.setattr(realtext, "warmup", None)  # nothing is run twice
    again = realtext.measure(source, [3], 3, work, 1, "a command", None, **settings)
    assert again["cells"] == found["cells"]
    realtext.draw(found, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    console = Console(record=True, width=140)
    realtext.show(found, console)
    assert "MEML-GRPO, seed 3" in console.export_text()

    tables = load("realtext_page").markdown(found)
    accuracy = found["cells"]["grpo"]["3"]["accuracy"]["svamp"]["mean"]
    assert f"| GRPO on all experts | 3 | 0.0 [0, 0] | {100 * accuracy['value']:.1f} [" in tables
    assert tables.count("| MEML-GRPO |") == 4  # a row for the seed, and one in each of three other tables


def test_the_page_shows_the_committed_results(load: Load) -> None:
    page = load("realtext_page")
    text = (Path(__file__).parents[2] / "docs" / "realtext.md").read_text(encoding="utf-8")
    assert page.markdown(json.loads(page.RESULTS.read_text(encoding="utf-8"))) in text
