"""DaskAutoscalers on a real API server: who else writes the number, with the real tools, and with no more rights than the chart's.

The schedulers are pretended; each says that it has the work that the test names.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.manifests import cluster, group, resource
from tests.cluster.test_main_job import turn
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import JSON, Audit, Kubectl, condition, eventually, run

pytestmark = pytest.mark.usefixtures("controller")

USER = "system:serviceaccount:dask-system:dask-gitops-controller"
GPU = (("GPU", 1.0),)
SOON = {"interval": 1, "scaleDown": {"stabilizationSeconds": 4}}
LATER = {"interval": 1}  # nothing is scaled down while a test runs


def autoscaler(name: str = "demo", low: int = 1, high: int = 5, **spec: Any) -> JSON:
    return resource(
        "DaskAutoscaler", name, {"cluster": "demo", "minimum": low, "maximum": high, **spec}
    )


class Scaled:
    """The test's autoscaled cluster ``demo``."""

    def __init__(self, kubectl: Kubectl, schedulers: FakeSchedulers) -> None:
        self.kubectl, self.schedulers = kubectl, schedulers

    def tasks(self, count: int, needs: Any = ()) -> None:
        self.schedulers.work[self.kubectl.namespace][needs] = count

    def number(self, name: str = "demo-default") -> int:
        found: int = self.kubectl.get("daskworkergroup", name)["spec"]["worker"]["replicas"]
        return found

    def becomes(self, count: int, name: str = "demo-default") -> None:
        def so() -> bool:
            pods = self.kubectl.list("pods", f"dask.org/workergroup-name={name}")
            assert (self.number(name), len(pods)) == (count, count)
            return True

        eventually(f"{count} workers of {name}", so)

    @property
    def looks(self) -> int:
        """How often the autoscaler has asked what there is to do."""
        return self.schedulers.asked[self.kubectl.namespace]["call demand"]

    def looked(self, times: int) -> None:
        """Until the autoscaler has looked so many times more."""
        before = self.looks
        eventually("it looks", lambda: self.looks >= before + times)

    def stays(self, count: int, name: str = "demo-default") -> None:
        """For some looks of the autoscaler, if there is one, and some turns of the controller."""
        for _ in range(3):
            if self.kubectl.exists("daskautoscaler", "demo"):
                self.looked(2)
            turn(self.kubectl)
            assert self.number(name) == count

    def says(self, name: str = "demo", kind: str = "Ready") -> JSON:
        return condition(self.kubectl.get("daskautoscaler", name), kind)

    def steers(self, name: str = "demo") -> None:
        eventually("it steers", lambda: self.says(name).get("status") == "True")


@pytest.fixture
def it(kubectl: Kubectl, schedulers: FakeSchedulers) -> Scaled:
    return Scaled(kubectl, schedulers)


def test_up_and_down_with_one_write_each(it: Scaled, kubectl: Kubectl, audit_path: Path) -> None:
    kubectl.apply(cluster(replicas=None), autoscaler(**SOON))
    it.steers()
    it.becomes(1)
    kubectl("wait", "daskcluster/demo", "--for=condition=Ready", "--timeout=60s")
    audit = Audit.now(audit_path)
    it.tasks(4)
    it.becomes(4)
    it.tasks(0)
    it.becomes(1)
    eventually(
        "its report",
        lambda: (
            kubectl.get("daskautoscaler", "demo")["status"].items()
            >= {
                "currentReplicas": 1,
                "desiredReplicas": 1,
                "lastDecision": "nothing to do for 4 s: 4 to 1, limited by the minimum",
            }.items()
        ),
    )
    where = {"namespace": kubectl.namespace, "user": USER}
    scaled = [
        r
        for r in audit.requests("patch", "daskworkergroups", **where)
        if r["objectRef"].get("subresource") == "scale"
    ]
    assert len(scaled) == 2
    assert all(r["responseStatus"]["code"] == 200 for r in scaled)
    assert not [r for r in audit.requests(**where) if r["responseStatus"]["code"] == 403]
    assert all("fieldManager=dask-gitops-autoscaler" in r["requestURI"] for r in scaled)
    # Kubernetes notes no owner for such a write, so it is in no tool's way.
    managed = kubectl.get("daskworkergroup", "demo-default")["metadata"]["managedFields"]
    assert not [m for m in managed if "f:replicas" in json.dumps(m) and "subresource" not in m]
    events = kubectl.list("events")
    about = [e for e in events if e["involvedObject"]["kind"] == "DaskAutoscaler"]
    assert sorted(e["reason"] for e in about) == ["ScaledDown", "ScaledUp"]
    # And at rest: nothing is asked of the API server.
    it.looked(2)
    audit = Audit.now(audit_path)
    it.looked(5)
    assert audit.requests(**where) == []


