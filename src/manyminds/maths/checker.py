"""Many answers checked against their gold ones: quickly here, by sympy in processes with a deadline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from manyminds.maths.equivalence import Undecided, quickly
from manyminds.workers import GIB, Workers

DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Checked:
    """`value`: whether the answer is right; None if the gold one cannot be read. `asked`: sympy was. `failure`: why it
    gave no verdict, which then is "not right"; `killed`: it was ended at the deadline or for its memory."""

    value: bool | None
    asked: bool = False
    failure: str = ""
    killed: bool = False


class Checker:
    """Checks responses, or bare answers, against gold answers; close it at the end, or use it in a `with`.

    `strict` as in `manyminds.maths.equivalence.matches`; sympy has `deadline` seconds for a pair. Processes are started
    when the first pair needs one.
    """

    def __init__(
        self, *, strict: bool = True, count: int | None = None, deadline: float = DEADLINE, memory: int = 2 * GIB
    ) -> None:
        from manyminds.maths.stopped import verdict

        self.strict = strict
        self.workers = Workers([verdict], count=count, deadline=deadline, memory=memory)

    def __call__(self, pairs: Iterable[tuple[str, str]]) -> list[Checked]:
        """A verdict for each pair of a gold answer and a response, in their order."""
        found: list[Checked] = []
        left: dict[int, tuple[Any, ...]] = {}
        for place, (gold, response) in enumerate(pairs):
            try:
                found.append(Checked(quickly(gold, response, self.strict)))
            except Undecided:
                found.append(Checked(False, asked=True))
                left[place] = (gold, response, self.strict)
        for place, done in zip(left, self.workers(0, [*left.values()]), strict=True):
            value = False if done.failure else done.value
            found[place] = replace(found[place], value=value, failure=done.failure, killed=done.killed)
        return found

    def close(self) -> None:
        """End the processes; the next pair that needs one starts others."""
        self.workers.close()

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
