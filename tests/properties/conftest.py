"""What the tests of this folder share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def hushed(quiet: None) -> None:
    """All of them make models."""
