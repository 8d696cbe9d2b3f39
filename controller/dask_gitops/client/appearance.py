"""What a cluster's object tells people: lines while it starts, its links, its picture in a notebook."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import platform
import warnings
from importlib.metadata import version
from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed.core import Status
from tornado.ioloop import PeriodicCallback

from dask_gitops.client import html, links, snapshot
from dask_gitops.client.background import background
from dask_gitops.client.display import Display, mismatch, shown
from dask_gitops.client.session import Session
from dask_gitops.client.subscription import Subscribed
from dask_gitops.client.widget import ClusterWidget, widget

JSON = dict[str, Any]


class Appearance(Subscribed):
    """The part of `KubeCluster` that people see."""

    _session: Session
    namespace: str
    _display: Display

    def _prepare_to_show(self, name: str, quiet: bool) -> None:
        self._display = shown(quiet, name)
        self._versions: asyncio.Future[None] | None = None
        self._shown: ClusterWidget | None = None
        self._has_widget = True

    # ---- while it starts

    def _show(self, line: str, seconds: float) -> None:
        """One line of what a start waits for, and for how long it does; in the loop of `background`."""
        logs = self._cluster_manager_logs
        if not logs or logs[-1][1] != line:
            logs.append((datetime.datetime.now(), line))
        self._display(line, seconds)

    def _connected(self) -> None:
        count = len(self.scheduler_info["workers"])
        workers = f"{count} worker{'' if count == 1 else 's'}"
        self._display.end(f"{workers}, dashboard {self.dashboard_link}")
        self._versions = asyncio.ensure_future(self._compare_versions())

    def _failed(self, error: BaseException) -> None:
        words = "interrupted" if isinstance(error, asyncio.CancelledError) else str(error)
        self._display.end(words.partition("\n")[0] or type(error).__name__, failed=True)

    async def _compare_versions(self) -> None:
        """Warn where Dask or Python differ between here and the scheduler."""
        with contextlib.suppress(OSError, KeyError, TypeError):
            theirs = await self.scheduler_comm.versions()
            there = (theirs["packages"]["dask"], theirs["host"]["python"])
            words = mismatch((version("dask"), platform.python_version()), there)
            if words:
                warnings.warn(words, stacklevel=2)

    async def _disconnect(self) -> None:
        """No task of ours is left."""
        if self._versions is not None:
            self._versions.cancel()
            await asyncio.gather(self._versions, return_exceptions=True)
        await self._unsubscribe()

    # ---- what it tells

    @property
    def observed(self) -> set[str]:
        """Names of the workers that the scheduler knows."""
        return {str(worker["name"]) for worker in self.scheduler_info["workers"].values()}

    @property
    def requested(self) -> set[str]:
        """Names of the workers whose Pods there are."""
        if self.status is not Status.running:
            return set()
        return {
            pod["metadata"]["name"]
            for pod in self._session.live.workers
            if "deletionTimestamp" not in pod["metadata"]
        }

    @property
    def plan(self) -> set[str]:
        """Names of the workers that are to stay."""
        if self.status is not Status.running:
            return set()
        leaving = {
            pod["metadata"]["name"]
            for pod in self._session.live.workers
            if "dask.org/retiring" in (pod["metadata"].get("annotations") or {})
        }
        return self.requested - leaving

    def _is_open(self) -> None:
        """
        :raises RuntimeError: it is not, or not yet.
        :raises ClusterNotFoundError: somebody deleted the cluster.
        """
        if self.status is Status.created:
            raise RuntimeError("this KubeCluster is not started yet: await it first")
        if self.status in (Status.closing, Status.closed):
            raise RuntimeError(
                f"this KubeCluster is closed; KubeCluster.from_name({self.name!r}) connects again"
            )
        if self._session.is_deleted:
            raise self._session.deleted()

    @property
    def forwarded_dashboard_port(self) -> str | None:
        """Of the dashboard, where `dashboard_link` leads; None: not started, or closed."""
        if self.status is not Status.running:
            return None
        return str(self._session.way.dashboard[1])

    @property
    def jupyter_link(self) -> str:
        """Where Jupyter on the scheduler is.

        :raises RuntimeError: it runs none, or there is no connection.
        """
        self._is_open()
        link = links.jupyter(self._session.live.cluster or {}, self.dashboard_link)
        if not link:
            raise RuntimeError(f"cluster {self.name} runs no Jupyter; make it with jupyter=True")
        return link

    @property
    def dashboard_link(self) -> str:
        """Where the dashboard is, as ``distributed.dashboard.link`` writes it."""

        if self.status in (Status.created, Status.closed):
            return ""
        return links.dashboard(*self._session.way.dashboard)

    # ---- in a notebook

    def _snapshot(self) -> snapshot.Snapshot:
        """What there is to see now; the first time, groups begin to be watched."""
        where = {"name": self.name, "namespace": self.namespace}
        if self.status is not Status.running:
            state = "closed" if self.status is Status.closed else "not started yet"
            return snapshot.Snapshot(**where, state=state, mood="resting")
        live = self._session.live
        groups, autoscalers = background().call(live.beside())
        return snapshot.of(
            live.cluster, groups, autoscalers, dashboard=self.dashboard_link, **where
        )

    def _repr_html_(self, cluster_status: Any = None) -> str:
        return html.cluster(self._snapshot())

    def _widget(self) -> Any:
        """What a notebook shows; None where it has no ipywidgets."""
        if self._shown is None and self._has_widget and self.status is Status.running:
            self._shown = widget(
                self._snapshot,
                lambda n, group: self.scale(n, group),
                lambda low, high, group: self.adapt(low, high, group),
            )
            self._has_widget = self._shown is not None
            if self._shown is not None:
                self.loop.add_callback(self._keep_shown, self._shown)
        return None if self._shown is None else self._shown.widget

    def _keep_shown(self, shown: ClusterWidget) -> None:
        wish = dask.config.get("distributed.deploy.cluster-repr-interval", default="ms")
        callback = PeriodicCallback(shown.update, 1000 * parse_timedelta(wish, "ms"))
        self.periodic_callbacks["cluster-repr"] = callback
        callback.start()
