"""The process: kopf as shell and plugin host, everything wired together, the Lease.

kopf starts, stops and takes signals; plugins (entry points of group ``dask_operator_plugin``) may register its
handlers, and only for them does it watch anything. The custom resources are served by our own informers and queue.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import secrets
import sys
import time
from typing import Any

import aiohttp
import kopf

from dask_gitops import __version__
from dask_gitops.kube import (
    DEPLOYMENTS,
    Credentials,
    CredentialsError,
    KubeClient,
    KubeError,
    LeaseElector,
    Resource,
    WorkQueue,
    load,
)
from dask_gitops.metrics import Metrics
from dask_gitops.probes import Probes
from dask_gitops.reconcile.failures import TurnFailed
from dask_gitops.reconcile.serving import Serving
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.wiring import build_stores, reconcile
from dask_gitops.reconcile.world import World
from dask_gitops.scheduler.client import SchedulerClient
from dask_gitops.settings import Settings, SettingsError

log = logging.getLogger(__name__)

PLUGINS = "dask_operator_plugin"  # entry point group, as the existing operator has it


class Controller:
    """All parts of one controller process. ``start`` it, ``stop`` it; ``lost`` is set when it must not go on."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self.settings = settings
        self.credentials = credentials
        self.metrics = Metrics()
        self.lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._leading = asyncio.Event()
        self._elector: LeaseElector | None = None
        self.probes: Probes | None = None

    async def start(self) -> None:
        """Open everything; returns at once, the work goes on in tasks."""
        settings = self.settings
        self.api = KubeClient(
            self.credentials,
            guard=self.may_write,
            on_request=self._count_request,
            user_agent=f"dask-gitops/{__version__}",
        )
        # A user's scheduler is not to be trusted: no cookies, no proxy, nothing unpacked.
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            # The client has limits of its own; here 100 that hang would keep all others waiting.
            connector=aiohttp.TCPConnector(limit=0),
        )
        self.queue: WorkQueue[Key] = WorkQueue(
            self._reconcile,
            lane=lambda key: key.namespace,
            on_turn=self._count_turn,
            quiet=(KubeError, TurnFailed),
        )
        self.serving = Serving(self.queue.put_after)
        stores = build_stores(self.api, settings.namespaces, self.serving.put)
        self.informers = stores.informers
        self.serving.take(self.informers)
        self.metrics.caches.informers = self.informers
        self.metrics.queue.line = self.queue
        self.world = World(
            api=self.api,
            schedulers=SchedulerClient(self._session, aside=self.queue.aside),
            stores=stores,
            settings=settings,
            metrics=self.metrics,
            again=self.serving.put,
        )
        if settings.lease_namespace is None:
            self._leading.set()
        else:
            self._elector = LeaseElector(
                self.api,
                settings.lease_namespace,
                settings.lease_name,
                # A container that restarts in its pod is another process.
                f"{settings.identity}_{secrets.token_hex(4)}",
                owner=DEPLOYMENTS,  # the chart gives it the Lease's name
                on_started=self._leading.set,
                on_lost=self._on_lost,
            )
            self._spawn(self._elector.run(), "Lease")
        for informer in self.informers:
            self._spawn(informer.run(), f"informer of {informer.resource}")
        for scope in self.serving.scopes:  # a standby, too: it can take over at once
            self._spawn(self.serving.complete(scope), f"start of {scope}", may_end=True)
        self._spawn(self._begin(), "start of the queue", may_end=True)
        self.probes = Probes(self.api, self.serving, self.informers, self.metrics)
        await self.probes.start(settings.port)
        where = ", ".join(settings.namespaces) or "all namespaces"
        log.info("dask-gitops %s serves %s of %s", __version__, where, self.credentials.server)

    async def stop(self) -> None:
        """Finish what is being written, give up the Lease, close everything."""
        await self.queue.stop()
        self._leading.clear()  # to give the Lease up is not to lose it
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.probes is not None:
            await self.probes.stop()
        await self._session.close()
        await self.api.close()

    async def leads(self) -> None:
        """Wait until this process is the leader."""
        await self._leading.wait()

    def may_write(self) -> bool:
        """Asked right before each write."""
        return self._elector is None or self._elector.is_leader()

    def _spawn(self, work: Any, name: str, *, may_end: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (task.exception() or not may_end):
                log.error("%s ended: %r; the process stops", name, task.exception())
                self.lost.set()

        task.add_done_callback(ended)
        self._tasks.append(task)

    async def _begin(self) -> None:
        await self._leading.wait()
        self.metrics.leader.set(1)
        log.info("this process is the leader" if self._elector else "running without a Lease")
        self.queue.start()

    def _on_lost(self) -> None:
        if self._leading.is_set():
            self.metrics.leader.set(0)
            log.warning("the Lease is lost; the process stops")
            self.lost.set()

    async def _reconcile(self, key: Key) -> None:
        await reconcile(self.world, key)

    def _count_request(self, verb: str, resource: Resource, status: int, seconds: float) -> None:
        self.metrics.requests.labels(verb, resource.plural, status).inc()

    def _count_turn(
        self, key: Key, waited: float, seconds: float, error: BaseException | None
    ) -> None:
        self.metrics.reconciles.labels(key.kind, "error" if error else "ok").inc()
        self.metrics.seconds.labels(key.kind).observe(seconds)
        self.metrics.waited.labels(key.kind).observe(waited)


class JsonLines(logging.Formatter):
    """One JSON object per line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(settings: Settings) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines()
        if settings.log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)


def build_shell(controller: Controller) -> kopf.OperatorRegistry:
    """kopf's registry with our start and stop, and whatever plugins register.

    A plugin acts where the leader acts: of two replicas, kopf watches in one only.
    """
    registry = kopf.get_default_registry()
    plugins = load_plugins()

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.scanning.disabled = True  # no watching of CRDs and namespaces
        # Of a plugin's handlers only. kopf's own is taken off objects that are being deleted.
        settings.persistence.finalizer = "plugin.dask.org/finalizer"
        settings.networking.error_backoffs = [
            1,
            2,
            5,
            *[10] * 1000,
        ]  # an API server may be away for long
        settings.execution.max_workers = 4
        await controller.start()
        if plugins:
            try:
                await controller.leads()
            except asyncio.CancelledError:  # kopf cleans up only what has started
                await controller.stop()
                raise

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await controller.stop()

    @kopf.on.login(registry=registry)
    async def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
        found = kopf.login_with_service_account(settings=settings, logger=log)
        return found or kopf.login_with_kubeconfig(settings=settings, logger=log)

    return registry


def load_plugins() -> int:
    """How many were loaded. One that cannot be loaded stops nobody else."""
    loaded = 0
    for plugin in importlib.metadata.entry_points(group=PLUGINS):
        try:
            plugin.load()
        except Exception:
            log.exception("plugin %s (%s) cannot be loaded", plugin.name, plugin.value)
        else:
            log.info("plugin %s loaded", plugin.name)
            loaded += 1
    return loaded


async def run(settings: Settings, credentials: Credentials) -> bool:
    """Run until a signal comes or the process must not go on.

    :return: False if it stopped by itself (the Lease was lost, a part failed).
    """
    controller = Controller(settings, credentials)
    namespaces = (
        {"namespaces": settings.namespaces} if settings.namespaces else {"clusterwide": True}
    )
    await kopf.operator(
        registry=build_shell(controller),
        # Otherwise kopf asks for the user's name, which uid 65532 of the image does not have.
        identity=settings.identity,  # type: ignore[arg-type]  # kopf's NewType of str is not public
        standalone=True,
        stop_flag=controller.lost,
        **namespaces,
    )
    return not controller.lost.is_set()


def main() -> None:
    """Entry point of ``python -m dask_gitops`` and ``dask-gitops-controller``."""
    try:
        settings = Settings.from_env()
        configure_logging(settings)
        credentials = load()
    except (SettingsError, CredentialsError) as error:
        sys.exit(f"error: {error}")
    if not asyncio.run(run(settings, credentials)):
        sys.exit(1)
