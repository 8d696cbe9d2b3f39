"""DaskJobs on a real API server, with the chart's own rights; the tests play the kubelet of the runner."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.manifests import resource
from tests.cluster.test_main_job import USER
from tests.manifests import HERE
from tests.support.kills import Kills
from tests.support.kubernetes import Audit, Kubectl, condition, eventually

pytestmark = pytest.mark.usefixtures("controller")
JSON = dict[str, Any]
NAME = "nightly"
RUNNER = f"{NAME}-runner"
RUNNERS = "dask.org/component=job-runner"


def job(replicas: int = 1, **spec: Any) -> JSON:
    """A DaskJob whose Service selects nothing: pretended pods have loopback addresses."""
    pod = spec.pop("pod", {})
    runner = {"containers": [{"name": "job", "image": "x"}], **pod}
    scheduler = {"service": {"selector": {"nothing": "here"}}}
    cluster = {"worker": {"replicas": replicas}, "scheduler": scheduler, **spec.pop("cluster", {})}
    metadata = spec.pop("metadata", {})
    whole = {"job": {"spec": runner}, "cluster": {"spec": cluster}, **spec}
    return resource("DaskJob", NAME, whole, **metadata)


def status(kubectl: Kubectl) -> JSON:
    found: JSON = kubectl.get("daskjob", NAME).get("status") or {}
    return found


def becomes(kubectl: Kubectl, word: str, timeout: float = 60) -> JSON:
    """Wait for this jobStatus; the status."""

    def so() -> JSON:
        said = status(kubectl)
        assert said.get("jobStatus") == word, said
        return said

    return eventually(f"the job is {word}", so, timeout=timeout)


def why(kubectl: Kubectl, kind: str = "Failed") -> str:
    reason: str = condition(kubectl.get("daskjob", NAME), kind).get("reason", "")
    return reason


def finish(kubectl: Kubectl, name: str = RUNNER, code: int = 0, **words: Any) -> None:
    """As a kubelet does when all containers of a pod have ended."""

    def running() -> JSON:
        pod = kubectl.get("pod", name)
        assert pod["status"]["phase"] == "Running", pod["status"]
        return pod

    pod = eventually(f"{name} runs", running)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ended = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "finishedAt": now,
        **words,
    }
    states = [
        {**s, "ready": False, "state": {"terminated": ended}}
        for s in pod["status"]["containerStatuses"]
    ]
    body = {"status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": states}}
    kubectl(
        "patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps(body)
    )  # fmt: skip


def clusters_gone(kubectl: Kubectl) -> None:
    eventually("the cluster is gone", lambda: not kubectl.exists("daskcluster", NAME))
    eventually(
        "its pods are gone",
        lambda: not [p for p in kubectl.list("pods") if p["metadata"]["name"] != RUNNER],
    )


def test_from_apply_to_the_end(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(job(2))
    said = becomes(kubectl, "Running")
    assert said["clusterName"] == NAME
    assert said["jobRunnerPodName"] == RUNNER
    assert said["startTime"]
    owner = kubectl.get("daskcluster", NAME)["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["controller"]) == ("DaskJob", True)
    order = audit.done("create", "pods", namespace=kubectl.namespace, user=USER)
    assert order[0]["objectRef"]["name"] == RUNNER
    finish(kubectl)
    said = becomes(kubectl, "Successful")
    assert said["endTime"]
    kubectl("wait", f"daskjob/{NAME}", "--for=condition=Complete", "--timeout=30s")
    clusters_gone(kubectl)
    assert kubectl.get("pod", RUNNER)["status"]["phase"] == "Succeeded"
    columns = kubectl("get", "daskjob", NAME).splitlines()[1].split()
    assert columns[:4] == [NAME, "Successful", "JobSuccessful", "1"]
    assert len(audit.done("create", "pods", namespace=kubectl.namespace, user=USER)) == 4
    assert len(audit.done("delete", "daskclusters", namespace=kubectl.namespace, user=USER)) == 1


def test_manifests_of_the_existing_operator_run(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(HERE / "jobs.yaml"))

    def both_wait() -> bool:
        found = {p["metadata"]["name"]: p for p in kubectl.list("pods", RUNNERS)}
        assert found.keys() == {"simple-job-runner", "failed-job-runner"}
        pod = found["simple-job-runner"]
        assert pod["metadata"]["labels"]["part"] == "runner"
        assert found["failed-job-runner"]["spec"]["restartPolicy"] == "Never"
        assert kubectl.get("daskcluster", "failed-job")["metadata"]["labels"]["part"] == "cluster"
        return all(
            kubectl.get("daskjob", n)["status"].get("clusterName") == n
            for n in ("simple-job", "failed-job")
        )

    eventually("runners and clusters are there", both_wait)


@pytest.mark.expects_failed("the runner fails")
def test_exactly_as_many_attempts_as_declared(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(job(backoffLimit=1))
    becomes(kubectl, "Running")
    finish(kubectl, RUNNER, 1)
    finish(kubectl, f"{RUNNER}-2", 137, reason="OOMKilled")
    said = becomes(kubectl, "Failed")
    assert said["attempts"] == 2
    assert why(kubectl) == "OOMKilled"
    eventually("the cluster is gone", lambda: not kubectl.exists("daskcluster", NAME))
    made = audit.done("create", "pods", namespace=kubectl.namespace, user=USER)
    names = [r["objectRef"]["name"] for r in made]
    assert [n for n in names if "runner" in n] == [RUNNER, f"{RUNNER}-2"]
    assert {p["metadata"]["name"] for p in kubectl.list("pods", RUNNERS)} == {RUNNER, f"{RUNNER}-2"}


@pytest.mark.expects_failed("the runner is lost")
@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda k: k("delete", "pod", RUNNER, "--wait=false"), "RunnerDeleted"),
        (lambda k: k("delete", "pod", RUNNER, "--force", "--grace-period=0"), "RunnerDeleted"),
        (lambda k: k("delete", "daskcluster", NAME, "--wait=false"), "ClusterDeleted"),
        (
            lambda k: k("delete", "daskcluster", NAME, "--cascade=foreground", "--wait=false"),
            "ClusterDeleted",
        ),
    ],
    ids=["runner", "runner without grace", "cluster", "cluster in the foreground"],
)
def test_deleted_by_hand(kubectl: Kubectl, act: Callable[[Kubectl], str], reason: str) -> None:
    kubectl.apply(job())
    becomes(kubectl, "Running")
    act(kubectl)
    becomes(kubectl, "Failed")
    assert why(kubectl) == reason
    eventually("the cluster is gone", lambda: not kubectl.exists("daskcluster", NAME))


@pytest.mark.expects_failed("the runner is evicted")
def test_evicted(kubectl: Kubectl) -> None:
    kubectl.apply(job())
    becomes(kubectl, "Running")
    body = {"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}
    kubectl("patch", "pod", RUNNER, "--subresource=status", "--type=merge", "-p", json.dumps(body))
    becomes(kubectl, "Failed")
    assert why(kubectl) == "Evicted"
    assert "low on memory" in condition(kubectl.get("daskjob", NAME), "Failed")["message"]


@pytest.mark.expects_failed("no node has room")
def test_unschedulable_past_its_deadline(kubectl: Kubectl) -> None:
    kubectl.apply(job(pod={"nodeSelector": {"no": "such-node"}}, activeDeadlineSeconds=10))
    becomes(kubectl, "Failed")
    assert why(kubectl) == "DeadlineExceeded"
    eventually("the runner is gone", lambda: not kubectl.exists("pod", RUNNER))
    eventually("the cluster is gone", lambda: not kubectl.exists("daskcluster", NAME))


def test_deleted_and_applied_again_at_once(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(job())
    becomes(kubectl, "Running")
    old = kubectl.get("daskjob", NAME)["metadata"]["uid"]
    kubectl("delete", "daskjob", NAME)
    kubectl.apply(job())
    new = kubectl.get("daskjob", NAME)["metadata"]["uid"]
    said = becomes(kubectl, "Running")
    assert said["uid"] == new != old
    assert kubectl.get("pod", RUNNER)["metadata"]["ownerReferences"][0]["uid"] == new
    finish(kubectl)
    assert becomes(kubectl, "Successful")["uid"] == new
    made = audit.done("create", "pods", namespace=kubectl.namespace, user=USER)
    assert [r["objectRef"]["name"] for r in made].count(RUNNER) == 2


def test_created_suspended_and_released(kubectl: Kubectl) -> None:
    kubectl.apply(job(suspend=True))
    kubectl("wait", f"daskjob/{NAME}", "--for=condition=Suspended", "--timeout=30s")
    assert condition(kubectl.get("daskjob", NAME), "Ready")["status"] == "True"
    assert not kubectl.list("pods")
    assert not kubectl.exists("daskcluster", NAME)
    kubectl("patch", "daskjob", NAME, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    becomes(kubectl, "Running")
    kubectl("patch", "daskjob", NAME, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    eventually("no runner", lambda: not kubectl.list("pods", RUNNERS))
    eventually(
        "its cluster is suspended",
        lambda: kubectl.get("daskcluster", NAME)["spec"].get("suspend") is True,
    )
    kubectl("patch", "daskjob", NAME, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    finish(kubectl)
    said = becomes(kubectl, "Successful")
    assert said["attempts"] == 1


def test_a_quota_that_fits_some_workers(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "small", "--hard=pods=4")
    kubectl.apply(job(10))
    becomes(kubectl, "Running")

    def named() -> bool:
        workers = kubectl.list("pods", "dask.org/component=worker")
        assert len(workers) == 2
        return "QuotaExceeded" in condition(kubectl.get("daskjob", NAME), "Ready")["message"]

    eventually("the quota is named", named)
    finish(kubectl)
    becomes(kubectl, "Successful")


def test_its_time_to_live(kubectl: Kubectl) -> None:
    kubectl.apply(job(ttlSecondsAfterFinished=3, cleanupPolicy="Never"))
    finish(kubectl)
    eventually("the job is gone", lambda: not kubectl.exists("daskjob", NAME))
    eventually("all is gone", lambda: not kubectl.list("pods"))
    assert not kubectl.exists("daskcluster", NAME)


def test_what_a_tool_tracks_outlives_it(kubectl: Kubectl) -> None:
    tracked = {"annotations": {"argocd.argoproj.io/tracking-id": "a:b/c:d/e"}}
    kubectl.apply(job(ttlSecondsAfterFinished=3, cleanupPolicy="Never", metadata=tracked))
    finish(kubectl)
    becomes(kubectl, "Successful")
    eventually("all pods are gone", lambda: not kubectl.list("pods"))
    eventually("the cluster is gone", lambda: not kubectl.exists("daskcluster", NAME))
    assert status(kubectl)["jobStatus"] == "Successful"


def test_a_later_timestamp_runs_it_once_more(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(job())
    finish(kubectl)
    becomes(kubectl, "Successful")
    body = {"spec": {"restartedAt": "2040-01-01T00:00:00Z"}}
    kubectl("patch", "daskjob", NAME, "--type=merge", "-p", json.dumps(body))
    becomes(kubectl, "Running")
    finish(kubectl)
    becomes(kubectl, "Successful")
    made = audit.done("create", "pods", namespace=kubectl.namespace, user=USER)
    assert [r["objectRef"]["name"] for r in made].count(RUNNER) == 2


def test_killed_again_and_again(kubectl: Kubectl, kills: Kills, audit: Audit) -> None:
    """From apply to the end, no controller lives long; the job runs once."""

    def left() -> int:
        over = status(kubectl).get("jobStatus") == "Successful"
        return 2 - over - (over and not kubectl.exists("daskcluster", NAME))

    points = [("create pods", 1, "killed after"), ("create daskclusters", 1, "killed before")]
    kills.arm(kubectl.namespace, points, left)
    kubectl.apply(job(2))
    kills.wait(2)
    becomes(kubectl, "Running")
    points = [
        ("patch daskjobs/status", 1, "killed after"),
        ("delete daskclusters", 1, "killed before"),
    ]
    kills.arm(kubectl.namespace, points, left)
    finish(kubectl)
    kills.wait(4)
    becomes(kubectl, "Successful")
    eventually("the cluster is gone", lambda: not kubectl.exists("daskcluster", NAME))
    made = audit.touched("create", "pods", namespace=kubectl.namespace, user=USER)
    assert [n for n in made if "runner" in n] == [RUNNER]
    assert audit.touched("create", "daskclusters", namespace=kubectl.namespace, user=USER) == {NAME}
