"""The in-process sampler: an answer is what its keys say, whatever else is drawn beside it."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import tiny
from manyminds.batch import Row, collate
from manyminds.errors import UserError
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Ask, Decoding, Example, Mixture, Rollout, Span
from manyminds.sampling.draws import choose, uniforms
from manyminds.sampling.plain_cache import left_padded
from manyminds.sampling.sampler import Sampler
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import OptimizerConfig

EOS = tiny.tokenizer().eos_token_id


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.model()


@pytest.fixture(scope="module")
def drawn(model: Any) -> tuple[Rollout, ...]:
    return tiny.sampler(model).sample(tiny.asks(), "0/1")


def ids_of(rollouts: tuple[Rollout, ...]) -> list[tuple[int, ...]]:
    return [rollout.ids for rollout in rollouts]


def test_it_is_a_sampler(model: Any) -> None:
    assert isinstance(tiny.sampler(model), Sampler)


# Independence of the batch.


def test_an_answer_is_the_same_alone_and_among_others(model: Any, drawn: tuple[Rollout, ...]) -> None:
    for i, ask in enumerate(tiny.asks()):
        alone = tiny.sampler(model).sample([ask], "0/1")
        for one, among in zip(alone, drawn[3 * i : 3 * i + 3], strict=True):
            assert one.ids == among.ids
            assert one.logprobs == pytest.approx(among.logprobs, abs=1e-5)
            assert one.entropies == pytest.approx(among.entropies, abs=1e-5)
            assert (one.text, one.finish) == (among.text, among.finish)


def test_a_single_answer_is_the_first_of_many(model: Any, drawn: tuple[Rollout, ...]) -> None:
    assert ids_of(tiny.sampler(model).sample(tiny.asks(1), "0/1")) == ids_of(drawn[::3])


def test_the_order_of_the_asks_changes_nothing_but_the_order(model: Any, drawn: tuple[Rollout, ...]) -> None:
    turned = Random(0).sample(tiny.asks(), 4)
    rollouts = tiny.sampler(model).sample(turned, "0/1")
    assert [r.prompt for r in rollouts] == [ask.prompt for ask in turned for _ in range(3)]
    assert sorted(ids_of(rollouts)) == sorted(ids_of(drawn))
    assert {(r.prompt.group_id, r.ids) for r in rollouts} == {(r.prompt.group_id, r.ids) for r in drawn}


@pytest.mark.parametrize("answers_at_once", [1, 4, 7])
def test_so_does_how_many_run_together(model: Any, drawn: tuple[Rollout, ...], answers_at_once: int) -> None:
    assert ids_of(tiny.sampler(model, answers_at_once=answers_at_once).sample(tiny.asks(), "0/1")) == ids_of(drawn)


def test_padding_shifts_no_position() -> None:
    """In a model with absolute positions a prompt beside a longer one still begins at position 0."""
    settings = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": len(tiny.tokenizer())}
    gpt2 = GPT2LMHeadModel(GPT2Config(**settings, bos_token_id=1, eos_token_id=EOS)).eval()
    with torch.no_grad():
        gpt2.transformer.wpe.weight *= 50
    among = tiny.sampler(gpt2).sample(tiny.asks(), "0/1")
    for i, ask in enumerate(tiny.asks()):
        alone = tiny.sampler(gpt2).sample([ask], "0/1")
        for one, other in zip(alone, among[3 * i : 3 * i + 3], strict=True):
            assert one.ids == other.ids
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_draws_differ_by_step_expert_and_answer(model: Any, drawn: tuple[Rollout, ...]) -> None:
    assert ids_of(tiny.sampler(model).sample(tiny.asks(), "0/2")) != ids_of(drawn)
    other = [Ask(tiny.prompt(p.ids, p.question.id, "beta"), 3) for p in tiny.PROMPTS]
    assert ids_of(tiny.sampler(model).sample(other, "0/1")) != ids_of(drawn)
    assert len(set(ids_of(drawn[:3]))) > 1


def test_a_prompt_that_is_asked_twice_is_answered_anew(model: Any) -> None:
    """The second ask goes on where the first one ended, in another chunk too."""
    ask = tiny.asks()[0]
    for rows in (512, 3):
        twice = tiny.sampler(model, answers_at_once=rows).sample([ask, ask], "0/1")
        six = tiny.sampler(model).sample([Ask(ask.prompt, 6)], "0/1")
        assert ids_of(twice) == ids_of(six)


# What an answer is.


def test_greedy_is_what_transformers_generates(model: Any) -> None:
    greedy = tiny.sampler(model).sample(tiny.asks(1, Decoding(temperature=0.0, max_tokens=20)), "0/1")
    for rollout in greedy:
        ids = torch.tensor([rollout.prompt.ids])
        settings = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": EOS, "pad_token_id": EOS}
        wanted = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :].tolist()
        assert list(rollout.ids) == wanted


def test_answers_end_at_the_end_token_or_at_the_limit(model: Any) -> None:
    rollouts = tiny.sampler(model, Decoding(max_tokens=8)).sample(tiny.asks(60), "0/1")
    for r in rollouts:
        assert EOS not in r.ids[:-1]
        assert r.finish == ("stop" if r.ids[-1] == EOS else "length")
        assert len(r.ids) == len(r.logprobs) == len(r.entropies) <= 8
        assert r.finish == "stop" or len(r.ids) == 8
        assert r.mask == ()
        assert r.text == tiny.tokenizer().decode(list(r.ids), skip_special_tokens=True)
    assert {r.finish for r in rollouts} == {"stop", "length"}
    assert any(len(r.ids) == 8 and r.finish == "stop" for r in rollouts)


def test_what_ends_an_answer_is_no_part_of_its_text(model: Any) -> None:
    """Also a token that the tokenizer does not call special, as some models' ends of turns."""
    words = tiny.tokenizer()
    end = words.convert_tokens_to_ids("#")
    sampler = TransformersSampler(model, words, Decoding(max_tokens=8), stop_ids=(EOS, end))
    ended = [r for r in sampler.sample(tiny.asks(60), "0/1") if r.ids[-1] == end]
    assert ended
    for r in ended:
        assert r.finish == "stop"
        assert r.text == words.decode(list(r.ids[:-1]), skip_special_tokens=True)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probs_and_entropies_are_the_policys(model: Any, temperature: float) -> None:
    rollouts = tiny.sampler(model, Decoding(temperature, 12)).sample(tiny.asks(), "0/1")
    policy = HFPolicy(model, OptimizerConfig(), steps=1, temperature=temperature)
    rows = [Row(Example("sampled", r.prompt.ids, r.ids), ()) for r in rollouts]
    with torch.no_grad():
        outputs = policy.forward(collate(rows), frozenset({"entropies"}))
    scores = policy.score(
        [Span(str(i), r.prompt.ids, r.ids, want=frozenset({"entropies"})) for i, r in enumerate(rollouts)]
    )
    assert outputs.entropies is not None
    for i, r in enumerate(rollouts):
        assert r.logprobs == pytest.approx(outputs.logprobs[i, : len(r.ids)].tolist(), abs=1e-5)
        assert r.entropies == pytest.approx(outputs.entropies[i, : len(r.ids)].tolist(), abs=1e-5)
        assert scores[str(i)].logprobs == pytest.approx(r.logprobs, abs=1e-5)
        assert scores[str(i)].entropies == pytest.approx(r.entropies, abs=1e-5)


