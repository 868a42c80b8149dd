"""Writes examples/data/sums.jsonl: questions and answers without worked solutions, of which a small model knows half.

    python examples/make_sums.py

examples/sums.yaml starts from them: where there is no teacher and no trace, a model is taught by its own right answers.
Every run writes the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

from manyminds.tasks import SPLITS, load_task

FILE = Path(__file__).parent / "data" / "sums.jsonl"


def rows() -> list[dict[str, str]]:
    """400 questions of the embedded arithmetic task, drawn with another seed than those the model has learnt."""
    splits = load_task("arithmetic", seed=1, warmup=0, train=400, validation=0, test=0).splits
    questions = [question for name in SPLITS for question in splits[name]]
    return [{"id": f"s{i:03}", "question": one.text, "answer": one.answer} for i, one in enumerate(questions)]


if __name__ == "__main__":
    FILE.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
