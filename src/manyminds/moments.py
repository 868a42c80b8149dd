"""Single answers worth a look while the demo runs: what only one expert knows, what was rescued, what was forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from manyminds.records import PLAIN
from manyminds.report.findings import Comparison, comparisons
from manyminds.report.runs import Answered, Evaluation
from manyminds.report.terminal import Kind, moment

MOST = 3
"""Moments of one kind that are shown in a run."""


def complementary(evaluation: Evaluation, most: int = MOST) -> Iterator[RenderableType]:
    """Questions that one expert got right and all others wrong: for each expert the first such question."""
    shown = 0
    for expert in evaluation.experts:
        only = (a for a in evaluation.answers if _knows(a, evaluation.experts) == [expert])
        for answered in only if shown < most and len(evaluation.experts) > 1 else ():
            greedy = {name: answered.greedy[name] for name in evaluation.experts}
            yield moment("complementary", answered.question, greedy, {}, expert, answer=answered.answer)
            shown += 1
            break


def _knows(answered: Answered, experts: Sequence[str]) -> list[str]:
    return [name for name in experts if answered.greedy[name].correct]


class Moments:
    """Compares each evaluation of an arm on validation questions with its first; tells at most `most` of each kind."""

    def __init__(self, arm: str, most: int = MOST) -> None:
        self.arm, self.most = arm, most
        self.first: Evaluation | None = None
        self.told: Counter[str] = Counter()
        self.used: set[str] = set()
        self.prompts: Counter[tuple[str, str]] = Counter()

    def seen(self, evaluation: Evaluation | None) -> Iterator[RenderableType]:
        """One rescued and one forgotten answer since the first evaluation, if there are any and few were told."""
        if evaluation is None or self.first is None:
            self.first = self.first or evaluation
            return
        found = [c for c in comparisons(self.first, evaluation) if c.after.id not in self.used]
        kinds: tuple[Kind, Kind] = ("rescued", "forgotten")
        for kind in kinds:
            candidates = [(c, prompt) for c in found for prompt in _prompts(c, kind)]
            if candidates and self.told[kind] < self.most:
                best = max(candidates, key=lambda one: self._interest(kind, *one))
                yield self._tell(kind, *best)

    def _interest(self, kind: Kind, comparison: Comparison, prompt: str) -> tuple[bool, bool, int]:
        """A prompt not told of before; a question that another expert knew; an expert rather than the plain prompt."""
        knew = any(g.correct for name, g in comparison.before.greedy.items() if name not in (prompt, PLAIN))
        return (knew, prompt != PLAIN, -self.prompts[kind, prompt])

    def _tell(self, kind: Kind, comparison: Comparison, prompt: str) -> RenderableType:
        self.told[kind] += 1
        self.prompts[kind, prompt] += 1
        self.used.add(comparison.after.id)
        before, after = comparison.before, comparison.after
        return moment(kind, after.question, before.greedy, after.greedy, prompt, answer=after.answer)


def _prompts(comparison: Comparison, kind: Kind) -> tuple[str, ...]:
    return comparison.rescued if kind == "rescued" else comparison.forgotten
