"""The terminal's table and moments, as they print."""

from __future__ import annotations

import pytest
from rich.console import Console, RenderableType

from manyminds.errors import UserError
from manyminds.report.runs import Greedy
from manyminds.report.terminal import final_table, moment, time_table
from manyminds.report.timing import Line, Timing


def printed(what: RenderableType) -> str:
    console = Console(width=110, no_color=True, force_terminal=False, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get().replace("\u00a0", " ")


RESULTS = {
    "mef": {
        "metrics": {"plain": {"value": 0.46, "low": 0.4, "high": 0.52}, "pass_at_4": 0.7},
        "sampled_tokens": 0,
        "seconds": 74,
    },
    "meml_grpo": {
        "metrics": {"plain": {"value": 0.815, "low": 0.77, "high": 0.86}, "pooled_pass_at_12": 0.9, "all_right": 0.5}
    },
}


def test_final_table() -> None:
    text = printed(final_table(RESULTS))
    rows = {line[:15].strip(): line[15:].split() for line in text.splitlines()}
    assert rows["plain"] == ["46.0", "[40,", "52]", "81.5", "[77,", "86]"]
    assert rows["pass@4"] == ["70.0", "–"]
    assert rows["pooled pass@12"] == ["–", "90.0"]
    assert rows["sampled tokens"] == ["0", "–"]
    assert "all right" not in rows
    assert "Before RL (warm-up)" in text
    assert "MEML-GRPO" in text
    assert "over questions, not over seeds" in " ".join(text.split())


def test_final_table_of_a_single_arm_named_like_markup() -> None:
    assert "[red]mine" in printed(final_table({"[red]mine": {"metrics": {"mean": 0.5}}}))


def test_final_table_refuses_what_is_no_number() -> None:
    with pytest.raises(UserError, match="mine: mean: value should be a number"):
        final_table({"mine": {"metrics": {"mean": {"value": "much"}}}})


def test_time_table() -> None:
    lines = (
        Line("sampling", 0.3, 0.75, 12_345.6, 0.4321),
        Line("decode", 0.25, 0.625, inner=True),
        Line("sync", 0.0, 0.0),
        Line("step", 0.4, 1.0),
    )
    text = printed(time_table(Timing("GRPO", 7, {}, lines)))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["sampling"] == ["0.300", "75.0", "12,346", "43"]
    assert rows["decode"] == ["0.250", "62.5"]
    assert rows["sync"] == ["0.000", "0.0"]
    assert rows["step"] == ["0.400", "100.0"]
    assert "Means over 7 steps" in text


BEFORE = {
    "plain": Greedy("s1#9", False),
    "a": Greedy("c1#7", True, "concise"),
    "b": Greedy("[bold]d2#8", False, "slow"),
}
AFTER = {"a": Greedy("c1#6", False), "b": Greedy("c2#7", True)}


def test_complementary_shows_everybody() -> None:
    text = printed(moment("complementary", "3+4", BEFORE, {}, "a", answer="7"))
    assert "only a knows this one" in text
    assert "answer 7" in text
    assert "✓ c1#7  concise" in text
    assert "✗ [bold]d2#8  slow" in text  # an answer is never read as markup
    assert "✗ s1#9" in text


def test_rescued_shows_before_and_after_and_who_knew() -> None:
    text = printed(moment("rescued", "3+4", BEFORE, AFTER, "b"))
    assert "rescued: b gets it now" in text
    assert text.index("✗ [bold]d2#8") < text.index("✓ c2#7")
    assert "before, a knew it" in text


def test_forgotten() -> None:
    text = printed(moment("forgotten", "3+4", BEFORE, AFTER, "a"))
    assert "forgotten: a knew this one" in text
    assert text.index("✓ c1#7") < text.index("✗ c1#6")
    assert "knew it" not in text


def test_long_answers_keep_their_end() -> None:
    text = printed(moment("forgotten", "q", {"a": Greedy("x" * 500 + "#42", True)}, {}, "a"))
    assert "#42" in text
    assert "x" * 80 not in text
