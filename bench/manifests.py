"""What is applied: the same Pod specs for everybody, written out in full, as the existing operator fills nothing in."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

JSON = dict[str, Any]
NAMESPACE = "default"
CLUSTER = "dask.org/cluster-name"
COMPONENT = "dask.org/component"
START = 3  # workers before the scale-up, in each of the many clusters, and on the real node
PORTS = (("tcp-comm", 8786), ("http-dashboard", 8787))
GRACE = {"terminationGracePeriodSeconds": 2}  # nobody waits for the end of what was measured


def scheduler_spec(image: str) -> JSON:
    health = {
        "httpGet": {"path": "/health", "port": "http-dashboard"},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
    }
    return {
        **GRACE,
        "containers": [
            {
                "name": "scheduler",
                "image": image,
                "args": ["dask", "scheduler"],
                "ports": [{"name": name, "containerPort": port} for name, port in PORTS],
                "readinessProbe": health,
            }
        ],
    }


def worker_spec(image: str) -> JSON:
    words = ["--name", "$(DASK_WORKER_NAME)", "--no-nanny", "--nthreads", "1"]
    container = {"name": "worker", "image": image, "args": ["dask", "worker", *words]}
    return {**GRACE, "containers": [container]}


def service_spec(selector: JSON) -> JSON:
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in PORTS]
    return {"type": "ClusterIP", "selector": selector, "ports": ports}


def a_cluster(name: str, workers: int, image: str, *, pretended: bool = True) -> JSON:
    """A DaskCluster that means the same to both controllers.

    :param pretended: its Service selects nothing, as EndpointSlices refuse the loopback addresses of pretended pods.
    """
    selector = {CLUSTER: name, COMPONENT: "scheduler"}
    service = service_spec({"nothing": "here"} if pretended else selector)
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "worker": {"replicas": workers, "spec": worker_spec(image)},
            "scheduler": {"spec": scheduler_spec(image), "service": service},
        },
    }


def bare_pods(name: str, workers: int, image: str) -> list[JSON]:
    """The same without a controller, and with labels that none looks at: Service, scheduler, workers that find it."""
    labels = {"app": name, "part": "scheduler"}
    meta = {"name": f"{name}-scheduler", "namespace": NAMESPACE, "labels": labels}
    found: list[JSON] = [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service_spec(labels)},
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": scheduler_spec(image)},
    ]
    address = f"tcp://{name}-scheduler.{NAMESPACE}.svc.cluster.local:8786"
    for number in range(workers):
        worker = f"{name}-worker-{number}"
        spec = copy.deepcopy(worker_spec(image))
        spec["containers"][0]["env"] = [
            {"name": "DASK_WORKER_NAME", "value": worker},
            {"name": "DASK_SCHEDULER_ADDRESS", "value": address},
        ]
        labels = {"app": name, "part": "worker"}
        meta = {"name": worker, "namespace": NAMESPACE, "labels": labels}
        found.append({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    return found


def an_autoscaler(cluster: str) -> JSON:
    """One that keeps the workers that there are."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": cluster, "namespace": NAMESPACE},
        "spec": {"cluster": cluster, "minimum": START, "maximum": 2 * START},
    }


def as_text(manifests: Iterable[JSON]) -> str:
    """For kubectl."""
    return "\n---\n".join(json.dumps(manifest) for manifest in manifests)
