"""The judge that a script makes: its rule, its data, and that the shipped recipe trains with what it writes."""

from __future__ import annotations

import json
import runpy
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

from manyminds.config import load_recipe
from manyminds.run import train

ROOT = Path(__file__).parents[2]
tiny_judge = SimpleNamespace(**runpy.run_path(str(ROOT / "examples" / "tiny_judge.py")))


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("#41r3", True),
        ("c3/9=0r3#9\nd20:192#41r3", True),
        ("# four one remainder three", True),
        ("#4 1 r3", True),
        ("41r3", False),
        ("#41r3#41r3", False),
        ("#41r3\n#41", False),
        ("#41", False),
        ("#41r30", False),
        ("#four one", False),
        ("", False),
    ],
)
def test_the_rule(response: str, right: bool) -> None:
    assert tiny_judge.oracle(response, "four one remainder three") == right


def test_prompts_are_labelled_by_the_rule_and_half_of_them_are_right() -> None:
    its = list(islice(tiny_judge.rows(0), 600))
    for prompt, begins in its:
        response, _, reference = prompt.partition("|")
        assert begins[-1] == tiny_judge.oracle(response, reference)
        assert begins == sorted(begins, reverse=True)  # what begins otherwise does not come right again
        assert len(begins) == len(reference.split()) + 1
    assert 0.4 < sum(begins[-1] for _, begins in its) / len(its) < 0.6
    assert any(begins[-2] and not begins[-1] for _, begins in its)  # one that goes on after what is right


@pytest.mark.usefixtures("quiet")
def test_the_shipped_recipe_trains_with_the_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 <= tiny_judge.taught(tmp_path / "judge", steps=2) <= 1
    rows = tiny_judge.questions()
    assert rows[1]["question"] == "372/9"
    assert rows[1]["answer"] == "four one remainder three"
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    few = ["steps=1", "method.questions_per_step=2", "sampling.max_tokens=8", "evaluation.sampled_questions=2"]
    few += [f"task.questions={tmp_path / 'questions.jsonl'}", f"output={tmp_path}"]
    few += ["evaluation.questions=2", "task.shares={train: 0.9, validation: 0.05, test: 0.05}"]
    text = (ROOT / "recipes" / "reward_bridge_arithmetic.yaml").read_text(encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace("model: runs/tiny_judge", f"model: {tmp_path / 'judge'}"), encoding="utf-8")
    its = load_recipe(path, few)
    assert (its.name, its.method.name) == ("reward_bridge", "reinforce")
    folder = train(its).folder
    kept = [json.loads(line) for line in (folder / "judgments.jsonl").read_text(encoding="utf-8").splitlines()]
    assert 0 < len(kept) <= 16
    assert all(row["reference"] == tiny_judge.spelled(tiny_judge.said(f"#{row['reference']}") or "") for row in kept)
