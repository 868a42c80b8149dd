"""Rewards by name. The table is explicit; a recipe may also name a user's own as `module:function`."""

from __future__ import annotations

from manyminds.rewards.judge import Judge
from manyminds.rewards.resolve import REWARDS, resolve
from manyminds.rewards.reward import Reward, model_reward, reward
from manyminds.rewards.sample import Outcome, Sample

__all__ = ["REWARDS", "Judge", "Outcome", "Reward", "Sample", "model_reward", "resolve", "reward"]
