"""The embedded task: every trace is right in every step, and the four sets are what was asked for."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import pairwise, product

import pytest

from manyminds.errors import UserError
from manyminds.records import Expert, Question
from manyminds.rewards import Judge
from manyminds.tasks import load_task
from manyminds.tasks.arithmetic import ANSWERS, MARKERS, WORK, arithmetic, extract, question, style

EXAMPLES = [
    ("addition", 237, 682, "919", "c9,11,9#919", "d7+2=9,3+8=11,2+6+1=9#919", "s800+110=910+9#919"),
    ("addition", 999, 100, "1099", "c9,9,10#1099", "d9+0=9,9+0=9,9+1=10#1099", "s1000+90=1090+9#1099"),
    ("addition", 500, 305, "805", "c5,0,8#805", "d0+5=5,0+0=0,5+3=8#805", "s800+0=800+5#805"),
    ("addition", 958, 167, "1125", "c15,12,11#1125", "d8+7=15,5+6+1=12,9+1+1=11#1125", "s1000+110=1110+15#1125"),
    ("multiplication", 237, 3, "711", "c21,11,7#711", "d600+90=690+21#711", "s7*3=21,3*3=9+2=11,2*3=6+1=7#711"),
    ("multiplication", 405, 9, "3645", "c45,4,36#3645", "d3600+0=3600+45#3645", "s5*9=45,0*9=0+4=4,4*9=36#3645"),
    (
        "division",
        907,
        8,
        "113r3",
        "c9/8=1r1,10/8=1r2,27/8=3r3#113r3",
        "d100:107,10:27,2:11,1:3#113r3",
        "s8*110=880,27/8=3r3#113r3",
    ),
    (
        "division",
        105,
        5,
        "21r0",
        "c1/5=0r1,10/5=2r0,5/5=1r0#21r0",
        "d20:5,1:0#21r0",
        "s5*20=100,5/5=1r0#21r0",
    ),
    (
        "division",
        812,
        4,
        "203r0",
        "c8/4=2r0,1/4=0r1,12/4=3r0#203r0",
        "d200:12,2:4,1:0#203r0",
        "s4*200=800,12/4=3r0#203r0",
    ),
    (
        "division",
        999,
        2,
        "499r1",
        "c9/2=4r1,19/2=9r1,19/2=9r1#499r1",
        "d200:599,200:199,50:99,20:59,20:19,5:9,2:5,2:1#499r1",
        "s2*490=980,19/2=9r1#499r1",
    ),
]


@pytest.mark.parametrize(("family", "a", "b", "answer", "concise", "deliberate", "structured"), EXAMPLES)
def test_traces_by_hand(
    family: str, a: int, b: int, answer: str, concise: str, deliberate: str, structured: str
) -> None:
    asked = question(family, a, b)
    assert asked.answer == answer
    assert asked.solution == concise
    assert {name: trace.text for name, trace in asked.traces.items()} == {
        "concise": concise,
        "deliberate": deliberate,
        "structured": structured,
    }
    assert {name: trace.source for name, trace in asked.traces.items()} == {name: name for name in asked.traces}
    assert asked.extras["family"] == family


def equations_hold(text: str) -> None:
    """Every `x=y` and `x/y=qrr` in a trace is true, running sums included."""
    for step in text.split(","):
        sides = step.split("=")
        for left, right in pairwise(sides):
            # In 2*3=6+1=7 and 800+110=910+9 only the number next to the equals sign is what the left side comes to.
            value = re.match(r"[0-9r]+", right)
            assert value is not None
            if "/" in left:
                a, b = map(int, left.split("/"))
                assert value[0] == f"{a // b}r{a % b}", text
            else:
                terms = [eval(term) for term in left.split("+")]  # digits and * only: made by the code under test
                assert sum(terms) == int(value[0]), text


def check_consistent(family: str, a: int, b: int) -> None:
    asked = question(family, a, b)
    works = {}
    for marker, name in MARKERS.items():
        text = asked.traces[name].text
        assert text[0] == marker
        assert style(text) == name
        assert extract(text) == asked.answer
        works[name] = text[1:].partition("#")[0]
    if family == "division":
        quotient, rest = map(int, asked.answer.split("r"))
        assert quotient * b + rest == a
        assert 0 <= rest < b
        equations_hold(works["concise"])
        equations_hold(works["structured"])
        left = a
        for step in works["deliberate"].split(","):
            times, after = map(int, step.split(":"))
            left -= times * b
            assert left == after >= 0
            assert re.fullmatch("[125]0*", str(times))
        assert left == rest
        return
    assert int(asked.answer) == (a + b if family == "addition" else a * b)
    for name in ("deliberate", "structured"):
        equations_hold(works[name])
    sums = [int(column) for column in works["concise"].split(",")]
    assert "".join(str(column % 10) for column in reversed(sums[:-1])) == asked.answer[-(len(sums) - 1) :]
    assert str(sums[-1]) == asked.answer[: -(len(sums) - 1)]
    by_columns = works["deliberate" if family == "addition" else "structured"]
    assert [int(step.split("=")[-1]) for step in by_columns.split(",")] == sums
    by_place = works["structured" if family == "addition" else "deliberate"]
    assert eval(by_place.split("=")[-1]) == int(asked.answer)


@pytest.mark.parametrize("family", ["multiplication", "division"])
def test_every_three_digit_operand(family: str) -> None:
    for a, b in product(range(100, 1000), range(2, 10)):
        check_consistent(family, a, b)


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_many_operands(digits: int) -> None:
    rng = random.Random(digits)
    low, high = 10 ** (digits - 1), 10**digits
    for _ in range(1500):
        check_consistent("addition", rng.randrange(low, high), rng.randrange(low, high))
        check_consistent("multiplication", rng.randrange(low, high), rng.randrange(2, 10))
        check_consistent("division", rng.randrange(low, high), rng.randrange(2, 10))


def test_longest_three_digit_trace_fits_sixty_tokens() -> None:
    longest = max(
        len(trace.text)
        for family in ("multiplication", "division")
        for a, b in product(range(100, 1000), range(2, 10))
        for trace in question(family, a, b).traces.values()
    )
    assert longest == 52
    assert set(WORK) == set(product(ANSWERS, MARKERS.values()))


def families(questions: tuple[Question, ...]) -> Counter[str]:
    return Counter(q.extras["family"] for q in questions)


def test_default_sets() -> None:
    task = arithmetic()
    sizes = {name: len(questions) for name, questions in task.splits.items()}
    assert sizes == {"warmup": 2000, "train": 2000, "validation": 300, "test": 1000}
    assert families(task.splits["warmup"]) == {"addition": 500, "multiplication": 500, "division": 1000}
    assert families(task.splits["train"]) == {"addition": 667, "multiplication": 667, "division": 666}
    assert families(task.splits["validation"]) == {"addition": 100, "multiplication": 100, "division": 100}
    texts = [q.text for questions in task.splits.values() for q in questions]
    assert len(set(texts)) == 5300
    assert len({q.id for questions in task.splits.values() for q in questions}) == 5300
    # Mixed, not one family after the other.
    assert len(families(task.splits["train"][:30])) == 3


def test_seed_decides() -> None:
    small = {"warmup": 20, "train": 20, "validation": 6, "test": 9}
    assert arithmetic(seed=1, **small).splits == arithmetic(seed=1, **small).splits
    assert arithmetic(seed=1, **small).splits["test"] != arithmetic(seed=2, **small).splits["test"]
    # Pinned: a different draw would make every committed result another experiment.
    assert [q.text for q in arithmetic(seed=0, **small).splits["test"][:3]] == ["417+368", "794+700", "364*8"]


def test_test_questions_do_not_depend_on_training_size() -> None:
    few = arithmetic(warmup=10, train=10, validation=6, test=9)
    many = arithmetic(warmup=500, train=300, validation=6, test=9)
    assert few.splits["test"] == many.splits["test"]
    assert few.splits["validation"] == many.splits["validation"]


def test_all_questions_of_a_family_can_be_drawn() -> None:
    only = {"division": 1.0}
    task = arithmetic(digits=2, warmup=300, train=300, validation=60, test=60, warmup_families=only, families=only)
    assert sum(len(questions) for questions in task.splits.values()) == 720


def test_an_expert_learns_the_style_of_its_teacher() -> None:
    """Two of the same teacher learn the same; who names none has the style of its name."""
    experts = (Expert("first", "1", "concise"), Expert("second", "2", "concise"), Expert("structured"))
    given = arithmetic(warmup=8, train=8, validation=6, test=9, experts=experts).splits["train"][0]
    plain = arithmetic(warmup=8, train=8, validation=6, test=9).splits["train"][0]
    assert list(given.traces) == ["first", "second", "structured"]
    assert given.traces["first"] == given.traces["second"] == plain.traces["concise"]
    assert given.traces["structured"] == plain.traces["structured"]
    other = arithmetic(warmup=0, train=8, validation=6, test=9, experts=(Expert("mute", "m"),))
    assert other.splits["train"][0].traces == plain.traces, "without a teacher nothing is filed anew"
    assert not arithmetic(warmup=0, train=8, validation=6, test=9, experts=experts).splits["warmup"]


def test_a_teacher_that_there_is_not() -> None:
    told = (
        "experts: there is no trace of expert 'brief' \\(teacher 'concize'\\); traces are there of concise, deliberate"
    )
    with pytest.raises(UserError, match=told):
        load_task("arithmetic", (Expert("long", "l", "deliberate"), Expert("brief", "b", "concize")))
    load_task("arithmetic", (Expert("brief", "b", "gpt"),))  # whose worked answers are collected elsewhere


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"digits": 2}, r"task\.digits=2 has only 720 questions of the family 'multiplication'.*task\.train=2000"),
        ({"digits": 5}, r"task\.digits is 5"),
        ({"train": -1}, r"task\.train is -1"),
        ({"families": {"divison": 1.0}}, r"task\.families names the family 'divison'; did you mean 'division'\?"),
        ({"warmup_families": {"addition": -1.0}}, r"task\.warmup_families\.addition is -1\.0"),
        ({"families": {}}, r"task\.families gives no family a share above 0"),
        ({"digitz": 3}, r"task\.digitz: arithmetic has no such key; did you mean 'digits'\?"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_task("arithmetic", **options)


def test_unknown_task() -> None:
    with pytest.raises(UserError, match=r"task\.name: there is no task 'arithmetik'; did you mean 'arithmetic'\?"):
        load_task("arithmetik")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("c9,11,9#919", "919"),
        ("c1#2#3", "3"),
        ("#113r3", "113r3"),
        ("919", None),
        ("c9#", None),
        ("", None),
        ("#5#", None),
        ("#5x", "5x"),
    ],
)
def test_extract(text: str, answer: str | None) -> None:
    assert extract(text) == answer


@pytest.mark.parametrize(("text", "name"), [("c9", "concise"), ("d", "deliberate"), ("s8", "structured")])
def test_style(text: str, name: str) -> None:
    assert style(text) == name
    assert style("9" + text) == style("") == "other"


def test_gold_scores_one_and_nonsense_nothing() -> None:
    task = arithmetic(warmup=8, train=8, validation=6, test=9)
    judge = Judge(task.rewards, task.extract)
    assert judge.check(task.splits["test"], task.answer_form) == ()
