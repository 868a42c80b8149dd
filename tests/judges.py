"""Judges whose probabilities are known: a language model with weights set by hand, in which the last word of a prompt
alone says what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge
from manyminds.sections import RewardConfig

AFTER: Mapping[str, Mapping[str, float]] = {
    "right": {"YES": 0.7, "NO": 0.2},
    "wrong": {"NO": 0.6, "YES": 0.3},
    "strange": {"PERHAPS": 0.5, "YES": 0.3, "NO": 0.1},
    "unsure": {"NO": 0.4, "YES": 0.35},
}
"""The distribution of the first token after each word, the paper's first; what is left over is <unk>'s."""

BARE = "{{ messages[0]['content'] }}"
WIDTH = 16


def words(*more: str, template: str | None = BARE, context: int = 512) -> PreTrainedTokenizerFast:
    """A token for each word; any other word is <unk>."""
    known = ["<pad>", "<eos>", "<unk>", "YES", "NO", "PERHAPS", *AFTER, *more]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, model_max_length=context, **named)


def letters(after: Mapping[str, Mapping[str, float]], template: str | None = BARE) -> PreTrainedTokenizerFast:
    """A token for each character that `after` names, and for the labels."""
    known = ["<pad>", "<eos>", "<unk>", "YES", "NO", "PERHAPS", *after]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"YES|NO|PERHAPS|[\s\S]"), behavior="isolated")
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, model_max_length=512, **named)


def write_judge(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast | None = None,
    after: Mapping[str, Mapping[str, float]] = AFTER,
) -> Path:
    """The judge as a Hugging Face folder. No layer adds anything, so that a position's state is its own token's."""
    its = tokenizer or words()
    ids = {f"{kind}_token_id": getattr(its, f"{kind}_token_id") for kind in ("pad", "eos")}
    shape = {"hidden_size": WIDTH, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    more: Any = {"rms_norm_eps": 0.0, "max_position_embeddings": 512, "tie_word_embeddings": False, **ids}
    model: Any = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=len(its), **more))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        model.lm_head.weight.fill_(-100.0 / WIDTH**0.5)
        model.model.embed_tokens.weight[:, WIDTH - 1] = 1.0
        for place, (word, chances) in enumerate(after.items()):
            # A state of one 1 has the root mean square 1 / sqrt(width), so normalised it is sqrt(width).
            model.model.embed_tokens.weight[its.convert_tokens_to_ids(word)] = torch.eye(WIDTH)[place]
            for said, chance in {**chances, "<unk>": 1 - sum(chances.values())}.items():
                id_ = its.convert_tokens_to_ids(said)
                model.lm_head.weight[id_, place] = torch.tensor(chance).log() / WIDTH**0.5
    model.save_pretrained(folder)
    its.save_pretrained(folder)
    return folder


def judge_of(model: Path | str, folder: Path | None = None, **options: Any) -> Judge:
    """Judged by this verifier alone, its prompt nothing but the last line."""
    its = {"name": "generative_verifier", "model": str(model), "prompt": "{response}", "quote": False, **options}
    return Judge([RewardConfig.model_validate(its)], lambda text: text, folder=folder)


def two_of(model: Path | str, folder: Path | None = None, **options: Any) -> Judge:
    """Judged by this verifier in its binary form, and then under the name `sure` in its soft one."""
    its = {"name": "generative_verifier", "model": str(model), "prompt": "{response}", "quote": False, **options}
    both = [{**its, "mode": "binary"}, {**its, "as": "sure"}]
    return Judge([RewardConfig.model_validate(one) for one in both], lambda text: text, folder=folder)


def answers(*texts: str) -> list[Rollout]:
    prompt = Prompt(Question("q", "Is it?", "it is"), "plain")
    return [Rollout(prompt, ids=(1,), logprobs=(-0.5,), text=text) for text in texts]


def values(judge: Judge, *texts: str) -> list[float | None]:
    return [scored.parts["generative_verifier"] for scored in judge(answers(*texts))]
