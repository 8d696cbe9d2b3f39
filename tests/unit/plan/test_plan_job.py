"""Jobs, pure: what no story of a whole job shows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan.actions import Create, Delete, Patch
from dask_gitops.plan.job import plan_job
from dask_gitops.plan.jobrun import JobState, doubtful, look
from dask_gitops.plan.jobstatus import job_status
from dask_gitops.resources import labels
from dask_gitops.resources.observed import CustomResource, Pod
from dask_gitops.resources.runner import job_cluster, runner_pod

from tests.unit.objects import T0, TIME, raw_pod, running

JSON = dict[str, Any]
SOON, LATER = "2030-01-01T01:00:00Z", "2030-01-01T02:00:00Z"


def job(spec: JSON | None = None, status: JSON | None = None, **meta: Any) -> CustomResource:
    given = {"name": "nightly", "namespace": "ns", "uid": "job-uid", "generation": 1}
    whole = {"job": {"spec": {"containers": [{"name": "job"}]}}, **(spec or {})}
    metadata = {**given, "creationTimestamp": TIME, **meta}
    told = {"uid": "job-uid", **status} if status else {}
    return CustomResource.of(
        {"kind": "DaskJob", "metadata": metadata, "spec": whole, "status": told}
    )


def runner(
    of: CustomResource,
    attempt: int = 1,
    *,
    run: str | None = None,
    status: JSON | None = None,
    **meta: Any,
) -> Pod:
    raw = runner_pod(of, attempt, started=TIME, restarted_at=run, default_image="d")
    raw["metadata"] |= {"uid": f"runner-{attempt}-uid", "creationTimestamp": TIME, **meta}
    return Pod.of({**raw, "status": status or {"phase": "Pending"}})


def failed(of: CustomResource, attempt: int = 1, code: int = 1, **more: Any) -> Pod:
    state = {"terminated": {"exitCode": code, "reason": "Error", "finishedAt": TIME}}
    states = [{"name": "job", "restartCount": 0, "state": state}]
    return runner(of, attempt, status={"phase": "Failed", "containerStatuses": states}, **more)


def cluster(of: CustomResource, run: str | None = None, **meta: Any) -> CustomResource:
    raw = job_cluster(of, restarted_at=run)
    raw["metadata"] |= {"uid": "cluster-uid", "creationTimestamp": TIME, **meta}
    return CustomResource.of(raw)


def scheduler(**kwargs: Any) -> Pod:
    raw = raw_pod("nightly-scheduler", "scheduler", status=running(name="scheduler"), **kwargs)
    return Pod.of(raw)


def actions(state: JobState, now: float = T0) -> list[Any]:
    return list(plan_job(state, now, default_image="d").actions)


def test_only_our_gate_opens() -> None:
    pod: JSON = {"containers": [{"name": "job"}], "schedulingGates": [{"name": "example.com/x"}]}
    of = job({"job": {"spec": pod}}, {"startTime": TIME, "attempts": 1})
    state = JobState(of, (runner(of),), cluster(of), scheduler())
    (patch,) = actions(state)
    assert isinstance(patch, Patch)
    assert patch.exact
    assert patch.body["spec"] == {"schedulingGates": [{"name": "example.com/x"}]}
    assert patch.body["metadata"]["annotations"] == {labels.CLUSTER_UID: "cluster-uid"}


@pytest.mark.parametrize(
    "schedulers",
    [None, scheduler(owner="another-uid"), Pod.of(raw_pod("nightly-scheduler", "scheduler"))],
)
def test_it_stays_shut_without_a_ready_scheduler_of_this_very_cluster(
    schedulers: Pod | None,
) -> None:
    of = job(status={"startTime": TIME, "attempts": 1})
    assert actions(JobState(of, (runner(of),), cluster(of), schedulers)) == []


def test_the_runner_is_the_first_thing() -> None:
    pod, event, of_cluster = actions(JobState(job()))
    assert (pod.kind, of_cluster.kind) == ("Pod", "DaskCluster")
    assert event.reason == "RunnerCreated"


def test_what_a_status_tells_of_another_job_counts_for_nothing() -> None:
    """As a backup that is restored brings it along: the job of that uid has ended, this one has not begun."""
    ended = {"jobStatus": "Successful", "endTime": TIME, "attempts": 3}
    pod, _, of_cluster = actions(JobState(job(status={**ended, "uid": "an-earlier-uid"})))
    assert (pod.kind, of_cluster.kind) == ("Pod", "DaskCluster")
    assert pod.manifests[0]["metadata"]["name"] == "nightly-runner"
    assert actions(JobState(job(status=ended))) == []


def test_a_suspended_runner_stays_until_the_status_says_why_it_goes() -> None:
    told = {"startTime": TIME, "attempts": 1, "jobStatus": "Running"}
    untold = job({"suspend": True}, told)
    pod = runner(untold, status=running(name="job"))
    assert actions(JobState(untold, (pod,), cluster(untold), scheduler())) == []
    suspended = {"type": "Suspended", "status": "True", "reason": "Suspended", "message": ""}
    of = job({"suspend": True}, {**told, "conditions": [suspended]})
    delete, event = actions(JobState(of, (pod,), cluster(of), scheduler()))
    assert (type(delete), delete.kind, event.reason) == (Delete, "Pod", "Suspended")


def test_what_is_missing_is_looked_for_before_it_is_believed() -> None:
    of = job(status={"attempts": 2, "jobRunnerPodName": "nightly-runner-2", "jobStatus": "Running"})
    one = failed(of)
    assert doubtful(JobState(of, (one,), cluster(of)), T0) == [("Pod", "nightly-runner-2")]
    loose = {"annotations": {labels.CLUSTER_UID: "cluster-uid", labels.ATTEMPT: "2"}}
    two = runner(of, 2, status=running(name="job"), **loose)
    assert doubtful(JobState(of, (one, two)), T0) == [("DaskCluster", "nightly")]
    assert doubtful(JobState(of, (one, two), cluster(of)), T0) == []


def test_nothing_goes_before_the_end_is_in_the_status() -> None:
    of = job(status={"startTime": TIME, "attempts": 1, "jobStatus": "Running"})
    state = JobState(of, (failed(of),), cluster(of), scheduler())
    assert actions(state) == []
    said, _ = job_status(state, T0 + 5)
    assert said["jobStatus"] == "Failed"
    over = job(status={**said, "uid": "job-uid"})
    note, delete = actions(JobState(over, state.runners, state.cluster), T0 + 5)
    assert json.loads(note.body["metadata"]["annotations"][labels.OUTCOME])["jobStatus"] == "Failed"
    assert isinstance(delete, Delete)
    assert delete.kind == "DaskCluster"


def test_what_an_earlier_run_left_goes_first() -> None:
    ended = {"jobStatus": "Successful", "endTime": TIME, "restartedAt": SOON}
    of = job({"restartedAt": LATER}, ended)
    left = JobState(of, (failed(of, run=SOON),), cluster(of, SOON))
    assert [(a.kind, type(a)) for a in actions(left)] == [("Pod", Delete), ("DaskCluster", Delete)]
    pod, *_ = actions(JobState(of))
    assert isinstance(pod, Create)
    assert pod.manifests[0]["metadata"]["annotations"][labels.RESTARTED_AT] == LATER


def test_a_cache_that_is_behind_deletes_nothing_of_a_later_run() -> None:
    behind = job(status={"jobStatus": "Successful", "endTime": TIME})
    state = JobState(behind, (runner(behind, run=LATER),), cluster(behind, LATER))
    assert not [a for a in actions(state) if isinstance(a, Delete)]
    assert look(state, T0).restarted_at == LATER


def test_a_status_that_somebody_garbled() -> None:
    of = job({"ttlSecondsAfterFinished": 60}, {"jobStatus": "Failed"})
    state = JobState(of)
    assert actions(state) == [], "without a time of its end, none has passed"
    said, _ = job_status(state, T0)
    assert said["endTime"] == TIME
    assert said["jobStatus"] == "Failed"


def test_notes_that_are_not_ours() -> None:
    of = job()
    pod = failed(
        of, annotations={labels.OUTCOME: "{", labels.ATTEMPT: "x", labels.RUN_STARTED: "?"}
    )
    assert look(JobState(of, (pod,), cluster(of)), T0).attempt == 1


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        ([], "was not made for this job; delete it"),
        ([{"uid": "u", "kind": "Thing", "name": "t", "controller": True}], "belongs to something"),
    ],
)
def test_names_that_are_taken(owner: list[JSON], words: str) -> None:
    of = job()
    state = JobState(of, (), cluster(of, ownerReferences=owner))
    assert actions(state) == []
    said, again = job_status(state, T0)
    (ready,) = [c for c in said["conditions"] if c["type"] == "Ready"]
    assert ready["reason"] == "NameTaken"
    assert words in ready["message"]
    assert again == 601
    stalled, _ = job_status(state, T0 + 601)
    assert "Stalled" in {c["type"] for c in stalled["conditions"]}


def test_of_a_deleted_job_of_the_same_name_it_waits_for_the_end() -> None:
    of = job()
    old = [{"uid": "old", "kind": "DaskJob", "name": "nightly", "controller": True}]
    state = JobState(of, (runner(of, ownerReferences=old),))
    plan = plan_job(state, T0, default_image="d")
    assert plan.actions == ()
    assert plan.again == 1
    said, _ = job_status(state, T0)
    assert {c["reason"] for c in said["conditions"]} == {"Progressing"}


def test_the_pauses_between_attempts() -> None:
    of = job({"backoffLimit": 20}, {"startTime": TIME, "attempts": 1})
    pauses = []
    for attempt in range(1, 8):
        told = job({"backoffLimit": 20}, {"startTime": TIME, "attempts": attempt})
        plan = plan_job(JobState(told, (failed(of, attempt),), cluster(of)), T0, default_image="d")
        pauses.append(plan.again)
    assert pauses == [10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize("count", ["0 of 2 workers ready", "a; b; 1 of 2 workers ready"])
def test_what_its_cluster_says_is_told_whole_and_without_counts(count: str) -> None:
    of = job()
    words = "pod x; is forbidden; exceeded quota"
    said = [
        {"type": "Ready", "status": "False", "reason": "QuotaExceeded", "message": f"{count}; {words}", "lastTransitionTime": TIME},
        {"type": "Reconciling", "status": "True", "reason": "QuotaExceeded", "message": words},
    ]  # fmt: skip
    made = replace(cluster(of), status={"conditions": said})
    status, _ = job_status(JobState(of, (runner(of),), made), T0)
    (ready,) = (c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "QuotaExceeded"
    assert ready["message"].endswith(f"; its cluster says QuotaExceeded: {words}")
    assert count not in ready["message"]


def test_a_jobs_reason_is_the_word_of_who_ended_it() -> None:
    of = job({"backoffLimit": 0})
    for reason, expected in (
        ("OOMKilled", "OOMKilled"),
        ("not: one word", "RunnerFailed"),
        ("Error", "RunnerFailed"),
    ):
        state = {
            "terminated": {
                "exitCode": 9,
                "reason": reason,
                "message": "a: b; c",
                "finishedAt": TIME,
            }
        }
        states = [{"name": "job", "restartCount": 0, "state": state}]
        pod = runner(of, status={"phase": "Failed", "containerStatuses": states})
        end = look(JobState(of, (pod,), cluster(of)), T0).end
        assert end is not None
        assert end.reason == expected
        assert end.message.startswith(f"nightly-runner: {reason} (exit code 9): a: b; c")
