"""Dynamic sampling (DAPO, arXiv 2503.14476, eq. 11), a part: questions without a signal are replaced by others.

    keep a question if  0 < |{o in its group : o is right}| < G

A group is what one expert answered to one question; where all its answers are right, or all wrong, no answer is better
than another. What is drawn and judged for one question stays together (mutual learning compares its experts), so it is
questions that are kept or replaced, whole. `mixed` says of which groups the condition must hold:

    any      of some expert's group: the question teaches somebody
    all      of every expert's: nothing without a signal is learnt from, the paper's condition to the letter
    pooled   of all experts' answers together: also where one expert is always right and another always wrong, which has
             no group-relative credit, but a best and a worst expert

With one expert they are the same. Answers are those of the policy, traces do not count; right is what the verifier
says, whatever else is rewarded.

Departures: the paper samples until the batch is full; here a step asks at most `rounds` times, each time only for the
questions that are missing, and then goes on with what it has, perhaps nothing. What is thrown away counts as sampled
tokens; `groups/refused` is how many questions it was.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from manyminds.methods.method import Method
from manyminds.records import Group

Mixed = Literal["any", "all", "pooled"]


class DynamicSampling(Method):
    """A part: questions whose groups are not `mixed`, of right and wrong answers, are replaced, in at most `rounds`."""

    paper: ClassVar[str] = "DAPO: An Open-Source LLM Reinforcement Learning System at Scale"
    arxiv: ClassVar[str] = "2503.14476"
    summary: ClassVar[str] = "A part: questions that are answered all right or all wrong are replaced by others."

    name: Literal["dynamic_sampling"] = "dynamic_sampling"
    rounds: int = Field(10, ge=1)
    mixed: Mixed = "any"

    @classmethod
    def least_answers(cls) -> int:
        return 2

    def keeps(self, group: Group, memory: Any) -> bool:
        return has_signal(group, self.mixed)


def has_signal(group: Group, mixed: Mixed) -> bool:
    """Whether the question's own answers are both right and wrong: in any group, in all of them, or taken together."""
    counts = [(answers.wrong, len(answers.own)) for answers in group.answers]
    if mixed == "pooled":
        return 0 < sum(wrong for wrong, _ in counts) < sum(n for _, n in counts)
    each = [0 < wrong < n for wrong, n in counts]
    return all(each) if mixed == "all" else any(each)
