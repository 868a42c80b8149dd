"""The cache with shared prompts: what is drawn does not depend on how many answers run together, nor in which order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Any

import pytest
import torch

import tiny
from manyminds.records import Ask, Decoding, Ids, Prompt, Rollout
from manyminds.sampling import cache as cache_module
from manyminds.sampling.cache import SharedPrefixCache

SHORT = tuple(prompt.ids for prompt in tiny.PROMPTS)
LONG: tuple[Ids, ...] = (*SHORT, tuple(range(5, 26)), (1, 9) * 9, (*range(25, 5, -1), 6, 7, 8))
N = 4
PROMPTS = {"short prompts": SHORT, "long prompts": LONG}
"""Prompts of few tokens are kept otherwise than longer ones. N answers are drawn to each."""


@cache
def model_of(dtype: torch.dtype) -> Any:
    return tiny.model().to(dtype)


def asks_of(prompts: Sequence[Ids], n: int) -> list[Ask]:
    return [Ask(tiny.prompt(ids), n) for ids in prompts]


def draw(dtype: torch.dtype, asks: Sequence[Ask], decoding: Decoding | None = None, **engine: Any) -> list[Rollout]:
    return list(tiny.sampler(model_of(dtype), decoding or Decoding(max_tokens=12), **engine).sample(asks, "0/1"))


@cache
def together(prompts: tuple[Ids, ...]) -> list[Rollout]:
    """N answers to each prompt in double precision, all at once."""
    return draw(torch.float64, asks_of(prompts, N), answers_at_once=1000)


def ids_by_answer(rollouts: Sequence[Rollout]) -> dict[tuple[tuple[str, str], int], Ids]:
    """What was drawn, by the group and the place in it."""
    return {(r.prompt.group_id, i % N): r.ids for i, r in enumerate(rollouts)}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_answers_end_early_and_late_so_that_others_enter_between(prompts: tuple[Ids, ...]) -> None:
    """Without this the tests below would show little."""
    lengths = [len(r.ids) for r in together(prompts)]
    assert len(set(lengths)) > 5
    assert max(lengths) == 12
    assert len({r.ids for r in together(prompts)}) > 0.7 * len(lengths)


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_how_many_run_together_changes_nothing(prompts: tuple[Ids, ...]) -> None:
    """Every number from one to all: waiting answers enter at every moment, and the window moves back."""
    wanted = together(prompts)
    for answers_at_once in range(1, len(wanted) + 1):
        drawn = draw(torch.float64, asks_of(prompts, N), answers_at_once=answers_at_once)
        assert [r.ids for r in drawn] == [r.ids for r in wanted], answers_at_once
        assert [r.finish for r in drawn] == [r.finish for r in wanted]
        for ours, theirs in zip(drawn, wanted, strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)
            assert ours.entropies == pytest.approx(theirs.entropies, abs=1e-5)


@pytest.mark.parametrize("answers_at_once", [4, 1000])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_nor_does_the_order_of_the_asks(prompts: tuple[Ids, ...], answers_at_once: int) -> None:
    for seed in range(4):
        asks = Random(seed).sample(asks_of(prompts, N), len(prompts))
        drawn = draw(torch.float64, asks, answers_at_once=answers_at_once)
        assert [r.prompt for r in drawn] == [ask.prompt for ask in asks for _ in range(N)]
        assert ids_by_answer(drawn) == ids_by_answer(together(prompts))


@pytest.mark.parametrize("answers_at_once", [1, 3, 1000])
def test_experts_that_share_a_prompt_have_answers_of_their_own(answers_at_once: int) -> None:
    """Their prompt is in the cache once; what they answer is told apart by their names."""
    asks = [Ask(tiny.prompt(LONG[i], f"q{i}", expert), 4) for expert in ("alpha", "beta") for i in (4, 0, 4)]
    alone = [draw(torch.float64, asks[:3]), draw(torch.float64, asks[3:])]
    drawn = draw(torch.float64, asks, answers_at_once=answers_at_once)
    assert [r.ids for r in drawn] == [r.ids for part in alone for r in part]
    assert [r.ids for r in alone[0]] != [r.ids for r in alone[1]]
    assert len({r.ids for r in drawn}) > 12


@pytest.mark.parametrize("answers_at_once", [3, 1000])
def test_an_ask_for_other_lengths_beside_another(answers_at_once: int) -> None:
    """Decodings take turns in one call; every one draws what it draws alone."""
    decodings = [None, Decoding(max_tokens=1), Decoding(0.6, 30), Decoding(0.0, 2), None]
    asks = [Ask(tiny.prompt(LONG[i], f"q{i}"), 3, decoding) for i, decoding in enumerate(decodings)]
    drawn = draw(torch.float64, asks, answers_at_once=answers_at_once)
    assert [r.ids for r in drawn] == [r.ids for ask in asks for r in draw(torch.float64, [ask])]
    assert [max(len(r.ids) for r in drawn[3 * i : 3 * i + 3]) for i in (1, 3)] == [1, 2]
    assert max(len(r.ids) for r in drawn[6:9]) > 12


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_in_single_precision_answers_part_once_in_a_thousand_at_most(prompts: tuple[Ids, ...]) -> None:
    """Sums of another order round otherwise; a token changes only where a number lies between the two sums."""
    asks = asks_of(prompts, 1200 // len(prompts))
    wanted = draw(torch.float32, asks, answers_at_once=10_000)
    for answers_at_once in (37, 600):
        drawn = draw(torch.float32, asks, answers_at_once=answers_at_once)
        same = [(ours, theirs) for ours, theirs in zip(drawn, wanted, strict=True) if ours.ids == theirs.ids]
        assert len(same) >= 0.999 * len(wanted)
        differences = [abs(a - b) for x, y in same for a, b in zip(x.logprobs, y.logprobs, strict=True)]
        assert max(differences) < 1e-4


@pytest.mark.parametrize("answers_at_once", [2, 5, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_probs_are_the_models_own(dtype: torch.dtype, answers_at_once: int) -> None:
    """Late answers stand on the same positions as early ones."""
    for r in draw(dtype, asks_of(LONG, 3), Decoding(0.7, 20), answers_at_once=answers_at_once):
        prompt = r.prompt.ids
        with torch.no_grad():
            each = model_of(dtype)(torch.tensor([prompt + r.ids])).logits[0, len(prompt) - 1 : -1] / 0.7
        said = each.log_softmax(-1).gather(-1, torch.tensor(r.ids)[:, None])[:, 0]
        assert r.logprobs == pytest.approx(said.tolist(), abs=2e-5)


def test_every_prompt_is_run_once_for_all_its_answers() -> None:
    """Tokens the model runs: each prompt once, and at most one for every token but the last of an answer."""
    model, run = tiny.model(), []
    sampler = tiny.sampler(model, Decoding(max_tokens=12))
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: run.append(args[0].numel()))
    rollouts = sampler.sample(asks_of(LONG, 6), "0/1")
    assert sampler.path == "shared prefix"
    assert run[0] == sum(map(len, LONG))
    assert 0 < sum(run[1:]) <= sum(len(r.ids) - 1 for r in rollouts)
    assert len(run) == max(len(r.ids) for r in rollouts)


def test_no_ask_has_no_answer() -> None:
    prompt: Prompt = tiny.PROMPTS[0]
    assert draw(torch.float32, []) == []
    assert draw(torch.float32, [Ask(prompt, 0)]) == []


@pytest.mark.parametrize("tokens_at_once", [1, 10, 20])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_prompts_are_run_in_bounded_parts(
    prompts: tuple[Ids, ...], tokens_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most so many tokens of prompts in a pass, or one prompt; and the same answers."""
    parts: list[list[int]] = []
    admit = SharedPrefixCache.admit

    def watched(self: SharedPrefixCache, its: Sequence[Ids]) -> torch.Tensor:
        parts.append([len(ids) for ids in dict.fromkeys(its)])
        return admit(self, its)

    monkeypatch.setattr(SharedPrefixCache, "admit", watched)
    wanted = together(prompts)
    drawn = draw(torch.float64, asks_of(prompts, N), answers_at_once=1000, tokens_at_once=tokens_at_once)
    assert [r.ids for r in drawn] == [r.ids for r in wanted]
    assert all(sum(part) <= tokens_at_once or len(part) == 1 for part in parts)
    assert len(parts) > 1


@pytest.mark.parametrize("seed", range(6))
def test_jobs_of_any_shape_draw_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random prompts, repeats, stops, capacities, blocks and copied lengths, against all at once in one block."""
    random = Random(seed)
    ids = [tuple(random.choices(range(3, 26), k=random.randint(1, 22))) for _ in range(random.randint(1, 6))]
    asks = [Ask(tiny.prompt(random.choice(ids)), random.randint(1, 5)) for _ in range(random.randint(1, 8))]
    decoding = Decoding(max_tokens=random.randint(1, 20))
    wanted = [r.ids for r in draw(torch.float64, asks, decoding, answers_at_once=1000, tokens_at_once=10**6)]
    for _ in range(5):
        monkeypatch.setattr(cache_module, "BLOCK", random.choice([1, 200, 2000, 1 << 19]))
        monkeypatch.setattr(cache_module, "COPIED_UP_TO", random.choice([0, 4, 16]))
        few = {"answers_at_once": random.randint(1, 30), "tokens_at_once": random.choice([1, 30, 4096])}
        assert [r.ids for r in draw(torch.float64, asks, decoding, **few)] == wanted, few
