"""Pure: what to do about one job. How far it has come, :mod:`~dask_gitops.plan.jobrun` says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.plan.actions import Create, Delete, Draft, Emit, Patch, Plan
from dask_gitops.plan.idle import is_suspended
from dask_gitops.plan.jobrun import (
    NEVER,
    End,
    JobState,
    Run,
    Thing,
    kind_of,
    look,
    lost_in,
    note_of_end,
    seconds,
)
from dask_gitops.plan.replacement import BACKOFF_S, LONGEST_S
from dask_gitops.plan.told import was_asked
from dask_gitops.resources import addresses, labels, numbers
from dask_gitops.resources.metadata import metadata_patch, with_note
from dask_gitops.resources.observed import Pod
from dask_gitops.resources.runner import cluster_metadata, job_cluster, runner_metadata, runner_pod
from dask_gitops.resources.tracking import tracked_by

JSON = dict[str, Any]

PREDECESSOR_S = 1  # how often to look whether what stands in the way is gone
RUNNER, CLUSTER = "runner", "cluster"  # parts of a plan
ENDING_S = 60  # after that, a runner whose kubelet does not stop it is deleted


def plan_job(
    state: JobState, now: float, *, default_image: str, reserved: tuple[str, ...] = ()
) -> Plan:
    """The next step of a job. Nothing goes before the run's end is in the status."""
    draft, job = Draft(), state.job
    if job.meta.deleting is not None:
        return draft.done()
    run = look(state, now)
    if run.recorded:
        _clean_up(state, run, now, draft)
    elif run.end is None and not _clear(state, run, now, draft):
        _keep_current(state, run, draft, reserved)
        if state.suspended:
            _suspend(state, run, now, draft)
        else:
            _go_on(state, run, now, draft, default_image, reserved)
    return draft.done()


def needs_listening(state: JobState) -> bool:
    """Must the scheduler be asked where it listens? Once, before a runner starts that reads it from its Pod."""
    scheduler = state.scheduler
    if scheduler is None or not scheduler.ready:
        return False
    if was_asked(state.told, scheduler):
        return False
    return any(
        labels.SCHEDULER_GATE in r.gates and labels.SCHEDULER_ADDRESS in r.meta.annotations
        for r in state.runners
    )


def _clear(state: JobState, run: Run, now: float, draft: Draft) -> bool:
    """Is something of an earlier run, or of another owner, in the way? What is ours goes."""
    for thing in run.leftovers:
        _remove(state, thing, now, draft)
    if not run.leftovers and not state.foreign:
        return False
    draft.look_again(PREDECESSOR_S)
    return True


def _remove(state: JobState, thing: Thing, now: float, draft: Draft) -> None:
    if thing.meta.deleting is None:
        draft.part(_part_of(thing)).add(Delete(kind_of(thing), thing.meta))
    elif state.gives_up_the_lost:
        _give_up(thing, now, draft)


def _part_of(thing: Thing) -> str:
    """What is to go is a concern of its own, whatever else does not."""
    return f"remove {kind_of(thing)} {thing.meta.name}"


def _give_up(thing: Thing, now: float, draft: Draft) -> None:
    """What is on its way out goes without its kubelet's word, once it counts as lost."""
    left = lost_in(thing, now)
    if left == 0:
        draft.part(_part_of(thing)).add(Delete(kind_of(thing), thing.meta, force=True))
    elif left is not None:
        draft.look_again(left)


