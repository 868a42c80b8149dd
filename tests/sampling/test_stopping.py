"""Answers end with the token that completes a stop string, and nowhere else."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import tiny
from manyminds.records import Decoding, Rollout
from manyminds.sampling.stopping import Stopping

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pieces() -> Any:
    """A byte-level tokenizer whose tokens are pieces of words."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = ["<answer>12</answer> the answer is 12.\n\nQuestion: abab abba <answer>ab</answer>"] * 9
    made.train_from_iterator(text, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.mark.parametrize("strings", [("</answer>",), ("ab",), ("\n\n", "er>1", "Q")], ids=str)
def test_an_answer_ends_with_the_first_token_that_completes_a_string(pieces: Any, strings: tuple[str, ...]) -> None:
    """Against the decoded text, token by token; strings begin and end within tokens."""
    words = ["<answer>", "</answer>", "ab", "a", "b", "12", "</", "answer", ">", "\n", "Q", "er", " the"]
    draw, stopping, seen = random.Random(0), Stopping((), strings, pieces, CPU), 0
    for _ in range(60):
        ids = pieces.encode("".join(draw.choices(words, k=draw.randint(1, 9))))
        line = torch.tensor([ids])
        for at in range(len(ids)):
            before, now = pieces.decode(ids[:at]), pieces.decode(ids[: at + 1])
            if any(string in before for string in strings):
                break
            ends = bool(stopping(line, torch.tensor([0]), torch.tensor([at]))[0])
            assert ends == any(string in now for string in strings), (before, now)
            seen += ends
    assert seen > 10


def test_a_special_token_is_a_string_too(pieces: Any) -> None:
    pieces.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    ids = pieces.encode("the answer is 12<|im_end|>")
    stopping, line = Stopping((), ("<|im_end|>",), pieces, CPU), torch.tensor([ids])
    ends = [bool(stopping(line, torch.tensor([0]), torch.tensor([at]))[0]) for at in range(len(ids))]
    assert ends == [False] * (len(ids) - 1) + [True]


def drawn(stop: tuple[str, ...], n: int = 6) -> tuple[Rollout, ...]:
    decoding = Decoding(max_tokens=12, stop=stop)
    return tiny.sampler(tiny.model(), decoding).sample(tiny.asks(n), "0/1")


def test_a_stopped_answer_is_the_beginning_of_the_free_one() -> None:
    free, spelled = drawn(()), tiny.tokenizer()
    string = next(rollout.text[1:3] for rollout in free if len(rollout.text) > 6)
    stopped = 0
    for one, whole in zip(drawn((string,)), free, strict=True):
        texts = [spelled.decode(whole.ids[: n + 1], skip_special_tokens=True) for n in range(len(whole.ids))]
        n = next((n + 1 for n, text in enumerate(texts) if string in text), len(whole.ids))
        assert one.ids == whole.ids[:n]
        assert one.finish == ("stop" if n < len(whole.ids) else whole.finish)
        assert one.logprobs == pytest.approx(whole.logprobs[:n], abs=1e-5)
        stopped += n < len(whole.ids)
    assert stopped > 0


def test_a_string_that_began_in_the_prompt_is_no_end() -> None:
    """Prompt and answer together would spell it with the first token."""
    line = torch.tensor([[5, 6]])
    two = tiny.tokenizer().decode([6, 5])
    stopping = Stopping((), (two,), tiny.tokenizer(), CPU)
    assert not bool(stopping(line, torch.tensor([0]), torch.tensor([0]))[0])
