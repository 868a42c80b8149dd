"""Which single answers the demo shows, and what a watched run prints."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from manyminds.commands.console import Bar, accuracies
from manyminds.moments import MOST, Moments, complementary
from manyminds.records import PLAIN
from manyminds.report.runs import Answered, Evaluation, Greedy

EXPERTS = ("a", "b", "c")


def answered(name: str, right: str) -> Answered:
    """A question that the prompts in `right` get right; "p" is the plain one."""
    greedy = {prompt: Greedy(f"{prompt}#{name}", prompt[0] in right) for prompt in (PLAIN, *EXPERTS)}
    return Answered(name, f"{name}?", name, "", greedy, {})


def evaluation(*right: str, step: int = 0) -> Evaluation:
    """Questions q0, q1, … with those who get them right."""
    return Evaluation(
        "validation", step, EXPERTS, len(right), {}, tuple(answered(f"q{i}", r) for i, r in enumerate(right))
    )


def text(shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_complementary_is_what_one_expert_alone_knows() -> None:
    shown = [text(one) for one in complementary(evaluation("abc", "pab", "pb", "a", "b", ""))]
    assert len(shown) == 2  # c knows nothing alone
    assert "only a knows" in shown[0]
    assert "q3?" in shown[0]
    assert "only b knows" in shown[1]
    assert "q2?" in shown[1]


def test_the_first_evaluation_is_what_others_are_compared_with() -> None:
    moments = Moments("meml_grpo")
    assert list(moments.seen(None)) == []
    assert list(moments.seen(evaluation("ab", "c", "p"))) == []
    rescued, forgotten = (text(one) for one in moments.seen(evaluation("abc", "", "p", step=60)))
    assert "rescued: c gets it now" in rescued
    assert "before, a and b knew it" in rescued
    assert "q0?" in rescued
    assert "forgotten: c knew this one" in forgotten
    assert "q1?" in forgotten


def test_a_question_that_another_expert_knew_goes_first() -> None:
    moments = Moments("meml_grpo")
    list(moments.seen(evaluation("", "b")))
    (shown,) = moments.seen(evaluation("a", "ab", step=1))
    assert "q1?" in text(shown)


def test_moments_are_few_and_none_comes_twice() -> None:
    moments = Moments("meml_grpo")
    list(moments.seen(evaluation(*[""] * 10)))
    shown = [text(one) for step in range(8) for one in moments.seen(evaluation(*["abc"] * 10, step=step + 1))]
    assert len(shown) == MOST == 3
    assert len({line.split("?")[0] for one in shown for line in one.splitlines() if "?" in line}) == MOST
    assert {one.split(" gets it now")[0][-1] for one in shown} == {"a", "b", "c"}


def test_a_bar_shows_steps_evaluations_and_notes() -> None:
    said = io.StringIO()
    metrics = {"plain": {"value": 0.5}, "experts/a": {"value": 0.25}, "vote": {"value": 1.0}, "oracle": {"value": 1.0}}
    with Bar("training", Console(file=said, force_terminal=True, width=120)) as bar:
        bar("note", 0, 4, {"text": "[red] is no markup"})
        bar("step", 1, 4, {"reward": 0.375})
        bar("evaluation", 1, 4, {"split": "validation", "metrics": metrics})
    out = said.getvalue()
    assert "note: [red] is no markup" in out
    assert "1/4" in out
    assert "reward 0.38" in out
    assert "step 1: validation accuracy in %: plain 50, a 25, vote 100, oracle 100" in out


def test_without_a_terminal_nothing_but_notes_is_said() -> None:
    said = io.StringIO()
    with Bar("training", Console(file=said)) as bar:
        bar("step", 1, 4, {"reward": 0.375})
    assert said.getvalue() == ""


def test_accuracies_are_in_percent() -> None:
    assert accuracies({"plain": {"value": 0.125}, "oracle": {"value": 0.999}}) == "plain 12, oracle 100"
