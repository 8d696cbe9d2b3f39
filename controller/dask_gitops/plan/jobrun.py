"""Pure: how far a job has come.

A *run* begins with the object or a later ``spec.restartedAt`` and has one or more *attempts*, each a runner Pod. What
must be remembered is written on those Pods. The job's status remembers an outcome, as that of a batch Job does, since
when the run counts, and which Pod is or was the runner: while the job is suspended it names neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.model.declared import Place
from dask_gitops.model.shape import WrongShape
from dask_gitops.plan.groupstatus import first_problem
from dask_gitops.plan.idle import is_suspended
from dask_gitops.plan.told import Told, listens
from dask_gitops.resources import labels, names, numbers
from dask_gitops.resources.listening import Listening
from dask_gitops.resources.observed import CustomResource, Meta, Pod, Problem, parse_time

JSON = dict[str, Any]

SUCCESSFUL, FAILED = "Successful", "Failed"
LOST_NODE_S = 30  # past the end of its grace period, a pod that is still there is on a lost node
NEVER = float("-inf")
_WORD = re.compile(r"[A-Z][A-Za-z0-9]*")

Thing = Pod | CustomResource


@dataclass(frozen=True, slots=True)
class JobState:
    """Everything observed about one job at one moment.

    :ivar runners: all runner pods under the job's name, also of a deleted job of the same name.
    :ivar cluster: the DaskCluster of the job's name, whoever made it.
    :ivar scheduler: that cluster's scheduler pod, unless it has ended.
    :ivar wrong: what cannot be read of the job's spec.
    :ivar unread: places in the job's spec for which nothing counts.
    :ivar told: what that cluster's schedulers said last of where they listen; None: nobody asked.
    """

    job: CustomResource
    runners: tuple[Pod, ...] = ()
    cluster: CustomResource | None = None
    scheduler: Pod | None = None
    wrong: tuple[WrongShape, ...] = ()
    unread: frozenset[Place] = frozenset()
    told: Told | None = None

    @property
    def listens(self) -> Listening | None:
        """Where the present scheduler says that it listens, if that is known."""
        return listens(self.told, self.scheduler)

    @property
    def suspended(self) -> bool:
        return bool(self.job.spec.get("suspend"))

    @property
    def gives_up_the_lost(self) -> bool:
        return bool(self.job.spec.get("forceDeleteLostRunner"))

    @property
    def foreign(self) -> tuple[Thing, ...]:
        """What has this job's names and belongs to somebody else, or nobody."""
        things: tuple[Thing, ...] = (*self.runners, *some(self.cluster))
        return tuple(thing for thing in things if not self.owns(thing.meta))

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
    :ivar begun: a runner that is not there is missing.
    :ivar started: since when it counts; None: not yet, or not again after it was suspended.
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
        return is_over(self.told)

    @property
    def runner(self) -> Pod | None:
        """The pod of the attempt that is under way."""
        return (
            self.last if self.last is not None and attempt_of(self.last) == self.attempt else None
        )

    @property
    def made(self) -> int:
        """How many attempts there were."""
        return max(int(self.told.get("attempts") or 0), *map(attempt_of, self.pods), 0)


def look(state: JobState, now: float) -> Run:
    """The run that everything is about: the one under way, else the last one, else the first one to be."""
    run = _remembered(state)
    if run.recorded:
        asked = state.job.spec.get("restartedAt")
        if seconds(asked) > seconds(run.restarted_at):
            return Run(asked, {}, leftovers=(*run.leftovers, *run.pods, *some(run.cluster)))
        return replace(run, end=recorded_end(run.told, now))
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
    if not pods and not cluster and not (mine and (_names_runner(status) or is_over(status))):
        known.append(job.spec.get("restartedAt"))
    latest = max(known, key=seconds, default=None)

    def of_run(meta: Meta) -> bool:
        return seconds(meta.annotations.get(labels.RESTARTED_AT)) == seconds(latest)

    things: tuple[Thing, ...] = (*pods, *some(cluster))
    told = status if mine and seconds(status.get("restartedAt")) == seconds(latest) else {}
    current = tuple(sorted((p for p in pods if of_run(p.meta)), key=attempt_of))
    there = cluster if cluster and of_run(cluster.meta) and not cluster.meta.deleting else None
    for meta in (*(p.meta for p in current), *(c.meta for c in some(there))):
        told = told or _noted_end(meta)
    started = seconds(told.get("startTime")) if told else started_as_noted(current)
    return Run(
        restarted_at=latest,
        told=told,
        pods=current,
        cluster=there,
        leftovers=tuple(thing for thing in things if not of_run(thing.meta)),
        begun=_names_runner(told) if told else there is not None and not is_suspended(there),
        started=None if started == NEVER else started,
    )


