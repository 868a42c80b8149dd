"""Text that goes round in circles."""

from __future__ import annotations

from collections import Counter


def repeats(text: str, words: int, times: int) -> bool:
    """Whether some run of so many words occurs so many times, overlapping ones counted.

    Words are what whitespace parts. Linear in the text. Source: RLPR's code, with 10 words and 10 times.
    """
    its = text.split()
    runs = Counter(zip(*(its[i:] for i in range(words)), strict=False))
    return any(count >= times for count in runs.values())
