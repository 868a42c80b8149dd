"""TRL's side: GRPOTrainer on the job, with the settings that make it fastest on a CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from vs_trl.laps import Laps
from vs_trl.workloads import Job, Workload

SETTINGS: dict[str, Any] = {
    # What makes it run on a CPU, and nothing that costs time beside the step.
    "use_cpu": True,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    # The same job as ours.
    "shuffle_dataset": False,
    "temperature": 1.0,
    "beta": 0.0,
    "num_iterations": 1,
    "loss_type": "grpo",
    "scale_rewards": "group",
    "epsilon": 0.2,
    "max_grad_norm": 1.0,
    "optim": "adamw_torch_fused",
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "weight_decay": 0.0,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 3,
}


def settings(workload: Workload, precision: str, rows: int) -> dict[str, Any]:
    """The trainer's arguments: all answers of a step are generated together, `rows` of them trained at a time (0: all).

    Raises ValueError if the answers do not divide.
    """
    rows = rows or workload.completions
    if workload.completions % rows:
        raise ValueError(f"{workload.completions} answers cannot be split into micro-batches of {rows}")
    return SETTINGS | {
        "bf16": precision == "mixed",
        "learning_rate": workload.lr,
        "max_steps": workload.steps,
        "num_generations": workload.answers,
        "max_completion_length": workload.new_tokens,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": workload.completions // rows,
    }


class Seen:
    """What TRL asked, drew and learnt, generation by generation."""

    def __init__(self) -> None:
        self.completions: list[int] = []
        self.tokens: list[int] = []
        self.prompt_ids: list[list[int]] = []
        self.updates: list[int] = []
        self._trainer: Any = None

    def follow(self, trainer: Any) -> None:
        """Keep the ids that this trainer makes of its prompts."""
        self._trainer, tokenize = trainer, trainer._tokenize_prompts

        def kept(prompts: list[Any]) -> Any:
            found = tokenize(prompts)
            self.prompt_ids += [list(map(int, ids)) for ids in found[0][:: trainer.num_generations]]
            return found

        trainer._tokenize_prompts = kept

    def add(self, completion_ids: Sequence[Sequence[int]]) -> None:
        """A generation was drawn, after as many optimiser steps as the trainer says."""
        self.completions.append(len(completion_ids))
        self.tokens.append(sum(map(len, completion_ids)))
        self.updates.append(self._trainer.state.global_step)

    def check(self, job: Job, steps: int) -> None:
        """Raises AssertionError unless each of so many generations had all answers to its prompts, and one update."""
        workload = job.workload
        assert self.completions == [workload.completions] * steps, self.completions
        assert self.updates == list(range(steps)), self.updates
        assert self._trainer.state.global_step == steps
        assert self.prompt_ids == job.prompt_ids[: workload.prompts * steps], "TRL rendered other prompts"
        if workload.full_length:
            assert self.tokens == [workload.completions * workload.new_tokens] * steps, self.tokens


def trainer(job: Job, model: Any, tokenizer: Any, args: Mapping[str, Any], callback: Any, seen: Seen) -> Any:
    """The trainer on the job's prompts in their order."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def reward(
        completions: list[Any], completion_ids: list[list[int]], question_id: list[str], **_: Any
    ) -> list[float]:
        seen.add(completion_ids)
        texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
        answers = zip(question_id, texts, completion_ids, strict=True)
        return [job.reward(question, text, ids) for question, text, ids in answers]

    columns = {"prompt": list(job.conversations), "question_id": job.question_ids}
    made = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(**{name: value for name, value in args.items() if name != "attn_implementation"}),
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        callbacks=[callback],
    )
    seen.follow(made)
    return made


def run(
    job: Job, model: Any, tokenizer: Any, precision: str, rows: int, changes: dict[str, Any], laps: Laps
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All steps of the job, a lap for each, and the settings: ours with `changes` on top."""
    from transformers import TrainerCallback

    seen = Seen()

    class Timing(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            laps.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            laps.end(sampled_tokens=seen.tokens[-1], completions=seen.completions[-1])

    args = settings(job.workload, precision, rows) | changes
    if "attn_implementation" in args:
        model.set_attn_implementation(args["attn_implementation"])
    if job.workload.full_length:
        args["generation_kwargs"] = {"suppress_tokens": [tokenizer.eos_token_id]}
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(job, model, tokenizer, {**args, "output_dir": folder}, Timing(), seen)
        laps.watch(made, "_generate_single_turn", "generate")
        laps.watch(made, "_calculate_rewards", "reward")
        laps.watch(made, "compute_loss", "forward")
        laps.watch(made.accelerator, "backward", "backward")
        made.train()
    seen.check(job, job.workload.steps)
    return laps.all, args
