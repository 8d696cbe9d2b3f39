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
    "a limit that is no quantity": (
        "clusters: {demo: {worker: {resources: {limits: {memory: lots}}}}}",
        ["demo", "worker", "resources", "limits", "memory", "lots|pattern"],
    ),
    "a request of the scheduler that is no quantity": (
        "clusters: {demo: {scheduler: {resources: {requests: {memory: 4 GiB}}}}}",
        ["demo", "scheduler", "resources", "requests", "memory", "4 GiB|pattern"],
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
    "typo in updateStrategy": (
        "clusters: {demo: {updateStrategy: {maxSurges: 1}}}",
        ["demo", "updateStrategy", "maxSurges"],
    ),
    "typo in a group's updateStrategy": (
        "clusters: {demo: {workerGroups: {gpu: {updateStrategy: {maxUnvailable: 1}}}}}",
        ["gpu", "updateStrategy", "maxUnvailable"],
    ),
    "a group has no scheduler": (
        "clusters: {demo: {workerGroups: {gpu: {updateStrategy: {scheduler: WhenIdle}}}}}",
        ["gpu", "updateStrategy", "'scheduler'|property scheduler "],
    ),
    "a bad updateStrategy.scheduler": (
        "clusters: {demo: {updateStrategy: {scheduler: whenIdle}}}",
        ["demo", "updateStrategy", "scheduler", "WhenIdle"],
    ),
    "negative maxSurge": (
        "clusters: {demo: {updateStrategy: {maxSurge: -1}}}",
        ["demo", "updateStrategy", "maxSurge", "-1|greater than or equal to 0"],
    ),
    "negative maxUnavailable in the defaults": (
        "defaults: {updateStrategy: {maxUnavailable: -1}}",
        ["defaults", "updateStrategy", "maxUnavailable"],
    ),
    "half a worker of surge": (
        "clusters: {demo: {updateStrategy: {maxSurge: 0.5}}}",
        ["demo", "updateStrategy", "maxSurge"],
    ),
    "a number of surge as a string": (
        "clusters: {demo: {updateStrategy: {maxSurge: '1'}}}",
        ["demo", "updateStrategy", "maxSurge", "%"],
    ),
    "a negative percentage": (
        "clusters: {demo: {workerGroups: {gpu: {updateStrategy: {maxUnavailable: -5%}}}}}",
        ["demo", "gpu", "updateStrategy", "maxUnavailable", "%"],
    ),
    "nothing may surge, nothing may be missing": (
        "clusters: {demo: {updateStrategy: {maxSurge: 0, maxUnavailable: 0}}}",
        ["clusters.demo.updateStrategy", "maxSurge", "maxUnavailable", "both be 0"],
    ),
    "the same in percent and by default": (
        "clusters: {demo: {updateStrategy: {maxSurge: 0%}}}",
        ["clusters.demo.updateStrategy", "both be 0"],
    ),
    "the same in a group": (
        "clusters: {demo: {workerGroups: {gpu: {updateStrategy: {maxSurge: 0, maxUnavailable: 00%}}}}}",
        ["clusters.demo.workerGroups.gpu.updateStrategy", "both be 0"],
    ),
    "the same from two places": (
        "{defaults: {updateStrategy: {maxSurge: 0, maxUnavailable: 1}}, clusters: {demo: {updateStrategy: {maxUnavailable: 0}}}}",
        ["clusters.demo.updateStrategy", "both be 0"],
    ),
    "the same from cluster and group": (
        "clusters: {demo: {updateStrategy: {maxSurge: 0, maxUnavailable: 1}, workerGroups: {gpu: {updateStrategy: {maxUnavailable: 0}}}}}",
        ["clusters.demo.workerGroups.gpu.updateStrategy", "both be 0"],
    ),
    "negative schedulerDeadlineSeconds": (
        "clusters: {demo: {updateStrategy: {schedulerDeadlineSeconds: -1}}}",
        ["demo", "updateStrategy", "schedulerDeadlineSeconds"],
    ),
    "no progressDeadlineSeconds": (
        "clusters: {demo: {progressDeadlineSeconds: 0}}",
        ["demo", "progressDeadlineSeconds"],
    ),
    "progressDeadlineSeconds in a group": (
        "clusters: {demo: {workerGroups: {gpu: {progressDeadlineSeconds: 5}}}}",
        ["gpu", "progressDeadlineSeconds"],
    ),
    "a bad whenUnreachable": (
        "clusters: {demo: {whenUnreachable: drain}}",
        ["demo", "whenUnreachable", "Drain"],
    ),
    "restartedAt without a time": (
        "clusters: {demo: {restartedAt: 2026-01-31}}",
        ["demo", "restartedAt"],
    ),
    "restartedAt without a time zone": (
        "clusters: {demo: {restartedAt: '2026-01-31T12:00:00'}}",
        ["demo", "restartedAt"],
    ),
    "restartedAt in a month that is none": (
        "clusters: {demo: {restartedAt: '2026-13-31T12:00:00Z'}}",
        ["demo", "restartedAt"],
    ),
    "restartedAt in words": ("clusters: {demo: {restartedAt: now}}", ["demo", "restartedAt"]),
    "restartedAt as a number": (
        "clusters: {demo: {restartedAt: 1769860800}}",
        ["demo", "restartedAt"],
    ),
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
}


@pytest.mark.parametrize(("text", "words"), CASES.values(), ids=CASES.keys())
def test_bad_values_are_refused_by_name(
    helm: Helm, values: Callable[[str], Path], text: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(text))
    for word in words:
        assert any(choice in told for choice in word.split("|")), f"{word!r} is not in: {told}"


def test_disabled_keys_are_not_checked(helm: Helm, values: Callable[[str], Path]) -> None:
    """A cluster that is not rendered cannot be wrong."""
    text = "clusters: {a: {enabled: false, workerGroups: {b-default: {}}}, a-b: {}, A.B: {enabled: false}}"
    assert helm.template("--values", values(text)).returncode == 0
