"""`manyminds collect` as a user meets it: what it prints, how it ends, and that a kill costs what was in flight."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from chat_server import ChatServer, Fault, serving
from manyminds.cli import app
from manyminds.durable import read_jsonl

pytest.importorskip("openai")

KEY = "sk-secret-7d1f0a"


def answer(body: dict[str, Any]) -> str:
    return f"I am {body['messages'][0]['content']}\n#### {len(body['messages'][-1]['content'])}"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(answer=answer) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and its questions, half of them in the warm-up, to work in."""
    questions = [{"id": f"q{i:02}", "question": f"How long is {'x' * i}?", "answer": str(13 + i)} for i in range(40)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    shares = {"warmup": 0.5, "train": 0.3, "validation": 0.1, "test": 0.1}
    files = {"questions": "questions.jsonl", "experts_file": "experts.jsonl"}
    recipe = {
        "name": "t",
        "model": "tiny",
        "task": {"name": "jsonl", **files, "shares": shares},
        "experts": [{"name": "ada", "system": "Ada"}, {"name": "bob", "system": "Bob"}],
        "method": {"name": "meml_grpo", "hard_coefficient": 0},
        "collect": {"n": 2, "teacher": {"url": server.url, "model": "big", "concurrency": 4, "retries": 0}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["collect", "recipe.yaml", *arguments], catch_exceptions=False)


def test_a_kill_costs_what_was_in_flight(place: Path, server: ChatServer) -> None:
    server.delay = 0.03
    whole = run("--out", "whole.jsonl")
    assert whole.exit_code == 0, whole.output
    server.requests.clear()
    command = [sys.executable, "-m", "manyminds", "collect", "recipe.yaml"]
    file = place / "experts.answers.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=place) as going:
        while going.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 15):
            time.sleep(0.01)
        going.kill()
        assert going.wait() == -9, going.stderr.read() if going.stderr else ""
    time.sleep(0.1)  # what was in flight arrives at the server
    with file.open("ab") as torn:
        torn.write(b'{"id": "q00", "expert": "ad')
    kept = file.read_bytes().count(b"\n")
    assert 15 <= kept < 80
    assert not (place / "experts.jsonl").exists()
    done = run()
    assert done.exit_code == 0, done.output
    times = Counter((b["messages"][0]["content"], b["messages"][1]["content"]) for b in server.requests)
    assert len(times) == 40
    assert 80 <= times.total() <= 80 + 4  # nothing but what was in flight is asked twice
    assert f"{kept:,} of 80 answers are there already; asking for {80 - kept:,}" in done.stderr
    assert sorted(map(str, read_jsonl(place / "experts.jsonl"))) == sorted(map(str, read_jsonl(place / "whole.jsonl")))
    assert len(read_jsonl(file)) == 80


def test_what_it_prints(place: Path) -> None:
    done = run()
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    # 20 questions, two answers each, all right; "I am Ada" and "#### 17" are five words, the fake server's tokens.
    assert ["ada", "20", "(100", "%)", "40", "100", "%", "280", "+", "200"] in lines
    assert ["oracle", "20", "(100", "%)"] in lines
    assert "\nexperts.jsonl has 80 worked answers, 80 of them right; 80 were asked for in " in done.stdout
    assert done.stdout.endswith("\nNext: `manyminds warmup recipe.yaml`.\n")
    assert done.stderr.startswith("note: big: all its answers to a question are the same, so it does not sample;")


def test_as_json(place: Path) -> None:
    found = json.loads(run("--json").stdout)
    assert (found["out"], found["rows"], found["oracle"], found["unanswered"]) == ("experts.jsonl", 80, 20, [])
    assert [one["covered"] for one in found["experts"]] == [20, 20]


def test_missing_answers_are_listed_and_the_exit_code_says_so(place: Path, server: ChatServer) -> None:
    server.faults = [Fault(), Fault(422), Fault(422)]
    done = run("collect.teacher.concurrency=1")
    assert done.exit_code == 3
    assert "\n2 answers are missing (2 status 422); the same command asks for them again.\n" in done.stdout
    assert f"  big at {server.url} does not answer: status 422" in done.stdout
    assert run().exit_code == 0


def test_a_dry_run_asks_nothing_and_writes_nothing(place: Path, server: ChatServer) -> None:
    before = sorted(place.iterdir())
    done = run("--dry-run", "--out", "new/mine.jsonl")
    assert done.exit_code == 0
    assert '[{"role": "system", "content": "Bob"}, {"role": "user", "content": "How long is ' in done.stdout
    assert f"  40 of 40  ada, by big at {server.url}" in done.stdout
    assert (server.requests, sorted(place.iterdir())) == ([], before)
    assert json.loads(run("--dry-run", "--json").stdout)["experts"]["ada"] == {
        "model": "big",
        "wanted": 40,
        "missing": 40,
    }


def test_what_is_doubtful_is_told_before_anything_is_asked(place: Path, server: ChatServer) -> None:
    rows = [{"question": f"How many{'?' * i}", "answer": f"7 and {i} more are\n{i + 7}"} for i in range(1, 41)]
    (place / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes = json.loads(run("--dry-run", "--json").stdout)["notes"]
    assert notes
    assert f"note: {notes[0]}\n" in run("--dry-run").stdout
    server.faults = [Fault(401)]  # nothing comes of it, and the note stands before that
    assert run().stderr.startswith(f"note: {notes[0]}\n")


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_the_key_is_nowhere(place: Path, server: ChatServer, caplog: pytest.LogCaptureFixture, status: int) -> None:
    caplog.set_level(logging.DEBUG)
    if status != 200:
        server.fault = Fault(status, {"Retry-After": "900"}, json.dumps({"error": {"message": KEY}}).encode())
    done = run("collect.n=1")
    assert done.exit_code == (0 if status == 200 else 2)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    written = [path for path in place.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert (written, KEY in done.output, KEY in caplog.text) == ([], False, False)
    assert "HTTP" in caplog.text  # the client's own log was heard
