"""A reward model: any Hugging Face folder for sequence classification with one label, run in this process.

As an entry of a recipe's `rewards`: {name: "reward_model:reward_model", model: path/to/folder}
"""

from __future__ import annotations

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from manyminds.records import Question
from manyminds.rewards import Reward, model_reward


def reward_model(model: str, rows_at_once: int = 16) -> Reward:
    """The model's score of question and response, between 0 and 1."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    scorer = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1).eval()

    @model_reward
    def preferred(questions: list[Question], responses: list[str]) -> list[float]:
        scores: list[float] = []
        texts = [f"{question.text}\n{response}" for question, response in zip(questions, responses, strict=True)]
        for start in range(0, len(texts), rows_at_once):
            rows = tokenizer(texts[start : start + rows_at_once], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                scores += scorer(**rows).logits[:, 0].sigmoid().tolist()
        return scores

    return preferred
