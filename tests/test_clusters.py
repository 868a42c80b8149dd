"""Questions sorted by the model's own embedding of their prompts, once for a run."""

from __future__ import annotations

import copy
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from manyminds import checkpoint
from manyminds.clusters import FILE, clustered, embeddings, of, with_clusters
from manyminds.errors import UserError
from manyminds.loading import Loaded, load, resolve
from manyminds.methods.tutored_grpo import TutoredGRPO
from manyminds.records import PLAIN
from manyminds.run import train
from test_resume import Stopped, stop_at, tiny


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    method = {"name": "matched_tutors", "traces": "never", "clusters": 3}
    task = {"name": "arithmetic", "warmup": 8, "train": 90, "validation": 6, "test": 6}
    found = load(resolve(tiny(Path("runs"), warmup=None, method=method, task=task)), "tiny")
    with found.judge:
        yield found


def test_points_that_lie_together_are_one_cluster() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    places = [2, 0, 1, 1, 0, 2, 2, 1]
    points = centres[places] + 0.1 * rng.standard_normal((8, 2))
    assert clustered(points, 3, seed=0) == [0, 1, 2, 2, 1, 0, 0, 2]


def test_a_dimension_that_is_far_larger_than_others_does_not_drown_them() -> None:
    """The second tells two kinds apart; the first is noise, and a thousand times as large."""
    noise = [7.0, -2.0, -6.0, 3.0, 2.0, -5.0, -1.0, 5.0]
    points = np.array([[1000 * n, [0.0, 1.0][i % 2]] for i, n in enumerate(noise)])
    assert clustered(points, 2, seed=1) == [0, 1] * 4


def test_there_are_no_more_clusters_than_different_prompts(loaded: Loaded) -> None:
    two = loaded.questions["train"][:2]
    few = replace(loaded, questions={"train": (two[0], two[1], two[0])})
    assert of(few, 8) == [0, 1, 0]


@pytest.mark.parametrize("tokens_at_once", [1, 30, 4096])
def test_an_embedding_is_the_last_hidden_state_at_the_end_of_the_prompt(loaded: Loaded, tokens_at_once: int) -> None:
    """Whatever stands beside it in a batch; padding does not enter."""
    some = loaded.questions["train"][:5]
    longer = replace(some[0], prompt_ids={PLAIN: some[0].prompt_ids[PLAIN] * 2})
    found = embeddings(loaded.model, (longer, *some), tokens_at_once)
    for question, embedding in zip(some, found[1:], strict=True):
        ids = torch.tensor([question.prompt_ids[PLAIN]])
        with torch.no_grad():
            states = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        np.testing.assert_allclose(embedding, states[-1].double().numpy(), rtol=1e-4, atol=1e-5)


def test_a_run_sorts_its_training_questions_and_keeps_what_it_found(loaded: Loaded, tmp_path: Path) -> None:
    begun = with_clusters(loaded, tmp_path, begun=False)
    clusters = {question.id: question.cluster for question in begun.questions["train"]}
    assert set(clusters.values()) == {0, 1, 2}
    assert json.loads((tmp_path / FILE).read_text()) == clusters
    assert begun.questions["test"] == loaded.questions["test"]
    sizes = sorted(Counter(clusters.values()).values())
    told = f"the training questions are in 3 clusters of {sizes[0]} to {sizes[-1]} ({tmp_path / FILE})"
    assert begun.notes == (*loaded.notes, told)


def test_a_run_that_goes_on_keeps_its_clusters_whatever_the_model_has_become(loaded: Loaded, tmp_path: Path) -> None:
    kept = {question.id: i % 2 for i, question in enumerate(loaded.questions["train"])}
    (tmp_path / FILE).write_text(json.dumps(kept))
    again = with_clusters(loaded, tmp_path, begun=True)
    assert {question.id: question.cluster for question in again.questions["train"]} == kept


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"1+1": "two"}'])
def test_clusters_that_were_lost_or_damaged(loaded: Loaded, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(
        UserError, match=r"clusters\.json: the clusters that the run began with cannot be read \(.*rest"
    ):
        with_clusters(loaded, tmp_path, begun=True)


def test_another_method_asks_for_none(loaded: Loaded, tmp_path: Path) -> None:
    other = loaded.recipe.model_copy(update={"method": TutoredGRPO(traces="never")})
    plain = replace(loaded, recipe=other)
    assert with_clusters(plain, tmp_path, begun=False) is plain
    assert not list(tmp_path.iterdir())


def test_without_scipy(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before the model is loaded."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        UserError, match=r"the clusters of 'matched_tutors' need scipy; install it with manyminds\[demo\]"
    ):
        load(loaded.recipe, "no such model")


def test_a_model_whose_states_are_no_numbers(loaded: Loaded) -> None:
    broken = copy.deepcopy(loaded.model)
    with torch.no_grad():
        broken.get_input_embeddings().weight[:] = torch.nan
    with pytest.raises(UserError, match=r"its hidden states after question '.+' are not finite"):
        of(replace(loaded, model=broken), 3)


def test_a_run_asks_by_its_clusters_and_a_resumed_one_by_those_it_began_with(tmp_path: Path) -> None:
    """In the place of what it began with the folder names one cluster, which no run makes of these questions."""
    method = {"name": "matched_tutors", "stuck": 1.0, "questions_per_step": 2, "answers_per_prompt": 2, "clusters": 3}
    recipe = tiny(tmp_path, warmup=None, method=method)
    with pytest.raises(Stopped):
        train(recipe, watch=stop_at(3))
    kept = json.loads((recipe.folder / FILE).read_text())
    assert set(kept.values()) == {0, 1, 2}
    assert {cluster for cluster, *_ in memory(recipe.folder)} <= {0, 1, 2}
    (recipe.folder / FILE).write_text(json.dumps(dict.fromkeys(kept, 7)))
    train(recipe, resume=True)
    assert 7 in {cluster for cluster, *_ in memory(recipe.folder)}
    assert set(json.loads((recipe.folder / FILE).read_text()).values()) == {7}


def memory(folder: Path) -> list[tuple[int, str, float, float]]:
    """The estimates in the newest checkpoint."""
    newest, _ = checkpoint.latest(folder / "checkpoints")
    assert newest is not None
    return json.loads((newest / "state.json").read_text())["memory"][0]
