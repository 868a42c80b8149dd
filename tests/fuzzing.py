"""What the tests in tests/fuzz share: how many inputs they try, what may come of one, and ways to spoil what was valid.

Each property is two tests: one of a few hundred inputs, always the same, in `make test`; and one of thousands, other
ones each time, in `make test-long`. `CASES` says how many; tests/fuzz/test_counts.py adds them up.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from manyminds.errors import UserError

CASES = {
    "recipe keys": (250, 6000),
    "recipe bytes": (100, 2000),
    "overrides": (150, 4000),
    "comparisons": (60, 1000),
    "recipes on the command line": (20, 300),
    "arguments on the command line": (30, 500),
    "rows": (150, 3500),
    "data bytes": (100, 2000),
    "pairs": (60, 1500),
    "worked answers": (60, 1000),
    "collected answers": (60, 1000),
    "model files": (40, 700),
    "model settings": (40, 700),
    "checkpoint files": (40, 700),
    "checkpoint states": (20, 300),
    "run files": (40, 700),
}
"""Inputs in `make test` and in `make test-long`, by property."""

LONGEST = 1500
"""Letters of a sentence: one that quotes a whole file is none."""
REMEDY = re.compile(
    r"; |\b(must|should|needs?|expected|give|save|write|run|name|set|take|add|delete|mend|unexpected)\b|did you mean"
    r"|known (here )?are|is missing|is needed|says? which|has nothing after|[Ss]ay which"
)


def fuzz(name: str, strategy: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Makes `check(case, place)` a test on as many cases as `CASES` says; `place` is an empty folder to work in."""
    quick, long = CASES[name]

    def decorate(check: Callable[..., None]) -> Any:
        @pytest.mark.parametrize(
            "cases", [pytest.param(quick, id="quick"), pytest.param(long, id="long", marks=pytest.mark.long)]
        )
        def test(cases: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
            monkeypatch.chdir(tmp_path)
            tried = 0

            @hypothesis.settings(
                max_examples=cases,
                derandomize=cases == quick,
                database=None,
                deadline=None,
                suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
                print_blob=True,
            )
            @hypothesis.given(strategy)
            def every(case: Any) -> None:
                nonlocal tried
                tried += 1
                check(case, tmp_path)

            every()
            assert tried >= cases

        test.__doc__ = check.__doc__
        return test

    return decorate


def refused(call: Callable[[], Any], *places: str) -> str | None:
    """None if the call accepts its input; else the one sentence that it refuses it with.

    Anything else that it raises goes on. The sentence must name one of the `places`, if there are some, and a remedy.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except UserError as error:
        said = " ".join(str(error).split())
        is_sentence(said, *places)
        return said
    return None


def is_sentence(said: str, *places: str) -> None:
    """Whether a user can go by it: short, without the traces of a program, with a place and with a remedy."""
    assert 10 < len(said) <= LONGEST, said[:3000]
    for trace in ("Traceback", "errors.pydantic.dev", "validation error for Recipe", '  File "', "BeartypeCall"):
        assert trace not in said, said
    assert REMEDY.search(said), said
    if places:
        assert any(place in said for place in places), (said, places)


# Values of every kind that a key or a column may not expect.

DEEP: Any = []
for _ in range(100):
    DEEP = [DEEP]

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
plain_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6),
    st.sampled_from([100, -1, 2**31, 2**63, -(2**64), 10**30]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.5, 1.0, 1.5, 1e-300, 1e300]),
    words,
    st.sampled_from(
        ["", " ", "x" * 5000, "a\0b", "²", "\u0661", "é × 中", "null", "1e3", "../x", "a/b", "plain", "####"]
    ),
)
values = st.one_of(
    plain_values,
    plain_values,
    st.lists(plain_values, max_size=3),
    st.dictionaries(words, plain_values, max_size=3),
    st.just(DEEP),
)


def paths(data: Any) -> list[tuple[Any, ...]]:
    """The way to every value inside of nested mappings and lists."""
    found: list[tuple[Any, ...]] = []
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        found += [(key,), *((key, *rest) for rest in paths(value))]
    return found


def misspelt(draw: st.DrawFn, word: str) -> str:
    """The word with one letter gone, doubled, or another."""
    at = draw(st.integers(0, max(0, len(word) - 1)))
    return word[:at] + draw(st.sampled_from(["", "x", "_", word[at : at + 1] * 2])) + word[at + 1 :]


@st.composite
def spoilt(draw: st.DrawFn, wholes: st.SearchStrategy[Any], most: int = 2) -> tuple[Any, list[str]]:
    """Data like a valid one in which up to `most` keys are gone, misspelt, or hold something else; and those keys."""
    data = copy.deepcopy(draw(wholes))
    touched = []
    for _ in range(draw(st.integers(1, most))):
        every = paths(data)
        if not every:
            break
        *above, last = draw(st.sampled_from(every))
        place = data
        for part in above:
            place = place[part]
        how = draw(st.sampled_from(["replace", "replace", "replace", "delete", "misspell", "add", "swap", "wrap"]))
        touched.append(str(last))
        if how == "delete":
            del place[last]
        elif how == "misspell" and isinstance(last, str):
            place[misspelt(draw, last)] = place.pop(last)
        elif how == "add" and isinstance(place[last], dict):
            place[last][draw(words)] = copy.deepcopy(draw(values))
        elif how == "swap":
            there = data
            for part in draw(st.sampled_from(every)):
                there = there[part] if isinstance(there, dict | list) and _holds(there, part) else there
            place[last] = copy.deepcopy(there)
        elif how == "wrap":
            place[last] = [place[last]]
        else:
            place[last] = copy.deepcopy(draw(values))
    return data, touched


def _holds(there: Any, part: Any) -> bool:
    return part in there if isinstance(there, dict) else isinstance(part, int) and part < len(there)


ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32")


@st.composite
def torn(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes of a text file after an accident: cut, flipped, in another encoding, with other line breaks."""
    data = whole
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(data)))
        how = draw(
            st.sampled_from(["cut", "cut", "flip", "flip", "encode", "crlf", "blank", "twice", "insert", "drop"])
        )
        lines = data.split(b"\n")
        if how == "cut":
            data = data[:at]
        elif how == "flip" and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif how == "encode":
            data = data.decode("utf-8", "replace").encode(draw(st.sampled_from(ENCODINGS)), "replace")
        elif how == "crlf":
            data = data.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n", b"\n \t\n"])))
        elif how == "blank":
            data = draw(st.sampled_from([b"", b"\n", b" ", b"null", b"[]", b"{}", b"\xef\xbb\xbf", b"0", b'""']))
        elif how == "insert":
            data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]
        else:
            line = draw(st.integers(0, len(lines) - 1))
            lines[line : line + 1] = [lines[line]] * 2 if how == "twice" else []
            data = b"\n".join(lines)
    return data


def as_json(value: Any) -> str:
    """The value on a line, as careless programs write it: with NaN, and halves of characters escaped."""
    return json.dumps(value, default=str)


def tree(folder: Path) -> set[str]:
    """Everything below a folder, by name."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
