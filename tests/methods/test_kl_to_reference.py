"""KL to a reference: the term on the policy's answers, and whose log-probs it reads in a step and in a run."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import pytest

from hand import START, evaluated, group, lesson_of, of_kind
from manyminds.config import Recipe
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.methods.kl_to_reference import KLToReference
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.rft import RFT
from manyminds.records import Example
from manyminds.run import train
from test_resume import state, stopped_and_resumed, tiny
from test_step import Looking, step, weights
from toy import EXPERTS, Toy, ToyPolicy, judged


def composed(base: Any = GRPO, part: dict[str, Any] | None = None, **fields: Any) -> Composed:
    given = {"experts": ("e0", "e1"), "answers_per_prompt": 2, **fields}
    return Composed(base(**given, parts=(KLToReference(**(part or {})),)))


def row(name: int, reference: tuple[float, ...], mask: tuple[int, ...] = ()) -> Example:
    planes = {"reference_logprobs": reference}
    return Example("sampled", (1,), (name,) * len(reference), advantage=0.0, mask=mask, planes=planes)


# The term.


def test_the_papers_term_by_hand() -> None:
    """u = .5 and -.5 in one answer, 1 in another: exp(u) - 1 - u is .148721, .106531, .718282; answers weigh alike."""
    rows = [row(5, (-0.5, -1.5)), row(6, (0.0,))]
    told = evaluated(composed(), rows, lambda _, ids: (-1.0,) * len(ids))
    assert told.losses["kl"] == pytest.approx(((0.148721 + 0.106531) / 2 + 0.718282) / 2, abs=1e-6)
    assert told.total == pytest.approx(0.04 * told.losses["kl"])
    # 1 - exp(u): an answer that the reference likes better becomes likelier.
    assert told.gradients[0] == pytest.approx([0.04 * (1 - exp(u)) / 4 for u in (0.5, -0.5)])
    assert told.gradients[1] == pytest.approx([0.04 * (1 - exp(1.0)) / 2])


@pytest.mark.parametrize(
    ("estimator", "average", "due"),
    [
        ("k1", "over_sequences", ((-0.5 + 0.5) / 2 - 1) / 2),
        ("k2", "over_sequences", ((0.125 + 0.125) / 2 + 0.5) / 2),
        ("k2", "over_tokens", (0.125 + 0.125 + 0.5) / 3),
        ("k3", "mean_of_sums", (0.1487213 + 0.1065307 + 0.7182818) / 2),
    ],
)
def test_options(estimator: str, average: str, due: float) -> None:
    rows = [row(5, (-0.5, -1.5)), row(6, (0.0,))]
    method = composed(part={"estimator": estimator, "average": average, "coefficient": 0.5})
    told = evaluated(method, rows, lambda _, ids: (-1.0,) * len(ids))
    assert (told.losses["kl"], told.total) == (pytest.approx(due, abs=1e-6), pytest.approx(due / 2, abs=1e-6))


def test_what_the_policy_did_not_choose_has_no_part_in_it() -> None:
    told = evaluated(composed(), [row(5, (-0.5, -9.0), mask=(1, 0))], lambda *_: (-1.0, -1.0))
    assert told.losses["kl"] == pytest.approx(exp(0.5) - 1.5)
    assert told.gradients[0][1] == 0.0


def test_it_is_silent_at_the_reference() -> None:
    for estimator in ("k2", "k3"):
        told = evaluated(composed(part={"estimator": estimator}), [row(5, (-1.0, -2.0))], lambda *_: (-1.0, -2.0))
        assert (told.losses["kl"], told.gradients[0]) == (0.0, (0.0, 0.0))


# What it reads.


def test_the_run_is_told_that_it_needs_a_reference() -> None:
    assert composed().needs == {"reference"}
    assert composed(MEMLGRPO).needs == {"reference", "solutions"}
    assert [t.needs for t in composed().terms(START)] == [frozenset(), {"reference_logprobs"}]
    assert [t.needs for t in composed(epochs=2).terms(START)] == [{"old_logprobs"}, {"reference_logprobs"}]


def test_rows_without_credit_are_pulled_too() -> None:
    """All answers right: GRPO learns nothing, the divergence does."""
    model = Toy()
    policy = ToyPolicy(model, reference=Toy(1))
    _, _, _, metrics = step(
        build({"name": "grpo", "experts": EXPERTS, "questions_per_step": 2, "with": [{"name": "kl_to_reference"}]}),
        model=model,
        policy=policy,
        judge=judged(lambda rollout: 1.0),
    )
    assert metrics["loss/policy"] == 0
    assert metrics["loss/kl"] > 0.01
    assert metrics["trained_rows"] == 2 * 3 * 8
    assert metrics["grad_norm"] > 0


def test_each_answer_is_compared_with_the_references_own_log_probs() -> None:
    """At the first update the policy is its own reference's copy, and nothing pulls; at the second it has moved."""
    model = Toy()
    policy = Looking(model, lr=0.3, reference=copy.deepcopy(model))
    spec = {"name": "grpo", "experts": EXPERTS, "questions_per_step": 4, "minibatches": 2}
    kls = []
    for number in (1, 2):
        part = {"name": "kl_to_reference", "coefficient": 1e-9}
        *_, metrics = step(build({**spec, "with": [part]}), model=model, policy=policy, number=number)
        kls.append(metrics["loss/kl"])
    assert all({"old_logprobs", "reference_logprobs"} <= planes for planes in policy.planes)
    assert kls[0] > 0  # of its second mini-batch
    assert kls[1] > kls[0]


