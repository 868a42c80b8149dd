"""Every ordered pair of a base and a part: those that `Composed` accepts learn the same however rows are arranged."""

from __future__ import annotations

import pytest
from hypothesis import given

from manyminds.batch import weigh
from manyminds.errors import UserError
from manyminds.methods import METHODS
from properties.arrangements import IN_ALL, SEEDS, disagreements
from properties.learning import learnt, living
from properties.subjects import ALONE, BASES, OWN, PAIRS, PARTS, TOYS, Spec, composed, is_part, paired
from properties.workload import PATTERNS, SHAPES, Shape, few, made


def refusal(spec: Spec) -> str | None:
    """Why a pair is refused, if it is."""
    try:
        composed(spec)
    except UserError as error:
        return str(error)
    return None


REFUSED = {label: reason for label, spec in PAIRS.items() if (reason := refusal(spec)) is not None}
ACCEPTED = tuple(label for label in PAIRS if label not in REFUSED)


def test_the_pairs_are_all_there_are() -> None:
    assert {name for name in METHODS if not is_part(name)} <= set(BASES)
    assert set(METHODS) <= set(PARTS)
    assert {*OWN, *TOYS} <= set(PARTS)
    assert len(PAIRS) == len(BASES) * len(PARTS)
    assert len(ACCEPTED) > len(PAIRS) / 2


@pytest.mark.parametrize(
    "labels", [pytest.param(ACCEPTED[::4], id="a quarter"), pytest.param(ACCEPTED, id="all", marks=pytest.mark.long)]
)
def test_no_pair_teaches_nothing(labels: tuple[str, ...]) -> None:
    """On the simplest of shapes, which every pair below is tried on, each learns from living rows."""
    for label in labels:
        what = learnt(composed(PAIRS[label]), made(Shape()))
        assert what.lesson.updates, label
        for update in what.lesson.updates:
            assert living(weigh(update.examples, what.terms), what.terms), label


@pytest.mark.parametrize("label", REFUSED)
def test_a_refused_pair_is_told_why(label: str) -> None:
    """With the part's name, and what to do."""
    part = label.partition(" + ")[2]
    assert REFUSED[label].startswith("method.with: ")
    assert f"'{part}'" in REFUSED[label]
    assert "; " in REFUSED[label]


@pytest.mark.parametrize("place", range(0, len(ACCEPTED), 4))
def test_a_quarter_of_the_pairs(place: int) -> None:
    """In two of the arrangements by turns; in `make test-long` every pair is tried in all six."""
    turn = [IN_ALL[(place + k) % len(IN_ALL)] for k in (0, 3)]
    assert disagreements(PAIRS[ACCEPTED[place]], made(Shape()), place, turn) == []


@pytest.mark.long
@pytest.mark.parametrize("label", ACCEPTED)
def test_every_pair_in_every_arrangement(label: str) -> None:
    @few(1)
    @given(SHAPES, SEEDS)
    def same(shape: Shape, seed: int) -> None:
        assert disagreements(PAIRS[label], made(shape), seed, IN_ALL) == []

    same()


@pytest.mark.long
@pytest.mark.parametrize("base", ALONE)
def test_every_pair_of_variants(base: str) -> None:
    """All variants of all methods, as bases and as parts, each pair on a workload of its own."""
    pairs = {label: spec for label, spec in paired({base: ALONE[base]}, ALONE | PARTS).items() if refusal(spec) is None}
    few_of = ("any micro-batches", "plainly left-padded", "dead rows kept")
    for i, (label, spec) in enumerate(pairs.items()):
        shape = Shape(i, patterns=(PATTERNS[i % len(PATTERNS)], PATTERNS[0]))
        assert disagreements(spec, made(shape), i, few_of) == [], f"{label} on {shape}"
