"""The composition law: what a base and its parts say together (`method: {name: base, with: [{name: part}, ...]}`).

    ask, advantage      one owner: the part that sets it, else the base; two parts that set it are refused
    terms               merged by name: a part's term replaces the base's, unless it is plain GRPO's to the letter,
                        which says nothing; two parts with different ones are refused
    examples            the base's, and from each part the kinds that no earlier layer makes; memory by layer
    follow_up, wants,   union
    needs
    shape, refine       a chain, base first
    begin               the least
    keeps, finish       all must agree

A term in place of another is given the old log-probs that the other was given. The base is no part of itself.
A part "sets" a hook if its class says something else there than GRPO and the neutral Method do.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch

from manyminds.errors import UserError
from manyminds.methods.grpo import GRPO
from manyminds.methods.method import Method
from manyminds.objective import Term
from manyminds.records import Answers, Ask, Group, Lesson, Progress, Question, Rollout, Scored, Scores, Span, Update

EXCLUSIVE = ("ask", "advantage")
PLAIN_TERMS = GRPO().terms(Progress(0, 0.0))
HOOKS = (*EXCLUSIVE, "begin", "finish", "follow_up", "examples", "terms", "shape", "refine", "keeps", "wants", "needs")


def sets(part: Method, hook: str) -> bool:
    """Whether the part's class says something of its own at this hook."""
    own = getattr(type(part), hook)
    return own is not getattr(Method, hook) and own is not getattr(GRPO, hook)