def test_it_holds_the_policy_back() -> None:
    """Ten steps in which one answer pays: the stronger the pull, the nearer the policy stays."""
    moved = []
    for coefficient in (0.0, 0.3, 3.0):
        model = Toy()
        start = weights(ToyPolicy(model))
        policy = ToyPolicy(model, lr=0.3, reference=copy.deepcopy(model))
        part = {"name": "kl_to_reference", "coefficient": coefficient}
        for number in range(1, 11):
            method = build({"name": "grpo", "experts": ("alpha",), "questions_per_step": 4, "with": [part]})
            step(method, model=model, policy=policy, number=number)
        moved.append(float((weights(policy) - start).norm()))
    assert moved[0] > 1.2 * moved[1] > 1.2 * moved[2]


# With others.


def test_meml_grpo_keeps_its_own_and_is_held_on_what_it_drew() -> None:
    given = {"hard_coefficient": 0.0, "mutual_coefficient": 0.1}
    with_kl, without = composed(MEMLGRPO, **given), Composed(MEMLGRPO(experts=("e0", "e1"), **given))
    groups = [group([[1.0, 0.0], [0.0, 0.0]])]
    lesson = lesson_of(with_kl, groups)
    assert lesson.updates == lesson_of(without, groups).updates
    rows = [
        replace(e, planes={**e.planes, "reference_logprobs": (-1.0,)}) if e.kind == "sampled" else e
        for e in lesson.updates[0].examples
    ]
    told, before = (evaluated(m, rows, lambda *_: (-1.5,)) for m in (with_kl, without))
    kl = exp(0.5) - 1.5  # every answer, under either expert's prompt
    assert told.losses == {**before.losses, "kl": pytest.approx(kl)}
    assert told.total == pytest.approx(before.total + 0.04 * kl)


def test_a_base_that_learns_from_others_alone_is_held_on_the_answers_it_drew() -> None:
    """RFT's rows are verified answers under another prompt; the policy's own come beside them, for this term only."""
    lesson = lesson_of(composed(RFT, student="e0"), [group([[1.0, 0.0], [0.0, 0.0]])])
    assert [len(of_kind(lesson, kind)) for kind in ("verified", "sampled")] == [1, 4]


def test_a_trace_is_not_what_the_policy_drew() -> None:
    given = group([[1.0, 0.0], [0.0, 0.0]])
    first, last = given.answers[0].scored
    trace = replace(last, rollout=replace(last.rollout, origin="trace:t"))
    given = replace(given, answers=(replace(given.answers[0], scored=(first, trace)), given.answers[1]))
    assert len(of_kind(lesson_of(composed(RFT, student="e0"), [given]), "sampled")) == 3


# In a run.


def recipe(output: Path, **changes: Any) -> Recipe:
    method = {"name": "grpo", "questions_per_step": 2, "answers_per_prompt": 3, "with": [{"name": "kl_to_reference"}]}
    return tiny(output, method=method, rewards=["partly:even"], warmup=None, steps=4, **changes)


def test_the_reference_is_the_model_that_training_began_with(tmp_path: Path) -> None:
    """As long as the policy is (the rate rises from 0) both are the same; also for a run that goes on."""
    whole = recipe(tmp_path / "whole")
    train(whole)
    due = state(whole.folder)
    kls = [line["loss/kl"] for line in due["metrics"]]
    assert kls[:2] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert kls[3] > kls[2] > 1e-6
    parts = recipe(tmp_path / "parts")
    stopped_and_resumed(train, parts, 3)
    assert state(parts.folder) == due


def test_with_adapters_the_reference_is_the_model_without_them(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    whole = recipe(tmp_path / "whole", lora={"rank": 4, "alpha": 8})
    train(whole)
    due = state(whole.folder)
    kls = [line["loss/kl"] for line in due["metrics"]]
    assert kls[:2] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert kls[3] > kls[2] > 1e-9
    parts = recipe(tmp_path / "parts", lora={"rank": 4, "alpha": 8})
    stopped_and_resumed(train, parts, 2)
    assert state(parts.folder) == due


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="'k1', 'k2' or 'k3'"):
        build({"name": "grpo", "with": [{"name": "kl_to_reference", "estimator": "full"}]})
    with pytest.raises(ValueError, match="coefficient"):
        build({"name": "grpo", "with": [{"name": "kl_to_reference", "coefficient": -1}]})