def _judged(state: JobState, run: Run, now: float) -> Run:
    """How its attempts went, and whether it has ended by that."""
    number, end = _last_attempt(state, run, now)
    if end is not None and end.success:
        return replace(run, attempt=number, end=end)
    run = replace(run, attempt=number, failure=end)
    return replace(run, end=_no_more_attempts(state, run) or _too_late(state, run, now))


def _last_attempt(state: JobState, run: Run, now: float) -> tuple[int, End | None]:
    """The number of the attempt that was begun last, and how it ended, if it did."""
    if run.last is not None and run.made == attempt_of(run.last):
        return run.made, _end_of(run.last, run, now, suspended=state.suspended)
    number = max(run.made, 1)
    if not run.begun or state.suspended:
        return number, None
    name = names.runner_name(state.job.meta.name, number)
    return number, End(False, reasons.RUNNER_DELETED, f"{name} was deleted", now)


def _no_more_attempts(state: JobState, run: Run) -> End | None:
    if run.failure is None:
        return None
    limit = numbers.whole(state.job.spec.get("backoffLimit"))
    lost = run.failure.reason == reasons.NODE_LOST and not state.gives_up_the_lost
    if limit is not None and run.attempt <= limit and not lost:
        return None
    of = f" (attempt {run.attempt} of {limit + 1})" if limit else ""
    return replace(run.failure, message=f"{run.failure.message}{of}")


def _too_late(state: JobState, run: Run, now: float) -> End | None:
    deadline = numbers.some_seconds(state.job.spec.get("activeDeadlineSeconds"))
    if deadline is None or run.started is None or state.suspended or now < run.started + deadline:
        return None
    problem = trouble(state, run, now)
    why = problem.message if problem else _said_last(run.told)
    message = f"it took longer than {deadline:.0f} s{f'; {why}' if why else ''}"
    return End(False, reasons.DEADLINE_EXCEEDED, message, now)


def _end_of(pod: Pod, run: Run, now: float, *, suspended: bool) -> End | None:
    """How the attempt of this pod ended; None: it has not, or because the job was suspended."""
    name, at = pod.meta.name, min(pod.ended or now, now)
    if pod.exit_code == 0 or pod.phase == "Succeeded":
        return End(True, reasons.JOB_SUCCESSFUL, f"{name} exited with code 0", at)
    ended = pod.exit_code is not None or pod.finished
    if pod.meta.deleting is not None:
        if suspended:
            return None
        if lost_in(pod, now) == 0:
            message = f"{name} never confirmed its end; its node is lost"
            return End(False, reasons.NODE_LOST, message, now)
        if not run.begun or not ended:
            return None
    let_loose_on = pod.meta.annotations.get(labels.CLUSTER_UID)
    if let_loose_on and (run.cluster is None or run.cluster.meta.uid != let_loose_on):
        return End(False, reasons.CLUSTER_DELETED, "the job's cluster was deleted", at)
    if not ended:
        return None
    if pod.meta.deleting is not None:
        why = f": {pod.end}" if pod.end else ""
        return End(False, reasons.RUNNER_DELETED, f"{name} was deleted{why}", at)
    # What its kubelet says of our own way to stop it is no news.
    said = pod.exited if labels.ENDING in pod.meta.annotations else pod.end or pod.exited
    reason = said.reason if said else ""
    if not _WORD.fullmatch(reason) or reason == "Error":
        reason = reasons.RUNNER_FAILED
    return End(False, reason, f"{name}: {said or 'failed'}", at)


def lost_in(thing: Thing, now: float) -> float | None:
    """Seconds until this counts as lost with its node, 0: it does; None: it does not, as things are."""
    if not isinstance(thing, Pod) or thing.meta.deleting is None or thing.finished:
        return None
    return max(0.0, thing.meta.deleting + LOST_NODE_S - now)


def doubtful(state: JobState, now: float) -> list[tuple[str, str]]:
    """Kind and name of what only seems to be gone, perhaps because a cache is late: the API server knows."""
    run = look(state, now)
    if run.recorded or run.failure is None:
        return []
    if run.failure.reason == reasons.RUNNER_DELETED and run.runner is None:
        return [("Pod", names.runner_name(state.job.meta.name, run.attempt))]
    if run.failure.reason == reasons.CLUSTER_DELETED:
        return [("DaskCluster", state.job.meta.name)]
    return []


