"""The composition law: what a base and its parts say together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from hand import START, group, lesson_of, of_kind
from manyminds.config import dump
from manyminds.errors import UserError
from manyminds.methods import METHODS, build, find
from manyminds.methods.compose import Composed
from manyminds.methods.dr_grpo import DrGRPO
from manyminds.methods.grpo import GRPO
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.methods.method import Method
from manyminds.methods.terms import ClippedSurrogate
from manyminds.metrics import of_groups
from manyminds.records import Scored
from toy_methods import (
    Again,
    Clip,
    Entropy,
    Faded,
    Generous,
    Halved,
    OneGreedy,
    PolicyOfItsOwn,
    Raised,
    Ranked,
    Silent,
    SomeRight,
    SomeWrong,
    Traced,
)

REWARDS = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]


def composed(*parts: Method, **fields: Any) -> Composed:
    return Composed(GRPO(experts=("e0", "e1"), answers_per_prompt=3, scale="none", parts=parts, **fields))


def credits(method: Composed) -> list[list[float]]:
    (credited,) = method.credit([group(REWARDS)], method.initial_memory(), START)
    return [[scored.advantage for scored in answers.scored] for answers in credited.answers]


def test_a_base_alone_says_what_it_says() -> None:
    assert credits(composed()) == [pytest.approx([2 / 3, -1 / 3, -1 / 3]), pytest.approx([1 / 3, 1 / 3, -2 / 3])]
    assert composed().initial_memory() == (None,)


def test_a_part_is_listed_once() -> None:
    with pytest.raises(UserError, match="part 'replay' is listed twice; keep one of them"):
        Composed(build({"name": "grpo", "with": [{"name": "replay"}, {"name": "replay", "rows": 3}]}))


# One owner.


def test_a_part_takes_over_the_credit() -> None:
    assert credits(composed(Ranked())) == [[1, 0, 0], [1, 1, 0]]
    assert composed(Ranked()).describe()["advantage"] == "toy_methods:Ranked"


def test_a_part_takes_over_the_asking() -> None:
    method = composed(OneGreedy())
    (ask,) = method.ask(group(REWARDS).question, method.initial_memory(), START)
    assert (ask.prompt.expert, ask.n) == ("e0", 1)
    assert ask.decoding is not None
    assert ask.decoding.temperature == 0


@pytest.mark.parametrize("parts", [(Ranked(), Generous()), (Generous(), Ranked())])
def test_two_parts_may_not_set_the_same_slot(parts: tuple[Method, ...]) -> None:
    with pytest.raises(UserError) as error:
        composed(*parts)
    names = " and ".join(f"'{part.name}'" for part in parts)
    assert str(error.value) == f"method.with: {names} both set 'advantage', and only one may; keep one of them"


# Terms, by name.


def test_a_parts_term_replaces_the_bases() -> None:
    (term,) = composed(Clip()).terms(START)
    assert term.per_token == ClippedSurrogate(0.2, 0.28)
    assert composed(Clip()).describe()["term policy"] == "toy_methods:Clip"


def test_a_part_that_takes_over_a_loss_takes_over_its_old_log_probs() -> None:
    """The base learns its answers in several updates: without them the ratio would stay 1, and nothing be clipped."""
    for part in (Clip(), DrGRPO()):
        assert [term.needs for term in composed(part, epochs=2).terms(START)] == [{"old_logprobs"}]
        assert [term.needs for term in composed(part).terms(START)] == [frozenset()]


def test_a_term_that_teaches_nothing_is_said_to_be_off() -> None:
    said = Composed(MEMLGRPO(experts=("e0", "e1"), hard_coefficient=0.0)).describe()
    assert (said["term mutual"], said["term hard"]) == ("meml_grpo", "meml_grpo, off (coefficient 0)")
    said = Composed(MEMLGRPO(experts=("e0", "e1"), mutual_coefficient=0.0, parts=(Clip(),))).describe()
    assert said["term mutual"] == "meml_grpo, off (coefficient 0)"
    assert (said["term policy"], said["term hard"]) == ("toy_methods:Clip", "meml_grpo")


def test_other_terms_are_added() -> None:
    assert [term.name for term in composed(Entropy(), Traced()).terms(START)] == ["policy", "entropy", "trace"]


def test_a_part_without_terms_of_its_own_leaves_the_bases() -> None:
    """`Ranked` is a GRPO, but says nothing about terms: those of its own clip range do not count."""
    part = Ranked(clip_low=0.0, clip_high=9.0)
    (term,) = composed(part, clip_high=0.3).terms(START)
    assert term.per_token == ClippedSurrogate(0.2, 0.3)


def test_a_term_that_is_grpos_by_default_takes_nobodys_place() -> None:
    """A method that adds a term to GRPO's own, as a part, leaves the base's policy loss; with a clip range of its own
    it brings it."""
    base = GRPO(experts=("e0",), average="over_tokens")
    for part, owner in ((Clip(clip_high=0.2), "grpo"), (Clip(clip_high=0.3), "toy_methods:Clip")):
        method = Composed(base.model_copy(update={"parts": (part,)}))
        assert method.describe()["term policy"] == owner
        assert (method.terms(START)[0] == base.terms(START)[0]) is (owner == "grpo")
    method = Composed(build({"name": "rft", "experts": ["e0"], "student": "e0", "with": [{"name": "rl_plus"}]}))
    assert method.describe()["term policy"] == "rl_plus"
    assert len(composed(Clip(clip_high=0.2), PolicyOfItsOwn()).terms(START)) == 1


def test_two_parts_with_different_terms_of_one_name_are_refused() -> None:
    with pytest.raises(UserError) as error:
        composed(Clip(), PolicyOfItsOwn())
    assert str(error.value) == (
        "method.with: 'toy_methods:Clip' and 'toy_methods:PolicyOfItsOwn' both set the term 'policy', differently; "
        "keep one of them"
    )


def test_two_parts_with_the_same_term_agree() -> None:
    assert len(composed(Clip(), Clip(name="toy_methods:Clip2")).terms(START)) == 1


# Union, chain, and.


def test_examples_unite_and_a_kind_is_made_by_the_first_layer_that_has_it() -> None:
    lesson = lesson_of(composed(Traced()), [group(REWARDS)])
    (update,) = lesson.updates
    assert [e.kind for e in update.examples] == ["sampled"] * 6 + ["trace"] * 2
    assert [e.ids for e in of_kind(lesson, "trace")] == [(700,), (701,)]
    assert update.lr_scale == 0.5
    assert lesson.metrics["traces"] == 2


def test_a_parts_update_joins_the_bases_first() -> None:
    lesson = lesson_of(composed(Traced(), epochs=2), [group(REWARDS)])
    assert [[e.kind for e in update.examples] for update in lesson.updates] == [
        ["sampled"] * 6 + ["trace"] * 2,
        ["sampled"] * 6,
    ]
    assert [update.lr_scale for update in lesson.updates] == [0.5, 1.0]


def test_credit_is_refined_in_a_chain_also_per_token() -> None:
    method = composed(Faded(), Faded(name="again", factor=0.1))
    given = group([[1.0, 0.0, 0.0]] * 2, ids=[[(1, 2, 3), (4,), (5, 6)]] * 2)
    (credited,) = method.credit([given], method.initial_memory(), START)
    due = [(2 / 3, 2 / 3 * 0.05, 2 / 3 * 0.0025), (-1 / 3,), (-1 / 3, -1 / 3 * 0.05)]
    assert [s.advantage for s in credited.answers[0].scored] == [pytest.approx(one) for one in due]
    assert [e.advantage for e in lesson_of(method, [given]).updates[0].examples[:3]] == [pytest.approx(o) for o in due]
    assert method.describe()["refine"] == "toy_methods:Faded + again"


def test_credit_per_token_is_one_number_per_token() -> None:
    class Short(Faded):
        def faded(self, scored: Scored) -> tuple[float, ...]:
            return super().faded(scored)[:-1]

    with pytest.raises(ValueError, match="`refine` gave 0 numbers to 1 tokens"):
        credits(composed(Short()))


def test_a_trace_among_the_answers_shares_the_baseline_and_is_nobodys_answer() -> None:
    given = group([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    lent = replace(given.answers[1].scored[0], reward=1.0)
    lent = replace(lent, rollout=replace(lent.rollout, origin="trace:e1"))
    with_trace = replace(given.answers[1], scored=(*given.answers[1].scored, lent))
    mixed = replace(given, answers=(given.answers[0], with_trace))
    (credited,) = composed().credit([mixed], (None,), START)
    assert [s.advantage for s in credited.answers[1].scored] == [-0.25, -0.25, -0.25, 0.75]
    assert (with_trace.right, with_trace.wrong, with_trace.mean) == ((), 3, 0.0)
    assert len(lesson_of(composed(), [mixed]).updates[0].examples) == 6
    assert of_groups([mixed]) == of_groups([given])


def test_each_layer_has_a_memory_of_its_own() -> None:
    base = MEMLGRPO(
        experts=("e0", "e1"), hard_wrong=2, hard_compare="ge", hard_probability=1.0, parts=(Halved(), Traced())
    )
    method = Composed(base)
    assert method.initial_memory() == ((), None, 0)
    groups = method.shape([group(REWARDS)], {}, method.initial_memory(), START)
    once = lesson_of(method, groups)
    twice = lesson_of(method, groups, memory=once.memory)
    assert [(len(buffer), nothing, count) for buffer, nothing, count in (once.memory, twice.memory)] == [
        (2, None, 2),
        (4, None, 4),
    ]


@pytest.mark.parametrize(("parts", "reward"), [((Halved(), Raised()), 1.5), ((Raised(), Halved()), 1.0)])
def test_rewards_are_shaped_in_the_order_of_the_parts(parts: tuple[Method, ...], reward: float) -> None:
    method = composed(*parts)
    (after,) = method.shape([group([[1.0]])], {}, method.initial_memory(), START)
    assert after.answers[0].rewards == (reward,)


@pytest.mark.parametrize(
    ("rewards", "kept"), [([1.0, 1.0], False), ([0.0, 0.0], False), ([1.0, 0.0], True)], ids=["right", "wrong", "mixed"]
)
def test_every_layer_must_keep_a_group(rewards: list[float], kept: bool) -> None:
    method = composed(SomeRight(), SomeWrong())
    assert method.keeps(group([rewards]), method.initial_memory()) is kept
    assert composed(SomeRight()).keeps(group([[1.0, 1.0]]), (None, None))


def test_wants_needs_and_rounds() -> None:
    method = composed(Traced(), Again())
    assert [span.key for span in method.wants([group(REWARDS), group(REWARDS, name="qq")])] == ["trace/q", "trace/qq"]
    assert method.needs == {"traces"}
    assert method.rounds == 4
    assert Composed(MEMLGRPO(parts=(Traced(),))).needs == {"solutions", "traces"}


# What is refused.


@pytest.mark.parametrize("part", [Silent(), GRPO(), GRPO(name="mine", clip_high=0.3)])
def test_a_part_that_changes_nothing_is_refused(part: Method) -> None:
    with pytest.raises(UserError) as error:
        composed(part)
    assert str(error.value) == f"method.with: part '{part.name}' changes nothing of 'grpo'; leave it out"


@pytest.mark.parametrize("part", [MEMLGRPO(), MEMLGRPO(mutual_estimator="full")])
def test_the_base_is_no_part_of_itself(part: Method) -> None:
    """Its rows would be the base's, its terms its own: a divergence from a teacher on rows that have none."""
    with pytest.raises(UserError) as error:
        Composed(MEMLGRPO(experts=("e0", "e1"), parts=(part,)))
    assert str(error.value) == "method.with: part 'meml_grpo' is the base itself; set its fields under the base"


