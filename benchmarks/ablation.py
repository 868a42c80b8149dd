"""Which part of MEML-GRPO does what, and does a simpler use of the same compute do as much?

    python benchmarks/ablation.py [--parts] [--workers 2] [--only ARM ...] [--seeds N ...] [--level LEVEL ...]

Runs recipes/ablation_arithmetic.yaml, with --parts ablation_parts.yaml. Every cell is written to
benchmarks/results/ablation/ (or ablation_parts/) as it ends, and the summary to a file beside it; started again, it
runs only what is missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyminds.compare import compare
from manyminds.errors import UserError

RECIPES = Path(__file__).parents[1] / "recipes"


def tell(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
    """One line when a cell starts or ends."""
    more = {key: round(value, 3) if isinstance(value, float) else value for key, value in data.items()}
    name = f"{more.pop('level')}/{more.pop('arm')} seed {more.pop('seed')}"
    print(f"{time.strftime('%H:%M:%S')} [{step}/{steps}] {name}: {more.pop('state')} {more or ''}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", action="store_true", help="the parts of MEML-GRPO, and one prompt alone")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time, one thread each")
    parser.add_argument("--only", nargs="+", default=(), metavar="ARM", help="these arms, and what they start from")
    parser.add_argument("--seeds", nargs="+", type=int, default=(), metavar="SEED")
    parser.add_argument("--level", nargs="+", default=(), metavar="LEVEL")
    chosen = parser.parse_args()
    recipe = RECIPES / ("ablation_parts.yaml" if chosen.parts else "ablation_arithmetic.yaml")
    try:
        found = compare(
            recipe, workers=chosen.workers, only=chosen.only, seeds=chosen.seeds, levels=chosen.level, watch=tell
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    primary = found["primary"]
    print({key: primary[key] for key in ("outcome", "arm", "against", "difference", "low", "high", "seeds")})
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
