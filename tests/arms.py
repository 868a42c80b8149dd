"""The built-in methods and the options that change what they do: what every test of every method goes through."""

from __future__ import annotations

from typing import Any

from manyminds.records import PLAIN

MEML: dict[str, Any] = {"name": "meml_grpo", "hard_wrong": 1, "hard_capacity": 2, "hard_probability": 1.0}
ARMS: dict[str, dict[str, Any]] = {
    "grpo": {"name": "grpo"},
    "grpo, two epochs": {"name": "grpo", "epochs": 2},
    "grpo, plain prompt": {"name": "grpo", "experts": [PLAIN]},
    "grpo, over tokens": {"name": "grpo", "average": "over_tokens"},
    "dr_grpo": {"name": "dr_grpo", "fixed_length": 4},
    "meml, published": {**MEML},
    "meml, tuned": {**MEML, "preset": "tuned", "mutual_gap": 0.0},
    "meml, hard examples only": {**MEML, "mutual_coefficient": 0.0},
    "meml, mutual learning only": {**MEML, "hard_coefficient": 0.0},
    "meml, full divergence": {**MEML, "mutual_estimator": "full"},
    "meml, k3": {**MEML, "mutual_estimator": "k3"},
    "meml, as printed": {**MEML, "mutual_direction": "as_printed"},
    "meml, buffer on its own": {**MEML, "hard_mode": "separate", "hard_reduction": "sum"},
    "ampo": {"name": "ampo", "trigger": 0.4},
    "ampo, release": {"name": "ampo", "variant": "release", "trigger": 0.4, "traces": 1},
    "luffy": {"name": "luffy"},
    "luffy, release": {"name": "luffy", "variant": "release", "fixed_length": 4, "trace_source": "own"},
    "rl_plus": {"name": "rl_plus"},
    "rl_plus, release": {"name": "rl_plus", "variant": "release", "fixed_length": 4},
    "rl_plus, two epochs": {"name": "rl_plus", "epochs": 2, "trace_source": "first"},
    "meml, traces of rl_plus": {**MEML, "with": [{"name": "rl_plus"}]},
    "rft": {"name": "rft"},
    "rft, two answers": {"name": "rft", "most": 2, "student": "alpha"},
}
