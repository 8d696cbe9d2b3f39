"""What people read: conditions that wait works on, columns, describe, Events; and that nothing depends on a status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.manifests import cluster, group, pod_spec
from tests.cluster.test_main_job import USER, live_workers, ready, turn, workers_become
from tests.support.kubernetes import Audit, Kubectl, condition, eventually

JSON = dict[str, Any]
pytestmark = pytest.mark.usefixtures("controller")


def reasons(kubectl: Kubectl) -> list[str]:
    """Of the Events about custom resources, oldest first."""
    found = kubectl.list("events")
    ours = [e for e in found if e["source"].get("component") == "dask-gitops"]
    ours.sort(key=lambda e: int(e["metadata"]["resourceVersion"]))
    return [e["reason"] for e in ours]


@pytest.mark.parametrize("wiped", [None, {}, {"observedGeneration": -1, "conditions": []}])
def test_wiped_statuses_come_back_and_change_nothing_else(
    kubectl: Kubectl, audit: Audit, wiped: JSON | None
) -> None:
    kubectl.apply(cluster(replicas=2), group("demo-extra", 1))
    ready(kubectl)
    workers_become(kubectl, 3)
    ready(kubectl, "demo-extra", "daskworkergroup")
    kubectl("delete", "pod", "demo-scheduler", "--wait=false")  # its successor has its name
    objects = ("daskcluster/demo", "daskworkergroup/demo-default", "daskworkergroup/demo-extra")

    def statuses() -> list[JSON]:
        found = [kubectl.get(*name.split("/")) for name in objects]
        for one in found:
            assert condition(one, "Ready").get("status") == "True"
            for c in one["status"]["conditions"]:
                c.pop("lastTransitionTime")
        return [one["status"] for one in found]

    def counted() -> bool:
        return bool(statuses()[0]["scheduler"]["restarts"] == 1)

    eventually("all is well again", counted)
    before, pods = statuses(), {p["metadata"]["uid"] for p in kubectl.list("pods")}
    audit = Audit.now(audit.path)
    events = reasons(kubectl)
    patch = "merge" if wiped is None else "json"
    body: Any = {"status": None}
    if wiped is not None:
        body = [{"op": "replace", "path": "/status", "value": wiped}]
    for name in objects:
        kubectl("patch", name, "--subresource=status", f"--type={patch}", "-p", json.dumps(body))
    eventually("they are back", lambda: statuses() == before)
    assert {p["metadata"]["uid"] for p in kubectl.list("pods")} == pods
    assert reasons(kubectl) == events
    for verb in ("create", "delete"):
        assert audit.requests(verb, namespace=kubectl.namespace, user=USER) == []
    changed = audit.requests("patch", namespace=kubectl.namespace, user=USER)
    assert {r["objectRef"].get("subresource") for r in changed} == {"status"}


def test_wait_columns_and_describe(kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=2))
    kubectl("wait", "daskcluster/demo", "--for=condition=Ready", "--timeout=60s")
    kubectl("wait", "daskworkergroup/demo-default", "--for=condition=Ready", "--timeout=60s")
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=4")
    kubectl(
        "wait",
        "daskworkergroup/demo-default",
        "--for=jsonpath={.status.readyReplicas}=4",
        "--timeout=60s",
    )
    kubectl("wait", "daskworkergroup/demo-default", "--for=condition=Ready", "--timeout=60s")
    kubectl("wait", "daskcluster/demo", "--for=jsonpath={.status.workers.ready}=4", "--timeout=60s")
    head, row = kubectl("get", "daskcluster", "demo").splitlines()
    assert head.split() == ["NAME", "READY", "DESIRED", "STATUS", "AGE"]
    assert row.split()[:4] == ["demo", "4", "4", "ClusterReady"]
    wide = kubectl("get", "daskcluster", "demo", "-o", "wide").splitlines()
    assert wide[0].split()[5:] == ["RESTARTS", "SCHEDULER", "DASHBOARD", "MESSAGE"]
    assert "scheduler ready, 4 of 4 workers ready" in wide[1]
    head, row = kubectl("get", "daskworkergroup", "demo-default").splitlines()
    assert head.split() == ["NAME", "CLUSTER", "DESIRED", "READY", "UPDATED", "STATUS", "AGE"]
    assert row.split()[:6] == ["demo-default", "demo", "4", "4", "4", "WorkersReady"]
    text = kubectl("describe", "daskcluster", "demo")
    for words in (
        "scheduler ready, 4 of 4 workers ready",
        "SchedulerCreated",
        "tcp://demo-scheduler.",
    ):
        assert words in text
    text = kubectl("describe", "daskworkergroup", "demo-default")
    for words in ("4 of 4 workers ready", "created 2 workers, 4 wanted"):
        assert words in text


def test_one_event_per_decision_and_none_while_idle(kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    told = ["SchedulerCreated", "ScaledUp"]
    eventually("both are told", lambda: reasons(kubectl) == told)
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=5")
    workers_become(kubectl, 5)
    ready(kubectl, "demo-default", "daskworkergroup")
    told += ["ScaledUp"]
    eventually("it is told", lambda: reasons(kubectl) == told)
    kubectl(
        "wait",
        "daskworkergroup/demo-default",
        "--for=jsonpath={.status.readyReplicas}=5",
        "--timeout=60s",
    )
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=2")
    workers_become(kubectl, 2)
    told += ["ScalingDown", "ScaledDown"]
    eventually("both are told", lambda: reasons(kubectl) == told)
    kubectl(
        "wait",
        "daskworkergroup/demo-default",
        "--for=jsonpath={.status.readyReplicas}=2",
        "--timeout=60s",
    )
    victim = live_workers(kubectl)[0]["metadata"]["name"]
    kubectl("delete", "pod", victim)
    eventually("it is replaced", lambda: len(live_workers(kubectl)) == 2)
    # Which of the two depends on whether the controller saw the Pod on its way out, or only that it was gone.
    either = ([*told, "WorkersReplaced"], [*told, "ScaledUp"])
    eventually("and told", lambda: reasons(kubectl) in either)
    told = reasons(kubectl)
    kubectl("delete", "pod", "demo-scheduler", "--wait=false")  # its successor has its name
    told += ["SchedulerReplaced"]
    eventually("the scheduler too", lambda: reasons(kubectl) == told)
    ready(kubectl)
    turn(kubectl)
    assert reasons(kubectl) == told


def test_no_room_in_the_schedulers_words(kubectl: Kubectl) -> None:
    nowhere = {"spec": {"nodeSelector": {"no": "such-node"}, "containers": [{"name": "worker"}]}}
    kubectl.apply(cluster(replicas=1, worker=nowhere))
    for kind, name in (("daskworkergroup", "demo-default"), ("daskcluster", "demo")):

        def said(kind: str = kind, name: str = name) -> JSON:
            found = condition(kubectl.get(kind, name), "Ready")
            assert found.get("reason") == "Unschedulable", found
            return found

        found = eventually("it is said", said)
        assert "nodes are available" in found["message"]
        assert "node affinity/selector" in found["message"]


@pytest.mark.expects_failed("a spec that is refused")
def test_a_refused_spec_in_the_api_servers_words(kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=1, worker=pod_spec(image="x", ports=[{"containerPort": 0}])))
    for kind, name in (("daskworkergroup", "demo-default"), ("daskcluster", "demo")):
        stalled = eventually(
            "it is said", lambda k=kind, n=name: condition(kubectl.get(k, n), "Stalled")
        )
        assert stalled["reason"] == "Invalid"
        assert "containerPort" in stalled["message"]
