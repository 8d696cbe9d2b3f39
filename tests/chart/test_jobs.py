"""Jobs as values: DaskJobs with a cluster of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from .conftest import NAMESPACE, RELEASE, ROOT, Helm, Manifest, definitions, load_all
from .strict import strict

One = Callable[..., Manifest]
Write = Callable[[str], Path]
ARGS = "args: [python, -c, 'print(1)']"
RUNNER = {"name": "job", "args": ["python", "-c", "print(1)"]}


def test_the_smallest_job_carries_no_noise(one: One) -> None:
    assert one(f"jobs: {{report: {{{ARGS}}}}}", "DaskJob") == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {
            "name": "report",
            "namespace": NAMESPACE,
            "labels": {
                "app.kubernetes.io/instance": RELEASE,
                "app.kubernetes.io/managed-by": "Helm",
                "app.kubernetes.io/name": "dask-gitops",
            },
            "annotations": {"argocd.argoproj.io/sync-wave": "1"},
        },
        "spec": {"job": {"spec": {"containers": [RUNNER]}}, "cluster": {"spec": {}}},
    }


JOB = """
defaults:
  image: {repository: r, tag: "1"}
  worker: {nthreads: 2, replicas: 5}
  labels: {team: a}
  suspend: true
  idle: {timeout: 600}
jobs:
  report:
    image: {tag: own, pullPolicy: Always}
    command: [/run]
    args: [a, b]
    env: {COUNT: 1}
    resources: {requests: {cpu: 1}}
    podTemplate:
      metadata: {annotations: {a: b}}
      spec:
        priorityClassName: low
        containers: [{name: job, workingDir: /w}, {name: side, image: s}]
    backoffLimit: 0
    activeDeadlineSeconds: 60
    ttlSecondsAfterFinished: 0
    cleanupPolicy: Never
    suspend: false
    restartedAt: 2026-01-31T12:00:00Z
    labels: {kind: job}
    annotations: {note: job}
    cluster:
      image: {tag: "2"}
      labels: {kind: cluster}
      worker: {replicas: 3}
      drainTimeout: 9
      workerGroups:
        big: {replicas: 1, image: {repository: g, tag: "2"}, daskResources: {GPU: 1}}
        gone: {enabled: false}