def test_first_tokens_follow_the_softmax(model: Any) -> None:
    """2000 answers of one token: every frequency within four standard errors."""
    n, ask = 2000, tiny.asks()[0]
    rollouts = tiny.sampler(model, Decoding(max_tokens=1), answers_at_once=n).sample([Ask(ask.prompt, n)], "0/1")
    with torch.no_grad():
        law = model(torch.tensor([ask.prompt.ids])).logits[0, -1].softmax(-1).tolist()
    counts = Counter(r.ids[0] for r in rollouts)
    for token, p in enumerate(law):
        assert abs(counts[token] / n - p) <= 4 * (p * (1 - p) / n) ** 0.5 + 1e-6
    assert max(law) < 0.9


def test_asks_may_be_decoded_differently(model: Any, drawn: tuple[Rollout, ...]) -> None:
    sampled, greedy = tiny.asks(), tiny.asks(1, Decoding(temperature=0.0, max_tokens=5))
    mixed = tiny.sampler(model).sample([sampled[0], greedy[1], sampled[2]], "0/1")
    assert ids_of(mixed[:3]) == ids_of(drawn[:3])
    assert ids_of(mixed[4:]) == ids_of(drawn[6:9])
    assert len(mixed[3].ids) <= 5


class Search:
    def step(self, ids: tuple[int, ...]) -> None:
        return None


