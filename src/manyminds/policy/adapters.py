"""Low-rank adapters (LoRA, arXiv 2106.09685) instead of all weights, by peft through transformers' own integration.

The model keeps its class, so that everything else sees one more kind of layer. What it says with the adapters off is
what it said before training: the reference policy needs no copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from manyminds.errors import UserError
from manyminds.policy.line_model import LineModel
from manyminds.sections import Lora

CONFIG = "adapter_config.json"


def holds_adapters(model: str | Path) -> bool:
    """Whether this is a folder of adapters, which say nothing without the model that they were trained on."""
    return os.path.isfile(Path(model) / CONFIG)  # which also takes what no file can be called


def add(model: Any, lora: Lora, seed: int) -> None:
    """Fresh adapters, which change nothing yet; all other weights are frozen.

    Raises UserError if peft is not installed, or the model has no layer of a name in `lora.target_modules`.
    """
    _needs_peft()
    from peft import LoraConfig

    named = lora.target_modules
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=named if isinstance(named, str) else list(named),
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    try:
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            model.add_adapter(config)
    except ValueError as error:
        layers = sorted({name.rpartition(".")[2] for name, part in model.named_modules() if hasattr(part, "weight")})
        raise UserError(f"lora.target_modules: {error}; this model's layers are {', '.join(layers)}") from error


def read(model: Any, folder: Path) -> None:
    """The adapters that a run has saved in this folder, to be trained on."""
    _needs_peft()
    model.load_adapter(str(folder), is_trainable=True)
    model.eval()


def write(model: Any, folder: Path, base: str) -> None:
    """The model as a Hugging Face folder: all of it, or if it has adapters these alone, on the model `base`."""
    configs = getattr(model, "peft_config", {})
    for config in configs.values():
        config.base_model_name_or_path = ""  # else peft asks the hub about it, at every save
    model.save_pretrained(folder)
    for config in configs.values():
        config.base_model_name_or_path = base
        config.save_pretrained(folder)


def merge(model: Any) -> Any:
    """A plain model of the same class whose weights have the adapters added to them. Changes `model`.

    A new one, because transformers keeps on writing the keys of a model as it once read them: as adapters.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())
    plain = type(model)(model.config).to(model.device, model.dtype).eval()
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain


class WithoutAdapters(LineModel):
    """The same model with its adapters off: the policy before training, as a reference."""

    @contextmanager
    def attending(self) -> Iterator[None]:
        """As `LineModel.attending`, without adapters."""
        self.model.disable_adapters()
        try:
            with super().attending():
                yield
        finally:
            self.model.enable_adapters()


def _needs_peft() -> None:
    if find_spec("peft") is None:
        raise UserError('lora: needs the peft library; pip install "manyminds[lora]", or leave the `lora` section out')
