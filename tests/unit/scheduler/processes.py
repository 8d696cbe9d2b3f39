"""`dask scheduler` with our source in its env, and `dask worker`s, as processes on loopback."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time

from dask_gitops.scheduler import PRELOAD, PRELOAD_ENV, SOURCE_ENV, TOKEN_ENV, control_source
from distributed import Client

from tests.unit.scheduler.remote import names, random_value

LIBC = ctypes.CDLL(None)
TOKEN = "a-token"
GRACE_S = 1200  # whoever waits for the grace period to end is found out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def until(true, what="it", every=0.05, timeout=300):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        result = true()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        await asyncio.sleep(every)
    raise AssertionError(f"waited for {what} in vain")


def end_with_parent(kill_when_parent_ends=1):
    """Killed tests leave nothing behind; workers end with their nanny."""
    LIBC.prctl(kill_when_parent_ends, signal.SIGKILL)


class Cluster:
    """A scheduler's process, its workers' processes, and a client."""

    def __init__(self, folder, source, env):
        self.folder, self.source, self.env, self.started = folder, source, env, []
        self.port, self.http = free_port(), free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"

    def start(self, module, *words, **env):
        memory = dict.fromkeys(("TARGET", "SPILL", "PAUSE", "TERMINATE"), "False")
        with (self.folder / f"{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                env={
                    **os.environ,
                    **{f"DASK_DISTRIBUTED__WORKER__MEMORY__{k}": v for k, v in memory.items()},
                    "WORKER_GRACE_PERIOD_S": str(GRACE_S),
                    **self.env,
                    **env,
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self.started.append(process)
        return process

    def start_scheduler(self):
        words = ("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        words += ("--dashboard-address", f"127.0.0.1:{self.http}")
        env = {SOURCE_ENV: self.source, TOKEN_ENV: TOKEN, PRELOAD_ENV: PRELOAD}
        self.scheduler = self.start("distributed.cli.dask_scheduler", *words, **env)

    def start_worker(self, *words, **env):
        """`dask worker` with one thread per worker."""
        words = (self.url, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", *words)
        return self.start("distributed.cli.dask_worker", *words, **env)

    async def workers(self, n):
        """Wait for exactly `n`; return {name: address}."""

        async def have():
            known = await self.client.run_on_scheduler(names)
            return [known] if len(known) == n else None

        return (await until(have, f"{n} workers", every=0.2))[0]

    async def sow(self, address, n=20):
        """Put `n` values that only this worker holds there: half computed at random, half scattered."""
        made = self.client.map(random_value, range(n // 2), workers=[address], pure=False)
        data = [os.urandom(16) for _ in range(n - n // 2)]
        sown = await self.client.scatter(data, workers=[address])
        await asyncio.wait(map(asyncio.ensure_future, made))
        return [*made, *sown]

    async def assert_held(self, held):
        """Each of these workers has its futures' keys, and nobody else has one of them.

        :param held: address -> futures.
        """
        for address, futures in held.items():
            found = await self.client.who_has(futures)
            assert len(found) == len(futures)
            assert set(found.values()) == {(address,)}, found

    async def ended(self, *processes, timeout=300):
        """Wait for these processes; return the seconds that it took."""
        start = time.monotonic()
        await until(lambda: all(p.poll() is not None for p in processes), "an end", timeout=timeout)
        return time.monotonic() - start

    async def removals(self):
        """The scheduler's own words on each removed worker."""
        events = await self.client.get_events("all")
        return [e for _, e in events if isinstance(e, dict) and e["action"] == "remove-worker"]

    async def assert_nothing_lost(self, *addresses):
        """These workers were removed, each as expected, with nothing only they had."""
        events = await self.removals()
        assert sorted(e["worker"] for e in events) == sorted(addresses)
        for event in events:
            assert event.get("expected", True) is True  # a word of newer versions
            assert not event.get("lost-computed-tasks")
            assert not event.get("lost-scattered-tasks")

    def logs(self):
        return "".join(f.read_text(errors="replace") for f in sorted(self.folder.glob("*.log")))

    def stop(self):
        for process in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session
            process.wait()


@contextlib.asynccontextmanager
async def cluster(folder, source=None, **env):
    """A Cluster without workers; all its processes are killed in the end.

    :param source: what runs in the scheduler instead of ours.
    :param env: of all its processes.
    """
    c = Cluster(folder, control_source() if source is None else source, env)
    try:
        c.start_scheduler()
        async with Client(c.url, asynchronous=True, timeout=60) as c.client:
            yield c
    finally:
        c.stop()
