"""A worker's Pod of the classic KubeCluster, and the whole DaskCluster that comes of it."""

from __future__ import annotations

import copy
import inspect
import json
from typing import Any

from dask_gitops import KubeCluster
from dask_gitops.client.classic.front import hear
from dask_gitops.client.classic.spoken import Spoken
from dask_gitops.client.settings import configured, settings
from dask_gitops.client.wanted import Wanted, wanted

JSON = dict[str, Any]
TOKENS = {"user": "Ann.Lee", "uuid": "0123456789"}
#: As the classic documentation has it.
WORDS = ["dask-worker", "--nthreads", "2", "--no-dashboard", "--memory-limit", "6GB", "--death-timeout", "60"]  # fmt: skip
POD: JSON = {
    "kind": "Pod",
    "metadata": {"labels": {"foo": "bar"}, "annotations": {"note": "x"}},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "image": "dask:1",
                "imagePullPolicy": "IfNotPresent",
                "args": WORDS,
                "name": "dask",
                "env": [{"name": "EXTRA_PIP_PACKAGES", "value": "git+https://example.com/x"}],
                "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}},
            }
        ],
    },
}


def placed(component: str) -> JSON:
    return {
        "tolerations": [
            {"key": key, "operator": "Equal", "value": component, "effect": "NoSchedule"}
            for key in ("k8s.dask.org/dedicated", "k8s.dask.org_dedicated")
        ],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "preference": wish(component)}
                ]
            }
        },
    }


def wish(component: str) -> JSON:
    return {
        "matchExpressions": [
            {"key": "k8s.dask.org/node-purpose", "operator": "In", "values": [component]}
        ]
    }


METADATA: JSON = {
    "labels": {"foo": "bar", "user": "annlee", "app": "dask"},
    "annotations": {"note": "x"},
}
BOTH: JSON = {
    "image": "dask:1",
    "imagePullPolicy": "IfNotPresent",
    "env": [{"name": "EXTRA_PIP_PACKAGES", "value": "git+https://example.com/x"}],
}
WHOLE: JSON = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskCluster",
    "metadata": {"name": "demo"},
    "spec": {
        "idleTimeout": 0,
        "worker": {
            "replicas": 0,
            "metadata": METADATA,
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        **BOTH,
                        "name": "worker",
                        "args": [*WORDS, "--name", "$(DASK_WORKER_NAME)"],
                        "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}},
                    }
                ],
                **placed("worker"),
            },
        },
        "scheduler": {
            "metadata": METADATA,
            "spec": {
                "restartPolicy": "Never",
                "containers": [{**BOTH, "name": "scheduler", "args": ["dask-scheduler"]}],
                **placed("scheduler"),
            },
            "service": {"type": "ClusterIP"},
        },
    },
}
PDB = (
    "scheduler-pdb-template is not carried over: a PodDisruptionBudget is an object beside the "
    "cluster: write it into git with the DaskCluster"
)
RESOURCES = "the worker's resources are not carried over to the scheduler: scheduler_resources= says its own"


def changed(*changes: tuple[str, Any]) -> JSON:
    """`WHOLE` with other values at some paths; None: the key is not there."""
    found = json.loads(json.dumps(WHOLE))  # nothing in it twice
    for path, value in changes:
        here: Any = found
        *way, last = path.split(".")
        for key in way:
            here = here[int(key)] if isinstance(here, list) else here.setdefault(key, {})
        if value is None:
            del here[last]
        else:
            here[last] = value
    return found


def with_pod(**container: Any) -> JSON:
    found = copy.deepcopy(POD)
    found["spec"]["containers"][0].update(container)
    return found


def heard(pod: Any, **given: Any) -> tuple[Spoken, Wanted]:
    """As KubeCluster does it."""
    words = {key: value for key, value in given.items() if key not in OURS}
    ours = {key: given.get(key) for key in OURS}
    said = hear(ours, pod, words, ())
    what = wanted(settings(said.given, configured()), said.given, TOKENS, pods=said.pods)
    return said, what


OURS = tuple(
    name
    for name, one in inspect.signature(KubeCluster).parameters.items()
    if one.kind is one.KEYWORD_ONLY
)


def made(pod: Any = POD, **given: Any) -> JSON:
    return heard(pod, **{"name": "demo", **given})[1].objects.cluster


def remarks(pod: Any = POD, **given: Any) -> list[str]:
    said, what = heard(pod, **{"name": "demo", **given})
    return [*said.remarks, *what.remarks]


ENV = BOTH["env"]
ENV_PATHS = ("spec.worker.spec.containers.0.env", "spec.scheduler.spec.containers.0.env")
