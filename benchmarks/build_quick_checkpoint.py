"""Is the model that `manyminds demo --quick` starts from the one that the demo's warm-up comes to?

    python benchmarks/build_quick_checkpoint.py [--output src/manyminds/assets/mef]

Runs the warm-up of recipes/demo.yaml and keeps of its run folder what the quick demo needs: the model, as a checkpoint,
its evaluation on the test questions, and the SHA-256 of every file. The same machine and versions give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from manyminds import checkpoint, shipped
from manyminds.children import ENVIRONMENT
from manyminds.demo import QUICK, merged

KEPT = ("recipe.yaml", "versions.json", "result.json", "evaluations.jsonl", "evaluation/after.json")
LARGEST = 1_000_000


def build(output: Path) -> Path:
    """Run the warm-up in a folder of its own and write the checkpoint to `output`, which must not be there yet."""
    with tempfile.TemporaryDirectory() as place:
        data = yaml.safe_load(shipped.demo_recipe().read_text(encoding="utf-8"))
        sampled = QUICK["evaluation"]["sampled_questions"]  # before and after are measured on the same questions
        recipe = Path(place) / "demo.yaml"
        changes = {"name": "demo", "output": "runs", "evaluation": {"sampled_questions": sampled}}
        recipe.write_text(yaml.safe_dump(merged(data, changes)))
        command = [sys.executable, "-m", "manyminds.cell", recipe.name, "warmup"]
        subprocess.run(command, cwd=place, env={**os.environ, **ENVIRONMENT}, check=True)
        keep(Path(place) / "runs" / "demo" / "warmup", output)
    return output


def keep(run: Path, output: Path) -> None:
    """What the quick demo needs of a finished warm-up: no optimiser, no evaluations but the last."""
    found, _ = checkpoint.latest(run / "checkpoints")
    if found is None:
        raise SystemExit(f"{run} holds no checkpoint")
    saved = checkpoint.load(found)

    def write(model: Path) -> None:
        shutil.copytree(saved.model, model, dirs_exist_ok=True)

    output.mkdir(parents=True)
    checkpoint.save(output / "checkpoints", saved.step, write, {"recipe": saved.state["recipe"]}, {})
    for name in KEPT:
        (output / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(run / name, output / name)
    shipped.write_sums(output)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    if size >= LARGEST:
        raise SystemExit(f"{output} has {size} bytes; what is shipped stays below {LARGEST}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=shipped.HERE / "mef", help="where it goes (must not be there)")
    print(build(parser.parse_args().output))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
