"""Clusters that the real kustomize-controller and the real helm-controller of Flux keep as git says.

Their sources are Flux's own objects; ci/gitops/source.py stands in for the controller that fills them.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.gitops.tools import PATIENCE_S, Flux, Repo, Tell, pods, uids, workers_become
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import JSON, Audit, Kubectl, condition, eventually, is_ready

SOON_S = PATIENCE_S  # a failure is told within this time, although the timeout is ten minutes
REFUSED = {"podTemplate": {"spec": {"restartPolicy": "Sometimes"}}}


def manifest(name: str = "demo", replicas: int = 2, **spec: object) -> JSON:
    """A DaskCluster as somebody writes it into git."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {"worker": {"replicas": replicas, **spec}},
    }


def refused(name: str = "demo", replicas: int = 2) -> JSON:
    """One that no API server takes a pod of."""
    container = {"name": "worker"}
    return manifest(name, replicas, spec={"restartPolicy": "Sometimes", "containers": [container]})


def pod_of(env: str) -> JSON:
    """A worker's pod spec with one variable."""
    container = {"name": "worker", "image": "dask", "env": [{"name": "MODE", "value": env}]}
    return {"containers": [container]}


def test_a_kustomization_is_ready_only_after_its_cluster(
    flux: Flux, repo: Repo, kubectl: Kubectl, schedulers: FakeSchedulers, tell: Tell
) -> None:
    commit = repo.push(demo__yaml=manifest(replicas=2))
    flux.kustomization("demo")
    flux.ready("kustomization", "demo", commit)
    assert is_ready(kubectl.get("daskcluster", "demo"))
    tell("F1", "Flux: first push to Ready, 2 workers", time.monotonic() - repo.pushed)
    # Now with a cluster that cannot become ready yet: there is no room for its workers.
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "room"},
            "spec": {"hard": {"pods": "3"}},
        }
    )
    commit = repo.push(
        demo__yaml=manifest(replicas=2, spec=pod_of("b")), second__yaml=manifest("second", 1)
    )
    eventually("it is applied", lambda: kubectl.exists("daskcluster", "second"), timeout=PATIENCE_S)
    flux.ready("kustomization", "demo", status="Unknown")
    eventually(
        "it says that there is no room",
        lambda: "quota" in condition(kubectl.get("daskcluster", "second"), "Ready")["message"],
        timeout=PATIENCE_S,
    )
    kubectl("delete", "resourcequota", "room")
    start = time.monotonic()
    flux.ready("kustomization", "demo", commit)
    for name in ("demo", "second"):
        assert is_ready(kubectl.get("daskcluster", name))
    tell("F1", "Flux: room for a waiting cluster to Ready", time.monotonic() - start)


@pytest.mark.expects_failed("a spec is refused")
def test_a_refused_spec_fails_a_kustomization_soon_and_touches_no_sibling(
    flux: Flux, repo: Repo, kubectl: Kubectl, audit: Audit, tell: Tell
) -> None:
    siblings = {f"s{n:02}": manifest(f"s{n:02}", 1) for n in range(99)}
    files = {f"{name}.yaml": spec for name, spec in siblings.items()}
    commit = repo.push_files({**files, "demo.yaml": manifest()})
    flux.kustomization("demo")
    flux.ready("kustomization", "demo", commit, timeout=300)
    tell("F2", "Flux: first push of 100 clusters to Ready", time.monotonic() - repo.pushed)
    before = versions(kubectl)
    pods_before = {pod["metadata"]["uid"] for pod in kubectl.list("pods")}
    repo.push(demo__yaml=refused())
    said = flux.ready("kustomization", "demo", status="False", timeout=SOON_S)
    tell(
        "F2",
        "Flux: push of a refused spec to Failed (timeout 10 min)",
        time.monotonic() - repo.pushed,
    )
    assert said["reason"] == "HealthCheckFailed", said
    assert "demo" in said["message"], said
    commit = repo.push(demo__yaml=manifest())
    flux.ready("kustomization", "demo", commit)
    tell("F2", "Flux: push of the remedy to Ready", time.monotonic() - repo.pushed)
    assert {k: v for k, v in versions(kubectl).items() if k != "demo"} == {
        k: v for k, v in before.items() if k != "demo"
    }
    assert {pod["metadata"]["uid"] for pod in kubectl.list("pods")} == pods_before


