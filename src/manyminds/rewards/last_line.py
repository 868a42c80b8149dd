"""The rule baselines of Crossing the Reward Bridge (arXiv 2503.23829), which read the last line of a response as it is.

They are here to be compared with. As a verifier alone either is soon paid for nothing: `contains` for a line that lists
many answers or begins or ends like the right one, `jaccard` for the words of the question.
"""

from __future__ import annotations

import re
import unicodedata

from manyminds.rewards.reward import reward

AROUND = re.compile(r"^[^\w+\-\u2212]+|[^\w%]+$")
"""What is taken off a word's ends: punctuation, but no sign of a number."""


def last_line(response: str) -> str:
    """The last line that is not blank, without the blanks around it; empty if there is none."""
    return response.strip().rpartition("\n")[2].strip()


@reward(trusted=True)
def contains(response: str, answer: str) -> bool | None:
    """Whether the gold answer occurs in the last line; case and the amount of blank space do not count.

    None for a question without a gold answer. Source: the rule-based binary reward of arXiv 2503.23829.
    """
    wanted = " ".join(_plain(answer).split())
    return wanted in " ".join(_plain(last_line(response)).split()) if wanted else None


@reward(trusted=True)
def jaccard(response: str, answer: str) -> float | None:
    """|A & B| / |A | B| of the sets of words of the last line and of the gold answer, between 0 and 1.

    Words stand between blanks; case and punctuation around a word do not count. None for a gold answer without words.
    Source: the rule-based soft reward of arXiv 2503.23829.
    """
    wanted, found = words(answer), words(last_line(response))
    return len(wanted & found) / len(wanted | found) if wanted else None


def words(text: str) -> frozenset[str]:
    """The words of a text, each once: "It is 12 cm." has it, is, 12, cm."""
    return frozenset(filter(re.compile(r"\w").search, (AROUND.sub("", word) for word in _plain(text).split())))


def _plain(text: str) -> str:
    """Wide and ligature forms as the common ones, and no upper case."""
    return unicodedata.normalize("NFKC", text).casefold()
