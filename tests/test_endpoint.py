"""The chat client against a server that fails in every way: how often it asks, how long it waits, what it says."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from typing import Any

import pytest

from chat_server import ChatServer, Fault, completion, serving
from manyminds.endpoint import Chat, Endpoint, Reply, Unanswered, check_options
from manyminds.errors import UserError

anyio = pytest.importorskip("anyio")
pytest.importorskip("openai")

KEY = "sk-secret-7d1f0a"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client and we would have waited before asking again; nobody waits."""
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(anyio, "sleep", note)  # the official client's
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return waited


Outcome = Reply | Unanswered


def asked(server: ChatServer, waited: list[float] | None = None, n: int = 1, **options: Any) -> list[Outcome]:
    """The outcome of `n` questions at once; `options` are the endpoint's."""

    async def note(seconds: float) -> None:
        (waited if waited is not None else []).append(seconds)

    async def run() -> Any:
        endpoint = Endpoint(**{"url": server.url, "model": "fake", "timeout": 5.0, **options})
        async with Chat(endpoint, sleep=note) as chat:
            questions = [chat.ask([{"role": "user", "content": f"q{i}"}], temperature=0.5) for i in range(n)]
            return await asyncio.gather(*questions, return_exceptions=True)

    return asyncio.run(run())


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_reply_with_its_tokens_and_the_key_where_it_belongs() -> None:
    with serving() as server:
        assert asked(server) == [Reply("echo q0", "stop", 7, 2)]
    sent = {"model": "fake", "messages": [{"role": "user", "content": "q0"}], "temperature": 0.5}
    assert server.requests == [sent]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


MENDED = {
    "429": Fault(429, body=body({"error": {"message": "slow down"}})),
    "500": Fault(500),
    "503, not JSON": Fault(503, body=b"<html>"),
    "connection reset": Fault(reset=True),
    "body cut": Fault(cut=True),
    "malformed JSON": Fault(body=b'{"choices": [{"mess'),
    "a page": Fault(body=b"<html>", headers={"Content-Type": "text/html"}),
    "an error with status 200": Fault(body=body({"error": {"message": "overloaded", "code": 502}})),
    "no choices": Fault(body=body({**completion("x"), "choices": []})),
    "null choices": Fault(body=body({**completion("x"), "choices": None})),
    "null content": Fault(body=body(completion(None))),
    "null": Fault(body=b"null"),
    "a list": Fault(body=b"[]"),
}


@pytest.mark.parametrize("fault", MENDED.values(), ids=MENDED)
def test_what_may_pass_is_asked_again(fault: Fault, pauses: list[float]) -> None:
    with serving(faults=[fault, fault]) as server:
        (reply,) = asked(server, pauses)
    assert isinstance(reply, Reply), reply
    assert reply.text == "echo q0"
    assert len(server.requests) == 3
    assert [round(2 * pause) / 2 for pause in pauses] == [0.5, 1.0]  # the client takes off up to a quarter


@pytest.mark.parametrize("fault", MENDED.values(), ids=MENDED)
def test_retries_are_counted_whatever_went_wrong(fault: Fault, pauses: list[float]) -> None:
    with serving(fault=fault) as server:
        (error,) = asked(server, pauses, retries=3)
    assert isinstance(error, Unanswered)
    assert len(server.requests) == 4
    assert len(pauses) == 3
    assert str(error).startswith(f"fake at {server.url} does not answer: ")


def test_failures_of_every_kind_share_the_retries() -> None:
    mixed = [MENDED["429"], MENDED["no choices"], MENDED["500"], MENDED["malformed JSON"], MENDED["connection reset"]]
    with serving(faults=list(mixed)) as server:
        (reply,) = asked(server, retries=5)
    assert isinstance(reply, Reply)
    assert len(server.requests) == 6
    with serving(faults=list(mixed)) as server:
        (error,) = asked(server, retries=4)
    assert isinstance(error, Unanswered)
    assert len(server.requests) == 5


def test_the_server_says_how_long_to_wait(pauses: list[float]) -> None:
    with serving(faults=[Fault(429, {"Retry-After": "7"}), Fault(503, {"Retry-After": "3"})]) as server:
        asked(server)
    assert pauses == [7.0, 3.0]


def test_too_long_a_wait_is_not_waited_for(pauses: list[float]) -> None:
    with serving(fault=Fault(429, {"Retry-After": "3600"})) as server:
        (error,) = asked(server)
    assert isinstance(error, Unanswered)
    assert (len(server.requests), pauses, error.cause) == (1, [], "status 429")


