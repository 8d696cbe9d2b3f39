"""Health, readiness and metrics over HTTP: what the kubelet and Prometheus ask the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dask_gitops.kube import Informer, KubeError
from dask_gitops.kube.client import Api
from dask_gitops.metrics import ALL, Metrics
from dask_gitops.reconcile.serving import Serving, is_refused

DEAF_S = 180  # a watch that was silent for so long, while other requests work, is deaf
# And so long after they began to work again: informers find their way by themselves.
RECOVERY_S = 60
PROBE_S = 3.0  # the kubelet waits for 5


class Probes:
    """The endpoints ``/healthz``, ``/readyz`` and ``/metrics``. `start` them, `stop` them.

    :ivar port: where they are served; None before `start`.
    """

    def __init__(
        self, api: Api, serving: Serving, informers: Sequence[Informer[Any]], metrics: Metrics
    ) -> None:
        self.port: int | None = None
        self._api = api
        self._serving = serving
        self._informers = informers
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self._deaf_since: float | None = None  # since when a watch is deaf while requests work

    async def start(self, port: int) -> None:
        """:param port: 0: any that is free."""
        app = web.Application()
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def healthz(self, request: web.Request) -> web.Response:
        """Fails when a watch is deaf although the API server answers: only a restart can help then."""
        deaf = [
            i
            for i in self._informers
            if i.synced.is_set() and i.age() > DEAF_S and not is_refused(i)
        ]
        if not deaf or not await self._answers(deaf[0]):
            self._deaf_since = None
            return web.Response(text="ok\n")
        now = asyncio.get_running_loop().time()
        if self._deaf_since is None:
            self._deaf_since = now
        if now - self._deaf_since < RECOVERY_S:
            return web.Response(text="ok\n")
        return web.Response(status=500, text=f"watch of {deaf[0].resource} is deaf\n")

    async def _answers(self, informer: Informer[Any]) -> bool:
        """Whether the API server answers an independent request for the same objects, quickly."""
        try:
            async with asyncio.timeout(PROBE_S):
                await self._api.list(
                    informer.resource,
                    informer.namespace,
                    label_selector=informer.label_selector,
                    limit=1,
                )
        except (KubeError, TimeoutError):
            return False
        return True

    async def readyz(self, request: web.Request) -> web.Response:
        """One namespace that cannot be read keeps no standby from taking over the others; it is named."""
        missing = {scope: self._serving.missing(scope) for scope in self._serving.scopes}
        lines = [
            f"not served: {scope or 'all namespaces'}: {why}\n"
            for scope, why in missing.items()
            if why
        ]
        if not self._serving.ready():
            return web.Response(status=503, text="".join(lines))
        return web.Response(text="".join(["ok\n", *lines]))

    async def metrics(self, request: web.Request) -> web.Response:
        for scope in self._serving.scopes:
            served = not self._serving.missing(scope)
            self._metrics.served.labels(scope or ALL).set(served)
        return web.Response(
            body=generate_latest(self._metrics.registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )
