"""A verifier of one word behind an address: what it is asked, and what its log-probs and its votes are worth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from chat_server import ChatServer, Fault, serving
from judges import AFTER, answers, judge_of, two_of, values
from manyminds.errors import UserError
from manyminds.rewards import Judge
from manyminds.rewards.generative_verifier import KEPT

pytest.importorskip("openai")


def logprobs(chances: Mapping[str, float]) -> dict[str, Any]:
    """The first token's, as the API writes them."""
    top = [{"token": token, "logprob": math.log(p) if p else -math.inf, "bytes": None} for token, p in chances.items()]
    return {"logprobs": {"content": [{**top[0], "top_logprobs": top}], "refusal": None}}


def by_word(body: dict[str, Any]) -> dict[str, Any]:
    """The distribution of `judges.AFTER` after the last word."""
    return logprobs(AFTER[body["messages"][-1]["content"].split()[-1]])


def there(server: ChatServer, folder: Path | None = None, **options: Any) -> Judge:
    return judge_of("fake", folder, url=server.url, retries=0, **options)


@pytest.mark.parametrize(("mode", "due"), [("soft", [0.7, 0.4, 0.0]), ("binary", [1.0, 0.0, 0.0])])
def test_the_reward_is_what_the_first_token_says(mode: str, due: list[float]) -> None:
    with serving(answer=lambda body: "x", choice=by_word) as server:
        its = there(server, mode=mode)
        assert values(its, "a\nright", "wrong", "strange", "right") == pytest.approx([*due, due[0]])
        assert its.metrics["rewards/generative_verifier/unreadable"] == 0.25
    assert len(server.requests) == 3
    options = {name: server.requests[0][name] for name in ("temperature", "max_tokens", "logprobs", "top_logprobs")}
    assert options == {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": 5}


@pytest.mark.parametrize(
    ("chances", "value"),
    [
        ({" YES": 0.5, "YES": 0.25, "NO": 0.2}, 0.75),  # with and without a blank they are one word
        ({"Y": 0.8, "N": 0.1}, 0.8),  # a part of the word
        ({"N": 0.75, "Y": 0.2}, 0.25),
        ({"YES.": 0.6, "NO": 0.4}, 0.6),
        ({"NOT": 0.6, "YES": 0.4}, 0.0),
        ({"yes": 0.9, "YES": 0.1}, 0.0),
        ({"": 0.9, "YES": 0.1}, 0.0),
        ({"YES": 1.0, "NO": 0.0}, 1.0),
    ],
)
def test_which_tokens_are_a_word(chances: dict[str, float], value: float) -> None:
    with serving(answer=lambda body: "x", choice=lambda body: logprobs(chances)) as server:
        assert values(there(server), "right") == pytest.approx([value])


def test_a_reply_without_log_probs_is_no_judgment() -> None:
    with serving(answer=lambda body: "YES") as server:
        its = there(server)
        assert values(its, "right") == [None]
    assert its.quarantine[0]["error"] == (
        "its reply has no log-probs of the first token; the endpoint must give `top_logprobs`"
    )


def test_what_it_said_is_kept(tmp_path: Path) -> None:
    with serving(answer=lambda body: "YES", choice=by_word) as server:
        first = values(there(server, tmp_path), "right", "wrong")
        assert values(there(server, tmp_path, mode="binary"), "right", "wrong") == [1.0, 0.0]
        assert values(there(server, tmp_path), "wrong", "right") == [first[1], first[0]]
        assert len(server.requests) == 2
        assert values(there(server, tmp_path, max_calls=2), "strange") == [None]
    assert len((tmp_path / KEPT).read_text(encoding="utf-8").splitlines()) == 2


def test_two_rewards_pay_once_and_share_a_budget(tmp_path: Path) -> None:
    with serving(answer=lambda body: "YES", choice=by_word) as server:
        both = two_of("fake", tmp_path, url=server.url, retries=0, max_calls=2)
        parts = [one.parts for one in both(answers("right", "wrong", "strange"))]
        assert len(server.requests) == 2
        assert sum(one["sure"] is None for one in parts) == 1
        again = two_of("fake", tmp_path, url=server.url, retries=0, max_calls=2)
        assert [one.parts for one in again(answers("right", "wrong", "strange"))] == parts
        assert len(server.requests) == 2
    assert len((tmp_path / KEPT).read_text(encoding="utf-8").splitlines()) == 2


def test_what_is_being_asked_is_not_asked_beside_it(tmp_path: Path) -> None:
    with serving(answer=lambda body: "YES", choice=by_word, delay=0.3) as server:
        one, other = there(server, tmp_path), there(server, tmp_path)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda its: values(its, "right"), (one, other)))
        assert len(server.requests) == 1
    assert found == [[pytest.approx(0.7)]] * 2


def test_a_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    with serving(answer=lambda body: "YES", choice=by_word) as server:
        first = there(server, tmp_path)
        assert values(first, "right") == [pytest.approx(0.7)]
        (tmp_path / KEPT).unlink()
        assert values(there(server, tmp_path), "right") == [pytest.approx(0.7)]
        assert len(server.requests) == 2


def test_without_a_run_it_says_that_nothing_is_kept(tmp_path: Path) -> None:
    with serving() as server:
        assert "keeps its replies in no file" in there(server).rewards[0].note
        assert there(server, tmp_path).rewards[0].note == ""


def test_a_judge_that_can_never_answer_ends_the_run() -> None:
    refusal = b'{"error": {"message": "no", "code": "x"}}'
    told = r"generative_verifier: fake at .* status 404, there is no such model"
    with serving(fault=Fault(status=404, body=refusal)) as server, pytest.raises(UserError, match=told):
        values(there(server), "right")


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (["YES", "NO", "NO"], 0.0),
        (["YES", "YES", "no idea"], 1.0),
        (["YES", "NO", "NO", "YES"], 1.0),  # half is enough
        (["NO", "what", "YES.", "Y"], 1.0),
        (["what", "ever", "NO", "who"], 0.0),
    ],
)
def test_a_majority_of_votes(said: list[str], value: float, tmp_path: Path) -> None:
    replies = cycle(said)
    its = {"votes": len(said), "mode": "binary", "options": {"temperature": 1, "max_tokens": 2}}
    with serving(answer=lambda body: next(replies)) as server:
        assert values(there(server, tmp_path, **its), "right", "right") == [value] * 2
        assert values(there(server, tmp_path, **its), "right") == [value]
    assert len(server.requests) == len(said)
    assert "logprobs" not in server.requests[0]
    judged = [json.loads(line) for line in (tmp_path / "judgments.jsonl").read_text(encoding="utf-8").splitlines()]
    share = sum(one.startswith("Y") for one in said) / len(said)
    assert {row["probability"] for row in judged if row["label"] == "YES"} <= {share}
