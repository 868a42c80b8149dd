"""Loss and gradient are the same however an update's rows are arranged: order, micro-batches, padding, ranks.

Every built-in method, in every variant that its fields name; in float64, by a transformer of two layers.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given

from manyminds.methods import METHODS
from properties.arrangements import IN_ALL, MISTAKES, SEEDS, Case, disagreements
from properties.learning import before, differences, learnt, now, padded, weighed
from properties.subjects import ALONE, composed
from properties.workload import PATTERNS, SHAPES, Shape, few, made

RICH = made(Shape())


def test_the_table_is_covered_and_the_readers_are_two() -> None:
    """Also: rows run in a line where they should, and padded where they should."""
    assert {one["name"] for spec in ALONE.values() for one in (spec, *spec.get("with", ()))} == set(METHODS)
    assert all(policy.lines["policy"].fits for policy in (before(), now()))
    assert not padded().lines["policy"].fits


@pytest.mark.parametrize("label", ALONE)
def test_nothing_is_compared_with_nothing(label: str) -> None:
    """Every variant moves the policy, on the simplest of workloads and a question that nobody always answers alike."""
    what = learnt(composed(ALONE[label]), made(Shape(patterns=(*PATTERNS[:2], ("mixed",) * 3))))
    assert what.lesson.updates
    for update in what.lesson.updates:
        assert weighed(what.terms, update.examples)[1].largest() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name: str) -> None:
    @few(2)
    @given(SHAPES, SEEDS)
    def same(shape: Shape, seed: int) -> None:
        assert disagreements(ALONE[name], made(shape), seed) == []

    same()


@pytest.mark.parametrize("label", [label for label in ALONE if label not in METHODS])
def test_every_variant(label: str) -> None:
    @few(1)
    @given(SHAPES, SEEDS)
    def same(shape: Shape, seed: int) -> None:
        assert disagreements(ALONE[label], made(shape), seed, IN_ALL) == []

    same()


@pytest.mark.long
@pytest.mark.parametrize("label", ALONE)
def test_every_method_on_many_workloads(label: str) -> None:
    @few(10)
    @given(SHAPES, SEEDS)
    def same(shape: Shape, seed: int) -> None:
        assert disagreements(ALONE[label], made(shape), seed) == []

    same()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(mistake: str) -> None:
    """By the same comparison, on the same rows."""
    what = learnt(composed({"name": "grpo"}), RICH)
    (update,) = what.lesson.updates
    rows, wanted = weighed(what.terms, update.examples)
    assert differences(MISTAKES[mistake](Case(rows, what.terms, Random(0))), wanted) != []
