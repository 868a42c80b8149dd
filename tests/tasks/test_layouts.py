"""What columns mean: the four layouts, the recipe's own mapping, conversations, and what is said where none fits."""

from __future__ import annotations

from typing import Any

import pytest

from manyminds.errors import UserError
from manyminds.records import Question
from manyminds.tasks.layouts import layout_of, parse_columns, question_of
from manyminds.tasks.rows import Row

USER = {"role": "user", "content": "2+3?"}
SYSTEM = {"role": "system", "content": "Be kind."}
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [SYSTEM, USER],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "5"},
    "extra_info": {"split": "train", "index": 0, "answer": "2+3=5\n#### 5", "question": "2+3?"},
}


def read(columns: dict[str, Any], **mapping: Any) -> Question:
    row = Row("mine.jsonl", 7, columns, by_line=True)
    return question_of(row, layout_of(row, parse_columns(mapping)))


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        (
            {"question": " 2+3? ", "answer": 5, "solution": "2+3=5", "id": 1, "level": 2},
            Question("1", "2+3?", "5", "2+3=5", "mine.jsonl:7", extras={"level": 2}),
        ),
        (
            {"prompt": "2+3?", "answer": "5", "level": 2},
            Question("mine:7", "2+3?", "5", source="mine.jsonl:7", extras={"level": 2}),
        ),
        (
            {"prompt": [USER], "ground_truth": "5", "question": "left"},
            Question(
                "mine:7",
                "2+3?",
                "5",
                source="mine.jsonl:7",
                extras={"prompt": [USER], "ground_truth": "5", "question": "left"},
            ),
        ),
        (
            VERL,
            Question(
                "mine:7",
                "2+3?",
                "5",
                "2+3=5\n#### 5",
                "mine.jsonl:7",
                extras=VERL,
                messages=(("system", "Be kind."), ("user", "2+3?")),
            ),
        ),
        (
            {"messages": [USER], "ground_truth": "5", "dataset": "sums"},
            Question(
                "mine:7",
                "2+3?",
                "5",
                source="mine.jsonl:7",
                extras={"messages": [USER], "ground_truth": "5", "dataset": "sums"},
            ),
        ),
    ],
    ids=["question/answer", "prompt", "prompt of messages", "verl", "open-instruct"],
)
def test_the_four_layouts(columns: dict[str, Any], wanted: Question) -> None:
    assert read(columns) == wanted


def test_a_conversation() -> None:
    turns = [USER, {"role": "assistant", "content": "5"}, {"role": "user", "content": "And twice that?"}]
    asked = read({"messages": turns, "ground_truth": "10"})
    assert asked.messages == (("user", "2+3?"), ("assistant", "5"), ("user", "And twice that?"))
    assert asked.text == "And twice that?"
    answered = read({"messages": [*turns, {"role": "assistant", "content": "5*2=10"}], "ground_truth": "10"})
    assert (answered.messages, answered.solution) == (asked.messages, "5*2=10")
    assert read({"messages": [*turns[:1], turns[1]], "ground_truth": "5", "solution": "2+3=5"}).solution == "2+3=5"
    unread = read({"messages": turns[:2], "ground_truth": "5"}, solution=None)
    assert (unread.text, unread.messages, unread.solution) == ("2+3?", (), "")


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([], "`prompt` has no turn of the user at its end"),
        ([SYSTEM], "`prompt` has no turn of the user at its end"),
        (
            [USER, {"role": "tool", "content": "5"}],
            "turn 2 of `prompt` is by 'tool'; roles are system, user, assistant",
        ),
        ([USER, SYSTEM, USER], "turn 2 of `prompt` is a system message; only the first turn may be one"),
        ([{"role": "user", "content": " "}], "turn 1 of `prompt` is empty"),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "turn 1 of `prompt` must have a `role` and a `content`, both",
        ),
        ([{"from": "human", "value": "2+3?"}], "turn 1 of `prompt` must have a `role` and a `content`, both text, not"),
    ],
)
def test_bad_conversations(turns: list[Any], said: str) -> None:
    with pytest.raises(UserError, match=f"mine.jsonl:7: {said}"):
        read({"prompt": turns, "answer": "5"})


def test_the_recipes_own_mapping() -> None:
    row = {"problem": "2+3?", "meta": {"gold": ["5", "five"], "key": 9}, "why": "2+3=5", "solution": "5"}
    mapped = read(row, question="problem", answer="meta.gold.0", solution="why", id="meta.key")
    assert (mapped.id, mapped.text, mapped.answer, mapped.solution) == ("9", "2+3?", "5", "2+3=5")
    assert mapped.extras == {"meta": row["meta"], "why": "2+3=5", "solution": "5"}
    # What is not named is found as if nothing were.
    half = read({"question": "2+3?", "gold": "5", "solution": "2+3=5", "answer": "five"}, answer="gold")
    assert (half.text, half.answer, half.solution) == ("2+3?", "5", "2+3=5")
    assert read({"question": "2+3?", "answer": "5", "solution": "5"}, solution=None).solution == ""


def test_the_gold_after_a_mark() -> None:
    mapping = {"answer": {"column": "answer", "after": "####"}, "solution": "answer"}
    whole = read({"question": "2+3?", "answer": "2+3=5\n#### 5"}, **mapping)
    assert (whole.answer, whole.solution) == ("5", "2+3=5\n#### 5")
    with pytest.raises(
        UserError, match=r"mine\.jsonl:7: `answer` has nothing after '####', where task\.columns\.answer"
    ):
        read({"question": "2+3?", "answer": "2+3=5"}, **mapping)


@pytest.mark.parametrize(
    ("columns", "mapping", "said"),
    [
        ({"problem": "2+3?", "gold": "5"}, {}, r"problem, gold\. The nearest is question/answer, but there is no "
         r"`question` and no `answer`\. .* task\.columns: {question: problem, answer: gold}\. The row: {"),
        ({"prompt": "2+3?", "solution": "5"}, {}, r"nearest is prompt \+ columns \(TRL\), but there is no `answer`\. .*"
         r"such as task\.columns: {answer: YOUR_ANSWER_COLUMN}"),
        ({**VERL, "reward_model": {"style": "rule"}}, {}, r"nearest is verl rows, .* no `reward_model\.ground_truth`"),
        ({"messages": [USER], "dataset": "x"}, {}, r"nearest is messages \+ ground_truth .* no `ground_truth`"),
        ({"q": "2+3?", "a": "5"}, {"question": "q"}, r"task\.columns: {question: q, answer: YOUR_ANSWER_COLUMN}"),
        ({"q": "2+3?"}, {"question": "qq"}, r"task\.columns\.question: mine\.jsonl:7 has no `qq`; its columns are q\."),
    ],
)  # fmt: skip
def test_no_layout(columns: dict[str, Any], mapping: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(columns, **mapping)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("question", r'task\.columns is "question"; it must say which column is what'),
        ({"anwser": "a"}, r"task\.columns\.anwser: there is no such part; did you mean 'answer'\?"),
        ({"answer": None}, r"task\.columns\.answer is null; it must name a column\."),
        ({"solution": 3}, r"task\.columns\.solution is 3; it must name a column, or null for none"),
        (
            {"answer": {"column": "a"}},
            r'task\.columns\.answer is {"column": "a"}; write a column, or {column: answer, af',
        ),
    ],
)
def test_a_mapping_that_is_none(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_columns(given)
