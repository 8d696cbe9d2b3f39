"""Values of the controller that would give its rights away, be half taken, or leave the declared clusters to nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Helm, load_all

Write = Callable[[str], Path]

INJECTED = "x\\n      hostNetwork: true"
REFUSED = {
    "YAML as a priority class": (f'controller: {{priorityClassName: "{INJECTED}"}}', ["priorityClassName"]),
    "YAML as a ServiceAccount": (f'controller: {{serviceAccount: {{name: "{INJECTED}"}}}}', ["serviceAccount", "name"]),
    "YAML as a pull secret": (f'controller: {{imagePullSecrets: [{{name: "{INJECTED}"}}]}}', ["imagePullSecrets", "name"]),
    "no ServiceAccount": ("controller: {serviceAccount: {create: false}}", ["controller.serviceAccount", "name the ServiceAccount"]),
    "everybody's ServiceAccount": (
        "controller: {serviceAccount: {create: false, name: default}}",
        ["controller.serviceAccount.name", "every pod", "name another one"],
    ),
    "everybody's ServiceAccount, created": ("controller: {serviceAccount: {name: default}}", ["controller.serviceAccount.name"]),
    "a label of the selector": (
        "controller: {podLabels: {app.kubernetes.io/component: mine}}",
        ["controller.podLabels", "app.kubernetes.io/component", "another key"],
    ),
    "a label that is there": ("controller: {podLabels: {app.kubernetes.io/version: '1'}}", ["controller.podLabels", "version"]),
    "a variable of ours": (
        "controller: {extraEnv: [{name: DASK_GITOPS_LOG_LEVEL, value: debug}]}",
        ["controller.extraEnv", "DASK_GITOPS_LOG_LEVEL"],
    ),
    "a variable twice": ("controller: {extraEnv: [{name: A, value: a}, {name: A, value: b}]}", ["controller.extraEnv", "A stands there twice"]),
    "a variable with a typo": ("controller: {extraEnv: [{name: A, valuefrom: {}}]}", ["extraEnv", "valuefrom"]),
    "a quantity": ("controller: {resources: {limits: {memory: 4GB}}}", ["resources", "limits", "memory"]),
    "a toleration with a typo": ("controller: {tolerations: [{keys: a}]}", ["tolerations", "keys"]),
    "a toleration as a word": ("controller: {tolerations: [a]}", ["tolerations"]),
    "an affinity with a typo": ("controller: {affinity: {nodeAfinity: {}}}", ["affinity", "nodeAfinity"]),
    "an affinity with a typo deeper": (
        "controller: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerm: []}}}}",
        ["affinity", "nodeSelectorTerm"],
    ),
    "clusters that nobody serves": (
        "{controller: {watchNamespaces: [team-a]}, clusters: {demo: {}}}",
        ["controller.watchNamespaces", "demo", "namespace dask"],
    ),
    "jobs that nobody serves": (
        "{controller: {watchNamespaces: [team-a]}, jobs: {demo: {args: [x]}}}",
        ["controller.watchNamespaces", "demo", "namespace dask"],
    ),
    "no controller to serve them": (
        "{controller: {replicas: 0}, clusters: {demo: {}}}",
        ["controller.replicas", "demo", "controller.enabled: false"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_values_that_would_hurt_are_refused(
    helm: Helm, values: Write, text: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(text))
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    "text",
    [
        "{controller: {watchNamespaces: [team-a, dask]}, clusters: {demo: {}}}",
        "{controller: {watchNamespaces: [team-a]}}",
        "{controller: {replicas: 0}, clusters: {demo: {enabled: false}}}",
        "{controller: {replicas: 0, enabled: false, watchNamespaces: [team-a]}, clusters: {demo: {}}}",
        "controller: {serviceAccount: {create: false, name: mine}, podLabels: {team: a}, tolerations: [{key: a, operator: Exists}]}",
        "controller: {extraEnv: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}], resources: {limits: {cpu: 500m, memory: 1Gi}}}",
    ],
)
def test_and_others_are_not(helm: Helm, values: Write, text: str) -> None:
    load_all(helm.template("--values", values(text)).stdout)


@pytest.mark.parametrize("name", ["1.0", "on", "0x10"])
def test_a_name_that_yaml_would_read_otherwise_stays_a_name(
    helm: Helm, values: Write, name: str
) -> None:
    text = f"controller: {{priorityClassName: '{name}', serviceAccount: {{name: '{name}'}}}}"
    manifests = load_all(helm.template("--values", values(text)).stdout)
    (deployment,) = [m for m in manifests if m["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    assert (spec["priorityClassName"], spec["serviceAccountName"]) == (name, name)
    (account,) = [m for m in manifests if m["kind"] == "ServiceAccount"]
    assert account["metadata"]["name"] == name
