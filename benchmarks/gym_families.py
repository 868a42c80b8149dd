"""Which families of reasoning-gym can be learnt from: is the gold answer right, is anything else, is it repeatable?

    python benchmarks/gym_families.py [FAMILY ...]

Every family with its default configuration, ITEMS questions, in two processes whose hashes differ: are the questions
the same in both; does the family's own scorer give the gold answer exactly 1 as the task reads it (after a marker);
does anything that is no answer get 1, or the gold answer of another question, or the first character of the gold one;
does an answer break the scorer, run as Python, or keep it busy; does anything reach standard output; how many seconds
of a processor a question takes. The tables of src/manyminds/tasks/reasoning_gym.py stand on this. Writes
benchmarks/results/gym_families.json.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ITEMS = 12
FEW = 4
"""Questions of a family that takes longer than PATIENCE seconds for the first."""
PATIENCE = 1.0
LIMIT = 60
"""Seconds for a family; after that it is called unfinished."""
OUT = Path(__file__).parent / "results" / "gym_families.json"
NO_ANSWERS = ["", "xyzzy", "qqq zzz", "[]", "?", "\n"]
ODD = [
    "0",
    "-1",
    "1/0",
    "nan",
    "inf",
    "9" * 60,
    "1 2 3",
    "a b c",
    "()",
    "{}",
    "[[1]]",
    "None",
    "True",
    "é中",
    "a\nb",
    "#",
    "1,2",
    "x+1",
]
CODE = "__import__('builtins').__dict__.update(MARK=1)"
CODES = [CODE, f"[{CODE}]", f"({CODE},)", f"'a' if {CODE} else 'b'"]
BUSY = ["7**7**8", "[7**7**8]"]


def main() -> None:
    names = sys.argv[1:]
    if os.environ.get("GYM_CHILD"):
        print(json.dumps(measured(names)))
        return
    one, two = (child(names, seed) for seed in ("1", "2"))
    for name, row in one.items():
        for what in ("questions", "answers"):
            both = zip(row.pop(what, []), two[name].get(what, []), strict=False)  # a slow family may have fewer in one
            row[f"same_{what}"] = all(mine == its for mine, its in both)
    result = {
        "question": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "python": platform.python_version(),
        "reasoning_gym": importlib.metadata.version("reasoning-gym"),
        "items": ITEMS,
        "families": one,
    }
    if names:
        print(json.dumps(one, indent=1))
    else:
        OUT.write_text(json.dumps(result, indent=1) + "\n")


def child(names: list[str], seed: str) -> dict[str, Any]:
    """The measurements of a process of its own with this hash seed."""
    environment = {**os.environ, "GYM_CHILD": "1", "PYTHONHASHSEED": seed, "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, __file__, *names], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    families: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return families


def measured(names: list[str]) -> dict[str, Any]:
    """Every family, or these."""
    from reasoning_gym.factory import DATASETS

    rows = {}
    for name in names or sorted(DATASETS):
        started = time.process_time()
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LIMIT)
        try:
            rows[name] = family(name)
        except (Exception, TooLong) as error:
            rows[name] = {"error": f"{type(error).__name__}: {error}"[:200]}
        finally:
            signal.alarm(0)
        print(f"{name:32} {time.process_time() - started:6.1f} s", file=sys.stderr, flush=True)
    return rows


class TooLong(BaseException):
    """Not an Exception: scorers catch those."""


def _too_long(*_: Any) -> None:
    raise TooLong(f"more than {LIMIT} s")


def family(name: str) -> dict[str, Any]:
    """What is known of one family."""
    from reasoning_gym import create_dataset

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        started = time.process_time()
        data = create_dataset(name, seed=1000, size=ITEMS)
        entries = [data[0]]
        count = ITEMS if time.process_time() - started < PATIENCE else FEW
        entries += [data[i] for i in range(1, count)]
        took = (time.process_time() - started) / count
        row = {
            "seconds_per_question": round(took, 5),
            "answers_are_text": all(isinstance(e["answer"], str) for e in entries),
            "lines": max(str(e["answer"]).strip().count("\n") + 1 for e in entries),
            "distinct": len({e["question"] for e in entries}) == count,
            "characters": [max(len(e["question"]) for e in entries), max(len(str(e["answer"])) for e in entries)],
            **scoring(data, entries),
        }
    texts = {
        f"{key}s": [hashlib.sha256(str(e[key]).encode()).hexdigest() for e in entries] for key in ("question", "answer")
    }
    return {**row, "prints": bool(said.getvalue()), **texts}


def scoring(data: Any, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What the family's scorer says of gold answers, of what is no answer, and of what would harm."""
    errors: dict[str, None] = {}
    slowest = 0.0

    def score(answer: str | None, entry: dict[str, Any]) -> float:
        nonlocal slowest
        started = time.process_time()
        try:
            return float(data.score_answer(answer, entry))
        except Exception as error:
            errors[f"{type(error).__name__}: {error}"[:100]] = None
            return -1.0
        finally:
            slowest = max(slowest, time.process_time() - started)

    gold = [score(str(e["answer"]).strip(), e) for e in entries]
    broke, golden = list(errors), slowest
    wrong = {repr(text): max(score(text, e) for e in entries) for text in NO_ANSWERS}
    pairs = [(str(one["answer"]).strip(), two) for one, two in zip(entries, entries[1:] + entries[:1], strict=True)]
    others = [score(text, entry) == 1.0 for text, entry in pairs if text != str(entry["answer"]).strip()]
    begun = [(answer[0], entry) for entry in entries if len(answer := str(entry["answer"]).strip()) > 1]
    beginnings = [score(text, entry) == 1.0 for text, entry in begun]
    contained = max(score(f"The answer is {e['answer']}.", e) for e in entries)
    for text in ODD:
        score(text, entries[0])
    ran = False
    for text in CODES:
        score(text, entries[0])
        ran = builtins.__dict__.pop("MARK", None) is not None or ran
    slowest = 0.0
    for text in BUSY:
        score(text, entries[0])
    return {
        "gold_right": sum(value == 1.0 for value in gold) / len(gold),
        "gold_errors": broke,
        "gold_seconds": round(golden, 5),
        "no_answer_right": [text for text, value in wrong.items() if value == 1.0],
        "other_gold_right": round(sum(others) / max(1, len(others)), 4),
        "beginning_right": round(sum(beginnings) / max(1, len(beginnings)), 4),
        "sentence_with_gold": round(contained, 4),
        "errors": list(errors)[:4],
        "runs_code": ran,
        "busy_seconds": round(slowest, 4),
    }


if __name__ == "__main__":
    main()
