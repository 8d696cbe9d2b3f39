"""The controller's Deployment and rights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import NAMESPACE, ROOT, Helm, Manifest, load_all

Write = Callable[[str], Path]
GROUP = "kubernetes.dask.org"


def kinds(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """The manifests of a kind."""
    return [m for m in manifests if m["kind"] == kind]


def rights(role: Manifest) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of every rule without names."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        if "resourceNames" not in rule
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def spread(group: str, resources: str, verbs: str) -> set[tuple[str, str, str]]:
    """Every resource with every verb."""
    return {(group, resource, verb) for resource in resources.split() for verb in verbs.split()}


WANTED = (
    spread(GROUP, "daskclusters daskworkergroups daskautoscalers daskjobs", "get list watch")
    | spread(GROUP, "daskclusters daskjobs", "patch")
    | spread(GROUP, "daskworkergroups daskautoscalers", "create patch delete")
    | spread(GROUP, "daskworkergroups/scale", "patch")
    | spread(
        GROUP,
        "daskclusters/status daskworkergroups/status daskautoscalers/status daskjobs/status",
        "patch",
    )
    | spread(GROUP, "daskclusters", "create delete")
    | spread(GROUP, "daskjobs", "delete")
    | spread(GROUP, "daskclusters/finalizers daskjobs/finalizers", "update")
    | spread("", "pods", "get list watch create patch delete")
    | spread("", "services", "get list watch create patch delete")
    | spread("", "events", "create")
)


def render(helm: Helm, values: Write, text: str) -> list[Manifest]:
    """Render some values."""
    return load_all(helm.template("--values", values(text)).stdout)


def test_rights_for_the_whole_cluster(helm: Helm) -> None:
    roles = {m["metadata"]["name"]: m for m in kinds(helm.render(), "ClusterRole")}
    assert set(roles) == {"test-controller", "test-controller-view", "test-controller-edit"}
    assert rights(roles["test-controller"]) == WANTED


def test_rights_for_some_namespaces(helm: Helm, values: Write) -> None:
    """Not one right outside of them, and none over the cluster."""
    manifests = render(helm, values, "controller: {watchNamespaces: [team-a, team-b, team-a]}")
    assert not [m for m in manifests if m["kind"].startswith("ClusterRole")]
    roles = {
        m["metadata"]["namespace"]: m
        for m in kinds(manifests, "Role")
        if m["metadata"]["name"] == "test-controller"
    }
    assert set(roles) == {"team-a", "team-b"}
    for role in roles.values():
        assert rights(role) == WANTED
    bindings = kinds(manifests, "RoleBinding")
    assert {b["metadata"]["namespace"] for b in bindings} == {"team-a", "team-b", NAMESPACE}
    for binding in bindings:
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "test-controller", "namespace": NAMESPACE}
        ]
    assert environment(manifests)["DASK_GITOPS_NAMESPACES"] == "team-a,team-b,team-a"


@pytest.mark.parametrize("text", ["{}", "controller: {watchNamespaces: [team-a]}"])
def test_lease_only_by_its_name_and_nothing_by_wildcard(
    helm: Helm, values: Write, text: str
) -> None:
    manifests = render(helm, values, text)
    (lease,) = [
        m for m in kinds(manifests, "Role") if m["metadata"]["name"] == "test-controller-lease"
    ]
    assert lease["metadata"]["namespace"] == NAMESPACE
    assert rights(lease) == {("coordination.k8s.io", "leases", "create")}
    name = environment(manifests)["DASK_GITOPS_LEASE_NAME"]
    assert [rule for rule in lease["rules"] if "resourceNames" in rule] == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [name],
            "verbs": ["get", "patch"],
        },
        # Owner of the Lease.
        {
            "apiGroups": ["apps"],
            "resources": ["deployments"],
            "resourceNames": [name],
            "verbs": ["get"],
        },
    ]
    for role in [*kinds(manifests, "Role"), *kinds(manifests, "ClusterRole")]:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_people_get_rights_through_view_and_edit(helm: Helm) -> None:
    roles = {m["metadata"]["name"]: m for m in kinds(helm.render(), "ClusterRole")}
    view, edit = roles["test-controller-view"], roles["test-controller-edit"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert {verb for _, _, verb in rights(view)} == {"get", "list", "watch"}
    assert spread(GROUP, "daskclusters/scale daskworkergroups/scale", "update patch") <= rights(
        edit
    )
    assert not {resource for _, resource, _ in rights(edit) if resource.endswith("/status")}


def deployment(manifests: list[Manifest]) -> dict[str, Any]:
    """The Pod spec of the controller."""
    (found,) = kinds(manifests, "Deployment")
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


def environment(manifests: list[Manifest]) -> dict[str, Any]:
    """The controller's environment, by name."""
    (container,) = deployment(manifests)["containers"]
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def test_environment(helm: Helm, values: Write) -> None:
    assert environment(helm.render()) == {
        "DASK_GITOPS_NAMESPACES": "",
        "DASK_GITOPS_LOG_FORMAT": "text",
        "DASK_GITOPS_LOG_LEVEL": "info",
        "DASK_GITOPS_DASK_IMAGE": "ghcr.io/dask/dask:2026.8.0",
        "DASK_GITOPS_RESERVED_METADATA": "",
        "DASK_GITOPS_WORKERS_PER_GROUP": "5000",
        "DASK_GITOPS_WORKERS_PER_CLUSTER": "10000",
        "DASK_GITOPS_WORKERS_PER_NAMESPACE": "20000",
        "DASK_GITOPS_WORKERS": "50000",
        "DASK_GITOPS_PORT": "8080",
        "DASK_GITOPS_LEASE_NAME": "test-controller",
        "DASK_GITOPS_LEASE_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "DASK_GITOPS_IDENTITY": {"fieldRef": {"fieldPath": "metadata.name"}},
    }
    text = "controller: {logFormat: json, logLevel: debug, daskImage: i, reservedMetadata: [a.b, c.d], extraEnv: [{name: X, value: z}]}"
    changed = environment(render(helm, values, text))
    assert (changed["DASK_GITOPS_LOG_FORMAT"], changed["DASK_GITOPS_LOG_LEVEL"]) == (
        "json",
        "debug",
    )
    assert (changed["DASK_GITOPS_DASK_IMAGE"], changed["DASK_GITOPS_RESERVED_METADATA"]) == (
        "i",
        "a.b,c.d",
    )
    assert changed["X"] == "z"


