"""DaskCluster: one step closer to what it says."""

from __future__ import annotations

import secrets

from dask_gitops.plan import cluster as plan
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World


async def reconcile_cluster(world: World, key: Key) -> None:
    """Scheduler Pod, Service and the cluster's own groups; then the status."""
    cluster = world.stores.clusters.get(key.namespace, key.name)
    if cluster is None or cluster.meta.deleting is not None:
        world.memory.forget_cluster(key.namespace, key.name)
        return  # garbage collection does the rest
    settings = world.settings
    load, silence = None, ""
    if plan.needs_load(world.observe.cluster_state(cluster)):
        load, silence = await world.ask.load(cluster)
    look = await world.ask.look(cluster)
    if plan.needs_listening(world.observe.cluster_state(cluster)):
        await world.ask.load(cluster)
    steps = plan.plan_cluster(
        world.observe.cluster_state(cluster),
        world.clock(),
        load=load,
        silence=silence,
        look=look,
        default_image=settings.dask_image,
        control=world.control,
        token=secrets.token_urlsafe(32),
        reserved=settings.reserved,
    )
    done = await world.execute.carry_out(key, steps, cluster)
    now = world.stores.clusters.get(key.namespace, key.name)
    if now is None or now.meta.uid != cluster.meta.uid or now.meta.deleting is not None:
        return  # its end is news
    cluster = now  # what the API server said meanwhile
    state = world.observe.cluster_state(cluster)
    await world.execute.carry_out(key, plan.latch(state), cluster, out=done)
    state = world.observe.cluster_state(cluster)
    status, again = plan.cluster_status(
        state,
        world.clock(),
        problems=done.problems,
        waits=steps.held,
        look=world.ask.last_look(cluster),
    )
    await world.report.write_status(cluster, status)
    look_in = world.ask.look_in(cluster, state.scheduler)
    if done.refused.keys() & plan.FOLLOWS_A_LOOK:
        look_in = None  # what it says would lead to nothing before that may be tried again
    world.execute.rest(key, done, again, look_in)
