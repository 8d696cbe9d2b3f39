"""What ends comes back, on a real API server: deleted in every combination, evicted, failed, lost with its node."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import USER, live_workers, ready, workers_become
from tests.support.controller_process import ControllerProcess
from tests.support.kubernetes import Audit, CommandError, Kubectl, eventually

JSON = dict[str, Any]
SCHEDULER, SERVICE, GROUP, WORKER = "scheduler", "service", "group", "worker"
COMBINATIONS = [
    c for n in range(1, 5) for c in combinations((SCHEDULER, SERVICE, GROUP, WORKER), n)
]
pytestmark = pytest.mark.usefixtures("controller")


def targets(kubectl: Kubectl, parts: tuple[str, ...]) -> list[str]:
    worker = live_workers(kubectl)[0]["metadata"]["name"]
    of = {
        SCHEDULER: "pod/demo-scheduler",
        SERVICE: "service/demo-scheduler",
        GROUP: "daskworkergroup/demo-default",
        WORKER: f"pod/{worker}",
    }
    return [of[part] for part in parts]


def uid(kubectl: Kubectl, target: str) -> str | None:
    found = kubectl("get", target, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
    return found or None


def whole(kubectl: Kubectl) -> None:
    """The cluster is as it was declared, and its status says so."""
    ready(kubectl)
    workers_become(kubectl, 2)
    kubectl("wait", "daskworkergroup/demo-default", "--for=condition=Ready", "--timeout=60s")
    assert uid(kubectl, "service/demo-scheduler")


def scheduler_restarts(kubectl: Kubectl) -> JSON:
    found: JSON = kubectl.get("daskcluster", "demo")["status"]["scheduler"]
    return found


@pytest.mark.parametrize("there", [True, False], ids=["controller", "no-controller"])
def test_deleted_in_every_combination(
    kubectl: Kubectl, controller: ControllerProcess, audit: Audit, there: bool
) -> None:
    kubectl.apply(cluster(replicas=2))
    whole(kubectl)
    restarts = pods = 0
    for parts in COMBINATIONS if there else COMBINATIONS[3::4]:
        before = {target: uid(kubectl, target) for target in targets(kubectl, parts)}
        if not there:
            controller.stop()
        kubectl("delete", *before, "--wait=false")
        if not there:
            eventually(
                "they are gone",
                lambda of=before: not any(uid(kubectl, t) in of.values() for t in of),
            )
            controller.start()

        def anew(of: dict[str, str | None] = before) -> bool:
            for target, old in of.items():
                now = uid(kubectl, target)
                assert now != old, f"{target} is the old one"
                assert now or target.startswith("pod/demo-default"), f"{target} is missing"
            return True

        eventually(f"{' + '.join(parts)} back", anew)
        restarts += SCHEDULER in parts
        pods += (SCHEDULER in parts) + (WORKER in parts)
        whole(kubectl)

    def counted() -> bool:
        assert scheduler_restarts(kubectl)["restarts"] == restarts, scheduler_restarts(kubectl)
        return True

    eventually("all are counted", counted)
    assert len(audit.done("create", "pods", namespace=kubectl.namespace)) == 3 + pods
    assert audit.done("delete", "pods", namespace=kubectl.namespace, user=USER) == []


def test_a_fake_node_ends_only_what_is_being_deleted(kubectl: Kubectl) -> None:
    """It names no uid as a kubelet does: asking twice, it would end the Pod that came in place of the first."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "finalizers": ["tests/held"]},
        "spec": {"containers": [{"name": "a", "image": "a"}], "nodeName": "nowhere"},
    }
    kubectl.apply(pod)
    end = ("delete", "pod", "a", "--wait=false", "--as=kwok", "--as-group=system:masters")
    with pytest.raises(CommandError, match="nobody has asked for the end of this Pod"):
        kubectl(*end)
    assert "deletionTimestamp" not in kubectl.get("pod", "a")["metadata"]
    kubectl("delete", "pod", "a", "--wait=false")
    kubectl(*end, "--grace-period=0", "--force")
    kubectl("patch", "pod", "a", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    eventually("it is gone", lambda: not kubectl.exists("pod", "a"))


def patch_status(kubectl: Kubectl, pod: str, status: JSON) -> None:
    kubectl(
        "patch",
        "pod",
        pod,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": status}),
    )


def evicted(kubectl: Kubectl, pod: str) -> str:
    message = "The node was low on resource: memory."
    patch_status(kubectl, pod, {"phase": "Failed", "reason": "Evicted", "message": message})
    return f"Evicted: {message}"


def killed(kubectl: Kubectl, pod: str) -> str:
    (status,) = kubectl.get("pod", pod)["status"]["containerStatuses"]
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2030-01-01T00:00:00Z"}
    ended["startedAt"] = "2029-01-01T00:00:00Z"
    gone = {**status, "ready": False, "state": {"terminated": ended}}
    patch_status(kubectl, pod, {"phase": "Failed", "containerStatuses": [gone]})
    return "OOMKilled (exit code 137)"


@pytest.mark.parametrize("end", [evicted, killed])
def test_pods_that_failed_are_replaced(
    kubectl: Kubectl, end: Callable[[Kubectl, str], str]
) -> None:
    never = {"spec": {"restartPolicy": "Never", "containers": [{"name": "worker"}]}}
    kubectl.apply(cluster(replicas=2, worker=never, scheduler={"spec": {"restartPolicy": "Never"}}))
    whole(kubectl)
    worker = live_workers(kubectl)[0]["metadata"]["name"]
    old = uid(kubectl, "pod/demo-scheduler")
    words = ""
    for pod in (worker, "demo-scheduler"):
        words = end(kubectl, pod)
    eventually(
        "the scheduler is another one",
        lambda: uid(kubectl, "pod/demo-scheduler") not in (None, old),
    )
    eventually("the worker is gone", lambda: not kubectl.exists("pod", worker))
    whole(kubectl)
    said = eventually(
        "it is counted",
        lambda: scheduler_restarts(kubectl)["restarts"] and scheduler_restarts(kubectl),
    )
    assert said == {"restarts": 1, "lastRestartReason": words}


def test_a_scheduler_on_a_dead_node_does_not_block_its_cluster(
    kubectl: Kubectl, kubeconfig: str
) -> None:
    """It never confirms its end: it is removed by force a minute after its grace period."""
    node = f"dead-{kubectl.namespace}"
    place = {node: "yes"}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node, "labels": place},
            "spec": {"taints": []},
        }
    )
    try:
        pod = {
            "nodeName": node,
            "terminationGracePeriodSeconds": 3,
            "containers": [{"name": "scheduler"}],
        }
        kubectl.apply(
            cluster(replicas=1, scheduler={"spec": pod}, updateStrategy={"scheduler": "OnDelete"})
        )
        eventually("its pod is there", lambda: kubectl.exists("pod", "demo-scheduler"))
        old = uid(kubectl, "pod/demo-scheduler")
        begun = time.monotonic()
        kubectl("delete", "pod", "demo-scheduler", "--wait=false")
        pod.pop("nodeName")  # the next one goes where there is room
        kubectl.apply(cluster(replicas=1, scheduler={"spec": pod}))
        eventually(
            "it is given up",
            lambda: uid(kubectl, "pod/demo-scheduler") not in (None, old),
            timeout=150,
        )
        assert time.monotonic() - begun > 60
        ready(kubectl)
        workers_become(kubectl, 1)
        told = kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").split()
        assert told.count("SchedulerLost") == 1
    finally:
        kubectl("delete", "node", node, "--wait=false")
