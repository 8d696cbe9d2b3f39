"""`dask scheduler` with our source in its env, and `dask worker`s, as processes on loopback."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

from dask_gitops.scheduler import PRELOAD, PRELOAD_ENV, SOURCE_ENV, TOKEN_ENV, control_source
from distributed import Client

TOKEN = "a-token"
GRACE_S = 600  # whoever waits for the grace period to end is found out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def until(true, what="it", every=0.05, timeout=90):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        result = true()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        await asyncio.sleep(every)
    raise AssertionError(f"waited for {what} in vain")


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

    async def ended(self, *processes, timeout=60):
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


def names(dask_scheduler):
    return {str(ws.name): address for address, ws in dask_scheduler.workers.items()}


async def remove(address, dask_scheduler):
    await dask_scheduler.remove_worker(address, stimulus_id="test", close=False)


def terminated_child():
    """Exit code of a process that this one forks and terminates, as pools do."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    multiprocessing.current_process()._config["daemon"] = False  # else it may have no children
    child.start()
    time.sleep(0.5)
    child.terminate()
    child.join(60)
    return child.exitcode


def random_value(_):
    return os.urandom(16)


def gated(log, gate):
    """A task that says that it started, and ends when the file `gate` exists."""
    with open(log, "a") as f:
        f.write("started\n")
    while not os.path.exists(gate):
        time.sleep(0.01)
    return os.urandom(8)


def starts(log):
    return len(log.read_text().splitlines()) if log.exists() else 0
