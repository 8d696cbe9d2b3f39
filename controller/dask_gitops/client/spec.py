"""Pure: the objects that Python users get without writing one.

Equal arguments give what the existing operator's client gives, but for what only stands in the way:
no image where none was named (the platform's default counts), no nulls, and no probes (the
controller's are better).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dask_gitops.client import arguments
from dask_gitops.resources import labels, names

JSON = dict[str, Any]
Env = Mapping[str, str] | Sequence[Mapping[str, Any]]


def make_cluster_spec(
    name: str,
    image: str | None = None,
    n_workers: int | None = None,
    resources: Mapping[str, Any] | None = None,
    env: Env | None = None,
    worker_command: str | Sequence[str] = "dask-worker",
    scheduler_service_type: str = "ClusterIP",
    idle_timeout: float = 0,
    jupyter: bool = False,
) -> JSON:
    """A DaskCluster.

    :param resources: of scheduler and workers: ``{"limits": {...}, "requests": {...}}``.
    :param idle_timeout: seconds after which an idle cluster is deleted; 0: never.
    :raises TypeError, ValueError: an argument cannot be that; the message names it.
    """
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "idleTimeout": idle_timeout,
            "worker": make_worker_spec(image, n_workers, resources, env, worker_command),
            "scheduler": make_scheduler_spec(
                name, env, resources, image, scheduler_service_type, jupyter
            ),
        },
    }


def make_worker_spec(
    image: str | None = None,
    n_workers: int | None = 3,
    resources: Mapping[str, Any] | None = None,
    env: Env | None = None,
    worker_command: str | Sequence[str] = "dask-worker",
) -> JSON:
    """``spec.worker`` of a DaskCluster or DaskWorkerGroup.

    :param n_workers: None: whoever owns the number, such as an autoscaler, says it.
    """
    port = names.WORKER_DASHBOARD_PORT
    words = [
        *arguments.words("worker_command", worker_command),
        "--name",
        "$(DASK_WORKER_NAME)",
        "--dashboard",
        "--dashboard-address",
        str(port),
    ]
    container = {
        **_container("worker", image, words, env, resources),
        "ports": [{"name": "http-dashboard", "containerPort": port, "protocol": "TCP"}],
    }
    spec: JSON = {"spec": {"containers": [container]}}
    if n_workers is not None:
        spec["replicas"] = arguments.count("n_workers", n_workers)
    return spec


def make_scheduler_spec(
    cluster_name: str,
    env: Env | None = None,
    resources: Mapping[str, Any] | None = None,
    image: str | None = None,
    scheduler_service_type: str = "ClusterIP",
    jupyter: bool = False,
) -> JSON:
    """``spec.scheduler`` of a DaskCluster."""
    words = ["dask-scheduler", "--host", "0.0.0.0", *(["--jupyter"] if jupyter else [])]
    ports = {"tcp-comm": names.COMM_PORT, "http-dashboard": names.DASHBOARD_PORT}
    container = {
        **_container("scheduler", image, words, env, resources),
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()
        ],
    }
    return {
        "spec": {"containers": [container]},
        "service": {
            "type": scheduler_service_type,
            "selector": labels.cluster_selector(cluster_name, labels.SCHEDULER),
            "ports": [
                {"name": name, "protocol": "TCP", "port": port, "targetPort": name}
                for name, port in ports.items()
            ],
        },
    }


def _container(
    name: str,
    image: str | None,
    words: list[str],
    env: Env | None,
    resources: Mapping[str, Any] | None,
) -> JSON:
    """What both kinds of containers have; nothing stands for what was not given."""
    found = {
        "name": name,
        "image": image,
        "args": words,
        "env": arguments.env(env),
        "resources": arguments.resources("resources", resources),
    }
    return {key: value for key, value in found.items() if value is not None}
