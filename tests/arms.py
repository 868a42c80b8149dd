"""The built-in methods and the options that change what they do: what every test of every method goes through."""

from __future__ import annotations

from typing import Any

from manyminds.records import PLAIN

MEML: dict[str, Any] = {"name": "meml_grpo", "hard_wrong": 1, "hard_capacity": 2, "hard_probability": 1.0}
ARMS: dict[str, dict[str, Any]] = {
    "best_of_group": {"name": "best_of_group", "below": 0.5},
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
    "reinforce": {"name": "reinforce"},
    "reinforce, over the batch, near a reference": {"name": "reinforce", "normalise": "batch", "kl_coefficient": 0.1},
    "reinforce_pp": {"name": "reinforce_pp"},
    "reinforce_pp, group baseline": {"name": "reinforce_pp", "baseline": "group", "epochs": 2},
    "rft": {"name": "rft"},
    "rft, two answers": {"name": "rft", "most": 2, "student": "alpha"},
    "rloo": {"name": "rloo"},
    "rloo, clipped": {"name": "rloo", "policy_loss": "clip", "epochs": 2},
    "rs_grpo": {"name": "rs_grpo"},
    "rs_grpo, averse": {"name": "rs_grpo", "beta": -4.0},
}
