"""DaskJobs against the API server in memory: from the object to its end, and what is left then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKCLUSTERS, DASKJOBS, EVENTS, PODS
from dask_gitops.resources import labels

from tests.support.harness import NS, Harness, play
from tests.support.memory_api import Request

JSON = dict[str, Any]
RUNNER = "nightly-runner"


def scenario(main: Callable[[Harness], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        play(main)

    test.__doc__ = main.__doc__
    return test


def status(h: Harness, name: str = "nightly") -> JSON:
    found: JSON = h.find(DASKJOBS, name)["status"]
    return found


def reason(h: Harness, kind: str = "Ready") -> str:
    return h.condition(DASKJOBS, "nightly", kind)[1]


def runners(h: Harness) -> list[str]:
    return h.api.names(PODS, NS, f"{labels.COMPONENT}=job-runner")


async def running(h: Harness, **spec: Any) -> None:
    """A job whose runner runs."""
    h.job(**spec)
    h.start()
    await h.settle()
    assert status(h)["jobStatus"] == "Running", status(h)


async def ends(h: Harness, code: int = 0, name: str = RUNNER, **how: Any) -> None:
    h.kubelet.finish(NS, name, code, **how)
    await h.settle()


@scenario
async def test_from_the_object_to_its_end(h: Harness) -> None:
    h.job()
    h.start()
    await h.pass_time(0.4)
    first = h.find(PODS, RUNNER)
    assert [g["name"] for g in first["spec"]["schedulingGates"]] == ["dask.org/scheduler-ready"]
    assert h.created(PODS)[0] == RUNNER, "workers would take its room"
    await h.settle()
    assert h.api.names(DASKCLUSTERS) == ["nightly"]
    assert h.workers("nightly-default")
    pod = h.find(PODS, RUNNER)
    assert "schedulingGates" not in pod["spec"]
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "DaskJob"
    assert pod["metadata"]["ownerReferences"][0]["controller"] is True
    env = {e["name"]: e["value"] for e in pod["spec"]["containers"][0]["env"]}
    assert env["DASK_SCHEDULER_ADDRESS"] == f"tcp://nightly-scheduler.{NS}.svc:8786"
    said = status(h)
    assert said["jobStatus"] == "Running"
    assert said["clusterName"] == "nightly"
    assert said["jobRunnerPodName"] == RUNNER
    assert said["attempts"] == 1
    assert said["startTime"]
    assert "endTime" not in said
    assert h.condition(DASKJOBS, "nightly", "Ready")[:2] == ("True", "Running")
    await ends(h)
    said = status(h)
    assert said["jobStatus"] == "Successful"
    assert said["endTime"] > said["startTime"]
    assert h.condition(DASKJOBS, "nightly", "Complete")[0] == "True"
    assert h.api.names(DASKCLUSTERS) == []
    assert h.api.names(PODS) == [RUNNER], "its logs can be read"
    assert h.events().count("JobSuccessful") == 1
    writes = len(h.api.writes())
    h.restart()
    await h.settle()
    assert len(h.api.writes()) == writes


@scenario
async def test_what_was_said_never_goes_back(h: Harness) -> None:
    said: list[str] = []
    seen = h.api.on_change

    def note(res: Any, old: JSON | None, new: JSON | None) -> None:
        if res == DASKJOBS and new is not None and new["status"].get("jobStatus"):
            said.append(new["status"]["jobStatus"])
        assert seen is not None
        seen(res, old, new)

    h.api.on_change = note
    await running(h)
    await ends(h)
    order = ["JobCreated", "ClusterCreated", "Running", "Successful"]
    assert list(dict.fromkeys(said)) == [w for w in order if w in said]
    assert sorted(said, key=order.index) == said


@scenario
async def test_a_failed_runner_under_never(h: Harness) -> None:
    h.judge.allow("failed", "the runner fails")
    job = {"spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": "x"}]}}
    await running(h, job=job)
    await ends(h, 3)
    assert status(h)["jobStatus"] == "Failed"
    assert h.condition(DASKJOBS, "nightly", "Stalled")[:2] == ("True", "RunnerFailed")
    assert "exit code 3" in h.condition(DASKJOBS, "nightly", "Failed")[2]
    assert h.api.names(DASKCLUSTERS) == []
    assert runners(h) == [RUNNER]


@scenario
async def test_a_runner_may_restart_until_it_succeeds(h: Harness) -> None:
    await running(h)
    assert h.find(PODS, RUNNER)["spec"]["restartPolicy"] == "OnFailure"
    for _ in range(3):
        h.kubelet.restart(NS, RUNNER, 1)
        await h.settle()
        assert status(h)["jobStatus"] == "Running"
        assert h.condition(DASKJOBS, "nightly", "Ready")[0] == "True"
    assert "exit code 1" in h.condition(DASKJOBS, "nightly", "Ready")[2]
    await ends(h)
    assert status(h)["jobStatus"] == "Successful"
    assert status(h)["attempts"] == 1


@scenario
async def test_exactly_as_many_retries_as_declared(h: Harness) -> None:
    h.judge.allow("failed", "the runner fails")
    await running(h, backoffLimit=2)
    for name in (RUNNER, f"{RUNNER}-2", f"{RUNNER}-3"):
        assert status(h)["jobStatus"] == "Running"
        assert status(h)["jobRunnerPodName"] == name
        assert h.find(PODS, name)["spec"]["restartPolicy"] == "Never"
        await ends(h, 1, name)
    assert status(h)["jobStatus"] == "Failed"
    assert status(h)["attempts"] == 3
    assert "attempt 3 of 3" in h.condition(DASKJOBS, "nightly", "Failed")[2]
    assert runners(h) == [RUNNER, f"{RUNNER}-2", f"{RUNNER}-3"], "all logs can be read"
    assert h.api.count("create", DASKCLUSTERS) == 1


@scenario
async def test_a_second_attempt_that_succeeds(h: Harness) -> None:
    await running(h, backoffLimit=5)
    await ends(h, 1)
    assert h.condition(DASKJOBS, "nightly", "Ready")[:2] == ("True", "Running")
    await ends(h, 0, f"{RUNNER}-2")
    assert status(h)["jobStatus"] == "Successful"
    assert status(h)["attempts"] == 2


@scenario
async def test_sidecars_do_not_decide(h: Harness) -> None:
    containers = [{"name": "proxy", "image": "p"}, {"name": "job", "image": "x"}]
    await running(h, job={"spec": {"containers": containers}})
    h.kubelet.finish(NS, RUNNER, 1, container="proxy")
    await h.settle()
    assert status(h)["jobStatus"] == "Running"
    h.kubelet.restart(NS, RUNNER)
    await h.settle()
    await ends(h, 0, container="job")
    assert status(h)["jobStatus"] == "Successful"
    pod = h.find(PODS, RUNNER)
    assert pod["status"]["reason"] == "DeadlineExceeded", "the proxy was stopped"
    h.api.edit(DASKJOBS, NS, "nightly", {"status": None})
    await h.settle()
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_a_pod_that_is_about_to_succeed_is_not_stopped(h: Harness) -> None:
    """A kubelet tells first that the container has ended, and a moment later that the pod has."""
    await running(h)
    ended = {"name": "job", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}
    h.api.edit(PODS, NS, RUNNER, {"status": {"containerStatuses": [ended]}})
    await h.pass_time(10)
    assert status(h)["jobStatus"] == "Successful"
    h.api.edit(PODS, NS, RUNNER, {"status": {"phase": "Succeeded"}})
    await h.settle()
    assert "activeDeadlineSeconds" not in h.find(PODS, RUNNER)["spec"]


@scenario
async def test_the_deadline_counts_from_the_start(h: Harness) -> None:
    h.judge.allow("failed", "it takes too long")
    await running(h, activeDeadlineSeconds=200)
    await h.pass_time(210)
    said = status(h)
    assert said["jobStatus"] == "Failed"
    assert reason(h) == "DeadlineExceeded"
    await h.settle()
    pod = h.find(PODS, RUNNER)
    assert pod["status"]["phase"] == "Failed", "it was stopped, and its logs can be read"
    assert h.api.names(DASKCLUSTERS) == []
    h.api.edit(DASKJOBS, NS, "nightly", {"status": None})
    await h.settle()
    assert reason(h) == "DeadlineExceeded"


@scenario
async def test_a_kubelet_that_does_not_stop_a_runner(h: Harness) -> None:
    h.judge.allow("failed", "it takes too long")
    await running(h, activeDeadlineSeconds=100)
    h.kubelet.lost.add(h.find(PODS, RUNNER)["metadata"]["uid"])
    await h.pass_time(120)
    assert status(h)["jobStatus"] == "Failed"
    await h.pass_time(80)
    assert h.find(PODS, RUNNER)["metadata"]["deletionTimestamp"]


@scenario
async def test_a_runner_that_is_deleted_by_hand(h: Harness) -> None:
    h.judge.allow("failed", "somebody deletes the runner")
    await running(h)
    h.delete_pod(RUNNER)
    await h.settle()
    assert status(h)["jobStatus"] == "Failed"
    assert reason(h) == "RunnerDeleted"
    assert h.api.names(PODS) == []


@scenario
async def test_with_retries_a_deleted_runner_is_made_anew(h: Harness) -> None:
    await running(h, backoffLimit=1)
    h.api.remove(PODS, NS, RUNNER)
    await h.settle()
    assert runners(h) == [f"{RUNNER}-2"]
    await ends(h, 0, f"{RUNNER}-2")
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_a_cluster_that_is_deleted_by_hand(h: Harness) -> None:
    h.judge.allow("failed", "somebody deletes the cluster")
    await running(h)
    h.api.remove(DASKCLUSTERS, NS, "nightly")
    await h.settle()
    assert status(h)["jobStatus"] == "Failed"
    assert reason(h) == "ClusterDeleted"
    assert h.find(PODS, RUNNER)["status"]["phase"] == "Failed"


@scenario
async def test_with_retries_the_next_attempt_gets_a_new_cluster(h: Harness) -> None:
    await running(h, backoffLimit=1)
    old = h.find(DASKCLUSTERS, "nightly")["metadata"]["uid"]
    h.api.remove(DASKCLUSTERS, NS, "nightly")
    await h.settle()
    assert h.find(DASKCLUSTERS, "nightly")["metadata"]["uid"] != old
    assert runners(h) == [RUNNER, f"{RUNNER}-2"]
    assert h.find(PODS, RUNNER)["status"]["phase"] == "Failed"
    await ends(h, 0, f"{RUNNER}-2")
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_a_lost_node(h: Harness) -> None:
    h.judge.allow("failed", "the node is lost")
    await running(h, backoffLimit=3)
    h.kubelet.lose_node(NS, RUNNER)
    await h.pass_time(100)
    assert status(h)["jobStatus"] == "Failed"
    assert reason(h) == "NodeLost"
    assert runners(h) == [RUNNER], "it may still run there: nothing takes its place"


@scenario
async def test_a_lost_runner_that_may_be_given_up(h: Harness) -> None:
    await running(h, backoffLimit=3, forceDeleteLostRunner=True)
    h.kubelet.lose_node(NS, RUNNER)
    await h.pass_time(150)
    assert runners(h) == [f"{RUNNER}-2"]
    await ends(h, 0, f"{RUNNER}-2")
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_an_evicted_runner(h: Harness) -> None:
    h.judge.allow("failed", "the runner is evicted")
    await running(h)
    h.kubelet.evict(NS, RUNNER)
    await h.settle()
    assert status(h)["jobStatus"] == "Failed"
    assert reason(h) == "Evicted"


@scenario
async def test_the_policy_says_whether_the_cluster_goes(h: Harness) -> None:
    h.judge.allow("failed", "the runner fails")
    policies = {"Always": (0, 0), "OnSuccess": (0, 1), "Never": (1, 1)}
    job = {"spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": "x"}]}}
    for policy in policies:
        for code in (0, 1):
            h.job(f"{policy.lower()}-{code}", cleanupPolicy=policy, job=job)
    h.start()
    await h.settle()
    for policy in policies:
        for code in (0, 1):
            h.kubelet.finish(NS, f"{policy.lower()}-{code}-runner", code)
    await h.settle()
    left = h.api.names(DASKCLUSTERS)
    for policy, kept in policies.items():
        for code in (0, 1):
            assert left.count(f"{policy.lower()}-{code}") == kept[code], (policy, code)


@scenario
async def test_after_its_time_to_live_it_is_gone(h: Harness) -> None:
    await running(h, ttlSecondsAfterFinished=300, cleanupPolicy="Never")
    await ends(h)
    assert h.api.names(DASKJOBS) == ["nightly"]
    await h.pass_time(310)
    await h.settle()
    assert h.api.names(DASKJOBS) == []
    assert h.api.names(PODS) == []
    assert h.api.names(DASKCLUSTERS) == []


@scenario
async def test_what_git_declares_outlives_its_time_to_live(h: Harness) -> None:
    tracked = {"annotations": {"argocd.argoproj.io/tracking-id": "a:b/c:d/e"}}
    await running(h, meta=tracked, ttlSecondsAfterFinished=100, cleanupPolicy="Never")
    await ends(h)
    await h.pass_time(110)
    await h.settle()
    assert h.api.names(PODS) == []
    assert h.api.names(DASKCLUSTERS) == []
    assert status(h)["jobStatus"] == "Successful"
    writes = len(h.api.writes())
    h.restart()
    await h.settle()
    assert len(h.api.writes()) == writes, "its outcome is remembered in its status"


@scenario
async def test_a_wiped_status_changes_nothing(h: Harness) -> None:
    h.judge.allow("failed", "the runner fails")
    await running(h, backoffLimit=1)
    await ends(h, 1)
    for _ in range(2):
        before = status(h)
        h.api.edit(DASKJOBS, NS, "nightly", {"status": None})
        await h.settle()
        after = status(h)
        for said in (before, after):
            for c in said["conditions"]:
                c.pop("lastTransitionTime")
        assert after == before
        if before["jobStatus"] == "Running":
            await ends(h, 1, f"{RUNNER}-2")
    assert h.api.count("create", PODS, name=RUNNER) == 1
    assert status(h)["jobStatus"] == "Failed"


@scenario
async def test_a_later_timestamp_runs_it_once_more(h: Harness) -> None:
    await running(h)
    await ends(h)
    first = h.find(PODS, RUNNER)["metadata"]["uid"]
    for again, when in enumerate(("2031-01-01T00:00:00Z", "2031-01-01T00:00:00Z"), 1):
        h.edit(DASKJOBS, "nightly", {"restartedAt": when})
        await h.settle()
        if again == 1:
            assert status(h)["jobStatus"] == "Running"
            assert status(h)["attempts"] == 1
            assert "endTime" not in status(h)
            assert h.find(PODS, RUNNER)["metadata"]["uid"] != first
            await ends(h)
        assert status(h)["jobStatus"] == "Successful"
    h.edit(DASKJOBS, "nightly", {"restartedAt": "2030-06-01T00:00:00Z"})
    await h.settle()
    assert status(h)["jobStatus"] == "Successful"
    assert h.api.count("create", PODS, name=RUNNER) == 2


@scenario
async def test_a_restart_asked_for_while_it_runs_waits(h: Harness) -> None:
    await running(h)
    h.edit(DASKJOBS, "nightly", {"restartedAt": "2031-01-01T00:00:00Z"})
    await h.settle()
    assert h.condition(DASKJOBS, "nightly", "UpdatePending")[:2] == ("True", "WaitsForEnd")
    await ends(h)
    assert status(h)["jobStatus"] == "Running"
    assert status(h)["restartedAt"] == "2031-01-01T00:00:00Z"


@scenario
async def test_deleted_and_applied_again_within_a_second(h: Harness) -> None:
    await running(h)
    old = h.find(DASKJOBS, "nightly")["metadata"]["uid"]
    h.api._delete(DASKJOBS, h.api._must(DASKJOBS, NS, "nightly"), None, "Background")
    h.job()
    await h.settle()
    assert h.find(DASKJOBS, "nightly")["metadata"]["uid"] != old
    said = status(h)
    assert said["jobStatus"] == "Running"
    assert said["uid"] == h.find(DASKJOBS, "nightly")["metadata"]["uid"]
    assert h.api.count("create", PODS, name=RUNNER) == 2
    await ends(h)
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_created_suspended_and_released_later(h: Harness) -> None:
    h.job(suspend=True, activeDeadlineSeconds=300)
    h.start()
    await h.settle()
    assert h.api.names(PODS) == []
    assert h.api.names(DASKCLUSTERS) == []
    assert h.condition(DASKJOBS, "nightly", "Ready")[:2] == ("True", "Suspended")
    assert h.condition(DASKJOBS, "nightly", "Suspended")[0] == "True"
    assert "startTime" not in status(h)
    await h.pass_time(1000)
    h.edit(DASKJOBS, "nightly", {"suspend": False})
    await h.settle()
    assert status(h)["jobStatus"] == "Running"
    await ends(h)
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_suspended_while_it_runs(h: Harness) -> None:
    await running(h)
    cluster = h.find(DASKCLUSTERS, "nightly")["metadata"]["uid"]
    h.edit(DASKJOBS, "nightly", {"suspend": True})
    await h.settle()
    assert h.api.names(PODS) == []
    assert h.find(DASKCLUSTERS, "nightly")["spec"]["suspend"] is True
    said = status(h)
    assert said["jobStatus"] == "Running"
    assert "startTime" not in said
    assert h.condition(DASKJOBS, "nightly", "Ready")[:2] == ("True", "Suspended")
    h.edit(DASKJOBS, "nightly", {"suspend": False})
    await h.settle()
    assert runners(h) == [RUNNER]
    found = h.find(DASKCLUSTERS, "nightly")
    assert found["metadata"]["uid"] == cluster
    assert "suspend" not in found["spec"]
    await ends(h)
    assert status(h)["jobStatus"] == "Successful"
    assert status(h)["attempts"] == 1


@pytest.mark.parametrize("pause", [0.0, 0.3, 1.0, 3.0])
def test_suspended_and_released_at_once(pause: float) -> None:
    async def main(h: Harness) -> None:
        await running(h)
        h.edit(DASKJOBS, "nightly", {"suspend": True})
        await h.pass_time(pause) if pause else await asyncio.sleep(0)
        h.edit(DASKJOBS, "nightly", {"suspend": False})
        await h.settle()
        assert runners(h) == [RUNNER]
        assert status(h)["jobStatus"] == "Running"
        await ends(h)
        assert status(h)["jobStatus"] == "Successful"

    play(main)


@scenario
async def test_a_changed_spec_counts_for_a_later_run(h: Harness) -> None:
    await running(h)
    uid = h.find(PODS, RUNNER)["metadata"]["uid"]
    changed = {"job": {"spec": {"containers": [{"name": "job", "image": "dask:2"}]}}}
    h.edit(DASKJOBS, "nightly", changed)
    await h.settle()
    assert h.find(PODS, RUNNER)["metadata"]["uid"] == uid
    assert h.condition(DASKJOBS, "nightly", "UpdatePending")[:2] == ("True", "StartedBefore")
    await ends(h)
    h.edit(DASKJOBS, "nightly", {"restartedAt": "2031-01-01T00:00:00Z"})
    await h.settle()
    assert h.find(PODS, RUNNER)["spec"]["containers"][0]["image"] == "dask:2"
    assert reason(h, "UpdatePending") == ""


@scenario
async def test_a_quota_that_fits_only_some_workers(h: Harness) -> None:
    h.api.quota(NS, PODS, 4)
    await running(h, cluster={"spec": {"worker": {"replicas": 10}}})
    assert len(h.workers("nightly-default")) == 2
    assert "QuotaExceeded" in h.condition(DASKJOBS, "nightly", "Ready")[2]
    await ends(h)
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_a_quota_that_fits_no_runner(h: Harness) -> None:
    check = h.api.quota(NS, PODS, 0)
    h.job()
    h.start()
    await h.pass_time(30)
    assert h.condition(DASKJOBS, "nightly", "Ready")[:2] == ("False", "QuotaExceeded")
    assert h.api.names(DASKCLUSTERS) == []
    h.api.admission.remove(check)
    await h.pass_time(60)
    assert status(h)["jobStatus"] == "Running"


@scenario
async def test_a_cluster_of_that_name_that_is_somebody_elses(h: Harness) -> None:
    h.cluster("nightly", worker={"replicas": 1})
    h.job()
    h.start()
    await h.pass_time(60)
    assert h.condition(DASKJOBS, "nightly", "Ready")[:2] == ("False", "NameTaken")
    assert runners(h) == []
    h.api.remove(DASKCLUSTERS, NS, "nightly")
    await h.settle()
    assert status(h)["jobStatus"] == "Running"


@scenario
async def test_nothing_is_made_for_a_job_that_is_being_deleted(h: Harness) -> None:
    h.job(meta={"finalizers": ["example.com/x"]})
    h.api._delete(DASKJOBS, h.api._must(DASKJOBS, NS, "nightly"), None, "Background")
    h.start()
    await h.settle()
    assert h.api.names(PODS) == []


@scenario
async def test_labels_follow_and_tools_labels_do_not(h: Harness) -> None:
    meta = {"labels": {"team": "a", "kueue.x-k8s.io/queue-name": "q"}}
    await running(h, meta=meta)
    for res, name in ((PODS, RUNNER), (DASKCLUSTERS, "nightly")):
        found = h.find(res, name)["metadata"]["labels"]
        assert found["team"] == "a"
        assert not any("kueue" in key for key in found)
    h.api.edit(DASKJOBS, NS, "nightly", {"metadata": {"labels": {"team": "b"}}})
    await h.settle()
    for res, name in ((PODS, RUNNER), (DASKCLUSTERS, "nightly")):
        assert h.find(res, name)["metadata"]["labels"]["team"] == "b"


@scenario
async def test_a_deadline_also_ends_what_cannot_begin(h: Harness) -> None:
    h.judge.allow("failed", "no quota for the runner")
    h.api.quota(NS, PODS, 0)
    h.job(activeDeadlineSeconds=60)
    h.start()
    await h.pass_time(30)
    assert status(h)["startTime"]
    assert "jobRunnerPodName" not in status(h)
    await h.pass_time(60)
    assert status(h)["jobStatus"] == "Failed"
    assert reason(h) == "DeadlineExceeded"
    assert "exceeded quota" in h.condition(DASKJOBS, "nightly", "Failed")[2]


@pytest.mark.parametrize("force", [False, True])
def test_a_suspended_job_does_not_wait_for_a_lost_node(force: bool) -> None:
    async def main(h: Harness) -> None:
        if not force:
            h.judge.allow("failed", "nobody knows whether the first runner still runs")
        await running(h, forceDeleteLostRunner=force)
        h.kubelet.lost.add(h.find(PODS, RUNNER)["metadata"]["uid"])
        h.edit(DASKJOBS, "nightly", {"suspend": True})
        await h.pass_time(120)
        assert h.find(DASKCLUSTERS, "nightly")["spec"]["suspend"] is True
        assert runners(h) == ([] if force else [RUNNER])
        h.edit(DASKJOBS, "nightly", {"suspend": False})
        await h.settle()
        if force:
            await ends(h)
        assert reason(h) == ("JobSuccessful" if force else "NodeLost")

    play(main)


@pytest.mark.parametrize("force", [False, True])
def test_a_failed_runner_whose_end_is_never_confirmed(force: bool) -> None:
    """Its container has failed, its sidecar goes on, and then its node is lost."""

    async def main(h: Harness) -> None:
        if not force:
            h.judge.allow("failed", "the node is lost")
        containers = [{"name": "job", "image": "x"}, {"name": "p", "image": "p"}]
        job = {"spec": {"containers": containers}}
        await running(h, job=job, backoffLimit=1, forceDeleteLostRunner=force)
        h.kubelet.lost.add(h.find(PODS, RUNNER)["metadata"]["uid"])
        h.kubelet.finish(NS, RUNNER, 1, container="job")
        h.delete_pod(RUNNER)
        await h.pass_time(120)
        if force:
            await ends(h, 0, f"{RUNNER}-2")
        assert reason(h) == ("JobSuccessful" if force else "NodeLost")

    play(main)


@scenario
async def test_a_run_waits_for_a_lost_runner_of_the_last_one_and_says_so(h: Harness) -> None:
    h.judge.allow("failed", "the node is lost")
    await running(h)
    h.kubelet.lose_node(NS, RUNNER)
    await h.pass_time(100)
    h.edit(DASKJOBS, "nightly", {"restartedAt": "2031-01-01T00:00:00Z"})
    await h.pass_time(100)
    why, text = h.condition(DASKJOBS, "nightly", "Ready")[1:]
    assert why == "NodeLost"
    assert f"{RUNNER} never confirmed its end" in text
    await h.pass_time(600)
    assert h.condition(DASKJOBS, "nightly", "Stalled")[0] == "True"
    h.edit(DASKJOBS, "nightly", {"forceDeleteLostRunner": True})
    await h.settle()
    assert status(h)["jobStatus"] == "Running"


@scenario
async def test_what_keeps_the_next_attempt_is_named(h: Harness) -> None:
    await running(h, backoffLimit=1)
    h.kubelet.room = 0
    h.kubelet.finish(NS, RUNNER, 1)
    await h.pass_time(15)
    assert runners(h) == [RUNNER, f"{RUNNER}-2"]
    text = h.condition(DASKJOBS, "nightly", "Ready")[2]
    assert text == "the runner is starting, attempt 2 of 2"
    h.kubelet.room = None
    await h.settle()
    assert h.condition(DASKJOBS, "nightly", "Ready")[2] == "the runner runs, attempt 2 of 2"


@scenario
async def test_a_quota_that_keeps_the_next_attempt_is_named(h: Harness) -> None:
    await running(h, backoffLimit=1)
    h.api.quota(NS, PODS, 3)
    h.kubelet.finish(NS, RUNNER, 1)
    await h.pass_time(30)
    assert runners(h) == [RUNNER]
    why, text = h.condition(DASKJOBS, "nightly", "Ready")[1:]
    assert why == "Retrying"
    assert "exceeded quota" in text


@scenario
async def test_a_runner_that_ends_late_is_no_failure_of_a_job_that_goes_on(h: Harness) -> None:
    """Suspended, released while the runner still stops; then it tells of its end."""
    await running(h)
    uid = h.find(PODS, RUNNER)["metadata"]["uid"]
    h.kubelet.lost.add(uid)
    h.edit(DASKJOBS, "nightly", {"suspend": True})
    await h.pass_time(3)
    h.edit(DASKJOBS, "nightly", {"suspend": False})
    await h.pass_time(3)
    h.kubelet.finish(NS, RUNNER, 143)
    await h.pass_time(3)
    assert status(h)["jobStatus"] == "Running"
    h.kubelet.terminate(NS, RUNNER)
    await h.settle()
    assert h.find(PODS, RUNNER)["metadata"]["uid"] != uid
    await ends(h)
    assert status(h)["jobStatus"] == "Successful"


@scenario
async def test_who_asks_for_another_run_in_the_last_moment_gets_it(h: Harness) -> None:
    await running(h, ttlSecondsAfterFinished=300)
    await ends(h)
    await h.pass_time(200)
    h.api.hold_events(DASKJOBS)
    h.edit(DASKJOBS, "nightly", {"restartedAt": "2031-01-01T00:00:00Z"})
    await h.pass_time(120)
    h.api.release_events()
    await h.settle()
    assert status(h)["jobStatus"] == "Running"


@scenario
async def test_a_job_whose_report_was_seen_late_goes_on(h: Harness) -> None:
    """It expires while the answer to its last report, which changed a message alone, is lost and the watch lags."""

    def refuses(request: Request) -> None:
        if (request.verb, request.resource) == ("delete", DASKCLUSTERS):
            raise ApiError(422, "Invalid", "a webhook keeps the cluster")

    def wrote_no_refusal(request: Request) -> bool:
        found = str((request.body or {}).get("status") or {})
        return "exited with code 0" in found and "webhook" not in found

    await running(h, ttlSecondsAfterFinished=75)
    h.api.admission.append(refuses)
    h.kubelet.finish(NS, RUNNER, 0)
    await h.pass_time(20)
    assert "a webhook keeps the cluster" in h.condition(DASKJOBS, "nightly", "Ready")[2]
    h.api.hold_events(DASKJOBS)
    h.api.admission.remove(refuses)
    lost = h.api.fault("patch/status", DASKJOBS, when="after", delay_s=30, where=wrote_no_refusal)
    await h.pass_time(100)
    assert lost.hits == 1
    assert h.api.find(DASKJOBS, NS, "nightly") is None


def told(h: Harness) -> list[str]:
    """Messages of the Events about the job so far."""
    events = [r.body for r in h.api.requests("create", EVENTS) if r.status == 201]
    return [e["message"] for e in events if e["involvedObject"]["kind"] == "DaskJob"]


@scenario
async def test_events_tell_each_decision_once_and_why(h: Harness) -> None:
    await running(h, backoffLimit=2, forceDeleteLostRunner=True)
    await ends(h, 3)
    h.kubelet.lose_node(NS, f"{RUNNER}-2")
    await h.pass_time(100)
    await ends(h, 0, f"{RUNNER}-3")
    lost = f"{RUNNER}-2 never confirmed its end; its node is lost"
    assert told(h) == [
        f"created {RUNNER}",
        f"created {RUNNER}-2, attempt 2; {RUNNER}: Error (exit code 3)",
        f"{lost}; removed",
        f"created {RUNNER}-3, attempt 3; {RUNNER}-2 was deleted",
        f"{RUNNER}-3 exited with code 0",
    ]