def test_limits(helm: Helm, values: Write) -> None:
    """Large numbers stay whole numbers, a part of them may be given, `null` is the controller's own default."""
    text = (
        "controller: {limits: {workersPerGroup: 3, workersPerNamespace: 123456789, workers: null}}"
    )
    found = environment(render(helm, values, text))
    assert found["DASK_GITOPS_WORKERS_PER_GROUP"] == "3"
    assert found["DASK_GITOPS_WORKERS_PER_CLUSTER"] == "10000"
    assert found["DASK_GITOPS_WORKERS_PER_NAMESPACE"] == "123456789"
    assert found["DASK_GITOPS_WORKERS"] in ("", "50000")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "1e400", "many", "1000000000", "true"])
@pytest.mark.parametrize(
    "name", ["workersPerGroup", "workersPerCluster", "workersPerNamespace", "workers"]
)
def test_a_limit_is_a_whole_number_from_one(
    helm: Helm, values: Write, name: str, value: str
) -> None:
    file = values(f"controller: {{limits: {{{name}: {value}}}}}")
    done = helm.template("--values", file, check=False)
    assert done.returncode
    assert name in done.stderr


def test_restricted_pod_security(helm: Helm) -> None:
    """The fields that the standard asks for; the API server proves the whole in the cluster tier."""
    pod = deployment(helm.render())
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {key for volume in pod["volumes"] for key in volume} == {"name", "emptyDir"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_image_follows_the_chart_unless_pinned(helm: Helm, values: Write) -> None:
    version = load_all((ROOT / "Chart.yaml").read_text(encoding="utf-8"))[0]["appVersion"]
    image = "ghcr.io/dask-gitops/controller"
    digest = "sha256:" + "1" * 64
    assert deployment(helm.render())["containers"][0]["image"] == f"{image}:{version}"
    tagged = render(helm, values, f"controller: {{image: {{tag: '2', digest: '{digest}'}}}}")
    assert deployment(tagged)["containers"][0]["image"] == f"{image}:2@{digest}"


def test_one_version_everywhere() -> None:
    charts = [
        ROOT / "Chart.yaml",
        ROOT / "charts/crds/Chart.yaml",
        ROOT / "charts/controller/Chart.yaml",
    ]
    loaded = [load_all(path.read_text(encoding="utf-8"))[0] for path in charts]
    assert len({chart["appVersion"] for chart in loaded}) == 1
    assert loaded[0]["version"] == loaded[0]["appVersion"]


@pytest.mark.parametrize(("replicas", "budgets"), [(0, 0), (1, 0), (2, 1)])
def test_a_budget_from_two_replicas_on(
    helm: Helm, values: Write, replicas: int, budgets: int
) -> None:
    manifests = render(helm, values, f"controller: {{replicas: {replicas}}}")
    assert kinds(manifests, "Deployment")[0]["spec"]["replicas"] == replicas
    assert len(kinds(manifests, "PodDisruptionBudget")) == budgets
    assert ("topologySpreadConstraints" in deployment(manifests)) == bool(budgets)


def test_selectors_find_the_pods(helm: Helm) -> None:
    manifests = helm.render("--values", ROOT / "ci/all-options-values.yaml")
    labels = kinds(manifests, "Deployment")[0]["spec"]["template"]["metadata"]["labels"].items()
    for kind in ("Deployment", "PodDisruptionBudget", "Service"):
        selector = kinds(manifests, kind)[0]["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= labels


@pytest.mark.parametrize(
    ("account", "name", "made"),
    [
        ("{}", "test-controller", 1),
        ("{name: mine}", "mine", 1),
        ("{create: false, name: mine}", "mine", 0),
    ],
)
def test_service_account(helm: Helm, values: Write, account: str, name: str, made: int) -> None:
    manifests = render(helm, values, f"controller: {{serviceAccount: {account}}}")
    assert deployment(manifests)["serviceAccountName"] == name
    assert [m["metadata"]["name"] for m in kinds(manifests, "ServiceAccount")] == [name] * made
    assert {s["name"] for b in kinds(manifests, "ClusterRoleBinding") for s in b["subjects"]} == {
        name
    }


def test_without_the_controller_nothing_of_it_is_left(helm: Helm, values: Write) -> None:
    manifests = render(helm, values, "{controller: {enabled: false}, clusters: {demo: {}}}")
    assert {m["kind"] for m in manifests} == {"DaskCluster"}
