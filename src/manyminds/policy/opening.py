"""Opens a user's model. Whatever would fail in the middle of a run, or go on with random weights, is said at once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer

from manyminds.errors import UserError

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
OTHERS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
JSONS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    INDEX,
)
POINTER = b"version https://git-lfs"
AGAIN = "download or copy the folder again"
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def read_config(place: str, trust: bool = False) -> Any:
    """The configuration of a decoder-only language model; of a folder, its files of weights are looked over too.

    Code that comes with a model is executed only if `trust` is set, here and below.
    Raises UserError for any other kind of model, for quantised weights, for files that are missing or cut off, and for
    code that is not trusted; and what transformers raises for a configuration that it does not know.
    """
    if Path(place).is_dir():
        _check_json(Path(place))
    if trust:
        logging.getLogger("manyminds").warning(trusting(place))
    with _own_code_refused(place):
        config = AutoConfig.from_pretrained(place, trust_remote_code=trust)
    _check_kind(place, config, trust)
    if Path(place).is_dir():
        _check_files(Path(place))
    return config


def read_model(place: str, trust: bool = False, dtype: torch.dtype = torch.float32) -> Any:
    """The model in `dtype`. Raises UserError if weights are missing in the files or have another shape there."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        place, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=trust
    )
    model, told = loaded
    if other := sorted(told["mismatched_keys"]):
        name, there, here = other[0]
        raise UserError(
            f"model: '{place}': the weights {name} are {tuple(there)} in its files and {tuple(here)} by its "
            "config.json; the two do not belong together"
        )
    if missing := sorted(told["missing_keys"]):
        raise UserError(
            f"model: '{place}': {len(missing)} of its weights are in none of its files, first {missing[0]}; they would "
            f"be random; {AGAIN}, or mend its config.json"
        )
    _forget_unused(model.generation_config)
    return model


def read_tokenizer(place: str, trust: bool = False) -> Any:
    """The tokenizer. Raises UserError for a folder without one, for which transformers makes one without words."""
    with _own_code_refused(place):
        made = AutoTokenizer.from_pretrained(place, trust_remote_code=trust)
    files = sorted({"tokenizer.json", *getattr(made, "vocab_files_names", {}).values()})
    if Path(place).is_dir() and not any((Path(place) / file).is_file() for file in files):
        raise UserError(f"model: '{place}' has no tokenizer (none of {', '.join(files)}); copy that of its model to it")
    if isinstance(longest := made.model_max_length, bool) or not isinstance(longest, int | float):
        raise UserError(
            f"model: `model_max_length` in {place}/tokenizer_config.json is {longest!r}; it must be a number of tokens"
        )
    return made


def trusting(place: str) -> str:
    """What is told before code that comes with a model is executed."""
    return f"trust_remote_code is on: Python code that comes with the model '{place}' is executed in this process"


@contextmanager
def _own_code_refused(place: str) -> Iterator[None]:
    """Turns what transformers says of code that comes with the model into a sentence of the recipe's words."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UserError(
            f"model: '{place}' comes with Python code of its own, which is not executed; give a model that "
            "transformers knows, or, if you have read the code and trust it, set trust_remote_code: true in the recipe "
            "whose `model` it is (for the folder of a run: give --trust-remote-code)"
        ) from error


def _check_kind(place: str, config: Any, trust: bool) -> None:
    named = ", ".join(config.architectures or ()) or config.model_type
    mapping: Any = MODEL_FOR_CAUSAL_LM_MAPPING
    kinds = mapping.get(type(config), ())
    known = {kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,))}
    parts = [part for part in getattr(config, "sub_configs", {}) if part != "text_config"]
    if parts and config.get_text_config() is not config:
        raise UserError(
            f"model: '{place}' ({named}) has parts besides its language model ({', '.join(sorted(parts))}), which are "
            "not trained here; give a text-only model of the family"
        )
    if quantised := getattr(config, "quantization_config", None):
        how = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        raise UserError(
            f"model: '{place}' has quantised weights ({getattr(how, 'value', how)}), which cannot be trained; give the "
            "model that it was made from"
        )
    if trust and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return
    decodes = getattr(config, "is_decoder", True) and not getattr(config, "is_encoder_decoder", False)
    if not known or not decodes or (config.architectures and not known & set(config.architectures)):
        wanted = " or ".join(sorted(known) if known and decodes else ["Qwen2ForCausalLM", "LlamaForCausalLM"])
        raise UserError(
            f"model: '{place}' is a {named} by its config.json, not a decoder-only language model; give one, such as a "
            f"{wanted}"
        )


def _check_json(folder: Path) -> None:
    """That the folder's files of JSON are whole objects; transformers seldom says which one is not."""
    for name in JSONS:
        if not (folder / name).is_file():
            continue
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"model: {folder / name} is not a valid JSON file ({error}); {AGAIN}") from error
        if not isinstance(found, dict):
            raise UserError(f"model: {folder / name} must hold a JSON object, not {str(found)[:40]!r}; {AGAIN}")


def _named(index: Path) -> list[str]:
    """The files of weights that the index names. Raises UserError for an index that is of another kind."""
    names = json.loads(index.read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) and name for name in names.values()):
        raise UserError(f"model: {index} has no `weight_map` from weights to files; {AGAIN}")
    return sorted(set(names.values()))


def _check_files(folder: Path) -> None:
    """That the files of weights are there and whole; their headers are read, no weights."""
    index = folder / INDEX
    if index.is_file():
        names = _named(index)
    elif (folder / WHOLE).is_file():
        names = [WHOLE]
    elif any((folder / name).is_file() for name in OTHERS):
        return
    else:
        raise UserError(f"model: '{folder}' holds no weights (no {WHOLE}, and no {INDEX}); {AGAIN}")
    for name in names:
        file = folder / name
        if not os.path.isfile(file):
            raise UserError(f"model: {file} is not there, though {INDEX} names it; {AGAIN}")
        with file.open("rb") as opened:
            if opened.read(len(POINTER)) == POINTER:
                raise UserError(
                    f"model: {file} is a pointer of Git LFS, not the weights; fetch them with `git lfs pull`"
                )
        try:
            with safe_open(str(file), framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"model: {file} is not a whole file of weights ({error}); {AGAIN}") from error


def _forget_unused(settings: Any) -> None:
    """Settings of sampling that a greedy model does not use: transformers reads them, but refuses to save them."""
    for name in () if settings is None or settings.do_sample else SAMPLING:
        setattr(settings, name, None)
