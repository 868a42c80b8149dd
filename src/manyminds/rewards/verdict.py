"""From what every reward said of an answer to its one number: gates, standardisation, weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from manyminds.rewards.reward import Reward
from manyminds.rewards.sample import Judgment, Outcome


@dataclass(slots=True)
class Verdict:
    """What the rewards said of one answer of the group `group`.

    `parts` are values before weights, None where a reward did not apply or was not asked; `shut` are the rewards that
    were not asked because of their gate; `failures` those that broke, with the error; `unanswered` those of models
    that gave no score, with the reason; `judgments` what verifiers of one word said; `killed`: a worker process was
    lost over it.
    """

    group: tuple[str, str]
    parts: dict[str, float | None] = field(default_factory=dict)
    extras: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unanswered: dict[str, str] = field(default_factory=dict)
    shut: set[str] = field(default_factory=set)
    judgments: dict[str, Judgment] = field(default_factory=dict)
    killed: bool = False

    @property
    def available(self) -> bool:
        return any(part is not None for part in self.parts.values())

    def open(self, gate: Reward | None) -> bool:
        """Whether a reward behind this gate, if any, may be asked: above 0, or above one half where it is graded."""
        return gate is None or (self.parts.get(gate.name) or 0.0) > gate.opens_above

    def take(self, name: str, outcome: Outcome) -> None:
        """Note what a reward said."""
        self.parts[name] = outcome.value
        self.extras |= {f"rewards/{name}/{key}": value for key, value in outcome.extras.items()}
        self.killed = self.killed or outcome.killed
        if outcome.failure:
            self.failures[name] = outcome.failure
        if outcome.judgment:
            self.judgments[name] = outcome.judgment
        if outcome.unanswered:
            self.unanswered[name] = outcome.unanswered

    def term(self, reward: Reward) -> float | None:
        """What the reward adds before its weight: its value; 0 if its gate is shut; None if it does not apply.

        An answer on which any reward failed has no terms.
        """
        if self.failures:
            return None
        return 0.0 if reward.name in self.shut else self.parts[reward.name]


def sums(verdicts: Sequence[Verdict], rewards: Sequence[Reward]) -> list[float]:
    """The reward of each answer: the sum over rewards of weight times term, those that do not apply left out.

    A term with `normalise` "group" is first standardised among the answers of its group to which it applies
    (`formulas/advantages.py:standardised`), one with "batch" among all to which it applies (`batch_standardised`), so
    that equal values add exactly 0.
    """
    terms: list[list[float]] = [[] for _ in verdicts]
    for reward in rewards:
        values = [verdict.term(reward) for verdict in verdicts]
        if reward.normalise == "group":
            values = within_groups([verdict.group for verdict in verdicts], values)
        elif reward.normalise == "batch":
            values = over_all(values)
        for its, value in zip(terms, values, strict=True):
            its += [] if value is None else [reward.weight * value]
    return [math.fsum(its) for its in terms]


def over_all(values: Sequence[float | None]) -> list[float | None]:
    """The z-scores of the values, with the population's deviation; None stays None and is left out of mean and spread.

    Equal values give exactly 0. Source: Crossing the Reward Bridge (arXiv 2503.23829).
    """
    import torch

    from manyminds.formulas.advantages import batch_standardised

    row = torch.tensor([value for value in values if value is not None], dtype=torch.float64)
    found = iter(batch_standardised(row, torch.ones_like(row)).tolist())
    return [None if value is None else next(found) for value in values]


def within_groups(groups: Sequence[tuple[str, str]], values: Sequence[float | None]) -> list[float | None]:
    """The values standardised among those of their group; None stays None and is left out of mean and spread."""
    import torch

    from manyminds.formulas.advantages import standardised

    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, (group, value) in enumerate(zip(groups, values, strict=True)):
        if value is not None:
            places[group].append(place)
    found: list[float | None] = [None] * len(values)
    for its in places.values():
        row = standardised(torch.tensor([values[place] for place in its], dtype=torch.float64))
        for place, value in zip(its, row.tolist(), strict=True):
            found[place] = value
    return found
