"""Objects of `KubeCluster` on a scheduler that runs here, with an API server in memory."""

from __future__ import annotations

import asyncio
import http.server
import pickle
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from importlib.metadata import version
from typing import Any

import dask.config
import pytest
from dask_gitops import make_cluster_spec
from dask_gitops.client import cluster as client
from dask_gitops.client.access import Access
from dask_gitops.client.arguments import CreateMode
from dask_gitops.client.background import background
from dask_gitops.client.classic import front
from dask_gitops.client.cluster import KubeCluster
from dask_gitops.client.errors import (
    ClusterNotFoundError,
    CustomResourcesMissingError,
    SchedulerStartupError,
    WorkerStartTimeoutError,
)
from dask_gitops.client.session import Session
from dask_gitops.client.subscription import Subscribed
from dask_gitops.kube import DASKCLUSTERS, DASKWORKERGROUPS, PODS, ApiError
from dask_gitops.kube.credentials import StaticCredentials
from distributed import Scheduler, Worker, exceptions
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
    return await Scheduler(host="127.0.0.1", port=0, dashboard_address=":0")


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
    with pytest.raises(SchedulerStartupError, match=f"ready, {address} does not answer: .+refused"):
        here.make(external_address=address, resource_timeout=1)
    assert not here.is_there()


def test_a_refusal_is_told_when_dasks_last_attempt_ran_out_of_time() -> None:
    """It had begun a moment before the end: whether it hears of the refusal is chance."""
    told: list[str] = []

    class One(Subscribed):
        def __init__(self) -> None:
            self._prepare()
            self._address = f"tcp://127.0.0.1:{unused_port()}"

        def _unreached(self, why: str) -> None:
            told.append(why)

    async def work() -> int:
        if not told:
            raise OSError("Timed out trying to connect after 5 s") from TimeoutError()
        return 1

    async def main() -> None:
        assert await One()._insist(work) == 1

    asyncio.run(main())
    first, last = told
    assert first == "Timed out trying to connect after 5 s: [Errno 111] Connection refused"
    assert last == ""


def test_something_else_answers_at_the_address(here: Here) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            address = f"tcp://127.0.0.1:{other.server_port}"
            with pytest.raises(SchedulerStartupError, match=f"{address} does not answer: [^:]+$"):
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


def test_workers_that_do_not_come_are_told_in_both_tongues(here: Here) -> None:
    with here.make() as one:
        theirs = getattr(exceptions, "WorkerStartTimeoutError", TimeoutError)  # as older ones do
        with pytest.raises(theirs) as caught:
            one.wait_for_workers(2, timeout=0.2)
        assert isinstance(caught.value, WorkerStartTimeoutError)
        assert str(caught.value) == "Only 0/2 workers arrived after 0."
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.expected_workers) == (str(caught.value), 2)


def test_no_thread_of_dask_is_left(here: Here) -> None:
    def loops() -> int:
        return sum(thread.name == "IO loop" for thread in threading.enumerate())

    before = loops()
    one = here.make()
    assert loops() == before + 1
    one.close()
    assert loops() == before
    one.close()


def test_a_close_that_fails_says_so(here: Here) -> None:
    one = here.make()
    here.api.fault("delete", error=ApiError(404, "", "404 page not found"), times=None)
    with pytest.raises(CustomResourcesMissingError):
        one.close()
    assert one.status is Status.closed


def test_what_is_closed_says_so(here: Here) -> None:
    one = here.make(jupyter=True)
    assert one.jupyter_link.endswith("/jupyter/lab")
    one.close()
    for ask in (
        lambda: one.jupyter_link,
        lambda: one.wait_for_workers(1),
        lambda: one.scale(1),
        lambda: one.get_logs(),
    ):
        with pytest.raises(RuntimeError, match="this KubeCluster is closed"):
            ask()


def test_what_is_not_awaited_yet_says_so(here: Here) -> None:
    async def told() -> None:
        one = KubeCluster(name="demo", quiet=True, asynchronous=True)
        for ask in (
            lambda: one.jupyter_link,
            lambda: one.wait_for_workers(1),
            lambda: one.scale(1),
            lambda: one.adapt(maximum=2),
            lambda: one.add_worker_group("x"),
            lambda: one.get_logs(),
        ):
            with pytest.raises(RuntimeError, match="not started yet: await it first"):
                ask()
        await one.close()

    asyncio.run(told())


def test_a_configured_spec_hides_no_cluster_of_another_name(here: Here) -> None:
    here.make("other", shutdown_on_close=False).close()
    with dask.config.set({"kubernetes.custom-cluster-spec": make_cluster_spec("other")}):
        with pytest.raises(ClusterNotFoundError, match="no DaskCluster 'demo' in 'team-b'"):
            KubeCluster.from_name("demo", quiet=True, external_address=here.address)
        with KubeCluster.from_name("other", quiet=True, external_address=here.address) as one:
            assert one.name == "other"


