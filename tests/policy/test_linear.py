"""Linear layers within a running pass: other products, the same numbers; outside it they are what they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from manyminds.policy import linear
from manyminds.policy.line_model import LineModel
from manyminds.policy.packing import Packed

SIZES = {"vocab_size": 60, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
SMALL, LARGE = {"hidden_size": 32, "intermediate_size": 48}, {"hidden_size": 256, "intermediate_size": 512}
"""Products of few multiplications and of many may go by different libraries."""
MODELS: dict[str, Callable[[], Any]] = {
    "no bias": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **SMALL)),
    "bias": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, **SMALL)),
    "large": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **LARGE)),
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **SMALL, tie_word_embeddings=True)),
}


def model_of(name: str) -> Any:
    """Biases are not zero, and hidden states of some size."""
    model = MODELS[name]().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, p.shape[-1] ** -0.5) if p.ndim > 1 else p.add_(torch.randn_like(p), alpha=0.1)
    return model


def linear_layers(model: Any) -> dict[str, nn.Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def inputs_of(model: Any, rows: int) -> dict[str, Tensor]:
    """One input per module that holds layers: siblings read the very same tensor."""
    inputs: dict[tuple[str, int], Tensor] = {}
    return {
        name: inputs.setdefault(
            (name.rpartition(".")[0], layer.in_features), torch.randn(1, rows, layer.in_features).requires_grad_()
        )
        for name, layer in linear_layers(model).items()
    }


def exact(layer: nn.Linear, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.double()
    return nn.functional.linear(x.double(), layer.weight.double(), bias)


def near(ours: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Relative to the largest entry."""
    return bool((ours.double() - wanted.double()).abs().max() <= tolerance * wanted.double().abs().max())


ROUNDING = {"float32": 1e-6, "mixed": 2e-2}


@pytest.mark.parametrize("gradient", [True, False], ids=["with gradient", "without"])
@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_the_plain_layers(name: str, precision: Any, gradient: bool) -> None:
    """Exact to float32's rounding, or to that of bfloat16 numbers; asked in order, in reverse, and one alone."""
    model = model_of(name)
    layers, inputs = linear_layers(model), inputs_of(model, 700)
    line = LineModel(model, precision)
    with line.running(), torch.set_grad_enabled(gradient):
        for names in (list(layers), list(reversed(layers)), list(layers)[1::3], list(layers)):
            for one in names:
                out = layers[one](inputs[one])
                assert out.dtype == torch.float32
                assert out.requires_grad is gradient
                assert near(out, exact(layers[one], inputs[one]), ROUNDING[precision]), one


@pytest.mark.parametrize("precision", ROUNDING)
def test_a_processor_without_the_instructions_multiplies_as_ever(
    precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "reorders", lambda dtype: False)
    model = model_of("large")
    layers, inputs = linear_layers(model), inputs_of(model, 30)
    with LineModel(model, precision).running(), torch.no_grad():
        for one, layer in layers.items():
            assert near(layer(inputs[one]), exact(layer, inputs[one]), ROUNDING[precision])


def test_what_the_processor_can_do_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("bf16 path needs the cpu support avx512bw")

    linear.reorders.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", fails)
    assert not linear.reorders(torch.bfloat16)
    linear.reorders.cache_clear()


@pytest.mark.parametrize("name", MODELS)
def test_mixed_products_are_of_rounded_numbers(name: str) -> None:
    """Both sides rounded to bfloat16, the sum rounded once more: nearer to that than to the exact product."""
    model = model_of(name)
    layers, inputs = linear_layers(model), inputs_of(model, 50)
    with torch.no_grad(), LineModel(model, "mixed").running():
        for one, layer in layers.items():
            if layer is model.get_output_embeddings():  # log-probs stay float32
                assert near(layer(inputs[one]), exact(layer, inputs[one]), ROUNDING["float32"])
                continue
            out = layer(inputs[one]).double() - (0 if layer.bias is None else layer.bias)
            x, weight = (t.to(torch.bfloat16).double() for t in (inputs[one], layer.weight))
            assert near(out, x @ weight.T, 2**-8), one
            assert not near(out, exact(layer, inputs[one]) - (0 if layer.bias is None else layer.bias), 1e-4), one


@pytest.mark.parametrize("frozen", [False, True], ids=["learning", "frozen"])
@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_plain_layers(name: str, precision: Any, frozen: bool) -> None:
    """Of weights, biases and inputs; siblings' inputs have the sum of theirs. Frozen layers pass gradients on."""
    model = model_of(name).requires_grad_(not frozen)
    layers, inputs = linear_layers(model), inputs_of(model, 300)
    pull = {one: torch.randn(1, 300, layer.out_features) for one, layer in layers.items()}
    leaves = [p for layer in layers.values() for p in layer.parameters() if not frozen] + list(set(inputs.values()))
    loss = sum((exact(layer, inputs[one]) * pull[one]).sum() for one, layer in layers.items())
    wanted = torch.autograd.grad(loss, leaves)
    with LineModel(model, precision).running():
        ours = torch.autograd.grad(sum((layer(inputs[one]) * pull[one]).sum() for one, layer in layers.items()), leaves)
    for one, other in zip(ours, wanted, strict=True):
        assert one.dtype == torch.float32
        assert near(one, other, 5 * ROUNDING[precision])


