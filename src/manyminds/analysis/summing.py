"""What the answers of models come to: pass@k, unsolvable sets and how they move, uncertainty of right and wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from manyminds.analysis.asking import Asked, Rights, Sample
from manyminds.evaluate import intervals
from manyminds.formulas.exploration import unsolved
from manyminds.formulas.pass_at_k import pass_at_k

TOGETHER = "together"
"""The name of all experts' answers in one pool, where there are several experts."""
MEAN = "mean"


def curve_points(n: int) -> tuple[int, ...]:
    """The k of the curves: powers of two up to half of the n answers, and the half."""
    half = max(1, n // 2)
    return tuple(sorted({half, *(2**i for i in range(half.bit_length()) if 2**i <= half)}))


def pass_curves(asked: Asked) -> dict[str, dict[str, dict[str, float]]]:
    """pass@k by prompt and k, with 95 % intervals over questions; of several prompts also the mean and of k answers
    drawn from their pool."""
    counts = asked.right.sum(-1)
    curves: dict[str, dict[str, dict[str, float]]] = {}
    for k in curve_points(asked.n):
        each = pass_at_k(asked.n, torch.from_numpy(counts), k).numpy()
        values = {name: each[:, i] for i, name in enumerate(asked.prompts)}
        if len(asked.prompts) > 1:
            pool = asked.n * len(asked.prompts)
            values |= {MEAN: each.mean(1), TOGETHER: pass_at_k(pool, torch.from_numpy(counts.sum(1)), k).numpy()}
        for name, its in intervals(values, []).items():
            curves.setdefault(name, {})[str(k)] = its
    return curves


def unsolvable(asked: Asked, k: int, first: int = 0) -> dict[str, Rights]:
    """U_k by prompt, of the k answers from the one numbered `first`; and what no prompt solves in k answers each."""
    right = asked.right[:, :, first:]
    found = {name: unsolved(torch.from_numpy(right[:, i]), k).numpy() for i, name in enumerate(asked.prompts)}
    if len(asked.prompts) > 1:
        found[TOGETHER] = np.logical_and.reduce(list(found.values()))
    return found


def moves(models: Sequence[Asked]) -> Iterator[dict[str, Any]]:
    """How the sets differ, prompt by prompt: of each model from itself asked again, which is chance, and of all pairs.

    The sets are U_k of the first half of a model's answers, k = n / 2; "again" is U_k of the other half.
    """
    k = models[0].n // 2
    sets = [unsolvable(one, k) for one in models]
    for one, its in zip(models, sets, strict=True):
        yield from _between(one, one, its, unsolvable(one, k, first=k), again=True)
    for (a, its_a), (b, its_b) in combinations(zip(models, sets, strict=True), 2):
        yield from _between(a, b, its_a, its_b, again=False)


def _between(
    a: Asked, b: Asked, before: Mapping[str, Rights], after: Mapping[str, Rights], *, again: bool
) -> Iterator[dict[str, Any]]:
    ids = np.array([question.id for question in a.questions], dtype=object)
    for name in before:
        was, now = before[name], after[name]
        yield {
            "from": a.source.label,
            "to": b.source.label,
            "again": again,
            "prompt": name,
            "before": int(was.sum()),
            "after": int(now.sum()),
            "both": int((was & now).sum()),
            "overlap": _share(int((was & now).sum()), int((was | now).sum())),
            "solved": list(ids[was & ~now]),
            "lost": list(ids[now & ~was]),
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def uncertainties(samples: Sequence[Sample], prompts: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Entropy, perplexity and branching by prompt and by "all", "right", "wrong" (neither without a verdict); of
    all prompts under `TOGETHER`."""
    by_prompt = {name: [one for one in samples if one.expert == name] for name in prompts}
    if len(prompts) > 1:
        by_prompt[TOGETHER] = list(samples)
    return {
        name: {
            "all": averages(its),
            "right": averages([one for one in its if one.correct]),
            "wrong": averages([one for one in its if one.correct is False]),
        }
        for name, its in by_prompt.items()
    }


def averages(samples: Sequence[Sample]) -> dict[str, Any]:
    """Entropy and branching as means over tokens, perplexity and length as means over answers; None without any."""
    if not samples:
        return {"answers": 0, "length": None, "entropy": None, "perplexity": None, "branching": None}
    lengths = np.array([one.tokens for one in samples], dtype=np.float64)

    def over_tokens(values: Sequence[float]) -> float:
        return float(np.average(values, weights=lengths))

    return {
        "answers": len(samples),
        "length": float(lengths.mean()),
        "entropy": over_tokens([one.entropy for one in samples]),
        "perplexity": float(np.mean([one.perplexity for one in samples])),
        "branching": over_tokens([one.branching for one in samples]),
    }
