"""The methods: one explicit table, and how a recipe's `method:` becomes a value."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from manyminds import named
from manyminds.errors import UserError

if TYPE_CHECKING:
    from manyminds.methods.method import Method

METHODS: dict[str, str] = {
    "adaptive_sampling": "manyminds.methods.adaptive_sampling:AdaptiveSampling",
    "ampo": "manyminds.methods.ampo:AMPO",
    "best_of_group": "manyminds.methods.best_of_group:BestOfGroup",
    "cispo": "manyminds.methods.cispo:CISPO",
    "curiosity": "manyminds.methods.curiosity:Curiosity",
    "dapo": "manyminds.methods.dapo:DAPO",
    "darl": "manyminds.methods.darl:DARL",
    "dr_grpo": "manyminds.methods.dr_grpo:DrGRPO",
    "dynamic_sampling": "manyminds.methods.dynamic_sampling:DynamicSampling",
    "grpo": "manyminds.methods.grpo:GRPO",
    "gspo": "manyminds.methods.gspo:GSPO",
    "kl_to_reference": "manyminds.methods.kl_to_reference:KLToReference",
    "luffy": "manyminds.methods.luffy:LUFFY",
    "matched_tutors": "manyminds.methods.matched_tutors:MatchedTutors",
    "meml_grpo": "manyminds.methods.meml_grpo:MEMLGRPO",
    "pooled_baseline": "manyminds.methods.pooled_baseline:PooledBaseline",
    "position_shaping": "manyminds.methods.position_shaping:PositionShaping",
    "ppl_shaping": "manyminds.methods.ppl_shaping:PerplexityShaping",
    "reinforce": "manyminds.methods.reinforce:REINFORCE",
    "reinforce_pp": "manyminds.methods.reinforce_pp:REINFORCEPP",
    "replay": "manyminds.methods.replay:Replay",
    "rft": "manyminds.methods.rft:RFT",
    "rl_plus": "manyminds.methods.rl_plus:RLPlus",
    "rloo": "manyminds.methods.rloo:RLOO",
    "rlpr": "manyminds.methods.rlpr:RLPR",
    "rs_grpo": "manyminds.methods.rs_grpo:RSGRPO",
    "tutored_grpo": "manyminds.methods.tutored_grpo:TutoredGRPO",
}


def find(name: str) -> type[Method]:
    """The class of a built-in method, or of a user's own named `module:Name`. Raises UserError for anything else."""
    from manyminds.methods.method import Method

    path = METHODS.get(name, name)
    if ":" not in path:
        close = get_close_matches(name, METHODS, n=1)
        hint = (
            f"did you mean '{close[0]}'?" if close else f"known are {', '.join(METHODS)}, or your own as module:Name."
        )
        raise UserError(f"method.name: there is no method '{name}'; {hint}")
    found = named.find(path, "method.name")
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"method.name: '{name}' is not a manyminds Method; derive it from GRPO or Method")
    return found


def build(spec: dict[str, Any]) -> Method:
    """The method a recipe describes. Raises UserError without a name, pydantic's ValidationError for bad fields."""
    if not isinstance(spec.get("name"), str):
        raise UserError(f"method.name is missing; it says which method, one of {', '.join(METHODS)}")
    return find(spec["name"]).model_validate(spec)
