"""Where rows come from: a file, a folder, or a data set of the Hugging Face hub.

    data/mine.jsonl         a file
    data/mine               a folder: `save_to_disk` of `datasets`, or data files laid out as the hub's are
    data/mine:train         its split `train`
    openai/gsm8k@main:test  the hub's data set openai/gsm8k, its config `main`, its split `test`

Configs and splits are `datasets`' own; a local folder's files are found by it and read here, so that a message can
name file and line.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyminds.errors import UserError
from manyminds.tasks.rows import READERS, Row, read_file
from manyminds.tasks.task import did_you_mean, listed

PLACE = re.compile(r"(?P<base>.+?)(@(?P<config>[\w.-]+))?(:(?P<split>[\w.-]+))?")
HUB = re.compile(r"\w[\w.-]*/[\w.-]+")
SHARD = re.compile(r"(?P<head>.*)-(?P<index>\d{5})-of-(?P<count>\d{5})(?P<tail>\..*)")

MAKES = {"experts_file": "; `manyminds collect RECIPE` makes one"}
"""What makes a file that is not there."""


def read_rows(place: str | Path, key: str) -> Iterator[Row]:
    """The rows of a file, folder or data set. `key` is the recipe's key that names it. Raises UserError."""
    whole = str(place)
    if not whole.strip():
        raise UserError(f"task.{key} is empty; it must name a file, a folder, or a data set of the Hugging Face hub.")
    found = PLACE.fullmatch(whole)
    if found is None or os.path.exists(whole):  # which also takes what no file can be called
        base, config, split = whole, None, None
    else:
        base, config, split = found["base"], found["config"], found["split"]
    path = Path(base)
    if os.path.isfile(path):
        if base != whole:
            raise UserError(f"task.{key}: {base} is a file and has neither configs nor splits; write {base} alone.")
        return read_file(path, key)
    if os.path.isdir(path):
        return _folder(path, config, split, key)
    if HUB.fullmatch(base) and path.suffix.lower() not in READERS:
        return _hub(base, config, split, key)
    raise UserError(
        f"task.{key}: there is no file or folder {base}; name a file ({', '.join(READERS)}), a folder, or a data set "
        f"of the Hugging Face hub as org/name{MAKES.get(key, '')}."
    )


def _datasets(what: str, key: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f'task.{key}: {what} needs `datasets`, which is not installed; run `pip install "manyminds[data]"`, or '
            "name a file."
        ) from error
    return datasets


def _folder(path: Path, config: str | None, split: str | None, key: str) -> Iterator[Row]:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, split, key)
    files = _data_files(path, config, split, key)
    _check_shards(files, key)
    return (row for file in files for row in read_file(file, key))


def _saved(path: Path, split: str | None, key: str) -> Iterator[Row]:
    """What `save_to_disk` wrote: one data set, or one per split."""
    datasets = _datasets(f"the folder {path}", key)
    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"task.{key}: {path} cannot be read ({_first_line(error)}); what `save_to_disk` wrote must be whole."
        ) from error
    if isinstance(saved, datasets.DatasetDict):
        chosen = _chosen(split, list(saved), str(path), key)
        return _of_dataset(saved[chosen], f"{path}:{chosen}", key)
    if split is not None:
        raise UserError(f"task.{key}: {path} is one data set without splits; write {path} alone.")
    return _of_dataset(saved, str(path), key)


def _data_files(path: Path, config: str | None, split: str | None, key: str) -> list[Path]:
    """The files of a split, as `datasets` finds them: by the folder's README, else by names such as train and test."""
    if not any(file.suffix.lower() in READERS for file in path.rglob("*")):
        raise UserError(f"task.{key}: the folder {path} holds no data files; they end in {', '.join(READERS)}.")
    datasets = _datasets(f"the folder {path}", key)
    whole = path.absolute()  # the library takes a name from the last part, which `.` has not
    try:
        by_split = datasets.load_dataset_builder(str(whole), config).config.data_files
    except (OSError, ValueError) as error:
        raise UserError(f"task.{key}: {path} cannot be read as a data set: {_first_line(error)}") from error
    named = f"{path}@{config}" if config else str(path)
    chosen = _chosen(split, [str(name) for name in by_split], named, key)
    return [path / Path(file).relative_to(whole) for file in by_split[chosen]]


def _check_shards(files: list[Path], key: str) -> None:
    """Raises UserError if of files such as train-00000-of-00003.parquet one is not there."""
    shards: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for file in files:
        if found := SHARD.fullmatch(str(file)):
            shards[found["head"], found["count"], found["tail"]].add(int(found["index"]))
    for (head, count, tail), there in shards.items():
        for index in range(int(count)):
            if index not in there:
                raise UserError(
                    f"task.{key}: {head}-{index:05d}-of-{count}{tail} is missing, one of {int(count)} parts of a split."
                )


def _hub(name: str, config: str | None, split: str | None, key: str) -> Iterator[Row]:
    datasets = _datasets(f"{name}, which is no file or folder here but may be a data set of the hub,", key)
    named = f"{name}@{config}" if config else name
    try:
        splits = [split] if split else datasets.get_dataset_split_names(name, config)
        chosen = _chosen(split, [str(one) for one in splits], named, key)
        loaded = datasets.load_dataset(name, config, split=chosen)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"task.{key}: {named} is no file or folder here, and as a data set of the hub it cannot be read: "
            f"{_first_line(error)}"
        ) from error
    return _of_dataset(loaded, f"{named}:{chosen}", key)


def _chosen(split: str | None, splits: list[str], named: str, key: str) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split is None:
        raise UserError(f"task.{key}: {named} has the splits {listed(splits)}; say which, such as {named}:{splits[0]}.")
    if split not in splits:
        raise UserError(f"task.{key}: {named} has no split {split!r}; {did_you_mean(split, splits)}")
    return split


def _of_dataset(loaded: Any, source: str, key: str) -> Iterator[Row]:
    if not len(loaded):
        raise UserError(f"task.{key}: {source} is empty; it must hold rows.")
    return (Row(source, number, dict(columns)) for number, columns in enumerate(loaded, start=1))


def _first_line(error: Exception) -> str:
    return " ".join(str(error).strip().split())[:300]