def versions(kubectl: Kubectl) -> dict[str, tuple[int, str]]:
    """Of each cluster its generation and the version of its status."""
    return {
        c["metadata"]["name"]: (c["metadata"]["generation"], c["metadata"]["uid"])
        for c in kubectl.list("daskclusters")
    }


@pytest.mark.expects_failed("a spec is refused")
def test_a_refused_spec_fails_a_release_soon_and_the_next_values_heal_it(
    flux: Flux, kubectl: Kubectl, tell: Tell
) -> None:
    flux.release("demo", {"clusters": {"demo": {"worker": {"replicas": 2}}}})
    flux.ready("helmrelease", "demo")
    assert is_ready(kubectl.get("daskcluster", "demo"))
    before = uids(kubectl)
    start = time.monotonic()
    flux.release("demo", {"clusters": {"demo": {"worker": {"replicas": 2, **REFUSED}}}})
    said = flux.ready("helmrelease", "demo", status="False", timeout=SOON_S)
    tell("F3", "Flux: HelmRelease refused to Failed (timeout 10 min)", time.monotonic() - start)
    assert "demo" in said["message"], said
    start = time.monotonic()
    flux.release("demo", {"clusters": {"demo": {"worker": {"replicas": 3}}}})
    flux.ready("helmrelease", "demo")
    workers_become(kubectl, 3)
    tell("F3", "Flux: HelmRelease healed to Ready", time.monotonic() - start)
    assert before <= uids(kubectl)


def test_drift_detection_lets_an_autoscaler_move(
    flux: Flux, kubectl: Kubectl, schedulers: FakeSchedulers, tell: Tell
) -> None:
    limits = {"minimum": 1, "maximum": 5, "interval": 1, "scaleDown": {"stabilizationSeconds": 4}}
    values = {"clusters": {"demo": {"autoscaler": limits}}}
    flux.release("demo", values, driftDetection={"mode": "enabled"}, interval="5s")
    flux.ready("helmrelease", "demo")
    revision = history(kubectl)
    start = time.monotonic()
    for count in (4, 2, 5):
        schedulers.work[kubectl.namespace][()] = count
        workers_become(kubectl, count)
        looked_again(kubectl)
        assert len(pods(kubectl)) == count
    tell("F4", "Flux: three moves of an autoscaler under drift detection", time.monotonic() - start)
    assert history(kubectl) == revision
    drift = [
        e for e in kubectl.list("events") if e["reason"] in ("DriftDetected", "DriftCorrected")
    ]
    assert drift == []
    # It does correct what git says.
    kubectl("patch", "daskautoscaler", "demo", "--type=merge", "-p", '{"spec":{"maximum":9}}')
    eventually(
        "the drift is corrected",
        lambda: kubectl.get("daskautoscaler", "demo")["spec"]["maximum"] == 5,
        timeout=PATIENCE_S,
    )


def history(kubectl: Kubectl) -> list[int]:
    """Helm's revisions of the test's release."""
    return [h["version"] for h in kubectl.get("helmrelease", "demo")["status"]["history"]]


def looked_again(kubectl: Kubectl) -> None:
    """Flux has compared the release with the cluster once more."""
    word = str(time.time_ns())
    note = f"reconcile.fluxcd.io/requestedAt={word}"
    kubectl("annotate", "--overwrite", "helmrelease", "demo", note)
    eventually(
        "Flux has looked",
        lambda: kubectl.get("helmrelease", "demo")["status"]["lastHandledReconcileAt"] == word,
        timeout=PATIENCE_S,
    )