@pytest.mark.parametrize("precision", ROUNDING)
def test_double_precision_stays_double(precision: Any) -> None:
    """Whatever the engine's precision says of float32."""
    model = model_of("bias").double()
    layers = linear_layers(model)
    with torch.no_grad(), LineModel(model, precision).running():
        for one, x in inputs_of(model, 20).items():
            assert torch.allclose(layers[one](x.double()), exact(layers[one], x), rtol=0, atol=1e-12)


# The layers themselves.


@pytest.mark.parametrize("precision", ROUNDING)
def test_outside_a_pass_the_layers_are_plain(precision: Any) -> None:
    model = model_of("bias")
    before, keys = copy.deepcopy(model.state_dict()), [name for name, _ in model.named_modules()]
    attention = model.config._attn_implementation
    line = LineModel(model, precision)
    x = torch.arange(5)[None]
    plain = model(x).logits
    assert {type(layer) for layer in linear_layers(model).values()} == {nn.Linear}
    with line.running(), torch.no_grad():
        packed = Packed([((1, 2), (3, 4))])
        line.hidden(packed.tokens, packed.positions, packed)
        assert model.state_dict().keys() == before.keys()
        assert [name for name, _ in model.named_modules()] == keys
    with suppress(ZeroDivisionError), line.running():
        raise ZeroDivisionError
    assert {type(layer) for layer in linear_layers(model).values()} == {nn.Linear}
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert [name for name, _ in model.named_modules()] == keys
    assert model.config._attn_implementation == attention
    assert torch.equal(model(x).logits, plain)


def hidden_of(line: LineModel) -> Tensor:
    """Of a short line of tokens, in a pass of its own without gradient."""
    packed = Packed([((5, 6, 7), (8, 9, 10)), ((5, 6, 7), (11, 12))])
    with line.running(), torch.no_grad():
        return line.hidden(packed.tokens, packed.positions, packed)


@pytest.mark.parametrize("precision", ROUNDING)
def test_a_deep_copy_is_a_model_of_its_own(precision: Any) -> None:
    """Made after the layers were prepared, or before the weights move: each reads its own weights."""
    model = model_of("bias")
    line = LineModel(model, precision)
    before = hidden_of(line)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    assert torch.equal(hidden_of(LineModel(twin, precision)), before)
    moved = hidden_of(line)
    assert not near(moved, before, 0.1)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert torch.equal(hidden_of(line), moved)


@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.parametrize("reads", ["first", "second"])
@pytest.mark.parametrize("looked", ["first", "second"])
def test_weights_are_never_older_than_the_last_change(looked: str, reads: str, precision: Any) -> None:
    """Sampler and policy read one model: whichever looked before weights moved, whichever reads next sees it."""
    model = model_of("bias")
    lines = {"first": LineModel(model, precision), "second": LineModel(model, precision)}
    for step in range(3):
        before = hidden_of(lines[looked])
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.2)
        fresh = hidden_of(LineModel(copy.deepcopy(model), precision))
        assert not near(fresh, before, 0.01)
        assert torch.equal(hidden_of(lines[reads]), fresh), step


def test_models_of_two_precisions_on_the_same_weights() -> None:
    """Each keeps its own, whichever was made last."""
    model = model_of("bias")
    alone = {precision: hidden_of(LineModel(copy.deepcopy(model), precision)) for precision in ("mixed", "float32")}
    assert not near(alone["mixed"], alone["float32"], 1e-4)
    for order in (("mixed", "float32"), ("float32", "mixed")):
        twin = copy.deepcopy(model)
        lines = {precision: LineModel(twin, precision) for precision in order}
        for precision, line in lines.items():
            assert torch.equal(hidden_of(line), alone[precision]), order


def test_frozen_siblings_stay_frozen() -> None:
    """One of the three reads without gradient: it gets none, the others theirs."""
    model = model_of("no bias")
    attention = model.model.layers[0].self_attn
    attention.k_proj.weight.requires_grad_(False)
    x = torch.randn(1, 9, 32)
    with LineModel(model).running():
        (attention.q_proj(x).sum() + attention.k_proj(x).sum() + attention.v_proj(x).sum()).backward()
    assert attention.k_proj.weight.grad is None
    for layer in (attention.q_proj, attention.v_proj):
        assert torch.allclose(layer.weight.grad, x[0].sum(0).expand_as(layer.weight), rtol=0, atol=1e-5)
