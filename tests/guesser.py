"""A model folder that is made in no time and answers like a model: briefly, in form, now and then right."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<|start|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}: {{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant:{% endif %}"
)
WIDTH = 32


def make(folder: Path, texts: Iterable[str]) -> Path:
    """Writes a Llama that answers every question with "#### " and a random digit; returns the folder.

    The tokenizer is learnt from `texts`. The layer adds nothing to the embeddings, so that the next token depends on
    the last one alone: ":", mark, space, a digit ("7" a little likelier than others), end.
    """
    words = tokenizer(texts)
    colon, mark, space, end = words.convert_tokens_to_ids([":", "####", "Ġ", "<|end|>"])
    digits = words.convert_tokens_to_ids(list("7012345689"))
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
        eos_token_id=end,
    )
    model = LlamaForCausalLM(config)
    state = model.state_dict()  # the very tensors
    embeddings, head = state["model.embed_tokens.weight"], state["lm_head.weight"]
    for tensor in (state["model.layers.0.self_attn.o_proj.weight"], state["model.layers.0.mlp.down_proj.weight"], head):
        tensor.zero_()
    embeddings.copy_(torch.eye(1, WIDTH))
    for place, (its, following) in enumerate([([colon], mark), ([mark], space), ([space], digits), (digits, end)], 1):
        embeddings[its] = torch.eye(WIDTH)[place]
        head[following, place] = 2.0  # the last norm makes sqrt(32) of the one: a logit of 11, all others 0
    head[digits[0], 3] = 2.1
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a chat template."""
    core = ByteLevelBPETokenizer()
    core.train_from_iterator(texts, vocab_size=400, special_tokens=list(SPECIAL), show_progress=False)
    core.add_tokens(["####"])
    return PreTrainedTokenizerFast(
        tokenizer_object=core._tokenizer,
        pad_token="<pad>",
        eos_token="<|end|>",
        chat_template=TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
