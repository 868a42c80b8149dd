"""DAPO: the reward, the kept questions, the clip and the average, by hand from the paper's equations."""

from __future__ import annotations

from dataclasses import replace
from math import log, sqrt
from typing import Any

import pytest

from hand import START, evaluated, group, lesson_of
from manyminds.errors import UserError
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.dapo import DAPO
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.terms import ClippedSurrogate
from manyminds.records import Example, Group, Ids
from test_step import rarely_mixed, step

IDS: list[list[Ids]] = [[(1,) * 4, (2,) * 7, (3,) * 9, (4,) * 10]]


def dapo(*experts: str, **fields: Any) -> Composed:
    given = {"answers_per_prompt": 4, "overlong_length": 10, "overlong_cache": 4, "minibatches": 1, **fields}
    return Composed(DAPO(experts=experts or ("e0",), **given))


def rewards(method: Composed, *groups: Group) -> list[tuple[float, ...]]:
    return [a.rewards for g in method.shape(groups, {}, method.initial_memory(), START) for a in g.answers]


# The reward.


def test_overlong_answers_are_punished_softly() -> None:
    """4, 7, 9 and 10 tokens, punished beyond 6: by 0, 1/4, 3/4 and 1, half of it beside rewards of 0 and 1."""
    given = group([[1.0, 1.0, 0.0, 1.0]], ids=IDS)
    assert rewards(dapo(), given) == [(1.0, 0.875, -0.375, 0.5)]
    assert rewards(dapo(overlong_weight=1.0), given) == [(1.0, 0.75, -0.75, 0.0)]
    assert rewards(dapo(overlong_weight=0.0), given) == [(1.0, 1.0, 0.0, 1.0)]


def test_advantages_are_those_of_the_papers_rewards() -> None:
    """Right is 1 and wrong is -1 there, and the punishment is whole."""
    paper = [1.0, 1.0 - 0.25, -1.0 - 0.75, 1.0 - 1.0]
    mean = sum(paper) / 4
    std = sqrt(sum((r - mean) ** 2 for r in paper) / 3)
    method = dapo()
    groups = method.shape([group([[1.0, 1.0, 0.0, 1.0]], ids=IDS)], {}, method.initial_memory(), START)
    (credited,) = method.credit(groups, method.initial_memory(), START)
    due = [(r - mean) / std for r in paper]
    assert [s.advantage for s in credited.answers[0].scored] == pytest.approx(due, abs=1e-5)


def test_what_the_policy_did_not_choose_has_no_length_and_a_trace_no_punishment() -> None:
    given = group([[1.0, 1.0, 0.0, 1.0]], ids=IDS)
    first, second, third, fourth = given.answers[0].scored
    told = replace(third, rollout=replace(third.rollout, mask=(1, 1, 1, 0, 0, 0, 0, 0, 0)))
    trace = replace(fourth, rollout=replace(fourth.rollout, origin="trace:t"))
    answers = replace(given.answers[0], scored=(first, second, told, trace))
    assert rewards(dapo(), replace(given, answers=(answers,))) == [(1.0, 0.875, 0.0, 1.0)]


def test_the_verdict_stays() -> None:
    """A right answer that is too long is right: for dynamic sampling, for the buffer and for the metrics."""
    given = group([[1.0, 1.0, 1.0, 1.0]], ids=IDS)
    told = [replace(s, parts={"exact": s.reward}) for s in given.answers[0].scored]
    given = replace(given, answers=(replace(given.answers[0], scored=tuple(told)),))
    method = dapo(overlong_weight=1.0)
    (after,) = method.shape([given], {}, method.initial_memory(), START)
    assert after.answers[0].rewards == (1.0, 0.75, 0.25, 0.0)
    assert after.answers[0].wrong == 0
    assert not method.keeps(after, method.initial_memory())


# The loss.


def test_the_token_mean_and_the_higher_clip() -> None:
    """Ratios 1.5 and 1.25 of a better answer (A = 1), 0.5 and 2 of a worse one (A = -2): five tokens in all.

    -min(rho A, clip A): -1.28, -1.25, 2 * 0.8, 2 * 2, and the last token's 2 * 1.
    """
    ratios = [(1.5, 1.25), (0.5, 2.0, 1.0)]
    rows = [
        Example("sampled", (1,), (5,) * len(its), advantage=a, planes={"old_logprobs": (-1.0,) * len(its)})
        for a, its in zip((1.0, -2.0), ratios, strict=True)
    ]
    told = evaluated(dapo(), rows, lambda _, ids: tuple(log(r) - 1.0 for r in ratios[len(ids) - 2]))
    assert told.losses["policy"] == pytest.approx((-1.28 - 1.25 + 1.6 + 4.0 + 2.0) / 5)
    # No gradient where the clip holds: 1.5 at A > 0, 0.5 at A < 0. Elsewhere -rho A / 5.
    assert told.gradients[0] == pytest.approx((0.0, -1.25 / 5))
    assert told.gradients[1] == pytest.approx((0.0, 4.0 / 5, 2.0 / 5))


