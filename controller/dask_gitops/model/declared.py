"""Pure: the specs of the four kinds, read place by place, so that one wrong place costs nothing but itself.

A place that cannot be read is taken as it was read last; without that, nothing counts there, and nothing is made of it.
The API server checks most of this itself; Pod specs are the users', and objects may be older than the checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask_gitops.model.podspec import pod_spec_of
from dask_gitops.model.shape import (
    Shape,
    WrongShape,
    amount,
    flag,
    list_of,
    map_of,
    record,
    text,
    whole,
    whole_or_text,
)

JSON = dict[str, Any]
Place = tuple[str, ...]  # keys below spec; a worker group of a cluster by its name

_METADATA = record(labels=map_of(text), annotations=map_of(text))
_DIRECTION = record(stabilizationSeconds=whole(0), maxPercent=whole(1))
_STEERING: dict[str, Shape] = {
    "minimum": whole(0),
    "maximum": whole(0),
    "interval": whole(1),
    "scaleUp": _DIRECTION,
    "scaleDown": _DIRECTION,
}
_STRATEGY = record(
    maxSurge=whole_or_text,
    maxUnavailable=whole_or_text,
    scheduler=text,
    schedulerDeadlineSeconds=whole(0),
)
_WORKER: dict[str, Shape] = {
    "spec": pod_spec_of("worker"),
    "replicas": whole(0),
    "resources": map_of(amount),
    "metadata": _METADATA,
}
_SCHEDULER: dict[str, Shape] = {
    "spec": pod_spec_of("scheduler"),
    "service": record(
        type=text,
        clusterIP=text,
        ipFamilies=list_of(text),
        ports=list_of(record(name=text, port=whole())),
    ),
    "serviceMetadata": _METADATA,
    "metadata": _METADATA,
}
_CLUSTER: dict[str, Shape] = {
    "image": text,
    "autoscaler": record(**_STEERING),
    "idleTimeout": whole(0),
    "idleAction": text,
    "drainTimeout": whole(0),
    "suspend": flag,
    "restartedAt": text,
    "progressDeadlineSeconds": whole(0),
    "updateStrategy": _STRATEGY,
    "whenUnreachable": text,
}
_GROUP: dict[str, Shape] = {
    "cluster": text,
    "updateStrategy": _STRATEGY,
    "drainTimeout": whole(0),
}
_JOB: dict[str, Shape] = {
    "suspend": flag,
    "restartedAt": text,
    "backoffLimit": whole(0),
    "activeDeadlineSeconds": whole(0),
    "ttlSecondsAfterFinished": whole(0),
    "cleanupPolicy": text,
    "forceDeleteLostRunner": flag,
}
TLS: Place = ("tls",)
_TLS = (
    "this version cannot encrypt, and starts nothing in plain text instead; what runs already goes on as it is. "
    "Take the field away to run without encryption"
)
_OBJECT, _GROUPS = record(), list_of(record("name", name=text))


@dataclass(frozen=True, slots=True)
class Reading:
    """A spec as far as it can be read.

    :ivar spec: what counts.
    :ivar wrong: what cannot be read, in the order of the spec's description.
    :ivar unread: places for which nothing counts: what would be made of them is unknown.
    """

    spec: JSON
    wrong: tuple[WrongShape, ...] = ()
    unread: frozenset[Place] = frozenset()

    def unmet(self, cluster: str) -> tuple[WrongShape, ...]:
        """What the spec of this cluster asks for and nobody can do, as its worker groups tell of it."""
        found = (w for w in self.wrong if TLS in self.unread and w.path == "spec.tls")
        return tuple(WrongShape(f"{w.path} of DaskCluster {cluster}", w.said) for w in found)


def read(kind: str, spec: JSON, last: Reading | None = None) -> Reading:
    """:param last: the same object's reading before this one, if it is known."""
    reader = _Reader(last)
    match kind:
        case "DaskCluster":
            out = reader.cluster(spec, "spec", ())
        case "DaskWorkerGroup":
            out = reader.fields(spec, "spec", (), _GROUP)
            out = reader.inside(out, "spec", (), "worker", _WORKER)
        case "DaskAutoscaler":
            out = reader.fields(
                spec, "spec", (), {**_STEERING, "cluster": text, "workerGroup": text}
            )
        case _:
            out = reader.fields(spec, "spec", (), _JOB)
            job: dict[str, Shape] = {"spec": pod_spec_of(""), "metadata": _METADATA}
            out = reader.inside(out, "spec", (), "job", job)
            out = reader.inside(
                out, "spec", (), "cluster", {"spec": _OBJECT, "metadata": _METADATA}
            )
            inner = (out.get("cluster") or {}).get("spec")
            if inner is not None:
                read_in = reader.cluster(inner, "spec.cluster.spec", ("cluster", "spec"))
                out = _with(out, ("cluster", "spec"), read_in, inner)
    return Reading(out, tuple(reader.wrong), frozenset(reader.unread))


