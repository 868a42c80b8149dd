"""`collect` from a real OpenAI-compatible server with the shipped small model: transformers' own."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyminds.config import load_recipe
from manyminds.experts.collecting import collect

ROOT = Path(__file__).parents[2]
SERVE = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; sys.exit(main())"
NEEDED = ("openai", "fastapi", "uvicorn")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, NEEDED)), reason="needs transformers[serving] and the endpoint extra"
    ),
]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(ROOT)
    model = load_recipe("examples/sums.yaml").model
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        SERVE,
        "serve",
        model,
        "--device",
        "cpu",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            for _ in range(240):
                time.sleep(0.5)
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (tmp_path / "log").read_text()
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(30)


def test_a_real_server_says_what_the_model_says_here(url: str, tmp_path: Path) -> None:
    size = ["collect.n=4", "collect.questions=20"]
    sampling = '{generation_config: "{\\"do_sample\\": true, \\"eos_token_id\\": 2}"}'
    served = [
        f"collect.teacher.url={url}",
        f"collect.teacher.model={load_recipe('examples/sums.yaml').model}",
        f"collect.teacher.options={{extra_body: {sampling}}}",
    ]
    there = collect(load_recipe("examples/sums.yaml", [*size, *served]), tmp_path / "there.jsonl")
    here = collect(load_recipe("examples/sums.yaml", size), tmp_path / "here.jsonl")
    assert there.unanswered == ()
    for one, other in zip(there.experts, here.experts, strict=True):
        assert one.answers == other.answers == 80
        assert one.prompt_tokens == other.prompt_tokens  # both render the chat template in the same way
        # Two samples of 80 answers: their shares differ by less than four standard errors.
        assert abs((one.accuracy or 0) - (other.accuracy or 0)) < 4 * (2 * 0.25 / 80) ** 0.5
        assert 0.8 < one.completion_tokens / other.completion_tokens < 1.25
