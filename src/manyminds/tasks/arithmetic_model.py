"""The small model of the embedded task: a real Llama folder with random weights, a tokenizer and a chat template.

It is an ordinary Hugging Face folder, so the demo runs the very code that a user's own model runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyminds.errors import UserError
from manyminds.tasks.arithmetic import EXPERTS

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
CHARACTERS = "0123456789+-*/=#:,rcds"
CONTEXT = 256
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}={{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}={% endif %}"
)


def create(folder: Path, seed: int, *, hidden: int = 64, layers: int = 3, heads: int = 4, kv_heads: int = 1) -> Path:
    """Writes the folder and returns it; equal arguments write equal bytes. The default has 125,184 parameters.

    `hidden` is the width of the residual stream; the SwiGLU layer is 2.5 times as wide. Embeddings are tied.
    The global random state is left as it was. UserError if the sizes do not divide.
    """
    if hidden % (2 * heads) or heads % kv_heads:
        raise UserError(
            f"model: hidden={hidden}, heads={heads}, kv_heads={kv_heads} do not fit; hidden must be a multiple of "
            "2*heads, and heads a multiple of kv_heads."
        )
    shape = {"hidden_size": hidden, "intermediate_size": hidden * 5 // 2, "num_hidden_layers": layers}
    write(folder, tokenizer(), seed, **shape, num_attention_heads=heads, num_key_value_heads=kv_heads)
    return folder


def write(folder: Path, words: PreTrainedTokenizerFast, seed: int, **shape: Any) -> int:
    """A Llama of this shape with tied embeddings and random weights, and its tokenizer; returns its parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **shape,
        vocab_size=len(words),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    folder.mkdir(parents=True, exist_ok=True)
    with _no_progress_bar():
        model.save_pretrained(folder)
    words.save_pretrained(folder)
    return int(sum(parameter.numel() for parameter in model.parameters()))


def tokenizer() -> PreTrainedTokenizerFast:
    """One word per character, and one per system message of the embedded experts; decoding joins without spaces."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    systems = [expert.system for expert in EXPERTS if expert.system]
    vocabulary = {word: i for i, word in enumerate([PAD, BOS, EOS, UNKNOWN, *CHARACTERS, *systems])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    pattern = "|".join([*(system.replace(".", r"\.") for system in systems), r"[\s\S]"])
    core.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    core.decoder = decoders.Fuse()
    return wrapped(core, CHAT_TEMPLATE)


def wrapped(core: Tokenizer, chat_template: str) -> PreTrainedTokenizerFast:
    """A tokenizer of the `tokenizers` library, which has these special tokens, as a model's folder holds it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        chat_template=chat_template,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Half a megabyte needs no bar among the lines of the demo."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
