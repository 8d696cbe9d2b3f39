"""What there is of one object and all that belongs to it: caches and memory to states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dask_gitops.model.declared import TLS, Reading, unread_below
from dask_gitops.plan.autoscaler import ScalerState, eldest
from dask_gitops.plan.cluster import ClusterState
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.idle import begins_anew
from dask_gitops.plan.jobrun import JobState
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.places import Place
from dask_gitops.reconcile.stores import Stores
from dask_gitops.resources import labels, names
from dask_gitops.resources.autoscalers import Limits, target
from dask_gitops.resources.observed import CustomResource, Pod


@dataclass(frozen=True, slots=True)
class Observer:
    """:ivar clock: wall clock, seconds since the epoch."""

    stores: Stores
    memory: Memory
    clock: Callable[[], float]

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
        schedulers = self.schedulers(namespace, name)
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
            told=self.memory.told.get((namespace, name)),
        )

    def job_state(self, job: CustomResource) -> JobState:
        namespace, name = job.meta.namespace, job.meta.name
        pods = self.stores.pods.by_index("cluster", namespace, name, labels.JOB_RUNNER)
        reading = self.memory.readings.of(job)
        return JobState(
            job=self.memory.readings.what_counts(job),
            runners=tuple(p for p in pods if names.is_runner_name(p.meta.name, name)),
            cluster=self.stores.clusters.get(namespace, name),
            scheduler=next((p for p in self.schedulers(namespace, name) if not p.gone), None),
            wrong=reading.wrong,
            unread=reading.unread,
            told=self.memory.told.get((namespace, name)),
        )

    def schedulers(self, namespace: str, cluster: str) -> tuple[Pod, ...]:
        """Pods under the scheduler's name; another operator's pods may carry the same labels."""
        name = names.scheduler_name(cluster)
        pods = self.stores.pods.by_index("cluster", namespace, cluster, labels.SCHEDULER)
        return tuple(p for p in pods if p.meta.name == name)

    def _predecessor(self, cluster: CustomResource, schedulers: Sequence[Pod]) -> Pod | None:
        """The scheduler pod of this very cluster that was seen last."""
        key, uid = (cluster.meta.namespace, cluster.meta.name), cluster.meta.uid
        if begins_anew(cluster):
            self.memory.last_scheduler.pop(key, None)
            return None
        for pod in schedulers:
            if pod.meta.owner_uid == uid:
                self.memory.last_scheduler[key] = pod
        last = self.memory.last_scheduler.get(key)
        return last if last is not None and last.meta.owner_uid == uid else None

    def group_state(
        self, namespace: str, name: str, cluster_name: str, *, neighbours: bool = False
    ) -> GroupState:
        """:param neighbours: also the cluster's other workers, needed only to tell workers apart."""
        stores = self.stores
        group = stores.groups.get(namespace, name)
        if group is not None and group.meta.deleting is not None:
            group = None
        stored, reading = group, Reading({})
        if group is not None:
            reading, group = self.memory.readings.of(group), self.memory.readings.what_counts(group)
        cluster = stores.clusters.get(namespace, cluster_name)
        if cluster is None or cluster.meta.deleting is not None:
            self.memory.highest.pop((namespace, name), None)
            self.memory.places.forget(namespace, name)
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
        schedulers = self.schedulers(namespace, cluster_name)
        everyone = (
            stores.pods.by_index("cluster", namespace, cluster_name, labels.WORKER)
            if neighbours
            else []
        )
        state = GroupState(
            name=name,
            group=group,
            cluster=cluster,
            scheduler=next((p for p in schedulers if not p.gone and p.meta.owner_uid == uid), None),
            pods=pods,
            neighbours=tuple(p for p in everyone if p.group != name or p.meta.owner_uid != uid),
            highest=self._highest_serial(namespace, name, uid, pods),
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
            group = self.group_state(namespace, name, cluster_name, neighbours=True)
        groups = [self.group_state(namespace, g.meta.name, cluster_name) for g in declared]
        return ScalerState(autoscaler, cluster, group, rival, tuple(groups), maxima, wrong, unread)

    def _highest_serial(
        self, namespace: str, group: str, cluster_uid: str, pods: Sequence[Pod]
    ) -> int:
        seen_of, seen = self.memory.highest.get((namespace, group), ("", -1))
        highest = max((p.serial for p in pods), default=-1)
        if seen_of == cluster_uid:
            highest = max(highest, seen)
        self.memory.highest[namespace, group] = (cluster_uid, highest)
        return highest
