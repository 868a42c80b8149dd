"""The strictest verifier: right if and only if the final answer is the gold answer, character by character."""

from __future__ import annotations

from collections.abc import Callable

from manyminds.rewards.reward import reward


@reward(trusted=True)
def exact_answer(response: str, answer: str, extract: Callable[[str], str | None]) -> bool:
    """Whether what the task reads out of the response equals the gold answer; surrounding blanks do not count."""
    found = extract(response)
    return found is not None and found.strip() == answer.strip()
