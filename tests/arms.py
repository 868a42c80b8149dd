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
    "grpo, two mini-batches": {"name": "grpo", "minibatches": 2},
    "grpo, over tokens": {"name": "grpo", "average": "over_tokens"},
    "curiosity": {"name": "grpo", "with": [{"name": "curiosity"}]},
    "curiosity, cosine, as given": {
        "name": "grpo",
        "with": [{"name": "curiosity", "schedule": "cosine", "until": 1.0, "reward_range": "as_given", "alpha": 0.1}],
    },
    "darl": {"name": "darl", "spread_from": 1, "spread_filter_from": 2},
    "darl, debiased, static gate": {
        "name": "darl",
        "debias": "rlpr",
        "debias_by": "current",
        "gate": "static",
        "beta": 0.5,
        "confidence": "geometric",
    },
    "rlpr": {"name": "rlpr", "spread_from": 1, "spread_filter_from": 2},
    "rlpr beside mutual learning": {**MEML, "with": [{"name": "rlpr", "debias": "none", "malformed": "zero"}]},
    "ppl_shaping": {"name": "grpo", "with": [{"name": "ppl_shaping"}]},
    "ppl_shaping, unlikely ones": {"name": "grpo", "with": [{"name": "ppl_shaping", "favour": "high", "alpha": 0.1}]},
    "position_shaping": {"name": "grpo", "with": [{"name": "position_shaping"}]},
    "position_shaping, late": {"name": "grpo", "with": [{"name": "position_shaping", "start": 0.3, "stop": 0.8}]},
    "cispo": {"name": "cispo"},
    "cispo, one update, bounded below": {"name": "cispo", "minibatches": 1, "clip_low": 0.2, "clip_high": 0.2},
    "dapo": {"name": "dapo", "overlong_length": 4, "overlong_cache": 2},
    "dapo, all mixed, lengths free": {"name": "dapo", "mixed": "all", "overlong_weight": 0.0, "minibatches": 1},
    "gspo": {"name": "gspo"},
    "gspo, by token, two epochs": {"name": "gspo", "level": "token", "minibatches": 1, "epochs": 2},
    "dynamic_sampling": {"name": "grpo", "with": [{"name": "dynamic_sampling"}]},
    "dynamic_sampling, pooled": {**MEML, "with": [{"name": "dynamic_sampling", "mixed": "pooled", "rounds": 2}]},
    "kl_to_reference": {"name": "grpo", "with": [{"name": "kl_to_reference"}]},
    "kl_to_reference, k2, two epochs": {
        "name": "grpo",
        "epochs": 2,
        "with": [{"name": "kl_to_reference", "estimator": "k2", "average": "over_tokens"}],
    },
    "kl_to_reference beside verified answers": {"name": "rft", "with": [{"name": "kl_to_reference"}]},
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
