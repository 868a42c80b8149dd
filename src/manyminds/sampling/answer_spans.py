"""Where the final answer stands in a sampled response, for methods that read what was written before it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from manyminds.policy.policy import Policy
from manyminds.records import Ask, Ids, Rollout
from manyminds.sampling.sampler import Sampler


@dataclass(frozen=True)
class AnswerSpans:
    """A sampler whose rollouts have their `answer_span`; what it draws is what `sampler` draws.

    `form` is how a task writes a final answer, such as "#### {answer}". The ids are not encoded anew: tokens that spell
    a marker are not always those that the tokenizer would choose. Beginnings of the response are decoded instead, as
    many as halving the response takes.
    """

    sampler: Sampler
    tokenizer: Any
    form: str

    def sample(self, asks: Sequence[Ask], draw: str) -> tuple[Rollout, ...]:
        drawn = self.sampler.sample(asks, draw)
        return tuple(replace(rollout, answer_span=self.find(rollout.ids, rollout.text)) for rollout in drawn)

    def load(self, policy: Policy) -> None:
        self.sampler.load(policy)

    def find(self, ids: Ids, text: str) -> Ids:
        """(first id of the answer, the id after its last), or () for a response that is not of the form.

        Of the form is what has the marker once, something behind it, and what closes an answer, if the task has that,
        once behind that. The answer is the first line that is not empty. A token that holds the marker's end and the
        answer's beginning cannot be divided: that is not of the form either.
        """
        place = place_of(text, self.form)
        if place is None:
            return ()
        marked, begins, ends = place
        start = bisect_right(range(len(ids) + 1), begins, key=lambda n: len(self.written(ids, n))) - 1
        stop = bisect_left(range(len(ids) + 1), ends, lo=start, key=lambda n: len(self.written(ids, n)))
        # A character of several tokens counts, unfinished, as one already.
        while stop < len(ids) and not self.written(ids, stop).startswith(text[:ends]):
            stop += 1
        return (start, stop) if self.written(ids, start).startswith(text[:marked]) and start < stop else ()

    def written(self, ids: Ids, n: int) -> str:
        """The text of the first n ids."""
        return str(self.tokenizer.decode(list(ids[:n]), skip_special_tokens=True))


def place_of(text: str, form: str) -> tuple[int, int, int] | None:
    """Where the marker ends, and where the answer begins and ends, in characters; None if text is not of the form."""
    marker, closing = (part.strip() for part in form.split("{answer}"))
    if text.count(marker) != 1:
        return None
    marked = text.index(marker) + len(marker)
    rest, closed, _ = text[marked:].partition(closing) if closing else (text[marked:], "", "")
    answer = rest.strip().partition("\n")[0].rstrip()
    if not answer or (closing and (not closed or text.count(closing) != 1)):
        return None
    begins = marked + len(rest) - len(rest.lstrip())
    return marked, begins, begins + len(answer)
