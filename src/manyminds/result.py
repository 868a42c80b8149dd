"""What a run came to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyminds.config import Recipe
from manyminds.errors import UserError
from manyminds.folder import RunFolder

Watch = Callable[[str, int, int, Mapping[str, Any]], None]
"""Called as a run goes: (what, step, steps, data); what is "step", "evaluation" or "note"."""


def noting(folder: RunFolder, watch: Watch) -> Watch:
    """As `watch`; notes are also kept in the run's folder."""

    def both(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
        if what == "note":
            folder.note(step, data["text"])
        watch(what, step, steps, data)

    return both


def silent(what: str, step: int, steps: int, data: Mapping[str, Any]) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its metrics on test questions with intervals over questions, and what it cost."""

    folder: Path
    arm: str
    step: int
    metrics: Mapping[str, Mapping[str, float]]
    costs: Mapping[str, float]

    @classmethod
    def write(
        cls, folder: RunFolder, recipe: Recipe, arm: str, step: int, costs: Mapping[str, float], test: Mapping[str, Any]
    ) -> Result:
        """The result, written to the folder."""
        folder.result(
            {"name": recipe.name, "arm": arm, "seed": recipe.seed, "step": step, **costs, "metrics": test["metrics"]}
        )
        return cls(folder.path, arm, step, test["metrics"], costs)

    @classmethod
    def read(cls, folder: Path) -> Result | None:
        """The result of a run that is complete; None for one that is not."""
        if not (folder / "result.json").exists():
            return None
        try:
            found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            costs = {name: found[name] for name in ("sampled_tokens", "trained_tokens", "seconds")}
            metrics: dict[str, Any] = {
                name: None if one is None else dict(one) for name, one in found["metrics"].items()
            }
            inner = [number for one in metrics.values() if one for number in one.values() if number is not None]
            for number in (found["step"], *costs.values(), *inner):
                float(number)
            return cls(folder, str(found["arm"]), found["step"], metrics, costs)
        except (OSError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{folder / 'result.json'}: is not the result of a run ({type(error).__name__}: {error}); delete it, "
                "and the same command with --resume auto writes it anew"
            ) from error

    def table(self) -> Any:
        """The final accuracies as a rich table."""
        from manyminds.report.terminal import final_table

        return final_table({self.arm: {"metrics": self.metrics, **self.costs}})

    def plot(self) -> Path:
        """The run's report, one HTML page; returns its path."""
        from manyminds.report import build

        return build(self.folder)
