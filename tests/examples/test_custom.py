"""The example files of a user: the data and its recipe, a method and a part, a reward. Each is run."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from manyminds.config import load_recipe
from manyminds.errors import UserError
from manyminds.loading import load_questions
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.records import Answers, Group, Progress, Prompt, Question, Rollout, Scored
from manyminds.rewards import Judge
from manyminds.run import train
from manyminds.step import by_question
from pages import FENCE, section

ROOT = Path(__file__).parents[2]
NOW = Progress(1, 0.0)
TINY = ["model=tiny", "sampling.max_tokens=8", "steps=2", "evaluation.every=2", "evaluation.sampled_questions=1"]


@pytest.fixture(autouse=True)
def _as_the_reader_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the project's folder, with `PYTHONPATH=examples`."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


def composed(*parts: dict[str, Any], **fields: Any) -> Composed:
    spec = {"name": "custom_method:ByRank", "experts": ("one", "two"), "with": list(parts)}
    return Composed(build(spec | fields))


def group(**rewards: list[float]) -> Group:
    """One question, with these rewards per expert."""
    question = Question("q", "1+1", "2", prompt_ids=dict.fromkeys(rewards, (1,)))
    answers = []
    for name, row in rewards.items():
        prompt = Prompt(question, name)
        rollouts = [Rollout(prompt, (5, 6), (-0.5, -0.5), "2") for _ in row]
        answers.append(Answers(prompt, tuple(Scored(o, r) for o, r in zip(rollouts, row, strict=True))))
    return Group(question, tuple(answers))


def advantages(method: Composed, given: Group) -> list[list[float]]:
    (credited,) = method.credit((given,), method.initial_memory(), NOW)
    return [[s.advantage for s in a.scored] for a in credited.answers]


def test_an_answer_is_credited_by_how_many_it_beats() -> None:
    rows = advantages(composed(), group(one=[1, 0, 0, 0], two=[0.9, 0.1, 0.2, 0.1]))
    assert rows == [[0.75, -0.25, -0.25, -0.25], [0.75, -0.5, 0.25, -0.5]]
    assert advantages(composed(), group(one=[90, 10, 20, 10], two=[1, 1, 0, 1])) == [rows[1], [0.25, 0.25, -0.75, 0.25]]


def test_equal_rewards_give_exactly_nothing() -> None:
    for below in (0.0, 0.5, 1.0):
        assert advantages(composed(below=below), group(one=[1, 1, 1], two=[0, 0, 0])) == [[0.0] * 3, [0.0] * 3]


def test_below_scales_what_is_lost() -> None:
    assert advantages(composed(below=0.0), group(one=[1, 0], two=[0, 1])) == [[0.5, 0.0], [0.0, 0.5]]
    assert advantages(composed(below=0.5), group(one=[1, 0], two=[0, 1])) == [[0.5, -0.25], [-0.25, 0.5]]


def test_what_is_not_overridden_is_grpo() -> None:
    custom, grpo = composed(), Composed(build({"name": "grpo"}))
    assert custom.terms(NOW) == grpo.terms(NOW)
    assert custom.describe() == {"ask": "custom_method:ByRank", "advantage": "custom_method:ByRank"} | {
        "term policy": "custom_method:ByRank",
        "examples": "custom_method:ByRank",
    }


def test_the_part_replaces_what_is_too_easy() -> None:
    method = composed({"name": "custom_method:NotTooEasy", "rounds": 4, "most": 0.5})
    memory = method.initial_memory()
    kept = [group(one=[1, 1], two=[0, 0]), group(one=[0, 0], two=[0, 1]), group(one=[0, 0], two=[0, 0])]
    refused = [group(one=[1, 1], two=[0, 1]), group(one=[1, 1], two=[1, 1])]
    assert [method.keeps(g, memory) for g in kept + refused] == [True, True, True, False, False]
    assert method.rounds == 4
    assert method.describe()["keeps"] == "custom_method:NotTooEasy"


def test_who_had_nothing_right_is_asked_again() -> None:
    method = composed({"name": "custom_method:AskAgain", "more": 3})
    asked = method.follow_up(group(one=[1, 0], two=[0, 0]), method.initial_memory(), NOW)
    assert [(ask.prompt.expert, ask.n) for ask in asked] == [("two", 3)]
    assert [ask.n for ask in method.asks_if_all_fail(group(one=[0]).question)] == [8, 8, 3, 3]
    (first,), (second,) = (group(one=row).answers for row in ([0, 0], [1, 0]))
    (joined,) = by_question(first.scored + second.scored)
    assert advantages(method, joined) == [[-0.25, -0.25, 0.75, -0.25]]


def test_the_method_may_be_a_part_too() -> None:
    base = {"name": "meml_grpo", "preset": "tuned", "experts": ("one", "two")}
    joined = Composed(build(base | {"with": [{"name": "custom_method:ByRank"}]}))
    assert joined.describe()["advantage"] == "custom_method:ByRank"
    assert advantages(joined, group(one=[1, 0], two=[0, 0])) == [[0.5, -0.5], [0.0, 0.0]]
    assert {t.name for t in joined.terms(NOW)} == {"policy", "mutual", "hard"}


def test_the_page_shows_who_says_what() -> None:
    method = Composed(load_questions(load_recipe("examples/custom_part.yaml"))[2].method)
    shown = "\n".join(f"{what:<11}  {who}" for what, who in method.describe().items())
    assert f"```text\n{shown}\n```" in Path("docs/add_a_method.md").read_text(encoding="utf-8")


def test_the_page_shows_what_its_command_prints() -> None:
    blocks = dict(FENCE.findall(section("add_a_method.md", "## A method that asks again")))
    variable, program, *words = shlex.split(blocks["console"])
    assert (variable, program) == ("PYTHONPATH=examples", "manyminds")
    command = [sys.executable, "-m", "manyminds", *words]
    environment = os.environ | dict([variable.split("=")])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    begin, end = blocks["text"].split("…\n")
    assert f"\n{begin}\n" in done.stdout
    assert done.stdout.endswith(f"\n{end}")


def test_two_parts_with_credit_of_their_own_are_refused() -> None:
    dr_grpo = {"name": "dr_grpo"}
    with pytest.raises(UserError, match="'custom_method:ByRank' and 'dr_grpo' both set 'advantage'"):
        Composed(build({"name": "meml_grpo", "with": [{"name": "custom_method:ByRank"}, dr_grpo]}))


def test_a_misspelt_class_is_named() -> None:
    with pytest.raises(UserError, match="the module 'custom_method' has no 'ByRanks'"):
        build({"name": "custom_method:ByRanks"})


def judge() -> Judge:
    task, _, _ = load_questions(load_recipe("examples/custom.yaml"))
    return Judge(task.rewards, task.extract)


def judged(text: str) -> tuple[Scored, dict[str, float]]:
    one = judge()
    (scored,) = one([Rollout(Prompt(Question("q", "Ada …", "20"), "words"), (1,), (-0.1,), text)])
    return scored, one.metrics


def test_the_reward_is_the_share_of_true_equations() -> None:
    scored, metrics = judged("9*5=45\n65-45=21\n#### 20")
    assert scored.parts == {"exact_answer": 1.0, "true_equations": 0.5}
    assert scored.reward == pytest.approx(1.05)
    assert metrics["rewards/true_equations/equations"] == 2.0
    assert judged("9 * 5 = 45, 65-45=20\n#### 21")[0].reward == pytest.approx(0.1)
    assert judged("7/0=3, 36/4=9, 2+2=44\n#### 20")[0].parts["true_equations"] == pytest.approx(1 / 3)


def test_the_reward_does_not_apply_without_an_equation() -> None:
    scored, metrics = judged("It is twenty.\n#### 20")
    assert scored.parts == {"exact_answer": 1.0, "true_equations": None}
    assert scored.reward == 1.0
    assert "rewards/true_equations/mean" not in metrics


def test_the_rewards_pass_the_check_on_every_question() -> None:
    recipe = load_recipe("examples/custom.yaml")
    task, _, _ = load_questions(recipe)
    questions = [question for split in task.splits.values() for question in split]
    assert len(questions) == 60
    assert Judge(task.rewards, task.extract).check(questions, task.answer_form) == ()


def test_the_data_is_what_the_script_writes(tmp_path: Path) -> None:
    made = runpy.run_path("examples/make_data.py")
    for name, rows in zip(("questions", "experts"), made["rows"](), strict=True):
        assert Path(f"examples/data/{name}.jsonl").read_text() == "".join(json.dumps(row) + "\n" for row in rows)


def test_the_recipe_for_own_data() -> None:
    task, experts, recipe = load_questions(load_recipe("recipes/jsonl_example.yaml"))
    assert {name: len(questions) for name, questions in task.splits.items()} == {
        "warmup": 24,
        "train": 24,
        "validation": 6,
        "test": 6,
    }
    assert [(e.name, e.teacher) for e in experts] == [("equations", None), ("speaker", "words")]
    assert all(e.system is not None and e.system.endswith("End with #### and the answer.") for e in experts)
    assert recipe.method.experts == ("equations", "speaker")
    traces = [trace for split in task.splits.values() for q in split for trace in q.traces.values()]
    assert len(traces) == 114
    assert sum(trace.reward == 0.0 for trace in traces) == 6
    questions = {q.id: q for split in task.splits.values() for q in split}
    assert questions["q04"].solution == "4*8=32, 32+44=76\n#### 76"
    assert questions["q03"].traces["speaker"].text == "35 divided by 5 is 8.\n#### 8"
    assert "equations" not in questions["q07"].traces


def test_the_custom_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The embedded model answers none of these questions; a plain function as reward gives it something to learn.
    (tmp_path / "even.py").write_text("def even_length(response):\n    return len(response) % 2 == 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = load_recipe("examples/custom.yaml", [*TINY, f"output={tmp_path}", 'task.rewards=["even:even_length"]'])
    result = train(recipe)
    assert result.folder == tmp_path / "custom" / "by_rank"
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(0 < line["reward"] < 1 and line["grad_norm"] > 0 for line in lines)
    again = load_recipe(result.folder / "recipe.yaml").method
    assert (again.name, again.parts[0].name) == ("custom_method:ByRank", "custom_method:NotTooEasy")
    assert (again.model_dump()["below"], again.parts[0].rounds) == (0.5, 2)


def test_python_finds_the_files_by_its_path_alone() -> None:
    code = (
        "from manyminds.config import load_recipe; from manyminds.loading import load_questions\n"
        "print(load_questions(load_recipe('examples/custom.yaml'))[2].method.below)"
    )
    environment = os.environ | {"PYTHONPATH": "examples"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "0.5\n"), done.stderr
