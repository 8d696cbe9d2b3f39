"""Pure: custom resources as values of the chart."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from dask_gitops.client import names
from dask_gitops.client.values import DASKS_PORTS, SAME, pod_values, values, worker_values
from dask_gitops.model.podspec import RUNNERS, PodSpec, starts
from dask_gitops.resources import labels

from .comments import Comments, Place, moved
from .lifting import lifted
from .result import JSON, Left, Object

JOB = "job"
_OF_A_SERVICE = re.compile(
    r"((service|external-dns)([.][^/]*)?|([^/]*[.])?load-?balancer([.][^/]*)?)[.](kubernetes|k8s|x-k8s)[.]io/"
)


def as_values(
    objects: list[Object], comments: list[Comments], left: list[Left]
) -> tuple[JSON, Comments]:
    """``{"clusters": ..., "jobs": ...}`` with the comments of their sources.

    :param comments: by index of the source.
    :param left: grows by what values cannot say.
    """
    found: JSON = {}
    placed: list[tuple[Object, dict[Place, Place]]] = []
    # Groups belong to clusters, autoscalers to both.
    for kind, put in _PLACES.items():
        for one in objects:
            if one.kind != kind:
                continue
            reason = _refusal(found, one)
            if reason is None:
                placed.append((one, put(found, one, left)))
            else:
                left.append(Left(f"{one.kind} {one.name}", reason))
    lifts = lifted(found)
    said: Comments = {}
    order = {id(one): i for i, one in enumerate(objects)}
    for one, moves in sorted(placed, key=lambda each: order[id(each[0])]):
        if not comments:
            continue
        own_lifts = lifts.get(moves[()][:2], {(): ()})
        through = _through(_through(one.moves, moves), own_lifts)
        own = moved(comments[one.source], through, found)
        for place, comment in own.items():
            there = said.get(place)
            if there is None:
                said[place] = comment
            else:
                there.before += comment.before
                there.below += comment.below
                there.beside = there.beside or comment.beside
    return found, said


def _refusal(found: JSON, one: Object) -> str | None:
    """Why values cannot name this object; None: they can."""
    key = {"DaskCluster": "clusters", "DaskJob": "jobs"}.get(one.kind)
    if key is None:
        return None
    if not names.is_name(one.name):
        return names.refusal(one.name)
    if any(one.name in found.get(each, {}) for each in ("clusters", "jobs")):
        return "another one of this name is there: convert each namespace by itself"
    return None


def _through(
    first: Mapping[Place, Place | None], then: Mapping[Place, Place]
) -> dict[Place, Place | None]:
    """Where places are after both moves."""
    found: dict[Place, Place | None] = {}
    # What the second move tells apart below a place of the first.
    for start, to in then.items():
        for place, middle in first.items():
            if middle is not None and start[: len(middle)] == middle:
                found.setdefault((*place, *start[len(middle) :]), to)
    for place, middle in first.items():
        if middle is None:
            found[place] = None
            continue
        length = next(n for n in range(len(middle), -1, -1) if middle[:n] in then)
        found[place] = (*then[middle[:length]], *middle[length:])
    return found


def _no_namespace(one: Object, left: list[Left]) -> None:
    namespace = one.raw["metadata"].get("namespace")
    if namespace:
        left.append(
            Left(
                f"{one.kind} {one.name}: metadata.namespace",
                f"a release has one: helm -n {namespace}",
            )
        )
    for key in sorted(one.raw["metadata"].keys() - {"name", "namespace", "labels", "annotations"}):
        left.append(Left(f"{one.kind} {one.name}: metadata.{key}", "values have no place for it"))


def _cluster(found: JSON, one: Object, left: list[Left]) -> dict[Place, Place]:
    _no_namespace(one, left)
    raw = copy.deepcopy(one.raw)
    spec = raw["spec"]
    what = f"DaskCluster {one.name}"
    known = {
        *SAME,
        "image",
        "idleTimeout",
        "idleAction",
        "autoscaler",
        "scheduler",
        "worker",
        "workerGroups",
    }
    for key in sorted(spec.keys() - known):
        left.append(Left(f"{what}: spec.{key}", "values have no place for it"))
    for part in (labels.SCHEDULER, labels.WORKER):
        _main_named(spec.get(part), part, what, left)
        known_parts = {
            "metadata",
            "spec",
            *(
                ("service", "serviceMetadata")
                if part == labels.SCHEDULER
                else ("replicas", "resources", "cluster")
            ),
        }
        for key in sorted((spec.get(part) or {}).keys() - known_parts):
            left.append(Left(f"{what}: spec.{part}.{key}", "values have no place for it"))
    _service(spec.get("scheduler"), what, left)
    _about_a_service(raw["metadata"], what, left)
    for group in spec.get("workerGroups") or ():
        _main_named(group.get("worker"), labels.WORKER, what, left)
    if spec.get("autoscaler") and (spec.get("worker") or {}).get("replicas") is not None:
        _no_number(spec["worker"], what, left)
    made = values(raw)["clusters"][one.name]
    found.setdefault("clusters", {})[one.name] = made
    here: Place = ("clusters", one.name)
    moves: dict[Place, Place] = {
        (): here,
        ("metadata", "labels"): (*here, "labels"),
        ("metadata", "annotations"): (*here, "annotations"),
        ("spec",): here,
        ("spec", "scheduler", "serviceMetadata"): (*here, "scheduler", "service"),
        ("spec", "idleTimeout"): (*here, "idle", "timeout"),
        ("spec", "idleAction"): (*here, "idle", "action"),
    }
    for part in (labels.SCHEDULER, labels.WORKER):
        moves |= _pod_moves(("spec", part), (*here, part))
    for i, group in enumerate(spec.get("workerGroups") or ()):
        moves |= _pod_moves(
            ("spec", "workerGroups", i, "worker"), (*here, "workerGroups", group["name"])
        )
        moves["spec", "workerGroups", i] = (*here, "workerGroups", group["name"])
    return moves


def _pod_moves(source: Place, target: Place) -> dict[Place, Place]:
    return {
        source: target,
        (*source, "spec"): (*target, "podTemplate", "spec"),
        (*source, "metadata"): (*target, "podTemplate", "metadata"),
        (*source, "resources"): (*target, "daskResources"),
    }


def _main_named(part: Any, component: str, what: str, left: list[Left]) -> None:
    """Values are about the container that is called like its component, or is the only one that starts it."""
    spec = (part or {}).get("spec") or {}
    containers = spec.get("containers")
    if not containers:
        return
    read = PodSpec.trusted(spec)
    main = read.runner() if component == JOB else read.main(component)
    assert main is not None
    if component == JOB:
        is_found = main.name in RUNNERS or len(containers) == 1
    else:
        starting = [c.name for c in read.containers if starts(c, component)]
        is_found = main.name == component or (starting == [main.name] and main.name != "")
    if not is_found or not main.name:
        if main.name:
            left.append(
                Left(f"{what}: the container's name {main.name!r}", f"values call it {component!r}")
            )
        main.fields["name"] = component
    if containers[0] is not main.fields:
        left.append(
            Left(f"{what}: the order of containers", f"in values {main.name!r} comes first")
        )


def _service(part: Any, what: str, left: list[Left]) -> None:
    """Values know Dask's two ports by their names."""
    ports = ((part or {}).get("service") or {}).get("ports")
    said = {port.get("name") for port in ports or ()}
    for port in ports or ():
        for name, number in DASKS_PORTS.items():
            if port.get("port") == number and port.get("name") != name and name not in said:
                if port.get("name"):
                    left.append(
                        Left(
                            f"{what}: the Service's port {port['name']!r}",
                            f"values call it {name!r}",
                        )
                    )
                port["name"] = name
                said.add(name)
    if ports and "tcp-comm" not in said:
        left.append(
            Left(f"{what}: the Service's ports", "none of them is called tcp-comm, or is 8786")
        )
        del part["service"]["ports"]


