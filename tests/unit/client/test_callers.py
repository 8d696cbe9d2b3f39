"""How other programs use a cluster's object: their patterns of calls, each as small as it can be."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

import pytest
from dask_gitops.client.background import background
from dask_gitops.client.cluster import KubeCluster
from dask_gitops.kube import DASKAUTOSCALERS, DASKWORKERGROUPS
from distributed import Client
from distributed.core import Status
from distributed.utils import LoopRunner

from tests.unit.client.test_cluster import Here, here

__all__ = ["here"]
JSON = dict[str, Any]


def replicas(here: Here) -> Any:
    """Of the default group."""
    found = here.api.find(DASKWORKERGROUPS, "team-b", "demo-default")
    return None if found is None else found["spec"]["worker"]["replicas"]


def group(here: Here) -> None:
    """The controller makes the default group."""
    written = {
        "metadata": {"name": "demo-default", "namespace": "team-b"},
        "spec": {"cluster": "demo", "worker": {"replicas": 0, "spec": {"containers": []}}},
    }

    async def put() -> None:
        here.api.put(DASKWORKERGROUPS, written)

    background().call(put())


def model(cluster: KubeCluster, adaptive: Any) -> JSON:
    """What dask-labextension's manager tells the browser of a cluster."""
    info = cluster.scheduler_info
    assert isinstance(info, dict)
    told: JSON = {
        "name": type(cluster).__name__,
        "scheduler_address": cluster.scheduler_address,
        "dashboard_link": cluster.dashboard_link or "",
        "workers": len(info["workers"]),
        "memory": sum(each["memory_limit"] for each in info["workers"].values()),
        "cores": sum(each["nthreads"] for each in info["workers"].values()),
    }
    if adaptive:
        told["adapt"] = {"minimum": adaptive.minimum, "maximum": adaptive.maximum}
    return told


def test_the_manager_of_dask_labextension(here: Here) -> None:
    """Awaits the object, scales and adapts with or without await, looks at it often, closes it."""
    here.worker()
    here.plays()
    group(here)

    async def manager() -> None:
        cluster = await KubeCluster(
            name="demo", quiet=True, external_address=here.address, asynchronous=True
        )
        told = model(cluster, None)
        assert told["workers"] == 1
        assert told["cores"] > 0
        assert told["scheduler_address"] == here.address
        scaled = cluster.scale(3)
        if inspect.isawaitable(scaled):
            await scaled
        assert replicas(here) == 3
        adaptive = cluster.adapt(minimum=1, maximum=4)
        assert model(cluster, adaptive)["adapt"] == {"minimum": 1, "maximum": 4}
        while here.api.find(DASKAUTOSCALERS, "team-b", "demo") is None:  # nobody awaits it
            await asyncio.sleep(0.01)
        await cluster.close()
        assert cluster.status is Status.closed

    asyncio.run(asyncio.wait_for(manager(), 60))
    assert not here.is_there()


def test_the_runner_of_prefect(here: Here) -> None:
    """Enters the object, adapts without await, enters a client on it; the stack closes both."""
    here.worker()
    here.plays()
    group(here)

    async def flow() -> None:
        async with contextlib.AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(
                KubeCluster(
                    name="demo", quiet=True, external_address=here.address, asynchronous=True
                )
            )
            cluster.adapt(maximum=2)
            client = await stack.enter_async_context(Client(cluster, asynchronous=True))
            assert await client.submit(sum, range(11)) == 55
        assert cluster.status is Status.closed

    asyncio.run(asyncio.wait_for(flow(), 60))
    assert not here.is_there()


def test_what_prefect_does_in_a_thread(here: Here) -> None:
    """The same without await."""
    here.worker()
    here.plays()
    group(here)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(
            KubeCluster(name="demo", quiet=True, external_address=here.address)
        )
        answer = cluster.adapt(maximum=2)
        assert not asyncio.iscoroutine(answer)
        assert here.api.find(DASKAUTOSCALERS, "team-b", "demo") is not None
        client = stack.enter_context(Client(cluster))
        assert client.submit(sum, range(11)).result(timeout=30) == 55
    assert cluster.status is Status.closed
    assert not here.is_there()


@pytest.mark.parametrize("keeps", [False, True])
def test_a_client_that_shuts_everything_down(here: Here, keeps: bool) -> None:
    """`Client.shutdown` closes the object it was made with: what that deletes is the object's own matter."""
    cluster = here.make(shutdown_on_close=not keeps)
    client = Client(cluster)
    client.shutdown()
    assert cluster.status is Status.closed
    assert here.is_there() == keeps
    cluster.close()


def test_two_objects_share_a_loop(here: Here) -> None:
    """As ``loop=`` of another object, whose end is not the end of the loop that both use."""
    runner = LoopRunner(loop=None, asynchronous=False)
    runner.start()
    try:
        first = here.make("first", loop=runner.loop)
        second = here.make("second", loop=first.loop)
        assert first.loop is second.loop is runner.loop
        first.close()
        assert second.status is Status.running
        second.wait_for_workers(0, timeout=30)
        second.close()
    finally:
        runner.stop()
    assert not here.is_there("first")
    assert not here.is_there("second")
