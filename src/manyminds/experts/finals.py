"""Where the final answer stands in a worked answer: its reasoning, and the gold answer in the place of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile

from manyminds.records import Ids, Question, Trace

LONGEST = 400
"""How many characters from its end a text is searched for the statement of its answer."""


@dataclass(frozen=True, slots=True)
class Finals:
    """For a task: `extract` reads a final answer, `form` is how one is written; `encode` makes ids of text."""

    extract: Callable[[str], str | None]
    form: str
    encode: Callable[[str], Ids]

    def found(self, question: Question) -> Question:
        """The question with `reasoning_ids` and `reference_ids` in those of its traces that state a final answer."""
        traces = {name: self.parted(trace, question.answer) for name, trace in question.traces.items()}
        return replace(question, traces=traces)

    def parted(self, trace: Trace, answer: str) -> Trace:
        """The trace's reasoning, and the ids of `answer` after it, as the tokenizer makes them of both together."""
        reasoning = self.reasoning(trace.text)
        if reasoning is None:
            return trace
        ids = self.encode(reasoning + answer)
        # Where the last token of the reasoning and the first of the answer are one, that one belongs to the answer.
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self.encode(reasoning), ids, strict=False))
        shared = len(list(same))
        return replace(trace, reasoning_ids=ids[:shared], reference_ids=ids[shared:])

    def reasoning(self, text: str) -> str | None:
        """The text up to its final answer, the marker before it included; None if it states none near its end.

        The statement is the shortest end of the text from which the same answer is read. Where the answer is written
        otherwise than it is read (`1,234`, `Yes`), the form's own marker stands before it.
        """
        final = self.extract(text)
        if not final:
            return None
        ends = range(len(text) - 1, max(len(text) - LONGEST, 0) - 1, -1)
        start = next((i for i in ends if self.extract(text[i:]) == final), None)
        if start is None:
            return None
        at = text.find(final, start)
        if at >= 0:
            return text[:at]
        lead = self.form.partition("{answer}")[0]
        return text[:start] if text[:start].endswith(lead) else text[:start] + lead
