"""Declared, created, scaled, healed and deleted, on a real API server with the chart's own rights."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.manifests import cluster, group, resource
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import (
    Audit,
    CommandError,
    Kubectl,
    condition,
    eventually,
    is_ready,
)

pytestmark = pytest.mark.usefixtures("controller")
USER = "system:serviceaccount:dask-system:dask-gitops-controller"
WORKERS = "dask.org/component=worker"


def ready(kubectl: Kubectl, name: str = "demo", kind: str = "daskcluster") -> None:
    """Until it is Ready as it is declared now; what was said of an earlier spec does not count."""

    def so() -> bool:
        found = kubectl.get(kind, name)
        assert is_ready(found), found.get("status")
        return True

    eventually(f"{kind} {name} is Ready", so, timeout=120)


def live_workers(kubectl: Kubectl, selector: str = WORKERS) -> list[dict]:
    return [p for p in kubectl.list("pods", selector) if "deletionTimestamp" not in p["metadata"]]


def workers_become(
    kubectl: Kubectl, count: int, selector: str = WORKERS, timeout: float = 60
) -> list[dict]:
    def look() -> list[dict]:
        pods = kubectl.list("pods", selector)
        assert len(pods) == count, f"{len(pods)} worker pods"
        return pods or [{}]

    return eventually(f"{count} worker pods", look, timeout=timeout)


def turn(kubectl: Kubectl, name: str = "demo") -> None:
    """Have the controller look at this cluster and its groups once more, until it has: a label reaches every pod."""
    word = uuid.uuid4().hex[:8]
    kubectl("label", "daskcluster", name, f"turn={word}", "--overwrite")
    selector = f"dask.org/cluster-name={name}"
    eventually(
        "the label is on every pod",
        lambda: (
            len(kubectl.list("pods", f"{selector},turn={word}"))
            == len(kubectl.list("pods", selector))
        ),
    )


def test_a_cluster_of_nothing_works(kubectl: Kubectl) -> None:
    kubectl.apply(
        resource(
            "DaskCluster", "demo", {"scheduler": {"service": {"selector": {"nothing": "here"}}}}
        )
    )
    ready(kubectl)
    assert Counter(p["metadata"]["labels"]["dask.org/component"] for p in kubectl.list("pods")) == {
        "scheduler": 1,
        "worker": 1,
    }
    assert kubectl.get("daskworkergroup", "demo-default")["spec"]["worker"]["replicas"] == 1


def test_a_number_that_nobody_gives_is_held(kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=0), group("demo-extra", 3))
    ready(kubectl)
    workers_become(kubectl, 3)
    kubectl.apply(group("demo-extra", None))  # the line is gone from git, the workers stay
    held = eventually(
        "it is held",
        lambda: kubectl.get("daskworkergroup", "demo-extra")["spec"]["worker"].get("replicas"),
    )
    assert held == 3
    kubectl.apply(group("demo-extra", None), cluster(replicas=0))
    workers_become(kubectl, 3)


def test_objects_names_owners_and_printed_columns(kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=3))
    ready(kubectl)
    ready(kubectl, "demo-default", "daskworkergroup")
    uid = kubectl.get("daskcluster", "demo")["metadata"]["uid"]
    pods = kubectl.list("pods")
    for thing in [
        *pods,
        kubectl.get("service", "demo-scheduler"),
        kubectl.get("daskworkergroup", "demo-default"),
    ]:
        owner = thing["metadata"]["ownerReferences"]
        assert [(o["kind"], o["uid"], o["controller"]) for o in owner] == [
            ("DaskCluster", uid, True)
        ]
        assert "finalizers" not in thing["metadata"]
    assert "demo-scheduler" in {p["metadata"]["name"] for p in pods}
    names = [p["metadata"]["name"] for p in live_workers(kubectl)]
    assert len(names) == 3
    assert all(n.startswith("demo-default-worker-") for n in names)
    assert kubectl("get", "daskcluster", "demo", "--no-headers").split()[:4] == [
        "demo",
        "3",
        "3",
        "ClusterReady",
    ]
    row = kubectl("get", "daskworkergroup", "demo-default", "--no-headers").split()
    assert row[:6] == ["demo-default", "demo", "3", "3", "3", "WorkersReady"]


def test_scale_the_group_and_the_cluster(kubectl: Kubectl, schedulers: FakeSchedulers) -> None:
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=5")
    workers_become(kubectl, 5)
    overridden = eventually(
        "the cluster says so",
        lambda: condition(kubectl.get("daskcluster", "demo"), "ReplicasOverridden"),
    )
    assert overridden["message"] == "spec.worker.replicas is 2, the worker group was scaled to 5"
    kubectl("scale", "daskcluster", "demo", "--replicas=3")
    workers_become(kubectl, 3)
    ready(kubectl)
    scale = kubectl("get", "daskworkergroup", "demo-default", "--subresource=scale", "-o", "json")
    assert '"replicas": 3' in scale
    assert "dask.org/workergroup-name=demo-default" in scale
    eventually(
        "the status counts them",
        lambda: kubectl.get("daskcluster", "demo")["status"]["replicas"] == 3,
    )


def test_scale_down_takes_the_lightest_and_leaves_other_groups_alone(
    kubectl: Kubectl, schedulers: FakeSchedulers, audit: Audit
) -> None:
    kubectl.apply(cluster(replicas=4), group("demo-big", 2))
    ready(kubectl)
    workers_become(kubectl, 6)
    mine = sorted(
        p["metadata"]["name"]
        for p in kubectl.list("pods", "dask.org/workergroup-name=demo-default")
    )
    others = {
        p["metadata"]["uid"] for p in kubectl.list("pods", "dask.org/workergroup-name=demo-big")
    }
    schedulers.load.update({mine[0]: 9_000_000, mine[1]: 5, mine[2]: 8_000_000, mine[3]: 7})
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=2")
    left = workers_become(kubectl, 2, "dask.org/workergroup-name=demo-default")
    assert {p["metadata"]["name"] for p in left} == {mine[0], mine[2]}
    assert {
        p["metadata"]["uid"] for p in kubectl.list("pods", "dask.org/workergroup-name=demo-big")
    } == others
    assert len(audit.done("delete", "pods", namespace=kubectl.namespace, user=USER)) == 2


def test_workers_that_have_not_started_go_first(
    kubectl: Kubectl, schedulers: FakeSchedulers
) -> None:
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    started = {p["metadata"]["name"] for p in live_workers(kubectl)}
    kubectl("cordon", "-l", "type=kwok")
    try:
        kubectl.apply(cluster(replicas=6))
        workers_become(kubectl, 6)
        before = len(schedulers.calls)
        kubectl("scale", "daskworkergroup", "demo-default", "--replicas=3")
        left = workers_become(kubectl, 3)
    finally:
        kubectl("uncordon", "-l", "type=kwok")
    assert started < {p["metadata"]["name"] for p in left}
    scheduler = kubectl.get("pod", "demo-scheduler")["metadata"]["uid"]
    assert not [c for c in schedulers.calls[before:] if c[:2] == (scheduler, "retire")]


def test_a_silent_scheduler_holds_the_scale_down(
    kubectl: Kubectl, schedulers: FakeSchedulers
) -> None:
    kubectl.apply(cluster(replicas=3))
    ready(kubectl)
    schedulers.silent = True
    try:
        kubectl("scale", "daskworkergroup", "demo-default", "--replicas=1")
        held = eventually(
            "it is said",
            lambda: condition(kubectl.get("daskworkergroup", "demo-default"), "ScaleDownHeld"),
        )
        assert held["message"].startswith("2 workers should go, but the scheduler answers 503")
        assert len(live_workers(kubectl)) == 3
    finally:
        schedulers.silent = False
    workers_become(kubectl, 1)
    eventually(
        "the condition is gone",
        lambda: not condition(kubectl.get("daskworkergroup", "demo-default"), "ScaleDownHeld"),
    )


def test_a_worker_whose_results_have_no_place_stays(
    kubectl: Kubectl, schedulers: FakeSchedulers
) -> None:
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    names = {p["metadata"]["name"] for p in live_workers(kubectl)}
    schedulers.refuse |= names
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=1")
    held = eventually(
        "it is said",
        lambda: condition(kubectl.get("daskworkergroup", "demo-default"), "ScaleDownHeld"),
    )
    assert "no worker can take its 3 unique keys" in held["message"]
    assert {p["metadata"]["name"] for p in live_workers(kubectl)} == names
    schedulers.refuse -= names
    workers_become(kubectl, 1)


@pytest.mark.parametrize(
    "what", ["pod/demo-scheduler", "service/demo-scheduler", "daskworkergroup/demo-default"]
)
def test_what_is_deleted_comes_back(kubectl: Kubectl, what: str) -> None:
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    kind, name = what.split("/")
    old = kubectl.get(kind, name)["metadata"]["uid"]
    kubectl("delete", what, "--wait=false")
    eventually(
        f"{what} is back",
        lambda: kubectl.exists(kind, name) and kubectl.get(kind, name)["metadata"]["uid"] != old,
    )
    ready(kubectl)
    workers_become(kubectl, 2)


def test_a_deleted_worker_is_replaced_exactly_once(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(cluster(replicas=3))
    ready(kubectl)
    victim = live_workers(kubectl)[0]["metadata"]["name"]
    kubectl("delete", "pod", victim)
    eventually(
        "a new worker",
        lambda: len(live_workers(kubectl)) == 3 and not kubectl.exists("pod", victim),
    )
    ready(kubectl)
    assert len(audit.done("create", "pods", namespace=kubectl.namespace, user=USER)) == 5


def test_groups_inside_the_cluster(kubectl: Kubectl, schedulers: FakeSchedulers) -> None:
    inside = [{"name": "big", "worker": {"replicas": 2}}]
    kubectl.apply(cluster(replicas=1, workerGroups=inside))
    ready(kubectl)
    workers_become(kubectl, 2, "dask.org/workergroup-name=demo-big")
    kubectl.apply(cluster(replicas=1))
    workers_become(kubectl, 0, "dask.org/workergroup-name=demo-big")
    eventually("the group is gone", lambda: not kubectl.exists("daskworkergroup", "demo-big"))


def test_a_group_waits_for_its_cluster(kubectl: Kubectl) -> None:
    kubectl.apply(group("late-extra", 1, cluster="late"))
    waiting = eventually(
        "it says so", lambda: condition(kubectl.get("daskworkergroup", "late-extra"), "Reconciling")
    )
    assert (waiting["reason"], waiting["message"]) == (
        "ClusterMissing",
        "waits for DaskCluster late",
    )
    kubectl.apply(cluster("late", replicas=1))
    ready(kubectl, "late-extra", "daskworkergroup")


def test_names_that_cannot_work_are_refused_when_applied(kubectl: Kubectl) -> None:
    with pytest.raises(CommandError, match="53"):
        kubectl.apply(cluster("x" * 54))
    with pytest.raises(CommandError, match="dot"):
        kubectl.apply(cluster("a.b"))
    with pytest.raises(CommandError, match=r"spec\.worker\.replicas"):
        kubectl.apply(cluster(replicas=-1))


def test_idle_means_silence(kubectl: Kubectl, audit_path: Path) -> None:
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    ready(kubectl, "demo-default", "daskworkergroup")

    def renewals(audit: Audit) -> int:
        writes = ("patch", "update")
        return sum(len(audit.requests(verb, "leases", user=USER)) for verb in writes)

    settling = Audit.now(audit_path)
    eventually("it has settled", lambda: renewals(settling) >= 1)
    audit, began = Audit.now(audit_path), time.monotonic()
    eventually("some turns of nothing else", lambda: renewals(audit) >= 3)
    assert audit.requests(user=USER, namespace=kubectl.namespace) == []
    assert renewals(audit) <= 1 + (time.monotonic() - began) / 2  # at most one in two seconds
