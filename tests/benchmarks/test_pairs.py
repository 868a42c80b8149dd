"""docs/composing.md is what the composition law says of the methods as they are."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def pairs(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("pairs")


def test_the_page_is_what_the_code_says(pairs: ModuleType) -> None:
    assert pairs.PAGE.read_text(encoding="utf-8") == pairs.page()


def test_what_is_known_by_hand(pairs: ModuleType) -> None:
    assert pairs.refusal(["rs_grpo", "rloo"]) == "advantage"
    assert pairs.refusal(["dapo", "gspo"]) == "policy"
    assert pairs.refusal(["rs_grpo", "dynamic_sampling"]) is None
    assert pairs.refusal(["meml_grpo"]) == (
        "method.with: part 'meml_grpo' is the base itself; set its fields under the base"
    )
    assert "grpo" not in pairs.parts_of_their_own()
