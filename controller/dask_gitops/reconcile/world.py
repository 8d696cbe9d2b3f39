"""What every reconcile works with: the caches, the two ways to the outside, and how actions are carried out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from dask_gitops import events
from dask_gitops import status as words
from dask_gitops.kube.client import Api
from dask_gitops.kube.errors import ApiError, KubeError
from dask_gitops.kube.informer import Informer, Unreadable
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    SERVICES,
    Resource,
)
from dask_gitops.metrics import Metrics
from dask_gitops.model.declared import TLS, Reading, unread_below
from dask_gitops.plan.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Emit,
    Part,
    Patch,
    Plan,
    Retire,
    TryOut,
    Undrain,
)
from dask_gitops.plan.autoscaler import Memory, ScalerState, eldest
from dask_gitops.plan.cluster import ClusterState, Load
from dask_gitops.plan.demand import Demand
from dask_gitops.plan.drain import RETRY_HELD_S
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.idle import Look, begins_anew, look_in, timeout
from dask_gitops.plan.jobrun import JobState
from dask_gitops.plan.told import Told
from dask_gitops.reconcile.failures import Failures
from dask_gitops.reconcile.places import WORKERS, Place, Places, filed_under
from dask_gitops.reconcile.readings import Readings
from dask_gitops.reconcile.refusals import (
    BACKOFF_S,
    LONGEST_BACKOFF_S,
    REFUSED_S,
    RETRY_S,
    SOONEST_S,
    Failed,
    Outcomes,
    Refusal,
    is_refusal,
    problem_of,
    told_as,
)
from dask_gitops.resources import labels, names
from dask_gitops.resources.autoscalers import Limits, target
from dask_gitops.resources.managed import MANAGER, taken_over, understood
from dask_gitops.resources.observed import CustomResource, Meta, Pod, Service
from dask_gitops.resources.pods import ControlApi
from dask_gitops.resources.revision import merge_patch
from dask_gitops.scheduler.client import Outcome, SchedulerUnavailable, State, base_url
from dask_gitops.scheduler.source import PRELOAD, SOURCE_ENV, TOKEN_ENV, control_source
from dask_gitops.settings import Settings
from dask_gitops.status import is_progress

JSON = dict[str, Any]
T = TypeVar("T")
log = logging.getLogger(__name__)

WAIT_S = 2.0  # how long a retire call may wait inside the scheduler
IN_FLIGHT = (
    64  # creates that are on their way when their cluster is deleted can still make something
)
UNFINISHED = ("waiting", "processing", "queued", "no-worker")  # Dask's states of tasks to be done
PROGRESS_S = 1.0  # mere progress is written this often
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
    def informers(self) -> list[Informer[Any]]:
        stores: tuple[Store[Any], ...] = (
            self.clusters,
            self.groups,
            self.autoscalers,
            self.jobs,
            self.pods,
            self.services,
        )
        return [informer for store in stores for informer in store.informers.values()]


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


class Schedulers(Protocol):
    """What is asked of schedulers; tests have one in memory."""

    async def state(self, base_url: str, token: str) -> State: ...

    async def demand(self, base_url: str, token: str) -> Demand: ...

    async def retire(
        self,
        base_url: str,
        token: str,
        ids: Iterable[str],
        wait_s: float = 0.0,
        interrupt: bool = False,
        discard: bool = False,
    ) -> dict[str, Outcome]: ...

    async def undrain(self, base_url: str, token: str, ids: Iterable[str]) -> dict[str, str]: ...


@dataclass(slots=True)
class World:
    """:ivar again: asks for another reconcile of a key after so many seconds.
    :ivar clock: wall clock, seconds since the epoch.
    """

    api: Api
    schedulers: Schedulers
    stores: Stores
    settings: Settings
    metrics: Metrics
    again: Callable[[Key, float], None]
    clock: Callable[[], float] = time.time
    control: ControlApi = field(
        default_factory=lambda: ControlApi(PRELOAD, SOURCE_ENV, control_source(), TOKEN_ENV)
    )
    # (key, uid of the subject) -> part -> what the API server said to it. A new process tries all of it once.
    _refused: dict[tuple[Key, str], dict[str, Refusal]] = field(default_factory=dict)
    # Whose last status met another writer's.
    _contended: set[Key] = field(default_factory=set)
    # When statuses were written within the last second.
    _written: dict[Key, float] = field(default_factory=dict)
    # (namespace, cluster) -> (uid, what was tried out with success).
    _tried: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    # (namespace, group) -> (cluster uid, highest serial seen): a scheduler may still list a worker that is gone, and
    # refuses its name to another one. A restart forgets this; then the API server's 409 still prevents twins.
    _highest: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    # (namespace, cluster) -> its scheduler pod as it was seen last: its successor says why it was made.
    _last_scheduler: dict[tuple[str, str], Pod] = field(default_factory=dict)

    # (namespace, cluster) -> what its scheduler said when it was asked last whether it is idle. A report only.
    _looks: dict[tuple[str, str], Look] = field(default_factory=dict)
    _told: dict[tuple[str, str], Told] = field(default_factory=dict)
    # What each DaskAutoscaler remembers: its windows begin anew with a new process.
    scaling: dict[Key, Memory] = field(default_factory=dict)

    # Worker Pods that are being made, where limits count them.
    places: Places = field(init=False)
    # What custom resources say, also where a spec of theirs cannot be read.
    readings: Readings = field(default_factory=Readings)
    failures: Failures = field(default_factory=Failures)

    # How much may be remembered before that of objects that are gone is dropped.
    _room: int = 20

    def __post_init__(self) -> None:
        self.places = Places(self.settings.limits)

    # ---- what is observed

    def cluster_state(self, cluster: CustomResource) -> ClusterState:
        namespace, name = cluster.meta.namespace, cluster.meta.name
        default = names.default_group_name(name)
        declared = {g.meta.name for g in self.stores.groups.by_index("cluster", namespace, name)}
        if self.stores.groups.get(namespace, default) is not None:
            declared.add(default)  # also one whose spec names another cluster: it holds the name
        reading, cluster = self.readings.of(cluster), self.readings.what_counts(cluster)
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
            told=self._told.get((namespace, name)),
        )

    def job_state(self, job: CustomResource) -> JobState:
        namespace, name = job.meta.namespace, job.meta.name
        pods = self.stores.pods.by_index("cluster", namespace, name, labels.JOB_RUNNER)
        reading = self.readings.of(job)
        return JobState(
            job=self.readings.what_counts(job),
            runners=tuple(p for p in pods if names.is_runner_name(p.meta.name, name)),
            cluster=self.stores.clusters.get(namespace, name),
            scheduler=next((p for p in self._schedulers(namespace, name) if not p.gone), None),
            wrong=reading.wrong,
            unread=reading.unread,
            told=self._told.get((namespace, name)),
        )

    def _schedulers(self, namespace: str, cluster: str) -> tuple[Pod, ...]:
        """Pods under the scheduler's name; another operator's pods may carry the same labels."""
        name = names.scheduler_name(cluster)
        pods = self.stores.pods.by_index("cluster", namespace, cluster, labels.SCHEDULER)
        return tuple(p for p in pods if p.meta.name == name)

    def _predecessor(self, cluster: CustomResource, schedulers: Sequence[Pod]) -> Pod | None:
        """The scheduler pod of this very cluster that was seen last."""
        key, uid = (cluster.meta.namespace, cluster.meta.name), cluster.meta.uid
        if begins_anew(cluster):
            self._last_scheduler.pop(key, None)
            return None
        for pod in schedulers:
            if pod.meta.owner_uid == uid:
                self._last_scheduler[key] = pod
        last = self._last_scheduler.get(key)
        return last if last is not None and last.meta.owner_uid == uid else None

    def forget_cluster(self, namespace: str, name: str) -> None:
        """It is gone."""
        self._last_scheduler.pop((namespace, name), None)
        self._looks.pop((namespace, name), None)
        self._told.pop((namespace, name), None)

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
            reading, group = self.readings.of(group), self.readings.what_counts(group)
        cluster = stores.clusters.get(namespace, cluster_name)
        if cluster is None or cluster.meta.deleting is not None:
            self._highest.pop((namespace, name), None)
            self.places.forget(namespace, name)
            return GroupState(
                name, group, None, None, stored=stored, wrong=reading.wrong, unread=reading.unread
            )
        of_cluster = self.readings.of(cluster)
        cluster = self.readings.what_counts(cluster)
        uid = cluster.meta.uid
        pods = tuple(
            p
            for p in stores.pods.by_index("group", namespace, cluster_name, name)
            if p.meta.owner_uid == uid
        )
        schedulers = self._schedulers(namespace, cluster_name)
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
        limits = self.places.limits_of(place, stores.pods, len(state.staying))
        return replace(state, limits=limits, granted=self.places.granted(state, namespace))

    def _autoscalers(self, namespace: str, cluster: str, group: str) -> list[CustomResource]:
        found = self.stores.autoscalers.by_index("group", namespace, cluster, group)
        return [self.readings.what_counts(a) for a in found if a.meta.deleting is None]

    def scaler_state(self, autoscaler: CustomResource) -> ScalerState:
        """What there is of an autoscaler's group and cluster."""
        namespace = autoscaler.meta.namespace
        reading = self.readings.of(autoscaler)
        wrong, unread = reading.wrong, reading.unread
        autoscaler = self.readings.what_counts(autoscaler)
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
        seen_of, seen = self._highest.get((namespace, group), ("", -1))
        highest = max((p.serial for p in pods), default=-1)
        if seen_of == cluster_uid:
            highest = max(highest, seen)
        self._highest[namespace, group] = (cluster_uid, highest)
        return highest

    def _has_group(self, namespace: str, name: str) -> bool:
        """Is there a group of this name, or a pod that one has left?"""
        stores = self.stores
        there = stores.groups.get(namespace, name) is not None
        return there or bool(stores.pods.by_index("group-name", namespace, name))

    def _forget_the_gone(self) -> None:
        if self._remembered() <= self._room:
            return
        stores = self.stores
        alive = {
            resource.meta.uid
            for store in (stores.clusters, stores.groups, stores.autoscalers, stores.jobs)
            for informer in store.informers.values()
            for resource in informer.all()
        }
        now = self.clock()
        self._refused = {
            k: lately
            for k, known in self._refused.items()
            if k[1] in alive and (lately := {p: s for p, s in known.items() if s.goes_on(now)})
        }
        self._contended = {k for k in self._contended if stores.of(k.kind).get(k.namespace, k.name)}
        # A cluster may live for months while groups come and go in it.
        self._highest = {
            k: seen for k, seen in self._highest.items() if seen[0] in alive and self._has_group(*k)
        }
        self.places.forget_all_but(self._highest)
        self._tried = {k: tried for k, tried in self._tried.items() if tried[0] in alive}
        self.readings.keep(alive)
        self._room = 20 + 2 * self._remembered()

    def _remembered(self) -> int:
        return len(self._refused) + len(self._highest) + len(self._tried) + self.readings.count

    async def ask(self, scheduler: Pod) -> list[Worker]:
        """The workers that this scheduler knows.

        :raises SchedulerUnavailable: its ``reason`` continues "the scheduler ...".
        """
        state = await self._state(scheduler)
        return [
            Worker(w.id, w.host, w.name, w.processing, w.bytes, w.actors) for w in state.workers
        ]

    async def _state(self, scheduler: Pod) -> State:
        """What this scheduler says; where it listens is kept.

        :raises SchedulerUnavailable: as above.
        """
        state = await self.schedulers.state(*self._address(scheduler))
        meta = scheduler.meta
        self._told[meta.namespace, scheduler.cluster] = Told(meta.uid, state.listens)
        return state

    async def ask_demand(self, scheduler: Pod) -> tuple[Demand | None, str]:
        """What this scheduler has to do; or None, and why it does not answer, in words."""
        try:
            return await self.schedulers.demand(*self._address(scheduler)), ""
        except SchedulerUnavailable as error:
            return None, error.reason

    async def ask_load(self, cluster: CustomResource) -> tuple[Load | None, str]:
        """What the cluster's scheduler has to do; or None, and why it does not answer, in words."""
        scheduler = self.cluster_state(cluster).scheduler
        if scheduler is None:
            return None, "is not running"
        try:
            state = await self._state(scheduler)
        except SchedulerUnavailable as error:
            return None, error.reason
        tasks, results = _load(state)
        return Load(tasks=tasks, results=results), ""

    async def look(self, cluster: CustomResource) -> Look | None:
        """Ask the cluster's scheduler whether it is idle, if it is time for that."""
        pods = self._schedulers(cluster.meta.namespace, cluster.meta.name)
        if not timeout(self.readings.what_counts(cluster)) and not any(p.idles for p in pods):
            return None
        scheduler = self.cluster_state(cluster).scheduler
        if scheduler is None or self.look_in(cluster, scheduler) != 0:
            return None
        uid = scheduler.meta.uid
        try:
            said = await self._state(scheduler)
        except SchedulerUnavailable as error:
            found = Look(uid, self.clock(), silence=error.reason)
        else:
            tasks, results = _load(said)
            found = Look(uid, self.clock(), said.idle_seconds, tasks, results)
        self._looks[cluster.meta.namespace, cluster.meta.name] = found
        return found

    def last_look(self, cluster: CustomResource) -> Look | None:
        return self._looks.get((cluster.meta.namespace, cluster.meta.name))

    def look_in(self, cluster: CustomResource, scheduler: Pod | None) -> float | None:
        """Seconds until the scheduler is to be asked whether it is idle; None: never, as things are."""
        counts = self.readings.what_counts(cluster)
        return look_in(counts, scheduler, self.last_look(cluster), self.clock())

    def _address(self, scheduler: Pod) -> tuple[str, str]:
        if not scheduler.ip or not scheduler.running:
            raise SchedulerUnavailable("is not running")
        if not scheduler.token:
            raise SchedulerUnavailable(
                "has no control API (its pod was not made by this controller)"
            )
        return base_url(scheduler.ip, scheduler.control_port), scheduler.token

    # ---- what is done

    async def carry_out(
        self,
        key: Key,
        plan: Plan,
        subject: CustomResource,
        scheduler: Pod | None = None,
        out: Outcomes | None = None,
    ) -> Outcomes:
        """Do each part in order, one part after the other.

        What the API server refuses ends its own part, which then rests: until its time, until a person changes what it
        was decided by, or, for a quota, until a pod has gone. Other errors end their part, too; then the turn is to
        fail at its end (:meth:`rest`). Only where nobody answers, all ends at once.

        :param key: whose turn this is.
        :param subject: the custom resource that Events are about.
        :param out: what came of an earlier plan of the same turn, to be added to.
        :raises KubeError: no answer came, or the Lease is not ours.
        """
        self._forget_the_gone()
        out, now = Outcomes() if out is None else out, self.clock()
        out.look_again(plan.again)
        resting = self._still_refused(key, subject, now, out)
        todo = (a for part in plan.parts if part.name not in resting for a in part.actions)
        if any(map(_needs_news, todo)) and not await self._still_wanted(subject):
            out.late = True  # the next round begins from what was learnt
        for part in plan.parts:
            if part.name in resting or out.late or out.undone.intersection(part.after):
                out.undone.add(part.name)
            else:
                await self._carry_out_part(key, part, subject, scheduler, out)
        if out.held and not out.draining:  # a worker that cannot leave is not asked every second
            out.again = RETRY_HELD_S
        return out

    def rest(self, key: Key, done: Outcomes, *seconds: float | None) -> None:
        """The end of a turn: when the next one is due, with what else asks for one.

        :raises ApiError: what failed without being a refusal: the queue repeats the turn in its own time.
        """
        for some in seconds:
            done.look_again(some)
        if done.again is not None:
            # Whoever asks for another look at once does not know of the refusal.
            self.again(key, max(done.again, SOONEST_S) if done.problems else done.again)
        if done.failures:
            raise max(done.failures, key=lambda error: error.retry_after or 0.0)

    async def _carry_out_part(
        self,
        key: Key,
        part: Part,
        subject: CustomResource,
        scheduler: Pod | None,
        out: Outcomes,
    ) -> None:
        try:
            for _, group in itertools.groupby(part.actions, type):
                await self._carry_out(list(group), subject, scheduler, out)
        except Failed as failed:
            out.undone.add(part.name)
            self._refuse(key, part, subject, failed, out)
        else:
            self._refused.get((key, subject.meta.uid), {}).pop(part.name, None)
            out.refused.pop(part.name, None)
            out.look_again(part.again)

    # ---- what is refused

    def _still_refused(
        self, key: Key, subject: CustomResource, now: float, out: Outcomes
    ) -> set[str]:
        """Names of the parts that it is too early to try again; what is known of these and others is told."""
        known = self._refused.get((key, subject.meta.uid))
        if not known:
            return set()
        decided, pods, resting = self._decided(subject), self._counted(subject), set()
        for name, said in known.items():
            if said.decided != decided or (said.pods is not None and pods < said.pods):
                continue
            if said.rests(now):
                resting.add(name)
                out.look_again(said.rests(now))
            if said.news(now):
                out.refused[name] = said.problem
                out.look_again(said.news(now))
        return resting

    def _decided(self, subject: CustomResource) -> Hashable:
        """What a person says that the parts of this one's plans follow from."""
        cluster = self.stores.clusters.get(subject.meta.namespace, _cluster_name(subject))
        return tuple(
            (m.uid, m.generation, frozenset(m.labels.items()), frozenset(m.annotations.items()))
            for m in (r.meta for r in (subject, cluster) if r is not None)
        )

    def _counted(self, subject: CustomResource) -> int:
        """How many pods of this one's cluster a quota may count."""
        where = subject.meta.namespace, _cluster_name(subject)
        return sum(
            not pod.finished
            for component in (labels.SCHEDULER, labels.WORKER, labels.JOB_RUNNER)
            for pod in self.stores.pods.by_index("cluster", *where, component)
        )

    def _refuse(
        self, key: Key, part: Part, subject: CustomResource, failed: Failed, out: Outcomes
    ) -> None:
        """Remember what was said to a part, and tell it."""
        now, error = self.clock(), failed.error
        known = self._refused.setdefault((key, subject.meta.uid), {})
        before = known.get(part.name)
        if before is not None and not before.goes_on(now):
            before = None
        problem = replace(problem_of(failed, now, before), declared=part.declared)
        pods = self._counted(subject) if error.is_forbidden_quota else None
        times = 0
        if is_refusal(error):
            rest: float = REFUSED_S if problem.refused else RETRY_S
            out.look_again(rest)
        else:
            out.failures.append(error)
            times = 1 + (before.times if before is not None else 0)
            # A little less than the queue leaves between two turns that fail.
            rest = min(BACKOFF_S * 2.0 ** min(times - 1, 10), LONGEST_BACKOFF_S)
            rest = max(rest, error.retry_after or 0.0)
        said = Refusal(problem, now, rest, times, self._decided(subject), pods)
        known[part.name] = said
        out.refused.pop(part.name, None)
        if said.news(now):
            out.refused[part.name] = problem

    async def _carry_out(
        self,
        some: Sequence[Action],  # all of one type
        subject: CustomResource,
        scheduler: Pod | None,
        out: Outcomes,
    ) -> None:
        writes: dict[type, Callable[[Any], Awaitable[None]]] = {
            Delete: self._delete,
            Patch: self._patch,
            Apply: self._apply,
        }
        if (write := writes.get(type(some[0]))) is not None:
            # A thousand one after the other would take minutes; the client limits how many are on their way.
            await _all(map(write, some))
            return
        for action in some:
            if isinstance(action, Create):
                await self._create(action)
            elif isinstance(action, TryOut):
                await self._try_out(action, subject)
            elif isinstance(action, Emit):
                await self.emit(action, subject)
            elif scheduler is not None:
                try:
                    if isinstance(action, Retire):
                        await self._retire(action, subject, scheduler, out)
                    elif isinstance(action, Undrain):
                        await self._undrain(action, scheduler)
                except SchedulerUnavailable as error:
                    out.held.append(f"the scheduler {error.reason}")

    async def _still_wanted(self, subject: CustomResource) -> bool:
        """Ask the API server itself: a watch may be late, and what is being deleted or was changed is another plan."""
        namespace = subject.meta.namespace
        wanted = {(subject.kind, subject.meta.name): subject.meta}
        cluster = self.stores.clusters.get(namespace, str(subject.spec.get("cluster", "")))
        if subject.kind == "DaskWorkerGroup" and cluster is not None:
            wanted[cluster.kind, cluster.meta.name] = cluster.meta

        async def is_so(kind: str, name: str, seen: Meta) -> bool:
            await self._refresh(kind, namespace, name, seen.uid)
            found = self.stores.of(kind).get(namespace, name)
            if found is None or found.meta.deleting is not None:
                return False
            return (found.meta.uid, found.meta.generation) == (seen.uid, seen.generation)

        if not all(await _all(is_so(*thing, seen) for thing, seen in wanted.items())):
            return False
        # A job's status remembers that it has ended: it must not run once more because a watch is late.
        now = self.stores.of(subject.kind).get(namespace, subject.meta.name)
        return subject.kind != "DaskJob" or (now is not None and now.status == subject.status)

    async def _create(self, action: Create) -> None:
        """Slow start: 1, 2, 4 ... at once, so that a quota's refusal costs a few requests only."""
        todo, left, size = iter(action.manifests), len(action.manifests), 1
        slots = asyncio.Semaphore(IN_FLIGHT)
        warnings: list[str] = []

        async def one(warning: str | None) -> str | None:
            async with slots:
                manifest = next(todo)  # made now, if it was not before
                if warning is not None:
                    manifest["metadata"]["annotations"][labels.SPEC_WARNING] = warning
                if self._ends(manifest):
                    return None
                with told_as(f"create {action.kind} {manifest['metadata']['name']}"):
                    return await self._create_one(action.kind, manifest)

        while left > 0:
            known = warnings[0] if warnings else None
            answers = await _all(one(known) for _ in range(min(size, left)))
            warnings += [a for a in answers if a is not None]
            left -= size
            size *= 2

    async def _try_out(self, action: TryOut, subject: CustomResource) -> None:
        """A quota and the name of the object that is to be replaced are in the way now, and will not be then."""
        namespace, word = subject.meta.namespace, (subject.meta.uid, action.word)
        if self._tried.get((namespace, subject.meta.name)) == word and not action.again:
            return
        name = action.manifest["metadata"]["name"]
        try:
            with told_as(f"create {action.kind} {name}"):
                await self.api.create(
                    RESOURCES[action.kind], namespace, action.manifest, dry_run=True
                )
        except Failed as failed:
            if not (failed.error.is_already_exists or failed.error.is_forbidden_quota):
                raise
        self._tried[namespace, subject.meta.name] = word

    def _ends(self, manifest: JSON) -> bool:
        """Is that for which this is made gone, or going?"""
        (ref,) = manifest["metadata"]["ownerReferences"]
        owner = self.stores.of(ref["kind"]).get(manifest["metadata"]["namespace"], ref["name"])
        return owner is None or owner.meta.uid != ref["uid"] or owner.meta.deleting is not None

    async def _create_one(self, kind: str, manifest: JSON) -> str | None:
        """:return: what the API server warned of, if that is not on the object already."""
        meta = manifest["metadata"]
        resource, store = RESOURCES[kind], self.stores.of(kind)
        try:
            created = await self.api.create(resource, meta["namespace"], manifest)
        except ApiError as error:
            if not error.is_already_exists:
                raise
            # An earlier try that we did not hear of, or a leader before us; or somebody else's object.
            existing = await self.api.get(resource, meta["namespace"], meta["name"])
            owners = [o["uid"] for o in existing["metadata"].get("ownerReferences") or ()]
            if meta["ownerReferences"][0]["uid"] not in owners:
                raise  # not into the cache: without our labels, no watch would tell of its end
            store.observe(existing)
            return None
        store.observe(created.object)
        if kind == "Pod" and created.warnings and labels.SPEC_WARNING not in meta["annotations"]:
            text = "; ".join(created.warnings)
            body = {
                "metadata": {
                    "uid": created.object["metadata"]["uid"],
                    "annotations": {labels.SPEC_WARNING: text},
                }
            }
            store.observe(await self.api.patch(resource, meta["namespace"], meta["name"], body))
            return text
        return None

    @contextlib.asynccontextmanager
    async def _upon(self, verb: str, action: Delete | Patch | Apply) -> AsyncIterator[None]:
        """A write to exactly the object that was observed. One that is gone meanwhile needs none, and is not made again;
        one that was changed is looked at before anybody tries again."""
        kind, meta = action.kind, action.meta
        with told_as(f"{verb} {kind} {meta.name}"):
            try:
                yield
            except ApiError as error:
                if error.is_not_found or error.is_uid_mismatch:
                    self.stores.of(kind).forget(meta.namespace, meta.name, meta.uid)
                    return
                if error.is_conflict:
                    await self._refresh(kind, meta.namespace, meta.name, meta.uid)
                raise

    async def _delete(self, action: Delete) -> None:
        meta, store = action.meta, self.stores.of(action.kind)
        async with self._upon("delete", action):
            answer = await self.api.delete(
                RESOURCES[action.kind],
                meta.namespace,
                meta.name,
                uid=meta.uid,
                resource_version=meta.version if action.exact else None,
                grace_period_s=0 if action.force else None,
            )
            rest = {} if answer is None else answer["metadata"]
            if answer is None or not (
                rest.get("deletionGracePeriodSeconds") or rest.get("finalizers")
            ):
                store.forget(meta.namespace, meta.name, meta.uid)
            else:
                store.observe(answer)

    async def _patch(self, action: Patch) -> None:
        meta = action.meta
        extra: JSON = {}
        if action.subresource != "scale":  # a Scale has no place for a uid
            extra["uid"] = meta.uid
        if action.exact or action.subresource == "scale":
            extra["resourceVersion"] = meta.version
        body = {**action.body, "metadata": {**action.body.get("metadata", {}), **extra}}
        async with self._upon("patch", action):
            answer = await self.api.patch(
                RESOURCES[action.kind],
                meta.namespace,
                meta.name,
                body,
                subresource=action.subresource,
                field_manager=action.manager,
            )
            if action.subresource == "scale":  # the answer is a Scale, not the object
                await self._refresh(action.kind, meta.namespace, meta.name, meta.uid)
            else:
                self.stores.of(action.kind).observe(answer)

    async def _apply(self, action: Apply) -> None:
        async with self._upon("apply", action):
            if action.take_over:
                await self._take_over(action)
            spec = action.manifest["spec"]
            try:
                try:
                    answer = await self._applied(action, spec)
                except ApiError as error:
                    if not error.is_untyped:
                        raise
                    known = await self._understood(action, stumbled=error)
                    answer = await self._applied(action, known)
            except ApiError as error:
                if error.is_untyped:
                    raise ApiError(422, "Invalid", error.message) from error
                if error.is_invalid and action.way_out:
                    error.message = f"{error.message}; {action.way_out}"
                raise
            self.stores.of(action.kind).observe(answer)

    async def _applied(self, action: Apply, spec: JSON) -> JSON:
        meta = action.meta
        declared = {**action.manifest["metadata"], "uid": meta.uid}
        return await self.api.patch(
            RESOURCES[action.kind],
            meta.namespace,
            meta.name,
            {**action.manifest, "metadata": declared, "spec": spec},
            field_manager=MANAGER,
            patch_type="apply",
        )

    async def _understood(self, action: Apply, stumbled: ApiError) -> JSON:
        """The declared spec without what this API server does not know: a create drops it, an apply stumbles over it.

        :raises ApiError: ``stumbled``, where there is more that the server does not take: of a patch it would show the whole object.
        """
        meta, spec = action.meta, action.manifest["spec"]
        body = {"metadata": {"uid": meta.uid}, "spec": spec}
        resource = RESOURCES[action.kind]
        try:
            seen = await self.api.patch(resource, meta.namespace, meta.name, body, dry_run=True)
        except ApiError as error:
            if error.status in (400, 422):
                raise stumbled from error
            raise
        known: JSON = understood(spec, seen["spec"])
        return known

    async def _take_over(self, action: Apply) -> None:
        """Once for each object, before its first apply: nothing else would ever leave it."""
        meta, resource = action.meta, RESOURCES[action.kind]
        found = (await self.api.get(resource, meta.namespace, meta.name))["metadata"]
        entries = found.get("managedFields") or []
        taken = taken_over(entries, MANAGER)
        if found["uid"] != meta.uid or taken == entries:
            return  # another object of this name: the apply itself says so
        note = {
            "uid": meta.uid,
            "resourceVersion": found["resourceVersion"],
            "managedFields": taken,
        }
        await self.api.patch(
            resource, meta.namespace, meta.name, {"metadata": note}, field_manager=MANAGER
        )

    async def make_sure(self, kind: str, namespace: str, name: str) -> None:
        """Let the cache know what the API server says of this object now."""
        known = self.stores.of(kind).get(namespace, name)
        await self._refresh(kind, namespace, name, known.meta.uid if known is not None else None)

    async def _refresh(self, kind: str, namespace: str, name: str, uid: str | None) -> None:
        """Look at an object itself: the cache may be behind for long, and is not to be asked in a circle."""
        store = self.stores.of(kind)
        try:
            store.observe(await self.api.get(RESOURCES[kind], namespace, name))
        except ApiError as error:
            if not error.is_not_found:
                raise
            if uid is not None:
                store.forget(namespace, name, uid)

    async def _retire(
        self, action: Retire, subject: CustomResource, scheduler: Pod, out: Outcomes
    ) -> None:
        """Ask, then delete the pods whose workers are all retired."""
        url, token = self._address(scheduler)
        outcomes = await self.schedulers.retire(
            url,
            token,
            action.ids,
            wait_s=WAIT_S,
            interrupt=action.interrupt,
            discard=action.discard,
        )
        for outcome in outcomes.values():
            if outcome.state != "draining":
                self.metrics.retired.labels(outcome.state).inc()
            out.draining |= outcome.state != "refused"
        workers = {
            pod.meta.uid: [outcomes[i] for i in ids]
            for pod, ids in zip(action.pods, action.ids_by_pod, strict=True)
        }
        retired = [p for p in action.pods if all(o.state == "retired" for o in workers[p.meta.uid])]
        if retired:  # told first: once a Pod is gone, nobody knows what went with it
            lost = [
                f"{pod.meta.name} {o.message}"
                for pod in retired
                for o in workers[pod.meta.uid]
                if o.lost
            ]
            end = "; ".join(lost) or "nothing was lost"
            reason = "ResultsDiscarded" if lost else "ScaledDown"
            await self.emit(
                Emit(
                    reason,
                    f"retired {words.listed(p.meta.name for p in retired)}; {end}",
                    warning=bool(lost),
                ),
                subject,
            )
        await _all(self._delete(Delete("Pod", pod.meta)) for pod in retired)
        out.held += [
            f"{pod.meta.name}: {o.message}"
            for pod in action.pods
            for o in workers[pod.meta.uid]
            if o.state == "refused"
        ]

    async def _undrain(self, action: Undrain, scheduler: Pod) -> None:
        url, token = self._address(scheduler)
        await self.schedulers.undrain(url, token, action.ids)
        body = {"metadata": {"annotations": {labels.RETIRING: None}}}
        await _all(self._patch(Patch("Pod", pod.meta, body)) for pod in action.pods)

    async def emit(self, action: Emit, subject: CustomResource) -> None:
        """An Event that cannot be written is no reason to stop working."""
        meta = subject.meta
        now = self.clock()
        log.log(
            logging.WARNING if action.warning else logging.INFO,
            "%s %s/%s: %s", subject.kind, meta.namespace, meta.name, action.message,
        )  # fmt: skip
        body = events.event(
            kind=subject.kind,
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            reason=action.reason,
            message=action.message,
            warning=action.warning,
            now=now,
            unique=f"{time.time_ns():x}",
        )
        try:
            await self.api.create(EVENTS, meta.namespace, body)
        except KubeError as error:
            log.warning("%s %s/%s: no Event: %s", subject.kind, meta.namespace, meta.name, error)

    async def write_status(self, resource: CustomResource, status: JSON) -> None:
        """Write what changed, of exactly the object that was judged; nothing if nothing changed.

        Mere progress ("3 of 10 workers") is told once a second.
        """
        patch = merge_patch(resource.status, status)
        if not patch:
            return
        meta, store = resource.meta, self.stores.of(resource.kind)
        key, now = Key(resource.kind, meta.namespace, meta.name), self.clock()
        written = {k: at for k, at in self._written.items() if 0 <= now - at < PROGRESS_S}
        if key in written and is_progress(resource.status, status):
            self.again(key, written[key] + PROGRESS_S - now)
            return
        self._written = {**written, key: now}
        body = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.version},
            "status": patch,
        }
        try:
            answer = await self.api.patch(
                RESOURCES[resource.kind], meta.namespace, meta.name, body, subresource="status"
            )
        except ApiError as error:
            if error.is_conflict:  # somebody changed it meanwhile: judge again
                await self._refresh(resource.kind, meta.namespace, meta.name, meta.uid)
                if key in self._contended:
                    raise  # once more, and later each time
                self._contended.add(key)
                self.again(key, 0.1)
                return
            if error.is_not_found:
                store.forget(meta.namespace, meta.name, meta.uid)
                return
            raise
        self._contended.discard(key)
        store.observe(answer)


def _cluster_name(subject: CustomResource) -> str:
    """The cluster that something is about; a job's has the job's name."""
    if subject.kind in ("DaskCluster", "DaskJob"):
        return subject.meta.name
    return str(subject.spec.get("cluster", ""))


def _needs_news(action: Action) -> bool:
    """Would this do harm if it were decided by an earlier spec?"""
    if isinstance(action, Patch):
        notes = (action.body.get("metadata") or {}).get("annotations") or {}
        hands_on = "spec" in action.body and action.subresource is None  # acted upon at once
        decides = notes.keys() & {labels.PARKED, labels.INLINE_AUTOSCALER}
        return hands_on or bool(decides) or bool(notes.get(labels.RETIRING))
    if isinstance(action, Retire):
        return action.interrupt or action.discard
    return isinstance(action, Create | Delete | Apply)


def _load(state: State) -> tuple[int, int]:
    """Tasks to be done, and results in memory."""
    tasks = sum(state.tasks.get(word, 0) for word in UNFINISHED)
    return tasks, state.tasks.get("memory", 0)


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Do all of it side by side, to the end; then raise what went wrong first, if something did."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    good = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        good.append(answer)
    return good
