"""DaskJob: one step closer to its end."""

from __future__ import annotations

from dask_gitops.plan.actions import Draft, Plan
from dask_gitops.plan.job import plan_job
from dask_gitops.plan.jobrun import JobState, doubtful
from dask_gitops.plan.jobstatus import announcement, job_status
from dask_gitops.reconcile.observe import Seen
from dask_gitops.reconcile.refusals import Outcomes
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World


async def reconcile_job(world: World, key: Key) -> None:
    """Runner Pod and cluster; then the status, and after its end what is to go."""
    seen = world.observe.job(key)
    await world.ask.job(seen.now)
    await _make_sure(world, key, seen)
    steps = _plan(world, seen.now)
    done = await world.execute.carry_out(key, steps, seen.now.job)
    await _make_sure(world, key, seen)
    await _report(world, key, seen, done)


async def _make_sure(world: World, key: Key, seen: Seen[JobState]) -> None:
    """What only seems to be gone is asked for: last before it is acted upon or told, as much is heard meanwhile."""
    asked: set[tuple[str, str]] = set()
    while some := [thing for thing in doubtful(seen.now, world.clock()) if thing not in asked]:
        for kind, name in some:
            await world.write.make_sure(kind, key.namespace, name)
        asked.update(some)


def _plan(world: World, state: JobState) -> Plan:
    settings = world.settings
    return plan_job(
        state, world.clock(), default_image=settings.dask_image, reserved=settings.reserved
    )


async def _report(world: World, key: Key, seen: Seen[JobState], done: Outcomes) -> None:
    """The end of a run is told once it is written down."""
    state = seen.now
    status, again = job_status(state, world.clock(), problems=done.problems)
    await world.report.write_status(state.job, status)
    told = announcement(state.job.status, seen.now.job.status)
    if told is not None:
        draft = Draft()
        draft.part("end").add(told)
        await world.execute.carry_out(key, draft.done(), seen.now.job)
    world.execute.rest(key, done, again)
