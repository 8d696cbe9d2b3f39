"""The caches: what every reconcile knows of the objects on the API server."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from dask_gitops.kube.informer import Informer, Unreadable
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Resource,
)
from dask_gitops.reconcile.places import WORKERS, filed_under
from dask_gitops.resources.autoscalers import target
from dask_gitops.resources.observed import CustomResource, Pod, Service

JSON = dict[str, Any]
T = TypeVar("T")

RESOURCES: Mapping[str, Resource] = {
    r.kind: r for r in (PODS, SERVICES, DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS, DASKJOBS)
}


class Key(NamedTuple):
    """An object that may need a reconcile."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(resource: CustomResource) -> Key:
    return Key(resource.kind, resource.meta.namespace, resource.meta.name)


class Store(Generic[T]):
    """One kind of objects in all namespaces that are served, each namespace with its own informer or all with one."""

    def __init__(self, informers: Mapping[str | None, Informer[T]]) -> None:
        self.informers = dict(informers)

    def _of(self, namespace: str) -> Informer[T] | None:
        return self.informers.get(namespace, self.informers.get(None))

    def get(self, namespace: str, name: str) -> T | None:
        informer = self._of(namespace)
        return informer.get(namespace, name) if informer else None

    def by_index(self, index: str, namespace: str, *value: str) -> list[T]:
        informer = self._of(namespace)
        return informer.by_index(index, (namespace, *value)) if informer else []

    def unreadable(self, namespace: str, name: str) -> Unreadable | None:
        informer = self._of(namespace)
        return informer.unreadable(namespace, name) if informer else None

    def count(self, index: str, *value: str) -> int:
        """How many objects there are under this value, in all namespaces."""
        return sum(informer.count(index, value) for informer in self.informers.values())

    def changes(self, namespace: str) -> int:
        """How often something has changed, in this namespace at least."""
        informer = self._of(namespace)
        return informer.changes if informer is not None else 0

    def observe(self, raw: JSON) -> None:
        informer = self._of(raw["metadata"].get("namespace", ""))
        if informer is not None:
            informer.observe(raw)

    def forget(self, namespace: str, name: str, uid: str) -> None:
        informer = self._of(namespace)
        if informer is not None:
            informer.forget(namespace, name, uid)


@dataclass(frozen=True, slots=True)
class Stores:
    """The caches, by kind."""

    clusters: Store[CustomResource]
    groups: Store[CustomResource]
    autoscalers: Store[CustomResource]
    jobs: Store[CustomResource]
    pods: Store[Pod]
    services: Store[Service]
    #: Statuses as this process wrote them last (revisions), by which news of them are known to be its own.
    reports: dict[Key, str] = field(default_factory=dict)
    #: Who was refused something by a quota -> the cluster whose Pods hold the room.
    crowded: dict[Key, str] = field(default_factory=dict)

    def of(self, kind: str) -> Store[Any]:
        stores: dict[str, Store[Any]] = {
            "DaskCluster": self.clusters,
            "DaskWorkerGroup": self.groups,
            "DaskAutoscaler": self.autoscalers,
            "DaskJob": self.jobs,
            "Pod": self.pods,
            "Service": self.services,
        }
        return stores[kind]

    @property
    def all(self) -> tuple[Store[Any], ...]:
        return (
            self.clusters,
            self.groups,
            self.autoscalers,
            self.jobs,
            self.pods,
            self.services,
        )

    @property
    def informers(self) -> list[Informer[Any]]:
        return [informer for store in self.all for informer in store.informers.values()]

    def changes(self, namespace: str) -> int:
        """Who saw the same number twice need not look again."""
        return sum(store.changes(namespace) for store in self.all)

    def has_left(self, key: Key) -> bool:
        """Is nothing there of what this key names? Pods may outlive their worker group."""
        if self.of(key.kind).get(key.namespace, key.name) is not None:
            return False
        pods_of = key.kind == "DaskWorkerGroup"
        return not (pods_of and self.pods.by_index("group-name", key.namespace, key.name))


POD_INDEXERS: Mapping[str, Callable[[Pod], Iterable[Hashable]]] = {
    "cluster": lambda p: [(p.meta.namespace, p.cluster, p.component)],
    "group": lambda p: [(p.meta.namespace, p.cluster, p.group)] if p.group else [],
    WORKERS: filed_under,
    "group-name": lambda p: [(p.meta.namespace, p.group)] if p.group else [],
}
GROUP_INDEXERS: Mapping[str, Callable[[CustomResource], Iterable[Hashable]]] = {
    "cluster": lambda g: [(g.meta.namespace, str(g.spec.get("cluster", "")))],
}
AUTOSCALER_INDEXERS: Mapping[str, Callable[[CustomResource], Iterable[Hashable]]] = {
    "cluster": lambda a: [(a.meta.namespace, target(a)[0])],
    "group": lambda a: [(a.meta.namespace, *target(a))],
}
