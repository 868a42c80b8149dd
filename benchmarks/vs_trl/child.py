"""One side of one workload, in a process of its own: `python -m vs_trl.child SPEC`; the spec is JSON.

It says READY after its first, untimed steps and after those of every pair, and goes on when a line comes in; in the end
it says FOUND and JSON. The spec names side, workload, model folder, precision and threads, and for TRL the answers in a
micro-batch and changes to its settings.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any, TextIO

from vs_trl.laps import Laps, peak_mebibytes
from vs_trl.workloads import Workload, job

READY, FOUND = "READY", "FOUND "


def run(spec: dict[str, Any], say: TextIO) -> dict[str, Any]:
    """What the run took. Raises AssertionError if it did not do the whole job."""
    import torch

    from manyminds.loading import load_model

    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    model, tokenizer = load_model(spec["model"], 0)
    workload = Workload(**spec["workload"])
    its, before = job(workload, tokenizer), fingerprint(model)

    def wait(done: int) -> None:
        if done >= workload.warm and not (done - workload.warm) % workload.timed:
            print(READY, file=say, flush=True)
            sys.stdin.readline()

    if spec["side"] == "trl":
        from vs_trl import trl_side

        laps, settings = trl_side.run(
            its, model, tokenizer, spec["precision"], spec["rows"], spec["changes"], Laps(wait)
        )
    else:
        from vs_trl import our_side

        laps, settings = our_side.run(its, model, tokenizer, spec["precision"], Laps(wait))
    assert fingerprint(model) != before, "nothing was learnt"
    digest = hashlib.sha256(json.dumps(its.prompt_ids).encode()).hexdigest()
    return {"laps": laps, "settings": settings, "peak_mebibytes": peak_mebibytes(), "prompt_ids_sha256": digest}


def fingerprint(model: Any) -> float:
    """A number that changes with the weights."""
    return float(sum(p.detach().double().abs().sum() for p in model.parameters()))


def main() -> None:
    """Run what the command line says. Whatever else is printed, by TRL too, goes to the errors."""
    say = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    print(FOUND + json.dumps(run(json.loads(sys.argv[1]), say)), file=say, flush=True)


if __name__ == "__main__":
    main()
