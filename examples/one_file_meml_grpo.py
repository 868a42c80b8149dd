"""MEML-GRPO (arXiv:2508.09670) in one file of plain torch: every equation once, and nothing else.

One model plays N experts, each chosen by its own prompt. Every expert answers every question G times; then

    L_total = L_GRPO + lambda1 * L_KL + lambda2 * L_SFT

    L_GRPO  an expert's answers to a question are compared with each other   (advantages, grpo_loss)
    L_KL    the worst expert learns the best expert's right answers          (mutual_loss)
    L_SFT   an expert that keeps failing is shown the solution               (hard_candidates, HardBuffer, sft_loss)

`model` is any callable from ids [1, L] to logits [1, L, V]; wrap a Hugging Face model as `lambda ids: m(ids).logits`.
One sequence goes through it at a time, without padding: slow, and plainly right. Where the paper leaves a choice
open, or prints a sign that defeats its own purpose, the choice is a keyword and the docstring says which is printed.

`python examples/one_file_meml_grpo.py` trains a toy with and without the two new terms and prints the rewards.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]
Ids = Sequence[int]
Pair = tuple[Ids, Ids]  # prompt, response
Rewards = Sequence[Sequence[float]]  # [expert][answer]
Average = Literal["tokens", "sequences", "sum"]
Tokens = Literal["mean", "sum"]  # from a response's tokens to its number: 1/|o| each, or their plain sum as printed
PolicyLoss = Literal["positive_only", "clip"]
OVER_TOKENS = {"mean": torch.mean, "sum": torch.sum}


@dataclass
class Group:
    """One question: a prompt per expert, answers and rewards by [expert][answer], the ground-truth solution."""

    prompts: Sequence[Ids]
    answers: Sequence[Sequence[Ids]]
    rewards: Rewards
    solution: Ids
    old_logprobs: Sequence[Sequence[Sequence[float]]] | None = None  # [expert][answer][token], for "clip" alone


def token_distributions(model: Model, prompt: Ids, response: Ids) -> Tensor:
    """log pi(. | prompt, response[:t]) for each t, shape [T, V]: the logits at position p speak of token p + 1."""
    logits = model(torch.tensor([[*prompt, *response]]))[0]
    return logits[len(prompt) - 1 : -1].log_softmax(-1)


def token_logprobs(model: Model, prompt: Ids, response: Ids) -> Tensor:
    """log pi(response[t] | prompt, response[:t]), shape [T]; their sum is log pi(response | prompt)."""
    return token_distributions(model, prompt, response).gather(-1, torch.tensor(response)[:, None])[:, 0]


def sft_loss(model: Model, pairs: Sequence[Pair], *, average: Average = "tokens") -> Tensor:
    """L_SFT = -sum over (prompt, response) of log pi(response | prompt), which is "sum", as printed.

    "sequences" divides that by the number of responses, "tokens" by the number of their tokens. No pairs: 0.
    """
    if not pairs:
        return torch.zeros(())
    nll = -torch.cat([token_logprobs(model, prompt, response) for prompt, response in pairs])
    return nll.sum() / {"tokens": len(nll), "sequences": len(pairs), "sum": 1}[average]


def mef_loss(model: Model, traces: Sequence[Pair], *, average: Average = "tokens") -> Tensor:
    """The warm-up, L_MEF = -sum_j sum_i log pi(A_j^i | Q_j, P_i): each teacher's traces under its expert's prompt."""
    return sft_loss(model, traces, average=average)


def advantages(rewards: Sequence[float], scale: Literal["none", "std"] = "none") -> Tensor:
    """A_g = r_g - mean(r) among one expert's answers to one question, shape [G]; printed without a scale.

    "std" divides by the sample standard deviation (over G - 1) plus 1e-6, as GRPO does. One answer alone has A = 0.
    """
    r = torch.tensor(rewards, dtype=torch.float64)
    centred = r - r.mean()
    return centred / (r.std() + 1e-6) if scale == "std" and len(r) > 1 else centred


def policy_per_token(
    logprobs: Tensor, advantage: float, loss: PolicyLoss, old: Sequence[float] | None, clip: tuple[float, float]
) -> Tensor:
    """The loss of each token of one answer, shape [T].

    "positive_only", as printed: -log pi * max(A, 0). "clip": -min(rho A, clamp(rho, 1 - low, 1 + high) A) with
    rho = pi / pi_old per token; without old log-probs the current ones, held fixed, so that rho is 1.
    """
    if loss == "positive_only":
        return -logprobs * max(advantage, 0.0)
    before = logprobs.detach() if old is None else torch.tensor(old, dtype=logprobs.dtype)
    ratio = (logprobs - before).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip[0], 1 + clip[1]) * advantage)


def grpo_loss(
    model: Model,
    groups: Sequence[Group],
    *,
    policy_loss: PolicyLoss = "positive_only",
    scale: Literal["none", "std"] = "none",
    tokens: Tokens = "mean",
    clip: tuple[float, float] = (0.2, 0.2),
) -> Tensor:
    """L_GRPO: the mean, over every answer of every expert to every question, of its policy loss."""
    losses = []
    for group in groups:
        for i, prompt in enumerate(group.prompts):
            for g, advantage in enumerate(advantages(group.rewards[i], scale).tolist()):
                old = group.old_logprobs[i][g] if group.old_logprobs else None
                logprobs = token_logprobs(model, prompt, group.answers[i][g])
                losses.append(OVER_TOKENS[tokens](policy_per_token(logprobs, advantage, policy_loss, old, clip)))
    return torch.stack(losses).mean()


def best_and_worst(rewards: Rewards, min_gap: float = 0.0) -> tuple[int, int] | None:
    """E+ and E-: argmax and argmin of the experts' mean rewards, the first among equals; None if too close."""
    means = [sum(row) / len(row) for row in rewards]
    gap = max(means) - min(means)
    return None if gap == 0 or gap < min_gap else (means.index(max(means)), means.index(min(means)))


