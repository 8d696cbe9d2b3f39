"""Pure: what to report of one job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.plan.actions import Emit
from dask_gitops.plan.groupstatus import also, first_problem, unready
from dask_gitops.plan.jobrun import (
    FAILED,
    NEVER,
    SUCCESSFUL,
    End,
    JobState,
    Run,
    is_over,
    look,
    recorded_end,
    seconds,
    some,
    started_as_noted,
    trouble,
)
from dask_gitops.resources import labels, names, numbers
from dask_gitops.resources.observed import CustomResource, Pod, Problem
from dask_gitops.resources.pods import PROGRESS_DEADLINE_S
from dask_gitops.resources.runner import cluster_revision, runner_revision

JSON = dict[str, Any]

CREATED, CLUSTER_CREATED, RUNNING = "JobCreated", "ClusterCreated", "Running"
_ORDER = (CREATED, CLUSTER_CREATED, RUNNING)


def job_status(
    state: JobState, now: float, *, problems: Sequence[Problem] = ()
) -> tuple[JSON, float | None]:
    """Status of a job, and when it will change by itself (seconds), if it will.

    :param problems: what the API server refused in this round.
    """
    job, run = state.job, look(state, now)
    told, end, suspended = run.told, run.end, state.suspended and run.end is None
    out: JSON = {"uid": job.meta.uid, "observedGeneration": job.meta.generation}
    if run.restarted_at:
        out["restartedAt"] = run.restarted_at
    if run.made:
        out["attempts"] = run.made
    there = run.runner is not None and not run.runner.gone
    if run.made and not suspended and (run.begun or there or end):
        out["jobRunnerPodName"] = names.runner_name(job.meta.name, run.made)
    if run.cluster is not None or told.get("clusterName"):
        out["clusterName"] = job.meta.name
    if not suspended and (since := _start_time(run, now)):
        out["startTime"] = since
    again: float | None = None
    if end is not None:
        out["endTime"] = told.get("endTime") or words.timestamp(max(end.at, run.started or 0.0))
        out["jobStatus"] = SUCCESSFUL if end.success else FAILED
        found = _ended(end, first_problem((), problems))
    else:
        rank = _rank(run)
        out["jobStatus"] = _ORDER[rank]
        found, again = _under_way(state, run, now, problems, started=_ORDER[rank] == RUNNING)
        found = words.misshapen(found, state.wrong)
    warning = run.runner.meta.annotations.get(labels.SPEC_WARNING) if run.runner else None
    if warning:
        found.append(words.spec_warning(warning))
    found += _pending(job, run)
    out["conditions"] = words.conditions(found, job.status, job.meta.generation, now)
    return out, again


def _start_time(run: Run, now: float) -> str | None:
    """Since when the run counts, as it stays in the status; None: nobody knows."""
    said: str | None = run.told.get("startTime")
    known = run.started or (started_as_noted(run.pods) if run.end else now)
    return said or (None if known == NEVER else words.timestamp(known))


def _rank(run: Run) -> int:
    """How far a run has come that has not ended; what was said is not taken back."""
    seen = 2 if run.last is not None and _has_run(run.last) else int(run.cluster is not None)
    said = run.told.get("jobStatus")
    return max(seen, _ORDER.index(said)) if said in _ORDER else seen


def _has_run(pod: Pod) -> bool:
    return pod.running or pod.exit_code is not None or pod.restarts > 0


def _ended(end: End, refusal: Problem | None) -> list[words.Condition]:
    """:param refusal: what keeps something from being cleared away; no part of how the run ended."""
    text = also(end.message, refusal)
    if end.success:
        done = words.Condition("Complete", True, end.reason, end.message)
        return [*words.ready(end.reason, text), done]
    done = words.Condition("Failed", True, end.reason, end.message)
    return [*words.stalled(end.reason, text), done]


def _under_way(
    state: JobState, run: Run, now: float, problems: Sequence[Problem], *, started: bool
) -> tuple[list[words.Condition], float | None]:
    job = state.job
    if state.suspended:
        runner = run.runner if run.runner is not None and not run.runner.finished else None
        text = f"suspended; {runner.meta.name} is on its way out" if runner else "suspended"
        text = also(text, first_problem((), problems))
        suspended = words.Condition(
            words.SUSPENDED, True, reasons.SUSPENDED, "spec.suspend is true"
        )
        return [*words.ready(reasons.SUSPENDED, text), suspended], None
    problem = trouble(state, run, now, problems)
    text = _what_goes_on(state, run)
    if started:
        reason = reasons.RUNNING if run.failure is None else reasons.RETRYING
        return words.ready(reason, also(text, problem)), None
    declared = (job.spec.get("cluster") or {}).get("spec") or {}
    deadline = numbers.seconds(declared.get("progressDeadlineSeconds"), PROGRESS_DEADLINE_S)
    again = None
    if problem is not None and not problem.refused and problem.since + deadline > now:
        again = problem.since + deadline - now + 1
    return unready(text, problem, now, deadline=deadline), again


def _what_goes_on(state: JobState, run: Run) -> str:
    limit = numbers.whole(state.job.spec.get("backoffLimit"))
    of = f", attempt {run.attempt} of {limit + 1}" if limit else ""
    if run.failure is not None:
        return f"{run.failure.message}{of}; the next one follows"
    if run.leftovers:
        return "waits until what the last run left is gone"
    if run.runner is None:
        return f"the runner is being created{of}"
    if run.runner.gone:
        return f"{run.runner.meta.name} is on its way out{of}"
    if labels.SCHEDULER_GATE in run.runner.gates:
        return f"the runner waits for the scheduler{of}"
    return f"the runner {'runs' if _has_run(run.runner) else 'is starting'}{of}"


def _pending(job: CustomResource, run: Run) -> list[words.Condition]:
    """What a person changed that this run does not follow."""
    if run.end is None and seconds(job.spec.get("restartedAt")) > seconds(run.restarted_at):
        text = "spec.restartedAt asks for another run; it begins when this one has ended"
        return [words.Condition(words.UPDATE_PENDING, True, reasons.WAITS_FOR_END, text)]
    if run.end is not None:
        return []
    made = [(p.meta, runner_revision(job)) for p in (run.runner,) if p is not None]
    made += [(c.meta, cluster_revision(job)) for c in some(run.cluster)]
    if any(meta.annotations.get(labels.REVISION, now) != now for meta, now in made):
        text = "spec.job or spec.cluster was changed after the start; the change counts for a later run, this one goes on as it is"
        return [words.Condition(words.UPDATE_PENDING, True, reasons.STARTED_BEFORE, text)]
    return []


def announcement(before: JSON, after: JSON) -> Emit | None:
    """The Event about a run whose end was just written into the status."""
    if not is_over(after) or before.get("endTime") == after.get("endTime"):
        return None
    end = recorded_end(after, 0)
    return Emit(f"Job{after['jobStatus']}", end.message, warning=not end.success)
