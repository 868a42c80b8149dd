"""Questions sorted into clusters by what the model makes of their prompts, for methods that tell them apart.

    h_q = the last hidden state at the last token of q's plain prompt, of the model as training begins
    z_q = (h_q - mean h) / std h                                  by dimension, over all training questions
    c_q = the nearest of K centroids of k-means on all z_q        k-means++ (Arthur and Vassilvitskii, 2007)

It is the state from which the answer begins. A few dimensions of a language model are far larger than
all others, hence z.

The prompt is the plain one, which every recipe has; of questions with media its text alone is read. No label enters.
The clusters are those of the model that the run began with: they are kept in its folder, and a run that goes on reads
them there.
"""

from __future__ import annotations

import json
import operator
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyminds.durable import write_json
from manyminds.errors import UserError
from manyminds.loading import Loaded
from manyminds.methods.compose import Composed
from manyminds.records import PLAIN, Question

FILE = "clusters.json"
Points = np.ndarray[Any, np.dtype[Any]]
FLOOR = 1e-9


def with_clusters(loaded: Loaded, folder: Path, *, begun: bool) -> Loaded:
    """The same with the `cluster` of every training question filled in, and a note on it, if the method asks for it.

    `begun`: the run stands at a checkpoint, and its clusters in `folder`; else they are made with the loaded model and
    written there. Raises UserError where the folder's are not those of these questions.
    """
    count = Composed(loaded.recipe.method).question_clusters
    if not count:
        return loaded
    questions = loaded.questions["train"]
    if begun:
        found = read(folder / FILE, questions)
    else:
        found = of(loaded, count)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, {question.id: c for question, c in zip(questions, found, strict=True)})
        sizes = sorted(Counter(found).values())
        note = f"the training questions are in {len(sizes)} clusters of {sizes[0]:,} to {sizes[-1]:,} ({folder / FILE})"
        loaded = replace(loaded, notes=(*loaded.notes, note))
    sorted_ = tuple(replace(question, cluster=c) for question, c in zip(questions, found, strict=True))
    return replace(loaded, questions={**loaded.questions, "train": sorted_})


def read(file: Path, questions: Sequence[Question]) -> list[int]:
    """The clusters that a run began with. Raises UserError if they are not there, or not of these questions."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return [operator.index(known[question.id]) for question in questions]
    except (OSError, ValueError, LookupError, TypeError) as error:
        why = f"{type(error).__name__}: {str(error)[:200]}"
        raise UserError(
            f"{file}: the clusters that the run began with cannot be read ({why}); "
            "restore the file, or start the run anew under another `arm`"
        ) from error


def of(loaded: Loaded, count: int) -> list[int]:
    """The cluster of each training question, `count` at most. Raises UserError for states of the model that are no
    numbers."""
    questions = loaded.questions["train"]
    states = embeddings(loaded.model, questions, loaded.recipe.engine.tokens_at_once or 1)
    if not np.isfinite(states).all():
        where = questions[int(np.flatnonzero(~np.isfinite(states).all(1))[0])]
        raise UserError(
            f"model: its hidden states after question '{where.id}' are not finite; its weights are damaged, or their "
            "precision is too low"
        )
    different = len({question.prompt_ids[PLAIN] for question in questions})
    return clustered(states, min(count, different), loaded.recipe.seed)


@torch.no_grad()
def embeddings(model: Any, questions: Sequence[Question], tokens_at_once: int) -> Points:
    """What the model makes of each question's plain prompt [questions, width]: the last hidden state at its end.

    Prompts of like length share a forward pass of at most `tokens_at_once` tokens, or one prompt.
    """
    prompts = [question.prompt_ids[PLAIN] for question in questions]
    found = np.empty((len(prompts), model.get_input_embeddings().embedding_dim), dtype=np.float32)
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    while order:
        longest = len(prompts[order[-1]])
        size = max(1, tokens_at_once // max(1, longest))
        places, order = order[-size:], order[:-size]
        ids = [[*prompts[place], *[0] * (longest - len(prompts[place]))] for place in places]
        mask = [[1] * len(prompts[place]) + [0] * (longest - len(prompts[place])) for place in places]
        tokens, seen = torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)
        states = model.base_model(input_ids=tokens, attention_mask=seen, use_cache=False).last_hidden_state
        found[places] = states[torch.arange(len(places)), seen.sum(1) - 1].float().cpu().numpy()
    return found


def clustered(points: Points, count: int, seed: int) -> list[int]:
    """The cluster of each point [questions, width], numbered in the order in which they first occur; at most `count`.

    Every dimension is standardised first.
    """
    from scipy.cluster.vq import kmeans2

    points = (points - points.mean(0)) / (points.std(0) + FLOOR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")  # then there are fewer
        _, found = kmeans2(points, count, iter=50, minit="++", rng=np.random.default_rng(seed))
    numbers = {name: number for number, name in enumerate(dict.fromkeys(found.tolist()))}
    return [numbers[name] for name in found.tolist()]