def _go_on(
    state: JobState,
    run: Run,
    now: float,
    draft: Draft,
    default_image: str,
    reserved: tuple[str, ...],
) -> None:
    job, runner = state.job, run.runner
    deadline = numbers.some_seconds(job.spec.get("activeDeadlineSeconds"))
    if deadline is not None and run.started is not None:
        draft.look_again(run.started + deadline - now)
    if run.failure is not None:
        if not _may_retry(run, now, draft):
            return
        run = replace(run, attempt=run.attempt + 1)
        runner = None
    elif runner is not None and runner.meta.deleting is not None:
        draft.look_again(lost_in(runner, now) or PREDECESSOR_S)
        return
    if runner is None and state.unread:
        return  # nobody can tell what is to run; the deadline counts all the same
    if runner is None:
        started = now if run.started is None else run.started
        made = runner_pod(
            job,
            run.attempt,
            started=words.timestamp(started),
            restarted_at=run.restarted_at,
            default_image=default_image,
            reserved=reserved,
        )
        draft.part(RUNNER).add(Create("Pod", (made,)), _made(made, run.attempt, run.failure))
    _cluster(state, run, draft, reserved)
    if runner is not None and labels.SCHEDULER_GATE in runner.gates:
        _open(state, run, runner, draft)


def _made(made: JSON, attempt: int, failure: End | None) -> Emit:
    name = made["metadata"]["name"]
    if failure is None:
        return Emit("RunnerCreated", f"created {name}")
    text = f"created {name}, attempt {attempt}; {failure.message}"
    return Emit("RunnerRetried", text, warning=True)


def _may_retry(run: Run, now: float, draft: Draft) -> bool:
    """May the next attempt begin? Not beside the last one, and later with each."""
    last, failure = run.runner, run.failure
    if last is None or failure is None:
        return True
    if failure.reason == reasons.NODE_LOST:
        lost = Emit("RunnerLost", f"{failure.message}; removed", warning=True)
        draft.part(_part_of(last)).add(Delete("Pod", last.meta, force=True), lost)
        return False
    if last.meta.deleting is None and not last.finished:
        _stop(last, now, draft)
        return False
    left = lost_in(last, now)
    if left is not None:
        draft.look_again(left)
        return False
    pause = min(BACKOFF_S * 2.0 ** min(run.attempt - 1, 10), LONGEST_S)
    # A node's clock may be ahead.
    wait = min(pause, (last.ended or last.meta.created) + pause - now)
    if wait > 0:
        draft.look_again(wait)
        return False
    return True


def _cluster(state: JobState, run: Run, draft: Draft, reserved: tuple[str, ...]) -> None:
    """After the runner, wherever one is to be made: workers must not eat its quota."""
    if run.cluster is None:
        if state.unread:
            return
        if state.cluster is None:
            made = job_cluster(state.job, restarted_at=run.restarted_at, reserved=reserved)
            draft.part(CLUSTER, after=(RUNNER,)).add(Create("DaskCluster", (made,)))
        else:
            draft.look_again(PREDECESSOR_S)  # the last one is on its way out
    elif is_suspended(run.cluster):
        draft.part(CLUSTER, after=(RUNNER,)).add(
            Patch("DaskCluster", run.cluster.meta, {"spec": {"suspend": None}}),
            Emit("Resumed", "the job goes on"),
        )


def _open(state: JobState, run: Run, runner: Pod, draft: Draft) -> None:
    """Let the runner loose, once its cluster can take work."""
    scheduler, cluster = state.scheduler, run.cluster
    if cluster is None or is_suspended(cluster) or scheduler is None or not scheduler.ready:
        return
    if scheduler.meta.owner_uid != cluster.meta.uid:
        return
    rest = [{"name": gate} for gate in runner.gates if gate != labels.SCHEDULER_GATE]
    notes = {labels.CLUSTER_UID: cluster.meta.uid}
    if state.listens is not None and labels.SCHEDULER_ADDRESS in runner.meta.annotations:
        notes[labels.SCHEDULER_ADDRESS] = addresses.scheduler_address(
            cluster.meta.name, cluster.meta.namespace, cluster.spec, state.listens
        )
    body = {
        "metadata": {"annotations": notes},
        "spec": {"schedulingGates": rest or None},
    }
    # Exact: somebody else may open a gate of his own at this moment.
    draft.part("gate").add(Patch("Pod", runner.meta, body, exact=True))


