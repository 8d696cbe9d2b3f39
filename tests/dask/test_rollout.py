"""A changed spec on the real node, while results are held and tasks run."""

from __future__ import annotations

import json
from typing import Any

from tests.dask.support import Cluster, NewCluster, pod_ready, workers
from tests.support.kubernetes import Audit, Kubectl, condition, eventually

JSON = dict[str, Any]


def with_env(spec: JSON, value: str) -> JSON:
    """The same worker with an environment variable."""
    (container,) = spec["spec"]["containers"]
    return {"containers": [{**container, "env": [{"name": "FLAVOUR", "value": value}]}]}


def flavours(it: Cluster) -> list[str]:
    """The variable, as the workers' pods have it."""
    env = [pod["spec"]["containers"][0]["env"] for pod in it.pods().values()]
    return sorted(next((e["value"] for e in some if e["name"] == "FLAVOUR"), "") for some in env)


def patch(kubectl: Kubectl, spec: JSON) -> None:
    kubectl("patch", "daskcluster", "c", "--type=merge", "-p", json.dumps({"spec": spec}))


def test_changed_workers_are_replaced_under_load(cluster: NewCluster, kubectl: Kubectl) -> None:
    worker = workers(3)
    it = cluster({"worker": worker, "updateStrategy": {"maxSurge": 1}}).wait_ready()
    old = it.wait_pods(3)
    scheduler = it.scheduler()
    assert scheduler is not None
    it.connect(3)
    before = it.inside("hold(30, 10)")
    assert it.inside("run_gated(3)") == 3
    since = Audit.now(it.audit.path)
    patch(kubectl, {"worker": {"spec": with_env(worker, "new")}})

    def under_way() -> bool:
        ready = condition(it.get(), "Ready")
        return "of 3 updated" in ready["message"] and len(it.retiring()) == 1

    eventually("the first old worker is drained", under_way)
    assert it.deletes(since) == [], "deleted before its task ended"
    it.inside("open_gate()")
    eventually("all run the new spec", lambda: flavours(it) == ["new"] * 3, timeout=120)
    it.wait_ready()
    new = it.wait_pods(3)
    assert not old.keys() & new.keys()
    it.wait_workers(3)
    assert it.inside("hashes()") == before
    assert sum(it.inside("spread()")) == 40
    assert it.inside("results()") == [0, 1, 2]
    assert it.inside("starts()") == {"0": 1, "1": 1, "2": 1}
    assert len(it.inside("removed()")) == 3
    assert it.lost() == []
    assert it.deletes(since) == sorted(old)
    assert it.creates(since) == 3
    now = it.scheduler()
    assert now is not None
    assert now["metadata"]["uid"] == scheduler["metadata"]["uid"]


def test_a_changed_scheduler_waits_for_idle(cluster: NewCluster, kubectl: Kubectl) -> None:
    it = cluster({"worker": workers(1)}).wait_ready()
    it.connect(1)
    before = it.inside("hold(3, 1)")
    old = it.scheduler()
    assert old is not None
    spec = {"containers": [{"name": "scheduler", "env": [{"name": "FLAVOUR", "value": "new"}]}]}
    patch(kubectl, {"scheduler": {"spec": spec}})

    def waits() -> bool:
        pending = condition(it.get(), "UpdatePending")
        assert pending["message"].endswith("now results are in memory"), pending
        return bool(condition(it.get(), "Ready")["status"] == "True")

    eventually("it says what it waits for", waits)
    assert it.inside("hashes()") == before
    it.inside("let_go()")

    def renewed() -> bool:
        pod = it.scheduler()
        return (
            pod is not None and pod["metadata"]["uid"] != old["metadata"]["uid"] and pod_ready(pod)
        )

    eventually("it is replaced", renewed, timeout=90)
    eventually("it waits no more", lambda: not condition(it.get(), "UpdatePending"))
    it.wait_ready()
    it.connect(1)
    assert it.computes()
