"""Clusters found, made and let go, with an API server in memory and in virtual time."""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dask_gitops.client.access import Access
from dask_gitops.client.arguments import CreateMode
from dask_gitops.client.errors import (
    ClusterExistsError,
    ClusterNotFoundError,
    ControllerSilentError,
    CustomResourcesMissingError,
    DaskGitopsError,
    NotAllowedError,
    SchedulerStartupError,
)
from dask_gitops.client.session import CREATED_BY, Session
from dask_gitops.client.settings import settings
from dask_gitops.client.wanted import wanted
from dask_gitops.client.ways import Plan
from dask_gitops.kube import DASKCLUSTERS, DASKWORKERGROUPS, PODS, SERVICES, ApiError
from dask_gitops.kube.credentials import StaticCredentials

from tests.support.memory_api import MemoryApi, MemoryClient
from tests.support.virtual_time import run

JSON = dict[str, Any]
ACCESS = Access(StaticCredentials("https://10.0.0.1:6443"), context="prod", where="config")
OUTSIDE = Plan(inside=False)
FAULTS = [
    (error, when)
    for error in ("timeout", "reset", "refused", 500, 429, 410)
    for when in ("before", "after")
    if (error, when) != ("refused", "after")  # which had no effect
]


class Client(MemoryClient):
    """As a `KubeClient` whose Pods have printed something."""

    async def close(self) -> None:
        assert self.server is not None

    async def logs(self, namespace: str, name: str, **options: Any) -> str:
        return "".join(LOG.splitlines(keepends=True)[-options["tail"] :])


def session(
    api: MemoryApi,
    mode: CreateMode = CreateMode.CREATE_OR_CONNECT,
    plan: Plan = OUTSIDE,
    **given: Any,
) -> Session:
    said: list[str] = []
    more = {key: given.pop(key) for key in ("keep",) if key in given}
    one = Session(
        ACCESS,
        "team-b",
        "demo",
        wanted(settings({"name": "demo", **given}, {}), given, {}),
        mode,
        60.0,
        plan,
        "ann@laptop",
        lambda line, seconds: said.append(line),
        connect=lambda credentials: Client(api, "us"),
        **more,
    )
    one.said = said  # type: ignore[attr-defined]
    return one


RUNNING: JSON = {
    "phase": "Running",
    "containerStatuses": [{"name": "scheduler", "state": {"running": {}}}],
}


def running(api: MemoryApi, status: JSON = RUNNING) -> None:
    """The scheduler's Pod, whose container runs."""
    cluster = api.find(DASKCLUSTERS, "team-b", "demo")
    assert cluster is not None
    owner = {
        "kind": "DaskCluster",
        "name": "demo",
        "uid": cluster["metadata"]["uid"],
        "controller": True,
    }
    api.put(
        PODS,
        {
            "metadata": {
                "name": "demo-scheduler",
                "namespace": "team-b",
                "labels": {
                    "dask.org/cluster-name": "demo",
                    "dask.org/component": "scheduler",
                },
                "ownerReferences": [owner],
            },
            "spec": {"nodeName": "n", "containers": [{"name": "scheduler"}]},
            "status": status,
        },
    )


async def plays(api: MemoryApi) -> None:
    """The controller and a node."""
    while api.find(DASKCLUSTERS, "team-b", "demo") is None:
        await asyncio.sleep(0.1)
    running(api)


def story(
    told: Callable[[MemoryApi], Awaitable[None]], world: Callable[[MemoryApi], Awaitable[None]]
) -> MemoryApi:
    """Run it beside its world; no task is left."""
    api = MemoryApi()

    async def main() -> None:
        beside = asyncio.ensure_future(world(api))
        try:
            await told(api)
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    run(main())
    return api


async def nobody(api: MemoryApi) -> None:
    """Nobody acts."""


def test_one_create_and_nothing_read_but_the_watches() -> None:
    async def told(api: MemoryApi) -> None:
        one = session(api)
        await one.start()
        assert one.created
        assert one.way.address.startswith("tcp://127.0.0.1:")
        made = api.find(DASKCLUSTERS, "team-b", "demo")
        assert made is not None
        assert made["metadata"]["annotations"][CREATED_BY] == "ann@laptop"
        before = len(api.log)
        await asyncio.sleep(200)
        assert len(api.log) == before, "an idle one asks for nothing"
        await one.close(delete=True)
        assert api.find(DASKCLUSTERS, "team-b", "demo") is None

    api = story(told, plays)
    assert api.count("create") == 1
    assert api.count("get") == 0
    assert api.count("delete") == 1


