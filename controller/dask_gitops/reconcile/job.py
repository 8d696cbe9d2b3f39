"""DaskJob: one step closer to its end."""

from __future__ import annotations

from dask_gitops.plan.actions import Draft
from dask_gitops.plan.job import needs_listening, plan_job
from dask_gitops.plan.jobrun import JobState, doubtful
from dask_gitops.plan.jobstatus import announcement, job_status
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.world import World


async def reconcile_job(world: World, key: Key) -> None:
    """Runner Pod and cluster; then the status, and after its end what is to go."""
    state = await _observe(world, key)
    if state is None:
        return
    if state.cluster is not None and needs_listening(state):
        await world.ask.load(state.cluster)
        state = world.observe.job_state(state.job)
    settings = world.settings
    steps = plan_job(
        state, world.clock(), default_image=settings.dask_image, reserved=settings.reserved
    )
    done = await world.execute.carry_out(key, steps, state.job)
    state = await _observe(world, key)
    if state is None:
        return
    before = state.job.status
    status, again = job_status(state, world.clock(), problems=done.problems)
    await world.report.write_status(state.job, status)
    job = world.stores.jobs.get(key.namespace, key.name)
    if job is not None and job.meta.uid == state.job.meta.uid:
        told = announcement(before, job.status)
        if told is not None:
            draft = Draft()
            draft.part("end").add(told)
            await world.execute.carry_out(key, draft.done(), job)
    world.execute.rest(key, done, again)


async def _observe(world: World, key: Key) -> JobState | None:
    """What is there, and what is not there for certain; None: no job that may go on."""

    def look() -> JobState | None:
        job = world.stores.jobs.get(key.namespace, key.name)
        if job is None or job.meta.deleting is not None:
            return None
        return world.observe.job_state(job)

    state = look()
    doubts = doubtful(state, world.clock()) if state is not None else []
    for kind, name in doubts:
        await world.write.make_sure(kind, key.namespace, name)
    return look() if doubts else state
