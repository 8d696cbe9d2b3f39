"""What this process remembers beside the caches: losing any of it costs a look or a repeated word, never a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dask_gitops.plan.autoscaler import Memory as Scaling
from dask_gitops.plan.cluster import ClusterState
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.idle import Look, begins_anew
from dask_gitops.plan.told import Told
from dask_gitops.reconcile.failures import Failures
from dask_gitops.reconcile.places import Places
from dask_gitops.reconcile.readings import Readings
from dask_gitops.reconcile.refusals import Refusal
from dask_gitops.reconcile.stores import Key
from dask_gitops.resources.observed import Pod


@dataclass(slots=True)
class Memory:
    """:ivar places: worker Pods that are being made, where limits count them.
    :ivar reports: statuses as they were written last (revisions),
    :ivar crowded: who waits for room in a quota -> the cluster whose Pods hold it: both decide whom news wake.
    :ivar readings: what custom resources say, also where a spec of theirs cannot be read.
    """

    places: Places
    reports: dict[Key, str]
    crowded: dict[Key, str]
    readings: Readings = field(default_factory=Readings)
    failures: Failures = field(default_factory=Failures)
    # -> uid of the subject -> part -> what the API server said to it. A new process tries all of it once.
    refused: dict[Key, dict[str, dict[str, Refusal]]] = field(default_factory=dict)
    # Whose last status met another writer's.
    contended: set[Key] = field(default_factory=set)
    # When statuses were written within the last second.
    written: dict[Key, float] = field(default_factory=dict)
    # -> (uid, what was tried out with success).
    tried: dict[Key, tuple[str, str]] = field(default_factory=dict)
    # Of a group -> (cluster uid, highest serial seen): a scheduler may still list a worker that is gone, and refuses its
    # name to another one. A restart forgets this; then the API server's 409 still prevents twins.
    highest: dict[Key, tuple[str, int]] = field(default_factory=dict)
    # Of a cluster -> its scheduler pod as it was seen last: its successor says why it was made.
    last_scheduler: dict[Key, Pod] = field(default_factory=dict)
    # Of a cluster -> what its scheduler said when it was asked last whether it is idle. A report only.
    looks: dict[Key, Look] = field(default_factory=dict)
    # Of a cluster -> what its scheduler told of itself.
    told: dict[Key, Told] = field(default_factory=dict)
    # How often that was something new.
    heard: int = 0
    # What each DaskAutoscaler remembers: its windows begin anew with a new process.
    scaling: dict[Key, Scaling] = field(default_factory=dict)

    def saw_cluster(self, key: Key, state: ClusterState) -> None:
        if begins_anew(state.cluster):
            self.last_scheduler.pop(key, None)
        elif state.predecessor is not None:
            self.last_scheduler[key] = state.predecessor

    def saw_group(self, key: Key, state: GroupState) -> None:
        if state.cluster is not None:
            self.highest[key] = (state.cluster.meta.uid, state.highest)
        self.places.saw(state, key.namespace)

    def hear(self, key: Key, told: Told) -> None:
        """What a cluster's scheduler told of itself."""
        if self.told.get(key) != told:
            self.told[key] = told
            self.heard += 1

    def forget(self, key: Key) -> None:
        """Nothing is left of what this key names."""
        by_key: tuple[dict[Key, Any], ...] = (
            self.reports,
            self.crowded,
            self.refused,
            self.written,
            self.tried,
            self.highest,
            self.last_scheduler,
            self.looks,
            self.told,
            self.scaling,
        )
        for known in by_key:
            known.pop(key, None)
        self.contended.discard(key)
        self.readings.forget(key)
        if key.kind == "DaskWorkerGroup":
            self.places.forget(key.namespace, key.name)
