"""An image follows its row: from the question through answers, examples, scores, shuffles and micro-batches."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hand import START
from manyminds.batch import collate, weigh
from manyminds.methods import build
from manyminds.methods.compose import Composed
from manyminds.objective import evaluate, total
from manyminds.records import Example, Group, Ids, Lesson, Span, Update
from manyminds.step import by_question, learn, recall
from toy import Toy, ToyPolicy, ToySampler, parity, question

QUESTIONS = [question(3, 4, (f"image-{i}",) if i else ()) for i in range(4)]
"""One text over no image and three: prompts of equal ids, which only the image tells apart."""
METHOD = Composed(
    build(
        {
            "name": "meml_grpo",
            "experts": ["alpha", "beta"],
            "hard_wrong": 1,
            "hard_capacity": 1,
            "hard_probability": 1.0,
            "mutual_direction": "as_printed",
            "policy_loss": "clip",
            "epochs": 2,
        }
    )
)


def answered(model: Toy) -> tuple[Group, ...]:
    asks = [ask for q in QUESTIONS for ask in METHOD.ask(q, ((),), START)]
    return by_question(parity(ToySampler(model).sample(asks, "0/1")))


def lesson_of(model: Toy) -> Lesson:
    groups = METHOD.credit(answered(model), METHOD.initial_memory(), START)
    return recall(METHOD.learn(groups, {}, ((),), Random(0), START), METHOD.terms(START), ToyPolicy(model))


def logprobs(model: Toy, example: Example) -> list[float]:
    """One row at a time, its image put in by hand."""
    number = int(example.media[0][-1]) if example.media else 0
    with torch.no_grad():
        logits = model(torch.tensor([example.prompt_ids + example.ids]), torch.tensor([number]))[0]
    said = logits[len(example.prompt_ids) - 1 : -1].log_softmax(-1)
    return said.gather(-1, torch.tensor(example.ids)[:, None])[:, 0].tolist()


def test_the_image_is_part_of_the_question_when_it_is_drawn() -> None:
    model = Toy()
    for group in answered(model):
        for answers in group.answers:
            for scored in answers.scored:
                row = Example("", answers.prompt.ids, scored.rollout.ids, media=group.question.media)
                assert scored.rollout.logprobs == pytest.approx(logprobs(model, row), abs=1e-12)
    with_image, without = (QUESTIONS[i].prompt_ids["alpha"] for i in (1, 0))
    assert with_image == without
    first, second = (Example("", without, (1, 10), media=QUESTIONS[i].media) for i in (0, 1))
    assert logprobs(model, first) != pytest.approx(logprobs(model, second), abs=1e-3)


def test_every_kind_of_example_carries_it() -> None:
    (update, _) = lesson_of(Toy()).updates
    media = {q.id: q.media for q in QUESTIONS}
    assert {e.kind for e in update.examples} == {"sampled", "borrowed", "lent", "solution"}
    for example in update.examples:
        assert example.media == media[example.group_id[0]]


def test_it_survives_shuffle_and_split() -> None:
    """Whatever the micro-batch, each row's log-probs are those of the row with its own image."""
    model = Toy()
    (update, _) = lesson_of(model).updates
    examples = Random(2).sample(update.examples, len(update.examples))
    rows = weigh(examples, METHOD.terms(START))
    seen = 0
    for size in (1, 3, 999):
        policy = ToyPolicy(model, rows_at_once=size)
        row = iter(examples)
        for batch in policy.split(rows):
            for i, line in enumerate(policy.forward(batch, frozenset()).logprobs.tolist()):
                example = next(row)
                assert batch.media[i] == example.media
                assert line[: len(example.ids)] == pytest.approx(logprobs(model, example), abs=1e-12)
                seen += 1
    assert seen == 3 * len(examples)


def test_old_logprobs_are_those_under_the_image() -> None:
    """Two rows of the same ids and other images are two sequences."""
    model = Toy()
    for example in (e for update in lesson_of(model).updates for e in update.examples if e.kind == "sampled"):
        assert example.planes["old_logprobs"] == pytest.approx(logprobs(model, example), abs=1e-12)
    rows = tuple(Example("sampled", (11, 3, 4), (7, 10), media=q.media) for q in QUESTIONS)
    (update,) = recall(Lesson((Update(rows),)), METHOD.terms(START), ToyPolicy(model)).updates
    assert len({e.planes["old_logprobs"] for e in update.examples}) == 4


def test_scores_see_it() -> None:
    model, ids = Toy(), (7, 10)
    prompt: Ids = QUESTIONS[0].prompt_ids["alpha"]
    scores = ToyPolicy(model).score([Span(str(i), prompt, ids, q.media) for i, q in enumerate(QUESTIONS)])
    for i, q in enumerate(QUESTIONS):
        assert scores[str(i)].logprobs == pytest.approx(
            logprobs(model, Example("", prompt, ids, media=q.media)), abs=1e-12
        )


def test_the_gradient_reaches_the_image_that_was_seen() -> None:
    model = Toy()
    rows = (Example("solution", (11, 3, 4), (7, 10), media=("image-2",)),)
    terms = METHOD.terms(START)
    policy = ToyPolicy(model)
    batch = collate(weigh(rows, terms), dtype=torch.float64)
    policy.backward(total(terms, evaluate(terms, policy.forward(batch, frozenset()), batch)))
    assert model.image.weight.grad is not None
    touched = model.image.weight.grad.abs().sum(-1) > 0
    assert touched.nonzero().flatten().tolist() == [2]
    learn(Update(rows), terms, policy)
