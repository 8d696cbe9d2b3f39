"""Clusters found, made and let go, with an API server in memory and in virtual time."""

from __future__ import annotations

import asyncio
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
from dask_gitops.kube import DASKCLUSTERS, PODS, ApiError
from dask_gitops.kube.credentials import StaticCredentials

from tests.support.memory_api import MemoryApi, MemoryClient
from tests.support.virtual_time import run

JSON = dict[str, Any]
ACCESS = Access(StaticCredentials("https://10.0.0.1:6443"), context="prod", where="config")
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
        return "".join(f"line {i}\n" for i in range(30))[-7 * (options["tail"] or 30) - 1 :]


def session(
    api: MemoryApi, mode: CreateMode = CreateMode.CREATE_OR_CONNECT, **given: Any
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
        Plan(inside=False),
        "ann@laptop",
        lambda line, seconds: said.append(line),
        connect=lambda credentials: Client(api, "us"),
        **more,
    )
    one.said = said  # type: ignore[attr-defined]
    return one


def running(api: MemoryApi) -> None:
    """The scheduler's container runs."""
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
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": "scheduler", "state": {"running": {}}}],
            },
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
