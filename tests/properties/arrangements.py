"""Ways to run the rows of an update that must change nothing, and ways that do: what a mistake would look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import torch
from hypothesis import strategies as st
from torch import Tensor

from manyminds.batch import Batch, Row, collate, weigh
from manyminds.objective import Term
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Example, Update
from manyminds.step import learn
from properties.learning import (
    Told,
    added,
    by_itself,
    differences,
    gradient_of,
    learnt,
    living,
    now,
    padded,
    policy_of,
    told,
    weighed,
)
from properties.subjects import Spec, composed
from properties.workload import SIZE, Workload


@dataclass(frozen=True)
class Case:
    """An update's rows with their weights, its terms, and random numbers for the arrangement."""

    rows: list[Row]
    terms: tuple[Term, ...]
    rng: Random

    @property
    def living(self) -> list[Row]:
        return living(self.rows, self.terms)

    @property
    def examples(self) -> list[Example]:
        return [row.example for row in self.rows]


Arrangement = Callable[[Case], Told]


def batch_of(rows: Sequence[Row]) -> Batch:
    """One micro-batch."""
    return collate(rows, dtype=torch.float64)


def shuffled(rows: Sequence[Row], rng: Random) -> list[Row]:
    return rng.sample(list(rows), len(rows))


def dealt(rows: Sequence[Row], rng: Random) -> list[list[Row]]:
    """The rows cut anywhere, at up to three places."""
    cuts = sorted(rng.choices(range(len(rows) + 1), k=3))
    parts = [list(rows[a:b]) for a, b in zip((0, *cuts), (*cuts, len(rows)), strict=True)]
    return [part for part in parts if part]


# Order and micro-batches.


def another_order(case: Case) -> Told:
    """The update's examples in another order, from the weights on."""
    rows = weigh(shuffled(case.examples, case.rng), case.terms)
    return told(case.terms, now().split(living(rows, case.terms)), now())


def one_row_at_a_time(case: Case) -> Told:
    return told(case.terms, [batch_of([row]) for row in case.living], now())


def any_micro_batches(case: Case) -> Told:
    """Cut anywhere, prompts torn apart, in any order."""
    return told(case.terms, map(batch_of, dealt(shuffled(case.living, case.rng), case.rng)), now())


def by_token_budget(case: Case) -> Told:
    """As the policy splits for a small memory."""
    policy = now()
    whole, policy.tokens_at_once = policy.tokens_at_once, case.rng.randint(1, 60)
    try:
        return told(case.terms, policy.split(case.living), policy)
    finally:
        policy.tokens_at_once = whole


class Kept(HFPolicy):
    """Keeps the gradient that an update would have used."""

    def update(self, lr_scale: float) -> dict[str, float]:
        self.gradient = gradient_of(self)
        return {}


@cache
def kept() -> Kept:
    policy: Kept = policy_of(now().model, Kept)
    return policy


def by_the_step_itself(case: Case) -> Told:
    """`step.learn`, which weighs, drops dead rows, splits and adds up."""
    policy = kept()
    metrics = learn(Update(tuple(case.examples)), case.terms, policy)
    losses = {name.removeprefix("loss/"): value for name, value in metrics.items() if name.startswith("loss/")}
    return Told(losses, policy.gradient)


# Padding.


def right_padded(case: Case) -> Told:
    """By the library's other reader, beside a much longer row of weight 0."""
    longer = Row(Example("longer", (1,) * 9, (2,) * 20), (0.0,) * len(case.terms))
    return told(case.terms, [batch_of([*part, longer]) for part in dealt(case.living, case.rng)], padded())


def padded_by(side: str, masked: bool = True) -> Arrangement:
    """By the model itself, with more padding than needed, of any tokens, at this side."""

    def run(case: Case) -> Told:
        policy = by_itself(side, masked)
        policy.rng = torch.Generator().manual_seed(case.rng.randrange(2**20))
        return told(case.terms, map(batch_of, dealt(case.living, case.rng)), policy)

    return run


def wider_tensors(case: Case) -> Told:
    """The batch's tensors with columns that no row needs, any tokens at padding."""
    batches = (widened(batch_of(part), case.rng) for part in dealt(case.living, case.rng))
    return told(case.terms, batches, now())