def test_it_is_grpo_without_its_four_changes() -> None:
    plain = {"clip_high": 0.2, "average": "over_sequences", "overlong_weight": 0.0, "minibatches": 1, "rounds": 1}
    ours, grpo = dapo(**plain), Composed(GRPO(experts=("e0",), answers_per_prompt=4))
    mixed = [group([[1.0, 0.0, 0.0, 1.0]], ids=IDS)]
    assert ours.terms(START) == grpo.terms(START)
    assert ours.shape(mixed, {}, (None,), START) == tuple(mixed)
    assert lesson_of(ours, mixed) == lesson_of(grpo, mixed)


# Dynamic sampling.


def test_questions_are_replaced_until_the_step_is_full_or_the_rounds_are_over() -> None:
    sizes = {"questions_per_step": 3, "answers_per_prompt": 6, "overlong_weight": 0.0}
    for rounds, asked, usable in ((2, 6, 1), (10, 13, 3)):
        method = DAPO(experts=("alpha",), rounds=rounds, **sizes)
        sampler, policy, _, metrics = step(method, judge=rarely_mixed)
        assert (len(sampler.drawn), metrics["groups/refused"]) == (6 * asked, asked - usable)
        assert policy.version == usable  # mini-batches, of a question each


@pytest.mark.parametrize(("mixed", "kept"), [("any", True), ("all", False), ("pooled", True)])
def test_experts_and_their_groups(mixed: Any, kept: bool) -> None:
    method = dapo("e0", "e1", mixed=mixed)
    assert method.keeps(group([[1.0, 0.0], [0.0, 0.0]]), (None,)) is kept


# The recipe.


@pytest.mark.parametrize(
    ("given", "lengths"),
    [
        ({}, (20480, 4096)),
        ({"overlong_length": 1000}, (1000, 200)),
        ({"overlong_cache": 100}, (20480, 100)),
        ({"overlong_length": 1000, "overlong_cache": 0}, (1000, 0)),
    ],
)
def test_lengths_come_from_the_sampler(given: dict[str, int], lengths: tuple[int, int]) -> None:
    """The paper's own where 20,480 tokens may be drawn."""
    settled = DAPO(**given).settled(("e0",), 20480)
    assert isinstance(settled, DAPO)
    assert (settled.overlong_length, settled.overlong_cache) == lengths
    part = GRPO(parts=(DAPO(**given),)).settled(("e0",), 20480).parts[0]
    assert (part.overlong_length, part.overlong_cache) == lengths


def test_a_cache_longer_than_an_answer_is_refused() -> None:
    with pytest.raises(UserError) as error:
        DAPO(overlong_cache=300).settled(("e0",), 256)
    assert str(error.value) == (
        "method.overlong_cache: 300 tokens are more than the longest answer has, 256; give fewer, or raise "
        "sampling.max_tokens"
    )


# As a part.


def test_meml_grpo_takes_over_the_loss_the_reward_and_the_questions() -> None:
    """Credit stays MEML-GRPO's: centred. Mutual learning goes by verdicts, which no length changes."""
    spec = {"name": "meml_grpo", "experts": ("e0", "e1"), "hard_coefficient": 0.0, "answers_per_prompt": 2}
    part = {"name": "dapo", "overlong_length": 4, "overlong_cache": 2}
    method = Composed(build({**spec, "with": [part]}))
    said = method.describe()
    assert (said["advantage"], said["term policy"], said["term mutual"]) == ("meml_grpo", "dapo", "meml_grpo")
    assert (said["keeps"], said["shape"]) == ("dapo", "dapo")
    assert method.rounds == 10
    given = group([[1.0, 0.0], [0.0, 0.0]], ids=[[((7,) * 3), (8,)], [(9,), (10,)]])
    told = [replace(a, scored=tuple(replace(s, parts={"x": s.reward}) for s in a.scored)) for a in given.answers]
    groups = method.shape([replace(given, answers=tuple(told))], {}, method.initial_memory(), START)
    # Three tokens of four, two of them cache: half of one half less, 0.75 instead of 1.
    assert groups[0].answers[0].rewards == (0.75, 0.0)
    assert method.keeps(groups[0], method.initial_memory())
    lesson = lesson_of(method, groups)
    assert [e.advantage for e in lesson.updates[0].examples[:4]] == pytest.approx([0.375, -0.375, 0.0, 0.0])
    old = replace(lesson.updates[0].examples[0], planes={"old_logprobs": (-1.0,) * 3})
    rows = (old, *lesson.updates[0].examples[1:])
    told_loss = evaluated(method, rows, lambda prompt, ids: (-1.0 + log(1.5) * (ids[0] == 7),) * len(ids))
    # Six tokens: three of 1.28 * 0.375, one of -0.375. The borrowed answer lies log-probs of the sampler above e1's.
    assert told_loss.losses["policy"] == pytest.approx((-3 * 1.28 * 0.375 + 0.375) / 6)
    assert told_loss.losses["mutual"] == pytest.approx(-log(1.5))


def test_it_is_kept_apart_from_other_losses() -> None:
    with pytest.raises(UserError, match="'dapo' and 'dr_grpo' both set the term 'policy', differently"):
        Composed(GRPO(parts=(DAPO(), build({"name": "dr_grpo"}))))
    composed = Composed(MEMLGRPO(experts=("e0", "e1"), parts=(DAPO(minibatches=1),)))
    assert composed.terms(START)[0].per_token == ClippedSurrogate(0.2, 0.28)
