"""The plainest way to do the same, without any of the controller's code on the way; and the eye that watches pods."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence

import aiohttp
from dask_gitops.kube import from_kubeconfig

from bench.lab import Failure, Lab
from bench.manifests import CLUSTER, JSON

PODS = "/api/v1/namespaces/default/pods"
SELECTOR = CLUSTER  # on every pod that any of this makes
IN_FLIGHT = 64


class Raw:
    """One aiohttp session with the administrator's rights."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    async def call(self, method: str, path: str, body: JSON | None = None, **query: str) -> JSON:
        data = None if body is None else json.dumps(body).encode()
        async with self._session.request(
            method,
            self._server + path,
            data=data,
            params=query,
            headers={"Content-Type": "application/json"},
        ) as response:
            raw = await response.read()
            if response.status >= 300:
                raise Failure(f"{method} {path}: {response.status} {raw[:500].decode()}")
            answer: JSON = json.loads(raw)
            return answer

    async def create_all(self, manifests: Sequence[JSON]) -> None:
        """Always 64 creates in flight."""
        todo = iter(manifests)

        async def work() -> None:
            for manifest in todo:
                await self.call("POST", PODS, manifest)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    async def delete_all(self) -> None:
        await self.call("DELETE", PODS, labelSelector=SELECTOR)

    async def count(self) -> int:
        """Pods in whatever state."""
        answer = await self.call("GET", PODS, labelSelector=SELECTOR, limit="1")
        return len(answer["items"]) + int(answer["metadata"].get("remainingItemCount", 0))

    @contextlib.asynccontextmanager
    async def eye(self) -> AsyncIterator[Eye]:
        """Watch pods."""
        eye = Eye()
        listed = await self.call("GET", PODS, labelSelector=SELECTOR)
        for pod in listed["items"]:
            eye.see("ADDED", pod)
        task = asyncio.create_task(self._watch(eye, listed["metadata"]["resourceVersion"]))
        eye.task = task
        try:
            yield eye
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, eye: Eye, version: str) -> None:
        """The server drops watchers that it deems slow: go on where it stopped."""
        query = {"watch": "1", "labelSelector": SELECTOR, "resourceVersion": version}
        # Only running pods: one event for each of them, so that looking on costs little.
        query["fieldSelector"] = "status.phase=Running"
        no_limit = aiohttp.ClientTimeout(total=None)
        while True:
            async with self._session.get(
                self._server + PODS, params=query, timeout=no_limit
            ) as response:
                if response.status != 200:
                    raise Failure(f"watch: {response.status} {await response.text()}")
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        eye.see(event["type"], event["object"])
                        query["resourceVersion"] = event["object"]["metadata"]["resourceVersion"]


class Eye:
    """Which pods are running and ready."""

    def __init__(self) -> None:
        self.ready: set[str] = set()
        self.task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def see(self, kind: str, pod: JSON) -> None:
        if kind == "ERROR":
            raise Failure(f"the benchmark's own watch: {pod.get('message')}")
        conditions = pod["status"].get("conditions") or ()
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        if kind != "DELETED" and pod["status"]["phase"] == "Running" and is_ready:
            self.ready.add(pod["metadata"]["name"])
        else:
            self.ready.discard(pod["metadata"]["name"])
        self._changed.set()

    async def until(
        self, count: int, within: float, check: Callable[[], None] = lambda: None
    ) -> float:
        """Wait until exactly so many pods are ready.

        :param check: raises when there is nothing to wait for any more.
        :return: ``time.monotonic()`` of that moment.
        """
        deadline = time.monotonic() + within
        while len(self.ready) != count:
            if self.task is not None and self.task.done():
                self.task.result()
            if time.monotonic() > deadline:
                raise Failure(f"{len(self.ready)} pods are ready after {within:.0f} s, not {count}")
            check()
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 1)
        return time.monotonic()


@contextlib.asynccontextmanager
async def connect(lab: Lab) -> AsyncIterator[Raw]:
    credentials = from_kubeconfig(lab.kubeconfig)
    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.ssl)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Raw(session, credentials.server.rstrip("/"))
