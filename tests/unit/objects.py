"""Raw objects as the API server hands them out, and their views, for tests."""

from __future__ import annotations

from typing import Any

from dask_gitops.resources.inject import ControlApi
from dask_gitops.resources.observed import CustomResource, Pod, Service

JSON = dict[str, Any]

T0 = 1_893_456_000.0  # 2030-01-01T00:00:00Z
TIME = "2030-01-01T00:00:00Z"
CONTROL = ControlApi(
    "import os; load()",
    "import os; beside()",
    "CONTROL_SOURCE",
    "the source",
    "SCHEDULER_CONTROL_TOKEN",
)


def cluster(spec: JSON | None = None, *, status: JSON | None = None, **meta: Any) -> CustomResource:
    return CustomResource.of(
        {
            "kind": "DaskCluster",
            "metadata": {
                "name": "demo",
                "namespace": "ns",
                "uid": "cluster-uid",
                "generation": 1,
                "creationTimestamp": TIME,
                **meta,
            },
            "spec": spec or {},
            "status": status or {},
        }
    )


def group(
    spec: JSON | None = None, *, name: str = "demo-default", status: JSON | None = None, **meta: Any
) -> CustomResource:
    return CustomResource.of(
        {
            "kind": "DaskWorkerGroup",
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"{name}-uid",
                "generation": 1,
                "creationTimestamp": TIME,
                **meta,
            },
            "spec": {"cluster": "demo", **(spec or {})},
            "status": status or {},
        }
    )


def owned(uid: str = "cluster-uid") -> list[JSON]:
    return [{"kind": "DaskCluster", "name": "demo", "uid": uid, "controller": True}]


def raw_pod(
    name: str,
    component: str,
    *,
    labels: JSON | None = None,
    annotations: JSON | None = None,
    owner: str | None = "cluster-uid",
    deleting: str | None = None,
    node: bool = True,
    status: JSON | None = None,
    spec: JSON | None = None,
) -> JSON:
    meta: JSON = {
        "name": name,
        "namespace": "ns",
        "uid": f"{name}-uid",
        "creationTimestamp": TIME,
        "labels": {
            "dask.org/cluster-name": "demo",
            "dask.org/component": component,
            **(labels or {}),
        },
        "annotations": annotations or {},
    }
    if owner:
        meta["ownerReferences"] = owned(owner)
    if deleting:
        meta["deletionTimestamp"] = deleting
    main: JSON = {"name": component, "image": "dask:1"}
    if component == "scheduler":
        main["env"] = [{"name": CONTROL.token_env, "value": "secret"}]
    return {
        "metadata": meta,
        "spec": {"containers": [main], **({"nodeName": "n1"} if node else {}), **(spec or {})},
        "status": status or {},
    }


def running(
    ip: str = "10.0.0.1", *, ready: bool = True, name: str = "worker", restarts: int = 0
) -> JSON:
    """Status of a pod whose container runs."""
    return {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": TIME},
            {"type": "Ready", "status": str(ready), "lastTransitionTime": TIME},
        ],
        "containerStatuses": [
            {
                "name": name,
                "ready": ready,
                "restartCount": restarts,
                "image": "dask:1",
                "state": {"running": {"startedAt": TIME}},
            }
        ],
    }


def scheduler(**kwargs: Any) -> Pod:
    kwargs.setdefault("status", running("10.0.1.1", name="scheduler"))
    return Pod.of(raw_pod("demo-scheduler", "scheduler", **kwargs))


def worker(
    serial: int = 0, *, group: str = "demo-default", retiring: str | None = None, **kwargs: Any
) -> Pod:
    """A worker pod with address 10.0.0.<serial + 1>, running and ready."""
    kwargs.setdefault("status", running(f"10.0.0.{serial + 1}"))
    annotations = kwargs.pop("annotations", {})
    if retiring:
        annotations = {**annotations, "dask.org/retiring": retiring}
    return Pod.of(
        raw_pod(
            f"{group}-worker-{serial}",
            "worker",
            labels={"dask.org/workergroup-name": group, "dask.org/worker-serial": str(serial)},
            annotations=annotations,
            **kwargs,
        )
    )


def pending(serial: int = 0, **kwargs: Any) -> Pod:
    """A worker pod that has no node yet."""
    return worker(serial, node=False, status={"phase": "Pending"}, **kwargs)


def ended(serial: int = 0, phase: str = "Failed", **kwargs: Any) -> Pod:
    return worker(serial, status={"phase": phase}, **kwargs)


def service(owner: str | None = "cluster-uid", **annotations: str) -> Service:
    return Service.of(
        {
            "metadata": {
                "name": "demo-scheduler",
                "namespace": "ns",
                "uid": "service-uid",
                "creationTimestamp": TIME,
                "labels": {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"},
                "annotations": annotations,
                **({"ownerReferences": owned(owner)} if owner else {}),
            }
        }
    )
