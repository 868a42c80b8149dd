"""`warmup` and `train`: the two stages of a run."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from manyminds.commands.console import (
    AsJson,
    Bar,
    DryRun,
    Overrides,
    RecipePath,
    ResumeOption,
    consoles,
    print_json,
    told,
)

if TYPE_CHECKING:
    from manyminds.result import Result

CONTINUE = "the same command with `--resume auto` goes on from the newest checkpoint"


@told(CONTINUE)
def warmup(
    recipe: RecipePath,
    overrides: Overrides = None,
    resume: ResumeOption = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Teach one model every expert's worked answers (stage 1).

    Multi-expert fine-tuning: the recipe's `model` learns each expert's traces under that expert's system prompt, until
    the recipe's `warmup` section says that it is enough. Then every prompt is evaluated on the test questions.

    \b
    Example:
      manyminds warmup recipes/demo.yaml warmup.steps=500

    \b
    Writes to OUTPUT/NAME/warmup/ (keys of the recipe):
      recipe.yaml, versions.json    what ran, everything resolved
      metrics.jsonl                 one line a step
      evaluations.jsonl             accuracy of every prompt on validation questions, as it rises
      evaluation/after.json         every prompt on the test questions, with all answers
      checkpoints/step-…/model/     a Hugging Face folder; `manyminds train` starts from the last
      result.json                   what it came to; it is there when the warm-up is complete
      llm_judge.jsonl, generative_verifier.jsonl   what a judge behind an address said, if the recipe has one
      quarantine.jsonl              answers on which a reward failed, with the error, if there are any
    """
    from manyminds.config import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if dry_run:
        from manyminds.commands.planning import show_plan

        show_plan(loaded, "warmup", as_json)
        return
    from manyminds.warmup import warmup as run

    text, place = consoles(as_json)
    with Bar("warm-up", place) as bar:
        result = run(loaded, resume=resume is not None, watch=bar)
    again = shlex.join([str(recipe), *(overrides or ())])
    report(result, text, as_json, f"Next: `manyminds train {again}`.")


@told(CONTINUE)
def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    resume: ResumeOption = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train with the recipe's method (stage 2).

    Every step, every expert answers some questions, the answers are judged, and the method says what is learnt from
    them. Starts from the recipe's finished warm-up if it has a `warmup` section, else from its `model`. Afterwards
    every prompt is evaluated on the test questions.

    \b
    Example:
      manyminds train recipes/demo.yaml steps=100 method.mutual_coefficient=0.1

    \b
    Writes to OUTPUT/NAME/ARM/ (keys of the recipe; ARM is the method's name if it has none):
      recipe.yaml, versions.json    what ran, everything resolved
      metrics.jsonl                 one line a step
      evaluations.jsonl             accuracy of every prompt on validation questions, as it changes
      evaluation/before.json, after.json   every prompt on the test questions, with all answers
      checkpoints/step-…/model/     a Hugging Face folder that transformers loads
      result.json                   what it came to and what it cost; it is there when the run is complete
      llm_judge.jsonl, generative_verifier.jsonl   what a judge behind an address said, if the recipe has one
      judgments.jsonl               what a generative_verifier judged in training: question, reference, line, label
      clusters.json                 the cluster of every training question, if the method sorts them
      quarantine.jsonl              answers on which a reward failed, with the error, if there are any
    """
    from manyminds.config import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if dry_run:
        from manyminds.commands.planning import show_plan

        show_plan(loaded, "train", as_json)
        return
    from manyminds.run import train as run

    text, place = consoles(as_json)
    with Bar(loaded.arm_name, place) as bar:
        result = run(loaded, resume=resume is not None, watch=bar)
    report(result, text, as_json, f"Next: `manyminds report {result.folder}`.", timed=loaded.profile)


def report(result: Result, text: Any, as_json: bool, then: str, timed: bool = False) -> None:
    """What a run came to, as a table or as JSON; with `timed` also where its time went."""
    if as_json:
        head = {"folder": str(result.folder), "arm": result.arm, "step": result.step}
        print_json({**head, **result.costs, "metrics": result.metrics})
        return
    text.print(result.table())
    if timed:
        show_time(text, result)
    text.print(f"The run is in {result.folder}. {then}", markup=False, highlight=False, soft_wrap=True)


def show_time(text: Any, result: Result) -> None:
    """Where the time of a run's profiled steps went, if any were."""
    from manyminds.report.read import load
    from manyminds.report.terminal import time_table
    from manyminds.report.timing import timing

    found = timing(load(result.folder).arms[0])
    if found is not None:
        text.print()
        text.print(time_table(found))