def test_what_exists_is_connected_to_and_stays() -> None:
    async def told(api: MemoryApi) -> None:
        api.put(DASKCLUSTERS, {"metadata": {"name": "demo", "namespace": "team-b"}})
        running(api)
        one = session(api)
        await one.start()
        assert not one.created
        await one.close(delete=False)
        assert api.find(DASKCLUSTERS, "team-b", "demo") is not None

    assert not story(told, nobody).writes()


def test_somebody_else_was_faster() -> None:
    """409: it is connected to."""

    async def told(api: MemoryApi) -> None:
        def other(request: Any) -> None:
            if request.verb == "create" and not api.find(DASKCLUSTERS, "team-b", "demo"):
                api.put(DASKCLUSTERS, {"metadata": {"name": "demo", "namespace": "team-b"}})
                running(api)

        api.admission.append(other)
        one = session(api)
        await one.start()
        assert not one.created
        await one.close(delete=False)

    story(told, nobody)


@pytest.mark.parametrize(("fault", "when"), FAULTS)
@pytest.mark.parametrize("verb", ["list", "watch", "create", "delete"])
def test_a_fault_at_any_request_ends_the_same(verb: str, fault: Any, when: Any) -> None:
    error = ApiError(fault, "", "no") if isinstance(fault, int) else fault

    async def told(api: MemoryApi) -> None:
        struck = api.fault(verb, error=error, when=when)
        one = session(api)
        try:
            await one.start()
            assert one.created
            await one.close(delete=True)
        except DaskGitopsError:
            await one.undo()
        await asyncio.sleep(60)
        assert struck.hits == 1
        assert api.items(DASKCLUSTERS) == []

    api = story(told, plays)
    assert sum("201" in str(request.status) for request in api.requests("create")) <= 1


def refused(api: MemoryApi, status: int, reason: str, message: str) -> None:
    api.fault("create", DASKCLUSTERS, error=ApiError(status, reason, message), times=None)


def test_exact_words() -> None:
    """Of what Kubernetes refuses, and what nobody does."""
    what = "DaskCluster team-b/demo"

    async def told(api: MemoryApi) -> None:
        async def fails(kind: type[Exception], words: str, **given: Any) -> None:
            one = session(api, **given)
            with pytest.raises(kind) as caught:
                await one.start()
            await one.undo()
            assert str(caught.value) == words
            api.faults.clear()

        api.fault("list", DASKCLUSTERS, error=ApiError(404, "", "404 page not found"), times=None)
        await fails(
            CustomResourcesMissingError,
            "this Kubernetes does not know DaskCluster: install the chart first "
            "(helm install ...), context 'prod'",
        )
        refused(
            api,
            403,
            "Forbidden",
            'daskclusters.kubernetes.dask.org is forbidden: User "ann" cannot create resource '
            '"daskclusters" in API group "kubernetes.dask.org" in the namespace "team-b"',
        )
        await fails(
            NotAllowedError,
            "user 'ann' may not create daskclusters in namespace 'team-b'; ask for the role "
            "'edit' there, or use namespace=",
        )
        refused(api, 403, "Forbidden", 'daskclusters "demo" is forbidden: exceeded quota: test')
        await fails(
            SchedulerStartupError,
            'Scheduler failed to start. daskclusters "demo" is forbidden: exceeded quota: test',
        )
        refused(api, 422, "Invalid", 'DaskCluster "demo" is invalid: spec.x: no')
        await fails(
            SchedulerStartupError,
            'Scheduler failed to start. DaskCluster "demo" is invalid: spec.x: no',
        )
        for name in ("web", "etl"):
            api.put(DASKCLUSTERS, {"metadata": {"name": name, "namespace": "team-b"}})
        await fails(
            ClusterNotFoundError,
            "no DaskCluster 'demo' in 'team-b'; there are: etl, web",
            mode=CreateMode.CONNECT_ONLY,
        )
        await fails(
            ControllerSilentError,
            f"{what} was not acted on for 60 s, is the Dask Operator running? Nothing serves "
            "namespace 'team-b'",
        )
        assert api.find(DASKCLUSTERS, "team-b", "demo") is None
        api.warn = lambda res, body: ['unknown field "spec.idleAction"']
        await fails(
            CustomResourcesMissingError,
            "DaskCluster here has no field spec.idleAction: its definitions are older than this "
            "client; helm show crds ... | kubectl apply --server-side -f -",
        )
        assert api.find(DASKCLUSTERS, "team-b", "demo") is None
        api.put(DASKCLUSTERS, {"metadata": {"name": "demo", "namespace": "team-b"}})
        await fails(
            ClusterExistsError,
            f"{what} exists already, and create_mode is CREATE_ONLY",
            mode=CreateMode.CREATE_ONLY,
        )

    story(told, nobody)


