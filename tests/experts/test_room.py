"""What does not fit is left out whole, counted by set and told with its place; a set that loses all is an error."""

from __future__ import annotations

import re

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


@pytest.mark.parametrize(
    ("longest", "max_tokens", "said"),
    [
        (
            8,
            11,
            "leaves 0 beside `max_tokens`=11 for the answer; shorten the prompts or lower sampling.max_tokens to 2, w",
        ),
        (
            11,
            8,
            "leaves 2 beside `max_tokens`=8 for the answer; shorten the prompts or lower sampling.max_tokens to 3, wi",
        ),
    ],
    ids=["all fit", "one of each set fits"],
)
def test_the_largest_max_tokens_that_fits_is_named(longest: int, max_tokens: int, said: str) -> None:
    splits = {"train": (question("1", 4), question("2", longest)), "validation": (), "test": (question("8", 7),)}
    with pytest.raises(UserError, match=re.escape(said)):
        with_room(splits, context=10, max_tokens=max_tokens)
    kept, notes = with_room(splits, context=10, max_tokens=int(said.split("max_tokens to ")[1][0]))
    assert bool(notes) == (longest > 10)
    assert all(kept[split] for split in ("train", "test"))
    with pytest.raises(UserError, match="none of the 2 prompts fits"):
        with_room({"train": splits["train"]}, context=10, max_tokens=7)


def test_where_no_max_tokens_fits_a_longer_context_is_named() -> None:
    splits = {"train": (question("1", 4),), "test": (question("8", 10),)}
    with pytest.raises(UserError, match=r"none of the 1 prompts .* shorten the prompts or take a model with a longer"):
        with_room(splits, context=10, max_tokens=1)


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
