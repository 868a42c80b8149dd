"""What the model can do under every prompt: greedy accuracy, vote, oracle, pass@k, shares of groups without a signal.

An evaluation is a plain mapping that JSON holds: the metrics with 95 % bootstrap intervals over questions (one model,
one seed: they do not cover seeds), and every greedy answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from manyminds.formulas.pass_at_k import pass_at_k
from manyminds.formulas.votes import majority
from manyminds.loading import Loaded
from manyminds.records import PLAIN, Ask, Decoding, Prompt, Question, Scored

RESAMPLES = 1000
UNBOUNDED = ("entropy",)
"""Metrics that are not shares."""
Values = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]


def evaluate(
    loaded: Loaded, questions: Sequence[Question], *, split: str, step: int, best: str | None = None, samples: int = 0
) -> dict[str, Any]:
    """All prompts on these questions; with `samples`, also what `samples` drawn answers per expert say.

    `best` names the prompt that did best on validation; its accuracy is reported as "best". Without it (on validation
    itself) "best" is the highest accuracy, and "best_expert" in the result names it.
    """
    experts = [expert.name for expert in loaded.experts]
    greedy = ask(loaded, questions, loaded.prompts, 1, temperature=0.0, draw="greedy")
    answers = [record(loaded, question, row) for question, row in zip(questions, greedy, strict=True)]
    values = greedy_values(loaded, answers, experts)
    chosen = best or max(experts, key=lambda name: float(values[f"experts/{name}"].mean()))
    values["best"] = values[f"experts/{chosen}"]
    metrics = intervals(values, [f"experts/{name}" for name in experts])
    if samples:
        metrics |= sampled_metrics(loaded, questions, answers, experts, samples)
    for name, styles in style_shares(answers, loaded.prompts).items():
        metrics |= {f"styles/{name}/{style}": {"value": share} for style, share in styles.items()}
    return {
        "split": split,
        "step": step,
        "experts": experts,
        "questions": len(questions),
        "best_expert": chosen,
        "metrics": metrics,
        "answers": answers,
    }


def on_test(loaded: Loaded, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """All validation questions, and with the prompt that was best on them everything on all test questions."""
    validation = evaluate(loaded, loaded.questions["validation"], split="validation", step=step)
    best, samples = validation["best_expert"], loaded.recipe.evaluation.samples
    test = evaluate(loaded, loaded.questions["test"], split="test", step=step, best=best, samples=samples)
    return validation, test


def ask(
    loaded: Loaded, questions: Sequence[Question], prompts: Sequence[str], n: int, *, temperature: float, draw: str
) -> list[dict[str, tuple[Scored, ...]]]:
    """For every question, the `n` answers under each prompt, as the verifier judged them."""
    decoding = Decoding(temperature, loaded.recipe.sampling.max_tokens, stop=loaded.recipe.sampling.stop)
    asks = [Ask(Prompt(question, name), n, decoding) for question in questions for name in prompts]
    scored = iter(loaded.judge.verify(loaded.sampler.sample(asks, f"{loaded.recipe.seed}/evaluation/{draw}")))
    return [{name: tuple(next(scored) for _ in range(n)) for name in prompts} for _ in questions]


def record(loaded: Loaded, question: Question, row: Mapping[str, tuple[Scored, ...]]) -> dict[str, Any]:
    """One question with its greedy answers, as the evaluation file keeps it."""
    style = loaded.task.style
    greedy = {}
    for name, (one,) in row.items():
        text = one.rollout.text
        greedy[name] = {"text": text, "correct": one.right} | ({"style": style(text)} if style else {})
    named = question.extras.get("family")
    family = {"family": named} if isinstance(named, str) else {}  # a user's column of this name may hold anything
    return {
        "id": question.id,
        "question": question.text,
        "answer": question.answer,
        **family,
        "greedy": greedy,
        "right": {},
    }


def greedy_values(
    loaded: Loaded, answers: Sequence[Mapping[str, Any]], experts: Sequence[str]
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Per question: right or wrong under each prompt; their mean, vote (ties shared) and oracle over experts.

    The vote is right where the answer that won it was judged right, whatever way the gold answer is written.
    """
    right = {name: np.array([float(a["greedy"][name]["correct"]) for a in answers]) for name in loaded.prompts}
    columns = np.stack([right[name] for name in experts])
    read = [[loaded.task.extract(a["greedy"][name]["text"]) for name in experts] for a in answers]
    vote = [
        voted(its, [a["greedy"][name]["correct"] for name in experts]) for its, a in zip(read, answers, strict=True)
    ]
    return {
        "plain": right[PLAIN],
        "mean": columns.mean(0),
        "vote": np.array(vote),
        "oracle": columns.max(0),
        **{f"experts/{name}": right[name] for name in experts},
    }