"""


def test_everything_at_its_place(one: One) -> None:
    job = one(JOB, "DaskJob")
    labels = {k: v for k, v in job["metadata"]["labels"].items() if "/" not in k}
    assert labels == {"team": "a", "kind": "job"}
    assert job["metadata"]["annotations"]["note"] == "job"
    args = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard-address", ":8788"]
    worker = {"name": "worker", "args": [*args, "--nthreads", "2"]}
    assert job["spec"] == {
        "backoffLimit": 0,
        "activeDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 0,
        "cleanupPolicy": "Never",
        "suspend": False,
        "restartedAt": "2026-01-31T12:00:00Z",
        "job": {
            "metadata": {"annotations": {"a": "b"}},
            "spec": {
                "priorityClassName": "low",
                "containers": [
                    {
                        "name": "job",
                        "image": "r:own",
                        "imagePullPolicy": "Always",
                        "command": ["/run"],
                        "args": ["a", "b"],
                        "env": [{"name": "COUNT", "value": "1"}],
                        "resources": {"requests": {"cpu": 1}},
                        "workingDir": "/w",
                    },
                    {"name": "side", "image": "s"},
                ],
            },
        },
        "cluster": {
            "metadata": {"labels": {"team": "a", "kind": "cluster"}},
            "spec": {
                "image": "r:2",
                "drainTimeout": 9,
                "idleTimeout": 600,
                "worker": {"replicas": 3, "spec": {"containers": [worker]}},
                "workerGroups": [
                    {
                        "name": "big",
                        "worker": {
                            "replicas": 1,
                            "resources": {"GPU": 1},
                            "spec": {"containers": [{**worker, "image": "g:2"}]},
                        },
                    }
                ],
            },
        },
    }


def test_an_autoscaler_lies_inside_and_replicas_are_left_out(helm: Helm, values: Write) -> None:
    """Beside it, it would wait for a cluster that is there only while the job runs."""
    path = values(f"""
    defaults: {{worker: {{replicas: 3}}}}
    jobs: {{report: {{{ARGS}, cluster: {{autoscaler: {{minimum: 0, maximum: 9, scaleUp: {{maxPercent: 50}}}}}}}}}}
    """)
    (job,) = [m for m in helm.render("--values", path) if m["kind"].startswith("Dask")]
    spec = job["spec"]["cluster"]["spec"]
    scaler = {"minimum": 0, "maximum": 9, "scaleUp": {"maxPercent": 50}}
    assert spec == {"autoscaler": scaler}


def test_removed_by_enabled_false(helm: Helm, values: Write) -> None:
    path = values(f"jobs: {{a: {{enabled: false}}, b: {{{ARGS}}}}}")
    names = {m["metadata"]["name"] for m in helm.render("--values", path) if m["kind"] == "DaskJob"}
    assert names == {"b"}


CASES = {
    "nothing to run": ("jobs: {a: {}}", ["jobs.a: there is nothing to run"]),
    "an empty key": ("jobs: {a: }", ["jobs.a: there is nothing to run"]),
    "the name of a cluster": (
        f"{{clusters: {{a: {{}}}}, jobs: {{a: {{{ARGS}}}}}}}",
        ["clusters.a and jobs.a both mean the DaskCluster"],
    ),
    "a group of another cluster": (
        f"{{clusters: {{a: {{workerGroups: {{b-g: {{}}}}}}}}, jobs: {{a-b: {{{ARGS}, cluster: {{workerGroups: {{g: {{}}}}}}}}}}}}",
        ["clusters.a.workerGroups.b-g and jobs.a-b.cluster.workerGroups.g", "a-b-g"],
    ),
    "upper-case name": (f"jobs: {{Report: {{{ARGS}}}}}", ["jobs.Report", "lower-case"]),
    "name too long": (f"jobs: {{{'a' * 54}: {{{ARGS}}}}}", ["54 characters", "at most 53"]),
    "group called default": (
        f"jobs: {{a: {{{ARGS}, cluster: {{workerGroups: {{default: {{}}}}}}}}}}",
        ["jobs.a.cluster.workerGroups.default", "jobs.a.cluster.worker"],
    ),
    "two who have the number": (
        f"jobs: {{a: {{{ARGS}, cluster: {{worker: {{replicas: 1}}, autoscaler: {{minimum: 1, maximum: 2}}}}}}}}",
        ["jobs.a.cluster.worker.replicas and jobs.a.cluster.autoscaler"],
    ),
    "an action without a timeout": (
        f"jobs: {{a: {{{ARGS}, cluster: {{idle: {{action: Scale}}}}}}}}",
        ["jobs.a.cluster.idle.action is Scale"],
    ),
    "a roll-out that cannot move": (
        f"jobs: {{a: {{{ARGS}, cluster: {{updateStrategy: {{maxSurge: 0}}}}}}}}",
        ["jobs.a.cluster.updateStrategy", "both be 0"],
    ),
    "typo": (f"jobs: {{a: {{{ARGS}, backofLimit: 3}}}}", ["a", "backofLimit"]),
    "typo in its cluster": (
        f"jobs: {{a: {{{ARGS}, cluster: {{wokers: 3}}}}}}",
        ["cluster", "wokers"],
    ),
    "its cluster is not suspended by itself": (
        f"jobs: {{a: {{{ARGS}, cluster: {{suspend: true}}}}}}",
        ["a", "cluster", "suspend"],
    ),
    "an autoscaler of a group": (
        f"jobs: {{a: {{{ARGS}, cluster: {{workerGroups: {{g: {{autoscaler: {{}}}}}}}}}}}}",
        ["g", "autoscaler"],
    ),
    "arguments in one string": ("jobs: {a: {args: python -m x}}", ["a", "args"]),
    "a number as an argument": ("jobs: {a: {args: [sleep, 5]}}", ["a", "args"]),
    "negative backoffLimit": (f"jobs: {{a: {{{ARGS}, backoffLimit: -1}}}}", ["a", "backoffLimit"]),
    "no time at all": (
        f"jobs: {{a: {{{ARGS}, activeDeadlineSeconds: 0}}}}",
        ["a", "activeDeadlineSeconds"],
    ),
    "a bad cleanupPolicy": (
        f"jobs: {{a: {{{ARGS}, cleanupPolicy: always}}}}",
        ["a", "cleanupPolicy"],
    ),
    "restartedAt without a time zone": (
        f"jobs: {{a: {{{ARGS}, restartedAt: '2026-01-31T12:00:00'}}}}",
        ["a", "restartedAt"],
    ),
    "a list of jobs": ("jobs: [a]", ["jobs"]),
}


@pytest.mark.parametrize(("text", "words"), CASES.values(), ids=CASES.keys())
def test_refused(helm: Helm, values: Write, text: str, words: list[str]) -> None:
    told = helm.refusal("--values", values(text))
    for word in words:
        assert word in told


def runner_pods(helm: Helm) -> list[dict[str, Any]]:
    path = ROOT / "ci/all-options-values.yaml"
    jobs = [m for m in helm.render("--values", path) if m["kind"] == "DaskJob"]
    assert jobs
    return [j["spec"]["job"]["spec"] for j in jobs]


def test_a_runner_fits_kubernetes(helm: Helm) -> None:
    for spec in runner_pods(helm):
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(body, kubernetes_validate.latest_version(), strict=True)


def test_the_nightly_job_is_what_kubernetes_and_our_definition_want() -> None:
    manifests = load_all((ROOT / "values/manifests/nightly.yaml").read_text(encoding="utf-8"))
    kinds = {m["kind"]: m for m in manifests}
    assert set(kinds) == {"ConfigMap", "CronJob", "ServiceAccount", "Role", "RoleBinding"}
    for manifest in manifests:
        for version in ("1.30", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(manifest, version, strict=True)
    (job,) = load_all(kinds["ConfigMap"]["data"]["job.yaml"])
    schema = definitions()["DaskJob"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.validate(job, strict(schema))
    assert kinds["Role"]["rules"] == [
        {"apiGroups": ["kubernetes.dask.org"], "resources": ["daskjobs"], "verbs": ["create"]}
    ]
