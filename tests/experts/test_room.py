"""What does not fit is left out whole, counted by set and told with its place; a set that loses all is an error."""

from __future__ import annotations

import pytest

from manyminds.errors import UserError
from manyminds.experts.room import with_room
from manyminds.records import Question, Trace


def question(name: str, *prompts: int, solution: int = 0, **traces: int) -> Question:
    """With prompts, a solution and traces of so many tokens."""
    return Question(
        name,
        name,
        "1",
        "worked" if solution else "",
        source=f"mine.jsonl:{name}",
        prompt_ids={f"e{i}": (7,) * n for i, n in enumerate(prompts)},
        solution_ids=(7,) * solution,
        traces={expert: Trace("t", expert, ids=(7,) * n) for expert, n in traces.items()},
    )


def test_what_fits_is_as_it_was() -> None:
    splits = {"train": (question("1", 4, 6, solution=4, a=4),), "test": ()}
    assert with_room(splits, context=10, max_tokens=4) == (splits, ())


def test_a_question_goes_if_its_longest_prompt_leaves_no_room() -> None:
    short, long = question("1", 4, 6), question("2", 4, 7)
    splits = {"train": (short, long, question("3", 9)), "validation": (short,), "test": (long, short)}
    kept, (note,) = with_room(splits, context=10, max_tokens=4)
    assert kept == {"train": (short,), "validation": (short,), "test": (short,)}
    assert note == (
        "Questions left out as their prompts are too long: 2 of 3 in train, 1 of 2 in test. The longest has 9 tokens "
        "(mine.jsonl:3), but the model's context of 10 leaves 6 beside `max_tokens`=4 for the answer."
    )


def test_a_set_that_loses_all_is_an_error() -> None:
    splits = {"train": (question("1", 4),), "test": (question("8", 9), question("9", 7))}
    with pytest.raises(UserError, match=r"task\.test: none of the 2 prompts fits; the shortest has 7 tokens \(mine"):
        with_room(splits, context=10, max_tokens=4)


def test_a_worked_answer_goes_and_its_question_stays() -> None:
    whole = question("1", 3, 5, solution=5, a=5, b=5)
    long = question("2", 3, 5, solution=6, a=5, b=8)
    kept, notes = with_room({"train": (whole, long)}, context=10, max_tokens=4)
    first, second = kept["train"]
    assert first == whole
    assert (second.solution, second.solution_ids, set(second.traces)) == ("worked", (), {"a"})
    assert second.prompt_ids == long.prompt_ids
    assert [note.split(". ")[0] for note in notes] == [
        "Left out as they are too long, their questions stay: 1 of 2 worked solutions",
        "Left out as they are too long, their questions stay: 1 of 2 traces of 'b'",
    ]
    assert "The longest has 8 tokens (mine.jsonl:2), which with the 5 of its prompt exceeds the model's" in notes[1]
