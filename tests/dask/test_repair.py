"""What is deleted or killed comes back."""

from __future__ import annotations

import os
import signal

from tests.dask.support import Cluster, NewCluster, pod_ready, processes_with, workers
from tests.support.kubernetes import Kubectl, eventually


def test_worker_pod_is_deleted(cluster: NewCluster, kubectl: Kubectl) -> None:
    it = cluster({"worker": workers(2)}).wait_ready()
    before = it.wait_pods(2)
    victim = sorted(before)[0]
    kubectl("delete", "pod", victim)
    after = it.wait_pods(2)
    assert victim not in after
    assert len(before.items() & after.items()) == 1
    it.connect(2)
    it.wait_workers(2)
    assert it.computes()


def test_worker_process_is_killed(cluster: NewCluster) -> None:
    """kill -9: the kubelet starts the container again, in the same pod."""
    it = cluster({"worker": workers(1)}).wait_ready()
    ((name, uid),) = it.wait_pods(1).items()
    # From the node: a process in the container would be taken along by the container's end.
    _, dask = processes_with(f"DASK_WORKER_NAME={name}")
    os.kill(dask, signal.SIGKILL)

    def restarted() -> bool:
        pod = it.pods()[name]
        return pod["status"]["containerStatuses"][0]["restartCount"] == 1 and pod_ready(pod)

    eventually("the worker's container runs again", restarted)
    assert it.wait_pods(1) == {name: uid}
    it.connect(1)
    assert it.computes()


def test_scheduler_pod_is_deleted(cluster: NewCluster, kubectl: Kubectl) -> None:
    """A new one comes. Dask's workers end with a scheduler that ends in order; they are back, too."""
    it = cluster({"worker": workers(2)}).wait_ready()
    it.wait_pods(2)
    old = scheduler_uid(it)
    kubectl("delete", "pod", "c-scheduler", "--wait=false")
    eventually("a new scheduler is ready", lambda: new_scheduler(it, old), timeout=90)
    it.connect(2)
    it.wait_workers(2)
    assert it.computes()
    it.wait_ready()
    assert sorted(it.inside("names()").values()) == sorted(it.wait_pods(2))


def scheduler_uid(it: Cluster) -> str:
    pod = it.scheduler()
    assert pod is not None
    return str(pod["metadata"]["uid"])


def new_scheduler(it: Cluster, old: str) -> bool:
    pod = it.scheduler()
    return pod is not None and pod["metadata"]["uid"] != old and pod_ready(pod)


def test_service_is_deleted(cluster: NewCluster, kubectl: Kubectl) -> None:
    """It comes back with another address; established connections and what the workers hold stay."""
    it = cluster({"worker": workers(1)}).wait_ready()
    before = it.wait_pods(1)
    it.connect(1)
    assert it.computes()
    # A worker's very first heartbeat opens a connection; one that cannot be opened ends the worker.
    it.inside("heard_of_all()")
    old = kubectl.get("service", "c-scheduler")["metadata"]["uid"]
    kubectl("delete", "service", "c-scheduler", "--wait=false")
    eventually(
        "the Service is back",
        lambda: kubectl.get("service", "c-scheduler")["metadata"]["uid"] != old,
    )
    assert it.connect(1) == list(before)
    assert it.computes()
    assert it.uids() == before


def test_default_group_is_deleted(cluster: NewCluster, kubectl: Kubectl) -> None:
    """It comes back with the cluster's number, and no result is lost on the way."""
    it = cluster({"worker": workers(2)}).wait_ready()
    it.connect(2)
    before = it.inside("hold(20, 5)")
    old = kubectl.get("daskworkergroup", "c-default")["metadata"]["uid"]
    kubectl("delete", "daskworkergroup", "c-default", "--wait=false")

    eventually(
        "the default group is back",
        lambda: kubectl.get("daskworkergroup", "c-default")["metadata"]["uid"] != old,
    )
    it.wait_pods(2)
    it.wait_workers(2)
    assert it.inside("hashes()") == before
    assert it.lost() == []
