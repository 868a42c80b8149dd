"""Runs coroutines from code that is not asynchronous: on one event loop of this process, in a thread of its own.

The loop outlives a batch, because clients such as `httpx.AsyncClient` belong to the loop on which they were first used;
and it is not the caller's, so that training works inside a notebook, where a loop is running already.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import cache, partial
from typing import Any, TypeVar

T = TypeVar("T")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; also for partials and for objects with an `async def __call__`."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, or its exception. It is cancelled if the caller is interrupted."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def together(calls: Sequence[Callable[[], Awaitable[T]]], most: int) -> list[T]:
    """What all calls come to, in their order, at most `most` of them under way at once."""
    places = asyncio.Semaphore(most)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with places:
            return await call()

    return list(await asyncio.gather(*map(one, calls)))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="rewards", daemon=True).start()
    return loop
