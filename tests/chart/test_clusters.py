"""Values become custom resources: what is rendered, what lies over what, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import NAMESPACE, RELEASE, Helm, Manifest, load_all

One = Callable[..., Manifest]
Write = Callable[[str], Path]


def container(pod: Manifest, name: str) -> dict[str, Any]:
    """The container of that name."""
    found: dict[str, Any]
    (found,) = [c for c in pod["spec"]["containers"] if c["name"] == name]
    return found


def custom(manifests: list[Manifest]) -> set[tuple[str, str]]:
    """Kind and name of the custom resources."""
    return {
        (m["kind"], m["metadata"]["name"])
        for m in manifests
        if m["apiVersion"] == "kubernetes.dask.org/v1"
    }


def test_the_smallest_cluster_carries_no_noise(one: One) -> None:
    assert one("clusters: {demo: {}}", "DaskCluster") == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": "demo",
            "namespace": NAMESPACE,
            "labels": {
                "app.kubernetes.io/instance": RELEASE,
                "app.kubernetes.io/managed-by": "Helm",
                "app.kubernetes.io/name": "dask-gitops",
            },
            "annotations": {"argocd.argoproj.io/sync-wave": "1"},
        },
        "spec": {},
    }


def test_the_smallest_group_carries_no_noise(one: One) -> None:
    group = one("clusters: {demo: {workerGroups: {gpu: {}}}}", "DaskWorkerGroup")
    assert (group["metadata"]["name"], group["spec"]) == ("demo-gpu", {"cluster": "demo"})


def test_without_clusters_nothing_is_declared(helm: Helm) -> None:
    assert custom(helm.render()) == set()


@pytest.mark.parametrize(
    "args",
    [
        ["--set", "clusters.demo=null"],
        ["--set-json", 'clusters={"demo":null}'],
        ["--set-json", "clusters.demo={}"],
    ],
)
def test_an_empty_key_on_the_command_line_means_the_defaults(helm: Helm, args: list[str]) -> None:
    assert custom(helm.render(*args)) == {("DaskCluster", "demo")}


def test_an_empty_key_in_a_file_means_the_defaults(
    helm: Helm, values: Write, tmp_path: Path
) -> None:
    """Also over an earlier file: it is never silently no cluster."""
    empty = values("clusters:\n  demo:\n    \n  other:\n    workerGroups:\n      small:\n")
    full = tmp_path / "full.yaml"
    full.write_text("clusters: {demo: {worker: {replicas: 3}}}", encoding="utf-8")
    wanted = {("DaskCluster", "demo"), ("DaskCluster", "other"), ("DaskWorkerGroup", "other-small")}
    assert custom(helm.render("--values", empty)) == wanted
    assert custom(helm.render("--values", full, "--values", empty)) == wanted


@pytest.mark.parametrize(
    "text", ["clusters:", "clusters: {}", "defaults:", "clusters: {a: {enabled: false}}"]
)
def test_no_cluster(helm: Helm, values: Write, text: str) -> None:
    assert custom(load_all(helm.template("--values", values(text)).stdout)) == set()


def test_removed_by_enabled_false_from_a_later_file(helm: Helm, values: Write) -> None:
    file = values("clusters: {a: {workerGroups: {g: {}, h: {}}}, b: {}}")
    left = helm.render(
        "--values",
        file,
        "--set",
        "clusters.b.enabled=false",
        "--set",
        "clusters.a.workerGroups.g.enabled=false",
    )
    assert custom(left) == {("DaskCluster", "a"), ("DaskWorkerGroup", "a-h")}
    assert custom(helm.render("--values", file, "--set", "clusters.a.enabled=false")) == {
        ("DaskCluster", "b")
    }


@pytest.mark.parametrize("replicas", ["external", "null"])
@pytest.mark.parametrize("defaults", ["{}", "{worker: {replicas: 5}}"])
def test_replicas_that_belong_to_somebody_else_are_left_out(
    one: One, replicas: str, defaults: str
) -> None:
    text = f"{{defaults: {defaults}, clusters: {{demo: {{worker: {{replicas: {replicas}}}, workerGroups: {{g: {{replicas: {replicas}}}}}}}}}}}"
    assert "replicas" not in one(text, "DaskCluster")["spec"].get("worker", {})
    assert "replicas" not in one(text, "DaskWorkerGroup")["spec"].get("worker", {})


@pytest.mark.parametrize("replicas", [0, 1, 1000000])
def test_replicas_are_rendered_as_they_are(one: One, replicas: int) -> None:
    text = f"clusters: {{demo: {{worker: {{replicas: {replicas}}}, workerGroups: {{g: {{replicas: {replicas}}}}}}}}}"
    assert one(text, "DaskCluster")["spec"] == {"worker": {"replicas": replicas}}
    assert one(text, "DaskWorkerGroup")["spec"] == {
        "cluster": "demo",
        "worker": {"replicas": replicas},
    }


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("{repository: r, tag: t}", "r:t"),
        ("{tag: t}", "ghcr.io/dask/dask:t"),
        ("{repository: 'r:5000/x', tag: '1'}", "r:5000/x:1"),
        ("{repository: r, digest: 'sha256:" + "0" * 64 + "'}", "r@sha256:" + "0" * 64),
        ("{repository: r, tag: t, digest: 'sha256:" + "0" * 64 + "'}", "r:t@sha256:" + "0" * 64),
        ("{repository: '', tag: '', digest: ''}", None),
    ],
)
def test_image(one: One, image: str, wanted: str | None) -> None:
    text = f"clusters: {{demo: {{image: {image}, workerGroups: {{g: {{image: {image}}}}}}}}}"
    assert one(text, "DaskCluster")["spec"].get("image") == wanted
    pod = one(text, "DaskWorkerGroup")["spec"].get("worker")
    assert (container(pod, "worker")["image"] if pod else None) == wanted


def test_pull_policy_of_the_cluster_is_that_of_its_groups_unless_they_say_so(one: One) -> None:
    text = """
    clusters: {demo: {image: {pullPolicy: Always}, workerGroups: {same: {}, own: {image: {tag: t, pullPolicy: Never}}}}}
    """
    cluster = one(text, "DaskCluster")["spec"]
    assert cluster["scheduler"] == {
        "spec": {"containers": [{"name": "scheduler", "imagePullPolicy": "Always"}]}
    }
    assert cluster["worker"] == {
        "spec": {"containers": [{"name": "worker", "imagePullPolicy": "Always"}]}
    }
    assert (
        container(one(text, "DaskWorkerGroup", "demo-same")["spec"]["worker"], "worker")[
            "imagePullPolicy"
        ]
        == "Always"
    )
    assert (
        container(one(text, "DaskWorkerGroup", "demo-own")["spec"]["worker"], "worker")[
            "imagePullPolicy"
        ]
        == "Never"
    )


@pytest.mark.parametrize(
    ("values_of_worker", "tail"),
    [
        ("nthreads: 2", ["--nthreads", "2"]),
        (
            "{nthreads: 2, resources: {limits: {memory: 4Gi}}}",
            ["--nthreads", "2", "--memory-limit", "4Gi"],
        ),
        ("{nthreads: 2, resources: {limits: null}}", ["--nthreads", "2"]),
        (
            "{nthreads: 2, memoryLimit: auto, resources: {limits: {memory: 4Gi}}}",
            ["--nthreads", "2", "--memory-limit", "auto"],
        ),
        ("memoryLimit: 2GiB", ["--memory-limit", "2GiB"]),
        ("memoryLimit: 8000000000", ["--memory-limit", "8000000000"]),
        ("{nthreads: 2, memoryLimit: auto}", ["--nthreads", "2", "--memory-limit", "auto"]),
    ],
)
def test_threads_and_memory_become_arguments(
    one: One, values_of_worker: str, tail: list[str]
) -> None:
    inner = (
        values_of_worker.removeprefix("{").removesuffix("}")
        if values_of_worker[0] == "{"
        else values_of_worker
    )
    cluster = one(f"clusters: {{demo: {{worker: {{{inner}}}}}}}", "DaskCluster")
    assert container(cluster["spec"]["worker"], "worker")["args"] == [
        *["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard-address", ":8788"],
        *tail,
    ]


def test_environment_values_are_strings_and_objects_are_taken_as_they_are(one: One) -> None:
    text = """
    clusters:
      demo:
        worker:
          env: {Z: text, BIG: 1000000, HALF: "0.5", TRUE_: true, FALSE_: false, ZERO: 0, EMPTY: "", NONE: null,
                OBJECT: {valueFrom: {fieldRef: {fieldPath: status.podIP}}}}
    """
    assert container(one(text, "DaskCluster")["spec"]["worker"], "worker")["env"] == [
        {"name": "BIG", "value": "1000000"},
        {"name": "EMPTY", "value": ""},
        {"name": "FALSE_", "value": "false"},
        {"name": "HALF", "value": "0.5"},
        {"name": "OBJECT", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "TRUE_", "value": "true"},
        {"name": "Z", "value": "text"},
        {"name": "ZERO", "value": "0"},
    ]


MERGE = """
defaults:
  image: {repository: r, tag: "1"}
  drainTimeout: 60
  labels: {a: defaults, b: defaults}
  scheduler: {service: {type: LoadBalancer}}
  worker:
    replicas: 5
    nthreads: 2
    resources: {requests: {cpu: 1}, limits: {memory: 2Gi}}
    env: {A: defaults, B: defaults}
    podTemplate:
      spec:
        terminationGracePeriodSeconds: 60
        tolerations: [{key: defaults}]
        volumes: [{name: v, emptyDir: {}}]
        containers:
          - {name: side, image: "side:1", env: [{name: A, value: defaults}], volumeMounts: [{name: v, mountPath: /v}]}
