"""What the scheduler tells of its workers, as long as the cluster's object lives: a broken connection comes back.

It is asked, not subscribed to: a scheduler tells one subscriber of its workers, and the next one,
such as a second object of the same cluster, would silence the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.comm.addressing import parse_address, parse_host_port
from distributed.core import Status, rpc
from distributed.deploy import Cluster
from distributed.objects import SchedulerInfo

#: So long one attempt to connect, or one question, may take.
ATTEMPT_S = 5.0
#: So long a refused connection takes at most to be refused.
REFUSAL_S = 2.0
FIRST_WAIT_S, LAST_WAIT_S = 0.1, 1.0
#: While somebody waits for workers, it is asked so often although no Pod changes.
LOOK_S = 1.0
#: After a change of Pods it is asked once more after 1 s, 2 s, 4 s, ...: a worker comes later than its Pod.
LAST_LOOK_S = 32.0
#: Two questions are so far apart, however fast Pods change.
APART_S = 0.3


def _chain(error: BaseException) -> list[Exception]:
    """It, and what it came of."""
    found: list[Exception] = []
    one: BaseException | None = error
    while isinstance(one, Exception) and len(found) < 5:
        found.append(one)
        one = one.__cause__
    return found


def _words(errors: list[Exception]) -> str:
    """What went wrong, and what that came of: Dask's own words tell only that time is up."""
    found: list[str] = []
    for one in errors:
        words = str(one) or ("no answer in time" if isinstance(one, TimeoutError) else repr(one))
        if not any(words in each for each in found):
            found.append(words)
    return ": ".join([found[0], *found[1:][-1:]])


async def _refusal(address: str) -> list[Exception]:
    """Why nobody gets a connection there, if that is told at once; else nothing."""
    try:
        host, port = parse_host_port(parse_address(address)[1])
        async with asyncio.timeout(REFUSAL_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return []
    except ConnectionError as error:  # asyncio names the call that failed, and not what came of it
        return [OSError(error.errno, os.strerror(error.errno or 0))]
    except (OSError, ValueError) as error:
        return [error]
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return []


class Subscribed(Cluster):  # type: ignore[misc]
    """The part of a `distributed` cluster that hears of workers. Lives in Dask's loop."""

    scheduler_comm: Any
    scheduler_info: Any
    status: Status

    def _prepare(self) -> None:
        self._heard: set[asyncio.Future[None]] = set()
        self._following: asyncio.Future[None] | None = None
        self._address = ""

    async def _connect(
        self,
        address: str,
        connection_args: dict[str, Any],
        news: Callable[[int, float | None], Awaitable[int]],
    ) -> None:
        """Ask for the first time, however long the scheduler takes; the one who calls knows when to give up.

        :param news: waits for a change of Pods, as `Live.news` does.
        """
        self._address = address
        self.scheduler_comm = rpc(address, timeout=ATTEMPT_S, connection_args=connection_args)
        await self._insist(self._look)
        self._following = asyncio.ensure_future(self._follow(news))

    def _unreached(self, why: str) -> None:
        """The scheduler could not be reached, and is tried again; "": it was reached."""

    async def _insist(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Its result; a connection that does not come about, or breaks, is tried again, and `_unreached` told."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                found = await work()
            except Exception as error:
                # Whatever listens at an address may answer anything.
                errors = _chain(error)
                if isinstance(errors[-1], TimeoutError):
                    # The last of Dask's many attempts had too little time left to hear why.
                    errors += await _refusal(self._address)
                self._unreached(_words(errors))
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LAST_WAIT_S)
            else:
                self._unreached("")
                return found

    async def _look(self) -> None:
        """Ask which workers there are.

        :raises OSError, TimeoutError: no answer came.
        """
        async with asyncio.timeout(
            2 * ATTEMPT_S
        ):  # to connect, which tells why it failed, and to ask
            self.scheduler_info = SchedulerInfo(await self.scheduler_comm.identity())
        for waiting in self._heard:
            if not waiting.done():
                waiting.set_result(None)

    async def _follow(self, news: Callable[[int, float | None], Awaitable[int]]) -> None:
        seen = await news(-1, None)
        wait_s: float | None = LOOK_S
        while self.status not in (Status.closing, Status.closed):
            now = await news(seen, wait_s)
            if self._is_gone():
                return
            if now != seen:
                wait_s = LOOK_S
            elif wait_s is not None:
                wait_s = 2 * wait_s if wait_s < LAST_LOOK_S else None
            seen = now
            with contextlib.suppress(Exception):  # it is asked again
                await self._look()
            await asyncio.sleep(APART_S)

    def _is_gone(self) -> bool:
        """Will nobody answer any more?"""
        return False

    async def _unsubscribe(self) -> None:
        task, self._following = self._following, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _until_heard(self, so: Callable[[], bool], timeout_s: float | None) -> None:
        """Wait until something is so, looking whenever the scheduler has told something.

        :raises TimeoutError: it was not in time.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(OSError):  # a TimeoutError of our own is one, too
                    await self._look()
                if so() or (await self._told() and so()):
                    return

    async def _told(self) -> bool:
        """Did somebody else ask meanwhile, and get an answer? Waits for it."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard.add(waiting)
        try:
            await asyncio.wait([waiting], timeout=LOOK_S)
        finally:
            self._heard.discard(waiting)
        return waiting.done()
