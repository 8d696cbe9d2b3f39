"""``KubeCluster``: a Dask cluster on Kubernetes, as a Python object."""

from __future__ import annotations

import asyncio
import copy
import logging
import warnings
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, TypeVar

import dask.config
from distributed.core import Status
from distributed.utils import Log, Logs, NoOpAwaitable

from dask_gitops.client import actions, arguments, lifetime, names, start, who
from dask_gitops.client.access import access
from dask_gitops.client.adaptive import Adapting
from dask_gitops.client.appearance import Appearance
from dask_gitops.client.arguments import CreateMode
from dask_gitops.client.asked import Asked
from dask_gitops.client.background import background, first_of
from dask_gitops.client.classic.front import Classic, hear, tell
from dask_gitops.client.errors import DaskGitopsError
from dask_gitops.client.late import WorkerStartTimeoutError
from dask_gitops.client.session import Session
from dask_gitops.client.settings import configured, settings
from dask_gitops.client.values import values, written
from dask_gitops.client.wanted import wanted
from dask_gitops.client.ways import Plan

JSON = dict[str, Any]
T = TypeVar("T")
Env = Mapping[str, str] | Sequence[Mapping[str, Any]]
log = logging.getLogger("dask_gitops")
#: Arguments that are no settings.
_APART = (
    "self",
    "__class__",
    "quiet",
    "loop",
    "asynchronous",
    "scheduler_sync_interval",
    "pod_template",
    "classic",
)


