"""Pure: the Service through which workers, clients and people reach a scheduler."""

from __future__ import annotations

import copy
from typing import Any

from dask_gitops.resources import labels, names
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import owner_reference
from dask_gitops.resources.revision import revision

JSON = dict[str, Any]


def scheduler_service(cluster: CustomResource, *, reserved: tuple[str, ...] = ()) -> JSON:
    """The Service ``<cluster>-scheduler``; the user's ``spec.scheduler.service`` wins where it says something."""
    declared = (cluster.spec.get("scheduler") or {}).get("service")
    spec = {key: value for key, value in copy.deepcopy(declared or {}).items() if value is not None}
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("selector", labels.cluster_selector(cluster.meta.name, labels.SCHEDULER))
    # Workers start together with the scheduler: they must find its address before it is ready.
    spec.setdefault("publishNotReadyAddresses", True)
    spec.setdefault(
        "ports",
        [
            {
                "name": "tcp-comm",
                "protocol": "TCP",
                "port": names.COMM_PORT,
                "targetPort": "tcp-comm",
            },
            {
                "name": "http-dashboard",
                "protocol": "TCP",
                "port": names.DASHBOARD_PORT,
                "targetPort": "http-dashboard",
            },
        ],
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.scheduler_name(cluster.meta.name),
            "namespace": cluster.meta.namespace,
            "labels": {
                **labels.handed_on(cluster.meta.labels, reserved),
                **labels.cluster_selector(cluster.meta.name, labels.SCHEDULER),
            },
            "annotations": {
                **labels.handed_on(cluster.meta.annotations, reserved),
                labels.REVISION: service_revision(cluster),
            },
            "ownerReferences": [owner_reference(cluster)],
        },
        "spec": spec,
    }


def service_revision(cluster: CustomResource) -> str:
    """Revision of what the user says about the Service."""
    return revision("service", (cluster.spec.get("scheduler") or {}).get("service"))