def test_a_time_out_is_asked_again() -> None:
    with serving(faults=[Fault(sleep=0.5)]) as server:
        (reply,) = asked(server, timeout=0.1)
    assert isinstance(reply, Reply)
    assert len(server.requests) == 2
    with serving(fault=Fault(sleep=0.5)) as server:
        (error,) = asked(server, timeout=0.1, retries=1)
    assert isinstance(error, Unanswered)
    assert (error.cause, error.hopeless) == ("time-out", False)
    assert "no reply within 0.1 s" in str(error)


REFUSED = {
    400: ("", True),
    401: ("the key was refused", True),
    402: ("the account has no credit", True),
    403: ("the key may not use this model", True),
    404: ("there is no such model or address", True),
    422: ("", True),
}


@pytest.mark.parametrize("status", REFUSED)
def test_what_no_retry_mends_ends_at_once_in_one_sentence(status: int, pauses: list[float]) -> None:
    said = body({"error": {"message": f"no good: {KEY}", "code": None}})
    with serving(fault=Fault(status, body=said)) as server:
        (error,) = asked(server)
    assert isinstance(error, Unanswered)
    why, hopeless = REFUSED[status]
    assert (len(server.requests), pauses, error.hopeless) == (1, [], hopeless)
    assert why in str(error)
    assert "no good" in str(error)
    assert error.cause == f"status {status}"
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (body({"error": {"message": "too long"}}), " (too long)"),
        (body({"detail": "pinned to another model"}), " (pinned to another model)"),
        (b"<p>Bad\nGateway", " (<p>Bad Gateway)"),
        (b"[1]", ""),
        (b"", ""),
    ],
)
def test_a_refusal_says_what_the_server_says(sent: bytes, told: str) -> None:
    with serving(fault=Fault(400, body=sent)) as server:
        (error,) = asked(server)
    assert str(error) == f"fake at {server.url} does not answer: status 400{told}"


def test_a_question_that_is_refused_after_others_were_answered_says_nothing_of_the_next() -> None:
    with serving(faults=[Fault(), Fault(400)]) as server:
        answers = asked(server, n=3, concurrency=1)
    assert [type(a) for a in answers] == [Reply, Unanswered, Reply]
    assert isinstance(answers[1], Unanswered)
    assert not answers[1].hopeless


