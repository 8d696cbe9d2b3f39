"""The controller is updated while clusters scale: nothing is lost, nothing is made twice, with one replica and with two."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.dask.support import CONTROLLER, CONTROLLER_LABEL, CONTROLLER_USER, NewCluster, workers
from tests.support.kubernetes import Audit, Kubectl, eventually


@pytest.fixture
def deployment(system: Kubectl) -> Iterator[Kubectl]:
    yield system
    system("scale", "deployment", CONTROLLER, "--replicas=1")
    rolled_out(system)


def rolled_out(system: Kubectl) -> None:
    system("rollout", "status", f"deployment/{CONTROLLER}", "--timeout=180s")

    def settled() -> bool:
        return all(
            "deletionTimestamp" not in p["metadata"] for p in system.list("pods", CONTROLLER_LABEL)
        )

    eventually("the old pods are gone", settled, timeout=60)


def holder(system: Kubectl) -> str:
    return str(system.get("lease", CONTROLLER)["spec"].get("holderIdentity", ""))


@pytest.mark.parametrize("replicas", [1, 2])
def test_updated_while_a_cluster_scales(
    cluster: NewCluster, kubectl: Kubectl, deployment: Kubectl, replicas: int
) -> None:
    deployment("scale", "deployment", CONTROLLER, f"--replicas={replicas}")
    rolled_out(deployment)
    it = cluster({"worker": workers(2)}).wait_ready()
    it.connect(2)
    before = it.inside("hold(40, 10)")
    since = Audit.now(it.audit.path)
    old = holder(deployment)
    assert old
    deployment("rollout", "restart", f"deployment/{CONTROLLER}")
    it.scale(4)  # while the new pod starts, and the old one leads
    time.sleep(3)
    it.scale(3)
    eventually("another leads", lambda: holder(deployment) not in ("", old), timeout=120)
    it.scale(4)
    rolled_out(deployment)
    stay = it.wait_pods(4, timeout=180)
    deployment("rollout", "restart", f"deployment/{CONTROLLER}")
    it.scale(2)
    time.sleep(2)
    rolled_out(deployment)
    left = it.wait_pods(2, timeout=180)
    it.wait_workers(2)
    assert it.inside("hashes()") == before
    assert sum(it.inside("spread()")) == 50
    assert it.lost() == []
    where = {"namespace": kubectl.namespace, "user": CONTROLLER_USER}
    made = [r["objectRef"]["name"] for r in since.done("create", "pods", **where)]
    gone = [r["objectRef"]["name"] for r in since.done("delete", "pods", **where)]
    assert len(made) == len(set(made)), "made twice"
    assert len(gone) == len(set(gone)), "deleted twice"
    # Two at first; every pod that was made is there, or was deleted once.
    assert 2 + len(made) - len(gone) == len(left) == 2
    assert set(stay) - set(left) <= set(gone)
    ready = deployment.get("deployment", CONTROLLER)["status"]
    assert ready["readyReplicas"] == ready["updatedReplicas"] == replicas