class KubeCluster(Classic, Appearance, Asked):
    """A DaskCluster on Kubernetes: made, or connected to when one of that name exists.

    See docs/python.md for every argument. What is not given is taken from Dask's configuration
    (``kubernetes.*``).

    :param pod_template: a worker's Pod as the classic KubeCluster took it: a path, a dict, an object;
        or the cluster's name.
    :param name: with tokens, such as ``dask-{user}-{uuid}``.
    :param namespace: None: the Pod's own, or the context's.
    :param n_workers: of the group ``default``; None: 1.
    :param resources: ``{"limits": {...}, "requests": {...}}``, of scheduler and workers.
    :param custom_cluster_spec: a DaskCluster as dict, YAML text or path.
    :param shutdown_on_close: None: True for what this object created, else False.
    :param resource_timeout: seconds that nobody may act on it, or that a state may last which does
        not pass by itself; 0: as long as the controller has patience.
    :param classic: further arguments of the classic KubeCluster, see docs/migrating.md.
    :raises TypeError, ValueError: an argument cannot be that.
    :raises DaskGitopsError: see `dask_gitops.client.errors`.
    """

    def __init__(
        self,
        pod_template: Any = None,
        *,
        name: str | None = None,
        namespace: str | None = None,
        image: str | None = None,
        n_workers: int | None = None,
        resources: Mapping[str, Any] | None = None,
        env: Env | None = None,
        worker_command: str | Sequence[str] | None = None,
        port_forward_cluster_ip: bool | None = None,
        create_mode: CreateMode | str | None = None,
        shutdown_on_close: bool | None = None,
        idle_timeout: float | str | None = None,
        resource_timeout: float | None = None,
        scheduler_service_type: str | None = None,
        custom_cluster_spec: Any = None,
        scheduler_forward_port: int | None = None,
        jupyter: bool | None = None,
        quiet: bool = False,
        loop: Any = None,
        asynchronous: bool = False,
        scheduler_sync_interval: float | str = 1,
        security: Any = None,
        worker_resources: Mapping[str, Any] | None = None,
        scheduler_resources: Mapping[str, Any] | None = None,
        worker_template: Mapping[str, Any] | None = None,
        scheduler_template: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        context: str | None = None,
        kubeconfig: str | None = None,
        external_address: str | None = None,
        tie_to_pod: bool | None = None,
        **classic: Any,
    ) -> None:
        given = dict(locals())
        self.status = Status.closed  # until there is something to close
        given = {key: value for key, value in given.items() if key not in _APART}
        heard = hear(given, pod_template, classic, _APART)
        self._given = given = heard.given
        self._settings = chosen = settings(given, configured())
        self._wanted = what = wanted(chosen, given, who.tokens(), pods=heard.pods)
        if heard.is_classic:
            tell(() if quiet else (*heard.remarks, *what.remarks))
        if what.ignored:
            warnings.warn(
                f"custom_cluster_spec says itself what the cluster is; ignored: {', '.join(what.ignored)}",
                stacklevel=2,
            )
        reached = access(chosen.kubeconfig, chosen.context)
        self.namespace = chosen.namespace or reached.namespace
        self.shutdown_on_close = chosen.shutdown_on_close
        self.security = chosen.security
        self._session = Session(
            reached,
            self.namespace,
            what.name,
            what,
            chosen.create_mode,
            chosen.resource_timeout,
            Plan(
                reached.inside,
                chosen.port_forward_cluster_ip,
                chosen.external_address,
                chosen.scheduler_forward_port,
                "tls" if who.is_tls(chosen.security) else "tcp",
                "proxy/{port}" in dask.config.get("distributed.dashboard.link", ""),
            ),
            who.created_by(),
            self._show,
            keep=chosen.shutdown_on_close is False,
            tie_to_pod=chosen.tie_to_pod,
        )
        self._closing: asyncio.Future[None] | None = None
        self._starting: asyncio.Future[None] | None = None
        self._prepare()
        self._prepare_to_show(what.name, quiet)
        super().__init__(
            name=what.name,
            asynchronous=asynchronous,
            loop=loop,
            quiet=quiet,
            scheduler_sync_interval=scheduler_sync_interval,
        )
        lifetime.watch_over(self)
        if not self.called_from_running_loop:
            self._loop_runner.start()
            try:
                self.sync(self._start)
            except BaseException:
                # An interrupt leaves Dask's loop behind in the midst of it.
                background().call(self._session.undo())
                self._ended()
                self._loop_runner.stop()
                raise

    @classmethod
    def from_name(cls, name: str, **arguments: Any) -> KubeCluster:
        """The cluster of that name, which exists; it is not deleted with this object.

        :param name: ``name`` or ``namespace/name``.
        :raises ClusterNotFoundError: it does not exist.
        """
        namespace, _, short = name.rpartition("/")
        if namespace:
            arguments["namespace"] = namespace
        defaults: JSON = {"create_mode": CreateMode.CONNECT_ONLY, "shutdown_on_close": False}
        return cls(name=short, **(defaults | arguments))

    # ---- start

    def __await__(self) -> Generator[Any, None, KubeCluster]:
        async def started() -> KubeCluster:
            if self.status is Status.created:
                if self._starting is None:
                    self._starting = asyncio.ensure_future(self._start())
                await self._starting
            return self

        return started().__await__()

    async def _start(self) -> None:
        """In Dask's loop."""
        session, kubernetes = self._session, background()
        try:
            await kubernetes.acall(session.start())
            if self.shutdown_on_close is None:
                self.shutdown_on_close = session.created
            security = self.security.get_connection_args("client") if self.security else {}
            await first_of(
                self._meet(session.way.address, security), kubernetes.acall(session.failure())
            )
            await kubernetes.acall(session.started())
        except BaseException as error:
            await asyncio.shield(self._give_up(error))
            raise
        self.status = Status.running
        self._sync_cluster_info_task = asyncio.ensure_future(self._sync_cluster_info())
        self._connected()

    async def _meet(self, address: str, connection_args: JSON) -> None:
        await self._connect(address, connection_args, self._news)
        info = await self._insist(
            lambda: self.scheduler_comm.get_metadata(keys=["cluster-manager-info"], default={})
        )
        self._cluster_info.update(info)

    def _unreached(self, why: str) -> None:
        self._session.unreached = why

    def _is_gone(self) -> bool:
        """Somebody deleted the cluster: said once, and nobody is asked any more."""
        if not self._session.is_deleted or self.status is not Status.running:
            return False
        log.warning("%s", self._session.deleted())
        self._sync_cluster_info_task.cancel()
        return True

    async def _news(self, seen: int, timeout_s: float | None) -> int:
        return await background().acall(self._session.live.news(seen, timeout_s))

    async def _give_up(self, error: BaseException) -> None:
        self._failed(error)
        await background().acall(self._session.undo())
        await self._disconnect()
        if self.scheduler_comm:
            await self.scheduler_comm.close_rpc()
        self._ended()

    # ---- end

    def close(self, timeout: float | None = None) -> Any:
        """Let go of the cluster; delete it if ``shutdown_on_close`` says so, and wait until it is gone.

        :param timeout: seconds; None: however long it takes.
        :raises TimeoutError: it was not gone in time.
        """
        if self.status is Status.closed:
            return NoOpAwaitable() if self.asynchronous else None
        if self.asynchronous:
            return asyncio.ensure_future(self._close(timeout))
        try:
            return self.sync(self._close, timeout)
        except DaskGitopsError:
            raise
        except RuntimeError:  # Dask's loop has ended with the process
            return None
        finally:
            self._loop_runner.stop()

    async def _close(self, timeout: float | None = None) -> None:
        if self._closing is None:
            if self.status is Status.closed:
                return
            self._closing = asyncio.ensure_future(self._close_once(timeout))
        await asyncio.shield(self._closing)

    async def _close_once(self, timeout: float | None) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
            return
        self.status = Status.closing
        try:
            await self._disconnect()
            await super()._close()
        finally:
            self.status = Status.closing
            try:
                delete = bool(self.shutdown_on_close)
                await background().acall(self._session.close(delete=delete, timeout_s=timeout))
            finally:
                self._ended()

    def _ended(self) -> None:
        lifetime.let_go(self)
        self.status = Status.closed

    def _forked(self) -> None:
        self.status = Status.closed

    def _at_exit(self, deadline: float) -> None:
        self.status = Status.closed
        if self.shutdown_on_close or (self.shutdown_on_close is None and self._session.created):
            self._session.delete_now(deadline)

    # ---- what it is asked for

    def _ask(self, what: Callable[[Session], Coroutine[Any, Any, T]]) -> Any:
        """Begin it at once, also where nobody awaits it; its result, or something to await."""
        self._is_open()
        work = self._session.told(what(self._session))
        if self.asynchronous:
            return asyncio.wrap_future(background().submit(work))
        return background().call(work)

    def scale(self, n: int, worker_group: str = "default") -> Any:
        """Set the number of workers of a group; its autoscaler goes, if it has one.

        :raises WorkerGroupNotFoundError: there is no such group.
        """
        count = arguments.count("n", n)
        if self._settings.maximum is not None and count > self._settings.maximum:
            count = self._settings.maximum
        return self._ask(lambda session: actions.scale(session, count, worker_group))

    def adapt(
        self,
        minimum: int | None = None,
        maximum: int | None = None,
        worker_group: str = "default",
        interval: float | str | None = None,
        wait_count: int | None = None,
        Adaptive: Any = None,
        **unknown: Any,
    ) -> Adapting:
        """Let the controller choose the number of workers, within bounds.

        :param interval: seconds between two looks at the demand.
        :param wait_count: so many looks in a row must ask for fewer before workers go.
        :returns: what has ``minimum``, ``maximum`` and ``stop()``; awaitable.
        """
        adapting = Adapting.of(
            minimum,
            self._settings.maximum if maximum is None else maximum,
            worker_group,
            interval,
            wait_count,
            Adaptive,
            unknown,
            self._ask,
        )
        adapting.begin()
        return adapting

    def add_worker_group(
        self,
        name: str,
        n_workers: int | None = 3,
        image: str | None = None,
        resources: Mapping[str, Any] | None = None,
        worker_command: str | Sequence[str] | None = None,
        env: Env | None = None,
        custom_spec: Mapping[str, Any] | None = None,
        worker_template: Mapping[str, Any] | None = None,
    ) -> Any:
        """Make another group of workers; what is not given is as in the group ``default``.

        :param custom_spec: ``spec.worker`` of a DaskWorkerGroup, instead of all others.
        :raises ClusterExistsError: there is one of that name.
        """
        worker = actions.worker_of(
            n_workers,
            None if image is None else names.image_name(image, who.tokens()),
            resources,
            worker_command,
            env,
            custom_spec,
            worker_template,
        )
        return self._ask(lambda session: actions.add_group(session, name, worker))

    def delete_worker_group(self, name: str) -> Any:
        """:raises WorkerGroupNotFoundError: there is no such group."""
        return self._ask(lambda session: actions.delete_group(session, name))

    def get_logs(
        self,
        cluster: bool = False,
        scheduler: bool = True,
        workers: Any = True,
        *,
        previous: bool = False,
        tail: int | None = None,
    ) -> Any:
        """The Pods' logs, by name.

        :param cluster: also what was said while it started, as ``Cluster``.
        :param workers: all, none (as None), or addresses or names of some.
        :param previous: of the containers before the last restart.
        :param tail: the last so many lines.
        """
        looked_for = actions.which_pods(scheduler, workers, self.scheduler_info)

        async def found(session: Session) -> Logs:
            texts = await actions.logs(session, looked_for, previous, tail)
            told = {"Cluster": "\n".join(line for _, line in self._cluster_manager_logs)}
            return Logs({k: Log(v) for k, v in {**(told if cluster else {}), **texts}.items()})

        return self._ask(found)

    def wait_for_workers(self, n_workers: int, timeout: float | str | None = None) -> Any:
        """Wait until the scheduler knows so many workers.

        :param timeout: seconds; None: however long it takes.
        :raises WorkerStartTimeoutError: they did not come in time; says why.
        """
        self._is_open()
        wanted = arguments.count("n_workers", n_workers)
        seconds = None if timeout is None else arguments.seconds("timeout", timeout)
        return self.sync(self._wait_for_workers, wanted, seconds)

    async def _wait_for_workers(self, n_workers: int = 0, timeout: float | None = None) -> None:
        def so() -> bool:
            self._is_open()
            return len(self.scheduler_info["workers"]) >= n_workers

        try:
            await self._until_heard(so, timeout)
        except TimeoutError:
            arrived = len(self.scheduler_info["workers"])
            pods = self._session.live.workers
            words = start.lacking(n_workers, arrived, pods, timeout or 0.0)
            raise WorkerStartTimeoutError(words, arrived, n_workers, timeout or 0.0) from None

    # ---- what it tells

    def to_manifest(self) -> JSON:
        """The DaskCluster as its user wrote it, for git: ours as it was asked for, another as it is."""
        live = None if self.status is not Status.running else self._session.live.cluster
        if self._session.created or live is None:
            return copy.deepcopy(self._wanted.objects.cluster)
        return written(live)

    def to_values(self) -> JSON:
        """The same as values of the chart: ``{"clusters": {NAME: ...}}``."""
        return values(self.to_manifest())
