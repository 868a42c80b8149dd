"""MEML-GRPO (arXiv:2508.09670) in one file of plain torch: every equation once, and nothing else.

One model plays N experts, each chosen by its own prompt. Every expert answers every question G times; then

    L_total = L_GRPO + lambda1 * L_KL + lambda2 * L_SFT

    L_GRPO  an expert's answers to a question are compared with each other   (advantages, grpo_loss)
    L_KL    the worst expert learns the best expert's right answers          (mutual_loss)
    L_SFT   an expert that keeps failing is shown the solution               (hard_candidates, HardBuffer, sft_loss)

`model` is any callable from ids [1, L] to logits [1, L, V]; wrap a Hugging Face model as `lambda ids: m(ids).logits`.
One sequence goes through it at a time, without padding: slow, and plainly right. Where the paper leaves a choice
open, or prints a sign that defeats its own purpose, there is a keyword, and the docstring says what is printed.
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
Rewards = Sequence[Sequence[float]]  # [expert][answer]
Pair = tuple[Ids, Ids]  # prompt, response
Average = Literal["tokens", "sequences", "sum"]
# From a response's tokens to its own number: 1/|o| each, or their sum as printed.
OVER_TOKENS: dict[str, Callable[[Tensor], Tensor]] = {"mean": torch.mean, "sum": torch.sum}


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
    """L_SFT = -sum of log pi(response | prompt), as printed; or that per sequence, or per token. No pairs: 0."""
    if not pairs:
        return torch.zeros(())
    nll = -torch.cat([token_logprobs(model, prompt, response) for prompt, response in pairs])
    return nll.sum() / {"tokens": len(nll), "sequences": len(pairs), "sum": 1}[average]


def mef_loss(model: Model, traces: Sequence[Pair], *, average: Average = "tokens") -> Tensor:
    """The warm-up, L_MEF = -sum_j sum_i log pi(A_j^i | Q_j, P_i): each teacher's traces under its expert's prompt."""
    return sft_loss(model, traces, average=average)


def advantages(rewards: Sequence[float], scale: Literal["none", "std"] = "none") -> Tensor:
    """A_g = r_g - mean(r) among one expert's answers to one question, shape [G], as printed.

    "std" also divides by the sample standard deviation (over G - 1) plus 1e-6, as GRPO does; a lone answer has A = 0.
    """
    r = torch.tensor(rewards, dtype=torch.float64)
    centred = r - r.mean()
    return centred / (r.std() + 1e-6) if scale == "std" and len(r) > 1 else centred


def grpo_loss(
    model: Model,
    groups: Sequence[Group],
    *,
    policy_loss: Literal["positive_only", "clip"] = "positive_only",
    scale: Literal["none", "std"] = "none",
    tokens: Literal["mean", "sum"] = "mean",
    clip: tuple[float, float] = (0.2, 0.2),
) -> Tensor:
    """L_GRPO: the mean, over every answer of every expert to every question, of the loss of its tokens.

    "positive_only", as printed: -log pi * max(A, 0). "clip": -min(rho A, clamp(rho, 1 - low, 1 + high) A) with
    rho = pi / pi_old per token; where no old log-probs are given, pi_old is pi itself, held fixed.
    """
    losses = []
    for group in groups:
        for i, prompt in enumerate(group.prompts):
            for g, advantage in enumerate(advantages(group.rewards[i], scale).tolist()):
                logprobs = token_logprobs(model, prompt, group.answers[i][g])
                old = logprobs.new_tensor(group.old_logprobs[i][g]) if group.old_logprobs else logprobs.detach()
                ratio = (logprobs - old).exp()
                clipped = torch.minimum(ratio * advantage, ratio.clamp(1 - clip[0], 1 + clip[1]) * advantage)
                gain = clipped if policy_loss == "clip" else logprobs * max(advantage, 0.0)
                losses.append(-OVER_TOKENS[tokens](gain))
    return torch.stack(losses).mean()


def best_and_worst(rewards: Rewards, min_gap: float = 0.0) -> tuple[int, int] | None:
    """E+ and E-: argmax and argmin of the experts' mean rewards, the first among equals; None if too close."""
    means = [sum(row) / len(row) for row in rewards]
    gap = max(means) - min(means)
    return None if gap == 0 or gap < min_gap else (means.index(max(means)), means.index(min(means)))


