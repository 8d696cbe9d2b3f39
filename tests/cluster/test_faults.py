"""Bad input, missing rights, quotas, killed controllers, an API server that goes away: said plainly, nothing lost or doubled."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.cluster.conftest import local_kubernetes
from tests.cluster.manifests import cluster, pod_spec
from tests.cluster.test_main_job import USER, live_workers, ready, workers_become
from tests.support.controller_process import ControllerProcess, free_port, get
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kills import Kills
from tests.support.kubernetes import Audit, Kubectl, condition, eventually, may_have_taken_effect

LATCHES = 1  # the write that remembers on the scheduler pod that cluster and group were ready
pytestmark = pytest.mark.usefixtures("controller")


def said(
    kubectl: Kubectl,
    type_: str,
    kind: str = "daskworkergroup",
    name: str = "demo-default",
    timeout: float = 60,
) -> dict:
    return eventually(
        f"{type_} of {kind} {name}",
        lambda: condition(kubectl.get(kind, name), type_),
        timeout=timeout,
    )


@pytest.mark.expects_failed("a spec that is refused")
def test_a_worker_spec_that_the_api_server_refuses(kubectl: Kubectl) -> None:
    kubectl.apply(
        cluster(
            replicas=2,
            worker=pod_spec(image="x", volumeMounts=[{"name": "none", "mountPath": "/x"}]),
        )
    )
    stalled = said(kubectl, "Stalled")
    assert stalled["reason"] == "Invalid"
    assert 'volumeMounts[0].name: Not found: "none"' in stalled["message"]
    kubectl.apply(cluster(replicas=2, worker=pod_spec(image="x")))
    ready(kubectl)
    assert not condition(kubectl.get("daskworkergroup", "demo-default"), "Stalled")


@pytest.mark.expects_failed("a spec that is refused")
def test_a_scheduler_spec_that_the_api_server_refuses(kubectl: Kubectl) -> None:
    bad = {
        "spec": {
            "containers": [{"name": "scheduler", "image": "x", "ports": [{"containerPort": 99999}]}]
        }
    }
    kubectl.apply(cluster(replicas=1, scheduler=bad))
    stalled = said(kubectl, "Stalled", "daskcluster", "demo")
    assert "containerPort" in stalled["message"]
    assert kubectl.get("daskcluster", "demo")["status"]["phase"] == "Error"
    assert live_workers(kubectl) == []


def test_a_field_that_no_pod_has_is_a_warning(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(
        cluster(replicas=2, worker={"spec": {"containers": [{"name": "worker", "imige": "x"}]}})
    )
    warning = said(kubectl, "SpecWarning")
    assert 'unknown field "spec.containers[0].imige"' in warning["message"]
    ready(kubectl)
    # The first pod is created alone, so that the others carry the warning from the start.
    assert len(audit.done("patch", "pods", namespace=kubectl.namespace, user=USER)) <= 1 + LATCHES
    assert "imige" in json.dumps(kubectl.get("daskcluster", "demo")["spec"])


def test_a_quota_is_named_and_costs_few_requests(kubectl: Kubectl, audit: Audit) -> None:
    kubectl("create", "quota", "small", "--hard=pods=4")
    kubectl.apply(cluster(replicas=20))
    said_so = eventually(
        "the quota is named",
        lambda: (
            (c := condition(kubectl.get("daskworkergroup", "demo-default"), "Ready")).get("reason")
            == "QuotaExceeded"
            and c
        ),
    )
    assert "exceeded quota: small" in said_so["message"]
    workers_become(kubectl, 3)

    def counted() -> bool:
        message = condition(kubectl.get("daskworkergroup", "demo-default"), "Ready")["message"]
        assert message.startswith("3 of 20 workers ready"), message
        return "exceeded quota: small" in message

    eventually("those that fit are ready, and the quota is named beside", counted)
    refused = [
        r
        for r in audit.requests("create", "pods", namespace=kubectl.namespace)
        if r["responseStatus"]["code"] == 403
    ]
    assert 1 <= len(refused) <= 12
    kubectl("delete", "quota", "small")
    workers_become(kubectl, 20)
    ready(kubectl)


def test_missing_rights_are_named(kubectl: Kubectl, system: Kubectl) -> None:
    role = system.get("clusterrole", "dask-gitops-controller")
    for field in ("resourceVersion", "managedFields"):
        del role["metadata"][field]
    without = copy.deepcopy(role)
    for rule in without["rules"]:
        if "pods" in rule["resources"]:
            rule["verbs"].remove("create")
    system("replace", "-f", "-", stdin=json.dumps(without))
    try:
        kubectl.apply(cluster(replicas=1))
        message = eventually(
            "it is said",
            lambda: (
                (c := condition(kubectl.get("daskcluster", "demo"), "Ready")).get("reason")
                == "Forbidden"
                and c["message"]
            ),
        )
        assert 'cannot create resource "pods"' in message
    finally:
        system("replace", "-f", "-", stdin=json.dumps(role))
    ready(kubectl)


def test_killed_while_it_creates(kubectl: Kubectl, kills: Kills, audit: Audit) -> None:
    """Again and again, each time with some 20 creates under way."""
    kubectl.apply(cluster(replicas=1))
    ready(kubectl)

    def left() -> int:
        return 152 - len(audit.touched("create", "pods", namespace=kubectl.namespace))

    points = [("create pods", 20, f"killed {when}") for when in ("after", "before", "after")]
    kills.arm(kubectl.namespace, points, left)
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=151")
    kills.wait(3)
    workers_become(kubectl, 151, timeout=90)
    ready(kubectl)
    serials = [
        int(p["metadata"]["labels"]["dask.org/worker-serial"]) for p in live_workers(kubectl)
    ]
    assert len(set(serials)) == 151
    pods = {p["metadata"]["name"] for p in kubectl.list("pods")}
    assert len(pods) == 152
    # A request whose client was killed may have taken effect, or not: then its serial may be left out.
    made = [
        r["objectRef"]["name"] for r in audit.done("create", "pods", namespace=kubectl.namespace)
    ]
    assert len(set(made)) == len(made)
    assert set(made) <= pods <= audit.touched("create", "pods", namespace=kubectl.namespace)
    assert audit.requests("delete", "pods", namespace=kubectl.namespace) == []


def test_killed_while_it_retires(kubectl: Kubectl, kills: Kills, audit: Audit) -> None:
    """Once when some are marked, once when all are retired, twice when some are deleted."""
    kubectl.apply(cluster(replicas=200))
    workers_become(kubectl, 200, timeout=120)
    ready(kubectl)
    before = {p["metadata"]["name"] for p in live_workers(kubectl)}

    def left() -> int:
        return 190 - len(audit.touched("delete", "pods", namespace=kubectl.namespace))

    points = [
        ("patch pods", 20, "killed after"),
        ("call retire", 1, "killed after"),
        ("delete pods", 3, "killed before"),
        ("delete pods", 3, "killed after"),
    ]
    kills.arm(kubectl.namespace, points, left)
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=10")
    kills.wait(4)
    workers_become(kubectl, 10, timeout=90)
    stay = {p["metadata"]["name"] for p in live_workers(kubectl)}
    deleted = audit.touched("delete", "pods", namespace=kubectl.namespace)
    assert len(deleted) == 190
    assert deleted == before - stay
    assert len(audit.done("create", "pods", namespace=kubectl.namespace)) == 201


def test_the_standby_takes_over_and_a_stopped_leader_writes_nothing(
    kubectl: Kubectl, controller: ControllerProcess, tmp_path: Path, audit: Audit
) -> None:
    standby = ControllerProcess(controller.kubeconfig, tmp_path / "standby", controller.env)
    standby.start()
    try:
        kubectl.apply(cluster(replicas=1))
        ready(kubectl)
        controller.send(signal.SIGSTOP)
        kubectl("scale", "daskworkergroup", "demo-default", "--replicas=30")
        workers_become(kubectl, 30, timeout=90)
        controller.send(signal.SIGCONT)
        eventually(
            "the old leader gives up",
            lambda: controller.has_ended,
        )
        ready(kubectl)
        assert len(audit.done("create", "pods", namespace=kubectl.namespace)) == 31
    finally:
        controller.stop()
        controller.start()
        standby.stop()


def test_an_api_server_that_goes_away(
    kubectl: Kubectl, instance: str, controller: ControllerProcess, audit: Audit
) -> None:
    """For so long that the leader gives its Lease up, and ends: nothing is restarted, nothing created twice."""
    kubectl.apply(cluster(replicas=2))
    workers_become(kubectl, 2)
    ready(kubectl)
    objects = "pods,services,daskworkergroups"
    before = {o["metadata"]["uid"] for o in kubectl.list(objects)}
    assert len(before) == 3 + 1 + 1
    state = json.loads(local_kubernetes("status", "--name", instance, "--json"))
    pid = next(c["pid"] for c in state["components"] if c["component"] == "apiserver")
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually("it gives its Lease up, and ends", lambda: controller.has_ended, timeout=120)
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(
        "the API server is back", lambda: "ok" in kubectl("get", "--raw", "/readyz"), timeout=120
    )
    controller.restart_if_ended()  # as the kubelet does
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=4")
    workers_become(kubectl, 4, timeout=120)
    ready(kubectl)
    after = {o["metadata"]["uid"] for o in kubectl.list(objects)}
    assert before < after
    assert len(after) == len(before) + 2
    made = [
        (r["objectRef"]["resource"], r["objectRef"]["name"])
        for resource in objects.split(",")
        for r in audit.requests("create", resource, namespace=kubectl.namespace)
        if "subresource" not in r["objectRef"] and may_have_taken_effect(r)
    ]
    assert len(made) == len(set(made)) == len(after)
    for resource in objects.split(","):
        assert audit.requests("delete", resource, namespace=kubectl.namespace) == []
    assert kubectl.get("daskcluster", "demo")["status"]["scheduler"] == {"restarts": 0}
    statuses = [s for p in kubectl.list("pods") for s in p["status"]["containerStatuses"]]
    assert [s["restartCount"] for s in statuses] == [0] * 5


def test_without_the_crds_it_waits_and_says_so(root: Path, tmp_path: Path) -> None:
    local_kubernetes("down", "--name", "test-bare")
    kubeconfig = local_kubernetes("up", "--name", "test-bare", "--kwok-nodes", "1").splitlines()[-1]
    port = free_port()
    waiting = ControllerProcess(kubeconfig, tmp_path / "log", {"DASK_GITOPS_PORT": str(port)})
    try:
        waiting.start()
        status, text = get(f"http://127.0.0.1:{port}/readyz")
        assert status == 503
        why = r"(waiting for the first list of )?dask\w+\.kubernetes\.dask\.org"
        assert re.match(f"not served: all namespaces: {why}", text), text
        assert get(f"http://127.0.0.1:{port}/healthz")[0] == 200
        bare = Kubectl(kubeconfig)
        bare("apply", "-f", str(root / "charts/crds/crds"))
        bare("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        eventually("it begins", lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200)
        bare.apply(cluster(replicas=1))
        ready(bare)
    finally:
        waiting.stop()
        local_kubernetes("down", "--name", "test-bare")


def test_a_thousand_workers_up_and_down(
    kubectl: Kubectl, schedulers: FakeSchedulers, audit: Audit
) -> None:
    kubectl.apply(cluster(replicas=3))
    ready(kubectl)
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=1000")
    eventually(
        "1,000 ready",
        lambda: (
            kubectl.get("daskcluster", "demo")["status"]["workers"]
            == {"desired": 1000, "ready": 1000}
        ),
        timeout=180,
    )
    assert len(audit.done("create", "pods", namespace=kubectl.namespace)) == 1001
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=5")
    workers_become(kubectl, 5, timeout=180)
    assert len(audit.done("delete", "pods", namespace=kubectl.namespace, user=USER)) == 995
    kubectl("delete", "daskcluster", "demo")
    workers_become(kubectl, 0)
