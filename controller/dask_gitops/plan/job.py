"""Pure: what to do about one job (runner Pods, DaskCluster), and what to report of it.

A *run* begins with the object or a later ``spec.restartedAt`` and has one or more *attempts*, each a runner Pod. What
must be remembered is written on those Pods; the job's status remembers an outcome, as that of a batch Job does, which
Pod was made last, and that nothing is under way while the job is suspended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask_gitops import status as words
from dask_gitops.plan.actions import Create, Delete, Draft, Emit, Patch, Plan
from dask_gitops.plan.groupstatus import PROGRESS_DEADLINE_S, first_problem, unready
from dask_gitops.plan.idle import is_suspended
from dask_gitops.plan.replacement import BACKOFF_S, LONGEST_S
from dask_gitops.resources import labels, names
from dask_gitops.resources.metadata import metadata_patch, with_note
from dask_gitops.resources.observed import CustomResource, Meta, Pod, Problem, parse_time
from dask_gitops.resources.runner import (
    cluster_metadata,
    cluster_revision,
    job_cluster,
    runner_metadata,
    runner_pod,
    runner_revision,
)
from dask_gitops.resources.tracking import tracked_by

JSON = dict[str, Any]

CREATED, CLUSTER_CREATED, RUNNING = "JobCreated", "ClusterCreated", "Running"
SUCCESSFUL, FAILED = "Successful", "Failed"
_ORDER = (CREATED, CLUSTER_CREATED, RUNNING)

LOST_NODE_S = 30  # past the end of its grace period, a pod that is still there is on a lost node
PREDECESSOR_S = 1  # how often to look whether what stands in the way is gone
ENDING_S = 60  # after that, a runner whose kubelet does not stop it is deleted
_WORD = re.compile(r"[A-Z][A-Za-z0-9]*")


Thing = Pod | CustomResource


@dataclass(frozen=True, slots=True)
class JobState:
    """Everything observed about one job at one moment.

    :ivar runners: all runner pods under the job's name, also of a deleted job of the same name.
    :ivar cluster: the DaskCluster of the job's name, whoever made it.
    :ivar scheduler: that cluster's scheduler pod, unless it has ended.
    """

    job: CustomResource
    runners: tuple[Pod, ...] = ()
    cluster: CustomResource | None = None
    scheduler: Pod | None = None

    def owns(self, meta: Meta) -> bool:
        return meta.owner_uid == self.job.meta.uid


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt or a run ended."""

    success: bool
    reason: str  # one CamelCase word
    message: str
    at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as far as it has come.

    :ivar restarted_at: the ``spec.restartedAt`` that asked for it.
    :ivar told: what the status says of it; ``{}`` if nothing.
    :ivar pods: its runner pods, the last attempt last.
    :ivar cluster: its cluster, unless that is on its way out.
    :ivar leftovers: pods and clusters of earlier runs.
    :ivar begun: it is under way: a runner that is not there is missing.
    :ivar failure: how the last attempt failed, if it did.
    :ivar end: how the run ended, if it did; not necessarily recorded yet.
    :ivar attempt: number of the attempt that is under way, or would be next.
    """

    restarted_at: str | None
    told: JSON
    pods: tuple[Pod, ...] = ()
    cluster: CustomResource | None = None
    leftovers: tuple[Thing, ...] = ()
    begun: bool = False
    started: float | None = None
    failure: End | None = None
    end: End | None = None
    attempt: int = 1

    @property
    def last(self) -> Pod | None:
        return self.pods[-1] if self.pods else None

    @property
    def recorded(self) -> bool:
        """Is its end in the status?"""
        return _is_over(self.told)

    @property
    def runner(self) -> Pod | None:
        """The pod of the attempt that is under way."""
        return self.last if self.last is not None and _attempt(self.last) == self.attempt else None


# ---- what is


def look(state: JobState, now: float) -> Run:
    """The run that everything is about: the one under way, else the last one, else the first one to be."""
    run = _remembered(state)
    if run.recorded:
        asked = state.job.spec.get("restartedAt")
        if _time(asked) > _time(run.restarted_at):
            return Run(asked, {}, leftovers=(*run.leftovers, *run.pods, *_some(run.cluster)))
        return replace(run, end=_recorded_end(run.told, now))
    return _judged(state, run, now)


def _remembered(state: JobState) -> Run:
    """What status and children say; the latest ``restartedAt`` among them is that of the run."""
    job, status = state.job, state.job.status
    pods = [p for p in state.runners if state.owns(p.meta)]
    cluster = state.cluster if state.cluster and state.owns(state.cluster.meta) else None
    mine = status.get("uid") == job.meta.uid
    known = [p.meta.annotations.get(labels.RESTARTED_AT) for p in pods]
    known += [cluster.meta.annotations.get(labels.RESTARTED_AT)] if cluster else []
    known += [status.get("restartedAt")] if mine else []
    # As long as nothing came of it, a later wish may take its place.
    if not pods and not cluster and not (mine and (status.get("startTime") or _is_over(status))):
        known.append(job.spec.get("restartedAt"))
    latest = max(known, key=_time, default=None)

    def of_run(meta: Meta) -> bool:
        return _time(meta.annotations.get(labels.RESTARTED_AT)) == _time(latest)

    things: tuple[Thing, ...] = (*pods, *_some(cluster))
    told = status if mine and _time(status.get("restartedAt")) == _time(latest) else {}
    current = tuple(sorted((p for p in pods if of_run(p.meta)), key=_attempt))
    there = cluster if cluster and of_run(cluster.meta) and not cluster.meta.deleting else None
    for meta in (*(p.meta for p in current), *(c.meta for c in _some(there))):
        told = told or _noted_end(meta)
    return Run(
        restarted_at=latest,
        told=told,
        pods=current,
        cluster=there,
        leftovers=tuple(thing for thing in things if not of_run(thing.meta)),
        begun=bool(told.get("startTime"))
        if told
        else there is not None and not is_suspended(there),
        started=_started(current, told),
    )


def _judged(state: JobState, run: Run, now: float) -> Run:
    """How its attempts went, and whether it has ended by that."""
    job, last = state.job, run.last
    on_hold = bool(job.spec.get("suspend")) or not run.begun
    made = int(run.told.get("attempts") or 0)
    seen = 0 if last is None else _attempt(last)
    if last is None or made > seen:
        number = max(made, 1)
        name = names.runner_name(job.meta.name, number)
        failure = None if on_hold else End(False, "RunnerDeleted", f"{name} was deleted", now)
        run = replace(run, attempt=number, failure=failure)
    else:
        end = _end_of(last, run, now, suspended=bool(job.spec.get("suspend")))
        if end is not None and end.success:
            return replace(run, attempt=seen, end=end)
        run = replace(run, attempt=seen, failure=end)
    failure = run.failure
    if failure is not None:
        limit = job.spec.get("backoffLimit")
        lost = failure.reason == "NodeLost" and not job.spec.get("forceDeleteLostRunner")
        if limit is None or run.attempt > limit or lost:
            of = f" (attempt {run.attempt} of {limit + 1})" if limit else ""
            return replace(run, end=replace(failure, message=f"{failure.message}{of}"))
    deadline = job.spec.get("activeDeadlineSeconds")
    if deadline is None or run.started is None or on_hold or now < run.started + deadline:
        return run
    problem = _problem(state, run, ())
    why = f"; {problem.message}" if problem else ""
    message = f"it took longer than {deadline} s{why}"
    return replace(run, end=End(False, "DeadlineExceeded", message, now))


def _end_of(pod: Pod, run: Run, now: float, *, suspended: bool) -> End | None:
    """How the attempt of this pod ended; None: it has not, or because the job was suspended."""
    name, at = pod.meta.name, min(pod.ended or now, now)
    if pod.exit_code == 0 or pod.phase == "Succeeded":
        return End(True, "JobSuccessful", f"{name} exited with code 0", at)
    ended = pod.exit_code is not None or pod.finished
    if pod.meta.deleting is not None and (suspended or not pod.finished):
        if suspended:
            return None
        if not ended and now >= pod.meta.deleting + LOST_NODE_S:
            message = f"{name} never confirmed its end; its node is lost"
            return End(False, "NodeLost", message, now)
        if not run.begun or not ended:
            return None
    let_loose_on = pod.meta.annotations.get(labels.CLUSTER_UID)
    if let_loose_on and (run.cluster is None or run.cluster.meta.uid != let_loose_on):
        return End(False, "ClusterDeleted", "the job's cluster was deleted", at)
    if not ended:
        return None
    if pod.meta.deleting is not None:
        why = f": {pod.end}" if pod.end else ""
        return End(False, "RunnerDeleted", f"{name} was deleted{why}", at)
    # What its kubelet says of our own way to stop it is no news.
    said = pod.exited if labels.ENDING in pod.meta.annotations else pod.end or pod.exited
    reason = (said or "").partition(":")[0].partition(" ")[0]
    if not _WORD.fullmatch(reason) or reason == "Error":
        reason = "RunnerFailed"
    return End(False, reason, f"{name}: {said or 'failed'}", at)


def doubtful(state: JobState, now: float) -> list[tuple[str, str]]:
    """Kind and name of what only seems to be gone, perhaps because a cache is late: the API server knows."""
    run = look(state, now)
    if run.recorded or run.failure is None:
        return []
    if run.failure.reason == "RunnerDeleted" and run.runner is None:
        return [("Pod", names.runner_name(state.job.meta.name, run.attempt))]
    if run.failure.reason == "ClusterDeleted":
        return [("DaskCluster", state.job.meta.name)]
    return []


# ---- what to do


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
    elif run.end is None and not _clear(state, run, draft):
        _keep_current(state, run, draft, reserved)
        if job.spec.get("suspend"):
            _suspend(state, run, now, draft)
        else:
            _go_on(state, run, now, draft, default_image, reserved)
    return draft.done()


def _clear(state: JobState, run: Run, draft: Draft) -> bool:
    """Is something of an earlier run, or of another owner, in the way? What is ours goes."""
    for thing in run.leftovers:
        if thing.meta.deleting is None:
            draft.add(_delete(thing))
    things: tuple[Thing, ...] = (*state.runners, *_some(state.cluster))
    if not run.leftovers and all(state.owns(thing.meta) for thing in things):
        return False
    draft.look_again(PREDECESSOR_S)
    return True


def _go_on(
    state: JobState,
    run: Run,
    now: float,
    draft: Draft,
    default_image: str,
    reserved: tuple[str, ...],
) -> None:
    job, runner = state.job, run.runner
    deadline = job.spec.get("activeDeadlineSeconds")
    if deadline is not None and run.started is not None:
        draft.look_again(run.started + deadline - now)
    if run.failure is not None:
        if not _may_retry(run, now, draft):
            return
        run = replace(run, attempt=run.attempt + 1, failure=None)
        runner = None
    elif runner is not None and runner.meta.deleting is not None:
        draft.look_again(max(PREDECESSOR_S, runner.meta.deleting + LOST_NODE_S - now))
        return
    if runner is None:
        started = now if run.started is None or not run.begun else run.started
        made = runner_pod(
            job,
            run.attempt,
            started=words.timestamp(started),
            restarted_at=run.restarted_at,
            default_image=default_image,
            reserved=reserved,
        )
        # First of all: workers must not eat its quota.
        draft.add(Create("Pod", (made,)), _made(run, made))
    _cluster(state, run, draft, reserved)
    if runner is not None and labels.SCHEDULER_GATE in runner.gates:
        _open(state, run, runner, draft)


def _made(run: Run, made: JSON) -> Emit:
    name = made["metadata"]["name"]
    if run.attempt == 1:
        return Emit("RunnerCreated", f"created {name}")
    return Emit("RunnerRetried", f"created {name}, attempt {run.attempt}", warning=True)


def _may_retry(run: Run, now: float, draft: Draft) -> bool:
    """May the next attempt begin? Not beside the last one, and later with each."""
    last, failure = run.runner, run.failure
    if last is None or failure is None:
        return True
    if failure.reason == "NodeLost":
        draft.add(Delete("Pod", last.meta, force=True))
        draft.add(Emit("RunnerLost", f"{failure.message}; removed", warning=True))
        return False
    if not last.finished:
        _stop(last, now, draft)
        return False
    pause = min(BACKOFF_S * 2.0 ** min(run.attempt - 1, 10), LONGEST_S)
    # A node's clock may be ahead.
    wait = min(pause, (last.ended or last.meta.created) + pause - now)
    if wait > 0:
        draft.look_again(wait)
        return False
    return True


def _cluster(state: JobState, run: Run, draft: Draft, reserved: tuple[str, ...]) -> None:
    if run.cluster is None:
        if state.cluster is None:
            made = job_cluster(state.job, restarted_at=run.restarted_at, reserved=reserved)
            draft.add(Create("DaskCluster", (made,)))
        else:
            draft.look_again(PREDECESSOR_S)  # the last one is on its way out
    elif is_suspended(run.cluster):
        draft.add(Patch("DaskCluster", run.cluster.meta, {"spec": {"suspend": None}}))
        draft.add(Emit("Resumed", "the job goes on"))


def _open(state: JobState, run: Run, runner: Pod, draft: Draft) -> None:
    """Let the runner loose, once its cluster can take work."""
    scheduler, cluster = state.scheduler, run.cluster
    if cluster is None or is_suspended(cluster) or scheduler is None or not scheduler.ready:
        return
    if scheduler.meta.owner_uid != cluster.meta.uid:
        return
    rest = [{"name": gate} for gate in runner.gates if gate != labels.SCHEDULER_GATE]
    body = {
        "metadata": {"annotations": {labels.CLUSTER_UID: cluster.meta.uid}},
        "spec": {"schedulingGates": rest or None},
    }
    # Exact: somebody else may open a gate of his own at this moment.
    draft.add(Patch("Pod", runner.meta, body, exact=True))


def _suspend(state: JobState, run: Run, now: float, draft: Draft) -> None:
    """The runner goes first, so that it does not fail for want of a cluster."""
    if not _says_suspended(run.told):
        return  # nothing goes before the status says why
    runner = run.runner
    if runner is not None and not runner.finished:
        if runner.meta.deleting is None:
            draft.add(Delete("Pod", runner.meta))
            draft.add(Emit("Suspended", f"deleted {runner.meta.name}; it is made anew later"))
        return
    if run.cluster is not None and not is_suspended(run.cluster):
        draft.add(Patch("DaskCluster", run.cluster.meta, {"spec": {"suspend": True}}))


def _keep_current(state: JobState, run: Run, draft: Draft, reserved: tuple[str, ...]) -> None:
    """Changed labels and annotations reach what runs; nothing restarts."""
    job, runner = state.job, run.runner
    if runner is not None and not runner.gone:
        patch = metadata_patch(with_note(runner_metadata(job, reserved)), runner.meta)
        if patch:
            draft.add(Patch("Pod", runner.meta, {"metadata": patch}))
    if run.cluster is not None:
        patch = metadata_patch(with_note(cluster_metadata(job, reserved)), run.cluster.meta)
        if patch:
            draft.add(Patch("DaskCluster", run.cluster.meta, {"metadata": patch}))


def _clean_up(state: JobState, run: Run, now: float, draft: Draft) -> None:
    """After the end: runners stop and stay for their logs, the cluster goes, and in due time the rest."""
    job, end = state.job, run.end
    assert end is not None
    kept = run.last or run.cluster
    if kept is not None and labels.OUTCOME not in kept.meta.annotations and not kept.meta.deleting:
        # Whoever wipes the status runs nothing once more.
        note = {"metadata": {"annotations": {labels.OUTCOME: _note_of_end(run)}}}
        draft.add(Patch("Pod" if run.last else "DaskCluster", kept.meta, note))
    force = bool(job.spec.get("forceDeleteLostRunner"))
    for pod in run.pods:
        if pod.finished:
            continue
        if pod.meta.deleting is None:
            _stop(pod, now, draft)
        elif force:
            overdue = pod.meta.deleting + LOST_NODE_S - now
            if overdue > 0:
                draft.look_again(overdue)
            else:
                draft.add(Delete("Pod", pod.meta, force=True))
    ttl = job.spec.get("ttlSecondsAfterFinished")
    left = None if ttl is None else end.at + ttl - now
    policy = job.spec.get("cleanupPolicy") or "Always"
    cluster_goes = policy == "Always" or (policy == "OnSuccess" and end.success)
    if left is not None and left <= 0:
        if tracked_by(job.meta) is None:
            draft.add(Delete("DaskJob", job.meta))
            draft.add(Emit("Expired", f"deleted {ttl} s after its end"))
            return
        cluster_goes = True
        for pod in run.pods:
            if pod.meta.deleting is None:
                draft.add(Delete("Pod", pod.meta))
    elif left is not None:
        draft.look_again(left)
    if run.cluster is not None and cluster_goes:
        draft.add(Delete("DaskCluster", run.cluster.meta))
    # What an earlier run left, say because nobody was there to see it through.
    draft.add(*(_delete(thing) for thing in run.leftovers if thing.meta.deleting is None))


def _stop(pod: Pod, now: float, draft: Draft) -> None:
    """End a runner so that its logs can be read afterwards: its own deadline is now. One that never ran is deleted."""
    if pod.meta.deleting is not None or pod.stopped:
        return  # its kubelet is about to say that it has ended
    since = _time(pod.meta.annotations.get(labels.ENDING))
    if not pod.started or (since != _NEVER and now >= since + ENDING_S):
        draft.add(Delete("Pod", pod.meta))
    elif since == _NEVER:
        body = {
            "metadata": {"annotations": {labels.ENDING: words.timestamp(now)}},
            "spec": {"activeDeadlineSeconds": 1},
        }
        draft.add(Patch("Pod", pod.meta, body))
        draft.look_again(ENDING_S)
    else:
        draft.look_again(since + ENDING_S - now)


def _delete(thing: Thing) -> Delete:
    return Delete("Pod" if isinstance(thing, Pod) else "DaskCluster", thing.meta)


# ---- what to report


def job_status(
    state: JobState, now: float, *, problems: Sequence[Problem] = ()
) -> tuple[JSON, float | None]:
    """Status of a job, and when it will change by itself (seconds), if it will.

    :param problems: what the API server refused in this round.
    """
    job, run = state.job, look(state, now)
    out: JSON = {"uid": job.meta.uid, "observedGeneration": job.meta.generation}
    if run.restarted_at:
        out["restartedAt"] = run.restarted_at
    told = run.told
    made = max(int(told.get("attempts") or 0), *(_attempt(p) for p in run.pods), 0)
    if made:
        out["attempts"] = made
        out["jobRunnerPodName"] = names.runner_name(job.meta.name, made)
    if run.cluster is not None or told.get("clusterName"):
        out["clusterName"] = job.meta.name
    suspended = bool(job.spec.get("suspend")) and run.end is None
    there = run.runner is not None and not run.runner.gone
    if run.started is not None and not suspended and (run.begun or run.end or there):
        out["startTime"] = told.get("startTime") or words.timestamp(run.started)
    again: float | None = None
    if run.end is not None:
        ended = max(run.end.at, run.started or 0.0)
        out["endTime"] = told.get("endTime") or words.timestamp(ended)
        out["jobStatus"] = SUCCESSFUL if run.end.success else FAILED
        found = _ended(run.end)
    else:
        rank = 0 if run.cluster is None else 1
        rank = 2 if run.last is not None and _has_run(run.last) else rank
        if told.get("jobStatus") in _ORDER:
            rank = max(rank, _ORDER.index(told["jobStatus"]))
        out["jobStatus"] = _ORDER[rank]
        found, again = _under_way(state, run, now, problems, started=_ORDER[rank] == RUNNING)
    warning = run.runner.meta.annotations.get(labels.SPEC_WARNING) if run.runner else None
    if warning:
        found.append(words.spec_warning(warning))
    found += _pending(job, run)
    out["conditions"] = words.conditions(found, job.status, job.meta.generation, now)
    return out, again


def _ended(end: End) -> list[words.Condition]:
    if end.success:
        done = words.Condition("Complete", True, end.reason, end.message)
        return [*words.ready(end.reason, end.message), done]
    done = words.Condition("Failed", True, end.reason, end.message)
    return [*words.stalled(end.reason, end.message), done]


def _under_way(
    state: JobState, run: Run, now: float, problems: Sequence[Problem], *, started: bool
) -> tuple[list[words.Condition], float | None]:
    job = state.job
    if job.spec.get("suspend"):
        runner = run.runner if run.runner is not None and not run.runner.finished else None
        text = f"suspended; {runner.meta.name} is on its way out" if runner else "suspended"
        suspended = words.Condition("Suspended", True, "Suspended", "spec.suspend is true")
        return [*words.ready("Suspended", text), suspended], None
    problem = _problem(state, run, problems)
    limit = job.spec.get("backoffLimit")
    of = f", attempt {run.attempt} of {limit + 1}" if limit else ""
    if started:
        if run.failure is not None:
            text = f"{run.failure.message}{of}; the next one follows"
            return words.ready("Retrying", text), None
        text = f"the runner runs{of}"
        return words.ready("Running", f"{text}; {problem.message}" if problem else text), None
    deadline = (job.spec.get("cluster") or {}).get("spec") or {}
    deadline = float(deadline.get("progressDeadlineSeconds") or PROGRESS_DEADLINE_S)
    if run.leftovers:
        text = "waits until what the last run left is gone"
    elif run.runner is None:
        text = "the runner is being created"
    elif labels.SCHEDULER_GATE in run.runner.gates:
        text = "the runner waits for the scheduler"
    else:
        text = f"the runner is starting{of}"
    again = None
    if problem is not None and not problem.refused and problem.since + deadline > now:
        again = problem.since + deadline - now + 1
    return unready(text, problem, now, deadline=deadline), again


def _problem(state: JobState, run: Run, problems: Sequence[Problem]) -> Problem | None:
    """What keeps the run from going on: a refusal, the runner's own trouble, or its cluster's."""
    taken = [*problems, *_names_taken(state)]
    found = first_problem([run.runner] if run.runner and not run.runner.finished else [], taken)
    if found is not None or run.cluster is None:
        return found
    conditions = {c.get("type"): c for c in run.cluster.status.get("conditions") or ()}
    ready = conditions.get(words.READY, {})
    if ready.get("status") != "False" or ready.get("reason") == "Progressing":
        return None
    refused = conditions.get(words.STALLED, {}).get("status") == "True"
    since = _time(ready.get("lastTransitionTime"))
    # Its counts change from second to second, and are the cluster's to tell.
    said = str(ready.get("message", "")).partition("; ")
    message = f"its cluster says {ready.get('reason')}: {said[2] or said[0]}"
    return Problem(str(ready.get("reason")), message, since, refused=refused)


def _names_taken(state: JobState) -> list[Problem]:
    things = [("Pod", p.meta) for p in state.runners]
    things += [("DaskCluster", c.meta) for c in _some(state.cluster)]
    return [
        Problem(
            "NameTaken",
            f"{kind} {meta.name} belongs to something else"
            if meta.owner_uid
            else f"{kind} {meta.name} was not made for this job; delete it, and the job makes its own",
            max(state.job.meta.created, meta.created),
        )
        for kind, meta in things
        if not state.owns(meta) and meta.deleting is None and meta.owner_kind != state.job.kind
    ]


def _pending(job: CustomResource, run: Run) -> list[words.Condition]:
    """What a person changed that this run does not follow."""
    if run.end is None and _time(job.spec.get("restartedAt")) > _time(run.restarted_at):
        text = "spec.restartedAt asks for another run; it begins when this one has ended"
        return [words.Condition(words.UPDATE_PENDING, True, "WaitsForEnd", text)]
    if run.end is not None:
        return []
    made = [(p.meta, runner_revision(job)) for p in (run.runner,) if p is not None]
    made += [(c.meta, cluster_revision(job)) for c in _some(run.cluster)]
    if any(meta.annotations.get(labels.REVISION, now) != now for meta, now in made):
        text = "spec.job or spec.cluster was changed after the start; the change counts for a later run, this one goes on as it is"
        return [words.Condition(words.UPDATE_PENDING, True, "StartedBefore", text)]
    return []


def announcement(before: JSON, after: JSON) -> Emit | None:
    """The Event about a run whose end was just written into the status."""
    if not _is_over(after) or before.get("endTime") == after.get("endTime"):
        return None
    end = _recorded_end(after, 0)
    return Emit(f"Job{after['jobStatus']}", end.message, warning=not end.success)


# ---- small things

_NEVER = float("-inf")


def _time(text: Any) -> float:
    """RFC 3339 -> seconds since the epoch; what says no time was before all times."""
    try:
        return (parse_time(text) if isinstance(text, str) else None) or _NEVER
    except ValueError:
        return _NEVER


def _attempt(pod: Pod) -> int:
    text = pod.meta.annotations.get(labels.ATTEMPT, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 1


def _started(pods: Sequence[Pod], told: JSON) -> float | None:
    """When the run began, or went on after it was suspended."""
    noted = _time(pods[-1].meta.annotations.get(labels.RUN_STARTED)) if pods else _NEVER
    found = max(noted, _time(told.get("startTime")))
    return None if found == _NEVER else found


def _has_run(pod: Pod) -> bool:
    return pod.running or pod.exit_code is not None or pod.restarts > 0


def _is_over(told: JSON) -> bool:
    return told.get("jobStatus") in (SUCCESSFUL, FAILED)


def _says_suspended(told: JSON) -> bool:
    conditions = told.get("conditions") or ()
    return any(c.get("type") == "Suspended" and c.get("status") == "True" for c in conditions)


_NOTED = ("jobStatus", "startTime", "endTime", "attempts", "clusterName", "conditions")


def _note_of_end(run: Run) -> str:
    """The end of a run, as a child of the job remembers it."""
    told = {key: run.told[key] for key in _NOTED if key in run.told}
    ends = [c for c in told.get("conditions") or () if c.get("type") in ("Complete", "Failed")]
    return json.dumps({**told, "conditions": ends}, sort_keys=True, separators=(",", ":"))


def _noted_end(meta: Meta) -> JSON:
    """What such a note says; ``{}`` if there is none."""
    try:
        told = json.loads(meta.annotations.get(labels.OUTCOME, "{}"))
    except ValueError:  # not written by us
        return {}
    return told if isinstance(told, dict) and _is_over(told) else {}


def _recorded_end(told: JSON, now: float) -> End:
    """The end that a status tells, also one in which somebody wiped the words."""
    success = told.get("jobStatus") == SUCCESSFUL
    kind = "Complete" if success else "Failed"
    said: JSON = next((c for c in told.get("conditions") or () if c.get("type") == kind), {})
    reason = said.get("reason") or ("JobSuccessful" if success else "RunnerFailed")
    message = said.get("message") or f"it has ended: {told.get('jobStatus')}"
    at = _time(told.get("endTime"))
    return End(success, reason, message, now if at == _NEVER else at)


def _some(cluster: CustomResource | None) -> tuple[CustomResource, ...]:
    return () if cluster is None else (cluster,)