class _Reader:
    def __init__(self, last: Reading | None) -> None:
        self.last = last
        self.wrong: list[WrongShape] = []
        self.unread: set[Place] = set()

    def cluster(self, spec: JSON, path: str, place: Place) -> JSON:
        out = self.fields(spec, path, place, _CLUSTER)
        if spec.get("tls") is not None:  # whatever counted before: nobody knows how to make it
            self.wrong.append(WrongShape(f"{path}.tls", _TLS))
            self.unread.add((*place, *TLS))
        out = self.inside(out, path, place, "scheduler", _SCHEDULER)
        out = self.inside(out, path, place, "worker", _WORKER)
        out = self.fields(out, path, place, {"workerGroups": _GROUPS})
        groups = out.get("workerGroups")
        if groups:
            found = [self._group(g, f"{path}.workerGroups[{n}]", (*place, "workerGroups", g["name"]))
                     for n, g in enumerate(groups)]  # fmt: skip
            if any(new is not old for new, old in zip(found, groups, strict=True)):
                out = {**out, "workerGroups": found}
        return out

    def _group(self, group: JSON, path: str, place: Place) -> JSON:
        return self.inside(group, path, place, "worker", _WORKER)

    def inside(
        self, outer: JSON, path: str, place: Place, key: str, shapes: dict[str, Shape]
    ) -> JSON:
        """``outer`` with the fields of its object ``key`` as they can be read."""
        outer = self.fields(outer, path, place, {key: _OBJECT})
        inner = outer.get(key)
        if inner is None:
            return outer
        return _with(
            outer, (key,), self.fields(inner, f"{path}.{key}", (*place, key), shapes), inner
        )

    def fields(self, outer: JSON, path: str, place: Place, shapes: dict[str, Shape]) -> JSON:
        """``outer`` itself, or a copy in which other values stand for those that cannot be read."""
        out = outer
        for key, shape in shapes.items():
            value = outer.get(key)
            wrong = None if value is None else shape(value, f"{path}.{key}")
            if wrong is None:
                continue
            self.wrong.append(wrong)
            before, known = self._before((*place, key))
            out = {k: v for k, v in out.items() if k != key}
            if before is not None:
                out[key] = before
            if not known:
                self.unread.add((*place, key))
        return out

    def _before(self, place: Place) -> tuple[Any, bool]:
        """What counted there before (None: nothing), and whether that is known."""
        if self.last is None or any(place[: len(p)] == p for p in self.last.unread):
            return None, False
        value: Any = self.last.spec
        for key in place:
            if isinstance(value, list):
                value = next((each for each in value if each.get("name") == key), None)
            else:
                value = value.get(key)
            if value is None:
                # A worker group that was not there has no spec that could be kept.
                return None, "workerGroups" not in place
        return value, True


def _with(outer: JSON, place: Place, new: Any, old: Any) -> JSON:
    """``outer`` with another value at a place; ``outer`` itself if it is the same one."""
    if new is old:
        return outer
    key, *rest = place
    return {**outer, key: _with(outer[key], tuple(rest), new, old) if rest else new}


def unread_below(unread: frozenset[Place], *place: str) -> bool:
    """Is something at this place, below or above it unread?"""
    return any(p[: len(place)] == place[: len(p)] for p in unread)
