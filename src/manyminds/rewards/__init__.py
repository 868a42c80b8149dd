"""Rewards by name. The table is explicit; a recipe may also name a user's own as `module:function`."""

from __future__ import annotations

from manyminds.rewards.judge import Judge
from manyminds.rewards.reward import REWARDS, Reward, resolve, reward

__all__ = ["REWARDS", "Judge", "Reward", "resolve", "reward"]
