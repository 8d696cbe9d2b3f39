"""Names and addresses of everything that belongs to a Dask cluster. Users' scripts rely on them."""

from __future__ import annotations

import hashlib

COMM_PORT = 8786  # Dask's own protocol
DASHBOARD_PORT = 8787  # HTTP: Dask's dashboard
WORKER_DASHBOARD_PORT = 8788  # HTTP of a worker: dashboard, /health
CONTROL_PORT = 8789  # HTTP of ours inside a scheduler: control API, /health


def port_number(text: str) -> int | None:
    """The port that a text is; None: it is none."""
    fits = text.isdecimal() and text.isascii() and len(text) < 6
    return int(text) if fits and 0 < int(text) < 2**16 else None


def scheduler_name(cluster: str) -> str:
    """Name of the scheduler's Pod and of its Service."""
    return f"{cluster}-scheduler"


def default_group_name(cluster: str) -> str:
    """Name of the DaskWorkerGroup that the cluster itself declares (``spec.worker``)."""
    return f"{cluster}-default"


def worker_name(group: str, cluster_uid: str, serial: int) -> str:
    """Name of a worker Pod: ``<group>-worker-<10 hex>``.

    It follows from (cluster uid, group, serial), so that a create that is repeated after a timeout, by a stale
    cache or by a second leader meets 409 AlreadyExists instead of making a twin.
    """
    digest = hashlib.sha256(f"{cluster_uid}/{group}/{serial}".encode()).hexdigest()
    return f"{group}-worker-{digest[:10]}"


def runner_name(job: str, attempt: int = 1) -> str:
    """Name of a job's runner Pod: ``<job>-runner``, and ``<job>-runner-2`` ... of the attempts after the first.

    Each attempt has a name of its own, so that none is made twice, and the logs of those that failed stay.
    """
    return f"{job}-runner" if attempt == 1 else f"{job}-runner-{attempt}"


def is_runner_name(name: str, job: str) -> bool:
    """Is this what a runner Pod of that job is called?"""
    base, _, number = name.partition(f"{job}-runner")
    return not base and (not number or (number[0] == "-" and number[1:].isdecimal()))


def scheduler_address(
    cluster: str, namespace: str, scheme: str = "tcp", port: int = COMM_PORT
) -> str:
    """A scheduler's address by its Service, for workers and clients inside the Kubernetes cluster."""
    return f"{scheme}://{scheduler_name(cluster)}.{namespace}.svc:{port}"


def dashboard_address(
    cluster: str, namespace: str, scheme: str = "http", port: int = DASHBOARD_PORT
) -> str:
    """A dashboard's address by the Service, seen from inside the Kubernetes cluster."""
    return f"{scheme}://{scheduler_name(cluster)}.{namespace}.svc:{port}"
