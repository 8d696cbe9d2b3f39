"""Manifests as users of the existing Dask operator have them, and by hand what should come of them.

``*.yaml`` are the manifests, written for these tests; the first lines of each name its source. ``expected/*.yaml`` are
the objects that a cluster or a group means: whole, but for what :func:`expected` adds to all of them, and for words in
angle brackets that stand for something.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from dask_gitops.resources.names import worker_name
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import owner_reference, scheduler_revision, worker_revision
from dask_gitops.resources.services import service_revision

JSON = dict[str, Any]
HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.yaml"))
CLUSTERS = sorted(path.stem for path in (HERE / "expected").glob("*.yaml"))  # those with pods

_HEALTH = {"path": "/health"}
_PROBES: dict[str, JSON] = {
    "startup": {"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 600},
    "readiness": {"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 10},
    "liveness": {"periodSeconds": 20, "timeoutSeconds": 10, "failureThreshold": 6},
    "worker readiness": {"periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 15},
}
_LOST_NODES = [
    {
        "key": f"node.kubernetes.io/{key}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 60,
    }
    for key in ("not-ready", "unreachable")
]


def manifests(name: str) -> list[JSON]:
    """The manifests of that file, in order."""
    return list(yaml.safe_load_all((HERE / f"{name}.yaml").read_text()))


def expected(
    name: str,
    cluster: CustomResource,
    groups: list[CustomResource],
    *,
    control_api: list[JSON],
    hand_over: list[JSON],
) -> dict[str, JSON]:
    """What should come of them, by ``kind name``, with what all of them have: kind, name, namespace and owner.

    ``<startup 8789>`` and the like stand for the controller's probe of that port, ``<lost nodes>`` for its tolerations,
    ``<... worker>`` for the name of a group's first worker, ``<declared>`` for the cluster's own ``spec.worker``.

    :param groups: all groups of this cluster.
    :param control_api: the variables that bring the control API into a scheduler.
    :param hand_over: the variables that make a worker hand its keys over.
    """
    worker = cluster.spec["worker"]
    words: JSON = {
        "namespace": cluster.meta.namespace,
        "lost nodes": _LOST_NODES,
        "control api": control_api,
        "hand-over": hand_over,
        "declared": {k: v for k, v in worker.items() if k != "cluster" and v is not None},
        "scheduler revision": scheduler_revision(cluster),
        "service revision": service_revision(cluster),
    }
    for group in groups:
        words[f"{group.meta.name} worker"] = worker_name(group.meta.name, cluster.meta.uid, 0)
        words[f"{group.meta.name} revision"] = worker_revision(cluster, group)
    whole: dict[str, JSON] = _expand(
        yaml.safe_load((HERE / "expected" / f"{name}.yaml").read_text()), words
    )
    for key, manifest in whole.items():
        kind, called = key.split(" ")
        manifest["kind"] = kind
        manifest["apiVersion"] = "kubernetes.dask.org/v1" if kind.startswith("Dask") else "v1"
        notes = manifest["metadata"].get("annotations") or {}
        if notes.get("cluster-autoscaler.kubernetes.io/safe-to-evict") == "false":
            notes["karpenter.sh/do-not-disrupt"] = "true"
        manifest["metadata"] |= {
            "name": called,
            "namespace": cluster.meta.namespace,
            "ownerReferences": [owner_reference(cluster)],
        }
    return whole


def _expand(value: Any, words: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {_expand(k, words): _expand(v, words) for k, v in value.items()}
    if isinstance(value, list):
        out: list[Any] = []
        for item in value:
            new = _expand(item, words)
            out += new if isinstance(new, list) and isinstance(item, str) else [new]
        return out
    if not isinstance(value, str):
        return value
    probe = re.fullmatch(r"<([a-z ]+) (\d+)>", value)
    if probe:
        return {"httpGet": {**_HEALTH, "port": int(probe[2])}, **_PROBES[probe[1]]}
    word = re.fullmatch(r"<([^<>]+)>", value)
    if word and word[1] in words:
        return words[word[1]]
    return re.sub(r"<([^<>]+)>", lambda m: str(words.get(m[1], m[0])), value)
