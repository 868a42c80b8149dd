"""The metrics of a step: one flat dict. This file is the list of their names; TRL's names where TRL has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

from manyminds.records import Group, Rollout


class Metrics:
    """Numbers of one step by name; a name added twice keeps its sum if it counts, its mean if it is of every update,
    its first value if it is of the policy that drew the answers, else its last value."""

    COUNTS = (
        "trained_tokens",
        "trained_rows",
        "sampled_tokens",
        "groups/refused",
        "mutual/pairs",
        "hard_buffer/inserts",
    )
    OF_EVERY_UPDATE = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio")
    OF_THE_DRAW = ("sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max")

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.times: Counter[str] = Counter()

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name in self.OF_THE_DRAW and name in self.values:
                continue
            self.times[name] += 1
            before = self.values.get(name, 0.0)
            if name in self.OF_EVERY_UPDATE:
                self.values[name] = before + (value - before) / self.times[name]
            else:
                self.values[name] = before + value if name in self.COUNTS else value

    def sampled(self, rollouts: Sequence[Rollout]) -> None:
        """Every token the policy chose, also what is thrown away later: the budget."""
        self.add({"sampled_tokens": float(sum(sum(r.mask) if r.mask else len(r.ids) for r in rollouts))})
        self.add(of_rollouts(rollouts))


def of_rollouts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Lengths, the share cut at the limit, and the mean entropy in nats per token."""
    if not rollouts:
        return {}
    lengths = [len(r.ids) for r in rollouts]
    entropies = [e for r in rollouts for e in r.entropies]
    return {
        "completions/mean_length": fmean(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/clipped_ratio": fmean(r.finish == "length" for r in rollouts),
        **({"entropy": fmean(entropies)} if entropies else {}),
    }


def of_groups(groups: Sequence[Group]) -> dict[str, float]:
    """Rewards, and how many groups carry a signal: per expert, over all, and pooled over a question's experts.

    Traces that a method put into groups do not count.
    """
    rows = [a for g in groups for a in g.answers]
    if not rows:
        return {}
    each = [[s.reward for s in a.drawn] for a in rows]
    rewards = [r for its in each for r in its]
    metrics = {
        "reward": fmean(rewards),
        "reward_std": fmean(map(pstdev, each)),
        "frac_reward_zero_std": fmean(max(its) == min(its) for its in each),
        "groups/all_wrong": fmean(a.wrong == len(a.drawn) for a in rows),
        "groups/all_right": fmean(a.wrong == 0 for a in rows),
        "groups/pooled_all_wrong": fmean(all(a.wrong == len(a.drawn) for a in g.answers) for g in groups),
    }
    metrics["groups/pooled_all_right"] = fmean(all(a.wrong == 0 for a in g.answers) for g in groups)
    metrics["groups/mixed"] = 1.0 - metrics["groups/all_wrong"] - metrics["groups/all_right"]
    for expert in dict.fromkeys(a.expert for a in rows):
        its = [a for a in rows if a.expert == expert]
        metrics[f"experts/{expert}/reward"] = fmean(s.reward for a in its for s in a.drawn)
        metrics[f"experts/{expert}/frac_all_right"] = fmean(a.wrong == 0 for a in its)
        metrics[f"experts/{expert}/frac_all_wrong"] = fmean(a.wrong == len(a.drawn) for a in its)
    for part in dict.fromkeys(name for a in rows for s in a.drawn for name in s.parts):
        values = [v for a in rows for s in a.drawn if (v := s.parts.get(part)) is not None]
        if values:
            metrics[f"rewards/{part}/mean"] = fmean(values)
            metrics[f"rewards/{part}/std"] = pstdev(values)
    return metrics
