"""A Kubernetes in memory, for rehearsals: it stores what it is told, Pods come up at once, schedulers answer.

The worst case is played: while ``busy``, every worker holds a result that nobody else has, and every scheduler has work.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dask_gitops import status as words
from dask_gitops.kube.client import Created
from dask_gitops.kube.errors import ApiError
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
from dask_gitops.plan.demand import Demand, Process
from dask_gitops.resources import labels
from dask_gitops.resources.managed import owned_fields
from dask_gitops.resources.observed import Pod
from dask_gitops.resources.revision import merge_patch
from dask_gitops.scheduler.client import Outcome, State, WorkerRow
from dask_gitops.scheduler.errors import SchedulerUnavailable

JSON = dict[str, Any]
Name = tuple[str, str]  # namespace, name

CUSTOM = (DASKJOBS, DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS)
KINDS = (*CUSTOM, SERVICES, PODS)


def merged(target: Any, patch: Any) -> Any:
    """``target`` after a JSON merge patch (RFC 7386); neither is changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def _applied(found: JSON, spec: JSON, manager: str) -> JSON:
    """Merge patch of the spec for an apply: what the manager declared before and does not any more goes.

    What was made here has nobody's name on it, and is all the manager's.
    """
    entries = found["metadata"].get("managedFields")
    have: JSON = found["spec"]
    ours = have.keys() if entries is None else owned_fields(entries, manager, "spec")
    gone = (ours & have.keys()) - spec.keys()
    return {**dict.fromkeys(gone), **merge_patch(have, {**have, **spec})}


