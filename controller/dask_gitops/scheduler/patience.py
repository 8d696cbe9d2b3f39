"""How much of this process one scheduler may take. It runs users' code, so it may try to take all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from dask_gitops.scheduler.errors import SchedulerUnavailable, SchedulerUnreachable

AT_ONCE = 4  # calls to one scheduler
TRUSTED = 64  # calls in all, to schedulers that answer well: bounds memory (`MAX_ANSWER` each)
SUSPECTS = 16  # calls in all, to those that lately did not
SLOW_S = 1.0  # an answer that takes longer, besides what we asked it to wait, is a slow one
BACKOFF_S = (1.0, 15.0)
PAUSE_S_PER_MIB = 2.0  # after an answer: to read it costs up to 0.1 s of a loop that serves all
RECORDS = 1000  # of schedulers that nobody asks right now
DECODED = (
    4 * 1024 * 1024
)  # bytes of answers that may be decoded and looked through at once: each takes ten times as much


class _Record:
    __slots__ = ("few", "free_at", "reason", "retry_at", "trouble", "users")

    def __init__(self) -> None:
        self.few = asyncio.Semaphore(AT_ONCE)
        self.users = 0
        self.trouble = 0  # grows faster than it shrinks: answering well now and then is no trust
        self.reason = ""  # why the last call failed, until `retry_at`
        self.retry_at = 0.0
        self.free_at = 0.0


class Budget:
    """So many bytes that all share; who comes first is served first.

    :param size: bytes. Who asks for more gets them when nobody else has any.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[float]:
        """Wait until so many bytes are free, and hold them; gives the seconds that it took."""
        size = min(size, self._size)
        loop = asyncio.get_running_loop()
        since, mine = loop.time(), loop.create_future()
        self._waiting.append((size, mine))
        self._grant()
        try:
            await mine
            yield loop.time() - since
        finally:
            if mine.done() and not mine.cancelled():
                self._taken -= size
            else:
                mine.cancel()
            self._grant()

    def _grant(self) -> None:
        while self._waiting:
            size, mine = self._waiting[0]
            if not mine.done():
                if self._taken + size > self._size:
                    return
                self._taken += size
                mine.set_result(None)
            self._waiting.popleft()  # it has them, or has given up


class Turn:
    """One call; tell it the size of the answer (bytes), and how long it waited for others (seconds)."""

    __slots__ = ("excused", "size")

    def __init__(self) -> None:
        self.size = 0
        self.excused = 0.0


class Patience:
    """Decides when a scheduler may be called.

    A scheduler that failed is not called again for a while that doubles: callers get the reason of
    the failure at once. One that fails or is slow shares a few places with others like it, so that
    any number of them leaves those that answer well alone.

    :param clock: monotonic seconds; default: the running loop's.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._records: dict[tuple[str, str], _Record] = {}
        self._trusted = asyncio.Semaphore(TRUSTED)
        self._suspects = asyncio.Semaphore(SUSPECTS)

    @asynccontextmanager
    async def turn(self, who: tuple[str, str], wait_s: float) -> AsyncIterator[Turn]:
        """Wait for the turn to call this scheduler, and note how the call went.

        :param who: base URL and token: a pod that got the address of another is another.
        :param wait_s: seconds that we ask the scheduler to wait before it answers.
        :raises SchedulerUnavailable: it failed a moment ago, or it fails now.
        """
        record = self._records.setdefault(who, _Record())
        record.users += 1
        try:
            async with record.few:
                await asyncio.sleep(record.free_at - self._clock())
                self._check(record)
                async with self._suspects if record.trouble else self._trusted:
                    self._check(record)  # it may have failed while this one waited
                    started, turn = self._clock(), Turn()
                    try:
                        yield turn
                    except SchedulerUnavailable as error:
                        self._failed(record, error)
                        raise
                    now = self._clock()
                    slow = now - started - turn.excused > SLOW_S + wait_s
                    record.trouble = min(8, max(0, record.trouble + (2 if slow else -1)))
                    record.free_at = now + turn.size / 2**20 * PAUSE_S_PER_MIB
        finally:
            record.users -= 1
            self._forget(who, record)

    def _check(self, record: _Record) -> None:
        if self._clock() < record.retry_at:
            raise SchedulerUnavailable(record.reason)

    def _failed(self, record: _Record, error: SchedulerUnavailable) -> None:
        first, most = BACKOFF_S
        wait = first
        if not isinstance(error, SchedulerUnreachable):  # that one cost us nothing
            record.trouble = min(8, record.trouble + 2)
            wait = min(most, first * 2 ** (record.trouble // 2 - 1))
        record.reason = error.reason
        record.retry_at = self._clock() + wait

    def _forget(self, who: tuple[str, str], record: _Record) -> None:
        now = self._clock()
        if not record.users and not record.trouble and max(record.free_at, record.retry_at) <= now:
            self._records.pop(who, None)
        elif len(self._records) > RECORDS:  # schedulers that are gone by now, oldest first
            for old in [w for w, r in self._records.items() if not r.users][: RECORDS // 10]:
                del self._records[old]
