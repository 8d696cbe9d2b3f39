"""Which keys an observed change puts on the queue, and which reconcile serves which key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from dask_gitops.kube.client import Api
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
from dask_gitops.plan.actions import Emit, Part, Plan
from dask_gitops.plan.cluster import refusal_of
from dask_gitops.reconcile.autoscaler import reconcile_autoscaler
from dask_gitops.reconcile.cluster import reconcile_cluster
from dask_gitops.reconcile.failures import guarded
from dask_gitops.reconcile.job import reconcile_job
from dask_gitops.reconcile.observe import Gone
from dask_gitops.reconcile.release import release
from dask_gitops.reconcile.stores import (
    AUTOSCALER_INDEXERS,
    GROUP_INDEXERS,
    POD_INDEXERS,
    Key,
    Store,
    Stores,
)
from dask_gitops.reconcile.workergroup import reconcile_group
from dask_gitops.reconcile.world import World
from dask_gitops.resources import labels
from dask_gitops.resources.autoscalers import target
from dask_gitops.resources.observed import CustomResource, Meta, Pod, Service
from dask_gitops.resources.revision import revision

JSON = dict[str, Any]
T = TypeVar("T")

# A thousand pods that start are not a thousand reasons to look: news of workers is gathered this long (seconds).
GATHER_S = 0.5

RECONCILERS: dict[str, Callable[[World, Key], Awaitable[None]]] = {
    "DaskCluster": reconcile_cluster,
    "DaskWorkerGroup": reconcile_group,
    "DaskAutoscaler": reconcile_autoscaler,
    "DaskJob": reconcile_job,
}


async def turn(world: World, key: Key) -> None:
    """One step, and whatever it raises."""
    await release(world, key)
    unreadable = world.stores.of(key.kind).unreadable(key.namespace, key.name)
    if unreadable is None:
        with suppress(Gone):
            await RECONCILERS[key.kind](world, key)
        if world.stores.has_left(key):
            world.memory.forget(key)
    elif not unreadable.told:
        unreadable.told = True
        await _tell(world, key, unreadable)


async def reconcile(world: World, key: Key) -> None:
    """One step for whatever this key names.

    What cannot be read at all is told, once; it is not served, and whatever it made goes on as it is.

    :raises TurnFailed: it has a bug of ours in it, and that was told.
    """
    await guarded(
        str(key),
        lambda: world.stores.of(key.kind).get(key.namespace, key.name),
        world.memory.failures,
        turn(world, key),
        world.report.emit,
        world.report.write_status,
        world.clock,
    )


async def _tell(world: World, key: Key, unreadable: Unreadable) -> None:
    meta = {"namespace": key.namespace, "name": key.name, "uid": unreadable.uid}
    subject = CustomResource(Meta.of({"metadata": meta}), key.kind, {}, {})
    message = f"it is not served as it is: {unreadable.why}; what it made goes on as it was"
    told = Part("unreadable", (Emit("Unreadable", message, warning=True),))
    await world.execute.carry_out(key, Plan((told,)), subject)


class Wiring:
    """Turns changes of the caches into keys.

    :param put: key, seconds from now.
    """

    def __init__(self, stores: Callable[[], Stores], put: Callable[[Key, float], None]) -> None:
        self._stores = stores
        self._put = put

    def unreadable(self, kind: str, namespace: str, name: str) -> None:
        """An object that could not be taken into its cache."""
        if kind in RECONCILERS:
            self._put(Key(kind, namespace, name), 0)

    def job_changed(self, old: CustomResource | None, new: CustomResource | None) -> None:
        """A job's status is its memory: what was written down brings the next step."""
        if not (self._is_report(old, new) and _words_aside(old) == _words_aside(new)):
            self._put(_key(old, new), 0)

    def autoscaler_changed(self, old: CustomResource | None, new: CustomResource | None) -> None:
        key = _key(old, new)
        if _only_status(old, new):
            self._put_unless_told(key, old, new)
            return
        self._put(key, 0)
        self._put(Key("DaskCluster", key.namespace, key.name), 0)  # it may be the cluster's own
        for cluster, group in {target(a) for a in (old, new) if a is not None}:
            self._put(Key("DaskWorkerGroup", key.namespace, group), 0)
            # Of several for one group, the oldest rules.
            self._wake_autoscalers("group", key.namespace, cluster, group)

    def _put_unless_told(
        self, key: Key, old: CustomResource | None, new: CustomResource | None
    ) -> None:
        """Whose status was changed by somebody else sets it right; our own report is no news to who wrote it."""
        if not self._is_report(old, new):
            self._put(key, GATHER_S)

    def _is_report(self, old: CustomResource | None, new: CustomResource | None) -> bool:
        if new is None or not _only_status(old, new):
            return False
        return self._stores().reports.get(_key(old, new)) == revision(new.status)

    def _wake_autoscalers(self, index: str, namespace: str, *of: str) -> None:
        for autoscaler in self._stores().autoscalers.by_index(index, namespace, *of):
            self._put(Key("DaskAutoscaler", namespace, autoscaler.meta.name), 0)

    def _wake_groups(self, namespace: str, cluster: str) -> None:
        """Those that are there, and those of which only Pods are left."""
        stores = self._stores()
        found = [g.meta.name for g in stores.groups.by_index("cluster", namespace, cluster)]
        left = stores.pods.by_index("cluster", namespace, cluster, labels.WORKER)
        for name in dict.fromkeys([*found, *(pod.group for pod in left)]):
            self._put(Key("DaskWorkerGroup", namespace, name), 0)

    def cluster_changed(self, old: CustomResource | None, new: CustomResource | None) -> None:
        key = _key(old, new)
        self._put_job(key.namespace, key.name, GATHER_S if _only_status(old, new) else 0)
        if _only_status(old, new):
            self._put_unless_told(key, old, new)  # no group depends on it
            return
        self._put(key, 0)
        self._wake_groups(key.namespace, key.name)
        self._wake_autoscalers("cluster", key.namespace, key.name)

    def group_changed(self, old: CustomResource | None, new: CustomResource | None) -> None:
        key = _key(old, new)
        if _only_status(old, new):
            self._put_unless_told(key, old, new)
            # Its cluster looks at the pods, and reads what is refused: the words, and for which spec they are.
            if _reasons(old) == _reasons(new) and refusal_of(old) == refusal_of(new):
                return
        else:
            self._put(key, 0)
        for group in (old, new):
            if group is not None and group.spec.get("cluster"):
                cluster = str(group.spec["cluster"])
                self._put(Key("DaskCluster", key.namespace, cluster), GATHER_S)
                if not _only_status(old, new):
                    self._wake_autoscalers("group", key.namespace, cluster, key.name)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A pod that was relabelled is news to those who lost it, too; one that ended, to all who wait for its room."""
        if old is not None and (new is None or (new.finished and not old.finished)):
            for key, cluster in self._stores().crowded.items():
                if (key.namespace, cluster) == (old.meta.namespace, old.cluster):
                    self._put(key, GATHER_S)
        if old is not None and new is not None and _without_latch(old) == _without_latch(new):
            for group in sorted(_latched(old).items() ^ _latched(new).items()):
                self._put(Key("DaskWorkerGroup", new.meta.namespace, group[0]), 0)
            return  # the cluster wrote it, and has looked since
        seen = {_place(pod): pod for pod in (old, new) if pod is not None}
        for pod in seen.values():
            self._wake_for(pod, ended=new is None and pod.gone)

    def _wake_for(self, pod: Pod, *, ended: bool) -> None:
        """:param ended: it was known to be going, and is gone now."""
        namespace = pod.meta.namespace
        if pod.component == labels.SCHEDULER:
            self._put(Key("DaskCluster", namespace, pod.cluster), 0)
            self._put_job(namespace, pod.cluster, 0)
            self._wake_groups(namespace, pod.cluster)
            self._wake_autoscalers("cluster", namespace, pod.cluster)
        elif pod.component == labels.WORKER:
            self._put(Key("DaskWorkerGroup", namespace, pod.group), GATHER_S)
            if not ended:
                self._put(Key("DaskCluster", namespace, pod.cluster), GATHER_S)
        elif pod.component == labels.JOB_RUNNER:
            self._put(Key("DaskJob", namespace, pod.cluster), 0)

    def _put_job(self, namespace: str, cluster: str, seconds: float) -> None:
        """A job's cluster has the job's name."""
        if self._stores().jobs.get(namespace, cluster) is not None:
            self._put(Key("DaskJob", namespace, cluster), seconds)

    def service_changed(self, old: Service | None, new: Service | None) -> None:
        for service in (old, new):
            if service is not None:
                cluster = service.meta.labels.get(labels.CLUSTER, "")
                self._put(Key("DaskCluster", service.meta.namespace, cluster), 0)


def _place(pod: Pod) -> tuple[str, str, str]:
    return pod.component, pod.cluster, pod.group


def _without_latch(pod: Pod) -> Pod:
    """The same scheduler pod without what its cluster notes on it of what was up once."""
    if pod.component != labels.SCHEDULER:
        return pod
    notes = pod.meta.annotations.items()
    kept = {k: v for k, v in notes if k != labels.WAS_READY and not _is_latch_of_group(k)}
    return replace(pod, meta=replace(pod.meta, annotations=kept))


def _latched(pod: Pod) -> dict[str, str]:
    """What is noted there of worker groups, by their names."""
    return {
        key.removeprefix(labels.GROUP_WAS_READY): word
        for key, word in pod.meta.annotations.items()
        if _is_latch_of_group(key)
    }


def _is_latch_of_group(annotation: str) -> bool:
    return annotation.startswith(labels.GROUP_WAS_READY)


def _only_status(old: CustomResource | None, new: CustomResource | None) -> bool:
    return old is not None and new is not None and replace(old, status=new.status) == new


def _reasons(resource: CustomResource | None) -> list[tuple[Any, ...]]:
    conditions = (resource.status.get("conditions") or ()) if resource is not None else ()
    return [(c.get("type"), c.get("status"), c.get("reason")) for c in conditions]


def _words_aside(resource: CustomResource | None) -> tuple[JSON, list[tuple[Any, ...]]]:
    """A status without the messages of its conditions."""
    status = {} if resource is None else {**resource.status, "conditions": None}
    return status, _reasons(resource)


def _key(old: CustomResource | None, new: CustomResource | None) -> Key:
    resource = new or old
    assert resource is not None
    return Key(resource.kind, resource.meta.namespace, resource.meta.name)


def build_stores(
    api: Api, namespaces: tuple[str, ...], put: Callable[[Key, float], None]
) -> Stores:
    """The caches, filled by informers that nobody runs yet, wired to the queue.

    :param namespaces: the namespaces to serve; empty: all.
    :param put: key, seconds from now.
    """
    wiring = Wiring(lambda: stores, put)

    def store(
        resource: Resource,
        convert: Callable[[dict[str, Any]], T],
        on_change: Callable[[T | None, T | None], None],
        indexers: Any = None,
        selector: str | None = None,
    ) -> Store[T]:
        scopes: tuple[str | None, ...] = namespaces or (None,)
        return Store(
            {
                scope: Informer(
                    api,
                    resource,
                    convert,
                    namespace=scope,
                    label_selector=selector,
                    on_change=on_change,
                    on_unreadable=partial(wiring.unreadable, resource.kind),
                    # A Pod's or a Service's deep parts are nothing to us.
                    cut_is_enough=resource.kind not in RECONCILERS,
                    indexers=indexers,
                )
                for scope in scopes
            }
        )

    stores = Stores(
        clusters=store(DASKCLUSTERS, CustomResource.of, wiring.cluster_changed),
        groups=store(DASKWORKERGROUPS, CustomResource.of, wiring.group_changed, GROUP_INDEXERS),
        autoscalers=store(
            DASKAUTOSCALERS, CustomResource.of, wiring.autoscaler_changed, AUTOSCALER_INDEXERS
        ),
        jobs=store(DASKJOBS, CustomResource.of, wiring.job_changed),
        pods=store(PODS, Pod.of, wiring.pod_changed, POD_INDEXERS, labels.PODS_SELECTOR),
        services=store(
            SERVICES, Service.of, wiring.service_changed, selector=labels.SERVICES_SELECTOR
        ),
    )
    return stores
