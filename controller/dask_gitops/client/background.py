"""One thread with one event loop for all that this process says to Kubernetes.

So a notebook that blocks its own loop stops no forward, and calls with and without ``await`` are
one code. The thread is a daemon: it keeps no interpreter alive. A forked child gets its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")
#: So long an interrupted call may clean up before the interrupt goes on.
FAREWELL_S = 10.0


class Background:
    """The loop of this process; see `background`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="dask-gitops", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begin it. Whoever waits for nothing hears of its failure from the loop's handler."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Its result, waited for. An interrupt cancels it, and waits until it has cleaned up.

        :raises TimeoutError: it took longer; it is cancelled.
        :raises RuntimeError: called from the loop itself, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a call that waits was made in the thread it waits for")
        call = _Call(work)
        try:  # Ctrl-C may come at any moment, also between these words
            return self.submit(call.run()).result(timeout_s)
        except concurrent.futures.CancelledError:
            raise RuntimeError("the call was cancelled") from None
        except BaseException:
            self.loop.call_soon_threadsafe(call.give_up)
            call.ended.wait(FAREWELL_S)
            raise

    async def acall(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result, awaited in whatever loop; who is cancelled cancels it."""
        if asyncio.get_running_loop() is self.loop:
            return await work
        return await asyncio.wrap_future(self.submit(work))

    def stop(self) -> None:
        """End all its tasks, the loop and the thread. For tests: else it lives as long as the process."""
        with contextlib.suppress(concurrent.futures.CancelledError):
            self.submit(_end_all()).result(FAREWELL_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(FAREWELL_S)
        self.loop.close()


class _Call(Generic[T]):
    """Work that can be given up before it has begun, too."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.ended = threading.Event()
        self._work = work
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False

    async def run(self) -> T:
        self._task = asyncio.current_task()
        try:
            if self._given_up:
                self._work.close()
                raise asyncio.CancelledError
            return await self._work
        finally:
            self.ended.set()

    def give_up(self) -> None:
        """In the loop's thread."""
        self._given_up = True
        if self._task is None:
            self.ended.set()
        else:
            self._task.cancel()


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


_lock = threading.Lock()
_one: Background | None = None


def background() -> Background:
    """The process' own; its thread begins with the first call."""
    global _one
    with _lock:
        if _one is None:
            _one = Background()
        return _one


def forget() -> Background | None:
    """Let the next call begin a new one; what there was is returned."""
    global _one
    with _lock:
        before, _one = _one, None
    return before


def _after_fork() -> None:
    """The thread stayed in the parent, and so may have the lock."""
    global _lock, _one
    _lock, _one = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def first_of(work: Awaitable[None], trouble: Awaitable[Any]) -> None:
    """Do the work, unless trouble raises before."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(trouble)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[1].done() and not tasks[0].done():
            await tasks[1]
        await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
