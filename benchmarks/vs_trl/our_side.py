"""manyminds' side: its training step on the job, with GRPO over all experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manyminds import clock
from manyminds.config import dump
from manyminds.loading import stop_ids
from manyminds.methods.compose import Composed
from manyminds.methods.grpo import GRPO
from manyminds.policy.hf_policy import HFPolicy
from manyminds.records import Decoding, Ids, Progress, Rollout, Scored
from manyminds.sampling.transformers_sampler import TransformersSampler
from manyminds.sections import Engine, OptimizerConfig, Schedule
from manyminds.step import training_step
from vs_trl.laps import Laps
from vs_trl.workloads import NEVER, Job

KEPT = ("trained_tokens", "trained_rows", "frac_reward_zero_std")


def parts(job: Job, model: Any, tokenizer: Any, precision: Any) -> tuple[Composed, HFPolicy, TransformersSampler]:
    """Method, policy and sampler as `manyminds train` makes them of a recipe; the engine derives what is left open."""
    workload, engine = job.workload, Engine(precision=precision)
    method = GRPO(questions_per_step=workload.questions, answers_per_prompt=workload.answers)
    optimizer = OptimizerConfig(lr=workload.lr, schedule=Schedule(name="constant", warmup_steps=3))
    policy = HFPolicy(model, optimizer, steps=workload.steps, temperature=1.0, engine=engine)
    stop = NEVER if workload.full_length else stop_ids(model, tokenizer)
    decoding = Decoding(1.0, workload.new_tokens)
    sampler = TransformersSampler(model, tokenizer, decoding, stop_ids=stop, engine=engine)
    return Composed(method.settled(job.experts, workload.new_tokens)), policy, sampler


def run(
    job: Job, model: Any, tokenizer: Any, precision: str, laps: Laps | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All steps of the job, a lap for each, and the settings that its recipe would have."""
    method, policy, sampler = parts(job, model, tokenizer, precision)
    drawn: list[list[tuple[Ids, int]]] = []

    def judge(rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
        drawn.append([(rollout.prompt.ids, len(rollout.ids)) for rollout in rollouts])
        with clock.span("reward"):
            return job.judge(rollouts)

    questions, memory, laps = iter(job.questions), method.initial_memory(), laps or Laps()
    for step in range(job.workload.steps):
        with clock.running(clock.Clock()) as taken:
            memory, metrics = training_step(
                questions,
                memory,
                Progress(step + 1, step / job.workload.steps),
                method=method,
                policy=policy,
                sampler=sampler,
                judge=judge,
                seed="0",
            )
            policy.tick()
        values = metrics.values
        laps.phases |= taken.seconds
        more = {name: values[name] for name in KEPT if name in values}
        laps.end(sampled_tokens=int(values["sampled_tokens"]), completions=len(drawn[-1]), **more)
    check(job, drawn, laps.all, policy.version)
    return laps.all, {"optimizer": dump(policy.config), "engine": dump(policy.engine)}


def check(job: Job, drawn: list[list[tuple[Ids, int]]], steps: list[dict[str, Any]], updates: int) -> None:
    """Raises AssertionError unless every step drew all answers to the job's prompts and took one optimiser step."""
    workload = job.workload
    assert [len(step) for step in drawn] == [workload.completions] * workload.steps
    assert updates == workload.steps, updates
    asked = [list(ids) for step in drawn for ids, _ in step[:: workload.answers]]
    assert asked == job.prompt_ids, "other prompts were asked"
    if workload.full_length:
        assert {length for step in drawn for _, length in step} == {workload.new_tokens}
        assert {step["trained_rows"] for step in steps} == {workload.completions}
