"""Judged groups of every shape, made from what hypothesis draws: its choices are the structure, a seed the tokens."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from hypothesis import Phase, settings
from hypothesis import strategies as st

from manyminds.records import PLAIN, Answers, Group, Ids, Prompt, Question, Rollout, Scored, Trace
from properties.subjects import EXPERTS

SIZE = 24
"""Tokens of the model. An answer may hold any of them, 0 with which rows are padded not excepted."""
FEW = (0, 3, 7, 23)
"""Answers are mostly of these, so that many begin alike and some are drawn twice."""
PATTERNS = (
    ("mixed", "wrong", "right"),
    ("right", "mixed", "wrong"),
    ("wrong", "wrong", "wrong"),
    ("right", "right", "right"),
    ("mixed", "mixed", "mixed"),
    ("graded", "wrong", "graded"),
    ("wrong", "right", "graded"),
)
"""How the experts do on a question."""


@dataclass(frozen=True)
class Shape:
    """What hypothesis decides. `edges`: some answers are empty or wholly masked, some solutions missing, some prompts
    equal. By default it is the simplest, which already holds every kind of group."""

    seed: int = 0
    experts: int = 3
    patterns: tuple[tuple[str, ...], ...] = PATTERNS[:2]
    answers: int = 3
    longest: int = 5
    edges: bool = True


SHAPES = st.builds(
    Shape,
    seed=st.integers(0, 2**20),
    experts=st.sampled_from((3, 2)),
    patterns=st.tuples(*[st.sampled_from(PATTERNS)] * 2)
    | st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(tuple),
    answers=st.sampled_from((3, 2, 4)),
    longest=st.sampled_from((5, 1, 3)),
    edges=st.sampled_from((True, False)),
)


def few(n: int) -> settings:
    """So many examples, the simplest first. A failure names its shape, which is small: shrinking takes minutes."""
    return settings(max_examples=n, phases=(Phase.explicit, Phase.generate))


@dataclass(frozen=True)
class Workload:
    """What one step was asked and answered, and the seed of everything drawn afterwards."""

    seed: int
    groups: tuple[Group, ...]


def made(shape: Shape) -> Workload:
    """Up to three questions, each to two or three experts. Not made inside a strategy: checked records use `random`."""
    rng = Random(shape.seed)
    experts = EXPERTS[: shape.experts]
    groups = []
    for i, pattern in enumerate(shape.patterns):
        question = asked(f"q{i}", experts, rng, shape.edges)
        groups.append(
            Group(
                question,
                tuple(answered(Prompt(question, e), how, shape, rng) for e, how in zip(experts, pattern, strict=False)),
            )
        )
    return Workload(shape.seed, tuple(groups))


def asked(name: str, experts: tuple[str, ...], rng: Random, edges: bool) -> Question:
    """A question with a prompt for every expert, traces, and a worked solution."""
    prompts = {expert: tokens(rng, rng.randint(1, 6)) for expert in (*experts, PLAIN)}
    if edges and rng.random() < 0.2:
        prompts[experts[0]] = prompts[experts[1]]
    solution = tokens(rng, 0 if edges and rng.random() < 0.2 else rng.randint(1, 4))
    traces = {e: Trace("", e, tokens(rng, rng.randint(1, 4)), reward=rng.choice((1.0, 0.0, None))) for e in experts}
    final = {"marker_ids": (FEW[1],), "answer_ids": (FEW[2], FEW[3])}
    return Question(name, name, "1", traces=traces, prompt_ids=prompts, solution_ids=solution, **final)


def answered(prompt: Prompt, how: str, shape: Shape, rng: Random) -> Answers:
    """An expert's judged answers: all right, all wrong, of both kinds, or of four grades."""
    scored = []
    for g in range(shape.answers):
        n = 0 if shape.edges and rng.random() < 0.08 else rng.randint(1, shape.longest)
        ids = tuple(rng.choice(FEW) for _ in range(n))
        logprobs = tuple(-3 * rng.random() for _ in ids)
        free = rng.choice((0.0, 0.25, 0.5, 1.0) if how == "graded" else (0.0, 1.0))
        reward = {"right": 1.0, "wrong": 0.0, "mixed": (1.0, 0.0, free)[min(g, 2)], "graded": free}[how]
        # The last token is the final answer, in two of three answers: the others are not of the form.
        span = (n - 1, n) if n and sum(ids) % 3 else ()
        rollout = Rollout(prompt, ids, logprobs, "", mask=mask_of(ids, shape.edges), answer_span=span)
        scored.append(Scored(rollout, reward, {"toy": reward}))
    return Answers(prompt, tuple(scored))


def mask_of(ids: Ids, edges: bool) -> Ids:
    """Which tokens the policy chose; the same ones in the same answer, as a retriever would have it."""
    rng = Random(str(ids))
    if rng.random() < 0.6:
        return ()
    return tuple(int(rng.random() < 0.6) for _ in ids) if edges else tuple(int(t % 2 == 0) for t in range(len(ids)))


def tokens(rng: Random, n: int) -> Ids:
    """Any tokens."""
    return tuple(rng.randrange(SIZE) for _ in range(n))