def right_answers(group: Group, expert: int, most: int | None = None) -> list[tuple[int, ...]]:
    """O+: the expert's answers with a reward above one half; with `most`, the first that many distinct ones."""
    right = [tuple(answer) for answer, r in zip(group.answers[expert], group.rewards[expert], strict=True) if r > 0.5]
    return right if most is None else list(dict.fromkeys(right))[:most]


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
    tokens: Literal["mean", "sum"] = "mean",
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
    divergence = {"k3": k3, "full": full_kl}.get(estimator, torch.sub)
    per_question = []
    for group in groups:
        per_answer = []
        if pair := best_and_worst(group.rewards, min_gap):
            for answer in right_answers(group, pair[0], most):
                strong, weak = (view(model, group.prompts[i], answer) for i in pair)
                values = weak - strong if direction == "as_printed" else divergence(strong.detach(), weak)
                per_answer.append(OVER_TOKENS[tokens](values))
        per_question.append(torch.stack(per_answer).mean() if per_answer else torch.zeros(()))
    return torch.stack(per_question).mean()


def hard_candidates(rewards: Rewards, K: int, compare: Literal["gt", "ge"] = "gt") -> list[int]:
    """The experts with more than ("gt"), or at least ("ge"), K wrong answers to a question."""
    wrong = [sum(r <= 0.5 for r in row) for row in rewards]
    return [i for i, w in enumerate(wrong) if w > K or (compare == "ge" and w == K)]


@dataclass
class HardBuffer:
    """Pairs (prompt of a failing expert, solution) that wait until there are `capacity`; pickle it with its rng."""

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
SUMS = [(a, b) for a in range(7) for b in range(7)]


class Toy(nn.Sequential):
    """Each position sees the last 8 tokens: ids [B, L] to logits [B, L, 12]."""

    def forward(self, ids: Tensor) -> Tensor:
        x = nn.functional.pad(ids, (7, 0), value=12).unfold(1, 8, 1)
        for layer in self:
            x = layer(x)
        return x


@torch.no_grad()
def ask(model: Toy, a: int, b: int, n: int = 8) -> Group:
    """Every expert draws n answers of at most 5 tokens; right ones end with "=", the sum, and the end token."""
    prompts, solution, answers = [[7 + i, a, b] for i in range(3)], [10, (a + b) % 7, 11], []
    for prompt in prompts:
        ids = torch.tensor([prompt] * n)
        for _ in range(5):
            ids = torch.cat([ids, model(ids)[:, -1].softmax(-1).multinomial(1)], 1)
        answers.append([row[: row.index(11) + 1] if 11 in row else row for row in ids[:, 3:].tolist()])
    return Group(prompts, answers, [[float(x[-3:] == solution) for x in row] for row in answers], solution)


def train(model: Toy, rng: random.Random, lambda1: float, lambda2: float) -> None:
    """120 steps of 4 questions x 3 experts x 8 answers; after 60 of them the mutual term has not paid yet."""
    optimiser, buffer = torch.optim.SGD(model.parameters(), 0.3), HardBuffer(16, rng)
    for _ in range(120):
        groups = [ask(model, a, b) for a, b in rng.choices(SUMS, k=4)]
        for group in groups:
            buffer.offer(group)
        loss, mutual = grpo_loss(model, groups, policy_loss="clip"), mutual_loss(model, groups)
        optimiser.zero_grad()
        total_loss(loss, mutual, sft_loss(model, buffer.flush()), lambda1, lambda2).backward()
        optimiser.step()


def main(seed: int = 0) -> None:
    """Warm up on unequal teachers, train in three ways, and print each expert's mean reward over all questions.

    Expert 0's teacher answers 14 of the 49 at once; the others write b a (42) or a b (21) before. Mean, seeds 0 to 5:
    0.52 warm, GRPO 0.56, with the mutual term 0.71, MEML-GRPO 0.63 (the buffer teaches expert 0's style, the weakest).
    """
    torch.manual_seed(seed)
    start = Toy(nn.Embedding(13, 16), nn.Flatten(2), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 12))
    rng, optimiser = random.Random(seed), torch.optim.Adam(start.parameters(), 3e-3)
    taught = [(i, a, b) for i, n in enumerate((14, 42, 21)) for a, b in rng.sample(SUMS, n)]
    traces: list[Pair] = [([7 + i, a, b], [*((), (b, a), (a, b))[i], 10, (a + b) % 7, 11]) for i, a, b in taught]
    for _ in range(200):
        optimiser.zero_grad()
        mef_loss(start, rng.sample(traces, 32)).backward()
        optimiser.step()
    arms = {"after warm-up": None, "GRPO alone": (0.0, 0.0), "GRPO + mutual": (0.1, 0.0), "MEML-GRPO": (0.1, 0.1)}
    for name, lambdas in arms.items():
        model = copy.deepcopy(start)
        if lambdas:
            train(model, random.Random(seed), *lambdas)
        r = torch.tensor([ask(model, a, b, 16).rewards for a, b in SUMS]).mean((0, 2)).tolist()
        print(f"{name:14} experts {r[0]:.2f} {r[1]:.2f} {r[2]:.2f}   mean {sum(r) / 3:.2f}")


if __name__ == "__main__":
    main()
