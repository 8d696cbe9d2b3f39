"""Which keys want attention, and who gives it to them.

A key is processed by one task at a time; whatever is put meanwhile merges into one more turn after.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from .fairness import SHARE, Line

log = logging.getLogger(__name__)

#: The lane of the turn that runs here.
_lane: ContextVar[Hashable] = ContextVar("lane")
_OUTSIDE = object()

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Runs ``process(key)`` for every key that was put.

    Promises:

    - never two turns of one key at a time; at most ``workers`` turns in all, not counting those
      that stand `aside`
    - lanes take turns, and none holds all places: keys of one lane keep those of others waiting for
      no longer than one turn; within a lane first in, first out
    - a key put several times before its turn gets one turn; put during its turn, one more after
    - at most one timer per key; when a turn begins the timer is dropped: every turn says anew when
      it wants to be back
    - a turn that raises is repeated after a back-off that doubles (``base_s`` .. ``cap_s``, with
      jitter), or after ``retry_after`` seconds when the exception carries that and it is longer. A
      put from outside does not wait for the back-off, but one made during the failing turn does:
      a turn that disturbs itself and then fails must not run hot.

    Waiting costs nothing: no task and no timer runs for a key that is at rest.

    :param lane: whose key this is (a namespace); default: all are in one lane.
    :param on_turn: metrics hook, called after each turn with (key, seconds waited in line, seconds
        run, the exception or None); must not raise.
    :param quiet: exceptions that are logged in one line, without traceback.
    """

    def __init__(
        self,
        process: Callable[[K], Awaitable[None]],
        *,
        lane: Callable[[K], Hashable] | None = None,
        workers: int = 64,
        base_s: float = 0.5,
        cap_s: float = 30.0,
        on_turn: Callable[[K, float, float, BaseException | None], None] | None = None,
        quiet: tuple[type[BaseException], ...] = (),
        rng: random.Random | None = None,
    ) -> None:
        self._process = process
        self._lane = lane or (lambda key: None)
        self._base_s = base_s
        self._cap_s = cap_s
        self._on_turn = on_turn
        self._quiet = quiet
        self._rng = rng or random.Random()
        self._ready: Line[K] = Line(workers, math.inf if lane is None else SHARE)
        self._running: dict[K, tuple[asyncio.Task[None], float]] = {}
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._started = False
        self._stopped = False
        self._idle = asyncio.Event()
        self._idle.set()

    # Asking for a turn

    def put(self, key: K) -> None:
        """Process ``key`` as soon as possible."""
        if self._stopped:
            return
        self._cancel_timer(key)
        if key in self._running:
            self._again.add(key)
        else:
            self._ready.push(self._lane(key), key, asyncio.get_running_loop().time())
            self._pump()

    def put_after(self, key: K, seconds: float) -> None:
        """Process ``key`` in so many seconds, unless something sooner comes up."""
        if self._stopped or self._ready.has(self._lane(key), key) or key in self._again:
            return
        if seconds <= 0:
            self.put(key)
            return
        when = asyncio.get_running_loop().time() + seconds
        timer = self._timers.get(key)
        if timer is None or when < timer.when():
            self._set_timer(key, when)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For a turn that waits for somebody who may take long: meanwhile others have its place.

        It does not wait to come back, so there may be more than ``workers`` turns for a moment.
        """
        lane = _lane.get(_OUTSIDE)
        if lane is _OUTSIDE:  # nobody's place
            yield
            return
        self._ready.give_back(lane)
        self._pump()
        try:
            yield
        finally:
            self._ready.take(lane)

    # Life

    def start(self) -> None:
        """Begin to process; keys put before wait for this."""
        self._started = True
        self._pump()

    async def stop(self, grace_s: float = 10.0) -> None:
        """Begin no more turns, wait for the running ones, cancel those that take longer.

        What is waiting is dropped: it all comes back from the lists of the next process.
        """
        self._stopped = True
        for key in list(self._timers):
            self._cancel_timer(key)
        self._ready.clear()
        self._again.clear()
        self._failures.clear()
        tasks = [task for task, _ in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._running.clear()  # a task cancelled before its first step cannot do so itself
        self._settle()

    async def idle(self) -> None:
        """Wait until nothing is waiting in line or running (timers do not count)."""
        await self._idle.wait()

    # What metrics and probes ask

    @property
    def depth(self) -> int:
        """Keys waiting in line."""
        return self._ready.depth

    @property
    def running(self) -> int:
        """Keys being processed."""
        return len(self._running)

    @property
    def failing(self) -> int:
        """Keys whose last turn failed."""
        return len(self._failures)

    def oldest_age(self) -> float:
        """Seconds the one has waited that waits for longest; 0 when nobody waits."""
        since = self._ready.oldest()
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    def longest_run(self) -> float:
        """Seconds the longest present turn has taken so far; 0 when nothing runs."""
        for _, since in self._running.values():
            return asyncio.get_running_loop().time() - since
        return 0.0

    # The wheel

    def _pump(self) -> None:
        if not self._started or self._stopped:
            self._settle()
            return
        loop = asyncio.get_running_loop()
        while (found := self._ready.pop()) is not None:
            lane, key, since = found
            task = loop.create_task(self._turn(key, lane, since))
            self._running[key] = (task, loop.time())
        self._settle()

    def _settle(self) -> None:
        if self._ready.depth or self._running:
            self._idle.clear()
        else:
            self._idle.set()

    async def _turn(self, key: K, lane: Hashable, since: float) -> None:
        _lane.set(lane)
        loop = asyncio.get_running_loop()
        started = loop.time()
        # What was asked for until now is served by this turn: nothing has been looked at yet.
        self._again.discard(key)
        self._cancel_timer(key)
        failure: BaseException | None = None
        try:
            await self._process(key)
        except asyncio.CancelledError as error:
            failure = error
            raise
        except Exception as error:
            failure = error
        finally:
            if self._running.pop(key, None) is not None:
                self._ready.give_back(lane)
            again = key in self._again
            self._again.discard(key)
            if self._on_turn is not None:
                self._on_turn(key, started - since, loop.time() - started, failure)
            if not self._stopped:
                if failure is not None:
                    self._back_off(key, failure)
                else:
                    self._failures.pop(key, None)
                    if again:
                        self.put(key)
            self._pump()

    def _back_off(self, key: K, failure: BaseException) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(self._cap_s, self._base_s * 2 ** min(count - 1, 32))
        asked = getattr(failure, "retry_after", None)
        delay = max(delay * self._rng.uniform(0.5, 1.0), asked or 0.0)
        expected = isinstance(failure, self._quiet)
        log.warning(
            "%s failed %d time(s), again in %.1f s: %s",
            key,
            count,
            delay,
            failure if expected else repr(failure),
            exc_info=None if expected else failure,
        )
        self._set_timer(key, asyncio.get_running_loop().time() + delay)

    def _set_timer(self, key: K, when: float) -> None:
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_at(when, self._ring, key)

    def _ring(self, key: K) -> None:
        del self._timers[key]
        self.put(key)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
