"""Pure: where workers, clients and people find a cluster's scheduler: through its Service."""

from __future__ import annotations

from typing import Any

from dask_gitops.model.podspec import Container, PodSpec
from dask_gitops.resources import labels, names
from dask_gitops.resources.listening import Listening, leaves_open, of_scheduler

JSON = dict[str, Any]


def scheduler_address(
    cluster: str, namespace: str, spec: JSON, told: Listening | None = None
) -> str:
    """Where workers and clients inside the Kubernetes cluster find the scheduler: ``tcp://demo-scheduler.ns.svc:8786``.

    :param spec: of the DaskCluster.
    :param told: where the scheduler says that it listens; None: what the spec says counts.
    """
    found = told or declared(spec)
    port = _through_service(spec, "tcp-comm", found.comm, names.COMM_PORT)
    return names.scheduler_address(cluster, namespace, found.scheme, port)


def dashboard_address(
    cluster: str, namespace: str, spec: JSON, told: Listening | None = None
) -> str:
    """Where the dashboard is, seen from inside the Kubernetes cluster; parameters as above."""
    found = told or declared(spec)
    port = _through_service(spec, "http-dashboard", found.http, names.DASHBOARD_PORT)
    return names.dashboard_address(cluster, namespace, found.http_scheme, port) + found.prefix


def unsaid(spec: JSON, told: Listening) -> list[str]:
    """What is to be written into the scheduler's container so that workers dial where it listens; nothing: they do.

    :param spec: of the DaskCluster.
    :param told: where the scheduler says that it listens.
    """
    said, out = declared(spec), []
    if told.scheme != said.scheme:
        out.append(f"the argument --protocol {told.scheme}")
    if told.comm != said.comm and not _leads_to(spec, told.comm):
        out.append(f"a port called tcp-comm with containerPort {told.comm}")
    return out


def _leads_to(spec: JSON, number: int) -> bool:
    """Does the user's own Service lead there?"""
    return _through_service(spec, "", number, 0) != 0


def declared(spec: JSON) -> Listening:
    """Where the scheduler listens, by what the cluster says of its container."""
    return of_scheduler(_main(spec))


def left_open(spec: JSON) -> bool:
    """May the scheduler listen elsewhere than the cluster's spec says?"""
    return leaves_open(_main(spec))


def _main(spec: JSON) -> Container:
    pod = (spec.get("scheduler") or {}).get("spec") or {}
    # Neither checked nor copied: what counts was read already, and each worker's manifest asks for it.
    return PodSpec.trusted(pod).main(labels.SCHEDULER) or Container({})


def _through_service(spec: JSON, name: str, number: int, default: int) -> int:
    """The Service's port that leads to this one of the scheduler.

    By its name, else by where it leads; the default where the user's Service has none, or lists none.
    """
    service = (spec.get("scheduler") or {}).get("service") or {}
    if service.get("clusterIP") == "None":  # the name leads to the Pod itself
        return number
    ports = [p for p in service.get("ports") or () if p and p.get("port")]
    called = {n for n, port in _main(spec).ports.items() if port == number}
    named = (p["port"] for p in ports if p.get("name") == name)
    leads = (p["port"] for p in ports if (p.get("targetPort") or p["port"]) in [number, *called])
    found: int = next(named, 0) or next(leads, 0) or default
    return found