def test_parts_of_parts_are_refused() -> None:
    with pytest.raises(UserError) as error:
        composed(Halved(parts=(Raised(),)))
    assert str(error.value) == (
        "method.with: part 'toy_methods:Halved' has parts of its own; list them all under the base"
    )


# From a recipe.


def test_a_recipe_names_parts_by_module() -> None:
    spec = {"name": "meml_grpo", "with": [{"name": "toy_methods:Clip", "clip_high": 0.4}, {"name": "dr_grpo"}]}
    method = build(spec)
    assert [type(part).__name__ for part in method.parts] == ["Clip", "DrGRPO"]
    assert method.parts[0] == Clip(clip_high=0.4)
    with pytest.raises(UserError, match="both set the term 'policy'"):
        Composed(method)


def test_a_composed_method_loads_again() -> None:
    method = build(
        {"name": "grpo", "with": [{"name": "toy_methods:Clip", "clip_high": 0.4}, {"name": "toy_methods:Traced"}]}
    )
    assert build(dump(method)) == method


def test_parts_too_are_told_what_the_recipe_left_open() -> None:
    method = build({"name": "grpo", "with": [{"name": "dr_grpo"}]}).settled(("alpha",), 33)
    assert method.experts == ("alpha",)
    assert method.parts[0].fixed_length == 33
    given = build({"name": "grpo", "with": [{"name": "dr_grpo", "fixed_length": 7}]}).settled(("alpha",), 33)
    assert given.parts[0].fixed_length == 7


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("meml_gpro", "method.name: there is no method 'meml_gpro'; did you mean 'meml_grpo'?"),
        ("ppo2", f"method.name: there is no method 'ppo2'; known are {', '.join(METHODS)}"),
        ("toy_methods:Clop", "method.name: 'toy_methods:Clop': the module 'toy_methods' has no 'Clop'"),
        ("no_such_module:Clip", "method.name: 'no_such_module:Clip': there is no module 'no_such_module'"),
        (
            "toy_methods:shaped",
            "method.name: 'toy_methods:shaped' is not a manyminds Method; derive it from GRPO or Method",
        ),
    ],
)
def test_an_unknown_method_is_told_in_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        find(name)
    assert str(error.value).startswith(sentence)


def test_a_method_needs_a_name_and_knows_its_keys() -> None:
    with pytest.raises(UserError, match=r"method\.name is missing"):
        build({"clip_high": 0.3})
    with pytest.raises(ValidationError, match="clip_hihg"):
        build({"name": "grpo", "with": [{"name": "toy_methods:Clip", "clip_hihg": 0.3}]})