def voted(read: Sequence[str | None], correct: Sequence[bool]) -> float:
    """The share of the vote's winners among the answers `read` that were judged right."""
    right = {answer for answer, its in zip(read, correct, strict=True) if its}
    return sum(share for answer, share in majority(read).items() if answer in right)


def sampled_metrics(
    loaded: Loaded,
    questions: Sequence[Question],
    answers: Sequence[dict[str, Any]],
    experts: Sequence[str],
    samples: int,
) -> dict[str, dict[str, float]]:
    """pass@G and at further k (mean over experts), pass@(E G) of the pooled answers, shares of groups of G without a
    signal, and the entropy.

    The pool is all experts' answers together, drawn from without regard to who gave them.

    All unbiased from `samples` answers per expert (Chen et al. 2021, eq. 1): a group of G is all wrong with probability
    1 - pass@G, all right with probability 1 - (pass@G of the wrong answers), and all experts' groups are all wrong
    together with the product of their probabilities. The entropy, in nats per token at the sampling temperature, is the
    mean of -log-prob over what was drawn, of every question's answers together: its Monte Carlo estimate.
    """
    evaluation = loaded.recipe.evaluation
    group = evaluation.group
    some = list(questions)[: evaluation.sampled_questions or None]
    temperature = loaded.recipe.sampling.temperature
    drawn = ask(loaded, some, experts, samples, temperature=temperature, draw="sampled")
    right = np.array([[sum(s.right for s in row[name]) for name in experts] for row in drawn])
    for answer, counts in zip(answers, right.tolist(), strict=False):
        answer["right"] = {name: [k, samples] for name, k in zip(experts, counts, strict=True)}
    passed, *further = (
        np.array([[float(pass_at_k(samples, c, k)) for c in row] for row in right.tolist()])
        for k in (group, *evaluation.pass_at)
    )
    failed = np.array([[float(pass_at_k(samples, samples - k, group)) for k in row] for row in right.tolist()])
    total, pooled = samples * len(experts), group * len(experts)
    values = {
        **{f"pass_at_{k}": its.mean(1) for k, its in zip(evaluation.pass_at, further, strict=True)},
        f"pass_at_{group}": passed.mean(1),
        f"pooled_pass_at_{pooled}": np.array([float(pass_at_k(total, int(row.sum()), pooled)) for row in right]),
        "all_wrong": 1 - passed.mean(1),
        "all_right": 1 - failed.mean(1),
        "pooled_all_wrong": (1 - passed).prod(1),
        **{f"all_wrong/{name}": 1 - passed[:, i] for i, name in enumerate(experts)},
    }
    entropy = np.array([surprise([s for name in experts for s in row[name]]) for row in drawn])
    if np.isfinite(entropy).all():  # a sampler may give what is no number: training says so and stops
        values["entropy"] = entropy
    return intervals(values, [])


def surprise(answers: Sequence[Scored]) -> float:
    """The mean -log-prob of all these answers' tokens, in nats."""
    logprobs = [logprob for one in answers for logprob in one.rollout.logprobs]
    return -sum(logprobs) / max(1, len(logprobs))


def intervals(values: Values, experts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Each value's mean over questions with its 95 % percentile bootstrap interval; and the worst of `experts`."""
    count = len(next(iter(values.values())))
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    means = {name: (float(value.mean()), weights @ value) for name, value in values.items()}
    if experts:
        lowest = np.stack([means[name][1] for name in experts]).min(0)
        means["worst"] = (min(means[name][0] for name in experts), lowest)
    return {name: _interval(mean, resampled, name in UNBOUNDED) for name, (mean, resampled) in means.items()}


def _interval(
    mean: float, resampled: np.ndarray[Any, np.dtype[np.float64]], unbounded: bool = False
) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975]).clip(0.0, np.inf if unbounded else 1.0)  # rounding leaves [0, 1]
    return {"value": mean, "low": float(low), "high": float(high)}


def style_shares(answers: Sequence[Mapping[str, Any]], prompts: Sequence[str]) -> dict[str, dict[str, float]]:
    """How often each style was used under each prompt; nothing if the task knows no styles."""
    shares = {}
    for name in prompts:
        used = Counter(a["greedy"][name]["style"] for a in answers if "style" in a["greedy"][name])
        shares[name] = {style: n / len(answers) for style, n in sorted(used.items())}
    return {name: its for name, its in shares.items() if its}
