"""Workers come and go while results are held: nothing is lost, nothing is done twice.

Right answers alone prove little, as Dask computes again what it lost. So values are random or scattered,
the scheduler's own events are read, and the API server's audit log is counted.
"""

from __future__ import annotations

from tests.dask.support import Cluster, NewCluster, controller_is_ready, manifest, workers
from tests.support.kubernetes import Audit, Kubectl, condition, eventually

ONE_START_EACH = {str(number): 1 for number in range(6)}


def test_up_by_group_and_by_cluster(cluster: NewCluster) -> None:
    it = cluster({"worker": workers(1)}).wait_ready()
    first = it.wait_pods(1)
    it.scale(2)
    second = it.wait_pods(2)
    it.scale(3, kind="daskcluster")
    third = it.wait_pods(3)
    assert first.items() < second.items() < third.items(), "a worker that was there was replaced"
    it.connect(3)
    assert it.computes()
    assert it.get()["status"]["replicas"] == 3


def busy_cluster(cluster: NewCluster, kubectl: Kubectl) -> tuple[Cluster, list[str]]:
    """Six workers and another group's one; 75 values held, a task running on each of six workers."""
    it = cluster({"worker": workers(6)})
    kubectl.apply(manifest("DaskWorkerGroup", "other", {"cluster": "c", "worker": workers(1)}))
    it.wait_ready()
    it.wait_pods(6)
    it.wait_pods(1, "other")
    it.connect(7)
    before: list[str] = it.inside("hold(60, 15)")
    assert it.inside("run_gated(6)") == 6
    return it, before


def four_leaving(it: Cluster) -> list[str]:
    """The names of four pods, once they are marked to leave."""
    eventually("four are marked to leave", lambda: len(it.retiring()) == 4)
    return it.retiring()


def check_nothing_lost(it: Cluster, before: list[str], left: list[str], since: Audit) -> None:
    """After four of six workers left."""
    it.wait_workers(3)
    assert it.inside("hashes()") == before
    assert sum(it.inside("spread()")) == 75
    assert it.inside("results()") == list(range(6))
    assert it.inside("starts()") == ONE_START_EACH
    events = it.inside("removed()")
    assert len(events) == 4
    assert it.lost() == []
    assert it.deletes(since) == sorted(left)
    assert it.creates(since) == 0


def test_six_become_two(cluster: NewCluster, kubectl: Kubectl) -> None:
    it, before = busy_cluster(cluster, kubectl)
    pods, other, since = it.uids(), it.uids("other"), Audit.now(it.audit.path)
    it.scale(2)
    leaving = four_leaving(it)
    assert it.deletes(since) == [], "deleted before its task ended"
    it.inside("open_gate()")
    stay = it.wait_pods(2)
    check_nothing_lost(it, before, leaving, since)
    assert stay == {name: uid for name, uid in pods.items() if name not in leaving}
    assert it.uids("other") == other


def test_controller_is_killed_while_workers_leave(
    cluster: NewCluster, kubectl: Kubectl, system: Kubectl
) -> None:
    it, before = busy_cluster(cluster, kubectl)
    since = Audit.now(it.audit.path)
    it.scale(2)
    leaving = four_leaving(it)
    (old,) = system.list("pods", "app.kubernetes.io/component=controller")
    name = old["metadata"]["name"]
    system("delete", "pod", name, "--force", "--grace-period=0")
    it.inside("open_gate()")
    eventually("another controller serves", lambda: controller_is_ready(system, name), timeout=90)
    it.wait_pods(2)
    assert it.retiring() == []
    check_nothing_lost(it, before, leaving, since)


def test_two_workers_per_pod_leave_together(cluster: NewCluster) -> None:
    it = cluster({"worker": workers(3, "--nworkers", "2")}).wait_ready()
    assert len(it.connect(6)) == 6
    before = it.inside("hold(40, 10)")
    since = Audit.now(it.audit.path)
    pods = it.wait_pods(3)
    it.scale(1)
    stay = it.wait_pods(1)
    it.wait_workers(2)
    assert it.inside("hashes()") == before
    assert sum(it.inside("spread()")) == 50
    assert it.lost() == []
    assert it.deletes(since) == sorted(set(pods) - set(stay))


def test_scaled_to_zero_and_back(cluster: NewCluster) -> None:
    """Nothing is held: zero workers at once, and the cluster stays Ready."""
    it = cluster({"worker": workers(2)}).wait_ready()
    it.connect(2)
    it.scale(0)
    it.wait_pods(0)
    assert condition(it.get(), "Ready")["status"] == "True"
    it.scale(1)
    it.wait_pods(1)
    it.connect(1)
    assert it.computes()