def test_pruning_waits_until_the_cluster_is_gone(
    flux: Flux, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    commit = repo.push(demo__yaml=manifest(replicas=3))
    flux.kustomization("demo", deletionPolicy="WaitForTermination")
    flux.ready("kustomization", "demo", commit)
    start = time.monotonic()
    kubectl("delete", "kustomization", "demo", "--timeout=240s")
    tell("F8", "Flux: Kustomization deleted, cluster gone before it", time.monotonic() - start)
    assert not kubectl.exists("daskcluster", "demo")
    eventually("no pods are left", lambda: kubectl.list("pods") == [], timeout=PATIENCE_S)


def test_what_somebody_edited_is_undone(
    flux: Flux, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    commit = repo.push(demo__yaml=manifest(replicas=2))
    flux.kustomization("demo", interval="5s")
    flux.ready("kustomization", "demo", commit)
    edit = {"spec": {"suspend": True, "worker": {"replicas": 4}}}
    start = time.monotonic()
    kubectl("patch", "daskcluster", "demo", "--type=merge", "-p", json.dumps(edit))

    def undone() -> bool:
        spec = kubectl.get("daskcluster", "demo")["spec"]
        return spec["worker"]["replicas"] == 2 and "suspend" not in spec

    eventually("the edit is undone", undone, timeout=PATIENCE_S)
    tell("F10", "Flux: kubectl edit undone (interval 5 s)", time.monotonic() - start)
    workers_become(kubectl, 2)


def test_a_tenants_identity_may_write_in_its_own_namespace_only(
    flux: Flux, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    kubectl("create", "serviceaccount", "deployer")
    kubectl("create", "role", "deployer", "--verb=*", "--resource=daskclusters.kubernetes.dask.org")
    account = f"--serviceaccount={kubectl.namespace}:deployer"
    kubectl("create", "rolebinding", "deployer", "--role=deployer", account)
    as_tenant = {"serviceAccountName": "deployer", "targetNamespace": None}
    where = {"metadata": {"name": "demo", "namespace": kubectl.namespace}}
    commit = repo.push(demo__yaml={**manifest(), **where})
    flux.kustomization("demo", **as_tenant)
    flux.ready("kustomization", "demo", commit)
    elsewhere = {**manifest(), "metadata": {"name": "demo", "namespace": "default"}}
    repo.push(other__yaml=elsewhere)
    said = flux.ready("kustomization", "demo", status="False")
    tell("F7", "Flux: push into another namespace to refused", time.monotonic() - repo.pushed)
    assert "forbidden" in said["message"], said
    assert f"system:serviceaccount:{kubectl.namespace}:deployer" in said["message"], said
    assert not Kubectl(kubectl.kubeconfig, "default").exists("daskcluster", "demo")
    assert is_ready(kubectl.get("daskcluster", "demo"))


def test_commands_survive_the_substitution_of_variables(
    flux: Flux, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    worker = {"replicas": 1, "env": {"TEAM": "${team}", "HERE": "$(POD_NAME) $(team)"}}
    release = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "demo"},
        "spec": {
            "interval": "1h",
            "chart": {
                "spec": {
                    "chart": "dask-clusters",
                    "sourceRef": {"kind": "HelmRepository", "name": "charts"},
                }
            },
            "values": {"clusters": {"demo": {"worker": worker}}},
        },
    }
    commit = repo.push(release__yaml=release)
    flux.kustomization("demo", postBuild={"substitute": {"team": "blue"}})
    flux.ready("kustomization", "demo", commit)
    tell(
        "F9", "Flux: push of a HelmRelease with variables to Ready", time.monotonic() - repo.pushed
    )
    (pod,) = pods(kubectl)
    env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    assert (env["TEAM"], env["HERE"]) == ("blue", "$(POD_NAME) $(team)")
    command = json.dumps(pod["spec"]["containers"][0])
    assert "${" not in command, "something that Flux would have replaced"
