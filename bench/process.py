"""A contestant's controller as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.clock import cpu_of
from bench.contestants import Contestant
from bench.lab import STATE, Failure, Lab

PAGE = os.sysconf("SC_PAGE_SIZE")
START_S = 60.0


class Controller:
    """It runs."""

    def __init__(self, who: Contestant, process: asyncio.subprocess.Process, log: Path) -> None:
        self.who, self.process, self.log = who, process, log

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        try:
            return cpu_of(self.process.pid)
        except OSError:
            raise self._died() from None

    def memory(self) -> float:
        """Resident memory now, in MiB."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        except OSError:
            raise self._died() from None
        return int(pages) * PAGE / 2**20

    def check(self) -> None:
        """:raises Failure: it has ended by itself."""
        if self.process.returncode is not None:
            raise self._died()

    def _died(self) -> Failure:
        return Failure(f"the controller died; see {self.log}")


@contextlib.asynccontextmanager
async def running(who: Contestant, lab: Lab) -> AsyncIterator[Controller]:
    """Start it, wait until it works, stop it at the end."""
    log, pid = STATE / f"{who.key}.log", STATE / f"{who.key}.pid"
    audit = lab.audit(who.agents)
    with log.open("ab") as output:
        begin = output.tell()
        process = await asyncio.create_subprocess_exec(
            *who.command,
            env={**lab.env, **who.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    pid.write_text(str(process.pid))
    try:
        deadline = time.monotonic() + START_S
        while True:
            watched = {what.removeprefix("watch ") for what in audit.requests()}
            if who.says in log.read_bytes()[begin:] and watched >= who.watches:
                break
            if process.returncode is not None or time.monotonic() > deadline:
                raise Failure(f"the controller did not start; see {log}")
            await asyncio.sleep(0.1)
        yield Controller(who, process, log)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
        pid.unlink(missing_ok=True)
        if lease := who.env.get("DASK_GITOPS_LEASE_NAME"):
            await lab.kubectl("delete", "lease", lease, "--ignore-not-found")
