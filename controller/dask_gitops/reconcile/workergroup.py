"""DaskWorkerGroup: one step closer to the number and kind of workers that it says."""

from __future__ import annotations

from dask_gitops.plan import workergroup as plan
from dask_gitops.plan.workergroup import GroupState, Worker
from dask_gitops.reconcile.world import Key, World, retry_after
from dask_gitops.resources import labels
from dask_gitops.scheduler.client import SchedulerUnavailable


async def reconcile_group(world: World, key: Key) -> None:
    """Create, drain and remove workers; then the status. Also for a group that is gone while its pods are not."""
    cluster_name = _cluster_of(world, key)
    if cluster_name is None:
        return

    def observe(*, neighbours: bool = False) -> GroupState:
        return world.group_state(key.namespace, key.name, cluster_name, neighbours=neighbours)

    state = observe()
    workers: list[Worker] | None = None
    silence = ""
    if plan.needs_scheduler(state):
        assert state.scheduler is not None
        try:
            workers = await world.ask(state.scheduler)
        except SchedulerUnavailable as error:
            silence = error.reason
        state = observe(neighbours=True)
    steps = plan.plan_group(
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
    done = await world.carry_out(steps.actions, subject, state.scheduler)
    state = observe()
    latch = plan.latch(state)
    if latch is not None:
        await world.patch(latch)
        state = observe()
    again = None
    if state.group is not None:
        held = "; ".join(([steps.held] if steps.held else []) + done.held) or None
        status, again = plan.group_status(state, world.clock(), problems=done.problems, held=held)
        await world.write_status(state.group, status)
    held_again = plan.RETRY_HELD_S if done.held else None
    for seconds in (steps.again, again, held_again, retry_after(done.problems)):
        if seconds is not None:
            world.again(key, seconds)


def _cluster_of(world: World, key: Key) -> str | None:
    """The cluster that the group names; for a removed group, the cluster that its pods name."""
    group = world.stores.groups.get(key.namespace, key.name)
    if group is not None:
        return str(group.spec.get("cluster", ""))
    pods = world.stores.pods.by_index("group-name", key.namespace, key.name)
    return next((p.meta.labels[labels.CLUSTER] for p in pods if p.cluster), None)
