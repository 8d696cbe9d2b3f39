"""A rehearsal as it can be looked at: what there was, is and will be of one cluster or job, and who is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dask_gitops import status as words
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    Resource,
)
from dask_gitops.plan import idle
from dask_gitops.resources import labels, names, numbers
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import DRAIN_TIMEOUT_S

from .memory import JSON
from .rehearsal import Course, Declared, Id, Picture, Unit, has_job

Pods = dict[str, JSON]  # by uid


@dataclass(frozen=True)
class Scene:
    """:ivar unit: what was declared; :ivar course: what came of it."""

    unit: Unit
    course: Course

    @cached_property
    def declared(self) -> dict[Id, JSON]:
        """On either side."""
        return {**self.unit.before, **self.unit.after}

    @property
    def is_job(self) -> bool:
        return has_job(self.declared)

    def id(self, resource: Resource, name: str) -> Id:
        return Id(resource.kind, self.unit.namespace, name)

    def subject(self, of: Id) -> Id:
        """Under whose name an object is told of: its job's or cluster's, unless it is a group of its own."""
        name = self.sized(of) if of.kind == DASKAUTOSCALERS.kind else of.name
        if self.is_job:
            return self.id(DASKJOBS, self.unit.name)
        is_default = name == names.default_group_name(self.unit.name)
        if of.kind == DASKCLUSTERS.kind or (is_default and not self.declares(name)):
            return self.id(DASKCLUSTERS, self.unit.name)
        return self.id(DASKWORKERGROUPS, name)

    def declares(self, group: str) -> bool:
        """Is this group an object of its own?"""
        return self.id(DASKWORKERGROUPS, group) in self.declared

    def sized(self, of: Id) -> str:
        """Name of the group that an autoscaler sizes."""
        raw = self.declared.get(of) or self.at(self.course.idle, DASKAUTOSCALERS, of.name)
        return str(spec_of(raw).get("workerGroup") or names.default_group_name(self.unit.name))

    # ---- what there is in a picture

    def at(self, picture: Picture, resource: Resource, name: str) -> JSON | None:
        return picture[resource].get((self.unit.namespace, name))

    def resource(self, picture: Picture, resource: Resource, name: str) -> CustomResource | None:
        raw = self.at(picture, resource, name)
        return CustomResource.of(raw) if raw is not None else None

    def of_unit(self, resource: Resource) -> tuple[CustomResource | None, CustomResource | None]:
        """The cluster or job itself, before and in the end."""
        before, _, idle = self.pictures
        return tuple(self.resource(p, resource, self.unit.name) for p in (before, idle))  # type: ignore[return-value]

    @property
    def pictures(self) -> tuple[Picture, Picture, Picture]:
        return self.course.before, self.course.busy, self.course.idle

    @cached_property
    def schedulers(self) -> tuple[str | None, str | None, str | None]:
        """Uid of the scheduler Pod: before, while the cluster was busy, in the end."""
        name = names.scheduler_name(self.unit.name)
        found = (self.at(picture, PODS, name) for picture in self.pictures)
        first, second, third = (uid_of(p) if p and works(p) else None for p in found)
        return first, second, third

    def groups(self, *pictures: Picture) -> list[str]:
        return sorted({name for picture in pictures for _, name in picture[DASKWORKERGROUPS]})

    def workers(self, picture: Picture, group: str | None = None) -> Pods:
        """Workers of one group or of all."""
        return {
            uid_of(raw): raw
            for raw in picture[PODS].values()
            if label(raw, labels.COMPONENT) == labels.WORKER
            and label(raw, labels.CLUSTER) == self.unit.name
            and group in (None, label(raw, labels.GROUP))
            and works(raw)
        }

    # ---- numbers and words

    def number(self, declared: Declared, group: str) -> int | None:
        """How many workers a group is declared to have; None: an autoscaler or a person decides."""
        name = self.unit.name
        if any(self.sized(of) == group for of in declared if of.kind == DASKAUTOSCALERS.kind):
            return None
        cluster = spec_of(declared.get(self.id(DASKCLUSTERS, name)))
        cluster = cluster or spec_of(spec_of(declared.get(self.id(DASKJOBS, name))).get("cluster"))
        own = declared.get(self.id(DASKWORKERGROUPS, group))
        inline = {f"{name}-{g['name']}": g for g in cluster.get("workerGroups") or ()}
        if own is not None:
            worker = spec_of(own).get("worker")
        elif group == names.default_group_name(name):
            worker = None if cluster.get("autoscaler") else cluster.get("worker")
        else:
            worker = inline.get(group, {}).get("worker")
        number: int | None = (worker or {}).get("replicas")
        return number

    def knows(self, group: str) -> bool:
        """Is it known how many workers a group has at rest? Else only the live cluster knows."""
        return self.unit.live is not None or self.number(self.unit.before, group) is not None

    def count(self, number: int, *groups: str) -> str:
        """``3 workers``, or ``all workers`` where only the live cluster knows how many."""
        if number and not all(map(self.knows, groups)):
            return "all workers"
        return words.workers(number)

    def discards(self, group: str | None = None) -> str:
        """When what has no place is lost."""
        seconds: Any = None
        for resource, name in ((DASKWORKERGROUPS, group), (DASKCLUSTERS, self.unit.name)):
            if seconds is None and name is not None:
                seconds = spec_of(self.at(self.course.busy, resource, name)).get("drainTimeout")
        limit = idle.duration(numbers.seconds(seconds, DRAIN_TIMEOUT_S))
        return f"results that have no place are discarded after {limit}"


def spec_of(raw: JSON | None) -> JSON:
    return (raw or {}).get("spec") or {}


def uid_of(raw: JSON) -> str:
    return str(raw["metadata"]["uid"])


def label(raw: JSON, key: str) -> str:
    return str((raw["metadata"].get("labels") or {}).get(key, ""))


def works(pod: JSON) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def users_metadata(raw: JSON) -> Iterator[JSON]:
    """Labels and annotations but ours."""
    for field in ("labels", "annotations"):
        found = raw["metadata"].get(field) or {}
        yield {key: value for key, value in found.items() if not labels.is_ours(key)}
