"""Clusters that nobody uses, on a real API server with pretended pods, and with the rights that the chart gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import USER, ready, turn, workers_become
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kstatus import CURRENT, compute
from tests.support.kubernetes import Audit, CommandError, Kubectl, condition, eventually

JSON = dict[str, Any]
pytestmark = pytest.mark.usefixtures("controller")
HELM = {"app.kubernetes.io/managed-by": "Helm"}
LONG = 3600.0


@pytest.fixture
def idle(kubectl: Kubectl, schedulers: FakeSchedulers) -> Iterator[FakeSchedulers]:
    yield schedulers
    schedulers.idle.pop(kubectl.namespace, None)
    schedulers.tasks.pop(kubectl.namespace, None)
    schedulers.silent = False


def looks(schedulers: FakeSchedulers, kubectl: Kubectl) -> int:
    return schedulers.asked[kubectl.namespace]["call state"]


def parked(kubectl: Kubectl) -> JSON:
    kubectl("wait", "daskcluster/demo", "--for=condition=Idle", "--timeout=90s")
    workers_become(kubectl, 0)

    def told() -> JSON:
        found = kubectl.get("daskcluster", "demo")
        assert compute(found).status == CURRENT
        assert condition(found, "Ready")["reason"] == "Parked"
        assert found["status"]["workers"] == {"desired": 0, "ready": 0}
        return found

    found = eventually("the status says all of it", told)
    eventually(
        "the group says so, too",
        lambda: condition(kubectl.get("daskworkergroup", "demo-default"), "Idle"),
    )
    assert kubectl.get("daskworkergroup", "demo-default")["spec"]["worker"]["replicas"] == 2
    return found


def patch(kubectl: Kubectl, spec: JSON) -> None:
    kubectl("patch", "daskcluster", "demo", "--type=merge", "-p", json.dumps({"spec": spec}))


def test_deleted_with_all_that_belongs_to_it(kubectl: Kubectl, idle: FakeSchedulers) -> None:
    kubectl.apply(cluster(idleTimeout=600))
    ready(kubectl)
    assert kubectl.exists("daskcluster", "demo")
    idle.idle[kubectl.namespace] = LONG
    patch(kubectl, {"idleTimeout": 2})  # looks again
    eventually("it is gone", lambda: not kubectl.exists("daskcluster", "demo"), timeout=60)
    kinds = "daskworkergroups,pods,services"
    eventually("its children too", lambda: not kubectl.list(kinds), timeout=90)
    events = kubectl.list("events")
    assert [e["message"] for e in events if e["reason"] == "IdleDeleted"] == [
        "deleted, as nothing has run for 1 h (idleTimeout 2 s)"
    ]


def test_parked_woken_by_work_and_parked_again(
    kubectl: Kubectl, idle: FakeSchedulers, audit: Audit
) -> None:
    idle.idle[kubectl.namespace] = LONG
    kubectl.apply(cluster(idleTimeout=5, idleAction="Scale"))
    parked(kubectl)
    scheduler = kubectl.get("pod", "demo-scheduler")["metadata"]["uid"]
    columns = kubectl("get", "daskcluster", "demo").splitlines()[1].split()
    assert columns[:4] == ["demo", "0", "0", "Parked"]
    idle.tasks[kubectl.namespace] = {"no-worker": 12}
    workers_become(kubectl, 2)
    ready(kubectl)
    told = eventually(
        "it says how long that took",
        lambda: [e for e in kubectl.list("events") if e["reason"] == "Woken"],
    )
    assert "s after the cluster was woken" in told[0]["message"]
    eventually(
        "and in the message of Ready",
        lambda: (
            "the first worker was ready after"
            in condition(kubectl.get("daskcluster", "demo"), "Ready")["message"]
        ),
    )
    assert condition(kubectl.get("daskcluster", "demo"), "Idle") == {}
    idle.tasks[kubectl.namespace] = {}
    patch(kubectl, {"idleTimeout": 4})
    parked(kubectl)
    assert kubectl.get("pod", "demo-scheduler")["metadata"]["uid"] == scheduler
    writes = audit.requests("patch", "daskworkergroups", namespace=kubectl.namespace, user=USER)
    assert [w for w in writes if w["objectRef"].get("subresource") == "scale"] == []


def test_a_parked_cluster_costs_no_writes(
    kubectl: Kubectl, idle: FakeSchedulers, audit_path: Path
) -> None:
    idle.idle[kubectl.namespace] = LONG
    kubectl.apply(cluster(idleTimeout=5, idleAction="Scale"))
    parked(kubectl)
    asked = looks(idle, kubectl)
    eventually("it has settled", lambda: looks(idle, kubectl) > asked)
    audit, asked = Audit.now(audit_path), looks(idle, kubectl)
    eventually("it is asked for work", lambda: looks(idle, kubectl) > asked + 1)
    mine = audit.requests(namespace=kubectl.namespace, user=USER)
    assert [r["verb"] for r in mine if r["verb"] != "watch"] == []


def test_nobody_is_asked_where_no_timeout_is_set(kubectl: Kubectl, idle: FakeSchedulers) -> None:
    idle.idle[kubectl.namespace] = LONG
    other = Kubectl(kubectl.kubeconfig, f"{kubectl.namespace}-b")
    kubectl("create", "namespace", other.namespace)
    try:
        for one, timeout in ((kubectl, {}), (other, {"idleTimeout": 5})):
            one.apply(cluster(idleAction="Scale", **timeout))
        for one in (kubectl, other):
            ready(one)
        asked = looks(idle, other)
        eventually("where one is set, it is asked", lambda: looks(idle, other) >= asked + 3)
        turn(kubectl)
        assert idle.asked[kubectl.namespace] == {}
        workers_become(kubectl, 2)
    finally:
        kubectl("delete", "namespace", other.namespace, "--wait=false")


def test_results_in_memory_and_silence_keep_it(kubectl: Kubectl, idle: FakeSchedulers) -> None:
    idle.idle[kubectl.namespace] = LONG
    idle.tasks[kubectl.namespace] = {"memory": 3}
    kubectl.apply(cluster(idleTimeout=3, idleAction="Scale"))
    ready(kubectl)
    asked = looks(idle, kubectl)
    eventually("it was looked at", lambda: looks(idle, kubectl) > asked + 1)
    idle.silent = True
    eventually(
        "it says that it does not know",
        lambda: (
            "nobody knows whether it is idle"
            in condition(kubectl.get("daskcluster", "demo"), "Ready")["message"]
        ),
        timeout=90,
    )
    workers_become(kubectl, 2)
    assert condition(kubectl.get("daskcluster", "demo"), "Ready")["status"] == "True"


def test_what_helm_keeps_is_parked_not_deleted(kubectl: Kubectl, idle: FakeSchedulers) -> None:
    idle.idle[kubectl.namespace] = LONG
    manifest = cluster(idleTimeout=5)
    manifest["metadata"]["labels"] = HELM
    kubectl.apply(manifest)
    found = parked(kubectl)
    assert "Helm (label app.kubernetes.io/managed-by)" in condition(found, "Idle")["message"]
    patch(kubectl, {"idleTimeout": None})
    workers_become(kubectl, 2)
    ready(kubectl)


def test_a_status_that_is_wiped_changes_nothing(
    kubectl: Kubectl, idle: FakeSchedulers, audit: Audit
) -> None:
    idle.idle[kubectl.namespace] = LONG
    kubectl.apply(cluster(idleTimeout=5, idleAction="Scale"))
    parked(kubectl)
    wipe = json.dumps({"status": None})
    kubectl("patch", "daskcluster", "demo", "--subresource=status", "--type=merge", "-p", wipe)
    parked(kubectl)
    assert len(audit.done("create", "pods", namespace=kubectl.namespace, user=USER)) == 3


# ---- the example of a nightly job


def test_the_nightly_job_may_create_its_jobs_and_nothing_else(kubectl: Kubectl, root: Path) -> None:
    """The example as it is, taken by the API server; then what its Pod does, with its rights."""
    text = (root / "values/manifests/nightly.yaml").read_text(encoding="utf-8")
    kubectl("apply", "-f", "-", stdin=text)
    config = next(m for m in yaml.safe_load_all(text) if m["kind"] == "ConfigMap")
    account = f"system:serviceaccount:{kubectl.namespace}:nightly-report"
    name = kubectl(
        "create", "--as", account, "-o", "name", "-f", "-", stdin=config["data"]["job.yaml"]
    )
    assert name.startswith("daskjob.kubernetes.dask.org/nightly-report-")
    with pytest.raises(CommandError, match="forbidden"):
        kubectl("delete", "--as", account, name.strip())
    kubectl("delete", name.strip())
