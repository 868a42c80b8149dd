"""The families of models that users bring, each a small folder: the real configuration, a chat template that behaves
like the family's, its special tokens, and its ends of an answer. Weights are random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

CHATML = (
    "{% for m in messages %}{% if not (loop.first and m['role'] == 'system') %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OWN_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}<|im_start|>system\n{{ messages[0]['content'] }}<|im_end|>\n"
    "{% else %}<|im_start|>system\nDEFAULT<|im_end|>\n{% endif %}"
)
QWEN25 = OWN_SYSTEM.replace("DEFAULT", "You are Qwen, a helpful assistant.") + CHATML
SMOLLM2 = OWN_SYSTEM.replace("DEFAULT", "You are a helpful AI assistant named SmolLM.") + CHATML
QWEN3 = (
    "{%- for m in messages -%}{%- set said = m['content'].split('</think>')[-1].lstrip('\\n') -%}"
    "{{- '<|im_start|>' + m['role'] + '\\n' -}}"
    "{%- if m['role'] == 'assistant' and loop.last -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
    "{{- said + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
    "{%- endif -%}"
)
SMOLLM3 = (
    "{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}"
    "{%- set mode = '/think' if enable_thinking else '/no_think' -%}"
    "{%- set own = messages[0]['content'] if messages[0]['role'] == 'system' else '' -%}"
    "{%- if '/no_think' in own -%}{%- set mode = '/no_think' -%}{%- endif -%}"
    "{%- set own = own.replace('/no_think', '').replace('/think', '').rstrip() -%}"
    "{{- '<|im_start|>system\\n## Metadata\\n\\nToday Date: ' + strftime_now('%d %B %Y') -}}"
    "{{- '\\nReasoning Mode: ' + mode -}}"
    "{{- '\\n\\n## Custom Instructions\\n\\n' -}}"
    "{{- own if own else 'You are a helpful AI assistant named SmolLM.' -}}{{- '\\n\\n<|im_end|>\\n' -}}"
    "{%- for m in messages if m['role'] != 'system' -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] -}}"
    "{{- '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if mode == '/no_think' -%}{{- '<think>\\n\\n</think>\\n' -}}{%- endif -%}{%- endif -%}"
)
LLAMA3 = (
    "{{- bos_token -}}{%- if not date_string is defined -%}{%- if strftime_now is defined -%}"
    "{%- set date_string = strftime_now('%d %b %Y') -%}{%- else -%}{%- set date_string = '26 Jul 2024' -%}"
    "{%- endif -%}{%- endif -%}"
    "{%- set own = messages[0]['content'] | trim if messages[0]['role'] == 'system' else '' -%}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: ' -}}"
    "{{- date_string + '\\n\\n' + own + '<|eot_id|>' -}}"
    "{%- for m in messages if m['role'] != 'system' -%}"
    "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}"
)
GEMMA_TURNS = (
    "{%- for m in rest -%}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{%- endif -%}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' }}"
    "{{ (first if loop.first else '') + m['content'] | trim }}{{ '<end_of_turn>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)
GEMMA2 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('System role not supported') }}"
    "{%- endif -%}{%- set rest = messages -%}{%- set first = '' -%}" + GEMMA_TURNS
)
GEMMA3 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first = messages[0]['content'] + '\\n\\n' -%}"
    "{%- set rest = messages[1:] -%}{%- else -%}{%- set first = '' -%}{%- set rest = messages -%}{%- endif -%}"
    + GEMMA_TURNS
)
MISTRAL = (
    "{%- if messages[0]['role'] == 'system' -%}{%- set own = messages[0]['content'] -%}{%- set rest = messages[1:] -%}"
    "{%- else -%}{%- set rest = messages -%}{%- endif -%}{{- bos_token -}}"
    "{%- for m in rest -%}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('After the optional system message, roles must alternate user/assistant') -}}{%- endif -%}"
    "{%- if m['role'] == 'user' -%}{%- if loop.last and own is defined -%}{{- '[INST] ' + own + '\\n\\n' -}}"
    "{%- else -%}{{- '[INST] ' -}}{%- endif -%}{{- m['content'] + '[/INST]' -}}"
    "{%- else -%}{{- ' ' + m['content'] + eos_token -}}{%- endif -%}{%- endfor -%}"
)


@dataclass(frozen=True)
class Family:
    """`config` makes the configuration from a vocabulary size and ids; `special` are the tokens of the family that
    text is never spelled with, `added` those that are text. Answers end at `eos` and, by the model's generation
    settings, at `ends`; its template `closes` a turn. What users are `told` of its prompts. `begins`: the tokenizer
    puts `bos` before what it encodes. `spare`: words of the model that its tokenizer has no token for."""

    config: Callable[..., Any]
    template: str | None
    eos: str
    closes: str
    told: tuple[str, ...] = ()
    bos: str | None = None
    pad: str | None = None
    special: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    begins: bool = False
    spare: int = 0


SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
SMALL |= {"num_hidden_layers": 2, "max_position_embeddings": 1024}
LOCAL = {"head_dim": 8, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
ROPE3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ROPE3 |= {"original_max_position_embeddings": 256}
IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
THINK = ("<think>", "</think>")
LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>")
GEMMA = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
chatml = partial(
    Family, eos="<|im_end|>", closes="<|im_end|>", pad="<|endoftext|>", special=IM, ends=("<|im_end|>", "<|endoftext|>")
)
llama3 = partial(
    Family,
    partial(LlamaConfig, **SMALL, rope_parameters=ROPE3, tie_word_embeddings=True),
    bos="<|begin_of_text|>",
    special=LLAMA,
    begins=True,
)
gemma = partial(Family, eos="<eos>", closes="<end_of_turn>", bos="<bos>", pad="<pad>", special=GEMMA, begins=True)

FAMILIES: dict[str, Family] = {
    "qwen2.5": chatml(
        partial(Qwen2Config, **SMALL, tie_word_embeddings=True), QWEN25, told=("writes its own",), spare=40
    ),
    "qwen3": chatml(partial(Qwen3Config, **SMALL, head_dim=12, tie_word_embeddings=True), QWEN3, added=THINK, spare=24),
    "llama3": llama3(
        template=LLAMA3,
        eos="<|eot_id|>",
        closes="<|eot_id|>",
        told=("today's date",),
        ends=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
    ),
    "llama3 base": llama3(template=None, eos="<|end_of_text|>", closes="<|end_of_text|>", told=("no chat template",)),
    "gemma2": gemma(
        partial(Gemma2Config, **SMALL, **LOCAL, attn_logit_softcapping=50.0, final_logit_softcapping=30.0),
        GEMMA2,
        told=("no system role",),
    ),
    "gemma3": gemma(partial(Gemma3TextConfig, **SMALL, **LOCAL), GEMMA3, ends=("<eos>", "<end_of_turn>")),
    "mistral": Family(
        partial(MistralConfig, **SMALL, sliding_window=None),
        MISTRAL,
        eos="</s>",
        closes="</s>",
        bos="<s>",
        special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        begins=True,
    ),
    "smollm2": chatml(
        partial(LlamaConfig, **SMALL, tie_word_embeddings=True),
        SMOLLM2,
        told=("writes its own",),
        bos="<|im_start|>",
        ends=("<|im_end|>",),
    ),
    "smollm3": chatml(
        partial(SmolLM3Config, **SMALL, no_rope_layers=[1, 0], tie_word_embeddings=True),
        SMOLLM3,
        told=("today's date", "writes its own"),
        added=THINK,
    ),
    "gpt2": Family(
        partial(GPT2Config, n_embd=32, n_layer=2, n_head=4, n_positions=1024),
        None,
        eos="<|endoftext|>",
        closes="<|endoftext|>",
        told=("no chat template",),
        bos="<|endoftext|>",
        special=("<|endoftext|>",),
    ),
}


def tokenizer_of(family: Family) -> Any:
    """Bytes and the family's own tokens; whatever text comes, it can be spelled."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words.add_special_tokens([AddedToken(token, special=True) for token in family.special])
    words.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.added])
    if family.begins and family.bos:
        begins = [(family.bos, words.token_to_id(family.bos))]
        words.post_processor = TemplateProcessing(single=f"{family.bos} $A", special_tokens=begins)
    named = {"eos_token": family.eos, "bos_token": family.bos, "pad_token": family.pad}
    made = PreTrainedTokenizerFast(tokenizer_object=words, **{key: token for key, token in named.items() if token})
    made.chat_template = family.template
    return made


def write(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The family as a Hugging Face folder, as its makers would save it."""
    family = FAMILIES[name]
    words = tokenizer_of(family)
    ids = {f"{kind}_token_id": getattr(words, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(family.config(vocab_size=len(words) + family.spare, **ids))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3) if p.ndim > 1 else p.add_(torch.randn_like(p), alpha=0.1)
    if family.ends:
        model.generation_config.eos_token_id = words.convert_tokens_to_ids(list(family.ends))
    model.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
