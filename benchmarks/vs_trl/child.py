"""One run of one side, in a process of its own: `python -m vs_trl.child SPEC OUT`; the spec is JSON, OUT a JSON file.

Imports and loading are over before anything is timed. The spec names side, workload, model folder, precision and
threads, and for TRL the answers in a micro-batch and changes to its settings.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from vs_trl.laps import peak_mebibytes
from vs_trl.workloads import Workload, job


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """What the run took. Raises AssertionError if it did not do the whole job."""
    import torch

    from manyminds.loading import load_model

    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    model, tokenizer = load_model(spec["model"], 0)
    its = job(Workload(**spec["workload"]), tokenizer)
    before = fingerprint(model)
    if spec["side"] == "trl":
        from vs_trl import trl_side

        laps, settings = trl_side.run(its, model, tokenizer, spec["precision"], spec["rows"], spec["changes"])
    else:
        from vs_trl import our_side

        laps, settings = our_side.run(its, model, tokenizer, spec["precision"])
    assert fingerprint(model) != before, "nothing was learnt"
    digest = hashlib.sha256(json.dumps(its.prompt_ids).encode()).hexdigest()
    return {"laps": laps, "settings": settings, "peak_mebibytes": peak_mebibytes(), "prompt_ids_sha256": digest}


def fingerprint(model: Any) -> float:
    """A number that changes with the weights."""
    return float(sum(p.detach().double().abs().sum() for p in model.parameters()))


def main() -> None:
    """Run what the command line says."""
    spec, out = sys.argv[1:]
    Path(out).write_text(json.dumps(run(json.loads(spec))), encoding="utf-8")


if __name__ == "__main__":
    main()
