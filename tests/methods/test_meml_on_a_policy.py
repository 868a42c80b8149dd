"""What MEML-GRPO's terms do to a policy: whom they move, which way, and whom they leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hand import START, lesson_of
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.objective import Term
from manyminds.records import Group, Ids, Prompt, Rollout, Update
from manyminds.step import by_question, learn
from toy import EXPERTS, TOKENS, Separate, Toy, ToyPolicy, ToySampler, judged, question

WEAK, STRONG = "alpha", "beta"


@judged
def unequal(rollout: Rollout) -> float:
    """Alpha is always wrong, beta nearly always right, gamma now and then."""
    return {"alpha": 0.0, "beta": float(rollout.ids[0] != 3), "gamma": float(rollout.ids[0] == 3)}[
        rollout.prompt.expert
    ]


def answered(model: nn.Module, method: Composed, n: int = 2) -> tuple[Group, ...]:
    asks = [ask for i in range(n) for ask in method.ask(question(i, 4), method.initial_memory(), START)]
    return by_question(unequal(ToySampler(model).sample(asks, "0/1")))


def borrowed_answers(group: Group) -> list[Ids]:
    (strong,) = [answers for answers in group.answers if answers.expert == STRONG]
    return [rollout.ids for rollout in strong.right]


def likelihoods(policy: ToyPolicy, groups: tuple[Group, ...], expert: str) -> torch.Tensor:
    """log p(O+ | P_expert), summed over each answer."""
    rows = [(Prompt(g.question, expert).ids, ids) for g in groups for ids in borrowed_answers(g)]
    with torch.no_grad():
        return torch.stack(
            [
                policy.model(torch.tensor([prompt + ids]))[0, len(prompt) - 1 : -1]
                .log_softmax(-1)
                .gather(-1, torch.tensor(ids)[:, None])
                .sum()
                for prompt, ids in rows
            ]
        )


def mutual_terms(method: Composed) -> tuple[Term, ...]:
    return tuple(term for term in method.terms(START) if term.name.startswith("mutual"))


def after_a_mutual_step(model: nn.Module, **fields: object) -> tuple[torch.Tensor, torch.Tensor]:
    """By how much one small step on the mutual term alone changes O+'s log-probs for the weak and the strong expert."""
    method = Composed(MEMLGRPO(experts=EXPERTS, hard_coefficient=0.0, mutual_coefficient=1.0, **fields))
    groups = answered(model, method)
    policy = ToyPolicy(model, lr=1e-3)
    before = [likelihoods(policy, groups, expert) for expert in (WEAK, STRONG)]
    learn(lesson_of(method, groups).updates[0], mutual_terms(method), policy)
    weak, strong = (likelihoods(policy, groups, e) - b for e, b in zip((WEAK, STRONG), before, strict=True))
    return weak, strong


@pytest.mark.parametrize("estimator", ["sequence", "k3", "full"])
def test_the_default_teaches_the_weak_and_leaves_the_strong_alone(estimator: str) -> None:
    """In a model without shared weights, the strong expert's likelihoods are the same numbers as before."""
    weak, strong = after_a_mutual_step(Separate(), mutual_estimator=estimator)
    assert weak.mean() > 1e-6
    assert torch.equal(strong, torch.zeros_like(strong))


def test_the_printed_form_does_the_opposite() -> None:
    weak, strong = after_a_mutual_step(Separate(), mutual_direction="as_printed")
    assert weak.mean() < -1e-6
    assert strong.mean() > 1e-6


@pytest.mark.parametrize("estimator", ["sequence", "k3", "full"])
def test_no_gradient_passes_through_the_strong_experts_prompt(estimator: str) -> None:
    """With shared weights, what belongs to the strong prompt alone has a gradient of exactly 0."""
    model = Toy()
    method = Composed(MEMLGRPO(experts=EXPERTS, hard_coefficient=0.0, mutual_estimator=estimator))
    gradient = gradient_of(model, lesson_of(method, answered(model, method)).updates[0], mutual_terms(method))
    assert torch.equal(gradient[TOKENS[STRONG]], torch.zeros(8, dtype=torch.float64))
    assert gradient[TOKENS[WEAK]].abs().max() > 1e-6


def test_in_the_printed_form_it_does() -> None:
    model = Toy()
    method = Composed(MEMLGRPO(experts=EXPERTS, hard_coefficient=0.0, mutual_direction="as_printed"))
    gradient = gradient_of(model, lesson_of(method, answered(model, method)).updates[0], mutual_terms(method))
    assert gradient[TOKENS[STRONG]].abs().max() > 1e-6


class Kept(ToyPolicy):
    """Keeps the gradient of the embedding that an update would have used."""

    def update(self, lr_scale: float) -> dict[str, float]:
        self.gradient = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        return super().update(lr_scale)


def gradient_of(model: Toy, update: Update, terms: tuple[Term, ...]) -> torch.Tensor:
    policy = Kept(model, lr=0.0)
    learn(update, terms, policy)
    return policy.gradient["embedding.weight"]


@pytest.mark.parametrize("experts", [("beta",), EXPERTS])
def test_without_its_own_terms_it_is_centred_grpo(experts: tuple[str, ...]) -> None:
    """lambda_1 = lambda_2 = 0, signed loss: the gradient of GRPO without division by the standard deviation."""
    model = Toy()
    own = {"mutual_coefficient": 0.0, "hard_coefficient": 0.0, "policy_loss": "clip"}
    reduced, plain = MEMLGRPO(experts=experts, **own), GRPO(experts=experts, scale="none")
    groups = answered(model, Composed(plain))
    gradients = [
        gradient_of(model, lesson_of(Composed(method), groups).updates[0], Composed(method).terms(START))
        for method in (reduced, plain)
    ]
    assert torch.equal(*gradients)
    assert gradients[0].abs().max() > 1e-6


def test_the_mutual_term_alone_closes_the_gap() -> None:
    """Thirty steps on the same answers: the weak expert finds them nearly as likely as the strong one does."""
    model = Separate()
    method = Composed(MEMLGRPO(experts=EXPERTS, hard_coefficient=0.0, mutual_coefficient=1.0))
    groups = answered(model, method, n=1)
    policy = ToyPolicy(model, lr=0.3, optimizer=torch.optim.Adam)
    update, terms = lesson_of(method, groups).updates[0], mutual_terms(method)
    losses = [learn(update, terms, policy)["loss/mutual"] for _ in range(30)]
    assert losses[0] > 0.2
    assert losses[-1] < 0.1 * losses[0]
