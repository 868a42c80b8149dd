"""The text of a first recipe: YAML with comments, from a plan of what it is to say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from manyminds.config import Recipe, parse

if TYPE_CHECKING:
    from manyminds.drafting import Data


@dataclass(frozen=True, slots=True)
class Plan:
    """What a first recipe says; `max_tokens` of an answer, and at most `steps` and `sampled_tokens` (None: any)."""

    model: str
    data: Data
    prompts: dict[str, str]
    name: str
    questions: int
    max_tokens: int
    lr: float
    steps: int
    sampled_tokens: int | None

    @property
    def rollouts(self) -> int:
        """Answers in a step."""
        return self.questions * len(self.prompts) * 8


def parsed(plan: Plan) -> Recipe:
    """The recipe as a run would read it. Raises UserError."""
    text = text_of(plan)
    return parse(yaml.safe_load(text), "recipe", text)


def text_of(plan: Plan) -> str:
    """The commented recipe."""
    from manyminds.preview import CHECKED

    def quoted(words: str, plainly: bool = False) -> str:
        whole = yaml.safe_dump(words, default_style='"', allow_unicode=True, width=math.inf).strip()
        return words if plainly and yaml.safe_load(words) == words else whole

    experts = "\n".join(
        f"  - {{name: {quoted(name, plainly=True)}, system: {quoted(text)}}}" for name, text in plan.prompts.items()
    )
    every = max(1, plan.steps // 8)
    hard = "" if plan.data.solved else ", hard_coefficient: 0"
    buffer = "worked solutions return where an expert keeps failing"
    lacking = "not all have worked solutions, no buffer" if plan.data.solutions else "no worked solutions, no buffer"
    why = buffer if plan.data.solved else lacking
    tokens = "" if plan.sampled_tokens is None else f"sampled_tokens: {plan.sampled_tokens}  # training ends here too\n"
    test = len(plan.data.task.splits["test"])
    rewards = ""
    if plan.data.verifier != "exact_answer":  # which is what a recipe without `rewards` has
        rewards = f"rewards: [{plan.data.verifier}]  # all gold answers are numbers: 72, 72.0 and $72 are the same\n"
    return f"""\
# Written by `manyminds init`; every key can be changed. Paths count from the folder in which commands are run.
name: {quoted(plan.name)}
model: {quoted(plan.model)}
# Of the questions 80 % train, the rest validates and tests. A final answer stands after the marker.
task: {{name: jsonl, questions: {quoted(plan.data.path)}, answer_marker: "####"}}
experts:
{experts}
{rewards}# {plan.questions} questions x {len(plan.prompts)} experts x 8 answers a step; {why}.
method: {{name: meml_grpo, preset: tuned, questions_per_step: {plan.questions}, answers_per_prompt: 8{hard}}}
steps: {plan.steps}
{tokens}sampling: {{max_tokens: {plan.max_tokens}}}
optimizer: {{lr: {plan.lr:.1e}}}  # to begin with; ten times less if the reward falls, more if nothing moves
evaluation: {{every: {every}, questions: {CHECKED}, sampled_questions: {min(test, 100)}}}
checkpoint: {{every: {every}}}
"""
