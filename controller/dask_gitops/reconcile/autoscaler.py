"""DaskAutoscaler: look at the demand now and then, and write the number of workers that it asks for."""

from __future__ import annotations

from dataclasses import replace

from dask_gitops.plan import autoscaler as plan
from dask_gitops.reconcile.refusals import Outcomes
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World


async def reconcile_autoscaler(world: World, key: Key) -> None:
    """Ask the scheduler when it is time to, scale the group, report."""
    scaler = world.stores.autoscalers.get(key.namespace, key.name)
    if scaler is None or scaler.meta.deleting is not None:
        world.memory.scaling.pop(key, None)
        return
    memory = world.memory.scaling.get(key)
    if memory is None or memory.uid != scaler.meta.uid:
        memory = plan.Memory(scaler.meta.uid)
    state = world.observe.scaler_state(scaler)
    steers, done = plan.waits(state) is None, Outcomes()
    if not steers:
        memory = replace(memory, generation=-1, wishes=(), silent=None, wants=None)
    elif plan.due_in(state, memory, world.clock()) == 0:
        assert state.group is not None
        assert state.group.scheduler is not None
        demand, silence = await world.ask.demand(state.group.scheduler)
        state = world.observe.scaler_state(scaler)  # it may have changed meanwhile
        if plan.waits(state) is not None:
            world.again(key, 0)
            return
        steps = plan.plan_autoscaler(state, demand, silence, memory, world.clock())
        world.memory.scaling[key] = steps.memory
        done = await world.execute.carry_out(key, steps.plan, scaler)
        memory = steps.memory if done.undone else steps.after
        if done.problems:
            memory = replace(memory, problem=done.problems[0])
        state = world.observe.scaler_state(scaler)
    world.memory.scaling[key] = memory
    now = world.clock()
    status, again = plan.autoscaler_status(state, memory, now)
    await world.report.write_status(scaler, status)
    soon = plan.due_in(state, memory, now) if steers else None
    world.execute.rest(key, done, soon, again)
