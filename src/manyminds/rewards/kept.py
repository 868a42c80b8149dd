"""Asks an endpoint to judge texts, within a budget and never twice for the same: what it said is kept in a file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from weakref import WeakValueDictionary

from pydantic import BaseModel, Field, ValidationError

from manyminds.durable import append_jsonl, explaining, read_numbered_jsonl
from manyminds.endpoint import Chat, Endpoint, Reply, Unanswered
from manyminds.errors import UserError
from manyminds.records import Question

PLACES = ("question", "answer", "solution", "response")
"""What a prompt may hold in braces."""

CONTROL = re.compile(r"(?=(<\|[^<>\s]*\|>|<\uff5c[^<>\s]*\uff5c>|</?\w+>|\[/?[A-Za-z_]{3,}\]))[<\[]")
"""The first character of what looks like a control token: `<|im_end|>`, `</s>`, `<start_of_turn>`, `[INST]`."""

UNKEPT = (
    "keeps its replies in no file here, so the same answers will be paid for again next time; `cache: judge.jsonl` in "
    "its entry keeps them for every command"
)
"""The note of a judge without a file."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def check_prompt(prompt: str) -> None:
    """Raises UserError for a prompt that names a place which there is not, or does not show the response."""
    for place in re.findall(r"\{(\w+)\}", prompt):
        if place not in PLACES:
            raise UserError(f"prompt: there is no {{{place}}}; it may hold {', '.join(f'{{{p}}}' for p in PLACES)}.")
    if "{response}" not in prompt:
        raise UserError("prompt: does not hold {response}, so the judge would not see what it judges.")


def written(
    prompt: str,
    question: Question,
    response: str,
    quote: bool = True,
    guard: Callable[[str], str] = lambda text: text,
) -> str:
    """The prompt for one response. Each place is filled once, with JSON: no text can close its quotes or bring in a
    place of its own. Without `quote` texts stand as they are, of a conversation the last.

    Quotes do not keep a tokenizer from reading `<|im_end|>` as the end of a turn. So in JSON what looks like a control
    token (`CONTROL`) has its first character escaped, \\u003c or \\u005b, which is the same text to who reads JSON; and
    `guard`, which knows the judge's tokenizer, has the last word on every filled-in text.
    """
    turns = [{"role": role, "content": said} for role, said in question.messages]
    values = {
        "question": turns or question.text,
        "answer": question.answer,
        "solution": question.solution,
        "response": response,
    }
    bare = {**values, "question": question.text}

    def filled(found: re.Match[str]) -> str:
        return guard(quoted(values[found[1]]) if quote else str(bare[found[1]]))

    return re.sub(r"\{(\w+)\}", filled, prompt)


def quoted(value: object) -> str:
    """The value as JSON in which nothing looks like a control token."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


class Row(BaseModel, strict=True):
    """One line of the file: a reply, the hash of who was asked, that of what was asked, and the tokens it cost."""

    by: str
    key: str
    reply: str
    tokens: Annotated[int, Field(ge=0)]


class Kept:
    """Replies by the hash of what was asked: in memory, and in a file of JSON lines if `path` names one.

    `calls` and `tokens` count, by who was asked, what all of them cost; `under_way` those that are being asked, and
    `asking` holds who asks, by the same hashes as the replies. UserError for a file that has other rows.
    """

    @classmethod
    def at(cls, path: Path | None) -> Kept:
        """What the file holds now: one object for all rewards of this process that name it, so that none pays for what
        another was told. The mistake in a file is told of the option `cache`."""
        try:
            if path is None:
                return cls(None)
            kept = OPEN.setdefault(path.resolve(), cls(path))
            kept.read()
            return kept
        except UserError as error:
            raise UserError(f"cache: {error}") from error

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.under_way: Counter[str] = Counter()
        self.asking: dict[str, asyncio.Task[None]] = {}
        self._start_with([])

    def read(self) -> None:
        """Takes what the file holds in the place of what was known."""
        rows = []
        for number, line in read_numbered_jsonl(self.path) if self.path and self.path.exists() else []:
            try:
                rows.append(Row.model_validate(line))
            except ValidationError as error:
                raise UserError(
                    f"{self.path} line {number} is no reply of a judge: it must be an object with the texts `by`, "
                    "`key` and `reply` and the whole number `tokens`; take the line out, or name another file with "
                    "`cache`"
                ) from error
        self._start_with(rows)

    def _start_with(self, rows: Sequence[Row]) -> None:
        self.replies: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        for row in rows:
            self._count(row)

    def add(self, by: str, key: str, reply: str, tokens: int) -> None:
        """Keep a reply; raises UserError if the disk refuses."""
        row = Row(by=by, key=key, reply=reply, tokens=tokens)
        self._count(row)
        if self.path is not None:
            with explaining(f"cannot write to the folder {self.path.parent}"):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            append_jsonl(self.path, row.model_dump())

    def _count(self, row: Row) -> None:
        self.replies[row.key] = row.reply
        self.calls[row.by] += 1
        self.tokens[row.by] += row.tokens


OPEN: WeakValueDictionary[Path, Kept] = WeakValueDictionary()
"""The files that rewards of this process keep replies in."""


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a text: the reply as it is kept, or `why` there is none."""

    reply: str | None = None
    why: str = ""


