"""What custom resources mean: the Pods and Services that the controller makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dask_gitops.resources import labels
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import scheduler_pod, worker_pod
from dask_gitops.resources.runner import job_cluster, runner_pod
from dask_gitops.resources.services import scheduler_service

from tests.unit.objects import CONTROL, TIME

JSON = dict[str, Any]
NAMESPACE = "team"


def stored(raw: JSON) -> CustomResource:
    """The object as the API server would hand it out."""
    metadata = {**raw["metadata"], "namespace": NAMESPACE, "uid": f"{raw['metadata']['name']}-uid"}
    metadata |= {"generation": 1, "creationTimestamp": TIME}
    return CustomResource.of({**raw, "metadata": metadata})


def meaning(objects: Iterable[JSON]) -> dict[str, JSON]:
    """By ``kind name``: Pods, Services, numbers of workers and autoscalers."""
    found: dict[str, JSON] = {}
    each = [stored(raw) for raw in objects]
    clusters = [one for one in each if one.kind == "DaskCluster"]
    for job in (one for one in each if one.kind == "DaskJob"):
        found[f"Runner {job.meta.name}"] = runner_pod(
            job, 1, started=TIME, restarted_at=None, default_image="default:1"
        )
        clusters.append(stored(job_cluster(job, restarted_at=None)))
    groups = [one for one in each if one.kind == "DaskWorkerGroup"]
    for of in clusters:
        found[f"Scheduler {of.meta.name}"] = scheduler_pod(
            of, default_image="default:1", control=CONTROL, token="t"
        )
        found[f"Service {of.meta.name}"] = scheduler_service(of)
        theirs = [stored(raw) for raw in declared_groups(of)]
        theirs += [one for one in groups if one.spec.get("cluster") == of.meta.name]
        for group in theirs:
            number = (group.spec.get("worker") or {}).get("replicas")
            found[f"Worker {group.meta.name}"] = {
                **worker_pod(of, group, 0, default_image="default:1"),
                "number": number,
            }
        if of.spec.get("autoscaler"):
            found[f"Autoscaler {of.meta.name}"] = {**of.spec["autoscaler"]}
    for one in each:
        if one.kind == "DaskAutoscaler":
            found[f"Autoscaler {one.meta.name}"] = {
                key: value
                for key, value in one.spec.items()
                if key not in ("cluster", "workerGroup")
            }
    return found


def _as_text(container: JSON) -> str:
    return json.dumps(container, sort_keys=True)


def plain(found: dict[str, JSON]) -> dict[str, JSON]:
    """The same without what names and places of containers and ports change.

    Numbers of groups with an autoscaler are left out: values leave them to it.
    """
    scaled = {key.removeprefix("Autoscaler ") for key in found if key.startswith("Autoscaler ")}
    out = {}
    for key, one in found.items():
        _, _, name = key.partition(" ")
        same = {k: v for k, v in one.items() if k not in ("metadata", "spec")}
        if name in scaled or name.removesuffix("-default") in scaled:
            same.pop("number", None)
        metadata = one.get("metadata") or {}
        notes = {
            k: v
            for k, v in (metadata.get("annotations") or {}).items()
            if k not in (labels.REVISION, labels.HANDED_ON)
        }
        same["labels"], same["notes"] = metadata.get("labels"), notes
        spec = dict(one.get("spec") or {})
        if "containers" in spec:
            # What the controller fills in marks Dask's.
            spec["containers"] = sorted(
                ({k: v for k, v in c.items() if k != "name"} for c in spec["containers"]),
                key=_as_text,
            )
        if key.startswith("Service "):
            # Dask's two ports have names of their own, and stand first.
            ports = [{k: v for k, v in port.items() if k != "name"} for port in spec["ports"]]
            spec["ports"] = sorted(ports, key=_as_text)
        out[key] = {**same, "spec": spec}
    return out
