"""Custom resources for the tests of this tier."""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]


def resource(kind: str, name: str, spec: JSON, **metadata: Any) -> JSON:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def cluster(name: str = "demo", replicas: int | None = 2, **spec: Any) -> JSON:
    """A DaskCluster whose Service selects nothing: pretended pods have loopback addresses, which EndpointSlices refuse."""
    worker = spec.pop("worker", {})
    if replicas is not None:
        worker = {"replicas": replicas, **worker}
    scheduler = {"service": {"selector": {"nothing": "here"}}, **spec.pop("scheduler", {})}
    return resource("DaskCluster", name, {"worker": worker, "scheduler": scheduler, **spec})


def group(name: str, replicas: int | None = 1, cluster: str = "demo", **worker: Any) -> JSON:
    if replicas is not None:
        worker["replicas"] = replicas
    return resource("DaskWorkerGroup", name, {"cluster": cluster, "worker": worker})


def pod_spec(**fields: Any) -> JSON:
    return {"spec": {"containers": [{"name": "worker", **fields}]}}