class Kubernetes:
    """What the controller asks of an API server and of schedulers, answered from memory.

    :param now: seconds since the epoch; whoever plays moves it on.
    :ivar heard: called with each change: resource, object, is it there?
    :ivar lost: uids of workers that ended with results which nobody else held.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self.busy = True
        self.version = 1
        self.objects: dict[Resource, dict[Name, JSON]] = {resource: {} for resource in KINDS}
        self.heard: Callable[[Resource, JSON, bool], None] = lambda *_: None
        self.lost: set[str] = set()
        self._retired: set[str] = set()
        self._pods: dict[Name, Pod] = {}

    def picture(self) -> dict[Resource, dict[Name, JSON]]:
        """Everything as it is now; stored objects are replaced, never changed."""
        return {resource: dict(objects) for resource, objects in self.objects.items()}

    def put(self, resource: Resource, raw: JSON) -> JSON:
        """Store an object as somebody else would; what an API server fills in is filled in."""
        obj = copy.deepcopy(raw)
        meta = obj["metadata"]
        meta.setdefault("uid", f"uid-{self.version}")
        meta.setdefault("creationTimestamp", words.timestamp(self.now))
        if resource in CUSTOM:
            meta.setdefault("generation", 1)
            obj.setdefault("status", {"observedGeneration": -1})
        return self._store(resource, obj)

    def remove(self, resource: Resource, name: Name) -> None:
        """Delete an object and all that it owns, at once."""
        gone = self.objects[resource].pop(name, None)
        if gone is None:
            return
        self.version += 1
        pod = self._pods.pop(name) if resource == PODS else None
        self.heard(resource, gone, False)
        uid = gone["metadata"]["uid"]
        for kind in KINDS:
            for key, child in list(self.objects[kind].items()):
                owners = child["metadata"].get("ownerReferences") or ()
                if any(owner["uid"] == uid for owner in owners):
                    self.remove(kind, key)
        if pod is not None:
            self._ended(pod)

    # ---- what the controller asks of the API server

    async def get(self, resource: Resource, namespace: str | None, name: str) -> JSON:
        return self._must(resource, (namespace or "", name))

    async def create(
        self, resource: Resource, namespace: str | None, body: JSON, *, dry_run: bool = False
    ) -> Created:
        if dry_run or resource == EVENTS:
            return Created(body)
        meta = body["metadata"]
        if (meta["namespace"], meta["name"]) in self.objects[resource]:
            raise ApiError(409, "AlreadyExists", f'{resource} "{meta["name"]}" already exists')
        return Created(self.put(resource, self._up(body) if resource == PODS else body))

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Any,
        *,
        subresource: str | None = None,
        field_manager: str = "",
        patch_type: str = "merge",
        dry_run: bool = False,
    ) -> JSON:
        found = self._must(resource, (namespace or "", name))
        asked = dict(body.get("metadata") or {})
        self._check(found, asked.pop("uid", None), asked.pop("resourceVersion", None))
        if subresource == "scale":
            change: JSON = {"spec": {"worker": {"replicas": body["spec"]["replicas"]}}}
        elif subresource == "status":
            change = {"status": body["status"]}
        elif patch_type == "apply":
            change = {"metadata": asked, "spec": _applied(found, body["spec"], field_manager)}
        else:
            change = {**body, "metadata": asked}
        new = merged(found, change)
        if new == found:
            return found
        if new.get("spec") != found.get("spec") and resource in CUSTOM:
            generation = found["metadata"]["generation"] + 1
            new["metadata"] = {**new["metadata"], "generation": generation}
        if resource == PODS and not new["status"].get("podIP"):
            new = self._up(new)
        return self._store(resource, new)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
        propagation: str | None = None,
    ) -> None:
        found = self.objects[resource].get((namespace or "", name))
        if found is not None:
            self._check(found, uid, resource_version)
            self.remove(resource, (namespace or "", name))

    def _must(self, resource: Resource, name: Name) -> JSON:
        found = self.objects[resource].get(name)
        if found is None:
            raise ApiError.absent(resource, name[1])
        return found

    def _check(self, found: JSON, uid: str | None, version: str | None) -> None:
        meta = found["metadata"]
        if uid not in (None, meta["uid"]) or version not in (None, meta["resourceVersion"]):
            raise ApiError(409, "Conflict", "the object has been modified")

    def _store(self, resource: Resource, obj: JSON) -> JSON:
        self.version += 1
        meta = obj["metadata"] = {**obj["metadata"], "resourceVersion": str(self.version)}
        name = meta.get("namespace", ""), meta["name"]
        self.objects[resource][name] = obj
        if resource == PODS:
            self._pods[name] = Pod.of(obj)
        self.heard(resource, obj, True)
        return obj

    # ---- Pods

    def _up(self, pod: JSON) -> JSON:
        """The Pod with all its containers running and ready, once nothing keeps it from being scheduled."""
        if pod["spec"].get("schedulingGates"):
            return {**pod, "status": {"phase": "Pending"}}
        now, number = words.timestamp(self.now), self.version
        ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        status = {
            "phase": "Running",
            "podIP": ip,
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": now}
                for kind in ("PodScheduled", "Ready")
            ],
            "containerStatuses": [
                {"name": c.get("name"), "restartCount": 0, "state": {"running": {"startedAt": now}}}
                for c in pod["spec"].get("containers") or ()
            ],
        }
        return {**pod, "spec": {**pod["spec"], "nodeName": "node"}, "status": status}

    def _ended(self, pod: Pod) -> None:
        """A Pod is gone: a worker with what it holds, a scheduler with its workers."""
        if pod.component == labels.WORKER:
            if self.busy and pod.running and pod.meta.uid not in self._retired:
                self.lost.add(pod.meta.uid)
        elif pod.component == labels.SCHEDULER:
            for worker in list(self._workers(pod)):
                if self.busy:
                    self.lost.add(worker.meta.uid)
                found = self._must(PODS, (worker.meta.namespace, worker.meta.name))
                now = words.timestamp(self.now)
                ended = {"exitCode": 0, "startedAt": now, "finishedAt": now}
                states = [
                    {**state, "state": {"terminated": ended}}
                    for state in found["status"]["containerStatuses"]
                ]
                status = {"phase": "Succeeded", "containerStatuses": states, "conditions": []}
                self._store(PODS, {**found, "status": {**found["status"], **status}})

    def _workers(self, scheduler: Pod) -> Iterator[Pod]:
        """The workers that are connected to this scheduler."""
        return (
            pod
            for pod in self._pods.values()
            if pod.component == labels.WORKER
            and (pod.meta.namespace, pod.cluster) == (scheduler.meta.namespace, scheduler.cluster)
            and pod.running
            and not pod.gone
            and pod.meta.uid not in self._retired
        )

    # ---- what the controller asks of schedulers

    def _scheduler(self, token: str) -> Pod:
        found = next((p for p in self._pods.values() if p.token == token), None)
        if found is None:
            raise SchedulerUnavailable("does not answer")
        return found

    async def state(self, base_url: str, token: str) -> State:
        scheduler = self._scheduler(token)
        load = int(self.busy)
        rows = tuple(
            WorkerRow(
                id=pod.meta.uid,
                address="",
                host=pod.ip or "",
                name=pod.meta.name,
                status="running",
                processing=0,
                running=0,
                long_running=0,
                keys=load,
                unique_keys=load,
                bytes=load,
                unique_bytes=load,
                actors=0,
                nthreads=1,
                resources={},
                last_seen_age=0.0,
                leaving=False,
                refused=None,
            )
            for pod in self._workers(scheduler)
        )
        tasks = {"processing": load, "memory": load}
        # An idle one has just become idle: nothing is parked or deleted for that here.
        idle_since = None if self.busy else self.now
        return State(scheduler.meta.uid, "", self.now, idle_since, 0, tasks, rows)

    async def demand(self, base_url: str, token: str) -> Demand:
        """Work for exactly the workers that are there: an autoscaler moves within its limits only."""
        scheduler = self._scheduler(token)
        rows = tuple(
            Process(pod.ip or "", pod.meta.name, 1, 0, 0, 0, 1, 0, {})
            for pod in self._workers(scheduler)
        )
        return Demand(scheduler.meta.uid, 5.0, (), rows)

    async def retire(
        self,
        base_url: str,
        token: str,
        ids: Iterable[str],
        wait_s: float = 0.0,
        interrupt: bool = False,
        discard: bool = False,
    ) -> dict[str, Outcome]:
        leave = set(ids)
        stays = any(p.meta.uid not in leave for p in self._workers(self._scheduler(token)))
        if self.busy and not stays and not discard:
            return dict.fromkeys(leave, Outcome("refused", "no worker can take its results"))
        if self.busy and not stays:
            self.lost |= leave
        self._retired |= leave
        return dict.fromkeys(leave, Outcome("retired", ""))

    async def undrain(self, base_url: str, token: str, ids: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(ids, "running")
