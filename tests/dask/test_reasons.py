"""Why something does not come up, or was restarted, in the words of the real kubelet."""

from __future__ import annotations

import os
import signal

from tests.dask.support import Cluster, NewCluster, processes_with, workers
from tests.dask.test_repair import scheduler_uid
from tests.support.kubernetes import JSON, condition, eventually


def broken(**container: object) -> JSON:
    """spec.worker of one worker whose container is made so."""
    return {"worker": {"replicas": 1, "spec": {"containers": [{"name": "worker", **container}]}}}


def why(it: Cluster, reason: str, *words: str) -> None:
    """Group and cluster say so, as something that is on its way."""
    for kind, name in (("daskworkergroup", it.default_group), ("daskcluster", it.name)):

        def said(kind: str = kind, name: str = name) -> JSON:
            found = condition(it.kubectl.get(kind, name), "Ready")
            assert found.get("reason") == reason, found
            for word in words:
                assert word in found["message"], found
            return found

        found = eventually(f"{kind} says {reason}", said, timeout=150)
        assert found["status"] == "False"
        assert condition(it.kubectl.get(kind, name), "Reconciling")["status"] == "True"


def test_an_image_that_cannot_be_pulled(cluster: NewCluster) -> None:
    it = cluster(broken(image="127.0.0.1:1/no-such-image:1"))
    why(it, "ImagePullBackOff", "127.0.0.1:1/no-such-image:1")


def test_a_crash_loop(cluster: NewCluster, dask_image: str) -> None:
    it = cluster(broken(image=dask_image, command=["python", "-c", "raise SystemExit(3)"]))
    why(it, "CrashLoopBackOff", "container worker keeps ending with Error (exit code 3)")


def test_a_command_that_is_not_there(cluster: NewCluster, dask_image: str) -> None:
    it = cluster(broken(image=dask_image, command=["no-such-command"]))
    why(it, "CrashLoopBackOff", "no-such-command", "(exit code 128)")


def test_out_of_memory(cluster: NewCluster, dask_image: str) -> None:
    eat = ["python", "-c", "x = b'x' * (1 << 30)"]
    it = cluster(broken(image=dask_image, command=eat, resources={"limits": {"memory": "64Mi"}}))
    why(it, "CrashLoopBackOff", "OOMKilled (exit code 137)")


def test_scheduler_process_is_killed(cluster: NewCluster) -> None:
    """kill -9: the kubelet starts it again in the same pod, workers register again, and the status counts it."""
    it = cluster({"worker": workers(2)}).wait_ready()
    it.wait_pods(2)
    pod, uid = it.scheduler(), scheduler_uid(it)
    assert pod is not None
    env = {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0]["env"]}
    first, _ = processes_with(env["SCHEDULER_CONTROL_TOKEN"])
    os.kill(first, signal.SIGKILL)

    def counted() -> bool:
        said = it.get()["status"].get("scheduler")
        assert said == {"restarts": 1, "lastRestartReason": "Error (exit code 137)"}, said
        return True

    eventually("the restart is counted", counted, timeout=120)
    it.wait_ready()
    assert scheduler_uid(it) == uid
    it.connect(2)
    it.wait_workers(2)
    assert it.computes()
