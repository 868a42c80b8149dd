"""The rows of the final table, of the page and of the terminal: which metrics, in which order, what each means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manyminds.report.runs import Measure

GREEDY = (
    ("plain", "plain", "the question alone"),
    ("mean", "mean", "average over the expert prompts"),
    ("worst", "worst", "the weakest expert prompt"),
    ("best", "best", "the prompt best on validation"),
    ("vote", "vote", "what most experts answer"),
    ("oracle", "oracle", "at least one expert is right"),
)
GROUPS = (
    ("all_wrong", "all wrong", "groups without one right answer"),
    ("all_right", "all right", "groups without one wrong answer"),
    ("pooled_all_wrong", "pooled all wrong", "no sample of any expert is right"),
)
SAMPLED = (
    (r"pass_at_(\d+)", "pass@{}", "1 of {} samples is right, per expert"),
    (r"pooled_pass_at_(\d+)", "pooled pass@{}", "1 of {} is right, experts together"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of the table; `group` marks shares of groups, of which more is not better."""

    key: str
    name: str
    meaning: str
    group: bool = False


def rows(arms: Sequence[Mapping[str, Measure]]) -> tuple[Row, ...]:
    """The metrics that any arm has. How many samples pass@k speaks of is read from the metrics' names."""
    there = sorted({key for metrics in arms for key in metrics}, key=_by_number)
    found = [Row(*entry) for entry in GREEDY]
    for pattern, name, meaning in SAMPLED:
        matches = [match for key in there if (match := re.fullmatch(pattern, key))]
        found += [Row(match[0], name.format(match[1]), meaning.format(match[1])) for match in matches]
    found += [Row(*entry, group=True) for entry in GROUPS]
    return tuple(row for row in found if row.key in there)


def _by_number(key: str) -> tuple[str, int]:
    return re.sub(r"\d+", "", key), int("0" + "".join(re.findall(r"\d", key)))
