"""DaskWorkerGroup: one step closer to the number and kind of workers that it says."""

from __future__ import annotations

from dataclasses import replace

from dask_gitops.kube.errors import KubeError
from dask_gitops.plan.actions import Create
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.groupstatus import group_status
from dask_gitops.plan.workergroup import needs_scheduler, plan_group
from dask_gitops.reconcile.places import Place
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World
from dask_gitops.scheduler.client import SchedulerUnavailable


async def reconcile_group(world: World, key: Key) -> None:
    """Create, drain and remove workers; then the status. Also for a group that is gone while its pods are not."""
    failures: list[KubeError] = []
    for cluster_name in _clusters_of(world, key):
        try:
            await _reconcile_in(world, key, cluster_name)
        except KubeError as error:
            failures.append(error)
    if failures:
        raise failures[0]


async def _reconcile_in(world: World, key: Key, cluster_name: str) -> None:
    def observe(*, neighbours: bool = False) -> GroupState:
        state = world.observe.group_state(
            key.namespace, key.name, cluster_name, neighbours=neighbours
        )
        if state.group is not None and state.group.spec.get("cluster", "") != cluster_name:
            return replace(state, group=None)  # it was made anew for another cluster
        return state

    state = observe()
    if state.group is None and state.pods:  # for certain? A list may be late, and they are to go
        await world.write.make_sure("DaskWorkerGroup", key.namespace, key.name)
        state = observe()
    workers: list[Worker] | None = None
    silence = ""
    if needs_scheduler(state):
        assert state.scheduler is not None
        try:
            workers = await world.ask.workers(state.scheduler)
        except SchedulerUnavailable as error:
            silence = error.reason
        state = observe(neighbours=True)
    steps = plan_group(
        state,
        workers,
        world.clock(),
        default_image=world.settings.dask_image,
        silence=silence,
        reserved=world.settings.reserved,
    )
    subject = state.group or state.cluster
    if subject is None:
        return
    making = sum(len(a.manifests) for a in steps.actions if isinstance(a, Create))
    place = Place(key.namespace, cluster_name, key.name)
    with world.memory.places.making(place, len(state.live) + making):
        done = await world.execute.carry_out(key, steps, subject, state.scheduler)
    if (
        done.late
    ):  # news of a cluster reach the groups that are there, not the pods of one that was removed
        world.again(key, 0)
    state = observe()
    again = None
    if state.group is not None:
        held = "; ".join(([steps.held] if steps.held else []) + done.held) or None
        status, again = group_status(state, world.clock(), problems=done.problems, held=held)
        await world.report.write_status(state.group, status)
    world.execute.rest(key, done, again)


def _clusters_of(world: World, key: Key) -> list[str]:
    """The cluster that the group names, and those that pods of a removed group of this name are left in."""
    pods = world.stores.pods.by_index("group-name", key.namespace, key.name)
    found = {p.cluster for p in pods if p.cluster}
    group = world.stores.groups.get(key.namespace, key.name)
    if group is not None:
        found.add(str(group.spec.get("cluster", "")))
    return sorted(found)
