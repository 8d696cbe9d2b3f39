"""Clusters that rest on a real node: parked when nobody uses them, woken by a client's work, suspended and resumed."""

from __future__ import annotations

import json

from tests.dask.support import Cluster, NewCluster, workers
from tests.support.kubernetes import Kubectl, condition, eventually

TIMEOUT = 12


def patch(it: Cluster, **spec: object) -> None:
    body = json.dumps({"spec": spec})
    it.kubectl("patch", "daskcluster", it.name, "--type=merge", "-p", body)


def is_idle(it: Cluster) -> bool:
    return bool(condition(it.get(), "Idle"))


def parked(it: Cluster) -> None:
    eventually("it is parked", lambda: is_idle(it), timeout=120)
    it.wait_pods(0)
    found = it.get()
    assert condition(found, "Ready")["status"] == "True"
    assert found["status"]["phase"] == "Running"


def test_parked_when_nothing_is_wanted_any_more_and_woken_by_a_client(
    cluster: NewCluster, kubectl: Kubectl
) -> None:
    it = cluster({"worker": workers(2)}).wait_ready()
    scheduler = it.scheduler()
    assert scheduler is not None
    it.connect(2)
    assert it.computes()
    # Values that nobody could compute again: they keep the workers for as long as the client wants them.
    before = it.inside("hold(10, 4)")
    patch(it, idleTimeout=TIMEOUT, idleAction="Scale")
    assert it.inside(f"time.sleep({2 * TIMEOUT})") is None
    assert not is_idle(it)
    first = it.uids()
    assert len(first) == 2
    assert it.inside("hashes()") == before
    it.inside("let_go()")
    parked(it)
    assert it.lost() == []  # the scheduler expected both to go, and nothing went with them

    # The client is still connected to the same scheduler, and submits as if nothing had happened.
    assert it.computes()
    second = it.uids()
    assert len(second) == 2
    assert not first.keys() & second.keys()
    now = it.scheduler()
    assert now is not None
    assert now["metadata"]["uid"] == scheduler["metadata"]["uid"]
    assert sum((s["restartCount"] for s in now["status"]["containerStatuses"]), 0) == 0

    def told() -> dict[str, str]:
        found = {e["reason"]: e["message"] for e in kubectl.list("events")}
        return found if "Woken" in found else {}

    words = eventually("it says how long that took", told)
    assert "the workers come back" in words["Waking"]
    assert "s after the cluster was woken" in words["Woken"]
    assert it.lost() == []
    assert kubectl.get("daskworkergroup", it.default_group)["spec"]["worker"]["replicas"] == 2


def test_suspended_and_resumed(cluster: NewCluster, kubectl: Kubectl) -> None:
    it = cluster({"worker": workers(2)}).wait_ready()
    it.connect(2)
    assert it.computes()
    first = {p["metadata"]["uid"] for p in kubectl.list("pods")}

    patch(it, suspend=True)
    kubectl("wait", f"daskcluster/{it.name}", "--for=condition=Suspended", "--timeout=120s")
    eventually("no pods are left", lambda: not kubectl.list("pods"), timeout=60)
    assert it.get()["status"]["phase"] == "Suspended"
    assert condition(it.get(), "Ready")["status"] == "True"
    patch(it, suspend=False)
    it.wait_ready()
    it.wait_pods(2)
    assert not first & {p["metadata"]["uid"] for p in kubectl.list("pods")}
    it.connect(2)
    assert it.computes()
    assert it.get()["status"]["scheduler"] == {"restarts": 0}


def test_deleted_after_the_last_task_has_ended(cluster: NewCluster, kubectl: Kubectl) -> None:
    """A task that runs for longer than the timeout is work; results are none, as with the existing operator."""
    it = cluster({"worker": workers(1)}).wait_ready()
    it.connect(1)
    assert it.inside("run_gated(1)") == 1
    patch(it, idleTimeout=TIMEOUT)
    assert it.inside(f"time.sleep({1.8 * TIMEOUT})") is None
    it.inside("open_gate()")
    assert it.inside("results()") == [0]
    assert it.inside("starts()") == {"0": 1}
    eventually("it is gone", lambda: not kubectl.exists("daskcluster", it.name), timeout=120)
    everything = "daskworkergroups,pods,services"
    eventually("all of it", lambda: not kubectl.list(everything), timeout=120)