def text_of(reply: Reply) -> str:
    """What of a reply is kept, unless a judge reads more than its text."""
    return reply.text


@dataclass
class Asked:
    """Asks an endpoint, within its budget, and never twice for the same; `keep` says what of a reply is kept.

    `name` is that of the reward, `prompt` and `options` are what sets this judge apart from others in the same file.
    """

    name: str
    endpoint: Endpoint
    prompt: str
    options: Mapping[str, Any]
    kept: Kept
    max_calls: int | None = None
    max_tokens: int | None = None
    deadline: float | None = None
    keep: Callable[[Reply], str] = text_of
    by: str = field(init=False)

    def __post_init__(self) -> None:
        who = [self.endpoint.url, self.endpoint.model, self.prompt, dict(self.options)]
        self.by = _hash(json.dumps(who, sort_keys=True))

    async def replies(self, texts: Sequence[str], again: int = 1) -> list[Said]:
        """What is said to each text; `again` times, the replies to one text side by side, where a judge is asked anew.

        Raises UserError if no question whatever can be answered, and none was.
        """
        times = [(text, time) for text in texts for time in range(again)]
        keys = [_hash(f"{self.by}\n{text}" + (f"\n{time}" if time else "")) for text, time in times]
        new = {key: text for key, (text, _) in zip(keys, times, strict=True) if key not in self.kept.replies}
        why = await self._ask(new) if new else {}
        return [Said(self.kept.replies.get(key), why.get(key, "")) for key in keys]

    async def _ask(self, new: Mapping[str, str]) -> dict[str, str]:
        """Asks and keeps the replies; says why for those that were not answered."""
        why: dict[str, str] = {}
        slots = asyncio.Semaphore(self.endpoint.concurrency)

        async def one(chat: Chat, key: str, text: str) -> None:
            while its := self.kept.asking.get(key):  # another reward asks the same; it may be given up
                await asyncio.wait([its])
            if key in self.kept.replies:
                return
            self.kept.asking[key] = tasks[key]
            try:
                async with slots:
                    await asked(chat, key, text)
            finally:
                del self.kept.asking[key]

        async def asked(chat: Chat, key: str, text: str) -> None:
            if spent := self._spent():
                why[key] = spent
                return
            self.kept.under_way[self.by] += 1
            try:
                reply = await chat.ask([{"role": "user", "content": text}], **self.options)
            except Unanswered as error:
                if error.hopeless and not self.kept.calls[self.by]:
                    raise UserError(f"{self.name}: {error}") from error
                why[key] = str(error)
            else:
                tokens = reply.prompt_tokens + reply.completion_tokens
                self.kept.add(self.by, key, self.keep(reply), tokens)
            finally:
                self.kept.under_way[self.by] -= 1

        tasks: dict[str, asyncio.Task[None]] = {}
        async with Chat(self.endpoint) as chat:
            tasks |= {key: asyncio.create_task(one(chat, key, text)) for key, text in new.items()}
            try:
                await asyncio.wait(tasks.values(), timeout=self.deadline, return_when=asyncio.FIRST_EXCEPTION)
                for task in tasks.values():
                    if task.done():
                        task.result()
            finally:
                for task in tasks.values():
                    task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)
        late = f"no score within {self.deadline} s"
        return {key: why.get(key, late) for key in new if key not in self.kept.replies}

    def _spent(self) -> str:
        """Why nothing more may be asked; empty if it may."""
        if self.max_calls is not None and self.kept.calls[self.by] + self.kept.under_way[self.by] >= self.max_calls:
            return f"its budget of {self.max_calls} calls is used up"
        if self.max_tokens is not None and self.kept.tokens[self.by] >= self.max_tokens:
            return f"its budget of {self.max_tokens} tokens is used up"
        return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
