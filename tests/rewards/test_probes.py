"""Tricks that are no answers: every built-in verifier gives them 0 and the gold answer 1; sloppy ones are caught."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from manyminds.maths.extraction import found
from manyminds.records import Question
from manyminds.rewards import Judge, reward
from manyminds.rewards.probes import LONG, numbers_beside, probes

FORM = "#### {answer}"
QUESTION = Question("a", "What is 6 times 7?", "42", solution="6 times 7 is 42.\n#### 42", source="f:1")


def extract(text: str) -> str | None:
    return text.rpartition("####")[2].strip() or None if "####" in text else None


def test_the_probes() -> None:
    made = {probe.name: probe for probe in probes(QUESTION, FORM)}
    assert {name for name, probe in made.items() if probe.due} == {"gold answer", "worked solution"}
    assert made["another number"].text == "#### 421"
    assert made["another number alone"].text == "421"
    many = made["many answers"].text.splitlines()
    assert many[4] == "#### 42"
    assert len(set(many)) == 9
    assert made["many boxed answers"].text.count("\\boxed{") == 9
    assert made["question itself"].text == QUESTION.text
    assert LONG - 10 < len(made["very long response"].text) <= LONG


@pytest.mark.parametrize("answer", ["42", "-3", "0", "0.5", "1e5", "1/2", "yes", "b", "x^2", ""])
def test_the_other_numbers_are_other_numbers(answer: str) -> None:
    beside = numbers_beside(answer)
    assert len({*beside, answer}) == 9
    assert all(re.fullmatch(r"-?[0-9.]+", one) for one in beside)
    if re.fullmatch(r"-?[0-9.]+", answer):
        assert min(abs(float(one) - float(answer)) for one in beside) >= 1


@pytest.mark.parametrize("name", ["math_answer", "number_answer", "exact_answer"])
def test_built_in_verifiers_fall_for_none(name: str) -> None:
    with Judge([name], extract) as judge:
        assert judge.check([QUESTION], FORM) == ()


def test_numbers_that_end_alike() -> None:
    of = {
        answer: {p.name: p.text for p in probes(Question("q", "q", answer), FORM)}
        for answer in ("42", "-0.5", "0", "b")
    }
    assert of["42"]["number that ends like it"] == "#### 942"
    assert of["42"]["its opposite"] == "#### -42"
    assert of["-0.5"]["number that ends like it"] == "#### -90.5"
    assert of["-0.5"]["its opposite"] == "#### 0.5"
    assert of["42"]["many after the gold one"].startswith("#### 42\n#### 421\n")
    assert not {"its opposite", "number that ends like it"} & (of["0"].keys() | of["b"].keys())


SLOPPY: dict[str, tuple[Callable[[str, str], object], set[str]]] = {
    "the answer occurs": (
        lambda response, answer: answer in response,
        {"another number", "another number alone", "many answers", "many boxed answers"},
    ),
    "it occurs as a word": (
        lambda response, answer: re.search(rf"\b{answer}\b", response) is not None,
        {"many answers", "many boxed answers"},
    ),
    "one of the boxes": (
        lambda response, answer: rf"\boxed{{{answer}}}" in response or f"#### {answer}" in response.splitlines(),
        {"many answers", "many boxed answers"},
    ),
    "the last number begins so": (
        lambda response, answer: re.findall(r"\d+", response)[-1:] and re.findall(r"\d+", response)[-1][:2] == answer,
        {"another number", "another number alone", "many answers", "many boxed answers"},
    ),
    "anything that is long": (
        lambda response, answer: response.endswith(f"# {answer}") or len(response) > 9999,
        {"a very long response"},
    ),
    "it ends so": (lambda response, answer: response.strip().endswith(answer), {"a number that ends like it"}),
    "the last digits": (
        lambda response, answer: re.findall(r"\d+", response)[-1:] == [answer],
        {"its opposite"},
    ),
    "the first number": (
        lambda response, answer: re.findall(r"\d+", response.replace("6 times 7 is ", ""))[:1] == [answer],
        {"its opposite", "many after the gold one"},
    ),
    "anything at all": (lambda response, answer: True, {"nonsense", "an empty response", "the question itself"}),
}


@pytest.mark.parametrize("what", SLOPPY)
def test_sloppy_verifiers_are_caught(what: str) -> None:
    function, due = SLOPPY[what]

    @reward(trusted=True)
    def sloppy(response: str, answer: str) -> bool:
        return bool(function(response, answer))

    problems = Judge([sloppy], extract).check([QUESTION], FORM)
    for trick in due:
        assert any(f"gives {trick}" in problem for problem in problems), trick
    assert not any("gold answer (" in problem for problem in problems)


def test_a_lenient_verifier_that_reads_the_questions_last_number_is_told() -> None:
    @reward(trusted=True)
    def lenient(response: str, answer: str) -> bool:
        return found(response) == answer

    same = Question("b", "Ann has 42 apples. How many apples has Ann if she eats none of the 42?", "42", source="f:2")
    problems = Judge([lenient], extract).check([same], FORM)
    assert any("gives the question itself" in problem for problem in problems)
