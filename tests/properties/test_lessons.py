"""The lesson, examples and memory, is the same on every rank, whichever computes it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given

from manyminds.memory import from_json, to_json
from properties.learning import lesson_of
from properties.lessons import digests
from properties.subjects import ALONE, composed
from properties.workload import SHAPES, Shape, few, made


@pytest.mark.parametrize("label", ALONE)
def test_every_rank_learns_the_same(label: str) -> None:
    """Each builds the method for itself and has its groups from a gather; only the seed is shared."""

    @few(3)
    @given(SHAPES)
    def same(shape: Shape) -> None:
        workload = made(shape)
        gathered = replace(workload, groups=pickle.loads(pickle.dumps(workload.groups)))
        mine, theirs = (lesson_of(composed(ALONE[label]), one) for one in (workload, gathered))
        assert mine == theirs
        assert from_json(json.loads(json.dumps(to_json(mine.memory)))) == theirs.memory

    same()


def test_another_process_learns_the_same() -> None:
    """In which sets and hashes come in another order."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-m", "properties.lessons"], env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == digests()


def test_a_rank_with_random_numbers_of_its_own_would_be_seen() -> None:
    """Which hard examples enter the buffer is drawn: by a seed of the rank's own, memories would part."""
    method = composed({"name": "meml_grpo", "hard_wrong": 1, "hard_probability": "w/G"})
    memories = {repr(lesson_of(method, made(Shape()), rng=f"rank {rank}").memory) for rank in range(4)}
    assert len(memories) > 1
