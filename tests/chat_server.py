"""An OpenAI-compatible chat server in a thread, which fails in whatever way a test asks of it."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Messages = list[dict[str, str]]


def completion(text: str | None, finish: str = "stop", **choice: Any) -> dict[str, Any]:
    """A chat completion as the API writes it; its tokens are its words."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "fake",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": len((text or "").split()), "total_tokens": 0},
    }


@dataclass
class Fault:
    """One way of not answering. `cut` sends half of the body; `reset` drops the connection; `sleep` is in seconds."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    sleep: float = 0.0
    cut: bool = False
    reset: bool = False


@dataclass
class ChatServer:
    """Its `requests` are the bodies that came, in order; `faults` are used up first, `fault` is kept. `choice`: what
    stands beside the text of an answer, such as `logprobs`."""

    answer: Callable[[dict[str, Any]], str] = lambda body: f"echo {body['messages'][-1]['content']}"
    choice: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: {}
    faults: list[Fault] = field(default_factory=list)
    fault: Fault | None = None
    delay: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, handler: Handler) -> tuple[dict[str, Any], Fault | None]:
        """What this request asks, and how it shall fail."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.times.append(time.monotonic())
            self.requests.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            return body, self.faults.pop(0) if self.faults else self.fault


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def its(self) -> ChatServer:
        assert isinstance(self.server, Quiet)
        return self.server.its

    def do_POST(self) -> None:
        with self.its.lock:
            self.its.at_once += 1
            self.its.most_at_once = max(self.its.most_at_once, self.its.at_once)
        try:
            body, fault = self.its.next_fault(self)
            time.sleep(self.its.delay + (fault.sleep if fault else 0.0))
        finally:
            with self.its.lock:
                self.its.at_once -= 1
        if fault and fault.reset:
            # Lingering for no time makes closing a reset, not a polite end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        fine = json.dumps(completion(self.its.answer(body), **self.its.choice(body))).encode()
        data = fault.body if fault and fault.body is not None else fine
        self.send_response(fault.status if fault else 200)
        for name, value in {"Content-Type": "application/json", **(fault.headers if fault else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault and fault.cut else data)
        self.close_connection = bool(fault and fault.cut)

    def log_message(self, format: str, *args: Any) -> None: ...


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    its: ChatServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


@contextmanager
def serving(**its: Any) -> Iterator[ChatServer]:
    """A server on a free port of this machine, ended with the block."""
    server = ChatServer(**its)
    with Quiet(("127.0.0.1", 0), Handler) as http:
        http.its = server
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