def right_answers(group: Group, expert: int, most: int | None = None) -> list[Ids]:
    """O+: the expert's answers with a reward above one half; with `most`, the first that many distinct ones."""
    right = [answer for answer, r in zip(group.answers[expert], group.rewards[expert], strict=True) if r > 0.5]
    return right if most is None else [*dict.fromkeys(tuple(answer) for answer in right)][:most]


def k3(strong: Tensor, weak: Tensor) -> Tensor:
    """exp(u) - 1 - u with u = weak - strong, log-probs [T]; on tokens drawn from strong its mean is KL(strong|weak)."""
    return (weak - strong).expm1() - (weak - strong)


def full_kl(strong: Tensor, weak: Tensor) -> Tensor:
    """KL(strong|weak) = sum_v p_strong(v) (log p_strong(v) - log p_weak(v)), from log-probs [T, V] to [T]."""
    return (strong.exp() * (strong - weak)).sum(-1)


def mutual_loss(
    model: Model,
    groups: Sequence[Group],
    *,
    estimator: Literal["sequence", "k3", "full"] = "sequence",
    direction: Literal["strong_to_weak", "as_printed"] = "strong_to_weak",
    tokens: Tokens = "mean",
    min_gap: float = 0.0,
    most: int | None = None,
) -> Tensor:
    """L_KL: in each question E- is drawn to E+ along O+; the mean over O+, then over all questions (no pair: 0).

    "strong_to_weak" estimates KL(P_E+ | P_E-) with the strong side held fixed: by k3, by full_kl, or ("sequence")
    by log p(O+|P_E+) - log p(O+|P_E-). "as_printed" is the paper's log p(O+|P_E-) - log p(O+|P_E+) with gradient
    through both: minimised, it drives E- away from E+'s answers. It is kept for the record, for "sequence" alone.
    """
    if direction == "as_printed" and estimator != "sequence":
        raise ValueError(f"direction 'as_printed' goes with estimator 'sequence', not {estimator!r}")
    view = token_distributions if estimator == "full" else token_logprobs
    divergence = {"sequence": torch.sub, "k3": k3, "full": full_kl}[estimator]
    per_question = []
    for group in groups:
        per_answer = []
        if pair := best_and_worst(group.rewards, min_gap):
            for answer in right_answers(group, pair[0], most):
                strong, weak = (view(model, group.prompts[i], answer) for i in pair)
                printed = direction == "as_printed"
                values = weak - strong if printed else divergence(strong.detach(), weak)
                per_answer.append(OVER_TOKENS[tokens](values))
        per_question.append(torch.stack(per_answer).mean() if per_answer else torch.zeros(()))
    return torch.stack(per_question).mean()


def hard_candidates(rewards: Rewards, K: int, compare: Literal["gt", "ge"] = "gt") -> list[int]:
    """The experts with more than ("gt"), or at least ("ge"), K wrong answers to a question."""
    wrong = [sum(r <= 0.5 for r in row) for row in rewards]
    return [i for i, w in enumerate(wrong) if w > K or (compare == "ge" and w == K)]


