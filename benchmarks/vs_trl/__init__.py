"""One GRPO step in TRL and in manyminds: the workloads, either side, the child process. Run from step_vs_trl.py."""
