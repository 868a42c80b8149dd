"""DAPO's soft overlong punishment against its equation, piece by piece."""

from __future__ import annotations

import pytest
import torch

from manyminds.formulas.lengths import soft_overlong


@pytest.mark.parametrize(
    ("length", "due"),
    [
        (0, 0.0),
        (16384, 0.0),
        (16385, -1 / 4096),
        (17408, -0.25),
        (18432, -0.5),
        (20479, -4095 / 4096),
        (20480, -1.0),
        (20481, -1.0),
        (99999, -1.0),
    ],
)
def test_the_papers_setting(length: int, due: float) -> None:
    """Generation ends at 20,480 tokens, the last 4,096 of which are punished."""
    assert float(soft_overlong(torch.tensor(float(length), dtype=torch.float64), 20480, 4096)) == pytest.approx(due)


def test_other_settings_by_the_equation() -> None:
    for longest, cache in ((10, 4), (10, 10), (7, 1)):
        for length in range(14):
            start = longest - cache
            due = 0.0 if length <= start else (start - length) / cache if length <= longest else -1.0
            assert float(soft_overlong(torch.tensor(float(length)), longest, cache)) == pytest.approx(due)


def test_without_a_cache_only_what_is_too_long_is_punished() -> None:
    lengths = torch.tensor([1.0, 9.0, 10.0, 11.0])
    assert soft_overlong(lengths, 10, 0).tolist() == [0.0, 0.0, 0.0, -1.0]
