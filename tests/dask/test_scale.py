"""Workers come and go while results are held: nothing is lost, nothing is done twice.

Right answers alone prove little, as Dask computes again what it lost. So values are random or scattered,
the scheduler's own events are read, and the API server's audit log is counted.
"""

from __future__ import annotations

from tests.dask.support import Cluster, NewCluster, controller_is_ready, manifest, workers
from tests.support.kubernetes import Audit, Kubectl, condition, eventually


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


def busy_cluster(cluster: NewCluster, kubectl: Kubectl, count: int) -> tuple[Cluster, list[str]]:
    """So many workers and another group's one; 75 values held, a task running on each of the first."""
    it = cluster({"worker": workers(count)})
    kubectl.apply(manifest("DaskWorkerGroup", "other", {"cluster": "c", "worker": workers(1)}))
    it.wait_ready()
    it.wait_pods(count)
    it.wait_pods(1, "other")
    it.connect(count + 1)
    before: list[str] = it.inside("hold(60, 15)")
    assert it.inside(f"run_gated({count})") == count
    return it, before


def leaving(it: Cluster, count: int) -> list[str]:
    """The names of so many pods, once they are marked to leave."""
    eventually(f"{count} are marked to leave", lambda: len(it.retiring()) == count)
    return it.retiring()


def check_nothing_lost(
    it: Cluster, before: list[str], left: list[str], since: Audit, tasks: int
) -> None:
    """After these workers left."""
    it.wait_workers(tasks - len(left) + 1)
    assert it.inside("hashes()") == before
    assert sum(it.inside("spread()")) == 75
    assert it.inside("results()") == list(range(tasks))
    assert it.inside("starts()") == {str(number): 1 for number in range(tasks)}
    events = it.inside("removed()")
    assert len(events) == len(left)
    assert it.lost() == []
    assert it.deletes(since) == sorted(left)
    assert it.creates(since) == 0


def test_eight_become_three(cluster: NewCluster, kubectl: Kubectl) -> None:
    it, before = busy_cluster(cluster, kubectl, 8)
    pods, other, since = it.uids(), it.uids("other"), Audit.now(it.audit.path)
    it.scale(3)
    left = leaving(it, 5)
    assert it.deletes(since) == [], "deleted before its task ended"
    it.inside("open_gate()")
    stay = it.wait_pods(3)
    check_nothing_lost(it, before, left, since, 8)
    assert stay == {name: uid for name, uid in pods.items() if name not in left}
    assert it.uids("other") == other


def test_controller_is_killed_while_workers_leave(
    cluster: NewCluster, kubectl: Kubectl, system: Kubectl
) -> None:
    it, before = busy_cluster(cluster, kubectl, 6)
    since = Audit.now(it.audit.path)
    it.scale(2)
    left = leaving(it, 4)
    (old,) = system.list("pods", "app.kubernetes.io/component=controller")
    name = old["metadata"]["name"]
    system("delete", "pod", name, "--force", "--grace-period=0")
    it.inside("open_gate()")
    eventually("another controller serves", lambda: controller_is_ready(system, name), timeout=90)
    it.wait_pods(2)
    assert it.retiring() == []
    check_nothing_lost(it, before, left, since, 6)


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
