"""Changed specs on the real API server, with pretended pods."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.manifests import cluster, pod_spec
from tests.cluster.test_main_job import USER, live_workers, ready, workers_become
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Audit, Kubectl, condition, eventually

JSON = dict[str, Any]
pytestmark = pytest.mark.usefixtures("controller", "schedulers")


def images(kubectl: Kubectl) -> set[str]:
    return {p["spec"]["containers"][0]["image"] for p in live_workers(kubectl)}


def scheduler_uid(kubectl: Kubectl) -> str:
    return str(kubectl.get("pod", "demo-scheduler")["metadata"]["uid"])


def uids(kubectl: Kubectl) -> set[str]:
    return {p["metadata"]["uid"] for p in kubectl.list("pods")}


def patch(kubectl: Kubectl, spec: JSON, **metadata: Any) -> None:
    body = json.dumps({"spec": spec, **({"metadata": metadata} if metadata else {})})
    kubectl("patch", "daskcluster", "demo", "--type=merge", "-p", body)


def test_workers_are_replaced_exactly_once(
    kubectl: Kubectl, audit: Audit, schedulers: FakeSchedulers
) -> None:
    kubectl.apply(cluster(replicas=8, worker=pod_spec(image="a"), updateStrategy={"maxSurge": 2}))
    ready(kubectl)
    before = {p["metadata"]["name"] for p in live_workers(kubectl)}
    old_uids = {p["metadata"]["uid"] for p in live_workers(kubectl)}
    old_scheduler = scheduler_uid(kubectl)
    patch(kubectl, {"worker": pod_spec(image="b")})
    eventually("all run the new image", lambda: images(kubectl) == {"b"}, timeout=90)
    ready(kubectl)
    workers_become(kubectl, 8)
    ready(kubectl, "demo-default", "daskworkergroup")
    assert kubectl.get("daskworkergroup", "demo-default")["status"]["updatedReplicas"] == 8
    assert scheduler_uid(kubectl) == old_scheduler
    assert audit.touched("delete", "pods", namespace=kubectl.namespace, user=USER) == before
    assert len(audit.done("create", "pods", namespace=kubectl.namespace, user=USER)) == 17
    gone = {
        r["objectRef"]["name"] for r in audit.done("delete", "pods", namespace=kubectl.namespace)
    }
    assert gone == before
    assert schedulers.retired[old_scheduler] == old_uids, (
        "pods went without a word to the scheduler"
    )


def test_what_means_the_same_and_metadata_replace_nothing(kubectl: Kubectl) -> None:
    limits = {"limits": {"cpu": "1000m", "memory": "1Gi"}}
    spec = cluster(replicas=2, worker=pod_spec(image="a", resources=limits))
    kubectl.apply(spec)
    ready(kubectl)
    before = uids(kubectl)
    same = {"limits": {"cpu": 1, "memory": "1.0Gi"}, "requests": {}}
    spec["spec"]["worker"].update(pod_spec(image="a", resources=same))
    spec["metadata"]["labels"] = {"team": "a", "argocd.argoproj.io/instance": "app"}
    spec["metadata"]["annotations"] = {"note": "words"}
    kubectl.apply(spec)

    def labelled() -> bool:
        pods = kubectl.list("pods", "team=a")
        assert len(pods) == 3
        assert all(p["metadata"]["annotations"]["note"] == "words" for p in pods)
        return not any("argocd.argoproj.io/instance" in p["metadata"]["labels"] for p in pods)

    eventually("the labels are on the live pods", labelled)
    del spec["metadata"]["labels"]["team"]
    kubectl.apply(spec)
    eventually("the label is gone", lambda: not kubectl.list("pods", "team=a"))
    ready(kubectl)
    assert uids(kubectl) == before


def test_a_bad_image_stops_it_and_the_next_goes_on(kubectl: Kubectl) -> None:
    """Pretended pods pull everything, so the bad one asks for a node that is not there."""
    kubectl.apply(cluster(replicas=4, worker=pod_spec(image="a"), updateStrategy={"maxSurge": 1}))
    ready(kubectl)
    before = {p["metadata"]["name"] for p in live_workers(kubectl)}
    bad = pod_spec(image="bad")
    bad["spec"]["nodeSelector"] = {"no": "where"}
    patch(kubectl, {"worker": bad})
    said = eventually(
        "it says why",
        lambda: (
            (c := condition(kubectl.get("daskworkergroup", "demo-default"), "Ready"))["reason"]
            == "Unschedulable"
            and c
        ),
    )
    assert said["message"].startswith("4 of 4 workers ready, 1 of 4 updated; ")
    now = {p["metadata"]["name"] for p in live_workers(kubectl)}
    assert before < now
    assert len(now) == 5
    good = pod_spec(image="good")
    good["spec"]["nodeSelector"] = None
    patch(kubectl, {"worker": good})
    eventually("all run the good one", lambda: images(kubectl) == {"good"}, timeout=90)
    ready(kubectl)
    workers_become(kubectl, 4)


@pytest.mark.expects_failed("a spec that is refused")
def test_a_refused_scheduler_spec_leaves_the_old_one(kubectl: Kubectl, audit: Audit) -> None:
    kubectl.apply(cluster(replicas=1))
    ready(kubectl)
    old = scheduler_uid(kubectl)
    bad = {"containers": [{"name": "scheduler", "ports": [{"containerPort": 99999}]}]}
    patch(kubectl, {"scheduler": {"spec": bad}})
    stalled = eventually(
        "it says so", lambda: condition(kubectl.get("daskcluster", "demo"), "Stalled")
    )
    assert "containerPort" in stalled["message"]
    assert scheduler_uid(kubectl) == old
    assert audit.done("delete", "pods", namespace=kubectl.namespace) == []
    patch(kubectl, {"scheduler": {"spec": None}})
    ready(kubectl)
    assert scheduler_uid(kubectl) == old


def test_the_image_of_both_and_a_restart(kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=2, image="a:1"))
    ready(kubectl)
    old = uids(kubectl)
    patch(kubectl, {"image": "a:2", "updateStrategy": {"scheduler": "OnDelete"}})
    pending = eventually(
        "the workers wait",
        lambda: condition(kubectl.get("daskworkergroup", "demo-default"), "UpdatePending"),
    )
    assert pending["reason"] == "WaitsForScheduler"
    ready(kubectl)
    assert uids(kubectl) == old
    kubectl("delete", "pod", "demo-scheduler", "--wait=false")
    eventually("all run the new image", lambda: images(kubectl) == {"a:2"}, timeout=90)
    ready(kubectl)
    second = uids(kubectl)
    assert not old & second
    patch(kubectl, {"restartedAt": "2020-01-01T00:00:00Z"})  # long before the pods were made
    patch(kubectl, {"updateStrategy": None})
    ready(kubectl)
    assert uids(kubectl) == second
    patch(kubectl, {"restartedAt": "2099-01-01T00:00:00Z"})
    eventually("all are new", lambda: not second & uids(kubectl), timeout=120)
    ready(kubectl)
    workers_become(kubectl, 2)
