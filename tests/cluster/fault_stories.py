"""What happens to a cluster while requests go wrong, step by step, and what is to be there at the end of each step.

`test_fault_points.py` plays these lives; a step called "begin" only prepares what another life has tried already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dask_gitops.kube import DASKCLUSTERS, KubeClient

from tests.cluster.manifests import cluster
from tests.support.fake_scheduler import FakeSchedulers

JSON = dict[str, Any]
BEGIN = "begin"
LONG_S = 3600.0  # longer than any idleTimeout here


class World(NamedTuple):
    """Where a life takes place."""

    client: KubeClient
    schedulers: FakeSchedulers
    namespace: str


class Step(NamedTuple):
    """:ivar pods: that are left at its end; :ivar says: conditions of the cluster then, besides Ready."""

    act: Callable[[World], Any]
    pods: int
    says: frozenset[str] = frozenset()


def create(**spec: Any) -> Callable[[World], Any]:
    async def do(world: World) -> None:
        await world.client.create(DASKCLUSTERS, world.namespace, cluster(**spec))

    return do


def edit(**spec: Any) -> Callable[[World], Any]:
    async def do(world: World) -> None:
        await world.client.patch(DASKCLUSTERS, world.namespace, "demo", {"spec": spec})

    return do


async def delete(world: World) -> None:
    found = await world.client.get(DASKCLUSTERS, world.namespace, "demo")
    uid = found["metadata"]["uid"]
    await world.client.delete(DASKCLUSTERS, world.namespace, "demo", uid=uid)


def work(tasks: int) -> Callable[[World], Any]:
    """So many tasks of a minute each are to be done, which an autoscaler sees."""

    async def do(world: World) -> None:
        world.schedulers.work[world.namespace][()] = tasks

    return do


async def park(world: World) -> None:
    """It has been idle for long when somebody asks for that."""
    world.schedulers.idle[world.namespace] = LONG_S
    await edit(idleTimeout=2, idleAction="Scale")(world)


async def wake(world: World) -> None:
    world.schedulers.tasks[world.namespace] = {"no-worker": 12}


def env(component: str) -> JSON:
    return {"spec": {"containers": [{"name": component, "env": [{"name": "NEW", "value": "1"}]}]}}


#: One that decides within seconds.
AUTOSCALER = {"minimum": 1, "maximum": 5, "interval": 1, "scaleDown": {"stabilizationSeconds": 4}}

STORIES: dict[str, dict[str, Step]] = {
    "sized": {
        "create": Step(create(replicas=2), 3),
        "up": Step(edit(worker={"replicas": 4}), 5),
        "roll": Step(edit(worker=env("worker")), 5),
        "down": Step(edit(worker={"replicas": 2}), 3),
        "delete": Step(delete, 0),
    },
    "rests": {
        BEGIN: Step(create(replicas=2), 3),
        "suspend": Step(edit(suspend=True), 0, frozenset({"Suspended"})),
        "resume": Step(edit(suspend=False), 3),
        "park": Step(park, 1, frozenset({"Idle"})),
        "wake": Step(wake, 3),
    },
    "scaled": {
        BEGIN: Step(create(replicas=None), 2),
        "declare": Step(edit(autoscaler=AUTOSCALER), 2),
        "grow": Step(work(4), 5),
        "shrink": Step(work(0), 2),
    },
    "renewed": {
        BEGIN: Step(create(replicas=2, image="dask:1"), 3),
        "both": Step(edit(image="dask:2"), 3),
        "at once": Step(
            edit(scheduler=env("scheduler"), updateStrategy={"scheduler": "Immediate"}), 3
        ),
    },
}
