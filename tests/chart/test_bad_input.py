"""What users get wrong is an error that names the key, in every Helm, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Helm

LONG = "a" * 54

CASES = {
    "typo at the top": ("cluster: {demo: {}}", ["'cluster'|property cluster "]),
    "typo in a cluster": ("clusters: {demo: {wokers: {}}}", ["demo", "wokers"]),
    "typo in a worker": (
        "clusters: {demo: {worker: {replica: 3}}}",
        ["demo", "worker", "'replica'|property replica "],
    ),
    "typo in a scheduler": (
        "clusters: {demo: {scheduler: {replicas: 3}}}",
        ["demo", "scheduler", "replicas"],
    ),
    "typo in a group": (
        "clusters: {demo: {workerGroups: {gpu: {worker: {}}}}}",
        ["demo", "gpu", "'worker'|property worker "],
    ),
    "typo in defaults": ("defaults: {workers: {}}", ["defaults", "workers"]),
    "typo in resources": (
        "clusters: {demo: {worker: {resources: {request: {}}}}}",
        ["demo", "worker", "resources", "request"],
    ),
    "typo in podTemplate": (
        "clusters: {demo: {worker: {podTemplate: {tolerations: []}}}}",
        ["podTemplate", "tolerations"],
    ),
    "typo in an environment variable": (
        "clusters: {demo: {worker: {env: {A: {valuefrom: {}}}}}}",
        ["env", "A", "valuefrom"],
    ),
    "typo in controller": ("controller: {replica: 2}", ["controller", "replica"]),
    "typo in crds": ("crds: {enable: true}", ["crds", "enable"]),
    "groups in defaults": ("defaults: {workerGroups: {}}", ["defaults", "workerGroups"]),
    "bad name of an environment variable": (
        "clusters: {demo: {worker: {env: {'A=B': x}}}}",
        ["A=B"],
    ),
    "dotted name": ("clusters: {my.cluster: {}}", ["clusters.my.cluster", "no dots"]),
    "upper-case name": ("clusters: {Demo: {}}", ["clusters.Demo", "lower-case"]),
    "name starts with a digit": ("clusters: {'1a': {}}", ["clusters.1a", "starts with a letter"]),
    "name ends with a dash": ("clusters: {a-: {}}", ["clusters.a-", "ends with"]),
    "name too long": (
        f"clusters: {{{LONG}: {{}}}}",
        [f"clusters.{LONG}", "54 characters", "at most 53"],
    ),
    "name that YAML takes for a truth value": ("clusters: {off: {}}", ["clusters.false", "quotes"]),
    "dotted group": (
        "clusters: {demo: {workerGroups: {a.b: {}}}}",
        ["clusters.demo.workerGroups.a.b", "no dots"],
    ),
    "group name too long": (
        f"clusters: {{demo: {{workerGroups: {{{'g' * 59}: {{}}}}}}}}",
        ["clusters.demo.workerGroups.ggg", "at most 63"],
    ),
    "group called default": (
        "clusters: {demo: {workerGroups: {default: {}}}}",
        ["clusters.demo.workerGroups.default", "clusters.demo.worker"],
    ),
    "two keys, one group": (
        "clusters: {a: {workerGroups: {b-default: {}}}, a-b: {}}",
        ["clusters.a.workerGroups.b-default", "clusters.a-b"],
    ),
    "negative replicas": (
        "clusters: {demo: {worker: {replicas: -1}}}",
        ["demo", "worker", "replicas", "-1|greater than or equal to 0"],
    ),
    "negative replicas in a group": (
        "clusters: {demo: {workerGroups: {gpu: {replicas: -1}}}}",
        ["demo", "gpu", "replicas"],
    ),
    "replicas in words": (
        "clusters: {demo: {worker: {replicas: many}}}",
        ["demo", "worker", "replicas", "external"],
    ),
    "replicas as a string": (
        "clusters: {demo: {worker: {replicas: '3'}}}",
        ["demo", "worker", "replicas"],
    ),
    "half a worker": (
        "clusters: {demo: {worker: {replicas: 1.5}}}",
        ["demo", "worker", "replicas"],
    ),
    "negative drainTimeout": ("clusters: {demo: {drainTimeout: -1}}", ["demo", "drainTimeout"]),
    "no threads": ("clusters: {demo: {worker: {nthreads: 0}}}", ["demo", "worker", "nthreads"]),
    "a list of clusters": ("clusters: [demo]", ["clusters"]),
    "a list of variables": (
        "clusters: {demo: {worker: {env: [{name: A, value: b}]}}}",
        ["demo", "worker", "env"],
    ),
    "a scalar for a cluster": ("clusters: {demo: 3}", ["clusters", "demo"]),
    "an image in one string": ("clusters: {demo: {image: 'dask:1'}}", ["demo", "image"]),
    "a tag without quotes": ("clusters: {demo: {image: {tag: 1.0}}}", ["demo", "image", "tag"]),
    "a bad digest": (
        "clusters: {demo: {image: {digest: 'sha256:12'}}}",
        ["demo", "image", "digest"],
    ),
    "a bad pullPolicy": (
        "clusters: {demo: {image: {pullPolicy: always}}}",
        ["demo", "image", "pullPolicy"],
    ),
    "a bad logFormat": ("controller: {logFormat: xml}", ["controller", "logFormat"]),
    "a bad namespace": ("controller: {watchNamespaces: [a.b]}", ["controller", "watchNamespaces"]),
    "negative replicas of the controller": (
        "controller: {replicas: -1}",
        ["controller", "replicas"],
    ),
    "a number as a variable of the controller": (
        "controller: {extraEnv: [{name: A, value: 1}]}",
        ["controller", "extraEnv", "value"],
    ),
    "a value not known yet": (
        "clusters: {demo: {autoscaler: {minimum: 1, maximum: 2}}}",
        ["demo", "autoscaler"],
    ),
}


@pytest.mark.parametrize(("text", "words"), CASES.values(), ids=CASES.keys())
def test_bad_values_are_refused_by_name(
    helm: Helm, values: Callable[[str], Path], text: str, words: list[str]
) -> None:
    done = helm.template("--values", values(text), check=False)
    assert done.returncode != 0, "accepted"
    assert "kind:" not in done.stdout
    for word in words:
        assert any(choice in done.stderr for choice in word.split("|")), (
            f"{word!r} is not in: {done.stderr}"
        )


def test_disabled_keys_are_not_checked(helm: Helm, values: Callable[[str], Path]) -> None:
    """A cluster that is not rendered cannot be wrong."""
    text = "clusters: {a: {enabled: false, workerGroups: {b-default: {}}}, a-b: {}, A.B: {enabled: false}}"
    assert helm.template("--values", values(text)).returncode == 0
