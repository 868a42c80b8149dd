"""Many answers checked against their gold ones: quickly here, by sympy in processes with a deadline."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from manyminds.maths.equivalence import Undecided, quickly
from manyminds.workers import GIB, Workers

DEADLINE = 5.0
KEPT = 2**16
"""Verdicts that are remembered, the oldest forgotten first."""


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
        self._known: OrderedDict[bytes, Checked] = OrderedDict()

    def __call__(self, pairs: Iterable[tuple[str, str]]) -> list[Checked]:
        """A verdict for each pair of a gold answer and a response, in their order."""
        every = [(self._key(gold, response), gold, response) for gold, response in pairs]
        left: dict[bytes, tuple[Any, ...]] = {}
        found: dict[bytes, Checked] = {}
        for key, gold, response in every:
            if key in found or key in left:
                continue
            if (known := self._known.get(key)) is not None:
                found[key] = known
                continue
            try:
                found[key] = Checked(quickly(gold, response, self.strict))
            except Undecided:
                left[key] = (gold, response, self.strict)
        for key, done in zip(left, self.workers(0, [*left.values()]) if left else (), strict=True):
            value = False if done.failure else done.value
            found[key] = Checked(value, asked=True, failure=done.failure, killed=done.killed)
        self._remember(found)
        return [found[key] for key, _, _ in every]

    def close(self) -> None:
        """End the processes; the next pair that needs one starts others."""
        self.workers.close()

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _remember(self, found: dict[bytes, Checked]) -> None:
        self._known.update(found)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)

    @staticmethod
    def _key(gold: str, response: str) -> bytes:
        """What stands for a pair among the remembered ones, so that long responses are not kept."""
        found = hashlib.blake2b(str(len(gold)).encode(), digest_size=16)
        found.update((gold + response).encode("utf-8", "surrogatepass"))
        return found.digest()
