"""`dask scheduler` with our source in its env, and `dask worker`s, as processes on loopback."""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
from dask_gitops.scheduler import (
    PORT_ENV,
    PRELOAD,
    PRELOAD_ENV,
    SOURCE_ENV,
    TOKEN_ENV,
    control_source,
)
from distributed import Client, __version__

from tests.unit.scheduler.remote import names, random_value

LIBC = ctypes.CDLL(None)
TOKEN = "a-token"
GRACE_S = 1200  # whoever waits for the grace period to end is found out
NANNY_STAYS = (
    "a nanny that was told together with its worker misses the end of that worker, and stays"
)
#: What Dask itself does wrong, by version. What is seen then: the nanny lives without a worker, as long as it is let.
FLAWS = {"2023.3.2": (NANNY_STAYS,), "2024.8.2": (NANNY_STAYS,)}
SEEN = "FLAW SEEN"  # begins a line of the output


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


def flaws_seen(output):
    """(version, flaw) of each that a run's output tells of."""
    return set(re.findall(rf"^{SEEN}: (\S+): (.*)$", output, re.M))


def workers_of(process):
    """The live worker processes of a `dask worker` with nannies; None: it has, and had, no nanny."""
    if "--no-nanny" in process.args:
        return None
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(
                    child.cmdline()
                ):
                    found.append(child)
    return found


class Cluster:
    """A scheduler's process, its workers' processes, and a client."""

    def __init__(self, folder, source, env):
        self.folder, self.source, self.env, self.started = folder, source, env, []
        self.port, self.http, self.control = free_port(), free_port(), free_port()
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
        env[PORT_ENV] = str(self.control)
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

    async def ended(self, *processes, version=__version__, patience=60):
        """Wait for these processes.

        :param patience: of seconds after which a nanny without a worker is one that stays. Where the version of Dask
            has that flaw, it is killed, as the kubelet does; nowhere else.
        """
        alone = {}

        def over():
            alive = [p for p in processes if p.poll() is None]
            for process in alive:
                if workers_of(process) == []:
                    alone.setdefault(process, time.monotonic())
            if NANNY_STAYS in FLAWS.get(version, ()):
                stay = [
                    p for p in alive if time.monotonic() - alone.get(p, float("inf")) > patience
                ]
                for process in stay:
                    print(f"{SEEN}: {version}: {NANNY_STAYS}", flush=True)
                    process.kill()
            return not alive

        await until(over, "an end")

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
