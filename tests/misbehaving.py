"""Reward functions that do their worst. Workers import this file, so it imports little."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from manyminds.rewards import reward


class Unfathomable:
    def __float__(self) -> float:
        time.sleep(60)
        return 1.0


@reward
def hostile(response: str, info: dict[str, Any]) -> Any:
    """1, or what the response asks for."""
    match response:
        case "sleep":
            time.sleep(60)
        case "raise":
            raise ValueError("no")
        case "nan" | "inf":
            return float(response)
        case "none":
            return None
        case "string":
            return "1.0"
        case "list":
            return [1.0]
        case "slow number":
            return Unfathomable()
        case "allocate":
            return float(len(bytearray(10 * 2**30)))
        case "hold the GIL":
            return float(9**9**9 > 0)
        case "os._exit":
            os._exit(7)
        case "sys.exit":
            sys.exit(7)
        case "interrupt":
            raise KeyboardInterrupt
        case "fork":
            os.fork()
        case "fork and stay":
            if os.fork() == 0:
                time.sleep(60)
        case "print":
            print("x" * 2**20)
        case "mutate":
            info["level"] = "changed"
            info["options"].clear()
    return float(info["level"] == 3)


def trl_hostile(completions: list[str], log_metric: Any, **kwargs: Any) -> list[Any]:
    log_metric("share", 0.5)
    return [hostile.function(one, {"level": 3, "options": [1]}) for one in completions]


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any) -> Any:
    return {"score": hostile.function(solution_str, extra_info), "seen": 1.0}


LOCK = threading.Lock()


@reward
def of_its_module(response: str, extract: Any, scale: float = 1.0) -> float:
    """Refers to what cannot be sent, and need not be: its module is there in the worker too."""
    with LOCK:
        return scale * float(extract(response) == "2")


@reward
def odd(response: str) -> float:
    """Fails on about half of the answers of a model that has learnt nothing."""
    if len(response) % 2:
        raise ValueError("odd")
    return 1.0


@reward
def always(response: str) -> float:
    raise ValueError("always")