def _suspend(state: JobState, run: Run, now: float, draft: Draft) -> None:
    """The runner goes first, so that it does not fail for want of a cluster."""
    if not words.says(run.told, words.SUSPENDED):
        return  # nothing goes before the status says why
    runner = run.runner
    if runner is not None and not runner.finished:
        if runner.meta.deleting is None:
            told = Emit("Suspended", f"deleted {runner.meta.name}; it is made anew later")
            draft.part(_part_of(runner)).add(Delete("Pod", runner.meta), told)
            return
        left = lost_in(runner, now)
        if left:
            draft.look_again(left)
            return
        _remove(state, runner, now, draft)
    if run.cluster is not None and not is_suspended(run.cluster):
        rest = Patch("DaskCluster", run.cluster.meta, {"spec": {"suspend": True}})
        draft.part(CLUSTER).add(rest)


def _keep_current(state: JobState, run: Run, draft: Draft, reserved: tuple[str, ...]) -> None:
    """Changed labels and annotations reach what runs; nothing restarts."""
    job, runner = state.job, run.runner
    if runner is not None and not runner.gone:
        patch = metadata_patch(with_note(runner_metadata(job, reserved)), runner.meta)
        if patch:
            change = Patch("Pod", runner.meta, {"metadata": patch})
            draft.part("metadata of the runner", declared=True).add(change)
    if run.cluster is not None:
        patch = metadata_patch(with_note(cluster_metadata(job, reserved)), run.cluster.meta)
        if patch:
            change = Patch("DaskCluster", run.cluster.meta, {"metadata": patch})
            draft.part("metadata of the cluster", declared=True).add(change)


def _clean_up(state: JobState, run: Run, now: float, draft: Draft) -> None:
    """After the end: runners stop and stay for their logs, the cluster goes, and in due time the rest."""
    job, end = state.job, run.end
    assert end is not None
    ttl = numbers.some_seconds(job.spec.get("ttlSecondsAfterFinished"))
    left = None if ttl is None else end.at + ttl - now
    expired = left is not None and left <= 0
    if left is not None and not expired:
        draft.look_again(left)
    if expired and tracked_by(job.meta) is None:
        # Exact: a person may just have asked for another run.
        draft.part("expired").add(
            Delete("DaskJob", job.meta, exact=True),
            Emit("Expired", f"deleted {ttl:.0f} s after its end"),
        )
        return
    kept = run.last or run.cluster
    if kept is not None and labels.OUTCOME not in kept.meta.annotations and not kept.meta.deleting:
        # Whoever wipes the status runs nothing once more.
        note = {"metadata": {"annotations": {labels.OUTCOME: note_of_end(run)}}}
        draft.part("outcome").add(Patch(kind_of(kept), kept.meta, note))
    for pod in run.pods:
        if expired or pod.meta.deleting is not None:
            _remove(state, pod, now, draft)
        elif not pod.finished:
            _stop(pod, now, draft)
    policy = job.spec.get("cleanupPolicy") or "Always"
    cluster_goes = policy == "Always" or (policy == "OnSuccess" and end.success)
    if run.cluster is not None and (expired or cluster_goes):
        _remove(state, run.cluster, now, draft)
    # What an earlier run left, say because nobody was there to see it through.
    for thing in run.leftovers:
        _remove(state, thing, now, draft)


def _stop(pod: Pod, now: float, draft: Draft) -> None:
    """End a runner so that its logs can be read afterwards: its own deadline is now. One that never ran is deleted."""
    if pod.stopped:
        return  # its kubelet is about to say that it has ended
    since = seconds(pod.meta.annotations.get(labels.ENDING))
    if not pod.started or (since != NEVER and now >= since + ENDING_S):
        draft.part(_part_of(pod)).add(Delete("Pod", pod.meta))
    elif since == NEVER:
        body = {
            "metadata": {"annotations": {labels.ENDING: words.timestamp(now)}},
            "spec": {"activeDeadlineSeconds": 1},
        }
        part = draft.part(f"stop {pod.meta.name}")
        part.add(Patch("Pod", pod.meta, body))
        part.look_again(ENDING_S)
    else:
        draft.look_again(since + ENDING_S - now)
