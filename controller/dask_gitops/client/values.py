"""Pure: a DaskCluster as values of the chart, for git."""

from __future__ import annotations

import copy
from typing import Any

from dask_gitops.resources import labels, names

JSON = dict[str, Any]
DASKS_PORTS = {"tcp-comm": names.COMM_PORT, "http-dashboard": names.DASHBOARD_PORT}
#: Fields of a spec that are values of the same name.
SAME = (
    "drainTimeout",
    "progressDeadlineSeconds",
    "restartedAt",
    "suspend",
    "updateStrategy",
    "whenUnreachable",
)


def written(cluster: JSON) -> JSON:
    """What somebody wrote of a raw object: no status, and none of the marks that tools and we leave on it."""
    metadata = {"name": cluster["metadata"]["name"]}
    for field in ("labels", "annotations"):
        users = {
            key: value
            for key, value in (cluster["metadata"].get(field) or {}).items()
            if not labels.is_reserved(key)
        }
        if users:
            metadata[field] = users
    kept = {key: cluster[key] for key in ("apiVersion", "kind") if key in cluster}
    return copy.deepcopy({**kept, "metadata": metadata, "spec": cluster.get("spec") or {}})


def values(cluster: JSON) -> JSON:
    """``{"clusters": {NAME: ...}}``; rendered over the chart's own defaults it is the same DaskCluster.

    :param cluster: raw, without what only an API server writes.
    """
    spec = cluster.get("spec") or {}
    found: JSON = {key: spec[key] for key in SAME if spec.get(key) is not None}
    if spec.get("image"):
        found["image"] = image_values(spec["image"])
    if spec.get("idleTimeout") is not None:
        found["idle"] = {"timeout": spec["idleTimeout"]}
        if spec.get("idleAction"):
            found["idle"]["action"] = spec["idleAction"]
    if spec.get("autoscaler"):
        found["autoscaler"] = {"enabled": True, **spec["autoscaler"]}
    scheduler = spec.get("scheduler") or {}
    found["scheduler"] = pod_values(scheduler)
    if service := service_values(scheduler):
        found["scheduler"]["service"] = service
    found["worker"] = worker_values(spec.get("worker") or {})
    groups = {
        each["name"]: worker_values(each.get("worker") or {})
        for each in spec.get("workerGroups") or ()
    }
    if groups:
        found["workerGroups"] = groups
    metadata = cluster["metadata"]
    found |= {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    found = {key: value for key, value in found.items() if value != {}}
    return {"clusters": {metadata["name"]: copy.deepcopy(found)}}


def service_values(scheduler: JSON) -> JSON:
    """The Service of a ``spec.scheduler``: values lay its ports over Dask's two."""
    found = dict(scheduler.get("service") or {})
    if found.get("ports"):
        said = {port.get("name") for port in found["ports"]}
        gone = [{"name": name, "$patch": "delete"} for name in DASKS_PORTS if name not in said]
        found["ports"] = [*found["ports"], *gone]
    metadata = scheduler.get("serviceMetadata") or {}
    return {
        **found,
        **{key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)},
    }


def worker_values(worker: JSON) -> JSON:
    """A ``spec.worker`` as values of a cluster's workers, or of a group."""
    replicas = worker.get("replicas")
    found = {"replicas": "external" if replicas is None else replicas, **pod_values(worker)}
    return {**found, "daskResources": worker["resources"]} if worker.get("resources") else found


def pod_values(part: JSON) -> JSON:
    """A scheduler, worker or runner as values: its Pod as it is."""
    template = {key: part[key] for key in ("metadata", "spec") if part.get(key)}
    return {"podTemplate": template} if template else {}


def image_values(image: str) -> JSON:
    """An image's name in its parts; without a tag or digest, with the tag that Kubernetes takes then, as the chart wants one."""
    rest, at, digest = image.partition("@")
    repository, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the port of a registry is no tag
        repository, tag = rest, "" if at else "latest"
    found = {"repository": repository, "tag": tag, "digest": digest if at else ""}
    return {key: value for key, value in found.items() if value}
