"""A language model as a judge beside the exact answer: its replies come from a server on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chat_server import ChatServer
from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge
from manyminds.sections import RewardConfig
from manyminds.tasks.arithmetic import extract

RECIPE: dict[str, Any] = {
    "name": "t",
    "model": "tiny",
    "task": {"name": "arithmetic", "warmup": 0, "train": 4, "validation": 2, "test": 2},
    "method": {"name": "grpo", "questions_per_step": 2, "answers_per_prompt": 2},
    "sampling": {"max_tokens": 4},
    "evaluation": {"samples": 2, "group": 2},
    "steps": 2,
}


def judge(server: ChatServer, folder: Path | None = None, **options: Any) -> Judge:
    """The exact answer, and a tenth of what the server says."""
    its = {"name": "llm_judge", "url": server.url, "model": "fake", "retries": 0, "weight": 0.1, **options}
    return Judge(["exact_answer", RewardConfig.model_validate(its)], extract, folder=folder)


def answers(*texts: str) -> list[Rollout]:
    prompt = Prompt(Question("q", 'What is "1+1"?', "2", solution="c#2"), "concise")
    return [Rollout(prompt, ids=(1,), logprobs=(-0.5,), text=text) for text in texts]


def by_length(body: dict[str, Any]) -> str:
    """Half a point for a response of two characters, none for others."""
    response = json.loads(body["messages"][0]["content"].partition("Response: ")[2].partition("\n")[0])
    return f"I looked at it.\n{json.dumps({'score': 0.5 if len(response) == 2 else 0})}"


def scores(its: Judge, *texts: str) -> list[float | None]:
    return [scored.parts["llm_judge"] for scored in its(answers(*texts))]
