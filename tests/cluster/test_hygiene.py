"""What the controller never does: copy tools' metadata, adopt, widen a selector, need more rights than the chart gives.

The API server of this tier runs OwnerReferencesPermissionEnforcement, so every other test shows that its objects are accepted.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import ACCOUNT, SYSTEM
from tests.cluster.manifests import cluster, group, resource
from tests.support.kubernetes import JSON, CommandError, Kubectl, eventually, run

pytestmark = pytest.mark.usefixtures("controller")

# What Argo CD, Flux, Helm, kubectl, Kustomize, Rancher, kapp and kopf write on the objects that they apply.
OF_TOOLS = {
    "labels": {
        "app.kubernetes.io/instance": "app",
        "app.kubernetes.io/managed-by": "Helm",
        "argocd.argoproj.io/instance": "app",
        "helm.sh/chart": "dask-1",
        "helm.toolkit.fluxcd.io/name": "dask",
        "helm.toolkit.fluxcd.io/namespace": "flux-system",
        "kustomize.toolkit.fluxcd.io/name": "dask",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        "kapp.k14s.io/app": "1",
        "objectset.rio.cattle.io/hash": "1",
    },
    "annotations": {
        "argocd.argoproj.io/tracking-id": "app:kubernetes.dask.org/DaskCluster:ns/demo",
        "argocd.argoproj.io/sync-wave": "1",
        "argocd.argoproj.io/sync-options": "Prune=confirm",
        "helm.sh/hook": "post-install",
        "helm.sh/resource-policy": "keep",
        "meta.helm.sh/release-name": "dask",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "kubectl.kubernetes.io/restartedAt": "2030-01-01T00:00:00Z",
        "kapp.k14s.io/identity": "v1",
        "objectset.rio.cattle.io/id": "x",
        "kopf.zalando.org/last-handled-configuration": "{}",
        "kopf.dev/progress": "{}",
        "kubectl.kubernetes.io": "a domain without a name",
    },
}
OF_THE_USER = {
    "labels": {"team": "climate", "example.com/cost-centre": "7"},
    "annotations": {"example.com/contact": "me@example.com"},
}
BOTH = {field: {**OF_TOOLS[field], **OF_THE_USER[field]} for field in OF_TOOLS}


def apply(kubectl: Kubectl, *manifests: JSON) -> None:
    """Server-side, which leaves kubectl's own annotation as the test wrote it."""
    words = ["apply", "--server-side", "-f", "-"]
    kubectl(*words, stdin=yaml.safe_dump_all(manifests))


def created(kubectl: Kubectl) -> list[JSON]:
    """Everything that the controller made in this namespace."""
    things = [*kubectl.list("pods"), *kubectl.list("services"), *kubectl.list("daskworkergroups")]
    return [t for t in things if "ownerReferences" in t["metadata"]]


def served(kubectl: Kubectl, *extra: JSON, **metadata: Any) -> list[JSON]:
    of = cluster(replicas=1)
    of["metadata"] |= metadata
    apply(kubectl, of, *extra)
    kubectl("wait", "daskcluster/demo", "--for=condition=Ready", "--timeout=60s")
    return created(kubectl)


def test_metadata_of_tools_is_copied_nowhere_and_the_users_everywhere(kubectl: Kubectl) -> None:
    more = group("demo-more", 1)
    more["metadata"] |= BOTH
    things = served(kubectl, more, **BOTH)
    kinds = sorted(t["kind"] for t in things)
    assert kinds == ["DaskWorkerGroup", "Pod", "Pod", "Pod", "Service"]
    for thing in things:
        metadata = thing["metadata"]
        for field in ("labels", "annotations"):
            assert not set(metadata[field]) & set(OF_TOOLS[field]), metadata["name"]
            assert metadata[field].items() >= OF_THE_USER[field].items(), metadata["name"]


def test_what_the_user_says_for_the_pods_is_theirs_whatever_it_is(kubectl: Kubectl) -> None:
    mesh = {"sidecar.istio.io/inject": "true", "app.kubernetes.io/name": "mine"}
    evict = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
    own = {"metadata": {"labels": mesh, "annotations": evict}}
    kubectl.apply(cluster(replicas=1, worker=own, scheduler=own))
    kubectl("wait", "daskcluster/demo", "--for=condition=Ready", "--timeout=60s")
    pods = kubectl.list("pods")
    assert len(pods) == 2
    for pod in pods:
        assert pod["metadata"]["labels"].items() >= mesh.items()
        assert pod["metadata"]["annotations"].items() >= evict.items()


