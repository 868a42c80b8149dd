"""The golden example of MEML-GRPO's notes: three experts, four answers each, log-probs of whole sequences.

E1 is the best expert, E0 the worst; E1's right answers are 0, 1 and 3.
"""

from __future__ import annotations

from typing import Any

from hand import group
from manyminds.methods.compose import Composed
from manyminds.methods.meml_grpo import MEMLGRPO
from manyminds.records import Floats, Group, Ids

REWARDS = [[0.0, 0, 0, 0], [1.0, 1, 0, 1], [0.0, 1, 0, 0]]
LOGPROBS = [[-3.0, -3, -3, -3], [-2.0, -3, -1, -4], [-5.0, -2, -1, -3]]
BORROWED = {0: -6.0, 1: -5.0, 3: -7.0}
"""log p(O+ | P_E0)."""
HARD = {900: -8.0, 901: -10.0}
"""log p of the worked solutions, the question's and the one that is stored already."""


def golden() -> Group:
    return group(REWARDS, LOGPROBS, solution=(900,))


def meml(**fields: Any) -> Composed:
    """The published method for the golden example; without the buffer unless asked for."""
    given = {"hard_coefficient": 0.0, "mutual_coefficient": 0.1, "average": "mean_of_sums", **fields}
    return Composed(MEMLGRPO(experts=("e0", "e1", "e2"), answers_per_prompt=4, **given))


def says(prompt: Ids, ids: Ids) -> Floats:
    """The log-probs of answers and solutions under the prompts of those who wrote them."""
    return (HARD[ids[0]] if ids[0] in HARD else LOGPROBS[prompt[1] - 100][ids[0]],)


def says_borrowed(prompt: Ids, ids: Ids) -> Floats:
    """The same, but under E0 the log-probs of E1's right answers."""
    borrowed = prompt == (1, 100) and ids[0] in BORROWED
    return (BORROWED[ids[0]],) if borrowed else says(prompt, ids)