@pytest.mark.parametrize("decoding", [Decoding(mixture=Mixture("mentor", 0.5)), Decoding(environment=Search())])
def test_what_it_cannot_do_it_says(model: Any, decoding: Decoding) -> None:
    with pytest.raises(UserError, match="one model in one turn: no mixture, no environment"):
        tiny.sampler(model).sample(tiny.asks(1, decoding), "0/1")


def test_it_draws_from_what_the_policy_has_become() -> None:
    model = tiny.model()
    policy = HFPolicy(model, OptimizerConfig(), steps=1)
    sampler = tiny.sampler(model)
    before = sampler.sample(tiny.asks(), "0/1")
    with torch.no_grad():
        model.lm_head.weight[7] *= 3
    policy.version = 4
    sampler.load(policy)
    after = sampler.sample(tiny.asks(), "0/1")
    assert ids_of(before) != ids_of(after)
    assert ({r.policy_version for r in before}, {r.policy_version for r in after}) == ({0}, {4})


# Its parts.


def test_random_numbers_depend_on_their_keys_alone() -> None:
    ours = uniforms("0/1", ("q", "alpha"), 3, 6)
    assert ours.tolist() == uniforms("0/1", ("q", "alpha"), 3, 6).tolist()
    assert ours[:4].tolist() == uniforms("0/1", ("q", "alpha"), 3, 4).tolist()
    others = [
        ("0/2", ("q", "alpha"), 3),
        ("0/1", ("r", "alpha"), 3),
        ("0/1", ("q", "beta"), 3),
        ("0/1", ("q", "alpha"), 4),
    ]
    assert len({uniforms(*key, 6).tobytes() for key in others} | {ours.tobytes()}) == 5
    many = uniforms("0/1", ("q", "alpha"), 0, 10_000)
    assert 0 <= many.min() < many.max() < 1
    assert abs(many.mean() - 0.5) < 0.01
    assert np.abs(np.histogram(many, 10, (0, 1))[0] - 1000).max() < 130


def test_prompts_are_padded_at_the_left() -> None:
    tokens, mask = left_padded([(5,), (6, 7, 8)], "cpu")
    assert tokens.tolist() == [[0, 0, 5], [6, 7, 8]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_token_is_where_the_cumulative_probability_passes_the_number(temperature: float) -> None:
    """Over an even grid of numbers, each token comes as often as its probability says."""
    logits, n = torch.tensor([0.3, -1.0, 2.0, 0.0, -4.0]), 10_000
    noise = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    token, logprob, entropy = choose(logits[None], temperature, torch.zeros(n, dtype=torch.long), noise)
    law = (logits / temperature).softmax(-1)
    assert torch.allclose(token.bincount(minlength=5) / n, law, atol=1.5 / n)
    assert torch.allclose(logprob, law.log()[token])
    assert torch.allclose(entropy, -(law * law.log()).sum().expand(n))
    assert bool((token.diff() >= 0).all())


def test_tokens_that_are_ruled_out_are_never_chosen() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(4, -1)
    noise = torch.tensor([0.0, 0.499, 0.5, 1 - 1e-16], dtype=torch.float64)
    token, logprob, entropy = choose(logits, 1.0, torch.arange(len(logits)), noise)
    assert token.tolist() == [1, 1, 3, 3]
    assert logprob.exp().tolist() == pytest.approx([0.5] * 4)
    assert entropy.tolist() == pytest.approx([float(np.log(2))] * 4)


def test_without_numbers_it_is_the_likeliest() -> None:
    token, logprob, _ = choose(torch.tensor([[0.0, 2.0, 1.0]]), 0.0, torch.zeros(1, dtype=torch.long), None)
    assert token.tolist() == [1]
    assert logprob.tolist() == pytest.approx([torch.tensor([0.0, 2.0, 1.0]).log_softmax(-1)[1].item()])
