"""What is wrong with the tasks over the real files, as JSON on the standard output; one process of its own.

Shapes and types are checked at every call in the other tests, which a hundred thousand rows would feel.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from manyminds.records import Question
from manyminds.rewards import Judge
from manyminds.tasks import load_task
from manyminds.tasks.places import read_rows
from manyminds.tasks.task import SPLITS, Task


def every(task: Task) -> list[Question]:
    return [question for name in SPLITS for question in task.splits[name]]


def audit(name: str, data: Path) -> dict[str, Any]:
    """Of one task: sizes, experts, problems with gold answers, and worked answers that are wrong or untaught."""
    kind = import_module(f"manyminds.tasks.{name}").KIND
    rows = [json.loads(line) for line in (data / "experts.jsonl").read_text(encoding="utf-8").splitlines()]
    marked = {(row["id"], row["expert"]): row["solution"].strip() for row in rows if row["correct"]}
    styles = [style.name for style in kind.styles]
    plain = load_task(name, data=data)
    whole = load_task(name, data=data, styles=styles, allow_model_traces=True) if len(styles) > 3 else plain
    judge = Judge(whole.rewards, whole.extract)
    by_id = {question.id: question for question in every(whole)}
    taught = {(q.id, expert): trace.text for q in by_id.values() for expert, trace in q.traces.items()}
    filed = {expert for _, expert in marked}
    derivable = {style.name: style.derive for style in kind.styles if style.derive}
    derived = {
        (row.columns["id"], expert): text
        for row in read_rows(data / "train.jsonl", "data")
        for expert in derivable
        if expert in filed and (text := derivable[expert](row))
    }
    return {
        "sizes": {split: len(its) for split, its in plain.splits.items()},
        "questions": sum(
            len((data / f).read_text(encoding="utf-8").splitlines()) for f in ("train.jsonl", "dev.jsonl")
        ),
        "experts": [expert.name for expert in plain.experts],
        "origins": sorted({row["origin"] for row in rows if row["expert"] in {e.name for e in plain.experts}}),
        "licence": plain.licence,
        "notes": whole.notes,
        "problems": judge.check(by_id.values(), whole.answer_form),
        "untaught": sorted(pair for pair in marked if pair not in taught),
        "changed": sorted(pair for pair in marked if not taught.get(pair, marked[pair]).startswith(marked[pair])),
        "unmarked": sorted(p for p in taught if p not in marked and (p[1] in filed or p[1] not in derivable)),
        "wrong": sorted(pair for pair, text in taught.items() if judge.score(by_id[pair[0]], text) != 1.0),
        "taught": len(taught),
        "rows": sum(len(question.traces) for question in plain.splits["warmup"]),
        "underived": sum(expert in derivable and (name, expert) not in derived for name, expert in marked),
        "misderived": sorted(pair for pair, text in derived.items() if marked.get(pair) != text),
    }


if __name__ == "__main__":
    print(json.dumps({name: audit(name, Path(sys.argv[1], name)) for name in sys.argv[2:]}))
