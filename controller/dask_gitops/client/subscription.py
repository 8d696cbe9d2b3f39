"""What the scheduler tells of its workers, as long as the cluster's object lives: a broken connection comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from distributed.core import Status, rpc
from distributed.deploy import Cluster
from distributed.objects import SchedulerInfo

#: So long one attempt to connect may take.
ATTEMPT_S = 5.0
FIRST_WAIT_S, LAST_WAIT_S = 0.1, 1.0


class Subscribed(Cluster):  # type: ignore[misc]
    """The part of a `distributed` cluster that hears of workers. Lives in Dask's loop."""

    scheduler_comm: Any
    scheduler_info: Any
    status: Status
    _watch_worker_status_task: Any
    _watch_worker_status_comm: Any

    def _prepare(self) -> None:
        self._heard: set[asyncio.Future[None]] = set()

    async def _connect(self, address: str, connection_args: dict[str, Any]) -> None:
        """Subscribe, however long the scheduler takes; the one who calls knows when to give up."""
        self.scheduler_comm = rpc(address, timeout=ATTEMPT_S, connection_args=connection_args)
        await self._subscribe()
        self._watch_worker_status_task = asyncio.ensure_future(self._follow())

    async def _subscribe(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            comm = None
            try:
                comm = await self.scheduler_comm.live_comm()
                comm.name = "Cluster worker status"
                async with asyncio.timeout(ATTEMPT_S):
                    await comm.write({"op": "subscribe_worker_status"})
                    info = SchedulerInfo(await comm.read())
            except (OSError, TimeoutError):
                if comm is not None:
                    comm.abort()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LAST_WAIT_S)
            else:
                self.scheduler_info = info
                self._watch_worker_status_comm = comm
                self._tell()
                return

    async def _follow(self) -> None:
        while self.status not in (Status.closing, Status.closed):
            with contextlib.suppress(OSError):
                while True:
                    for op, message in await self._watch_worker_status_comm.read():
                        self._update_worker_status(op, message)
                    self._tell()
            self._watch_worker_status_comm.abort()
            await self._subscribe()

    async def _unsubscribe(self) -> None:
        task, self._watch_worker_status_task = self._watch_worker_status_task, None
        comm, self._watch_worker_status_comm = self._watch_worker_status_comm, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if comm is not None:
            await comm.close()

    def _update_worker_status(self, op: str, message: Any) -> None:
        if op == "remove":
            self.scheduler_info["workers"].pop(message, None)
        else:
            super()._update_worker_status(op, message)

    def _tell(self) -> None:
        for waiting in self._heard:
            if not waiting.done():
                waiting.set_result(None)

    async def _until_heard(self, so: Callable[[], bool], timeout_s: float | None) -> None:
        """Wait until something is so, looking whenever the scheduler has told something.

        :raises TimeoutError: it was not in time.
        """
        async with asyncio.timeout(timeout_s):
            while not so():
                waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._heard.add(waiting)
                try:
                    await waiting
                finally:
                    self._heard.discard(waiting)
