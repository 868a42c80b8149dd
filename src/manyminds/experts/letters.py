"""Questions in letters that a tokenizer does not know: all that it cannot spell becomes one and the same token."""

from __future__ import annotations

from typing import Any

from manyminds.records import Ids, Question


class Letters:
    """Counts the questions that have a prompt most of whose letters the tokenizer does not know; `note` tells of them.

    Letters are counted rather than tokens: some tokenizers put one unknown token in the place of many letters, and the
    chat template's own tokens would hide a short question. A tokenizer without such a token knows every letter, and so
    do those whose unknown token is in name only, as it is the one that ends a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)
        self.unknown: int | None = None if unknown == tokenizer.eos_token_id else unknown
        self._seen: set[str] = set()
        self._lost: dict[str, str] = {}

    def look(self, question: Question, prompts: dict[str, tuple[str, Ids]]) -> None:
        """Counts a question: the text and the ids of each prompt by name, the plain one last. Once for each id."""
        if self.unknown is None:
            return
        self._seen.add(question.id)
        for name, (text, ids) in reversed(prompts.items()):  # a question that is lost itself is told as the plain one
            if self.unknown in ids and question.id not in self._lost and self._loses(text):
                self._lost[question.id] = f"{question.source or f'question {question.id!r}'}, prompt '{name}'"

    def _loses(self, text: str) -> bool:
        """Whether more than half of the letters, blanks not counted, are gone without the unknown tokens."""
        ids = [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]
        left = str(self.tokenizer.decode([i for i in ids if i != self.unknown]))
        return 2 * _letters(left) < _letters(text)

    @property
    def note(self) -> str:
        """A sentence on the questions that were counted; empty if their letters are known."""
        if not self._lost:
            return ""
        return (
            f"{len(self._lost)} of {len(self._seen)} questions have a prompt more than half of whose letters the "
            f"tokenizer does not know, such as {next(iter(self._lost.values()))}: they become "
            f"`{self.tokenizer.unk_token}`, so that the model cannot tell what they say; take a model whose tokenizer "
            "knows them."
        )


def _letters(text: str) -> int:
    return sum(not letter.isspace() for letter in text)
