"""DaskAutoscaler: look at the demand now and then, and write the number of workers that it asks for."""

from __future__ import annotations

from dataclasses import replace

from dask_gitops.plan import autoscaler as plan
from dask_gitops.plan.autoscaler import Memory, ScalerState, Steps
from dask_gitops.reconcile.ask import Said
from dask_gitops.reconcile.refusals import Outcomes
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World


async def reconcile_autoscaler(world: World, key: Key) -> None:
    """Ask the scheduler when it is time to, scale the group, report."""
    seen = world.observe.autoscaler(key)
    said = await _ask(world, key, seen.now)
    steps = _plan(world, key, seen.now, said)
    done = await _execute(world, key, seen.now, steps)
    await _report(world, key, seen.now, done)


def _memory(world: World, key: Key, state: ScalerState) -> Memory:
    uid = state.autoscaler.meta.uid
    memory = world.memory.scaling.get(key)
    return memory if memory is not None and memory.uid == uid else Memory(uid)


async def _ask(world: World, key: Key, state: ScalerState) -> Said:
    if not plan.is_due(state, _memory(world, key, state), world.clock()):
        return Said()
    return await world.ask.autoscaler(state)


def _plan(world: World, key: Key, state: ScalerState, said: Said) -> Steps:
    said = said.by(state.group.scheduler if state.group is not None else None)
    memory, now = _memory(world, key, state), world.clock()
    return plan.next_steps(
        state, memory, now, asked=said.asked, demand=said.demand, silence=said.silence
    )


async def _execute(world: World, key: Key, state: ScalerState, steps: Steps) -> Outcomes:
    world.memory.scaling[key] = steps.memory
    if not steps.asked:
        return Outcomes()
    done = await world.execute.carry_out(key, steps.plan, state.autoscaler)
    memory = steps.memory if done.undone else steps.after
    if done.problems:
        memory = replace(memory, problem=done.problems[0])
    world.memory.scaling[key] = memory
    return done


async def _report(world: World, key: Key, state: ScalerState, done: Outcomes) -> None:
    memory, now = _memory(world, key, state), world.clock()
    status, again = plan.autoscaler_status(state, memory, now)
    await world.report.write_status(state.autoscaler, status)
    soon = plan.due_in(state, memory, now) if plan.waits(state) is None else None
    world.execute.rest(key, done, soon, again)
