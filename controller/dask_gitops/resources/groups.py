"""Pure: the DaskWorkerGroups that a cluster itself declares: ``spec.worker`` and ``spec.workerGroups``."""

from __future__ import annotations

import copy
from typing import Any

from dask_gitops.resources import labels, names
from dask_gitops.resources.metadata import metadata_patch, users_metadata, with_note
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import owner_reference
from dask_gitops.resources.revision import canonical, merge_patch, without, without_nulls

JSON = dict[str, Any]


def declared_groups(cluster: CustomResource, *, reserved: tuple[str, ...] = ()) -> list[JSON]:
    """The groups of this cluster as they are created, the default group first, all owned by the cluster.

    They carry the labels and annotations of the cluster and of their workers, none of them reserved.
    """
    workers = {names.default_group_name(cluster.meta.name): cluster.spec.get("worker")}
    for group in cluster.spec.get("workerGroups") or ():
        workers.setdefault(f"{cluster.meta.name}-{group['name']}", group.get("worker"))
    return [_group(cluster, name, worker or {}, reserved) for name, worker in workers.items()]


def declares(cluster: CustomResource, name: str) -> bool:
    """Is there to be a group of this name, whether it is there or not?"""
    inline = (f"{cluster.meta.name}-{g['name']}" for g in cluster.spec.get("workerGroups") or ())
    return name == names.default_group_name(cluster.meta.name) or name in inline


def _group(cluster: CustomResource, name: str, declared: JSON, reserved: tuple[str, ...]) -> JSON:
    worker = without(copy.deepcopy(declared), "cluster")
    replicas = worker.pop("replicas", None)
    if replicas is not None:
        worker["replicas"] = replicas
    spec: JSON = {"cluster": cluster.meta.name, "worker": worker}
    if cluster.spec.get("drainTimeout") is not None:
        spec["drainTimeout"] = cluster.spec["drainTimeout"]
    of_workers = {
        field: labels.handed_on(found or {}, reserved)
        for field, found in (worker.get("metadata") or {}).items()
    }
    users = with_note(users_metadata([cluster], of_workers, reserved))
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {
            "name": name,
            "namespace": cluster.meta.namespace,
            "labels": {
                **users["labels"],
                **labels.cluster_selector(cluster.meta.name, labels.WORKER_GROUP),
            },
            "annotations": {
                **users["annotations"],
                labels.CLUSTER_REPLICAS: "" if replicas is None else str(replicas),
            },
            "ownerReferences": [owner_reference(cluster)],
        },
        "spec": spec,
    }


def group_patch(want: JSON, group: CustomResource) -> JSON:
    """JSON merge patch that brings an existing group to what its cluster says; ``{}`` if it is there.

    The number of workers is copied only when the cluster's own number changed since it was copied last, so that
    ``kubectl scale daskworkergroup`` is not undone.

    :param want: one of :func:`declared_groups`.
    """
    replicas = want["spec"]["worker"].get("replicas")
    means = {**want["spec"], "worker": without(want["spec"]["worker"], "replicas")}
    have = {**group.spec, "worker": without(group.spec.get("worker") or {}, "replicas")}
    # Compared by meaning, patched in the user's spelling: nulls and other spellings of a quantity change nothing.
    same = have == means or canonical(have) == canonical(means)
    spec: JSON = {} if same else merge_patch(have, without_nulls(means))
    metadata = metadata_patch(want["metadata"], group.meta)
    # Without any note of a last copy the group comes from another operator: its number may have been scaled.
    noted = labels.CLUSTER_REPLICAS in group.meta.annotations
    copied = labels.CLUSTER_REPLICAS not in metadata.get("annotations", ())
    if noted and not copied and replicas is not None:
        spec.setdefault("worker", {})["replicas"] = replicas
    return {key: value for key, value in (("metadata", metadata), ("spec", spec)) if value}