def _about_a_service(metadata: JSON, what: str, left: list[Left]) -> None:
    """What a cloud would do to a Service, on an object whose keys of Kubernetes' domains reach nothing."""
    for field in ("labels", "annotations"):
        for key in [key for key in metadata.get(field) or {} if _OF_A_SERVICE.match(key)]:
            del metadata[field][key]
            left.append(
                Left(
                    f"{what}: metadata.{field} {key}",
                    f"it reaches no Service: see scheduler.service.{field}",
                )
            )
        if metadata.get(field) == {}:
            del metadata[field]


def _no_number(worker: JSON, what: str, left: list[Left]) -> None:
    number = worker.pop("replicas")
    left.append(Left(f"{what}: replicas {number}", "its autoscaler says the number"))


def _group(found: JSON, one: Object, left: list[Left]) -> dict[Place, Place]:
    spec = copy.deepcopy(one.raw["spec"])
    what = f"DaskWorkerGroup {one.name}"
    cluster = spec.get("cluster")
    key = one.name.removeprefix(f"{cluster}-")
    declared = found.get("clusters", {}).get(cluster)
    if declared is None:
        left.append(Left(what, f"its cluster {cluster!r} is not among what is converted"))
        return {(): ()}
    if key in (one.name, "", "default"):
        left.append(
            Left(what, f"groups of values are called {cluster}-KEY, and not {cluster}-default")
        )
        return {(): ()}
    _no_namespace(one, left)
    for name in sorted(spec.keys() - {"cluster", "worker", "drainTimeout", "updateStrategy"}):
        left.append(Left(f"{what}: spec.{name}", "values have no place for it"))
    worker = spec.get("worker") or {}
    _main_named(worker, labels.WORKER, what, left)
    made = worker_values(worker)
    made |= {name: spec[name] for name in ("drainTimeout", "updateStrategy") if name in spec}
    metadata = copy.deepcopy(one.raw["metadata"])
    _about_a_service(metadata, what, left)
    made |= {name: metadata[name] for name in ("labels", "annotations") if metadata.get(name)}
    declared.setdefault("workerGroups", {})[key] = made
    here: Place = ("clusters", cluster, "workerGroups", key)
    return {
        (): here,
        ("metadata", "labels"): (*here, "labels"),
        ("metadata", "annotations"): (*here, "annotations"),
        ("spec",): here,
        **_pod_moves(("spec", "worker"), here),
    }


