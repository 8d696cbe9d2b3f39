"""Clusters that are suspended and released again, on a real API server with pretended pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.manifests import cluster, group
from tests.cluster.test_main_job import USER, ready, workers_become
from tests.support.controller_process import ControllerProcess
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kstatus import CURRENT, compute
from tests.support.kubernetes import Audit, Kubectl, condition, eventually

JSON = dict[str, Any]
pytestmark = pytest.mark.usefixtures("controller", "schedulers")


@pytest.fixture
def replicas_are_nobodys(kubectl: Kubectl, audit: Audit) -> Iterator[None]:
    """No number of workers is ever written."""
    yield
    writes = audit.requests("patch", "daskworkergroups", namespace=kubectl.namespace, user=USER)
    assert [w for w in writes if w["objectRef"].get("subresource") == "scale"] == []


def suspend(kubectl: Kubectl, value: bool = True) -> None:
    body = json.dumps({"spec": {"suspend": value}})
    kubectl("patch", "daskcluster", "demo", "--type=merge", "-p", body)


def rests(kubectl: Kubectl) -> JSON:
    kubectl("wait", "daskcluster/demo", "--for=condition=Suspended", "--timeout=90s")
    eventually("no pods are left", lambda: not kubectl.list("pods"))

    def told() -> JSON:
        found = kubectl.get("daskcluster", "demo")
        assert compute(found).status == CURRENT
        assert condition(found, "Ready")["reason"] == "Suspended"
        assert found["status"]["phase"] == "Suspended"
        assert found["status"]["workers"] == {"desired": 0, "ready": 0}
        return found

    return eventually("the status says all of it", told)


@pytest.mark.usefixtures("replicas_are_nobodys")
def test_suspended_and_resumed(kubectl: Kubectl, audit: Audit, schedulers: FakeSchedulers) -> None:
    inline = [{"name": "big", "worker": {"replicas": 1}}]
    kubectl.apply(cluster(replicas=3, workerGroups=inline), group("more", 2))
    ready(kubectl)
    ready(kubectl, "more", "daskworkergroup")
    first = {p["metadata"]["name"] for p in kubectl.list("pods")}
    suspend(kubectl)
    rests(kubectl)
    for name in ("demo-default", "demo-big", "more"):
        eventually(
            f"{name} rests",
            lambda name=name: condition(kubectl.get("daskworkergroup", name), "Suspended"),
        )
        assert compute(kubectl.get("daskworkergroup", name)).status == CURRENT
    numbers = {
        g["metadata"]["name"]: g["spec"]["worker"]["replicas"]
        for g in kubectl.list("daskworkergroups")
    }
    assert numbers == {"demo-default": 3, "demo-big": 1, "more": 2}
    assert kubectl.exists("service", "demo-scheduler")
    columns = kubectl("get", "daskcluster", "demo").splitlines()[1].split()
    assert columns[:4] == ["demo", "0", "0", "Suspended"]
    # All were told to leave before they went, none twice, and the scheduler was the last.
    deletes = audit.done("delete", "pods", namespace=kubectl.namespace, user=USER)
    names = [d["objectRef"]["name"] for d in deletes]
    assert set(names) == first
    assert len(names) == len(first)
    assert names[-1] == "demo-scheduler"
    suspend(kubectl, False)
    ready(kubectl)
    workers_become(kubectl, 6)
    found = kubectl.get("daskcluster", "demo")
    assert condition(found, "Suspended") == {}
    assert found["status"]["scheduler"] == {"restarts": 0}
    assert first & {p["metadata"]["name"] for p in kubectl.list("pods")} == {"demo-scheduler"}


@pytest.mark.usefixtures("replicas_are_nobodys")
def test_created_suspended_and_released(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(cluster(replicas=2, suspend=True))
    rests(kubectl)
    made = {"namespace": kubectl.namespace, "user": USER}
    for kind in ("pods", "services", "daskworkergroups"):
        assert audit.done("create", kind, **made) == []
    suspend(kubectl, False)
    ready(kubectl)
    workers_become(kubectl, 2)
    assert len(audit.done("create", "pods", **made)) == 3


def test_changes_meanwhile_hold_from_then_on(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(cluster(replicas=2, image="a:1"))
    ready(kubectl)
    suspend(kubectl)
    rests(kubectl)
    kubectl.apply(cluster(replicas=1, image="a:2", suspend=True))
    eventually(
        "the number is copied",
        lambda: kubectl.get("daskworkergroup", "demo-default")["spec"]["worker"]["replicas"] == 1,
    )
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=3")
    rests(kubectl)
    suspend(kubectl, False)
    ready(kubectl)
    pods = [*workers_become(kubectl, 3), kubectl.get("pod", "demo-scheduler")]
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"a:2"}


def test_a_controller_that_is_killed_and_a_status_that_is_wiped(
    kubectl: Kubectl, controller: ControllerProcess, audit: Audit
) -> None:
    kubectl.apply(cluster(replicas=3))
    ready(kubectl)
    suspend(kubectl)
    eventually(
        "a worker goes",
        lambda: audit.touched("delete", "pods", namespace=kubectl.namespace, user=USER),
    )
    controller.kill()
    wipe = json.dumps({"status": None})
    for kind, name in (("daskcluster", "demo"), ("daskworkergroup", "demo-default")):
        kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", wipe)
    controller.start()
    rests(kubectl)
    creates = audit.done("create", "pods", namespace=kubectl.namespace, user=USER)
    assert len(creates) == 4
    suspend(kubectl, False)
    ready(kubectl)
    workers_become(kubectl, 3)
