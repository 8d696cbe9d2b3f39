"""DaskCluster: one step closer to what it says."""

from __future__ import annotations

import secrets

from dask_gitops.plan import cluster as plan
from dask_gitops.plan.actions import Plan
from dask_gitops.plan.cluster import ClusterState
from dask_gitops.reconcile.ask import Said
from dask_gitops.reconcile.refusals import Outcomes
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World


async def reconcile_cluster(world: World, key: Key) -> None:
    """Scheduler Pod, Service and the cluster's own groups; then the status."""
    seen = world.observe.cluster(key)
    said = await world.ask.cluster(seen.now)
    steps = _plan(world, seen.now, said)
    done = await world.execute.carry_out(key, steps, seen.now.cluster)
    await _report(world, key, seen.now, steps, done)


def _plan(world: World, state: ClusterState, said: Said) -> Plan:
    said = said.by(state.scheduler)
    steps = plan.plan_cluster(
        state,
        world.clock(),
        load=said.load,
        silence=said.silence,
        look=said.look,
        default_image=world.settings.dask_image,
        control=world.control,
        token=secrets.token_urlsafe(32),
        reserved=world.settings.reserved,
    )
    return plan.with_latch(steps, state)


async def _report(world: World, key: Key, state: ClusterState, steps: Plan, done: Outcomes) -> None:
    status, again = plan.cluster_status(
        state,
        world.clock(),
        problems=done.problems,
        waits=steps.held,
        look=world.ask.last_look(state),
    )
    await world.report.write_status(state.cluster, status)
    look_in = world.ask.look_in(state)
    if done.refused.keys() & plan.FOLLOWS_A_LOOK:
        look_in = None  # what it says would lead to nothing before that may be tried again
    world.execute.rest(key, done, again, look_in, plan.listening_in(state, world.clock()))