def _autoscaler(found: JSON, one: Object, left: list[Left]) -> dict[Place, Place]:
    spec = copy.deepcopy(one.raw["spec"])
    what = f"DaskAutoscaler {one.name}"
    cluster, group = spec.pop("cluster", None), spec.pop("workerGroup", None)
    declared = found.get("clusters", {}).get(cluster)
    if declared is None:
        left.append(Left(what, f"its cluster {cluster!r} is not among what is converted"))
        return {(): ()}
    here: Place = ("clusters", cluster)
    holder, worker = declared, declared.setdefault("worker", {})
    if group and group != f"{cluster}-default":
        key = str(group).removeprefix(f"{cluster}-")
        holder = worker = declared.get("workerGroups", {}).get(key)
        if holder is None:
            left.append(Left(what, f"its group {group!r} is not among what is converted"))
            return {(): ()}
        here = (*here, "workerGroups", key)
    named = group if here[2:] else cluster
    if one.name != named:
        left.append(Left(f"{what}: its name", f"values call it {named!r}"))
    if "autoscaler" in holder:
        left.append(Left(what, "there is another one of this group"))
        return {(): ()}
    _no_namespace(one, left)
    for field in ("labels", "annotations"):
        if one.raw["metadata"].get(field):
            left.append(Left(f"{what}: metadata.{field}", "it has those of its cluster or group"))
    if worker.get("replicas") not in (None, "external"):
        _no_number(worker, ".".join(map(str, here)), left)
    worker.pop("replicas", None)
    holder["autoscaler"] = spec
    return {(): (*here, "autoscaler"), ("spec",): (*here, "autoscaler")}


def _job(found: JSON, one: Object, left: list[Left]) -> dict[Place, Place]:
    _no_namespace(one, left)
    spec = copy.deepcopy(one.raw["spec"])
    what = f"DaskJob {one.name}"
    inner = spec.pop("cluster", None) or {}
    job = spec.pop("job", None) or {}
    _main_named(job, JOB, what, left)
    cluster: JSON = {
        "metadata": {
            "name": one.name,
            **(inner.get("metadata") or {}),
        },
        "spec": inner.get("spec") or {},
    }
    cluster["metadata"]["name"] = one.name
    for part in (labels.SCHEDULER, labels.WORKER):
        _main_named(cluster["spec"].get(part), part, what, left)
    _service(cluster["spec"].get("scheduler"), what, left)
    _about_a_service(cluster["metadata"], what, left)
    made = pod_values(job)
    same = (
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
        "cleanupPolicy",
        "suspend",
        "restartedAt",
    )
    made |= {key: spec.pop(key) for key in same if spec.get(key) is not None}
    for key in sorted(spec):
        left.append(Left(f"{what}: spec.{key}", "values have no place for it"))
    of_cluster = values(cluster)["clusters"][one.name]
    if of_cluster:
        made["cluster"] = of_cluster
    metadata = copy.deepcopy(one.raw["metadata"])
    _about_a_service(metadata, what, left)
    made |= {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    found.setdefault("jobs", {})[one.name] = made
    here: Place = ("jobs", one.name)
    moves: dict[Place, Place] = {
        (): here,
        ("metadata", "labels"): (*here, "labels"),
        ("metadata", "annotations"): (*here, "annotations"),
        ("spec",): here,
        **_pod_moves(("spec", "job"), here),
        ("spec", "cluster", "spec"): (*here, "cluster"),
    }
    for part in (labels.SCHEDULER, labels.WORKER):
        moves |= _pod_moves(("spec", "cluster", "spec", part), (*here, "cluster", part))
    return moves


_PLACES: dict[str, Callable[[JSON, Object, list[Left]], dict[Place, Place]]] = {
    "DaskCluster": _cluster,
    "DaskWorkerGroup": _group,
    "DaskAutoscaler": _autoscaler,
    "DaskJob": _job,
}
