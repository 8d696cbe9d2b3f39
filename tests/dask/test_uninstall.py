"""The end: the chart is taken away that all others use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dask.support import (
    CONTROLLER_LABEL,
    CONTROLLER_USER,
    RELEASE,
    NewCluster,
    workers,
)
from tests.support.kubernetes import Audit, Kubectl, eventually, run

pytestmark = pytest.mark.ends_the_lane

EVERYTHING = (
    "pods,services,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,"
    "deployments,replicasets,poddisruptionbudgets,daskclusters,daskworkergroups,daskautoscalers,daskjobs"
)
KUBERNETES_OWN = ("configmap/kube-root-ca.crt", "serviceaccount/default")


def left(kubectl: Kubectl) -> list[str]:
    """What is in a namespace, except Kubernetes' own and Events."""
    names = kubectl("get", EVERYTHING, "-o", "name").split()
    return [name for name in names if name not in KUBERNETES_OWN]


def gone(kubectl: Kubectl) -> bool:
    found = left(kubectl)
    assert not found, f"still there: {' '.join(found)}"
    return True


def test_deleted_cluster_leaves_nothing(
    cluster: NewCluster, kubectl: Kubectl, system: Kubectl
) -> None:
    """Garbage collection alone does it: the controller is away."""
    cluster(
        {"worker": workers(1), "workerGroups": [{"name": "more", "worker": workers(1)}]}
    ).wait_ready()
    system("scale", "deployment", f"{RELEASE}-controller", "--replicas=0")
    eventually(
        "the controller is away", lambda: not system.list("pods", CONTROLLER_LABEL), timeout=60
    )
    kubectl("delete", "daskcluster", "c", "--wait=false")
    eventually("nothing is left of the cluster", lambda: gone(kubectl), timeout=90)
    system("scale", "deployment", f"{RELEASE}-controller", "--replicas=1")
    system("rollout", "status", f"deployment/{RELEASE}-controller", "--timeout=90s")


def test_nothing_was_forbidden(system: Kubectl, whole_audit: Audit) -> None:
    """The rights that the chart gives are enough for all that the tests before this one made it do."""
    requests = whole_audit.requests(user=CONTROLLER_USER)
    assert requests, "the controller did nothing so far"
    refused = [
        f"{request['verb']} {request['requestURI']}: {request['responseStatus'].get('message')}"
        for request in requests
        if request["responseStatus"]["code"] in (401, 403)
    ]
    log = system("logs", "-l", CONTROLLER_LABEL, "--tail=-1").splitlines()
    refused += [line for line in log if "forbidden" in line.lower()]
    # A namespace that a test leaves, and one that is full, refuse things whatever one's rights.
    others = ("being terminated", "exceeded quota")
    assert [line for line in refused if not any(words in line for words in others)] == []
    assert not any("Traceback" in line for line in log), log


def test_uninstalled_release_leaves_the_crds_only(
    cluster: NewCluster, kubectl: Kubectl, system: Kubectl, root: Path
) -> None:
    """Also the Lease goes, which the controller made at run time."""
    assert system.exists("lease", f"{RELEASE}-controller")
    flags = ("--kubeconfig", system.kubeconfig, "-n", system.namespace)
    run("helm", *flags, "uninstall", RELEASE)
    eventually("nothing is left in the release's namespace", lambda: gone(system), timeout=120)
    mine = ("-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name")
    assert system("get", "clusterroles,clusterrolebindings", *mine).split() == []
    crds = [
        n for n in system("get", "crds", "-o", "name").split() if n.endswith(".kubernetes.dask.org")
    ]
    assert len(crds) == 4
    # With nobody there to serve it, a cluster can be made and deleted all the same.
    cluster({})
    kubectl("delete", "daskcluster", "c", "--timeout=30s")
    eventually("nothing is left of the cluster", lambda: gone(kubectl), timeout=30)
