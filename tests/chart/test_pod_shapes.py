"""What stands in a Pod's values has the shape that Kubernetes asks for: refused with its path, at any depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Helm

Write = Callable[[str], Path]

WRONG = {
    "containers as a map": ("spec: {containers: {worker: {image: x}}}", ["spec", "containers"]),
    "a container in one word": ("spec: {containers: [worker]}", ["containers/0|containers.0"]),
    "a container of nothing": ("spec: {containers: [null]}", ["containers/0|containers.0"]),
    "a stray dash": ("spec: {tolerations: [null]}", ["tolerations/0|tolerations.0"]),
    "env as a map": ("spec: {containers: [{name: worker, env: {A: '1'}}]}", ["containers", "env"]),
    "a number as a variable": (
        "spec: {containers: [{name: worker, env: [{name: A, value: 5}]}]}",
        ["containers", "env", "value"],
    ),
    "tolerations as a map": ("spec: {tolerations: {key: a}}", ["spec", "tolerations"]),
    "a truth value as a label of a node": ("spec: {nodeSelector: {gpu: true}}", ["nodeSelector", "gpu"]),
    "a text for seconds": ("spec: {terminationGracePeriodSeconds: '120'}", ["terminationGracePeriodSeconds"]),
    "affinity as a list": ("spec: {affinity: [{nodeAffinity: {}}]}", ["spec", "affinity"]),
    "a volume's source as a text": ("spec: {volumes: [{name: v, emptyDir: x}]}", ["volumes", "emptyDir"]),
    "a size that is no quantity": (
        "spec: {volumes: [{name: v, emptyDir: {sizeLimit: lots}}]}",
        ["volumes", "emptyDir", "sizeLimit"],
    ),
    "a limit that is no quantity": (
        "spec: {containers: [{name: worker, resources: {limits: {memory: 4GB}}}]}",
        ["containers", "resources", "limits", "memory"],
    ),
    "a number as a word": ("spec: {containers: [{name: worker, args: [a, 2]}]}", ["args/1|args.1"]),
    "a command in one text": ("spec: {containers: [{name: worker, command: dask worker}]}", ["command"]),
    "a spec that is a list": ("spec: [{containers: []}]", ["podTemplate", "spec"]),
    "a label that is no text": ("metadata: {labels: {a: 1}}", ["metadata", "labels", "a"]),
}  # fmt: skip
PLACES = {
    "scheduler": "clusters: {{demo: {{scheduler: {{podTemplate: {{{}}}}}}}}}",
    "worker": "clusters: {{demo: {{worker: {{podTemplate: {{{}}}}}}}}}",
    "group": "clusters: {{demo: {{workerGroups: {{gpu: {{podTemplate: {{{}}}}}}}}}}}",
    "defaults": "defaults: {{worker: {{podTemplate: {{{}}}}}}}",
    "runner": "jobs: {{demo: {{podTemplate: {{{}}}}}}}",
    "job's worker": "jobs: {{demo: {{args: [x], cluster: {{worker: {{podTemplate: {{{}}}}}}}}}}}",
}


@pytest.mark.parametrize(("template", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_shape_is_refused_with_its_path(
    helm: Helm, values: Write, template: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(PLACES["worker"].format(template)))
    for word in ("podTemplate", *words):
        assert any(choice in told for choice in word.split("|")), told


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_in_every_place_of_a_pod(helm: Helm, values: Write, place: str) -> None:
    text = place.format("spec: {containers: [{name: x, env: {A: b}}]}")
    told = helm.refusal("--values", values(text))
    assert "env" in told


def test_null_is_allowed_for_every_field(helm: Helm, values: Write) -> None:
    """It takes away what the defaults say, which is another matter than a shape."""
    for template in ("metadata: null", "spec: null", "spec: {containers: null, affinity: null, os: null}",
                     "spec: {containers: [{name: worker, env: null, resources: null, livenessProbe: null}]}",
                     "spec: {containers: [{name: worker, env: [{name: A, value: null, valueFrom: null}]}]}"):  # fmt: skip
        helm.template("--values", values(PLACES["worker"].format(template)))


def test_fields_of_other_versions_of_kubernetes_can_be_written(helm: Helm, values: Write) -> None:
    template = "spec: {fieldOfTomorrow: {a: [1]}, containers: [{name: worker, alsoNew: true}]}"
    assert "fieldOfTomorrow" in helm.template("--values", values(PLACES["worker"].format(template))).stdout  # fmt: skip
