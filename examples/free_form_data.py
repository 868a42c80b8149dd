"""Question and answer pairs whose answers nobody can check by rule, from published files that you have.

python examples/free_form_data.py FOLDER OUT.jsonl [QUESTIONS_OF_EACH]

FOLDER holds any of `exam/qasc_train_cot.jsonl` (QASC: the chosen option's text is the answer, the options are not
shown), `multihop/r1searcher_train_qa.jsonl` (question and answer, as they stand) and `strategyqa/train.jsonl`
(StrategyQA: yes or no, and the facts why).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def option(row: Row) -> str:
    """The text of the option that is named by its letter."""
    return str(row["options"][ord(row["answer"]) - ord("A")])


def explained(row: Row) -> str:
    """Yes or no, and why, on one line."""
    return " ".join(f"{row['answer']}. {' '.join(row['facts'])}".split())


SOURCES: dict[str, Callable[[Row], str]] = {
    "exam/qasc_train_cot.jsonl": option,
    "multihop/r1searcher_train_qa.jsonl": lambda row: str(row["answer"]),
    "strategyqa/train.jsonl": explained,
}


def pairs(folder: Path, most: int) -> list[dict[str, str]]:
    """Question and answer of the first `most` rows of each file that is there."""
    found = []
    for name, answer in SOURCES.items():
        path = folder / name
        if path.is_file():
            with path.open(encoding="utf-8") as lines:
                for row in map(json.loads, islice(lines, most)):
                    found.append({"id": row["id"], "question": row["question"], "answer": answer(row)})
    return found


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    rows = pairs(Path(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) == 4 else 1000)
    if not rows:
        sys.exit(f"{sys.argv[1]}: none of {', '.join(SOURCES)} is there")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path(sys.argv[2]).write_text(text, encoding="utf-8")
    print(f"{len(rows)} questions in {sys.argv[2]}")
