"""Yes or no, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from manyminds.rewards.reward import reward


@reward(trusted=True)
def yes_no_answer(response: str, answer: str, extract: Callable[[str], str | None]) -> bool:
    """Whether what the task reads out of the response is the gold yes or no; case and a full stop do not count."""
    found = extract(response)
    return found is not None and read_yes_no(found) is not None and read_yes_no(found) == read_yes_no(answer)


def read_yes_no(text: str) -> str | None:
    """`yes` or `no`; None for anything else."""
    bare = text.strip().casefold().removesuffix(".")
    return bare if bare in ("yes", "no") else None
