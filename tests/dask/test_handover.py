"""Worker pods that somebody else ends (deletion, eviction, drain) hand over what they hold, by real kubelets."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.dask.support import Cluster, NewCluster, workers
from tests.support.kubernetes import Kubectl, eventually

PATIENT_S = 300  # a grace period that shows who waits for it


def test_deleted_pods(cluster: NewCluster, kubectl: Kubectl) -> None:
    it = cluster({"worker": workers(3)}).wait_ready(300)
    before = it.wait_pods(3, timeout=300)
    it.connect(3)
    held = it.inside("hold(15, 15)")
    assert it.inside("spread()")[0] > 0
    kubectl("delete", "pod", *sorted(before)[:2])
    nothing_lost(it, held, gone=2)
    assert len(before.items() & it.wait_pods(3, timeout=300).items()) == 1
    assert it.inside("hashes()") == held


def test_several_evicted_at_once(cluster: NewCluster, kubectl: Kubectl) -> None:
    """As `kubectl drain` does it; two worker processes per pod, without a shell between."""
    it = cluster({"worker": workers(5, "--nworkers", "2")}).wait_ready(300)
    before = it.wait_pods(5, timeout=300)
    it.connect(10)
    held = it.inside("hold(60, 60)")
    leave = sorted(before)[:3]
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda name: evict(kubectl, name), leave))
    eventually(
        "the evicted pods are gone", lambda: not set(leave) & set(it.pods()), timeout=PATIENT_S
    )
    nothing_lost(it, held, gone=6)
    assert len(before.items() & it.wait_pods(5, timeout=300).items()) == 2


def test_a_deleted_pod_does_not_wait_for_its_task(cluster: NewCluster, kubectl: Kubectl) -> None:
    it = cluster({"worker": patient(2)}).wait_ready(300)
    it.wait_pods(2, timeout=300)
    it.connect(2)
    held = it.inside("hold(10, 10)")
    assert it.inside("run_gated(2)") == 2
    victim = sorted(it.uids())[0]
    kubectl("delete", "pod", victim, timeout=PATIENT_S - 60)  # waits until it is gone
    eventually(
        "the task starts again", lambda: sum(it.inside("starts()").values()) == 3, timeout=120
    )
    it.inside("open_gate()")
    assert it.inside("results()") == [0, 1]
    nothing_lost(it, held, gone=1)


@pytest.mark.parametrize(
    ("pods", "processes"), [(4, 3), pytest.param(10, 10, marks=pytest.mark.soak)]
)
def test_nobody_waits_when_the_whole_cluster_goes(
    cluster: NewCluster, kubectl: Kubectl, pods: int, processes: int
) -> None:
    """Many workers take about as long as those of one pod: none of them moves what is lost anyway."""
    seconds = {}
    for count in (1, pods):
        several = ("--nworkers", str(processes), "--memory-limit", "0")
        it = cluster({"worker": patient(count, *several)})
        it.wait_pods(count, timeout=400)
        it.connect(processes * count)
        it.inside(f"hold({5 * processes * count}, {5 * processes * count})")
        start = time.monotonic()
        kubectl("delete", "daskcluster", it.name, "--wait=false")
        eventually("no pod is left", lambda: not kubectl.list("pods"), timeout=PATIENT_S)
        seconds[count] = time.monotonic() - start
    print(f"seconds to delete a cluster of so many pods of {processes} workers: {seconds}")
    assert seconds[pods] < 3 * seconds[1] + 30


def patient(replicas: int, *arguments: str) -> dict[str, object]:
    """Workers with a long grace period."""
    worker = workers(replicas, *arguments)
    worker["spec"]["terminationGracePeriodSeconds"] = PATIENT_S
    return worker


def evict(kubectl: Kubectl, name: str) -> None:
    """By the API that `kubectl drain` uses."""
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def nothing_lost(it: Cluster, held: list[str], gone: int) -> None:
    """So many workers left, each expected, and all values are the very same."""
    eventually(f"{gone} workers left", lambda: len(it.inside("removed()")) >= gone)
    assert len(it.inside("removed()")) == gone
    assert it.lost() == []
    assert it.inside("hashes()") == held
