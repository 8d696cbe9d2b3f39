"""What there is of one object and all that belongs to it: caches and memory to states."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from dask_gitops.model.declared import TLS, Reading, unread_below
from dask_gitops.plan.autoscaler import ScalerState, eldest
from dask_gitops.plan.cluster import ClusterState
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.idle import begins_anew
from dask_gitops.plan.jobrun import JobState
from dask_gitops.plan.workergroup import needs_scheduler
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.places import Place
from dask_gitops.reconcile.stores import Key, Store, Stores, key_of
from dask_gitops.resources import labels, names
from dask_gitops.resources.autoscalers import Limits, target
from dask_gitops.resources.observed import CustomResource, Pod

S = TypeVar("S")


class Gone(Exception):
    """The object is not there any more, or is being deleted: garbage collection does the rest."""


@dataclass(slots=True)
class Seen(Generic[S]):
    """What was observed of one object: once, and anew only when something has changed since."""

    _look: Callable[[], S]
    _changes: Callable[[], Hashable]
    _state: S | None = None
    _when: Hashable = None

    @property
    def now(self) -> S:
        """:raises Gone: there is nothing to observe any more."""
        changes = self._changes()
        if self._state is None or self._when != changes:
            self._state, self._when = self._look(), changes
        return self._state


@dataclass(frozen=True, slots=True)
class Observer:
    """:ivar clock: wall clock, seconds since the epoch."""

    stores: Stores
    memory: Memory
    clock: Callable[[], float]

    # ---- what a reconcile works with; the process remembers some of it

    def cluster(self, key: Key) -> Seen[ClusterState]:
        def look(cluster: CustomResource) -> ClusterState:
            state = self.cluster_state(cluster)
            self.memory.saw_cluster(key, state)
            return state

        return self._seen(key, self.stores.clusters, look)

    def job(self, key: Key) -> Seen[JobState]:
        return self._seen(key, self.stores.jobs, self.job_state)

    def autoscaler(self, key: Key) -> Seen[ScalerState]:
        return self._seen(key, self.stores.autoscalers, self.scaler_state)

    def group(self, key: Key, cluster: str) -> Seen[GroupState]:
        """A group as far as this cluster goes; it need not be there."""

        def look() -> GroupState:
            state = self.group_state(key.namespace, key.name, cluster)
            if needs_scheduler(state):
                state = replace(state, neighbours=self._neighbours(state, key.namespace, cluster))
            self.memory.saw_group(key, state)
            if state.group is not None and state.group.spec.get("cluster", "") != cluster:
                return replace(state, group=None)  # it was made anew for another cluster
            return state

        return self._as_seen(key, look)

    def _seen(
        self, key: Key, store: Store[CustomResource], look: Callable[[CustomResource], S]
    ) -> Seen[S]:
        first = store.get(key.namespace, key.name)

        def again() -> S:
            found = store.get(key.namespace, key.name)
            if first is None or found is None or found.meta.uid != first.meta.uid:
                raise Gone
            if found.meta.deleting is not None:
                raise Gone
            return look(found)

        return self._as_seen(key, again)

    def _as_seen(self, key: Key, look: Callable[[], S]) -> Seen[S]:
        """What the caches hear of, workers that other turns are making, and what schedulers told of themselves."""
        memory, places = self.memory, self.memory.places

        def changes() -> Hashable:
            return self.stores.changes(key.namespace), places.changes, memory.heard

        return Seen(look, changes)

    # ---- pure

    def cluster_state(self, cluster: CustomResource) -> ClusterState:
        namespace, name = cluster.meta.namespace, cluster.meta.name
        default = names.default_group_name(name)
        declared = {g.meta.name for g in self.stores.groups.by_index("cluster", namespace, name)}
        if self.stores.groups.get(namespace, default) is not None:
            declared.add(default)  # also one whose spec names another cluster: it holds the name
        reading, cluster = (
            self.memory.readings.of(cluster),
            self.memory.readings.what_counts(cluster),
        )
        schedulers = self._schedulers(namespace, name)
        workers = self.stores.pods.by_index("cluster", namespace, name, labels.WORKER)
        return ClusterState(
            cluster=cluster,
            schedulers=schedulers,
            predecessor=self._predecessor(cluster, schedulers),
            service=self.stores.services.get(namespace, names.scheduler_name(name)),
            autoscaler=self.stores.autoscalers.get(namespace, name),
            groups=tuple(self.group_state(namespace, group, name) for group in sorted(declared)),
            orphans=tuple(p for p in workers if p.meta.owner_uid is None and not p.gone),
            working=sum(p.meta.owner_uid == cluster.meta.uid and not p.gone for p in workers),
            wrong=reading.wrong,
            unread=reading.unread,
            told=self.memory.told.get(Key("DaskCluster", namespace, name)),
        )

    def job_state(self, job: CustomResource) -> JobState:
        namespace, name = job.meta.namespace, job.meta.name
        pods = self.stores.pods.by_index("cluster", namespace, name, labels.JOB_RUNNER)
        reading = self.memory.readings.of(job)
        return JobState(
            job=self.memory.readings.what_counts(job),
            runners=tuple(p for p in pods if names.is_runner_name(p.meta.name, name)),
            cluster=self.stores.clusters.get(namespace, name),
            scheduler=next((p for p in self._schedulers(namespace, name) if not p.gone), None),
            wrong=reading.wrong,
            unread=reading.unread,
            told=self.memory.told.get(Key("DaskCluster", namespace, name)),
        )

    def _schedulers(self, namespace: str, cluster: str) -> tuple[Pod, ...]:
        """Pods under the scheduler's name; another operator's pods may carry the same labels."""
        name = names.scheduler_name(cluster)
        pods = self.stores.pods.by_index("cluster", namespace, cluster, labels.SCHEDULER)
        return tuple(p for p in pods if p.meta.name == name)

    def _predecessor(self, cluster: CustomResource, schedulers: Sequence[Pod]) -> Pod | None:
        """The scheduler pod of this very cluster that was seen last."""
        if begins_anew(cluster):
            return None
        last = self.memory.last_scheduler.get(key_of(cluster))
        known = [*([last] if last is not None else []), *schedulers]
        own = [pod for pod in known if pod.meta.owner_uid == cluster.meta.uid]
        return own[-1] if own else None

    def group_state(self, namespace: str, name: str, cluster_name: str) -> GroupState:
        stores = self.stores
        group = stores.groups.get(namespace, name)
        if group is not None and group.meta.deleting is not None:
            group = None
        stored, reading = group, Reading({})
        if group is not None:
            reading, group = self.memory.readings.of(group), self.memory.readings.what_counts(group)
        cluster = stores.clusters.get(namespace, cluster_name)
        if cluster is None or cluster.meta.deleting is not None:
            return GroupState(
                name, group, None, None, stored=stored, wrong=reading.wrong, unread=reading.unread
            )
        of_cluster = self.memory.readings.of(cluster)
        cluster = self.memory.readings.what_counts(cluster)
        uid = cluster.meta.uid
        pods = tuple(
            p
            for p in stores.pods.by_index("group", namespace, cluster_name, name)
            if p.meta.owner_uid == uid
        )
        schedulers = self._schedulers(namespace, cluster_name)
        state = GroupState(
            name=name,
            group=group,
            cluster=cluster,
            scheduler=next((p for p in schedulers if not p.gone and p.meta.owner_uid == uid), None),
            pods=pods,
            highest=self._highest_serial(Key("DaskWorkerGroup", namespace, name), uid, pods),
            now=self.clock(),
            autoscaled=group is not None and bool(self._autoscalers(namespace, cluster_name, name)),
            stored=stored,
            wrong=(*reading.wrong, *of_cluster.unmet(cluster_name)),
            unread=reading.unread | (of_cluster.unread & {TLS}),
            blind=unread_below(of_cluster.unread, "scheduler", "spec"),
        )
        place = Place(namespace, cluster_name, name)
        limits = self.memory.places.limits_of(place, stores.pods, len(state.staying))
        return replace(state, limits=limits, granted=self.memory.places.granted(state, namespace))

    def _autoscalers(self, namespace: str, cluster: str, group: str) -> list[CustomResource]:
        found = self.stores.autoscalers.by_index("group", namespace, cluster, group)
        return [self.memory.readings.what_counts(a) for a in found if a.meta.deleting is None]

    def scaler_state(self, autoscaler: CustomResource) -> ScalerState:
        """What there is of an autoscaler's group and cluster."""
        namespace = autoscaler.meta.namespace
        reading = self.memory.readings.of(autoscaler)
        wrong, unread = reading.wrong, reading.unread
        autoscaler = self.memory.readings.what_counts(autoscaler)
        cluster_name, name = target(autoscaler)
        rivals = [*self._autoscalers(namespace, cluster_name, name), autoscaler]
        elder = eldest(rivals)
        rival = elder if elder.meta.uid != autoscaler.meta.uid else None
        cluster = self.stores.clusters.get(namespace, cluster_name)
        if cluster is None or cluster.meta.deleting is not None:
            return ScalerState(autoscaler, rival=rival, wrong=wrong, unread=unread)
        declared = self.stores.groups.by_index("cluster", namespace, cluster_name)
        maxima = {
            g.meta.name: Limits.of(eldest(own)).maximum
            for g in declared
            if (own := self._autoscalers(namespace, cluster_name, g.meta.name))
        }
        group = None
        if name in {g.meta.name for g in declared if g.meta.deleting is None}:
            group = self.group_state(namespace, name, cluster_name)
            neighbours = self._neighbours(group, namespace, cluster_name)
            group = replace(group, neighbours=neighbours)
        groups = [self.group_state(namespace, g.meta.name, cluster_name) for g in declared]
        return ScalerState(autoscaler, cluster, group, rival, tuple(groups), maxima, wrong, unread)

    def _highest_serial(self, key: Key, cluster_uid: str, pods: Sequence[Pod]) -> int:
        seen_of, seen = self.memory.highest.get(key, ("", -1))
        highest = max((p.serial for p in pods), default=-1)
        return max(highest, seen) if seen_of == cluster_uid else highest

    def _neighbours(self, state: GroupState, namespace: str, cluster: str) -> tuple[Pod, ...]:
        """The cluster's other workers, needed only to tell workers apart."""
        everyone = self.stores.pods.by_index("cluster", namespace, cluster, labels.WORKER)
        own = {pod.meta.uid for pod in state.pods}
        return tuple(pod for pod in everyone if pod.meta.uid not in own)
