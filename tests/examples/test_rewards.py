"""The example rewards of every kind, run as the page on rewards says."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat_server import serving
from manyminds.config import load_recipe
from manyminds.loading import load_questions
from manyminds.records import Prompt, Question, Rollout, Scored
from manyminds.rewards import Judge, resolve
from manyminds.run import train
from manyminds.sections import RewardConfig
from manyminds.tasks import Task

ROOT = Path(__file__).parents[2]
TINY = ["model=tiny", "sampling.max_tokens=8", "steps=2", "evaluation.every=2", "evaluation.sampled_questions=1"]
GOOD, LONG, WRONG = "9*5=45\n65-45=20\n#### 20", "9*5=45\n65-45=20 " + "so " * 60 + "\n#### 20", "9*5=44\n#### 21"


@pytest.fixture(autouse=True)
def _as_the_reader_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the project's folder, with `PYTHONPATH=examples`."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


def task_of(recipe: str, *overrides: str) -> Task:
    return load_questions(load_recipe(recipe, overrides))[0]


def judged(its: Judge, *texts: str) -> tuple[Scored, ...]:
    return its([Rollout(Prompt(Question("q", "Ada …", "20"), "words"), (1,), (-0.1,), text) for text in texts])


def test_each_kind_gives_its_part() -> None:
    task = task_of("examples/rewards.yaml")
    its = Judge(task.rewards, task.extract)
    good, long, wrong = judged(its, GOOD, LONG, WRONG)
    assert good.parts == {"exact_answer": 1.0, "true_equations": 1.0, "short_enough": 1.0, "last_number": 1.0}
    assert long.parts == {
        "exact_answer": 1.0,
        "true_equations": 1.0,
        "short_enough": pytest.approx(0.3),
        "last_number": 1.0,
    }
    assert wrong.parts == {"exact_answer": 0.0, "true_equations": 0.0, "short_enough": None, "last_number": 0.0}
    # True equations are 1, 1, 0: their mean 2/3, their sample deviation sqrt(1/3).
    third = 0.2 * (1 / 3) / (3**-0.5 + 1e-6)
    assert [s.reward for s in (good, long, wrong)] == pytest.approx([1.2 + third, 1.13 + third, -2 * third])
    assert its.metrics["rewards/last_number/marked"] == 1.0
    assert its.metrics["rewards/short_enough/too_long"] == 0.5  # of the two that were asked


def test_they_pass_the_check_on_every_question() -> None:
    task = task_of("examples/rewards.yaml")
    questions = [question for split in task.splits.values() for question in split]
    assert Judge(task.rewards, task.extract).check(questions, task.answer_form) == ()


def test_the_recipe_trains(tmp_path: Path) -> None:
    result = train(load_recipe("examples/rewards.yaml", [*TINY, f"output={tmp_path}"]))
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"rewards/last_number/mean", "rewards/last_number/marked", "rewards/exact_answer/mean"} <= set(lines[0])


def test_an_llm_judges_right_answers() -> None:
    def grade(body: dict[str, Any]) -> str:
        (message,) = body["messages"]
        return f"It is there.\n{json.dumps({'score': 4 if '65-45' in message['content'] else 1})}"

    pytest.importorskip("openai")
    with serving(answer=grade) as server:
        rewards = yaml.safe_load(Path("examples/llm_judge.yaml").read_text())["rewards"]
        rewards[1]["url"] = server.url
        task = task_of("examples/llm_judge.yaml", f"rewards={json.dumps(rewards)}")
        its = Judge(task.rewards, task.extract)
        scored = judged(its, GOOD, "#### 20", WRONG)
        assert [s.parts["llm_judge"] for s in scored] == [0.75, 0.0, None]
        assert [s.reward for s in scored] == pytest.approx([1.225, 1.0, 0.0])
        questions = [question for split in task.splits.values() for question in split]
        assert its.check(questions, task.answer_form) == ()
    assert len(server.requests) == 2 + 12
    assert {request["model"] for request in server.requests} == {"gpt-4.1-mini"}


def test_a_reward_model_of_ones_own(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    import tiny

    tokenizer = tiny.tokenizer()
    tokenizer.save_pretrained(tmp_path)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    entry = {"name": "reward_model:reward_model", "model": str(tmp_path), "rows_at_once": 2, "as": "taste"}
    its = resolve(RewardConfig.model_validate(entry))
    assert (its.name, its.paid) == ("taste", True)
    scores = [s.parts["taste"] for s in judged(Judge([its], lambda text: text), "c1#2", "c11#22", "c1#2")]
    assert scores[0] == pytest.approx(scores[2])
    assert all(score is not None and 0 < score < 1 for score in scores)
    assert scores[0] != scores[1]


def test_theirs_know_nothing_of_ours() -> None:
    for file in ("examples/trl_reward.py", "examples/verl_reward.py"):
        assert "manyminds." not in Path(file).read_text(encoding="utf-8").partition('"""\n\n')[2]
    verl = runpy.run_path("examples/verl_reward.py")["compute_score"]
    assert verl("", "so 20", "20") == {"score": 1.0, "marked": 0.0}
    trl = runpy.run_path("examples/trl_reward.py")["short_enough"]
    assert trl(completions=["a" * 300], prompts=["x"]) == [0.5]