class Composed:
    """A base and its parts behind the hooks of one method; what the training step sees.

    Raises UserError where the parts contradict each other.
    """

    def __init__(self, base: Method) -> None:
        self.base = base
        self.layers: tuple[Method, ...] = (base, *base.parts)
        start = Progress(0, 0.0)
        names = [part.name for part in base.parts]
        for part in base.parts:
            if names.count(part.name) > 1:
                raise UserError(f"method.with: part '{part.name}' is listed twice; keep one of them")
            if part.parts:
                raise UserError(f"method.with: part '{part.name}' has parts of its own; list them all under the base")
            if type(part) is type(base) and any(sets(part, hook) for hook in HOOKS):
                raise UserError(f"method.with: part '{part.name}' is the base itself; set its fields under the base")
            if not any(sets(part, hook) for hook in HOOKS) and part.rounds == 1:
                raise UserError(f"method.with: part '{part.name}' changes nothing of '{base.name}'; leave it out")
        self._owners = {hook: self._owner(hook) for hook in EXCLUSIVE}
        if type(self._owners["ask"]).ask is Method.ask:
            raise UserError(
                f"method.name: '{base.name}' is a part and asks nothing by itself; list it under `with:` of a method "
                f"that does: {{name: grpo, with: [{{name: {base.name}}}]}}"
            )
        asker = self._owners["ask"]
        for layer in self.layers:
            if layer is not asker and sets(layer, "ask") and sets(layer, "follow_up"):
                raise UserError(
                    f"method.with: '{asker.name}' asks in the place of '{layer.name}', which then has nobody to follow "
                    f"up; make '{asker.name}' the base, and '{layer.name}' its part"
                )
        self._check_terms(start)

    def _owner(self, hook: str) -> Method:
        owners = [part for part in self.base.parts if sets(part, hook)]
        if len(owners) > 1:
            names = " and ".join(f"'{part.name}'" for part in owners)
            raise UserError(f"method.with: {names} both set '{hook}', and only one may; keep one of them")
        return owners[0] if owners else self.base

    def _check_terms(self, progress: Progress) -> None:
        seen: dict[str, tuple[str, Term]] = {}
        for part in self.base.parts:
            for term in part.terms(progress) if sets(part, "terms") else ():
                if term in PLAIN_TERMS:
                    continue
                if term.name in seen and seen[term.name][1] != term:
                    raise UserError(
                        f"method.with: '{seen[term.name][0]}' and '{part.name}' both set the term '{term.name}', "
                        "differently; keep one of them"
                    )
                seen[term.name] = (part.name, term)

    def describe(self) -> dict[str, str]:
        """Which layer says what, for `--dry-run`: hook (or "term <name>") to method name.

        A term whose coefficient is 0 as training begins is said to be off: its examples are made, and nothing is
        learnt from them.
        """
        said = {"ask": self._owners["ask"].name}
        said |= self._speakers("begin", "finish", "follow_up")
        if type(owner := self._owners["advantage"]).advantage is not Method.advantage:
            said["advantage"] = owner.name
        said |= {f"term {name}": _said(layer, term) for name, (layer, term) in self._terms(Progress(0, 0.0)).items()}
        return said | self._speakers("examples", "shape", "refine", "keeps", "wants")

    def _speakers(self, *hooks: str) -> dict[str, str]:
        """Who says something at each of the hooks, base first; the hooks at which nobody does are left out."""
        said = {}
        for hook in hooks:
            owners = [
                layer.name for layer in self.layers if sets(layer, hook) or (layer is self.base and hook == "examples")
            ]
            if owners:
                said[hook] = " + ".join(owners)
        return said

    @property
    def questions_per_step(self) -> int:
        return self.base.questions_per_step

    @property
    def rounds(self) -> int:
        """How often a step may ask for groups that `keeps` accepts."""
        return max(layer.rounds for layer in self.layers)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(layer.needs for layer in self.layers))

    @property
    def question_clusters(self) -> int:
        return max(layer.question_clusters for layer in self.layers)

    def initial_memory(self) -> tuple[Any, ...]:
        return tuple(layer.initial_memory() for layer in self.layers)

    def ask(self, question: Question, memory: tuple[Any, ...], progress: Progress) -> tuple[Ask, ...]:
        return tuple(replace(ask, n=n) for ask, n in self._begun(question, memory, progress))

    def rest(self, group: Group, memory: tuple[Any, ...], progress: Progress) -> tuple[Ask, ...]:
        """What is left of the asks about a question, now that its first answers are judged."""
        given = {answers.prompt.expert: answers for answers in group.answers}
        layers = tuple(zip(self.layers, memory, strict=True))
        return tuple(
            replace(ask, n=ask.n - n)
            for ask, n in self._begun(group.question, memory, progress)
            if n < ask.n
            and (answers := given.get(ask.prompt.expert)) is not None
            and all(layer.finish(answers, its) for layer, its in layers)
        )

    def _begun(self, question: Question, memory: tuple[Any, ...], progress: Progress) -> tuple[tuple[Ask, int], ...]:
        """What is asked about a question, and how many answers to each are drawn at first."""
        layers = tuple(zip(self.layers, memory, strict=True))
        owner, own = next((layer, its) for layer, its in layers if layer is self._owners["ask"])
        asks = owner.ask(question, own, progress)
        return tuple((a, min(a.n, *(layer.begin(a, its, progress) for layer, its in layers))) for a in asks)

    def follow_up(self, group: Group, memory: tuple[Any, ...], progress: Progress) -> tuple[Ask, ...]:
        layers = zip(self.layers, memory, strict=True)
        return tuple(ask for layer, its in layers for ask in layer.follow_up(group, its, progress))

    def asks_if_all_fail(self, question: Question) -> tuple[Ask, ...]:
        """What the first step asks about a question of which every answer is wrong, follow-ups included."""
        memory, start = self.initial_memory(), Progress(1, 0.0)
        asks = tuple(ask for ask, _ in self._begun(question, memory, start))
        failed = tuple(Answers(ask.prompt, (Scored(Rollout(ask.prompt, (), (), ""), 0.0),) * ask.n) for ask in asks)
        return asks + self.follow_up(Group(question, failed), memory, start)

    def wants(self, groups: Sequence[Group]) -> tuple[Span, ...]:
        spans = {span.key: span for layer in self.layers for span in layer.wants(groups)}
        return tuple(spans.values())

    def shape(
        self, groups: Sequence[Group], scores: Scores, memory: tuple[Any, ...], progress: Progress
    ) -> tuple[Group, ...]:
        for layer, its in zip(self.layers, memory, strict=True):
            groups = layer.shape(groups, scores, its, progress)
        return tuple(groups)

    def keeps(self, group: Group, memory: tuple[Any, ...]) -> bool:
        return all(layer.keeps(group, its) for layer, its in zip(self.layers, memory, strict=True))

    def credit(self, groups: Sequence[Group], memory: tuple[Any, ...], progress: Progress) -> tuple[Group, ...]:
        """The same groups with every answer's advantage filled in by the owner of `advantage`, then refined in a chain.

        Groups with equally many answers are credited in one call, so that a method may look across the step. Raises
        ValueError for credit per token that is not one number per token.
        """
        owner = self._owners["advantage"]
        by_count: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for i, group in enumerate(groups):
            for j, answers in enumerate(group.answers):
                by_count[len(answers.scored)].append((i, j))
        credited: dict[tuple[int, int], tuple[float, ...]] = {}
        for places in by_count.values():
            rewards = torch.tensor([groups[i].answers[j].rewards for i, j in places], dtype=torch.float64)
            rows = map(tuple, owner.advantage(rewards, progress).tolist())
            credited |= dict(zip(places, rows, strict=True))
        groups = [
            group.with_advantages(tuple(credited[i, j] for j in range(len(group.answers))))
            for i, group in enumerate(groups)
        ]
        for layer, its in zip(self.layers, memory, strict=True):
            groups = layer.refine(groups, its, progress)
        for scored in (s for group in groups for answers in group.answers for s in answers.scored):
            if isinstance(scored.advantage, tuple) and len(scored.advantage) != len(scored.rollout.ids):
                raise ValueError(f"`refine` gave {len(scored.advantage)} numbers to {len(scored.rollout.ids)} tokens")
        return tuple(groups)

    def learn(
        self, groups: Sequence[Group], scores: Scores, memory: tuple[Any, ...], rng: random.Random, progress: Progress
    ) -> Lesson:
        """The layers' lessons as one: their first updates unite, further ones follow in pairs; memory by layer."""
        updates: tuple[Update, ...] = ()
        metrics: dict[str, float] = {}
        memories = []
        made: frozenset[str] = frozenset()
        for layer, its in zip(self.layers, memory, strict=True):
            lesson = Lesson((Update(()),), its)
            if layer is self.base or sets(layer, "examples"):
                lesson = layer.examples(groups, scores, its, rng, progress)
            updates = tuple(
                Update(
                    mine.examples + tuple(e for e in new.examples if e.kind not in made), mine.lr_scale * new.lr_scale
                )
                for mine, new in zip_longest(updates, lesson.updates, fillvalue=Update(()))
            )
            made |= {term.kind for term in layer.terms(progress)}
            memories.append(lesson.memory)
            metrics |= lesson.metrics
        return Lesson(tuple(u for u in updates if u.examples), tuple(memories), metrics)

    def terms(self, progress: Progress) -> tuple[Term, ...]:
        return tuple(term for _, term in self._terms(progress).values())

    def _terms(self, progress: Progress) -> dict[str, tuple[Method, Term]]:
        """The terms by name, and whose they are. A part's that is GRPO's by default takes no other's place: a method
        that adds a term to GRPO's leaves the base's policy loss as it is."""
        merged = {term.name: (self.base, term) for term in self.base.terms(progress)}
        for part in self.base.parts:
            for term in part.terms(progress) if sets(part, "terms") else ():
                _, before = merged.get(term.name, (None, None))
                if before is None or term not in PLAIN_TERMS:
                    merged[term.name] = (part, _instead(term, before))
        return merged


def _instead(term: Term, of: Term | None) -> Term:
    """A part's term in place of another. What that one learns in several updates, against old log-probs, so does it."""
    if of is None or of.kind != term.kind:
        return term
    return replace(term, needs=term.needs | of.needs & {"old_logprobs"})


def _said(layer: Method, term: Term) -> str:
    return layer.name if term.coefficient else f"{layer.name}, off (coefficient 0)"
