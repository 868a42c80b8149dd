"""The objective: a set of terms, each reading examples of one kind.

A loss is `sum over terms of coefficient * sum over rows and tokens of weight * per_token`. The weights carry the
average (batch.weigh folds it in once, over all rows of the update), so a loss over any subset of rows only adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from manyminds.batch import Batch, RowWeights
from manyminds.formulas.averages import over_sequences


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the policy says of a batch, at response positions; what no term needs is None.

    `teacher_kl`: KL over the vocabulary from what the same weights say under each row's `teacher_prompt_ids`, without a
    gradient there; 0 in rows that have no teacher.
    """

    logprobs: Float[Tensor, "B T"]
    teacher_kl: Float[Tensor, "B T"] | None = None
    entropies: Float[Tensor, "B T"] | None = None
    values: Float[Tensor, "B T *heads"] | None = None


PerToken = Callable[[Outputs, Batch], Tensor]


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of the objective, to be minimised.

    `per_token(outputs, batch)` gives "B T" without reduction; `average` turns lengths and row weights into one weight
    per row; rows of the kinds `among` count in it as well, though other terms read them. `needs`: planes that must be
    computed before the first update ("old_logprobs", "reference_logprobs"), and what the policy gives in the same pass
    ("teacher_kl", "entropies", "values").
    `credit`: the advantages at which the term has a gradient at all. Rows without one cost no forward pass: those of
    advantage 0 if the term is proportional to it ("nonzero"), those not above 0 if to its positive part ("positive").
    """

    name: str
    kind: str
    per_token: PerToken
    coefficient: float = 1.0
    average: RowWeights = over_sequences
    needs: frozenset[str] = frozenset()
    credit: Literal["any", "nonzero", "positive"] = "any"
    among: frozenset[str] = frozenset()


def evaluate(terms: Sequence[Term], outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
    """Each term's share of the loss on these rows, before its coefficient: a scalar by term name."""
    return {
        term.name: (batch.weights[k] * term.per_token(outputs, batch)).sum()
        for k, term in enumerate(terms)
        if bool((batch.weights[k] != 0).any())
    }


def total(terms: Sequence[Term], losses: Mapping[str, Tensor]) -> Tensor:
    """The loss: the terms' shares times their coefficients, added. Raises ValueError if no term has a share."""
    parts = [term.coefficient * losses[term.name] for term in terms if term.name in losses]
    if not parts:
        raise ValueError("no term reads any of these rows: dead rows must be dropped before the forward pass")
    loss = parts[0]
    for part in parts[1:]:
        loss = loss + part
    return loss


def needed(terms: Sequence[Term]) -> frozenset[str]:
    """Everything the terms need besides log-probs."""
    return frozenset(need for term in terms for need in term.needs)
