"""Chat models behind an OpenAI-compatible address: asked politely, asked again where that helps, never more.

The official client sends, times out, and retries what HTTP says went wrong (429 with Retry-After, 408, 409, 5xx,
time-outs, dropped connections). Added here: replies that arrive whole and say nothing usable are asked again within
the same number of retries, requests are spaced out and capped, and every failure is one sentence without the key.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from manyminds.errors import UserError

Sleep = Callable[[float], Awaitable[None]]

HOPELESS = {
    401: "the key was refused",
    402: "the account has no credit",
    403: "the key may not use this model",
    404: "there is no such model or address",
}
"""Answers with one of these would be the same for every other question."""
PAUSE = 0.5
"""Seconds before a useless reply is asked for again; doubled each time, at most `LONGEST_PAUSE`."""
LONGEST_PAUSE = 8.0
NO_KEY = "none"
"""Sent where the environment holds no key: servers of one's own ask for none, but the client must send something."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a chat model answers: an OpenAI-compatible address such as https://api.openai.com/v1.

    The key is read from the environment variable `key_env`, and from nowhere else. `timeout` is in seconds; a
    question is asked at most 1 + `retries` times. At most `concurrency` requests are in flight, and at most
    `per_minute` are sent in a minute, evenly spaced.
    """

    url: str
    model: str
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 5
    concurrency: int = 8
    per_minute: int | None = None

    def __post_init__(self) -> None:
        """Raises UserError for an address that is none, or that holds a password."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(f"url: '{self.url}' is not an address; it must be like https://api.openai.com/v1")
        if parts.username or parts.password:
            raise UserError("url: holds a user or a password; keys come from the environment only, see `key_env`")

    @property
    def key(self) -> str:
        """The key in the environment, without blanks around it (a file's last line break); empty if there is none.

        Raises UserError for one that no header can hold; the client would print it.
        """
        key = os.environ.get(self.key_env, "").strip()
        if not (key.isascii() and (key.isprintable())):
            raise UserError(
                f"the environment variable {self.key_env} holds characters that no key has (a line break, or letters "
                "that are not ASCII); set it to the key alone"
            )
        return key


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `finish` is the endpoint's reason: "stop", "length" or another; tokens are 0 where it counts none.

    `logprobs`: the likeliest first tokens and their log-probs, if they were asked for (`logprobs=True,
    top_logprobs=20`) and given.
    """

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: Mapping[str, float] | None = None


class Unanswered(Exception):
    """A question that got no answer, and why, in one sentence.

    `cause` says it in a word or two, for counting. `hopeless`: no other question would get an answer either.
    """

    def __init__(self, sentence: str, cause: str, hopeless: bool = False) -> None:
        super().__init__(sentence)
        self.cause, self.hopeless = cause, hopeless


class Chat:
    """Asks one endpoint; an async context manager, to be used within one event loop.

    `requests` counts what was sent, retries included. Raises UserError on entering if the client is not installed.
    """

    def __init__(self, endpoint: Endpoint, *, sleep: Sleep = asyncio.sleep) -> None:
        self.endpoint, self.sleep = endpoint, sleep
        self.requests, self.answered = 0, 0
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._next = -math.inf

    async def __aenter__(self) -> Self:
        try:
            import openai
        except ImportError as error:
            raise UserError('asking an endpoint needs its client; pip install "manyminds[endpoint]"') from error
        its = self.endpoint
        self._client = openai.AsyncOpenAI(
            base_url=its.url,
            api_key=its.key or NO_KEY,
            timeout=its.timeout,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._wait_for_turn]}),
        )
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, at)

    async def ask(self, messages: Sequence[Mapping[str, str]], **options: Any) -> Reply:
        """The model's reply to these messages; `options` are the API's own (temperature, max_tokens, seed, …).

        Raises Unanswered once the retries are used up, or at once where no retry can help (400, 401, 403, 404, …).
        """
        async with self._slots:
            left, useless = self.endpoint.retries, 0
            while True:
                response = await self._send(messages, options, left)
                left -= response.retries_taken
                try:
                    reply = read(response.parse())
                except ValueError as error:
                    if left == 0:
                        raise self._unanswered(f"its reply is useless: {error}", "useless reply") from None
                    await self.sleep(min(PAUSE * 2**useless, LONGEST_PAUSE))
                    left, useless = left - 1, useless + 1
                else:
                    self.answered += 1
                    return reply

    async def _send(self, messages: Sequence[Mapping[str, str]], options: Mapping[str, Any], retries: int) -> Any:
        """The client's response with status 200, body unread. Raises Unanswered."""
        import openai

        create: Any = self._client.with_options(max_retries=retries).chat.completions.with_raw_response.create
        try:
            return await create(model=self.endpoint.model, messages=list(messages), **sendable(options))
        except openai.APIStatusError as error:
            raise self._refused(error.status_code, error.code, said(error.body)) from None
        except openai.APITimeoutError:
            raise self._unanswered(f"no reply within {self.endpoint.timeout:g} s", "time-out") from None
        except openai.APIConnectionError as error:
            why = f"{type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else error.message
            raise self._unanswered(f"the connection failed ({why})", "no connection", self.answered == 0) from None

    def _refused(self, status: int, code: str | None, message: str) -> Unanswered:
        """Why a status that is no success ends a question, and whether it ends all the others."""
        key = self.endpoint.key_env
        why = HOPELESS.get(status, "the account has no credit" if code == "insufficient_quota" else "")
        if status in (401, 403) and not self.endpoint.key:
            why = f"the environment variable {key}, from which the key is read, is not set"
        # A request that is wrong before any was right is wrong in what all requests have in common.
        wrong = 400 <= status < 500 and status not in (408, 409, 429)
        return self._unanswered(
            f"status {status}{f', {why}' if why else ''}{f' ({message})' if message else ''}",
            f"status {status}",
            bool(why) or (wrong and self.answered == 0),
        )

    def _unanswered(self, why: str, cause: str, hopeless: bool = False) -> Unanswered:
        text = " ".join(why.split())
        key = self.endpoint.key
        text = text.replace(key, "[key]") if key else text  # some servers repeat a key that they refuse
        short = text if len(text) <= 400 else f"{text[:400]} …"
        return Unanswered(f"{self.endpoint.model} at {self.endpoint.url} does not answer: {short}", cause, hopeless)

    async def _wait_for_turn(self, request: object) -> None:
        """Called by the client before every request, retries included."""
        self.requests += 1
        if self.endpoint.per_minute:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60 / self.endpoint.per_minute
            await self.sleep(turn - now)