@dataclass
class HardBuffer:
    """Pairs (prompt of a failing expert, solution) that wait until there are `capacity` of them.

    It holds its own random numbers: pickle it whole, and training goes on as if it had never stopped.
    """

    capacity: int = 64
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    items: list[Pair] = field(default_factory=list)

    def offer(self, group: Group, *, K: int = 6, compare: Literal["gt", "ge"] = "gt", p: float | None = None) -> None:
        """Insert each hard pair with probability p, by default K/G: one draw per candidate, in expert order."""
        for i in hard_candidates(group.rewards, K, compare):
            if self.rng.random() < (K / len(group.rewards[i]) if p is None else p):
                self.items.append((group.prompts[i], group.solution))

    def flush(self) -> list[Pair]:
        """Take out the first `capacity` pairs; none while there are fewer."""
        n = self.capacity if len(self.items) >= self.capacity else 0
        taken, self.items = self.items[:n], self.items[n:]
        return taken


def total_loss(grpo: Tensor, mutual: Tensor, sft: Tensor, lambda1: float = 0.1, lambda2: float = 0.1) -> Tensor:
    """L_total = L_GRPO + lambda1 L_KL + lambda2 L_SFT. The paper gives no value of either lambda; 0.1 is ours."""
    return grpo + lambda1 * mutual + lambda2 * sft


# The toy: a + b modulo 7. Tokens 0-6 are digits, 7-9 the experts' prompts, 10 is "=", 11 ends, 12 pads the window.
QUESTIONS = [(a, b) for a in range(7) for b in range(7)]


class Toy(nn.Module):
    """Reads the last 8 tokens through an embedding and one hidden layer: ids [B, L] to logits [B, L, 12]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, 16)
        self.head = nn.Sequential(nn.Flatten(2), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 12))

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(nn.functional.pad(ids, (7, 0), value=12).unfold(1, 8, 1)))
        return logits


def worked(expert: int, a: int, b: int) -> list[int]:
    """A teacher's trace: the first answers at once, the second writes b a before, the third a b."""
    return [*([], [b, a], [a, b])[expert], 10, (a + b) % 7, 11]


def ask(model: Toy, a: int, b: int, n: int = 8) -> Group:
    """Every expert draws n answers of at most 5 tokens; right ones end with "=", the sum, and the end token."""
    prompts, solution = [[7 + i, a, b] for i in range(3)], worked(0, a, b)
    ids = torch.tensor(prompts).repeat_interleave(n, 0)
    with torch.no_grad():
        for _ in range(5):
            ids = torch.cat([ids, model(ids)[:, -1].softmax(-1).multinomial(1)], 1)
    drawn = [row[: row.index(11) + 1] if 11 in row else row for row in ids[:, 3:].tolist()]
    answers = [drawn[i * n : (i + 1) * n] for i in range(3)]
    return Group(prompts, answers, [[float(x[-3:] == solution) for x in row] for row in answers], solution)


def warm_up(model: Toy, rng: random.Random) -> None:
    """MEF on unequal teachers, who worked out 14, 42 and 21 of the 49 questions."""
    traces: list[Pair] = [
        ([7 + i, a, b], worked(i, a, b)) for i, n in enumerate((14, 42, 21)) for a, b in rng.sample(QUESTIONS, n)
    ]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        mef_loss(model, rng.sample(traces, 32)).backward()
        optimiser.step()


def train(model: Toy, rng: random.Random, lambda1: float, lambda2: float) -> None:
    """60 steps of 4 questions x 3 experts x 8 answers."""
    optimiser, buffer = torch.optim.SGD(model.parameters(), 0.3), HardBuffer(16, rng)
    for _ in range(60):
        groups = [ask(model, a, b) for a, b in rng.choices(QUESTIONS, k=4)]
        for group in groups:
            buffer.offer(group)
        losses = grpo_loss(model, groups), mutual_loss(model, groups), sft_loss(model, buffer.flush())
        optimiser.zero_grad()
        total_loss(*losses, lambda1, lambda2).backward()
        optimiser.step()


def main(seeds: int = 3) -> None:
    """Print each expert's mean reward over all questions, 16 answers each, averaged over the seeds."""
    arms = {"GRPO alone": (0.0, 0.0), "GRPO + mutual": (0.1, 0.0), "MEML-GRPO": (0.1, 0.1)}
    table = {name: torch.zeros(3) for name in ("after warm-up", *arms)}
    for seed in range(seeds):
        torch.manual_seed(seed)
        warm_up(start := Toy(), random.Random(seed))
        for name in table:
            model = copy.deepcopy(start)
            if name in arms:
                train(model, random.Random(seed), *arms[name])
            rewards = torch.tensor([ask(model, a, b, 16).rewards for a, b in QUESTIONS])
            table[name] += rewards.mean((0, 2)) / seeds
    for name, row in table.items():
        print(f"{name:14}", *(f"expert {i} {r:.2f}  " for i, r in enumerate(row.tolist())), f"mean {row.mean():.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
