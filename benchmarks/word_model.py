"""A small Llama that reads words: a Hugging Face folder with random weights and a tokenizer made from given texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manyminds.tasks.arithmetic_model import BOS, EOS, PAD, UNKNOWN, wrapped, write

MARKER = "####"
PIECE = rf"{MARKER}|[a-z]+|\d{{1,3}}|\n|[^\sa-z]"
"""A word, up to three digits, a sign or the end of a line; spaces are left out."""
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ message['content'] }}{% if message['role'] == 'user' %} ={% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


def tokenizer(texts: Iterable[str], always: Iterable[str]) -> Any:
    """One token per word in small letters, number of up to three digits, and sign: numbers, what is in `always`, and
    what stands twice in `texts`.

    Every other word is `<unk>`. Answers are decoded without spaces, as the traces are written.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    counted = Counter(piece for text in texts for piece in re.findall(PIECE, text.lower()))
    known = [piece for text in always for piece in re.findall(PIECE, text.lower())]
    often = sorted(piece for piece, times in counted.items() if times > 1)
    numbers = [f"{i:0{width}}" for width in (1, 2, 3) for i in range(10**width)]
    pieces = dict.fromkeys([PAD, BOS, EOS, UNKNOWN, "\n", MARKER, *"+-*/=(),abcdefgh", *numbers, *known, *often])
    core = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), behavior="removed"),
            pre_tokenizers.Split(Regex(PIECE), behavior="isolated"),
        ]
    )
    core.decoder = decoders.Fuse()
    return wrapped(core, CHAT_TEMPLATE)


def create(folder: Path, words: Any, seed: int, *, hidden: int = 256, layers: int = 6, inner: int = 768) -> int:
    """Writes the folder and returns the number of parameters. One head of 64 per 64 of `hidden`, one key-value head."""
    shape = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    return write(folder, words, seed, **shape, num_attention_heads=max(1, hidden // 64), num_key_value_heads=1)