def said(body: object) -> str:
    """The reason in the body of an error: `message` as OpenAI writes it, `detail` as FastAPI does, or the text."""
    if isinstance(body, Mapping):
        return str(body.get("message") or body.get("detail") or "")
    return body if isinstance(body, str) else ""


def check_options(options: Mapping[str, Any]) -> None:
    """Raises UserError for what may not go along with requests."""
    if secret := {"extra_headers", "api_key"} & options.keys():
        raise UserError(f"options: may not hold {min(secret)}: keys come from the environment only, see key_env")
    if ours := {"model", "messages", "n", "stream"} & options.keys():
        raise UserError(f"options: may not hold {min(ours)}, which is set for every request")


def sendable(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the client takes them: what it does not know (vLLM's top_k) goes into the body as it is."""
    from openai.resources.chat.completions import AsyncCompletions

    known = inspect.signature(AsyncCompletions.create).parameters
    more = {name: value for name, value in options.items() if name not in known}
    body = {**dict(options.get("extra_body") or {}), **more}
    its = {name: value for name, value in options.items() if name in known and name != "extra_body"}
    return its | ({"extra_body": body} if body else {})


def read(completion: Any) -> Reply:
    """What a chat completion says; what it counts beside its text may be malformed, and then counts as missing.

    Raises ValueError if it has no choice, or a choice without any text.
    """
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        trouble = getattr(completion, "error", None) or completion
        raise ValueError(f"it has no choices ({trouble})")
    choice = choices[0]
    text, finish = getattr(getattr(choice, "message", None), "content", None), getattr(choice, "finish_reason", None)
    if text is None and finish in ("length", "content_filter"):  # it thought until the end, or may not say it
        text = ""
    if not isinstance(text, str):
        raise ValueError(f"its choice has no text (finish_reason {finish})")
    usage = getattr(completion, "usage", None)
    counts = [_count(getattr(usage, name, 0)) for name in ("prompt_tokens", "completion_tokens")]
    # Half of a surrogate pair, which JSON can escape, would stand in no file.
    text = text.encode(errors="replace").decode()
    return Reply(text, str(finish or "stop"), counts[0], counts[1], first_logprobs(choice))


def _count(value: Any) -> int:
    """A number of tokens; 0 for whatever is none."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def first_logprobs(choice: Any) -> Mapping[str, float] | None:
    """The log-probs of the likeliest first tokens of a choice; None if it has none, or they are malformed."""
    try:
        found = {one.token: float(one.logprob) for one in choice.logprobs.content[0].top_logprobs}
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return found if found and all(isinstance(token, str) for token in found) else None
