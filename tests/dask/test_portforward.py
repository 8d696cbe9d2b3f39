"""A Dask client outside of Kubernetes, through a forward of our own and the real kubelet."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable

import pytest
from dask_gitops.kube import KubeClient, from_kubeconfig
from dask_gitops.kube.portforward import PortForward
from distributed import Client

from tests.dask.support import Cluster, NewCluster, workers

# Python's last part may differ.
pytestmark = pytest.mark.filterwarnings("ignore::distributed.versions.VersionMismatchWarning")
MUCH = 32 * 2**20


def current(cluster: Cluster) -> Callable[[], Awaitable[str]]:
    """The name of the scheduler's Pod, once there is one that is not on its way out."""

    async def name() -> str:
        while True:
            pod = await asyncio.to_thread(cluster.scheduler)
            if pod and "deletionTimestamp" not in pod["metadata"]:
                return str(pod["metadata"]["name"])
            await asyncio.sleep(0.2)

    return name


def uid(cluster: Cluster) -> str:
    """Of the scheduler's Pod; "" while there is none."""
    pod = cluster.scheduler()
    return "" if pod is None else str(pod["metadata"]["uid"])


def test_a_client_outside(cluster: NewCluster) -> None:
    """From before the scheduler's Pod exists on; its replacement is reached at the same address."""
    data = os.urandom(MUCH)

    async def computes(address: str) -> None:
        async with Client(address, asynchronous=True, timeout=120) as client:
            assert await client.submit(sum, range(101)) == 5050
            (there,) = await client.scatter([data], direct=False)
            digest = await client.submit(lambda value: hashlib.sha256(value).hexdigest(), there)
            assert digest == hashlib.sha256(data).hexdigest()
            assert await client.gather(there, direct=False) == data

    async def main() -> None:
        async with KubeClient(from_kubeconfig(one.kubectl.kubeconfig)) as client:
            forward = PortForward(client, one.kubectl.namespace, current(one), 8786, on_error=print)
            address = f"tcp://127.0.0.1:{await forward.start()}"
            try:
                await computes(address)
                first = uid(one)  # its successor has the same name
                await asyncio.to_thread(
                    one.kubectl, "delete", "pod", await current(one)(), "--wait=false"
                )
                while await asyncio.to_thread(uid, one) in ("", first):
                    await asyncio.sleep(0.2)
                await computes(address)
            finally:
                await forward.close()

    one = cluster({"worker": workers(1)})
    asyncio.run(main())