# ---- what is in the way


def trouble(
    state: JobState, run: Run, now: float, refused: Sequence[Problem] = ()
) -> Problem | None:
    """What keeps the run from going on: a refusal, the runner's own trouble, or its cluster's.

    :param refused: by the API server, in this round.
    """
    others = [*refused, *_names_taken(state), *_lost_leftovers(state, run, now)]
    found = first_problem([run.runner] if run.runner and not run.runner.finished else [], others)
    if found is not None or run.cluster is None:
        return found
    # Not of Ready: its counts change from second to second, and are the cluster's to tell.
    said = words.unready(run.cluster.status)
    if said is None or said.reason == reasons.PROGRESSING:
        return None
    ready = next(c for c in run.cluster.status["conditions"] if c.get("type") == words.READY)
    since = seconds(ready.get("lastTransitionTime"))
    message = f"its cluster says {said.reason}: {said.message}"
    return Problem(said.reason, message, since, refused=said.type == words.STALLED)


def _names_taken(state: JobState) -> list[Problem]:
    def said(thing: Thing) -> str:
        name = f"{kind_of(thing)} {thing.meta.name}"
        if thing.meta.owner_uid:
            return f"{name} belongs to something else"
        return f"{name} was not made for this job; delete it, and the job makes its own"

    return [
        Problem(reasons.NAME_TAKEN, said(thing), max(state.job.meta.created, thing.meta.created))
        for thing in state.foreign
        if thing.meta.deleting is None and thing.meta.owner_kind != state.job.kind
    ]


def _lost_leftovers(state: JobState, run: Run, now: float) -> list[Problem]:
    text = "never confirmed its end; its node is lost, so delete the pod by force"
    return [
        Problem(reasons.NODE_LOST, f"{pod.meta.name} {text}", pod.meta.deleting or now)
        for pod in (*run.leftovers, *state.foreign)
        if lost_in(pod, now) == 0
    ]


# ---- what is remembered


def seconds(text: Any) -> float:
    """RFC 3339 -> seconds since the epoch; what says no time was before all times."""
    try:
        return (parse_time(text) if isinstance(text, str) else None) or NEVER
    except ValueError:
        return NEVER


def attempt_of(pod: Pod) -> int:
    text = pod.meta.annotations.get(labels.ATTEMPT, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 1


def started_as_noted(pods: Sequence[Pod]) -> float:
    """When the run of these pods began, or went on after it was suspended, as the last one says."""
    return seconds(pods[-1].meta.annotations.get(labels.RUN_STARTED)) if pods else NEVER


def is_over(told: JSON) -> bool:
    return told.get("jobStatus") in (SUCCESSFUL, FAILED)


def _names_runner(told: JSON) -> bool:
    return bool(told.get("jobRunnerPodName"))


def _said_last(told: JSON) -> str:
    """Why the job was not ready, when its status was written last; empty if it was."""
    conditions = told.get("conditions") or ()
    ready: JSON = next((c for c in conditions if c.get("type") == words.READY), {})
    return str(ready.get("message") or "") if ready.get("status") == "False" else ""


_NOTED = ("jobStatus", "startTime", "endTime", "attempts", "clusterName", "conditions")


def note_of_end(run: Run) -> str:
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
    return told if isinstance(told, dict) and is_over(told) else {}


def recorded_end(told: JSON, now: float) -> End:
    """The end that a status tells, also one in which somebody wiped the words."""
    success = told.get("jobStatus") == SUCCESSFUL
    kind = "Complete" if success else "Failed"
    said: JSON = next((c for c in told.get("conditions") or () if c.get("type") == kind), {})
    reason = said.get("reason") or (reasons.JOB_SUCCESSFUL if success else reasons.RUNNER_FAILED)
    message = said.get("message") or f"it has ended: {told.get('jobStatus')}"
    at = seconds(told.get("endTime"))
    return End(success, reason, message, now if at == NEVER else at)


def some(cluster: CustomResource | None) -> tuple[CustomResource, ...]:
    return () if cluster is None else (cluster,)


def kind_of(thing: Thing) -> Literal["Pod", "DaskCluster"]:
    return "Pod" if isinstance(thing, Pod) else "DaskCluster"