def widened(batch: Batch, rng: Random) -> Batch:
    generator = torch.Generator().manual_seed(rng.randrange(2**20))
    more = rng.randint(1, 9)

    def wide(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, more))

    def filled(ids: Tensor, lengths: list[int]) -> Tensor:
        ids = wide(ids)
        real = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
        return torch.where(real, ids, torch.randint(SIZE, ids.shape, generator=generator))

    return replace(
        batch,
        tokens=filled(batch.tokens, [len(e.prompt_ids + e.ids) for e in batch.examples]),
        targets=filled(batch.targets, [len(e.ids) for e in batch.examples]),
        mask=wide(batch.mask),
        weights=wide(batch.weights),
        advantages=wide(batch.advantages),
        planes={name: wide(plane) for name, plane in batch.planes.items()},
    )


# Ranks and dead rows.


def ranks(n: int) -> Arrangement:
    """Weights over all rows; then every rank runs its share, some perhaps none, and gradients are added.

    Engines that average gradients over ranks multiply the loss by their number before: the same sum.
    """

    def run(case: Case) -> Told:
        own = [case.living[rank::n] for rank in range(n)]
        averaged = [told(case.terms, now().split(rows), now()) for rows in own]
        scaled = [added([one], n) for one in averaged]
        return added(scaled, 1 / n)

    return run


def dead_rows_kept(case: Case) -> Told:
    """Every row is run, those too that can have no gradient."""
    return told(case.terms, now().split(case.rows), now())


ARRANGEMENTS: dict[str, Arrangement] = {
    "the step itself": by_the_step_itself,
    "another order": another_order,
    "one row at a time": one_row_at_a_time,
    "any micro-batches": any_micro_batches,
    "token budget": by_token_budget,
    "right-padded": right_padded,
    "plainly right-padded": padded_by("right"),
    "plainly left-padded": padded_by("left"),
    "wider tensors": wider_tensors,
    "two ranks": ranks(2),
    "three ranks": ranks(3),
    "four ranks": ranks(4),
    "dead rows kept": dead_rows_kept,
}


IN_ALL = ("another order", "any micro-batches", "plainly left-padded", "right-padded", "two ranks", "dead rows kept")
"""Arrangements that between them take the others' code paths, where there are many subjects."""
SEEDS = st.integers(0, 2**20)


def disagreements(
    spec: Spec, workload: Workload, seed: int, arrangements: Sequence[str] = tuple(ARRANGEMENTS)
) -> list[str]:
    """What each arrangement of each of the lesson's updates makes other than all rows at once do."""
    what = learnt(composed(spec), workload)
    found = []
    for update in what.lesson.updates:
        rows, wanted = weighed(what.terms, update.examples)
        for name in arrangements:
            case = Case(rows, what.terms, Random(seed))
            found += [f"{name}: {one}" for one in differences(ARRANGEMENTS[name](case), wanted)]
    return found


# Mistakes.


def mean_of_micro_batches(case: Case) -> Told:
    """Averages made per micro-batch, then averaged over them: gradient accumulation as it is often written."""
    parts = dealt(case.rows, case.rng)
    each = []
    for part in parts:
        rows = living(weigh([row.example for row in part], case.terms), case.terms)
        each.append(told(case.terms, now().split(rows), now()))
    return added(each, 1 / len(each))


def weights_of_each_rank(case: Case) -> Told:
    """Every rank makes the averages of its own rows, and gradients are averaged."""
    own = [weigh(case.examples[rank::2], case.terms) for rank in range(2)]
    return added([told(case.terms, now().split(living(rows, case.terms)), now()) for rows in own], 1 / 2)


def dead_rows_dropped_early(case: Case) -> Told:
    """Before the averages are made."""
    rows = weigh([row.example for row in case.living], case.terms)
    return told(case.terms, now().split(rows), now())


def planes_left_behind(case: Case) -> Told:
    """Rows move, what belongs to them stays: advantages of the next row."""
    batch = batch_of(case.living)
    return told(case.terms, [replace(batch, advantages=batch.advantages.roll(1, 0))], now())


def masked_tokens_counted(case: Case) -> Told:
    """What the policy did not choose has the weight of what it did."""
    batch = batch_of(case.living)
    weights = batch.weights.amax(-1, keepdim=True).expand_as(batch.weights)
    return told(case.terms, [replace(batch, weights=weights)], now())


def one_row_lost(case: Case) -> Told:
    """As where a last, smaller micro-batch is dropped."""
    return told(case.terms, [batch_of(case.living[:-1])], now())


MISTAKES: dict[str, Arrangement] = {
    "mean of micro-batches": mean_of_micro_batches,
    "weights of each rank": weights_of_each_rank,
    "dead rows dropped early": dead_rows_dropped_early,
    "planes left behind": planes_left_behind,
    "masked tokens counted": masked_tokens_counted,
    "padding taken for content": padded_by("left", masked=False),
    "one row lost": one_row_lost,
}
"""Each must be told from the yardstick by the comparison that all arrangements pass."""
