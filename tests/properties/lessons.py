"""What every variant learns from one workload, as digests: `python -m properties.lessons` prints them for a rank."""

from __future__ import annotations

import hashlib
import json

from properties.learning import lesson_of
from properties.subjects import ALONE, composed
from properties.workload import Shape, made


def digests() -> dict[str, str]:
    """Of examples, memory and metrics, by variant."""
    return {
        label: hashlib.sha256(repr(lesson_of(composed(spec), made(Shape(seed=3)))).encode()).hexdigest()
        for label, spec in ALONE.items()
    }


if __name__ == "__main__":
    print(json.dumps(digests()))