def test_kubectl_scale_counts_until_the_demand_says_otherwise(it: Scaled, kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=None), autoscaler(**SOON))
    it.steers()
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=3")
    it.becomes(3)
    it.becomes(1)  # after the window
    it.tasks(4)
    it.becomes(4)
    kubectl("scale", "daskcluster", "demo", "--replicas=2")
    it.becomes(4)  # demand for more is met at the next look
    assert condition(kubectl.get("daskcluster", "demo"), "ReplicasOverridden") == {}


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_helm_upgrade_of_another_value(
    it: Scaled, kubectl: Kubectl, tmp_path: Path, helm: str
) -> None:
    """The number is not rendered, so no upgrade touches it."""
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: scaled, version: 0.1.0}")
    (chart / "templates" / "a.yaml").write_text(
        json.dumps(cluster(replicas=None)).replace('"worker": {}', '"drainTimeout": {{ .Values.drain }}, "worker": {}')
        + "\n---\n" + json.dumps(autoscaler(**LATER))
    )  # fmt: skip
    words = [helm, "--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace]
    run(*words, "upgrade", "--install", "scaled", chart, "--set", "drain=30")
    it.steers()
    it.tasks(3)
    it.becomes(3)
    run(*words, "upgrade", "scaled", chart, "--set", "drain=31")
    assert kubectl.get("daskcluster", "demo")["spec"]["drainTimeout"] == 31
    it.tasks(0)
    it.stays(3)


def test_git_applied_again_and_again(it: Scaled, kubectl: Kubectl) -> None:
    """By server-side apply with force, as Argo CD and Flux do."""
    written = [cluster(replicas=None), autoscaler(**LATER)]

    def sync() -> None:
        text = "\n---\n".join(json.dumps(m) for m in written)
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    sync()
    it.steers()
    it.tasks(3)
    it.becomes(3)
    it.tasks(0)
    sync()
    it.stays(3)
    generation = kubectl.get("daskworkergroup", "demo-default")["metadata"]["generation"]
    sync()
    it.looked(2)
    turn(kubectl)
    again = kubectl.get("daskworkergroup", "demo-default")["metadata"]["generation"]
    assert generation == again


def test_upstreams_scale(it: Scaled, kubectl: Kubectl) -> None:
    """Delete the autoscaler, then scale; of one that the cluster declares itself as well."""
    kubectl.apply(cluster(replicas=None, autoscaler={"minimum": 1, "maximum": 5, **LATER}))
    eventually("it is made", lambda: kubectl.exists("daskautoscaler", "demo"))
    it.tasks(4)
    it.becomes(4)
    kubectl("delete", "daskautoscaler", "demo")
    body = json.dumps({"spec": {"worker": {"replicas": 2}}})
    kubectl("patch", "daskworkergroup", "demo-default", "--type=merge", "-p", body)
    it.becomes(2)
    it.stays(2)
    assert not kubectl.exists("daskautoscaler", "demo")
    kubectl.apply(cluster(replicas=None, autoscaler={"minimum": 1, "maximum": 3, **LATER}))
    it.becomes(3)
    (owner,) = kubectl.get("daskautoscaler", "demo")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["blockOwnerDeletion"]) == ("DaskCluster", True)
    kubectl.apply(cluster(replicas=None))
    eventually("it is removed", lambda: not kubectl.exists("daskautoscaler", "demo"))
    it.stays(3)


@pytest.mark.expects_failed("the second autoscaler of a group")
def test_a_second_autoscaler_waits_for_the_end_of_the_first(it: Scaled, kubectl: Kubectl) -> None:
    kubectl.apply(cluster(replicas=None), autoscaler(**LATER))
    it.steers()
    time.sleep(1.1)  # an age has whole seconds
    kubectl.apply(autoscaler("second", 3, 4, **LATER))
    stalled = eventually("it says so", lambda: it.says("second", "Stalled"))
    assert stalled["reason"] == "SecondAutoscaler"
    assert it.number() == 1
    kubectl("delete", "daskautoscaler", "demo")
    it.steers("second")
    it.becomes(3)


def test_a_group_with_a_resource_from_nothing_and_back(it: Scaled, kubectl: Kubectl) -> None:
    kubectl.apply(
        cluster(replicas=1),
        group("gpu", 0, resources={"GPU": 1}),
        autoscaler("gpu", 0, 4, workerGroup="gpu", **SOON),
        autoscaler(**SOON),
    )
    it.steers("gpu")
    it.tasks(3, GPU)
    it.becomes(3, "gpu")
    assert it.number() == 1
    it.tasks(0, GPU)
    it.becomes(0, "gpu")
    assert it.number() == 1
    assert condition(kubectl.get("daskcluster", "demo"), "Ready")["status"] == "True"
