"""DaskWorkerGroup: one step closer to the number and kind of workers that it says."""

from __future__ import annotations

from contextlib import nullcontext

from dask_gitops.kube.errors import KubeError
from dask_gitops.plan.actions import Create, Plan
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.groupstatus import group_status
from dask_gitops.plan.workergroup import plan_group
from dask_gitops.reconcile.ask import Said
from dask_gitops.reconcile.places import Place
from dask_gitops.reconcile.refusals import Outcomes
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World


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
    seen = world.observe.group(key, cluster_name)
    said = await world.ask.group(seen.now)
    await _make_sure(world, key, seen.now)
    steps = _plan(world, seen.now, said)
    done = await _execute(world, key, cluster_name, seen.now, steps)
    if done.goes_on:  # who was marked is asked to leave, as read from the marks
        await _make_sure(world, key, seen.now)
        steps = _plan(world, seen.now, said)
        done = await _execute(world, key, cluster_name, seen.now, steps)
    await _report(world, key, seen.now, steps, done)


async def _make_sure(world: World, key: Key, state: GroupState) -> None:
    """Last before each plan: a group that seems to be gone is asked for. A watch may be late, and all its pods are to go."""
    if state.group is None and state.pods:
        await world.write.make_sure("DaskWorkerGroup", key.namespace, key.name)


def _plan(world: World, state: GroupState, said: Said) -> Plan:
    said = said.by(state.scheduler)
    return plan_group(
        state,
        said.workers,
        world.clock(),
        default_image=world.settings.dask_image,
        silence=said.silence,
        reserved=world.settings.reserved,
    )


async def _execute(
    world: World, key: Key, cluster_name: str, state: GroupState, steps: Plan
) -> Outcomes:
    subject = state.group or state.cluster
    if subject is None:
        return Outcomes()
    making = sum(len(a.manifests) for a in steps.actions if isinstance(a, Create))
    place = Place(key.namespace, cluster_name, key.name)
    places = world.memory.places
    with places.making(place, len(state.live) + making) if making else nullcontext():
        return await world.execute.carry_out(key, steps, subject, state.scheduler)


async def _report(world: World, key: Key, state: GroupState, steps: Plan, done: Outcomes) -> None:
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
