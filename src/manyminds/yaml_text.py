"""YAML as users write it: whatever is wrong with the text is one sentence with the line at which it stands.

PyYAML alone lets some mistakes through (a key that is there twice, a list that holds itself) and raises Python's own
errors for others (the thirteenth month, a number of a million digits).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from manyminds.errors import UserError

DEEPEST = 64
"""Levels of a file in one another; what is nested deeper is a mistake, or an attack."""
LARGEST = 2**63
"""Whole numbers are below it, as tensors and files of weights hold them."""
MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which besides refuses what no recipe means."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[str | None] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A value, unless it stands too deep or inside of itself."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        anchor = getattr(event, "anchor", None)
        alias, mark = isinstance(event, yaml.AliasEvent), event.start_mark
        if alias and anchor in self._open:
            raise ConstructorError(None, None, f"*{anchor} stands inside of &{anchor} itself", mark)
        if len(self._open) > DEEPEST:
            raise ConstructorError(None, None, f"it is nested deeper than {DEEPEST} levels", mark)
        self._open.append(None if alias else anchor)
        try:
            return super().compose_node(parent, index)
        finally:
            self._open.pop()

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node; what Python cannot make of it is told with its line."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
            shown = str(node.value)[:40] if isinstance(node, yaml.ScalarNode) else "this"
            why = f"{shown!r} is not what it looks like ({error}); put text in quotes"
            raise ConstructorError(None, None, why, node.start_mark) from error
        if isinstance(value, str) and (odd := unheld(value)):
            raise ConstructorError(None, None, f"text may not hold {odd}", node.start_mark)
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise ConstructorError(None, None, f"{str(node.value)[:40]} is too large a number", node.start_mark)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """The keys and values of a mapping. Of a key that is there twice PyYAML would silently take the last."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if (key.tag, key.value) in seen:
                    why = f"the key '{key.value[:40]}' is there twice; take one out"
                    raise ConstructorError(None, None, why, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def unheld(text: str) -> str:
    """What in the text neither files nor their names can hold, in words; empty if there is nothing."""
    if "\0" in text:
        return "the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"half a character (\\u{ord(text[error.start]):x})"
    return ""


def load(text: str, where: str, *, by_line: bool = True) -> Any:
    """What the text holds, as plain data. Raises UserError that begins with `where` and, if `by_line`, the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        line = _line_of(error, text) if by_line else ""
        raise UserError(f"{where}{line}: is not valid YAML: {_said(error)}") from error
    except RecursionError as error:
        raise UserError(f"{where}: is not valid YAML: it is nested too deep; take some levels out") from error


def read(path: Path, what: str) -> tuple[dict[str, Any], str]:
    """The keys of a YAML file (`what` it is, in words), and its text. Raises UserError naming file and line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of {what}, a YAML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text in UTF-8; {what} is a YAML file, save it as UTF-8") from error
    except ValueError as error:  # a name that no file can have
        raise UserError(f"{str(path)!r}: cannot be read ({error}); give the path of {what}, a YAML file") from error
    data = load(text, str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds no keys; {what} starts with lines such as `name: mine`")
    return data, text


def _said(error: yaml.YAMLError) -> str:
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    words = " ".join(str(said).split())
    return words if ";" in words else f"{words}; mend it, or put text in quotes"


def _line_of(error: yaml.YAMLError, text: str) -> str:
    mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
    if mark is not None:
        return f":{mark.line + 1}"
    return f":{text.count(chr(10), 0, position) + 1}" if isinstance(position, int) else ""


def node(text: str) -> Any:
    """The text as PyYAML's nodes, which know their lines; None if there is no text."""
    return yaml.compose(text, _Loader) if text else None
