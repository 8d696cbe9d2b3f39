"""What this process remembers beside the caches: losing any of it costs a look or a repeated word, never a worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from dask_gitops.plan.autoscaler import Memory as Scaling
from dask_gitops.plan.idle import Look
from dask_gitops.plan.told import Told
from dask_gitops.reconcile.failures import Failures
from dask_gitops.reconcile.places import Places
from dask_gitops.reconcile.readings import Readings
from dask_gitops.reconcile.refusals import Refusal
from dask_gitops.reconcile.stores import Key, Stores
from dask_gitops.resources.observed import Pod


@dataclass(slots=True)
class Memory:
    """:ivar places: worker Pods that are being made, where limits count them.
    :ivar readings: what custom resources say, also where a spec of theirs cannot be read.
    """

    places: Places
    readings: Readings = field(default_factory=Readings)
    failures: Failures = field(default_factory=Failures)
    # (key, uid of the subject) -> part -> what the API server said to it. A new process tries all of it once.
    refused: dict[tuple[Key, str], dict[str, Refusal]] = field(default_factory=dict)
    # Whose last status met another writer's.
    contended: set[Key] = field(default_factory=set)
    # When statuses were written within the last second.
    written: dict[Key, float] = field(default_factory=dict)
    # (namespace, cluster) -> (uid, what was tried out with success).
    tried: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    # (namespace, group) -> (cluster uid, highest serial seen): a scheduler may still list a worker that is gone, and
    # refuses its name to another one. A restart forgets this; then the API server's 409 still prevents twins.
    highest: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    # (namespace, cluster) -> its scheduler pod as it was seen last: its successor says why it was made.
    last_scheduler: dict[tuple[str, str], Pod] = field(default_factory=dict)
    # (namespace, cluster) -> what its scheduler said when it was asked last whether it is idle. A report only.
    looks: dict[tuple[str, str], Look] = field(default_factory=dict)
    # (namespace, cluster) -> what its scheduler told of itself.
    told: dict[tuple[str, str], Told] = field(default_factory=dict)
    # What each DaskAutoscaler remembers: its windows begin anew with a new process.
    scaling: dict[Key, Scaling] = field(default_factory=dict)

    # How much may be remembered before that of objects that are gone is dropped.
    _room: int = 20

    def forget_cluster(self, namespace: str, name: str) -> None:
        """It is gone."""
        self.last_scheduler.pop((namespace, name), None)
        self.looks.pop((namespace, name), None)
        self.told.pop((namespace, name), None)

    def forget_the_gone(self, stores: Stores, now: float) -> None:
        """Drop what is about objects that are in no cache any more, once it has become much."""
        if self._remembered() <= self._room:
            return
        alive = {
            resource.meta.uid
            for store in (stores.clusters, stores.groups, stores.autoscalers, stores.jobs)
            for informer in store.informers.values()
            for resource in informer.all()
        }
        self.refused = {
            k: lately
            for k, known in self.refused.items()
            if k[1] in alive and (lately := {p: s for p, s in known.items() if s.goes_on(now)})
        }
        self.contended = {k for k in self.contended if stores.of(k.kind).get(k.namespace, k.name)}
        # A cluster may live for months while groups come and go in it.
        self.highest = {
            k: seen
            for k, seen in self.highest.items()
            if seen[0] in alive and _has_group(stores, *k)
        }
        self.places.forget_all_but(self.highest)
        self.tried = {k: tried for k, tried in self.tried.items() if tried[0] in alive}
        self.readings.keep(alive)
        self._room = 20 + 2 * self._remembered()

    def _remembered(self) -> int:
        return len(self.refused) + len(self.highest) + len(self.tried) + self.readings.count


def _has_group(stores: Stores, namespace: str, name: str) -> bool:
    """Is there a group of this name, or a pod that one has left?"""
    there = stores.groups.get(namespace, name) is not None
    return there or bool(stores.pods.by_index("group-name", namespace, name))
