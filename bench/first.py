"""From `kubectl apply` to the first result on three workers, on the machine's real node: with a controller, and without."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from bench import ROOT
from bench.lab import STATE, Failure, Lab, say
from bench.manifests import (
    CLUSTER,
    COMPONENT,
    JSON,
    NAMESPACE,
    START,
    a_cluster,
    as_text,
    bare_pods,
)
from bench.measures import CLUSTERS
from bench.raw import PODS, Raw
from bench.report import TITLES
from bench.turns import PLAIN

NAME, BARE = "first", "bare"
SCHEDULERS = {True: f"app={BARE},part=scheduler", False: f"{CLUSTER}={NAME},{COMPONENT}=scheduler"}
SERVICE = f"/api/v1/namespaces/{NAMESPACE}/services/{BARE}-scheduler"
WITHIN_S = 120.0


class Asker:
    """The client's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def answer(self, within: float) -> JSON:
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), within)
        except TimeoutError:
            raise Failure(f"the client says nothing within {within:.0f} s") from None
        if not line:
            raise Failure(f"the client died; see {STATE / 'client.log'}")
        found: JSON = json.loads(line)
        return found

    async def ask(self, host: str, within: float) -> float:
        """The moment of the first results."""
        assert self.process.stdin is not None
        question = {"host": host, "workers": START, "within": within}
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        found = await self.answer(within + 60)
        if "error" in found:
            raise Failure(found["error"])
        return float(found["moment"])


@contextlib.asynccontextmanager
async def asker() -> AsyncIterator[Asker]:
    """Start it; its imports are done when this has started."""
    with (STATE / "client.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.client"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        one = Asker(process)
        await one.answer(60)
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass(frozen=True)
class Node:
    """The real node, and who asks."""

    lab: Lab
    raw: Raw
    client: Asker
    image: str

    async def first_result(self, who: str, check: Callable[[], None] = lambda: None) -> float:
        """Seconds; nothing of it is left afterwards.

        :param who: whose controller makes the Pods.
        :param check: raises when it has died.
        """
        plain = who == PLAIN
        manifests = (
            bare_pods(BARE, START, self.image)
            if plain
            else [a_cluster(NAME, START, self.image, pretended=False)]
        )
        started = time.monotonic()
        await self.lab.kubectl("apply", "-f", "-", stdin=as_text(manifests))
        host = await self._scheduler(SCHEDULERS[plain], started + WITHIN_S, check)
        ended = await self.client.ask(host, WITHIN_S)
        say(f"    {TITLES[who]:<18} {ended - started:.2f} s")
        await self._remove(plain)
        return round(ended - started, 3)

    async def _scheduler(self, selector: str, deadline: float, check: Callable[[], None]) -> str:
        """Its Pod's address: what this machine reaches at once, whenever its Service is ready."""
        while time.monotonic() < deadline:
            check()
            for pod in (await self.raw.call("GET", PODS, labelSelector=selector))["items"]:
                if host := pod["status"].get("podIP"):
                    return str(host)
            await asyncio.sleep(0.05)
        raise Failure(f"no scheduler has an address within {WITHIN_S:.0f} s")

    async def _remove(self, plain: bool) -> None:
        if plain:
            await self.raw.call("DELETE", PODS, labelSelector=f"app={BARE}")
            await self.raw.call("DELETE", SERVICE)
        else:
            await self.raw.call("DELETE", CLUSTERS)
        deadline = time.monotonic() + WITHIN_S
        while await self._left():
            if time.monotonic() > deadline:
                raise Failure(f"its cluster does not go away within {WITHIN_S:.0f} s")
            await asyncio.sleep(0.1)

    async def _left(self) -> bool:
        paths = (CLUSTERS, PODS)
        return any([(await self.raw.call("GET", path, limit="1"))["items"] for path in paths])
