"""The controller is updated while clusters scale: nothing is lost, nothing is made twice, with one replica and with two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.dask.support import CONTROLLER, CONTROLLER_LABEL, CONTROLLER_USER, NewCluster, workers
from tests.support.kubernetes import Audit, Kubectl, eventually, may_have_taken_effect


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


def changes(since: Audit, namespace: str) -> dict[str, list[str]]:
    """Name -> what the controller did to the pods of that name, oldest first: "create", "delete".

    A new leader does not know how far the earlier one had counted, so it may use the name of a pod that is gone. What an
    ending leader heard no answer of (504) has taken effect, unless the next one has to do it; deleting what is on its way
    out changes nothing.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    unheard: set[str] = set()
    for r in since.requests(resource="pods", namespace=namespace, user=CONTROLLER_USER):
        verb, code, name = r["verb"], r["responseStatus"]["code"], r["objectRef"].get("name", "")
        if verb not in ("create", "delete") or "subresource" in r["objectRef"]:
            continue
        if not name or not may_have_taken_effect(r):
            continue
        again = found[name][-1:] == [verb]
        if not (again and (verb == "delete" or name in unheard)):
            found[name].append(verb)
        (unheard.add if code == 504 else unheard.discard)(name)
    return found


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
    eventually("one of them scales", lambda: it.creates(since) >= 1, timeout=120)
    it.scale(3)
    eventually("another leads", lambda: holder(deployment) not in ("", old), timeout=120)
    it.scale(4)
    rolled_out(deployment)
    stay = it.wait_pods(4, timeout=180)
    deployment("rollout", "restart", f"deployment/{CONTROLLER}")
    leaving = Audit.now(it.audit.path)
    it.scale(2)
    eventually("one of them scales", lambda: it.retiring() or it.deletes(leaving), timeout=120)
    rolled_out(deployment)
    left = it.wait_pods(2, timeout=180)
    it.wait_workers(2)
    assert it.inside("hashes()") == before
    assert sum(it.inside("spread()")) == 50
    assert it.lost() == []
    done = changes(since, kubectl.namespace)
    for name, verbs in done.items():
        assert all(a != b for a, b in pairwise(verbs)), f"{name} made twice: {verbs}"
    made, gone = (sum(verbs.count(v) for verbs in done.values()) for v in ("create", "delete"))
    # Two at first; every pod that was made is there, or was deleted once.
    assert 2 + made - gone == len(left) == 2
    assert all("delete" in done[name] for name in set(stay) - set(left))
    ready = deployment.get("deployment", CONTROLLER)["status"]
    assert ready["readyReplicas"] == ready["updatedReplicas"] == replicas