def waiting(reason: str, message: str, **more: Any) -> JSON:
    """The status of a Pod whose container does not come up."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": "scheduler", "image": "x:y", "state": state, **more}],
    }


LOG = "".join(f"line {i}\n" for i in range(30))
CRASHED = {"terminated": {"reason": "Error", "exitCode": 1, "finishedAt": "2030-01-01T00:00:00Z"}}
NOWHERE = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient memory.",
        }
    ],
}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            waiting("CrashLoopBackOff", "back-off", restartCount=3, lastState=CRASHED),
            "Scheduler failed to start. It ended 3 times, last with exit code 1:\n"
            + "".join(LOG.splitlines(keepends=True)[-20:]),
        ),
        (
            waiting("ImagePullBackOff", "Back-off pulling image"),
            "Scheduler failed to start. *x:y*Back-off pulling image*",
        ),
        (NOWHERE, "Scheduler failed to start. *0/3 nodes are available: 3 Insufficient memory*"),
    ],
)
def test_a_scheduler_that_does_not_come_up(status: JSON, words: str) -> None:
    """It is given up when that has lasted resource_timeout; what was created goes."""

    async def told(api: MemoryApi) -> None:
        one = session(api)
        began = asyncio.get_running_loop().time()
        with pytest.raises(SchedulerStartupError) as caught:
            await one.start()
        await one.undo()
        assert fnmatch.fnmatchcase(str(caught.value), words), str(caught.value)
        assert 60 <= asyncio.get_running_loop().time() - began < 63
        assert api.find(DASKCLUSTERS, "team-b", "demo") is None

    async def world(api: MemoryApi) -> None:
        while api.find(DASKCLUSTERS, "team-b", "demo") is None:
            await asyncio.sleep(0.1)
        running(api, status)

    story(told, world)


def test_what_a_failed_start_created_stays_where_that_was_wished() -> None:
    async def told(api: MemoryApi) -> None:
        one = session(api, keep=True)
        with pytest.raises(ControllerSilentError):
            await one.start()
        await one.undo()
        assert api.find(DASKCLUSTERS, "team-b", "demo") is not None

    story(told, nobody)


@pytest.mark.parametrize("late_s", [3.0, 20.0])
def test_an_interrupt_while_the_create_is_under_way(late_s: float) -> None:
    """Its answer comes later, or too late, and what it made goes."""

    async def told(api: MemoryApi) -> None:
        api.fault("create", error=None, when="after", delay_s=late_s)
        one = session(api)
        starting = asyncio.ensure_future(one.start())
        while not api.items(DASKCLUSTERS):
            await asyncio.sleep(0.1)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await one.undo()
        assert api.items(DASKCLUSTERS) == []

    story(told, nobody)


@pytest.mark.parametrize(
    "label", ["kustomize.toolkit.fluxcd.io/name", "app.kubernetes.io/instance"]
)
def test_what_a_tool_keeps_is_never_deleted(label: str) -> None:
    async def told(api: MemoryApi) -> None:
        metadata = {"name": "demo", "namespace": "team-b", "labels": {label: "x"}}
        api.put(DASKCLUSTERS, {"metadata": metadata})
        running(api)
        one = session(api)
        await one.start()
        await one.close(delete=True)
        assert api.find(DASKCLUSTERS, "team-b", "demo") is not None

    assert not story(told, nobody).writes()


def test_another_object_of_that_name_is_never_deleted() -> None:
    async def told(api: MemoryApi) -> None:
        one = session(api)
        await one.start()
        api.remove(DASKCLUSTERS, "team-b", "demo")
        api.put(DASKCLUSTERS, {"metadata": {"name": "demo", "namespace": "team-b"}})
        await one.close(delete=True)
        assert api.find(DASKCLUSTERS, "team-b", "demo") is not None

    story(told, plays)


def test_it_is_being_deleted() -> None:
    async def told(api: MemoryApi) -> None:
        metadata = {"name": "demo", "namespace": "team-b", "finalizers": ["example.org/x"]}
        made = api.put(DASKCLUSTERS, {"metadata": metadata})
        await api.delete(DASKCLUSTERS, "team-b", "demo", uid=made["metadata"]["uid"])
        one = session(api)
        with pytest.raises(ClusterNotFoundError) as caught:
            await one.start()
        await one.undo()
        words = "DaskCluster team-b/demo is being deleted since * s; wait, or use another name"
        assert fnmatch.fnmatchcase(str(caught.value), words)

    story(told, nobody)


def test_somebody_deletes_it_while_it_starts() -> None:
    async def told(api: MemoryApi) -> None:
        one = session(api)
        with pytest.raises(ClusterNotFoundError, match="team-b/demo was deleted while it started"):
            await one.start()
        await one.undo()

    async def world(api: MemoryApi) -> None:
        while api.find(DASKCLUSTERS, "team-b", "demo") is None:
            await asyncio.sleep(0.1)
        api.remove(DASKCLUSTERS, "team-b", "demo")

    story(told, world)


def test_what_the_user_wrote_beside_it_goes_with_it() -> None:
    text = """
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: demo}
spec: {worker: {}, scheduler: {}, ides: 1}
---
apiVersion: kubernetes.dask.org/v1
kind: DaskWorkerGroup
metadata: {name: demo-more}
spec: {cluster: demo, worker: {}}
"""

    async def told(api: MemoryApi) -> None:
        # A field that is not ours may be a slip of the user: no reason to call the server old.
        api.warn = lambda res, body: ['unknown field "spec.ides"']
        one = session(api, custom_cluster_spec=text)
        await one.start()
        (group,) = api.items(DASKWORKERGROUPS)
        (owner,) = group["metadata"]["ownerReferences"]
        assert owner["uid"] == one.uid
        await one.close(delete=True)

    story(told, plays)


def test_a_port_in_use() -> None:
    async def told(api: MemoryApi) -> None:
        with socket.create_server(("127.0.0.1", 0)) as used:
            port = used.getsockname()[1]
            one = session(api, plan=Plan(inside=False, dashboard_port=port))
            with pytest.raises(OSError, match="scheduler_forward_port") as caught:
                await one.start()
            await one.undo()
        words = (
            f"scheduler_forward_port {port} is in use on this machine; leave it out for a free one"
        )
        assert str(caught.value) == words
        assert caught.value.errno == errno.EADDRINUSE

    assert not story(told, nobody).writes(), "it is looked at before anything is made"


def test_a_namespace_that_is_not_there() -> None:
    async def told(api: MemoryApi) -> None:
        refused(api, 404, "NotFound", 'namespaces "team-b" not found')
        one = session(api)
        words = (
            "Scheduler failed to start. There is no namespace 'team-b'; "
            "kubectl create namespace team-b, or use namespace="
        )
        with pytest.raises(SchedulerStartupError) as caught:
            await one.start()
        await one.undo()
        assert str(caught.value) == words

    story(told, nobody)


def test_a_load_balancer_is_waited_for_and_its_ports_are_the_services() -> None:
    async def told(api: MemoryApi) -> None:
        one = session(api, scheduler_service_type="LoadBalancer")
        await one.start()
        assert one.way.address == "tcp://192.0.2.7:18786"
        assert one.way.dashboard == ("192.0.2.7", 8787)
        await one.close(delete=True)

    async def world(api: MemoryApi) -> None:
        await plays(api)
        ports = [
            {"name": "tcp-comm", "port": 18786, "targetPort": "tcp-comm"},
            {"name": "http-dashboard", "port": 8787, "targetPort": "http-dashboard"},
        ]
        metadata = {"name": "demo-scheduler", "namespace": "team-b"}
        api.put(SERVICES, {"metadata": metadata, "spec": {"ports": ports}})
        await asyncio.sleep(300)
        address = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}
        api.edit(SERVICES, "team-b", "demo-scheduler", address)

    story(told, world)


def test_who_may_not_read_services_is_told_so() -> None:
    async def told(api: MemoryApi) -> None:
        message = (
            'services is forbidden: User "ann" cannot list resource "services" in API group "" '
            'in the namespace "team-b"'
        )
        api.fault("list", SERVICES, error=ApiError(403, "Forbidden", message), times=None)
        one = session(api, scheduler_service_type="LoadBalancer")
        with pytest.raises(NotAllowedError, match="user 'ann' may not list services"):
            await one.start()
        await one.undo()

    story(told, plays)


def test_a_service_that_is_not_there_yet_is_waited_for() -> None:
    async def told(api: MemoryApi) -> None:
        one = session(api, plan=Plan(inside=True))
        starting = asyncio.ensure_future(one.start())
        await asyncio.sleep(30)
        assert not starting.done()
        assert one.way.waits == "Service demo-scheduler is not there"
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await one.undo()

    story(told, plays)


def test_a_scheduler_that_ends_while_a_load_balancer_is_waited_for() -> None:
    """What is waited for does not hide that it will not come."""

    async def told(api: MemoryApi) -> None:
        one = session(api, scheduler_service_type="LoadBalancer")
        with pytest.raises(SchedulerStartupError, match="It ended 3 times"):
            await one.start()
        await one.undo()

    async def world(api: MemoryApi) -> None:
        await plays(api)
        await asyncio.sleep(10)
        crash = waiting("CrashLoopBackOff", "back-off", restartCount=3, lastState=CRASHED)
        api.edit(PODS, "team-b", "demo-scheduler", {"status": crash})

    story(told, world)
