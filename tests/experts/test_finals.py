"""Where the final answer stands in a worked answer, for every task's way to state one."""

from __future__ import annotations

import pytest

import tiny
from manyminds.experts.finals import LONGEST, Finals
from manyminds.experts.rendering import Renderer
from manyminds.records import Ids, Trace
from manyminds.tasks.arithmetic import extract, question
from manyminds.tasks.jsonl import after_marker


def letters(text: str) -> Ids:
    return tuple(map(ord, text))


def pairs(text: str) -> Ids:
    """A tokenizer that joins letters two by two from the beginning, so that a cut may fall inside a token."""
    return tuple(hash(text[i : i + 2]) for i in range(0, len(text), 2))


def number(text: str) -> str | None:
    """The last number of a text, without its commas."""
    words = [w.strip(".").replace(",", "") for w in text.split()]
    found = [w for w in words if w.isdigit()]
    return found[-1] if found else None


@pytest.mark.parametrize(
    ("extract", "form", "text", "reasoning"),
    [
        (extract, "#{answer}", "c9,11,9#919", "c9,11,9#"),
        (after_marker("####"), "#### {answer}", "2 + 2 is 4.\n#### 4", "2 + 2 is 4.\n#### "),
        (after_marker("####"), "#### {answer}", "#### 7\nno:\n#### 4", "#### 7\nno:\n#### "),
        (number, "{answer}", "It was 12 and is 7.", "It was 12 and is "),
        (number, "{answer}", "In all 1,234.", "In all "),
        (lambda text: "yes" if "Yes" in text else None, "Answer: {answer}", "So: Yes.", "So: Answer: "),
        (lambda text: "yes" if "Yes" in text else None, "Answer: {answer}", "Answer: Yes", "Answer: "),
        (number, "{answer}", "no number", None),
        (extract, "#{answer}", "", None),
        (lambda text: "7" if text.startswith("7") else None, "{answer}", "7" + " later" * 100, None),
    ],
)
def test_the_reasoning(extract: object, form: str, text: str, reasoning: str | None) -> None:
    assert Finals(extract, form, letters).reasoning(text) == reasoning  # type: ignore[arg-type]


def test_only_the_end_is_searched() -> None:
    asked = []

    def slow(text: str) -> str | None:
        asked.append(len(text))
        return "7" if text.startswith("7") else None

    assert Finals(slow, "{answer}", letters).reasoning("7" + "x" * 10_000) is None
    assert len(asked) == LONGEST + 1


def test_the_gold_answer_takes_the_place_of_the_traces() -> None:
    trace = Finals(after_marker("##"), "## {answer}", letters).parted(Trace("so\n## 0.5", "t"), "1/2")
    assert trace.reasoning_ids == letters("so\n## ")
    assert trace.reference_ids == letters("1/2")


def test_a_token_that_spans_the_cut_belongs_to_the_answer() -> None:
    trace = Finals(after_marker("#"), "#{answer}", pairs).parted(Trace("ab#12", "t"), "12")
    assert trace.reasoning_ids == pairs("ab")
    assert trace.reference_ids == pairs("ab#12")[1:]


def test_every_trace_of_the_embedded_task() -> None:
    """The two parts are the trace but for the end of the turn."""
    renderer = Renderer(tiny.tokenizer(), 256)
    finals = Finals(extract, "#{answer}", renderer.encode)
    for family, a, b in (("addition", 237, 682), ("multiplication", 237, 3), ("division", 907, 8)):
        rendered = finals.found(renderer.render(question(family, a, b), ()))
        for trace in rendered.traces.values():
            assert (*trace.reasoning_ids, *trace.reference_ids, renderer.closing) == trace.ids
            assert renderer.encode(rendered.answer) == trace.reference_ids
