"""Runs a comparison: every (level, arm, seed) is a cell in a process of its own, kept as it ends, never run twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from manyminds.cell import gather, weights
from manyminds.checkpoint import versions
from manyminds.children import ENVIRONMENT
from manyminds.comparison import Cell, Comparison, Key, digest, essence, load_comparison, plan
from manyminds.config import Recipe, dump
from manyminds.durable import write_json
from manyminds.errors import UserError
from manyminds.machine import machine
from manyminds.result import Watch, silent
from manyminds.summary import outcome, summarise

PAUSE = 0.05


def compare(
    path: str | Path,
    *,
    workers: int = 2,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    levels: Sequence[str] = (),
    watch: Watch = silent,
) -> dict[str, Any]:
    """Run the cells of a comparison file that have no result yet, and say what all cells come to.

    `only` (arms), `seeds` and `levels` bound what is run; what those cells start from is run too. The summary is
    written beside the results folder, as `<results>.json`, whenever a cell ends, and returned. `watch` is told
    ("cell", cells ended, cells to run, {"level", "arm", "seed", "state", ...}): it is started, finished or failed.
    Raises UserError before anything runs if the file is wrong, or a cell on disk was run with another recipe.
    """
    path = Path(path)
    comparison, base = load_comparison(path)
    cells = plan(comparison, base)
    runner = Runner(comparison, base, cells, path.parent / comparison.results, watch)
    runner.run(runner.choose(only, seeds, levels), max(1, workers))
    return runner.write_summary()


@dataclass(frozen=True)
class Job:
    """A cell that is running."""

    cell: Cell
    recipe: Recipe
    filled: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    log: Path
    started: float


class Runner:
    """The cells on disk (`done`), those that failed, and the processes in between."""

    def __init__(
        self, comparison: Comparison, base: Mapping[str, Any], cells: Sequence[Cell], results: Path, watch: Watch
    ) -> None:
        self.comparison, self.base, self.results, self.watch = comparison, base, results, watch
        self.cells = {cell.key: cell for cell in cells}
        self.done = {cell.key: record for cell in cells if (record := self.read(cell))}
        self.failed: dict[Key, str] = {}
        self.waiting: list[Cell] = []
        self.running: list[Job] = []
        self.ended = 0

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """The cell's result, if there is one. Raises UserError if another recipe made it."""
        file = self.results / cell.file
        if not file.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            now = dump(cell.recipe(record["filled"]))
            wanted = digest(cell.stage, now)
            # An option that came later changes the hash and not the cell: read under today's defaults, it is the same.
            same = record["hash"] == wanted or digest(cell.stage, record["recipe"]) == wanted
            before = {} if same else essence(cell.stage, record["recipe"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: is not the result of a cell; delete it to run the cell again") from error
        if not same:
            here = essence(cell.stage, now)
            changed = next((key for key in here if here[key] != before.get(key)), "stage")
            raise UserError(
                f"{file}: was run with another `{changed}` than the comparison has now; restore that, delete the file "
                "to run the cell again, or name another `results` folder"
            )
        return record

    def choose(self, only: Sequence[str], seeds: Sequence[int], levels: Sequence[str]) -> list[Cell]:
        """The cells to run, and those they start from. Raises UserError for a name that is not there."""
        for what, wanted, known in (
            ("arm", only, {cell.arm for cell in self.cells.values()}),
            ("seed", seeds, {cell.seed for cell in self.cells.values()}),
            ("level", levels, {cell.level for cell in self.cells.values()}),
        ):
            for one in wanted:
                if one not in known:
                    raise UserError(f"there is no {what} '{one}'; known are {', '.join(map(str, sorted(known)))}")
        chosen = {
            key
            for key, cell in self.cells.items()
            if (not only or cell.arm in only)
            and (not seeds or cell.seed in seeds)
            and (not levels or cell.level in levels)
        }
        for key in list(chosen):
            chosen |= {*self.cells[key].needs} | {n for need in self.cells[key].needs for n in self.cells[need].needs}
        return [cell for key, cell in self.cells.items() if key in chosen]

    def run(self, chosen: Sequence[Cell], workers: int) -> None:
        """Run what is not done, `workers` at a time; a cell that fails stops only those that start from it."""
        self.waiting = [cell for cell in chosen if cell.key not in self.done]
        lost = {need for cell in self.waiting if cell.stage == "train" for need in cell.needs if self.is_lost(need)}
        self.waiting += [self.cells[key] for key in lost]
        total = len(self.waiting)
        try:
            while self.waiting or self.running:
                self.drop_blocked(total)
                while len(self.running) < workers and (cell := self.next()):
                    self.start(cell, total)
                for job in [job for job in self.running if job.process.poll() is not None]:
                    self.running.remove(job)
                    self.end(job, total)
                time.sleep(PAUSE)
        finally:
            for job in self.running:
                job.process.terminate()
                job.process.wait()

    def is_lost(self, key: Key) -> bool:
        """Whether this is a finished warm-up whose checkpoint is no longer there."""
        cell = self.cells[key]
        return cell.stage == "warmup" and not cell.needs and key in self.done and weights(cell.folder) is None

    def next(self) -> Cell | None:
        """The first cell in order whose needs are met; within a seed and group, the one that takes longest."""
        open_ = {cell.key for cell in self.waiting} | {job.cell.key for job in self.running}
        ready = [c for c in self.waiting if all(need in self.done and need not in open_ for need in c.needs)]
        return min(
            ready,
            key=lambda cell: (*cell.order[:3], cell.order[3] >= 0, -self.expected(cell), cell.order[3]),
            default=None,
        )

    def expected(self, cell: Cell) -> float:
        """Seconds the cell will take, by those of its arm that are done."""
        its = [record["wall_seconds"] for (_, arm, _), record in self.done.items() if arm == cell.arm]
        return fmean(its) if its else inf

    def drop_blocked(self, total: int) -> None:
        """Cells that start from a failed one fail too."""
        for cell in list(self.waiting):
            lost = next((need for need in cell.needs if need in self.failed), None)
            if lost:
                self.waiting.remove(cell)
                self.fail(cell, f"not run, because '{lost[1]}' of the same seed failed", total)

    def filled(self, cell: Cell) -> dict[str, Any]:
        """What this cell's placeholders stand for, from the cells it needs."""
        warm = next((self.done[need] for need in cell.needs if self.cells[need].stage == "warmup"), None)
        if warm is None:
            return {}
        found = {"best": warm["best_expert"], "warmup_steps": warm["step"]}
        if cell.longer_than:
            more = self.done[cell.longer_than]["seconds"] / (warm["seconds"] / warm["step"])
            found["longer_steps"] = warm["step"] + round(more)
        return found

    def start(self, cell: Cell, total: int) -> None:
        """A process of its own for the cell, one thread, its recipe and log beside its run folder."""
        self.waiting.remove(cell)
        filled = self.filled(cell)
        recipe = cell.recipe(filled)
        cell.folder.parent.mkdir(parents=True, exist_ok=True)
        file, log = (cell.folder.with_name(f"{cell.arm}{end}") for end in (".yaml", ".log"))
        file.write_text(yaml.safe_dump(dump(recipe), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "manyminds.cell", str(file), cell.stage]
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **ENVIRONMENT},
            )
        self.running.append(Job(cell, recipe, filled, process, log, time.monotonic()))
        self.tell(cell, "started", total)

    def end(self, job: Job, total: int) -> None:
        """Keep what the process came to, and write the summary anew."""
        cell = job.cell
        if job.process.returncode != 0:
            lines = job.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            self.fail(cell, lines[-1] if lines else f"ended with status {job.process.returncode}", total)
        else:
            try:
                found = gather(job.recipe, cell.stage)
            except (OSError, ValueError, KeyError, UserError) as error:
                self.fail(cell, f"its run folder cannot be read: {error!r}", total)
            else:
                self.keep(job, found, total)
                self.clean(cell)
        self.write_summary()

    def keep(self, job: Job, found: Mapping[str, Any], total: int) -> None:
        """The cell's result on disk, unless it has one and was run again for its checkpoint alone."""
        cell, wall = job.cell, round(time.monotonic() - job.started, 1)
        if cell.key in self.done:
            self.rebuilt(cell, found["weights"], total)
            return
        head = {"level": cell.level, "arm": cell.arm, "seed": cell.seed, "stage": cell.stage}
        hashed = {"hash": digest(cell.stage, found["recipe"]), "filled": dict(job.filled), "wall_seconds": wall}
        record = {**head, **hashed, **found}
        file = self.results / cell.file
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, record)
        self.done[cell.key] = record
        self.ended += 1
        value = outcome(self.comparison.primary.outcome, record)
        self.tell(cell, "finished", total, seconds=wall, outcome=value)

    def rebuilt(self, cell: Cell, now: str | None, total: int) -> None:
        """A warm-up that was run again for its checkpoint must have come to the very same weights."""
        if now == self.done[cell.key]["weights"]:
            self.ended += 1
            self.tell(cell, "finished", total)
            return
        file = self.results / cell.file
        sentence = (
            f"run again, the warm-up came to other weights than in {file} (another machine or version); delete all "
            f"cells of seed {cell.seed} at this level to run them anew"
        )
        self.fail(cell, sentence, total)

    def fail(self, cell: Cell, error: str, total: int) -> None:
        self.failed[cell.key] = error
        self.ended += 1
        self.tell(cell, "failed", total, error=error)

    def clean(self, cell: Cell) -> None:
        """Run folders that no cell needs any more; the warm-up's goes with the last cell of its seed."""
        if cell.needs:
            shutil.rmtree(cell.folder, ignore_errors=True)
        group = [other for other in self.cells.values() if (other.level, other.seed) == (cell.level, cell.seed)]
        if all(other.key in self.done for other in group) and cell.key not in self.failed:
            shutil.rmtree(cell.folder.parent, ignore_errors=True)

    def tell(self, cell: Cell, state: str, total: int, **more: Any) -> None:
        data = {"level": cell.level, "arm": cell.arm, "seed": cell.seed, "state": state, **more}
        self.watch("cell", self.ended, total, data)

    def write_summary(self) -> dict[str, Any]:
        """The summary, written beside the results folder."""
        summary = self.summary()
        self.results.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.results.with_name(f"{self.results.name}.json"), summary)
        return summary

    def summary(self) -> dict[str, Any]:
        """Everything: machine, versions, recipe, statistics, failures, and every cell."""
        records = [self.done[key] for key in self.cells if key in self.done]
        failed = [{"level": k[0], "arm": k[1], "seed": k[2], "error": error} for k, error in self.failed.items()]
        return {
            "name": self.comparison.name,
            "machine": machine(),
            "versions": versions(),
            "recipe": {"comparison": self.comparison.model_dump(mode="json"), "base": dict(self.base)},
            **summarise(self.comparison, records),
            "failed": failed,
            "cells": records,
        }
