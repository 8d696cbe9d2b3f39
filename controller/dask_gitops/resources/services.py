"""Pure: the Service through which workers, clients and people reach a scheduler."""

from __future__ import annotations

import copy
from typing import Any

from dask_gitops.resources import addresses, labels, names
from dask_gitops.resources.metadata import metadata_patch, users_metadata, with_note
from dask_gitops.resources.observed import CustomResource, Service
from dask_gitops.resources.pods import owner_reference, scheduler_metadata
from dask_gitops.resources.revision import revision

JSON = dict[str, Any]
_PORTS = {"tcp-comm": names.COMM_PORT, "http-dashboard": names.DASHBOARD_PORT}
# What the API server fills in where nobody says anything: noted as ours, as we made the object.
_FILLED_IN = {
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "sessionAffinity",
    "sessionAffinityConfig",
}


def scheduler_service(cluster: CustomResource, *, reserved: tuple[str, ...] = ()) -> JSON:
    """The Service ``<cluster>-scheduler``; the user's ``spec.scheduler.service`` wins where it says something.

    It carries the labels and annotations of the cluster and of ``spec.scheduler.metadata``, as the Pod does, and those of
    ``spec.scheduler.serviceMetadata``, which are stronger and reach nothing else.
    """
    declared = (cluster.spec.get("scheduler") or {}).get("service")
    spec = {key: value for key, value in copy.deepcopy(declared or {}).items() if value is not None}
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("selector", labels.cluster_selector(cluster.meta.name, labels.SCHEDULER))
    # Workers start together with the scheduler: they must find its address before it is ready.
    spec.setdefault("publishNotReadyAddresses", True)
    targets = dict(zip(_PORTS, _targets(cluster), strict=True))
    spec.setdefault(
        "ports",
        [
            {"name": name, "protocol": "TCP", "port": port, "targetPort": targets[name]}
            for name, port in _PORTS.items()
        ],
    )
    spec["ports"] = [_aimed(port, targets) for port in spec["ports"]]
    users = with_note(_metadata(cluster, reserved))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.scheduler_name(cluster.meta.name),
            "namespace": cluster.meta.namespace,
            "labels": {
                **users["labels"],
                **labels.cluster_selector(cluster.meta.name, labels.SCHEDULER),
            },
            "annotations": {**users["annotations"], labels.REVISION: service_revision(cluster)},
            "ownerReferences": [owner_reference(cluster)],
        },
        "spec": spec,
    }


def _aimed(port: JSON, targets: dict[str, int]) -> JSON:
    """A port that is called like one of Dask's and says no target leads to where the scheduler listens."""
    target = targets.get(port.get("name", ""))
    if target in (None, port.get("port")) or port.get("targetPort") is not None:
        return port
    return {**port, "targetPort": target}


def _metadata(cluster: CustomResource, reserved: tuple[str, ...]) -> JSON:
    """The user's labels and annotations for the Service."""
    own = (cluster.spec.get("scheduler") or {}).get("serviceMetadata")
    found, stronger = scheduler_metadata(cluster, reserved), users_metadata([], own)
    return {field: {**found[field], **stronger[field]} for field in found}


def service_declared(
    cluster: CustomResource, service: Service, *, reserved: tuple[str, ...] = ()
) -> JSON | None:
    """What is to be applied to the existing Service; None if nothing of it changed."""
    want = scheduler_service(cluster, reserved=reserved)
    if metadata_patch(want["metadata"], service.meta) or (
        not service.applied and _left_behind(want["spec"], service)
    ):
        return want
    return None


def fixed_field(want: JSON, service: Service) -> str | None:
    """The field that this Service cannot change as ``want`` says: it has to be made anew. None: it can.

    :param want: manifest of the Service.
    """
    wanted, have = want["spec"], service.spec
    if "ExternalName" in (wanted["type"], have.get("type")):
        return None
    ip, declared = have.get("clusterIP"), wanted.get("clusterIP")
    if ip and (declared not in (None, "", ip) or (ip == "None" and declared != "None")):
        return "clusterIP"
    families = [(spec.get("ipFamilies") or [None])[0] for spec in (wanted, have)]
    if None not in families and families[0] != families[1]:
        return "ipFamilies"
    return None


def _left_behind(wanted: JSON, service: Service) -> bool:
    """Does the Service still have what was declared once? Merge patches of earlier versions left it there."""
    gone = service.owned - wanted.keys() - _FILLED_IN
    return bool(gone & service.spec.keys()) or (
        "selector" in service.owned and service.spec.get("selector") != wanted["selector"]
    )


def _targets(cluster: CustomResource) -> tuple[int, int]:
    """Where the scheduler listens, by number: users call the container's ports as they like."""
    found = addresses.declared(cluster.spec)
    return found.comm, found.http


def service_revision(cluster: CustomResource) -> str:
    """Revision of what the user says about the Service."""
    declared = (cluster.spec.get("scheduler") or {}).get("service")
    return revision("service", declared, list(_targets(cluster)))
