"""Jobs whose runner's node is lost, on a real API server: a Node without a kubelet, so nobody confirms any end.

Kubernetes' own controllers evict the Pods of a node that is tainted, and collect those of a node that was removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.test_job import finish, job
from tests.cluster.test_main_job import USER
from tests.support.kubernetes import Audit, Kubectl, condition, eventually

pytestmark = pytest.mark.usefixtures("controller")
JSON = dict[str, Any]
MINUTE_S = 60  # within which an end is to be in the status


class Node:
    """A node that only this test's runners prefer."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self.kubectl, self.name = kubectl, f"{name}-{kubectl.namespace}"
        room = {"cpu": "8", "memory": "8Gi", "pods": "10"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        status = {"allocatable": room, "capacity": room, "conditions": [ready]}
        metadata = {"name": self.name, "labels": {self.name: "yes"}}
        kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        body = json.dumps({"status": status})
        kubectl("patch", "node", self.name, "--subresource=status", "--type=merge", "-p", body)

    @property
    def pod(self) -> JSON:
        """Of a runner that would rather be here."""
        here = {"key": self.name, "operator": "Exists"}
        term = {"weight": 100, "preference": {"matchExpressions": [here]}}
        prefer = {"preferredDuringSchedulingIgnoredDuringExecution": [term]}
        return {"affinity": {"nodeAffinity": prefer}, "terminationGracePeriodSeconds": 1}

    def runs(self, runner: str) -> None:
        """As its kubelet would say."""

        def placed() -> bool:
            return bool(self.kubectl.get("pod", runner)["spec"]["nodeName"] == self.name)

        eventually(f"{runner} is placed", placed)
        state = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
        containers = [
            {"name": "job", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
        ]
        conditions = [{"type": "Ready", "status": "True"}]
        status = {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{**c, "state": state} for c in containers],
        }
        words = ("--subresource=status", "--type=strategic", "-p", json.dumps({"status": status}))
        self.kubectl("patch", "pod", runner, *words)

    def remove(self) -> None:
        self.kubectl("delete", "node", self.name, "--ignore-not-found", "--wait=false")


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[Node]:
    made = Node(kubectl, "lost")
    yield made
    made.remove()


def begins(kubectl: Kubectl, node: Node, name: str, **spec: Any) -> None:
    """A job whose runner runs on the node."""
    manifest = job(pod=node.pod, **spec)
    manifest["metadata"]["name"] = name
    kubectl.apply(manifest)
    node.runs(f"{name}-runner")
    becomes(kubectl, name, "Running")


def becomes(kubectl: Kubectl, name: str, word: str) -> JSON:
    """Wait for this jobStatus of a job; its status."""

    def so() -> JSON:
        said: JSON = kubectl.get("daskjob", name).get("status") or {}
        assert said.get("jobStatus") == word, said
        return said

    return eventually(f"{name} is {word}", so, timeout=180)


def why(kubectl: Kubectl, name: str) -> str:
    reason: str = condition(kubectl.get("daskjob", name), "Failed")["reason"]
    return reason


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.expects_failed("the node is lost")
def test_nobody_confirms_the_end(kubectl: Kubectl, audit: Audit, node: Node) -> None:
    begins(kubectl, node, "stuck", backoffLimit=1)
    begins(kubectl, node, "forced", backoffLimit=1, forceDeleteLostRunner=True)
    kubectl("taint", "node", node.name, "gone=yes:NoExecute")

    def leaves() -> float:
        return seconds(kubectl.get("pod", "stuck-runner")["metadata"]["deletionTimestamp"])

    leaving = eventually("it is evicted", leaves)
    # Nobody has said that it may run twice: its Pod is left to whoever knows.
    said = becomes(kubectl, "stuck", "Failed")
    assert why(kubectl, "stuck") == "NodeLost"
    assert said["attempts"] == 1
    assert seconds(said["endTime"]) - leaving <= MINUTE_S
    assert kubectl.exists("pod", "stuck-runner")
    finish(kubectl, "forced-runner-2")
    assert becomes(kubectl, "forced", "Successful")["attempts"] == 2
    where = {"namespace": kubectl.namespace, "user": USER}
    deleted = [d["objectRef"]["name"] for d in audit.done("delete", "pods", **where)]
    assert [name for name in deleted if "runner" in name] == ["forced-runner"]
    eventually("no cluster is left", lambda: not kubectl.list("daskclusters"))


@pytest.mark.soak
@pytest.mark.expects_failed("the node is lost")
def test_the_node_is_removed(kubectl: Kubectl, node: Node) -> None:
    """Kubernetes waits for a minute, then says what it does."""
    begins(kubectl, node, "removed")
    node.remove()
    becomes(kubectl, "removed", "Failed")
    assert why(kubectl, "removed") == "DeletionByPodGC"
    eventually("no cluster is left", lambda: not kubectl.list("daskclusters"))
