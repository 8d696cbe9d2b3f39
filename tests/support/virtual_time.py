"""An event loop whose clock jumps whenever nobody has anything to do.

A test of a ten-minute back-off takes milliseconds, and always the same ones. Timers fire in their
order. Not for real sockets: while they are slow, the clock would run away.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")

#: The clock does not begin at 0, so that a forgotten ``if not when`` shows.
EPOCH = 1000.0


class StandStill(RuntimeError):
    """All tasks wait for something that will never come, or time has run past its limit."""


class _Selector:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            # No timer at all: only a thread or a socket can still bring something, in real time.
            ready = self._real.select(5)
            if not ready:
                raise StandStill(self._loop.describe("everything waits, nothing is scheduled"))
            return ready
        self._loop.jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self, limit_s: float = 1e7) -> None:
        self._virtual = EPOCH
        self._limit = EPOCH + limit_s
        super().__init__(_Selector(self))  # type: ignore[arg-type]

    def time(self) -> float:
        return self._virtual

    def jump(self, seconds: float) -> None:
        """Let so many seconds pass. In a test this simulates a stopped process (SIGSTOP): timers
        that became due fire late, all at once."""
        self._virtual += seconds
        if self._virtual > self._limit:
            raise StandStill(self.describe(f"virtual time ran past {self._limit - EPOCH:.0f} s"))

    def describe(self, why: str) -> str:
        tasks = "".join(f"\n  {task!r}" for task in asyncio.all_tasks(self))
        return f"{why}; tasks:{tasks}"


def run(main: Coroutine[Any, Any, R], *, limit_s: float = 1e7) -> R:
    """``asyncio.run`` with a virtual clock; fails when more than ``limit_s`` virtual seconds pass."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(limit_s)) as runner:
        return runner.run(main)


def freeze(seconds: float) -> None:
    """Stop the whole process for so long, as SIGSTOP does: nothing runs, only the clock moves."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.jump(seconds)
