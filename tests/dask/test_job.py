"""Jobs on a real node with real Dask: they compute, and they end, however they end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dask.support import manifest, workers
from tests.support.kubernetes import JSON, Kubectl, condition, eventually

COMPUTE = """
from dask.distributed import Client
client = Client()
client.wait_for_workers(2, timeout=90)
print("sum", client.submit(sum, client.map(abs, range(-100, 1), pure=False)).result(timeout=60))
"""
GROW = """
print("it grows", flush=True)
held = []
while True:
    held.append(bytearray(10_000_000))
"""
SLEEP = "import time; print('it sleeps', flush=True); time.sleep(600)"


def job(
    name: str, code: str, *, replicas: int = 0, container: JSON | None = None, **spec: Any
) -> JSON:
    """A DaskJob whose runner is a Python program of the cluster's image."""
    pod = spec.pop("pod", {})
    runner = {"name": "job", "args": ["python", "-c", code], **(container or {})}
    containers = [runner, *pod.pop("sidecars", [])]
    whole = {
        "job": {"spec": {"containers": containers, "terminationGracePeriodSeconds": 2, **pod}},
        "cluster": {"spec": {"worker": workers(replicas)}},
        **spec,
    }
    return manifest("DaskJob", name, whole)


def ended(kubectl: Kubectl, name: str, word: str, timeout: float = 120) -> JSON:
    """Wait for its end; the status."""

    def so() -> JSON:
        found = kubectl.get("daskjob", name)
        said: JSON = found.get("status") or {}
        assert said.get("jobStatus") in ("Successful", "Failed"), said
        assert said["jobStatus"] == word, said
        return found

    found = eventually(f"job {name} is {word}", so, timeout=timeout)
    eventually(
        f"the cluster of {name} is gone",
        lambda: (
            not kubectl.list("pods", f"dask.org/cluster-name={name},dask.org/component!=job-runner")
        ),
        timeout=60,
    )
    return found


def times_out(kubectl: Kubectl, name: str, after: str) -> None:
    """Give it a deadline that has passed, once it says this."""

    def said() -> bool:
        return after in condition(kubectl.get("daskjob", name), "Ready").get("message", "")

    eventually(f"{name} says {after}", said, timeout=120)
    body = '{"spec": {"activeDeadlineSeconds": 1}}'
    kubectl("patch", "daskjob", name, "--type=merge", "-p", body)


def test_a_job_computes_and_its_cluster_goes(kubectl: Kubectl, dask_image: str) -> None:
    """`Client()` without arguments; a sidecar that would go on for ever."""
    sidecar = {"name": "sidecar", "image": dask_image, "args": ["python", "-c", SLEEP]}
    kubectl.apply(
        job("computes", COMPUTE, replicas=2),
        job("accompanied", "print('done')", pod={"sidecars": [sidecar]}),
    )
    found = ended(kubectl, "computes", "Successful")
    assert found["status"]["attempts"] == 1
    assert kubectl("logs", "computes-runner").split() == ["sum", "5050"]
    assert kubectl.get("pod", "computes-runner")["status"]["phase"] == "Succeeded"
    ended(kubectl, "accompanied", "Successful")
    assert kubectl("logs", "accompanied-runner", "-c", "job").strip() == "done"

    def stopped() -> bool:
        states = kubectl.get("pod", "accompanied-runner")["status"]["containerStatuses"]
        return all("terminated" in s["state"] for s in states)

    eventually("the sidecar has stopped", stopped)
    assert condition(kubectl.get("daskjob", "accompanied"), "Complete")["status"] == "True"


@pytest.mark.expects_failed("runners fail in every way")
def test_every_way_to_fail(kubectl: Kubectl) -> None:
    """All at the same time: the status says how each ended, and what a runner said can be read afterwards."""
    limits = {"limits": {"memory": "64Mi"}, "requests": {"memory": "16Mi"}}
    never = {"restartPolicy": "Never"}
    kubectl.apply(
        job("exits", "print('it fails'); exit(3)", backoffLimit=1),
        job("grows", GROW, container={"resources": limits}, pod=never),
        job(
            "nothing",
            "",
            container={"image": "localhost/no-such-image:1"},
        ),
        job("sleeps", SLEEP),
    )

    def why(name: str) -> tuple[str, str]:
        failed = condition(ended(kubectl, name, "Failed"), "Failed")
        return failed["reason"], failed["message"]

    reason, message = why("grows")
    assert reason == "OOMKilled", message
    assert kubectl("logs", "grows-runner").strip() == "it grows"
    times_out(kubectl, "nothing", "no-such-image")
    reason, message = why("nothing")
    assert reason == "DeadlineExceeded"
    assert "no-such-image" in message
    eventually(
        "a runner that never ran is gone", lambda: not kubectl.exists("pod", "nothing-runner")
    )
    times_out(kubectl, "sleeps", "the runner runs")
    assert why("sleeps")[0] == "DeadlineExceeded"

    def stopped() -> bool:
        pod = kubectl.get("pod", "sleeps-runner")
        return bool(
            pod["status"]["phase"] == "Failed" and "deletionTimestamp" not in pod["metadata"]
        )

    eventually("it has been stopped", stopped)
    assert kubectl("logs", "sleeps-runner").strip() == "it sleeps"
    reason, message = why("exits")
    assert reason == "RunnerFailed"
    assert "exit code 3" in message
    assert "attempt 2 of 2" in message
    for name in ("exits-runner", "exits-runner-2"):
        assert kubectl("logs", name).strip() == "it fails"
