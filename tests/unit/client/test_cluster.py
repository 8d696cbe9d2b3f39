"""Objects of `KubeCluster` on a scheduler that runs here, with an API server in memory."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from dask_gitops.client import cluster as client
from dask_gitops.client.access import Access
from dask_gitops.client.background import background
from dask_gitops.client.cluster import KubeCluster
from dask_gitops.client.errors import SchedulerStartupError
from dask_gitops.client.session import Session
from dask_gitops.kube import DASKCLUSTERS, PODS
from dask_gitops.kube.credentials import StaticCredentials
from distributed import Scheduler, Worker
from distributed.core import Status
from distributed.utils import LoopRunner, sync

from tests.support.memory_api import MemoryApi, MemoryClient

JSON = dict[str, Any]
ACCESS = Access(StaticCredentials("https://10.0.0.1:6443", namespace="team-b"), context="prod")


class Client(MemoryClient):
    """As a `KubeClient`."""

    async def close(self) -> None:
        assert self.server is not None

    async def logs(self, namespace: str, name: str, **options: Any) -> str:
        return f"log of {name}\n"


class Here:
    """A scheduler in a thread of its own, and what a controller would do.

    :ivar address: of the scheduler.
    """

    def __init__(self) -> None:
        self._runner = LoopRunner(loop=None, asynchronous=False)
        self._runner.start()
        self.scheduler: Scheduler = self.run(_scheduler)
        self.address: str = self.scheduler.address
        self.api: MemoryApi = background().call(_api())
        self._playing: list[Any] = []
        self._workers: list[Worker] = []

    def run(self, work: Callable[..., Coroutine[Any, Any, Any]], *given: Any) -> Any:
        return sync(self._runner.loop, work, *given)

    def plays(self, name: str = "demo") -> None:
        """The scheduler's Pod comes once its cluster is there, and goes with it."""
        self._playing.append(background().submit(_plays(self.api, name)))

    def remove(self, name: str = "demo") -> None:
        """Somebody else deletes it."""

        async def gone() -> None:
            self.api.remove(DASKCLUSTERS, "team-b", name)

        background().call(gone())

    def is_there(self, name: str = "demo") -> bool:
        return self.api.find(DASKCLUSTERS, "team-b", name) is not None

    def worker(self) -> None:
        async def begun() -> Worker:
            return await Worker(self.address, dashboard=False)

        self._workers.append(self.run(begun))

    def make(self, name: str = "demo", **given: Any) -> KubeCluster:
        self.plays(name)
        return KubeCluster(
            **{"name": name, "quiet": True, "external_address": self.address} | given
        )

    def close(self) -> None:
        for playing in self._playing:
            playing.cancel()
        for worker in self._workers:
            self.run(worker.close)
        self.run(self.scheduler.close)
        self._runner.stop()


async def _api() -> MemoryApi:
    return MemoryApi()


async def _scheduler() -> Scheduler:
    return await Scheduler(host="127.0.0.1", port=0, dashboard=False)


async def _plays(api: MemoryApi, name: str) -> None:
    while (cluster := api.find(DASKCLUSTERS, "team-b", name)) is None:
        await asyncio.sleep(0.02)
    owner = {
        "kind": "DaskCluster",
        "name": name,
        "uid": cluster["metadata"]["uid"],
        "controller": True,
    }
    labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    pod = {
        "metadata": {
            "name": f"{name}-scheduler",
            "namespace": "team-b",
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {"nodeName": "n", "containers": [{"name": "scheduler"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "scheduler", "ready": True, "state": {"running": {}}}],
        },
    }
    api.put(PODS, pod)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    one = Here()
    defaults = Session.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "connect", lambda credentials: Client(one.api, "us"))
    monkeypatch.setattr(client, "access", lambda *given: ACCESS)
    yield one
    one.close()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_a_scheduler_that_is_ready_and_cannot_be_reached(here: Here) -> None:
    address = f"tcp://127.0.0.1:{unused_port()}"
    with pytest.raises(SchedulerStartupError, match=f"ready, {address} does not answer: .+"):
        here.make(external_address=address, resource_timeout=1)
    assert not here.is_there()


def test_something_else_answers_at_the_address(here: Here) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            address = f"tcp://127.0.0.1:{other.server_port}"
            with pytest.raises(SchedulerStartupError, match=f"{address} does not answer: .+"):
                here.make(external_address=address, resource_timeout=1)
        finally:
            other.shutdown()
            thread.join()


def test_a_connection_that_breaks_does_not_end_the_start(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = here.scheduler.handlers["get_metadata"]
    asked: list[int] = []

    async def breaks(comm: Any, **given: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            comm.abort()
        return answered(**given)

    monkeypatch.setitem(here.scheduler.handlers, "get_metadata", breaks)
    with here.make() as one:
        assert one.status is Status.running
    assert len(asked) > 1


def test_two_objects_of_one_cluster_both_hear_of_workers(here: Here) -> None:
    with (
        here.make() as first,
        KubeCluster.from_name("demo", quiet=True, external_address=here.address) as second,
    ):
        here.worker()
        for one in (first, second):
            one.wait_for_workers(1, timeout=30)
            assert len(one.scheduler_info["workers"]) == 1


def test_an_object_that_is_closed_leaves_the_other_its_news(here: Here) -> None:
    with here.make() as first:
        KubeCluster.from_name("demo", quiet=True, external_address=here.address).close()
        here.worker()
        first.wait_for_workers(1, timeout=30)
        assert here.is_there()
    assert not here.is_there()
