"""Pure: the DaskCluster that does what a classic cluster of these Pods did."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask_gitops.client.classic.env import with_variables
from dask_gitops.client.classic.pods import Pods
from dask_gitops.client.classic.words import scheduler_words, worker_words
from dask_gitops.model.podspec import PodSpec
from dask_gitops.resources import labels

JSON = dict[str, Any]
AFFINITIES = ("none", "preferred", "required")
#: A scheduler needs less than a worker, and no GPU.
NO_RESOURCES = "the worker's resources are not carried over to the scheduler: scheduler_resources= says its own"
_DEDICATED = ("k8s.dask.org/dedicated", "k8s.dask.org_dedicated")
_PURPOSE = "k8s.dask.org/node-purpose"
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
#: Of a Pod's metadata: what we carry over, and what nobody wants to keep.
_KEPT = ("labels", "annotations")
_NEVER = ("namespace", "generateName", "creationTimestamp")


@dataclass(frozen=True, slots=True)
class Made:
    """:ivar cluster: a DaskCluster.
    :ivar remarks: what is not carried over, and why, a line for each.
    """

    cluster: JSON
    remarks: list[str]


def cluster(
    name: str,
    pods: Pods,
    *,
    user: str | None = None,
    n_workers: int = 0,
    env: Sequence[Mapping[str, Any]] | None = None,
    image: str | None = None,
    image_wins: bool = False,
    resources: Mapping[str, Any] | None = None,
    service_type: str = "ClusterIP",
    idle_timeout: float = 0,
    jupyter: bool = False,
) -> Made:
    """The DaskCluster, and what is not carried over.

    :param user: whose it is: a label of the Pods; None: none.
    :param env: laid over the variables of both Pods, as Kubernetes writes it.
    :param image: where a Pod has none; of both, if ``image_wins``.
    :param resources: of both Pods, instead of their own.
    :raises ValueError: the Pods cannot be told apart from others.
    """
    remarks: list[str] = []
    worker = _main_first(pods.worker, labels.WORKER)
    given = pods.scheduler
    scheduler = _main_first(pods.worker if given is None else given, labels.SCHEDULER)
    main_worker, main_scheduler = (part["spec"]["containers"][0] for part in (worker, scheduler))
    if given is None:
        own = ("resources", *_PROBES)
        if any(main_scheduler.get("resources", {}).values()) and resources is None:
            remarks.append(NO_RESOURCES)
        scheduler["spec"].pop("resources", None)
        for field in own:
            main_scheduler.pop(field, None)
    scheduler["spec"]["containers"][0] = main_scheduler = scheduler_words(
        main_scheduler, is_workers=given is None
    )
    if jupyter:
        main_scheduler["args"] = [*main_scheduler.get("args", ()), "--jupyter"]
    worker["spec"]["containers"][0] = main_worker = worker_words(main_worker)
    for component, part, main in (
        (labels.WORKER, worker, main_worker),
        (labels.SCHEDULER, scheduler, main_scheduler),
    ):
        if env:
            main["env"] = with_variables(main.get("env", ()), env)
        if image and (image_wins or not main.get("image")):
            main["image"] = image
        if resources is not None:
            main["resources"] = copy.deepcopy(dict(resources))
        _place(part["spec"], component, pods.affinity)
        field = "worker" if component == labels.WORKER or given is None else "scheduler"
        part["metadata"] = _metadata(part["metadata"], user, field, remarks)
    scheduler["service"], annotations = _service(name, pods.service, service_type)
    if annotations:
        scheduler["serviceMetadata"] = {"annotations": dict(annotations)}
    return Made(
        {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "metadata": {"name": name},
            "spec": {
                "idleTimeout": idle_timeout,
                "worker": {"replicas": n_workers, **_without_empty(worker)},
                "scheduler": _without_empty(scheduler),
            },
        },
        list(dict.fromkeys(remarks)),
    )


def escape(text: str) -> str:
    """A text as the value of a label: letters and digits of ASCII and ``-``, in small letters."""
    kept = "".join(c for c in text if (c.isascii() and c.isalnum()) or c == "-").lower()
    return kept[:63].strip("-")


def _without_empty(part: JSON) -> JSON:
    return {key: value for key, value in part.items() if value}


def _main_first(pod: JSON, component: str) -> JSON:
    """A copy whose first container, which runs Dask, is called like the component.

    The first was Dask's whatever it was called; ours is the one of that name.
    """
    found = copy.deepcopy(pod)
    first, *others = found["spec"]["containers"]
    if component in (each.get("name") for each in others):
        raise ValueError(
            f"the container that runs Dask will be called {component!r}, and another one is already; "
            "rename that one"
        )
    first.pop("name", None)
    found["spec"]["containers"][0] = {"name": component, **first}
    if not PodSpec.trusted(found["spec"]).init_containers:
        found["spec"].pop("initContainers", None)
    return found


def _place(spec: JSON, component: str, affinity: str) -> None:
    """Where the Pod may run, and would like to: on nodes that somebody keeps for Dask."""
    spec["tolerations"] = [
        *spec.get("tolerations", ()),
        *(
            {"key": key, "operator": "Equal", "value": component, "effect": "NoSchedule"}
            for key in _DEDICATED
        ),
    ]
    if affinity == "none":
        return
    term = {"matchExpressions": [{"key": _PURPOSE, "operator": "In", "values": [component]}]}
    node = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    if affinity == "required":
        required = node.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
        required["nodeSelectorTerms"] = [*required.get("nodeSelectorTerms", ()), term]
    else:
        field = "preferredDuringSchedulingIgnoredDuringExecution"
        node[field] = [*node.get(field, ()), {"preference": term, "weight": 100}]


def _metadata(metadata: JSON, user: str | None, of: str, remarks: list[str]) -> JSON:
    found: JSON = {key: dict(metadata[key]) for key in _KEPT if metadata.get(key)}
    for field in sorted(metadata.keys() - {*_KEPT, *_NEVER}):
        remarks.append(f"metadata.{field} of the {of}'s Pod is not carried over: {_why(field)}")
    for part, said in found.items():
        for key in [key for key in said if labels.is_ours(key)]:
            del said[key]
            if key not in labels.OURS:
                remarks.append(
                    f"{part[:-1]} {key!r} of the {of}'s Pod is not carried over: "
                    "keys of dask.org are the controller's"
                )
    ours = {"user": escape(user or ""), "app": "dask"}
    found["labels"] = {**found.get("labels", {}), **{k: v for k, v in ours.items() if v}}
    return {key: value for key, value in found.items() if value}


def _why(field: str) -> str:
    return "the controller names the Pods" if field == "name" else "labels and annotations are"


def _service(name: str, template: JSON | None, service_type: str) -> tuple[JSON, JSON]:
    """``spec.scheduler.service``, and the annotations that the Service should have."""
    template = template or {}
    spec = {key: copy.deepcopy(value) for key, value in (template.get("spec") or {}).items()}
    spec.setdefault("type", service_type)
    selector = {
        key: value for key, value in spec.pop("selector", {}).items() if not labels.is_ours(key)
    }
    if selector:
        spec["selector"] = {**selector, **labels.cluster_selector(name, labels.SCHEDULER)}
    return spec, (template.get("metadata") or {}).get("annotations") or {}