def test_a_name_that_counts_for_nothing_is_named(here: Here) -> None:
    spec = make_cluster_spec("demo")
    here.plays("demo")
    given = {"custom_cluster_spec": spec, "external_address": here.address, "quiet": True}
    with pytest.warns(UserWarning, match="ignored: name, image$"):
        KubeCluster(name="mine", image="x", **given).close()


def test_what_was_asked_for_can_be_read(here: Here) -> None:
    given = {
        "image": "x:1",
        "n_workers": 2,
        "resources": {"limits": {"cpu": "1"}},
        "env": {"A": "b"},
        "worker_command": "dask-worker",
        "scheduler_service_type": "ClusterIP",
        "jupyter": True,
        "idle_timeout": 60,
    }
    with here.make(scheduler_forward_port=0, **given) as one:
        assert {name: getattr(one, name) for name in given} == given
        assert one.create_mode is CreateMode.CREATE_OR_CONNECT
        assert (one.scheduler_forward_port, one.port_forward_cluster_ip) == (None, None)
        assert one.forwarded_dashboard_port == "8787"
        with pytest.raises(AttributeError):
            one.image = "y"  # type: ignore[misc]


def test_logs_are_those_of_pods(here: Here) -> None:
    with here.make() as one:
        for workers in (True, False, None, "tcp://x:1", ["demo-x"]):
            assert one.get_logs(workers=workers) == {"demo-scheduler": "log of demo-scheduler\n"}
        assert set(one.get_logs(cluster=True)) == {"Cluster", "demo-scheduler"}


def test_a_workers_pod_as_the_classic_cluster_took_it(
    here: Here, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No workers at first; what to write instead is told where it was written, the rest in lines, or not if quiet."""
    monkeypatch.setattr(front, "_told", set())
    pod = {"spec": {"containers": [{"name": "dask", "image": "dask:1", "args": ["dask-worker"]}]}}
    with pytest.warns(FutureWarning) as told:
        one = here.make(pod_template=pod, host="10.0.0.1", env={"A": 1})
    assert [(str(w.message), w.filename) for w in told] == [(front.INSTEAD, __file__)]
    assert caplog.messages == []
    with one:
        spec = one.to_manifest()["spec"]
        assert spec["worker"]["replicas"] == 0
        assert one.n_workers == 0
        for part in ("worker", "scheduler"):
            (container,) = spec[part]["spec"]["containers"]
            assert container["image"] == "dask:1"
            assert container["env"] == [{"name": "A", "value": "1"}]
        stored = here.api.find(DASKCLUSTERS, "team-b", "demo")
        assert stored is not None
        assert stored["spec"]["worker"]["spec"] == spec["worker"]["spec"]
    here.make("other", pod_template=pod, host="10.0.0.1", quiet=False).close()
    assert [line.partition(" is not ")[0] for line in caplog.messages] == [
        "host='10.0.0.1'",
        "scheduler-pdb-template",
    ]


def test_an_image_of_a_group_has_tokens_too(here: Here) -> None:
    with here.make() as one:
        one.add_worker_group("g", image="dask:{dask_version}")
        group = here.api.find(DASKWORKERGROUPS, "team-b", "demo-g")
        assert group is not None
        (container,) = group["spec"]["worker"]["spec"]["containers"]
        assert container["image"] == f"dask:{version('dask')}"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"security": True}, "security is True; give a distributed.Security"),
        ({"external_address": "tls://x:8786"}, "external_address is 'tls://x:8786', which needs"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    here: Here, given: JSON, words: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        KubeCluster(name="demo", quiet=True, **given)
    assert not here.is_there()


def test_a_cluster_that_somebody_deletes(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    one = here.make()
    here.remove()
    following = one._following
    assert following is not None
    for _ in range(500):  # the news takes a moment
        if following.done():
            break
        time.sleep(0.01)
    assert following.done()
    for ask in (
        lambda: one.scale(1),
        lambda: one.add_worker_group("x"),
        lambda: one.get_logs(),
        lambda: one.wait_for_workers(1),
        lambda: one.jupyter_link,
    ):
        with pytest.raises(ClusterNotFoundError, match=r"^DaskCluster team-b/demo was deleted$"):
            ask()
    told = [record for record in caplog.records if record.name == "dask_gitops"]
    assert [record.getMessage() for record in told] == ["DaskCluster team-b/demo was deleted"]
    one.close()


def test_who_waits_for_workers_hears_of_it(here: Here) -> None:
    one = here.make()
    threading.Timer(0.3, here.remove).start()
    with pytest.raises(ClusterNotFoundError, match="was deleted"):
        one.wait_for_workers(1)
    one.close()
