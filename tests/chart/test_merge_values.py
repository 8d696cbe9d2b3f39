"""What is laid over what: one source of each volume, variable and probe, removal item by item, and Dask's own container, which stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from .conftest import Helm, Manifest

One = Callable[..., Manifest]
Write = Callable[[str], Path]
JSON = dict[str, Any]


def merged(one: One, low: Any, high: Any, *, part: str = "worker") -> JSON:
    """The Pod spec of a cluster whose pod template says `high` over `low` in the defaults."""
    low, high = ({"podTemplate": {"spec": spec}} for spec in (low, high))
    values = {"defaults": {part: low}, "clusters": {"demo": {part: high}}}
    found: JSON = one(yaml.safe_dump(values), "DaskCluster")["spec"][part]["spec"]
    return found


def of_worker(one: One, low: JSON, high: JSON) -> JSON:
    """Its container."""
    spec = merged(one, *({"containers": [{"name": "worker", **c}]} for c in (low, high)))
    kubernetes_validate.validate(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x"},
            "spec": {**spec, "containers": [{"image": "i", **c} for c in spec["containers"]]},
        },
        kubernetes_validate.latest_version(),
        strict=True,
    )
    (only,) = spec["containers"]
    return {key: value for key, value in only.items() if key != "name"}


SECRET = {"secretKeyRef": {"name": "a", "key": "b"}}
CONFIG = {"configMapKeyRef": {"name": "c", "key": "d"}}
SOURCES = {
    "a claim over emptyDir": (
        {"emptyDir": {"sizeLimit": "1Gi"}},
        {"persistentVolumeClaim": {"claimName": "x"}},
        {"persistentVolumeClaim": {"claimName": "x"}},
    ),
    "emptyDir over a claim": (
        {"persistentVolumeClaim": {"claimName": "x"}},
        {"emptyDir": {}},
        {"emptyDir": {}},
    ),
    "a source that nobody knows yet": ({"emptyDir": {}}, {"tape": {"a": 1}}, {"tape": {"a": 1}}),
    "more of the same source": (
        {"emptyDir": {"sizeLimit": "1Gi"}},
        {"emptyDir": {"medium": "Memory"}},
        {"emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}},
    ),
    "no source": ({"emptyDir": {"sizeLimit": "1Gi"}}, {}, {"emptyDir": {"sizeLimit": "1Gi"}}),
    "null and another one": (
        {"emptyDir": {}},
        {"emptyDir": None, "configMap": {"name": "x"}},
        {"configMap": {"name": "x"}},
    ),
}


@pytest.mark.parametrize(("low", "high", "wanted"), SOURCES.values(), ids=SOURCES.keys())
def test_a_volume_has_the_later_source(one: One, low: JSON, high: JSON, wanted: JSON) -> None:
    found = merged(one, {"volumes": [{"name": "v", **low}]}, {"volumes": [{"name": "v", **high}]})
    assert found["volumes"] == [{"name": "v", **wanted}]


VARIABLES = {
    "from a secret over a text": ({"value": "x"}, {"valueFrom": SECRET}, {"valueFrom": SECRET}),
    "a text over a secret": ({"valueFrom": SECRET}, {"value": ""}, {"value": ""}),
    "from another source": ({"valueFrom": SECRET}, {"valueFrom": CONFIG}, {"valueFrom": CONFIG}),
    "another key of the same": (
        {"valueFrom": SECRET},
        {"valueFrom": {"secretKeyRef": {"key": "z"}}},
        {"valueFrom": {"secretKeyRef": {"name": "a", "key": "z"}}},
    ),
}


@pytest.mark.parametrize(("low", "high", "wanted"), VARIABLES.values(), ids=VARIABLES.keys())
def test_a_variable_has_the_later_source(one: One, low: JSON, high: JSON, wanted: JSON) -> None:
    found = of_worker(one, {"env": [{"name": "A", **low}]}, {"env": [{"name": "A", **high}]})
    assert found["env"] == [{"name": "A", **wanted}]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (SECRET, CONFIG, {"valueFrom": CONFIG}),
        (SECRET, "text", {"value": "text"}),
        ("text", SECRET, {"valueFrom": SECRET}),
    ],
)
def test_a_variable_of_the_values_has_the_later_source(
    one: One, low: Any, high: Any, wanted: JSON
) -> None:
    low, high = (v if isinstance(v, str) else {"valueFrom": v} for v in (low, high))
    values = {
        "defaults": {"worker": {"env": {"A": low}}},
        "clusters": {"demo": {"worker": {"env": {"A": high}}}},
    }
    spec = one(yaml.safe_dump(values), "DaskCluster")["spec"]["worker"]["spec"]
    assert spec["containers"][0]["env"] == [{"name": "A", **wanted}]


def test_a_variable_of_a_pod_template_over_the_values(one: One) -> None:
    text = """
    clusters:
      demo:
        worker:
          env: {REGION: eu}
          podTemplate: {spec: {containers: [{name: worker, env: [{name: REGION, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}}
    """
    (worker,) = one(text, "DaskCluster")["spec"]["worker"]["spec"]["containers"]
    assert worker["env"] == [
        {"name": "REGION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    ]


HTTP, EXEC = {"httpGet": {"path": "/health", "port": 8788}}, {"exec": {"command": ["x"]}}


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe", "startupProbe"])
@pytest.mark.parametrize(
    "handler", [EXEC, {"tcpSocket": {"port": 8788}}, {"grpc": {"port": 1}}], ids=str
)
def test_a_probe_asks_in_the_later_way_as_often_as_before(
    one: One, probe: str, handler: JSON
) -> None:
    found = of_worker(one, {probe: {**HTTP, "periodSeconds": 30}}, {probe: handler})
    assert found == {probe: {**handler, "periodSeconds": 30}}


@pytest.mark.parametrize("hook", ["postStart", "preStop"])
def test_a_hook_is_the_later_one(one: One, hook: str) -> None:
    found = of_worker(one, {"lifecycle": {hook: HTTP}}, {"lifecycle": {hook: EXEC}})
    assert found == {"lifecycle": {hook: EXEC}}


def test_a_profile_of_another_type_has_no_file(one: One) -> None:
    low = {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}
    high = {"seccompProfile": {"type": "RuntimeDefault"}}
    found = of_worker(one, {"securityContext": low}, {"securityContext": high})
    assert found == {"securityContext": high}


@pytest.mark.parametrize("path", ["/data", "/data/"])
def test_a_mount_of_another_volume_is_another_mount(one: One, path: str) -> None:
    low = {"name": "a", "mountPath": "/data", "subPath": "x", "readOnly": True}
    high = {"name": "b", "mountPath": path}
    assert of_worker(one, {"volumeMounts": [low]}, {"volumeMounts": [high]}) == {
        "volumeMounts": [high]
    }


def test_more_of_the_same_mount(one: One) -> None:
    low = {"name": "a", "mountPath": "/data", "subPath": "x"}
    high = {"name": "a", "mountPath": "/data", "readOnly": True}
    assert of_worker(one, {"volumeMounts": [low]}, {"volumeMounts": [high]}) == {
        "volumeMounts": [{**low, "readOnly": True}]
    }


LISTS: dict[str, tuple[str, JSON, JSON]] = {
    "volumes": ("name", {"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}),
    "initContainers": ("name", {"name": "a", "image": "i"}, {"name": "b", "image": "i"}),
    "containers": ("name", {"name": "a", "image": "i"}, {"name": "b", "image": "i"}),
}


@pytest.mark.parametrize("key", LISTS)
def test_one_item_is_taken_away(one: One, key: str) -> None:
    by, first, second = LISTS[key]
    found = merged(one, {key: [first, second]}, {key: [{by: first[by], "$patch": "delete"}]})
    assert [item for item in found[key] if item != {"name": "worker"}] == [second]
    found = merged(one, {key: [second]}, {key: [{by: first[by], "$patch": "delete"}]})
    assert [item for item in found[key] if item != {"name": "worker"}] == [second]


def test_one_item_of_a_container_is_taken_away(one: One) -> None:
    low = {
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"name": "p", "containerPort": 1}, {"name": "q", "containerPort": 2}],
        "volumeMounts": [
            {"name": "v", "mountPath": "/a"},
            {"name": "v", "mountPath": "/b"},
        ],
    }
    high = {
        "env": [{"name": "A", "$patch": "delete"}],
        "ports": [{"name": "p", "$patch": "delete"}],
        "volumeMounts": [{"mountPath": "/a", "$patch": "delete"}],
    }
    assert of_worker(one, low, high) == {key: value[1:] for key, value in low.items()}


@pytest.mark.parametrize("key", [*LISTS, "tolerations"])
def test_null_takes_a_whole_list_away(one: One, key: str) -> None:
    item = LISTS[key][1] if key in LISTS else {"key": "a"}
    found = merged(one, {key: [item], "nodeName": "node-1"}, {key: None})
    assert found == {"nodeName": "node-1"}


@pytest.mark.parametrize("part", ["worker", "scheduler"])
@pytest.mark.parametrize(
    "template", [{"spec": None}, {"spec": {"containers": None}}, {"spec": {"containers": []}}]
)
def test_null_never_takes_dasks_own_container_away(one: One, part: str, template: JSON) -> None:
    low = {
        "podTemplate": {
            "spec": {"containers": [{"name": "side", "image": "i"}, {"name": part, "tty": True}]}
        }
    }
    high = {"env": {"A": "1"}, "podTemplate": template}
    values = {"defaults": {part: low}, "clusters": {"demo": {part: high}}}
    found = one(yaml.safe_dump(values), "DaskCluster")["spec"][part]["spec"]["containers"]
    own = {"name": part, "env": [{"name": "A", "value": "1"}]}
    kept = (template["spec"] or {}).get("containers") == []
    assert found == ([{**own, "tty": True}, {"name": "side", "image": "i"}] if kept else [own])


def test_null_takes_the_metadata_away(one: One) -> None:
    text = """
    defaults: {worker: {podTemplate: {metadata: {labels: {a: b}}, spec: {nodeName: node-1}}}}
    clusters: {demo: {worker: {podTemplate: {metadata: null}}}}
    """
    assert one(text, "DaskCluster")["spec"] == {"worker": {"spec": {"nodeName": "node-1"}}}


OTHER_NAMES = {
    "worker": ("{name: dask-worker, args: [dask, worker, --nthreads, '2']}", "dask-worker"),
    "worker of old": ("{name: main, command: [dask-worker]}", "main"),
    "gpu": ("{name: main, args: [dask-cuda-worker]}", "main"),
    "in a text": ("{name: main, args: [bash, -c, 'exec dask worker']}", "main"),
    "beside a sidecar": ("{name: side, image: i}, {name: main, args: [dask, worker]}", "main"),
}


@pytest.mark.parametrize(("containers", "name"), OTHER_NAMES.values(), ids=OTHER_NAMES.keys())
def test_the_container_that_starts_dask_is_meant(one: One, containers: str, name: str) -> None:
    """Whatever it is called: else two workers would run in a Pod, and the limits be those of the wrong one."""
    text = f"""
    clusters:
      demo:
        worker:
          env: {{A: '1'}}
          resources: {{limits: {{cpu: 2}}}}
          podTemplate: {{spec: {{containers: [{containers}]}}}}
    """
    found = one(text, "DaskCluster")["spec"]["worker"]["spec"]["containers"]
    assert "worker" not in [c["name"] for c in found]
    (main,) = [c for c in found if c["name"] == name]
    assert main["env"] == [{"name": "A", "value": "1"}]
    assert main["resources"] == {"limits": {"cpu": 2}}


def test_the_containers_of_scheduler_and_runner_with_other_names(one: One) -> None:
    text = "clusters: {demo: {scheduler: {env: {A: '1'}, podTemplate: {spec: {containers: [{name: main, args: [dask-scheduler]}]}}}}}"
    (main,) = one(text, "DaskCluster")["spec"]["scheduler"]["spec"]["containers"]
    assert (main["name"], main["env"]) == ("main", [{"name": "A", "value": "1"}])
    text = "jobs: {demo: {env: {A: '1'}, podTemplate: {spec: {containers: [{name: main, image: i, args: [x]}]}}}}"
    (main,) = one(text, "DaskJob")["spec"]["job"]["spec"]["containers"]
    assert (main["name"], main["env"]) == ("main", [{"name": "A", "value": "1"}])


POD = "clusters: {{demo: {{worker: {{podTemplate: {{spec: {}}}}}}}}}"
REFUSED = {
    "two that start Dask": (
        POD.format("{containers: [{name: a, args: [dask, worker]}, {name: b, args: [dask-worker]}]}"),
        ["clusters.demo.worker.podTemplate.spec.containers", "a and b", "worker"],
    ),
    "Dask's own container taken away": (
        POD.format("{containers: [{name: worker, $patch: delete}]}"),
        ["clusters.demo.worker.podTemplate.spec.containers", "worker", "cannot be taken away"],
    ),
    "a container without a name": (
        POD.format("{containers: [{image: i}]}"),
        ["clusters.demo.worker.podTemplate.spec.containers", "no name", "worker"],
    ),
    "another word of patches": (
        POD.format("{volumes: [{name: v, $patch: replace}]}"),
        ["$patch: replace", "$patch: delete"],
    ),
    "a patch of a list that is replaced": (
        POD.format("{tolerations: [{key: a, $patch: delete}]}"),
        ["tolerations", "$patch", "whole list"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_merged_is_refused(
    helm: Helm, values: Write, text: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(text))
    assert all(word in told for word in words), told


def secrets(pod: JSON) -> list[str]:
    return [s["name"] for s in pod.get("spec", {}).get("imagePullSecrets", [])]


def test_pull_secrets_said_once_reach_every_pod(one: One) -> None:
    text = """
    defaults: {pod: {imagePullSecrets: [{name: corp}]}, worker: {podTemplate: {spec: {imagePullSecrets: [{name: team}, {name: corp}]}}}}
    clusters: {demo: {workerGroups: {g: {}}}}
    jobs: {report: {args: [x], cluster: {workerGroups: {g: {}}}}}
    """
    cluster = one(text, "DaskCluster")["spec"]
    assert secrets(cluster["scheduler"]) == ["corp"]
    assert secrets(cluster["worker"]) == ["corp", "team"]
    assert secrets(one(text, "DaskWorkerGroup")["spec"]["worker"]) == ["corp", "team"]
    job = one(text, "DaskJob")["spec"]
    assert secrets(job["job"])[0] == "corp"
    inner = job["cluster"]["spec"]
    assert secrets(inner["scheduler"]) == ["corp"]
    assert secrets(inner["workerGroups"][0]["worker"]) == ["corp", "team"]


def test_a_runner_with_the_image_of_the_cluster_has_its_pull_secrets(one: One) -> None:
    low = "{podTemplate: {spec: {imagePullSecrets: [{name: corp}]}}}"
    text = f"""
    defaults: {{image: {{repository: registry.corp/dask, tag: "1"}}, scheduler: {low}, worker: {low}}}
    jobs: {{report: {{args: [x]}}}}
    """
    assert secrets(one(text, "DaskJob")["spec"]["job"]) == ["corp"]
    own = text.replace("args: [x]", "args: [x], image: {repository: r, tag: t}")
    assert secrets(one(own, "DaskJob")["spec"]["job"]) == []
