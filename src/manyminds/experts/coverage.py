"""What collected answers are worth: which questions each expert got right, what all cost, who fails where others do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """One collected answer after the verdict. `whole`: it is not empty, and ended by itself; only such are right."""

    question: str
    expert: str
    right: bool
    whole: bool
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """One expert, and the model that wrote for it.

    `covered` of `questions` have a right answer, to learn from; of `answers` that came, `right` are right and
    `left_out` empty or cut off; `unanswered` counts by cause those that did not come.
    """

    expert: str
    model: str
    questions: int
    covered: int
    answers: int
    right: int
    left_out: int
    unanswered: Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int

    @property
    def accuracy(self) -> float | None:
        """The share of right answers among those that came; None if none did."""
        return self.right / self.answers if self.answers else None


def coverages(
    models: Mapping[str, str], questions: int, judged: Sequence[Judged], missed: Iterable[tuple[str, str]]
) -> tuple[Coverage, ...]:
    """One for each expert in `models` (expert: its teacher's model); `missed` are (expert, cause)."""
    causes = Counter(missed)
    found = []
    for expert, model in models.items():
        its = [one for one in judged if one.expert == expert]
        found.append(
            Coverage(
                expert=expert,
                model=model,
                questions=questions,
                covered=len({one.question for one in its if one.right}),
                answers=len(its),
                right=sum(one.right for one in its),
                left_out=sum(not one.whole for one in its),
                unanswered={cause: n for (name, cause), n in causes.items() if name == expert},
                prompt_tokens=sum(one.prompt_tokens for one in its),
                completion_tokens=sum(one.completion_tokens for one in its),
            )
        )
    return tuple(found)


def oracle(judged: Iterable[Judged]) -> int:
    """Questions to which some expert has a right answer."""
    return len({one.question for one in judged if one.right})


def failing_together(experts: Sequence[str], judged: Sequence[Judged]) -> dict[str, dict[str, float | None]]:
    """[a][b]: of the questions to which a has no right answer, the share to which b has none either.

    Only questions that both answered count. None where a fails none of them.
    """
    answered: dict[str, set[str]] = {name: set() for name in experts}
    solved: dict[str, set[str]] = {name: set() for name in experts}
    for one in judged:
        answered[one.expert].add(one.question)
        if one.right:
            solved[one.expert].add(one.question)

    def share(a: str, b: str) -> float | None:
        failed = (answered[a] & answered[b]) - solved[a]
        return len(failed - solved[b]) / len(failed) if failed else None

    return {a: {b: share(a, b) for b in experts if b != a} for a in experts}