clusters:
  demo:
    image: {tag: "2"}
    labels: {b: cluster}
    worker:
      nthreads: 4
      resources: {limits: {memory: 4Gi}}
      env: {B: cluster, C: cluster}
      podTemplate:
        spec:
          tolerations: [{key: cluster}]
          volumes: [{name: w, emptyDir: {}}]
          containers:
            - {name: side, env: [{name: B, value: cluster}], volumeMounts: [{name: v, mountPath: /v, readOnly: true}]}
    workerGroups:
      g: {env: {B: group}, labels: {a: group}}
  nulls:
    image: null
    drainTimeout: null
    labels: {a: null}
    scheduler: null
    worker:
      replicas: null
      nthreads: null
      resources: {limits: null}
      env: {A: null}
      podTemplate:
        spec:
          terminationGracePeriodSeconds: null
          tolerations: null
          containers:
            - {name: worker, resources: null}
"""


def test_a_cluster_lies_over_the_defaults(one: One) -> None:
    cluster = one(MERGE, "DaskCluster", "demo")
    assert {k: v for k, v in cluster["metadata"]["labels"].items() if "/" not in k} == {
        "a": "defaults",
        "b": "cluster",
    }
    assert cluster["spec"] == {
        "image": "r:2",
        "drainTimeout": 60,
        "scheduler": {"service": {"type": "LoadBalancer"}},
        "worker": {
            "replicas": 5,
            "spec": {
                "terminationGracePeriodSeconds": 60,
                "tolerations": [{"key": "cluster"}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}],
                "containers": [
                    {
                        "name": "worker",
                        "args": [
                            "dask",
                            "worker",
                            "--name",
                            "$(DASK_WORKER_NAME)",
                            "--dashboard-address",
                            ":8788",
                            "--nthreads",
                            "4",
                            "--memory-limit",
                            "4Gi",
                        ],
                        "env": [
                            {"name": "A", "value": "defaults"},
                            {"name": "B", "value": "cluster"},
                            {"name": "C", "value": "cluster"},
                        ],
                        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "4Gi"}},
                    },
                    {
                        "name": "side",
                        "image": "side:1",
                        "env": [
                            {"name": "A", "value": "defaults"},
                            {"name": "B", "value": "cluster"},
                        ],
                        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}],
                    },
                ],
            },
        },
    }


def test_null_takes_away(one: One) -> None:
    cluster = one(MERGE, "DaskCluster", "nulls")
    assert {k: v for k, v in cluster["metadata"]["labels"].items() if "/" not in k} == {
        "b": "defaults"
    }
    assert cluster["spec"] == {
        "worker": {
            "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [
                    {"name": "worker", "env": [{"name": "B", "value": "defaults"}]},
                    {
                        "name": "side",
                        "image": "side:1",
                        "env": [{"name": "A", "value": "defaults"}],
                        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    },
                ],
            },
        },
    }


@pytest.mark.parametrize("worker", ["null", "{podTemplate: null}"])
def test_null_takes_a_whole_pod_template_away(one: One, worker: str) -> None:
    text = f"""
    defaults: {{worker: {{podTemplate: {{spec: {{tolerations: [{{key: a}}]}}}}}}}}
    clusters: {{demo: {{worker: {worker}, workerGroups: {{g: {{podTemplate: null}}}}}}}}
    """
    assert one(text, "DaskCluster")["spec"] == {}
    assert one(text, "DaskWorkerGroup")["spec"] == {"cluster": "demo"}


def test_a_group_lies_over_the_workers_of_the_defaults_and_has_the_labels_of_its_cluster(
    one: One,
) -> None:
    group = one(MERGE, "DaskWorkerGroup", "demo-g")
    assert {k: v for k, v in group["metadata"]["labels"].items() if "/" not in k} == {
        "a": "group",
        "b": "cluster",
    }
    assert set(group["spec"]) == {"cluster", "worker"}
    assert group["spec"]["worker"]["replicas"] == 5
    worker = container(group["spec"]["worker"], "worker")
    assert worker["args"][-4:] == ["--nthreads", "2", "--memory-limit", "2Gi"]
    assert worker["env"] == [{"name": "A", "value": "defaults"}, {"name": "B", "value": "group"}]
    assert worker["resources"]["limits"] == {"memory": "2Gi"}
    assert container(group["spec"]["worker"], "side")["env"] == [{"name": "A", "value": "defaults"}]


def test_one_cluster_does_not_leak_into_the_next(one: One) -> None:
    """Merging in place must not change the defaults: `a` is rendered before `b`."""
    text = """
    defaults: {worker: {env: {X: defaults}, podTemplate: {spec: {containers: [{name: side, image: i}]}}}}
    clusters:
      a: {worker: {env: {X: a}, podTemplate: {spec: {containers: [{name: side, image: a}, {name: more}]}}}}
      b: {}
    """
    assert one(text, "DaskCluster", "b")["spec"] == {
        "worker": {
            "spec": {
                "containers": [
                    {"name": "worker", "env": [{"name": "X", "value": "defaults"}]},
                    {"name": "side", "image": "i"},
                ]
            }
        }
    }


def test_a_sidecar_never_takes_the_place_of_dask(one: One) -> None:
    """The controller takes the container called `worker`, or else the first one."""
    text = (
        "clusters: {demo: {worker: {podTemplate: {spec: {containers: [{name: side, image: i}]}}}}}"
    )
    assert one(text, "DaskCluster")["spec"]["worker"]["spec"]["containers"] == [
        {"name": "worker"},
        {"name": "side", "image": "i"},
    ]


def test_pod_metadata(one: One) -> None:
    text = "clusters: {demo: {scheduler: {podTemplate: {metadata: {labels: {a: b}, annotations: {c: d}}}}}}"
    assert one(text, "DaskCluster")["spec"] == {
        "scheduler": {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}
    }


def test_the_users_metadata_wins(one: One) -> None:
    text = "clusters: {demo: {annotations: {argocd.argoproj.io/sync-wave: '7'}, labels: {app.kubernetes.io/instance: mine}}}"
    metadata = one(text, "DaskCluster")["metadata"]
    assert metadata["annotations"] == {"argocd.argoproj.io/sync-wave": "7"}
    assert metadata["labels"]["app.kubernetes.io/instance"] == "mine"


def test_argo_cd_is_told_when_the_definitions_come_from_elsewhere(one: One) -> None:
    """Its dry run of a kind that another application is about to define would fail."""
    annotations = one("{crds: {enabled: false}, clusters: {demo: {}}}", "DaskCluster")["metadata"][
        "annotations"
    ]
    assert annotations["argocd.argoproj.io/sync-options"] == "SkipDryRunOnMissingResource=true"


def test_wave_after_the_controller(helm: Helm, values: Write) -> None:
    """Argo CD: clusters come when the controller is healthy, and go while it still runs."""
    for manifest in helm.render("--values", values("clusters: {demo: {workerGroups: {g: {}}}}")):
        wave = manifest["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0")
        assert (int(wave) > 0) == (manifest["apiVersion"] == "kubernetes.dask.org/v1"), manifest[
            "metadata"
        ]["name"]