def test_selectors_hold_our_keys_only(kubectl: Kubectl) -> None:
    kubectl.apply(resource("DaskCluster", "demo", {}, labels=OF_THE_USER["labels"]))
    service = eventually(
        "the Service",
        lambda: (
            kubectl.exists("service", "demo-scheduler") and kubectl.get("service", "demo-scheduler")
        ),
    )
    assert service["spec"]["selector"] == {
        "dask.org/cluster-name": "demo",
        "dask.org/component": "scheduler",
    }

    def selectors() -> list[str]:
        things = [
            kubectl.get("daskcluster", "demo"),
            kubectl.get("daskworkergroup", "demo-default"),
        ]
        return [t["status"]["selector"] for t in things if t["status"].get("selector")]

    found = eventually("both selectors", lambda: selectors() if len(selectors()) == 2 else None)
    for text in found:
        assert {pair.split("=")[0] for pair in text.split(",")} == {
            "dask.org/cluster-name",
            "dask.org/component",
            "dask.org/workergroup-name",
        }


def test_what_is_declared_is_never_adopted_nor_written(kubectl: Kubectl) -> None:
    """With an owner, Argo CD would never prune it; a changed field would be drift."""
    autoscaler = resource("DaskAutoscaler", "demo", {"cluster": "demo", "minimum": 1, "maximum": 2})
    served(kubectl, group("demo-more", 1), autoscaler)
    kubectl("wait", "daskworkergroup/demo-more", "--for=condition=Ready", "--timeout=60s")
    eventually(
        "the autoscaler's status",
        lambda: kubectl.get("daskautoscaler", "demo")["status"].get("conditions"),
    )
    for kind, name in [
        ("daskcluster", "demo"),
        ("daskworkergroup", "demo-more"),
        ("daskautoscaler", "demo"),
    ]:
        metadata = kubectl.get(kind, name)["metadata"]
        assert "ownerReferences" not in metadata
        assert "finalizers" not in metadata
        writers = {(m["manager"], m.get("subresource")) for m in metadata["managedFields"]}
        assert {s for manager, s in writers if manager != "kubectl"} == {"status"}, writers


def test_a_group_from_before_its_cluster_stays_its_authors(kubectl: Kubectl) -> None:
    """One that has the default group's name is served, and neither adopted nor replaced."""
    apply(kubectl, group("demo-default", 2))
    served(kubectl)
    eventually(
        "its two workers",
        lambda: len(kubectl.list("pods", "dask.org/workergroup-name=demo-default")) == 2,
    )
    assert "ownerReferences" not in kubectl.get("daskworkergroup", "demo-default")["metadata"]


# ---- rights: an ownerReference that blocks deletion


def pod_of(of: JSON) -> str:
    owner = {
        "apiVersion": of["apiVersion"],
        "kind": of["kind"],
        "name": of["metadata"]["name"],
        "uid": of["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    spec = {"containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": "try", "ownerReferences": [owner]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def grant(kubectl: Kubectl, account: str, rules: list[JSON]) -> None:
    """A ServiceAccount with these rights in the test's namespace."""
    kubectl("create", "serviceaccount", account)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": account},
        "rules": rules,
    }
    kubectl.apply(role)
    subject = f"--serviceaccount={kubectl.namespace}:{account}"
    kubectl("create", "rolebinding", account, f"--role={account}", subject)


@pytest.mark.parametrize(("kind", "name"), [("daskcluster", "demo"), ("daskjob", "later")])
def test_without_the_rule_for_finalizers_the_api_server_would_refuse(
    kubectl: Kubectl, system: Kubectl, kind: str, name: str
) -> None:
    """The chart's rules, with and without that one, side by side: so it is needed, and it is enough."""
    rules = system.get("clusterrole", ACCOUNT)["rules"]
    without = [r for r in rules if not any(n.endswith("/finalizers") for n in r["resources"])]
    assert len(without) == len(rules) - 1
    grant(kubectl, "all", rules)
    grant(kubectl, "less", without)
    kubectl.apply(cluster(replicas=0), resource("DaskJob", "later", {"job": {}, "suspend": True}))
    pod = pod_of(kubectl.get(kind, name))

    def create(account: str, namespace: str = kubectl.namespace) -> str:
        user = f"--as=system:serviceaccount:{namespace}:{account}"
        return kubectl("create", "--dry-run=server", "-f", "-", user, stdin=pod)

    eventually("rights are known", lambda: "created" in create("all"))
    assert "created" in create(ACCOUNT, SYSTEM)
    with pytest.raises(CommandError, match=r"cannot set blockOwnerDeletion .* finalizers on"):
        create("less")


def test_the_rules_of_one_namespace_are_enough_too(kubectl: Kubectl, root: Any) -> None:
    """With watchNamespaces the chart gives Roles only."""
    name = kubectl.namespace
    rendered = run(
        "helm", "template", "dask", root, "-n", "elsewhere", "--set", f"controller.watchNamespaces={{{name}}}",
    )  # fmt: skip
    manifests = [m for m in yaml.safe_load_all(rendered) if m]
    (role,) = [m for m in manifests if m["kind"] == "Role" and m["metadata"]["namespace"] == name]
    grant(kubectl, "roles", role["rules"])
    served(kubectl)
    pod = pod_of(kubectl.get("daskcluster", "demo"))
    user = f"--as=system:serviceaccount:{name}:roles"
    eventually(
        "rights are known",
        lambda: "created" in kubectl("create", "--dry-run=server", "-f", "-", user, stdin=pod),
    )
