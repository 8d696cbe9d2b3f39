"""Runs the existing operator's own KubeCluster, unmodified, in its own virtual environment: one story of it.

Says after each step what it sees, as JSON in a line, and goes on when a line comes in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from dask_kubernetes.operator import KubeCluster, make_cluster_spec
from distributed import Client

PATIENCE_S = 60
RESOURCE_S = 2


def step(name: str, **seen: Any) -> None:
    print(json.dumps({"step": name, **seen}), flush=True)
    sys.stdin.readline()


async def components(cluster: KubeCluster) -> dict[str, str]:
    """What the client shows of a cluster's parts while it starts: its own look at them, until it shows cluster and scheduler running.

    A load balancer's address and the phase that follows it come a moment apart, and the phase says nothing of the Pod; what
    never comes is shown as it is.
    """
    looking = asyncio.create_task(cluster._watch_component_status())
    shown: dict[str, str] = cluster._startup_component_status
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while (
                    shown.get("cluster") != "Running"
                    or shown.get("schedulerpod") != "Running"
                    or "workergroup" not in shown
                ):
                    await asyncio.sleep(0.1)
    finally:
        looking.cancel()
    return dict(shown)


def all_it_can(namespace: str) -> None:
    where = {"namespace": namespace, "quiet": True}
    with KubeCluster(
        name="theirs",
        image="dask:latest",
        n_workers=2,
        resources={"requests": {"memory": "1Gi"}},
        env={"FOO": "bar"},
        scheduler_service_type="LoadBalancer",
        **where,
    ) as cluster:
        with Client(cluster) as client:
            scheduler = client.scheduler_info()["type"]
        status = cluster.sync(components, cluster)
        step(
            "created",
            address=cluster.scheduler_address,
            link=cluster.dashboard_link,
            scheduler=scheduler,
            status=status,
        )
        other = KubeCluster.from_name("theirs", **where)
        step("attached", image=other.image, n_workers=other.n_workers, jupyter=other.jupyter)
        other.scale(3)
        other.close()
        step("scaled")
        cluster.add_worker_group("more", n_workers=1)
        cluster.scale(2, worker_group="more")
        step("group added")
        cluster.adapt(minimum=1, maximum=4)
        cluster.adapt(minimum=1, maximum=3)
        step("adaptive")
        cluster.scale(1)
        cluster.delete_worker_group("more")
        step("fixed again")
    step("closed")


def fits_nowhere(namespace: str) -> None:
    """Its scheduler's Pod runs when somebody says so, and not as long as the client has patience for."""
    spec = make_cluster_spec("slow", "dask:latest", scheduler_service_type="LoadBalancer")
    spec["spec"]["worker"]["replicas"] = 0
    spec["spec"]["scheduler"]["spec"]["nodeSelector"] = {"of": "no-node"}
    with KubeCluster(
        custom_cluster_spec=spec, namespace=namespace, quiet=True, resource_timeout=RESOURCE_S
    ) as cluster:
        step("created", address=cluster.scheduler_address)
    step("closed")


STORIES = {story.__name__: story for story in (all_it_can, fits_nowhere)}
if __name__ == "__main__":
    STORIES[sys.argv[2]](sys.argv[1])