def test_a_spent_quota_is_hopeless_although_its_status_says_later() -> None:
    spent = body({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
    with serving(fault=Fault(429, body=spent)) as server:
        (error,) = asked(server, retries=1)
    assert isinstance(error, Unanswered)
    assert error.hopeless


def test_nobody_listens() -> None:
    with serving() as server:
        pass
    (error,) = asked(server, retries=2)
    assert isinstance(error, Unanswered)
    assert (error.cause, error.hopeless) == ("no connection", True)


def test_without_a_key_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(fault=Fault(401)) as server:
        (error,) = asked(server, key_env="MY_KEY")
    assert "the environment variable MY_KEY, from which the key is read, is not set" in str(error)
    with serving() as server:  # a server of one's own asks for none
        (reply,) = asked(server, key_env="MY_KEY")
    assert isinstance(reply, Reply)


@pytest.mark.parametrize("fault", [*MENDED.values(), Fault(401), Fault(400)])
def test_the_key_is_in_nothing_that_is_said(
    fault: Fault, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    echoed = fault if fault.body else Fault(**{**vars(fault), "body": body({"error": {"message": KEY}})})
    with serving(fault=echoed) as server:
        endpoint = Endpoint(server.url, "fake")
        chat = Chat(endpoint)
        (error,) = asked(server, retries=1)
    assert server.headers[0]["authorization"].endswith(KEY)
    printed = capfd.readouterr()
    said = [str(error), repr(error), repr(endpoint), repr(chat), repr(vars(chat)), caplog.text, *printed]
    assert [text for text in said if KEY in text] == []


@pytest.mark.parametrize("blank", ["\n", "\r\n", " "])
def test_a_key_from_a_file_ends_where_it_ends(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + blank)
    with serving() as server:
        assert isinstance(asked(server)[0], Reply)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    refused = Fault(401, body=body({"error": {"message": f"not {KEY}"}}))
    with serving(fault=refused) as server:
        assert "not [key]" in str(asked(server)[0])


@pytest.mark.parametrize("key", [f"{KEY}\n{KEY}", f"{KEY}\N{BULLET}"])
def test_what_is_no_key_is_refused_and_not_printed(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving() as server, pytest.raises(UserError, match="OPENAI_API_KEY holds characters that no key has") as told:
        asked(server)
    assert KEY not in str(told.value)
    assert server.requests == []


def test_a_long_reply_that_repeats_the_key_is_cut_after_it_is_hidden() -> None:
    echoed = Fault(200, body=body({"error": {"message": "x" * 180 + KEY + "y" * 400}}))
    with serving(fault=echoed) as server:
        (error,) = asked(server, retries=0)
    assert KEY[:8] not in str(error)


def test_options_that_the_client_does_not_know_reach_the_server() -> None:
    async def run(url: str) -> Reply:
        async with Chat(Endpoint(url, "fake")) as chat:
            options = {"top_k": 5, "temperature": 0.5, "extra_body": {"min_p": 0.1}}
            return await chat.ask([{"role": "user", "content": "q"}], **options)

    with serving() as server:
        asyncio.run(run(server.url))
    sent = server.requests[0]
    assert (sent["top_k"], sent["min_p"], sent["temperature"]) == (5, 0.1, 0.5)


@pytest.mark.parametrize("name", ["model", "messages", "n", "stream", "api_key", "extra_headers"])
def test_options_that_may_not_go_along(name: str) -> None:
    with pytest.raises(UserError, match=f"options: may not hold {name}"):
        check_options({name: 1})


def test_no_more_in_flight_than_allowed() -> None:
    with serving(delay=0.05) as server:
        asked(server, n=8, concurrency=3)
    assert server.most_at_once == 3


def test_requests_are_spaced_out_retries_included() -> None:
    waited: list[float] = []
    with serving(faults=[Fault(500)]) as server:
        asked(server, waited, n=3, per_minute=60)
    # Nobody really waited, so the n-th request is told to wait n seconds.
    assert [round(pause) for pause in waited] == [0, 1, 2, 3]


def test_spacing_is_real() -> None:
    async def run(url: str) -> None:
        async with Chat(Endpoint(url, "fake", per_minute=1200)) as chat:
            await asyncio.gather(*(chat.ask([{"role": "user", "content": "q"}]) for _ in range(5)))

    with serving() as server:
        started = time.monotonic()
        asyncio.run(run(server.url))
    assert time.monotonic() - started >= 0.19
    assert len(server.times) == 5


def test_the_first_token_and_its_rivals() -> None:
    top = [{"token": "Yes", "logprob": -0.1, "bytes": None}, {"token": "No", "logprob": -2.5, "bytes": None}]
    logprobs = {"content": [{"token": "Yes", "logprob": -0.1, "bytes": None, "top_logprobs": top}]}
    with serving(fault=Fault(body=body(completion("Yes", logprobs=logprobs)))) as server:
        (reply,) = asked(server)
    assert isinstance(reply, Reply)
    assert reply.logprobs == {"Yes": -0.1, "No": -2.5}


NO_COUNTS: list[Any] = ["abc", [], 5, None, *({"prompt_tokens": n} for n in ("abc", [1], {"a": 1}, -3, math.inf, None))]


@pytest.mark.parametrize("usage", NO_COUNTS, ids=repr)
def test_counts_that_are_none_are_zero(usage: Any) -> None:
    with serving(fault=Fault(body=body({**completion("Yes"), "usage": usage}))) as server:
        assert asked(server, retries=0) == [Reply("Yes", "stop", 0, 0)]


NO_TOPS: list[Any] = [5, "ab", [], [None], [{"logprob": -1}], [{"token": "a"}], [{"token": "a", "logprob": "x"}]]
NO_TOPS += [[{"token": token, "logprob": -1}] for token in (None, ["a"], 1)]
NO_CONTENTS: list[Any] = ["abc", 5, {"a": 1}, [], [None], [{}], *([{"top_logprobs": top}] for top in NO_TOPS)]


@pytest.mark.parametrize("logprobs", ["x", 5, [], *({"content": content} for content in NO_CONTENTS)], ids=repr)
def test_log_probs_that_are_malformed_are_none(logprobs: Any) -> None:
    with serving(fault=Fault(body=body(completion("Yes", logprobs=logprobs)))) as server:
        assert asked(server, retries=0) == [Reply("Yes", "stop", 7, 1)]


def test_half_a_character_can_be_written_to_a_file() -> None:
    with serving(fault=Fault(body=body(completion("so \ud83d")))) as server:
        assert asked(server) == [Reply("so ?", "stop", 7, 2)]


def test_a_model_that_thought_until_the_end_said_nothing() -> None:
    with serving(fault=Fault(body=body(completion(None, "length")))) as server:
        assert asked(server) == [Reply("", "length", 7, 0)]


@pytest.mark.parametrize("url", ["", "localhost:8000", "https://", "ftp://x/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"is not an address; it must be like https://"):
        Endpoint(url, "m")


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="keys come from the environment only") as error:
        Endpoint("https://me:hunter2@api.example.com/v1", "m")
    assert "hunter2" not in str(error.value)


def test_a_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with serving() as server, pytest.raises(UserError, match=r'pip install "manyminds\[endpoint\]"'):
        asked(server)
