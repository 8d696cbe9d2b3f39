"""A Kubernetes API server in memory, with the client's methods and with faults on request.

`MemoryApi` speaks as `dask_gitops.kube.KubeClient` does (it is an ``Api``), and is the world at the
same time: tests look at it, change it behind the controller's back, break its watches and let its
requests fail before or after they took effect. `Kubelet` plays the nodes.

    api = MemoryApi()
    api.fault(verb="create", resource=PODS, nth=2, error="timeout", when="after")
    await api.create(PODS, "ns", pod)
    assert api.count("create", PODS) == 1

Nothing sleeps in real time: use it under `tests.support.virtual_time.run`. What real servers do and
tests rely on is copied: versions, uids, generations, no-op patches without an event, status and
scale subresources, graceful deletion of pods, finalizers, preconditions, paged lists that are one
snapshot, watches with bookmarks, selectors and a history that can be compacted.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import json
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from dask_gitops.kube.client import JSON, Created, Page
from dask_gitops.kube.errors import ApiError, ApiUnreachable, NotLeader
from dask_gitops.kube.nesting import shallow
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS, SERVICES, Resource

from tests.support import managed_fields

Key = tuple[str, str]
Selector = Callable[[JSON], bool]
V = TypeVar("V")

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
#: What a client sees of a request that hangs: its own limit.
TIMEOUT_S = 30.0
SCALABLE = {
    DASKCLUSTERS: ("spec", "worker", "replicas"),
    DASKWORKERGROUPS: ("spec", "worker", "replicas"),
}
APPLIED = (SERVICES,)  # whose fields are somebody's


@dataclass(slots=True)
class Request:
    """One request as the server saw it; ``status`` is filled in with the outcome."""

    index: int
    time: float
    client: str
    verb: str
    resource: Resource
    namespace: str | None
    name: str | None
    subresource: str | None = None
    body: Any = None
    dry_run: bool = False
    options: JSON = field(default_factory=dict)
    status: int | str | None = None

    @property
    def is_write(self) -> bool:
        return self.verb in ("create", "patch", "delete")

    def __str__(self) -> str:
        what = f"{self.resource}/{self.subresource}" if self.subresource else str(self.resource)
        return f"{self.verb} {what} {self.namespace or ''}/{self.name or ''} -> {self.status}"


@dataclass(slots=True)
class Fault:
    """A fault that waits for its request; ``hits`` tells how often it struck."""

    matches: Callable[[Request], bool]
    nth: int
    times: int | None
    error: BaseException | Literal["timeout", "reset", "refused"] | None
    when: Literal["before", "after"]
    delay_s: float
    seen: int = 0
    hits: int = 0
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True

    def strikes(self, request: Request) -> bool:
        if self.cancelled or not self.matches(request):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class _Change:
    version: int
    key: Key
    old: JSON | None
    new: JSON | None


class _Watcher:
    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.wake = asyncio.Event()
        self.end: BaseException | Literal["no"] | None = "no"
        self.deaf = False


class MemoryClient:
    """One client of the server: has its own guard and its own name in the log."""

    def __init__(
        self, server: MemoryApi | None, name: str = "", guard: Callable[[], bool] | None = None
    ) -> None:
        self.server: MemoryApi = server if server is not None else self  # type: ignore[assignment]
        self.client_name = name
        self.guard = guard

    def unguarded(self) -> MemoryClient:
        """As `KubeClient.unguarded`."""
        return MemoryClient(self.server, self.client_name)

    # Reads

    async def get(self, res: Resource, namespace: str | None, name: str) -> JSON:
        res.path(namespace, name)  # raises as the real one does

        def effect() -> JSON:
            return _clone(self.server._must(res, namespace, name))

        answer: JSON = await self._request("get", res, namespace, name, effect)
        return answer

    async def list(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = 500,
    ) -> Page:
        try:
            items, version = [], ""
            async for page in self.list_pages(
                res,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=limit,
            ):
                items += page.items
                version = page.resource_version
            return Page(items, version)
        except ApiError as error:
            if not error.is_gone or not limit:
                raise
        return await self.list(
            res, namespace, label_selector=label_selector, field_selector=field_selector, limit=0
        )

    async def list_pages(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = 500,
    ) -> AsyncGenerator[Page, None]:
        server = self.server
        selects = parse_selector(label_selector, field_selector)
        snapshot: list[JSON] = []
        version = 0
        offset = 0
        while True:

            def effect(start: int = offset) -> Page:
                nonlocal snapshot, version
                if not version:
                    version, objects = server._listed(res)
                    snapshot = [
                        obj
                        for key, obj in sorted(objects.items())
                        if namespace in (None, key[0]) and selects(obj)
                    ]
                elif version < server._compacted.get(res, 0):
                    raise ApiError(410, "Expired", "The provided continue parameter is too old")
                end = start + limit if limit else len(snapshot)
                return Page([_clone(obj) for obj in snapshot[start:end]], str(version))

            yield await self._request("list", res, namespace, None, effect)
            offset += limit
            if not limit or offset >= len(snapshot):
                return

    async def watch(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str,
        timeout_s: float,
    ) -> AsyncGenerator[tuple[str, JSON], None]:
        server = self.server
        loop = asyncio.get_running_loop()
        selects = parse_selector(label_selector, field_selector)
        position = int(resource_version)
        if position <= 0:
            raise ValueError("watch from a listed resourceVersion")
        watcher = _Watcher(res)
        options = {"resourceVersion": resource_version}
        await self._request("watch", res, namespace, None, lambda: None, options=options)
        ends_at = loop.time() + timeout_s
        bookmark_at = loop.time() + server.bookmark_s
        server._watchers.append(watcher)
        try:
            while True:
                if watcher.end != "no":
                    if watcher.end is None:
                        return
                    raise watcher.end
                watcher.wake.clear()
                if not watcher.deaf and res not in server._held:
                    if position < server._compacted.get(res, 0):
                        raise ApiError(410, "Expired", f"too old resource version: {position}")
                    for change in server._changes_after(res, position):
                        position = change.version
                        if namespace is not None and change.key[0] != namespace:
                            continue
                        event = _event(change, selects)
                        if event is not None:
                            yield event[0], shallow(event[1])
                        if watcher.end != "no" or watcher.deaf or res in server._held:
                            break
                    else:
                        if loop.time() >= bookmark_at and server.version >= position:
                            position = server.version
                            bookmark_at = loop.time() + server.bookmark_s
                            meta = {"resourceVersion": str(position)}
                            yield "BOOKMARK", {"kind": res.kind, "metadata": meta}
                        if loop.time() >= ends_at:
                            return
                        until = min(ends_at, bookmark_at)
                        await _wait(watcher.wake, until - loop.time())
                    continue
                await watcher.wake.wait()  # held or deaf: not even the time-out is heard
        finally:
            server._watchers.remove(watcher)

    # Writes

    async def create(
        self, res: Resource, namespace: str | None, body: JSON, *, dry_run: bool = False
    ) -> Created:
        res.path(namespace)
        body = _clone(body)
        server = self.server

        def effect(request: Request) -> Created:
            for check in server.admission:
                check(request)
            obj = server._prepare(res, namespace, body)
            if res in APPLIED:
                obj = managed_fields.updated({"metadata": {}}, obj, "dask-gitops")
            if not dry_run:
                server._store_new(res, obj)
            warnings = list(server.warn(res, body)) if server.warn is not None else []
            return Created(_clone(obj), warnings)

        name = body.get("metadata", {}).get("name")
        answer: Created = await self._request(
            "create", res, namespace, name, effect, body=body, dry_run=dry_run, guarded=True
        )
        return answer

    async def patch(
        self,
        res: Resource,
        namespace: str | None,
        name: str,
        body: Any,
        *,
        subresource: str | None = None,
        field_manager: str = "dask-gitops",
        patch_type: str = "merge",
        dry_run: bool = False,
    ) -> JSON:
        res.path(namespace, name, subresource)
        body = _clone(body)

        def effect(request: Request) -> JSON:
            for check in self.server.admission:
                check(request)
            return self.server._patch(
                res, namespace, name, body, subresource, patch_type, field_manager, dry_run
            )

        answer: JSON = await self._request(
            "patch",
            res,
            namespace,
            name,
            effect,
            body=body,
            subresource=subresource,
            dry_run=dry_run,
            options={"fieldManager": field_manager, "type": patch_type},
            guarded=True,
        )
        return answer

    async def delete(
        self,
        res: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
        propagation: str | None = None,
    ) -> JSON | None:
        res.path(namespace, name)

        def effect(request: Request) -> JSON | None:
            for check in self.server.admission:
                check(request)
            obj = self.server._must(res, namespace, name)
            if obj["metadata"]["uid"] != uid:
                raise ApiError(
                    409,
                    "Conflict",
                    f"Precondition failed: UID in precondition: {uid}, "
                    f"UID in object meta: {obj['metadata']['uid']}",
                )
            version = obj["metadata"]["resourceVersion"]
            if resource_version not in (None, version):
                raise ApiError(
                    409,
                    "Conflict",
                    f"Precondition failed: ResourceVersion in precondition: {resource_version}, "
                    f"ResourceVersion in object meta: {version}",
                )
            return self.server._delete(res, obj, grace_period_s, propagation)

        options = {"uid": uid, "gracePeriodSeconds": grace_period_s, "propagation": propagation}
        try:
            answer: JSON | None = await self._request(
                "delete", res, namespace, name, effect, options=options, guarded=True
            )
        except ApiError as error:
            if error.is_not_found or error.is_uid_mismatch:
                return None
            raise
        return answer

    # The way of every request

    async def _request(
        self,
        verb: str,
        res: Resource,
        namespace: str | None,
        name: str | None,
        effect: Callable[..., Any],
        *,
        body: Any = None,
        subresource: str | None = None,
        dry_run: bool = False,
        options: JSON | None = None,
        guarded: bool = False,
    ) -> Any:
        server = self.server
        if guarded and self.guard is not None and not self.guard():
            raise NotLeader(f"{verb} {res}: not the leader")
        now = asyncio.get_running_loop().time()
        request = Request(
            len(server.log),
            now,
            self.client_name,
            verb,
            res,
            namespace,
            name,
            subresource,
            body,
            dry_run,
            options or {},
        )
        server.log.append(request)
        fault = next((fault for fault in server.faults if fault.strikes(request)), None)
        await asyncio.sleep(server.latency_s)
        try:
            if fault is not None and fault.when == "before":
                await _fail(fault, request)
            answer = effect(request) if guarded else effect()
            request.status = 201 if verb == "create" else 200
            if fault is not None and fault.when == "after":
                await _fail(fault, request)
        except ApiError as error:
            took_effect = f"{request.status}, answered " if request.status else ""
            request.status = f"{took_effect}{error.status}" if took_effect else error.status
            error.asked = (res, name) if name is not None and verb != "create" else None
            raise
        except BaseException as error:
            request.status = f"{request.status or 'nothing done'}, {type(error).__name__}"
            raise
        # Watchers may hear of a change before its author does.
        await asyncio.sleep(server.answer_latency_s)
        return _as_read(answer)


def _as_read(answer: Any) -> Any:
    """As `KubeClient` gives it: what nests too deep is cut."""
    if isinstance(answer, Page):
        return Page([shallow(item) for item in answer.items], answer.resource_version)
    if isinstance(answer, Created):
        return Created(shallow(answer.object), answer.warnings)
    return shallow(answer)


async def _fail(fault: Fault, request: Request) -> None:
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    what = f"{request.verb} {request.resource}"
    if fault.error is None:
        return
    if fault.error == "timeout":
        await asyncio.sleep(TIMEOUT_S)
        raise ApiUnreachable(f"{what}: timed out", sent=True)
    if fault.error == "reset":
        raise ApiUnreachable(f"{what}: connection reset", sent=True)
    if fault.error == "refused":
        if fault.when == "after":
            raise ValueError("a refused connection has no effect")
        raise ApiUnreachable(f"{what}: connection refused", sent=False)
    assert isinstance(fault.error, BaseException)
    raise fault.error


class MemoryApi(MemoryClient):
    """The server; also its first client.

    :param now: wall clock for timestamps; default: 2030-01-01 plus the loop's time.
    :param latency_s: virtual seconds before a request takes effect. Even 0 yields to other tasks.
    :param answer_latency_s: virtual seconds between the effect and its answer.
    :param graceful_pods: scheduled pods stay Terminating until a `Kubelet` finishes them.
    :param auto_gc: dependents of removed owners are deleted at once, else by `collect_garbage`.
    :param bookmark_s: pause between bookmarks.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime] | None = None,
        latency_s: float = 0.0,
        answer_latency_s: float = 0.0,
        graceful_pods: bool = True,
        auto_gc: bool = False,
        bookmark_s: float = 60.0,
        guard: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(None, guard=guard)
        self._now = now
        self.latency_s = latency_s
        self.answer_latency_s = answer_latency_s
        self.graceful_pods = graceful_pods
        self.auto_gc = auto_gc
        self.bookmark_s = bookmark_s
        #: Every request that reached the wire, in order.
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        #: Called with each write before its effect; raise an ApiError to refuse it.
        self.admission: list[Callable[[Request], None]] = []
        #: Gives the warnings that a create is answered with.
        self.warn: Callable[[Resource, JSON], list[str]] | None = None
        self.version = 1000
        self._uids = itertools.count(1)
        self._store: dict[Resource, dict[Key, JSON]] = {}
        self._history: dict[Resource, list[_Change]] = {}
        self._compacted: dict[Resource, int] = {}
        self._watchers: list[_Watcher] = []
        self._held: set[Resource] = set()
        self._stale: Any = None
        self._stale_left: dict[Resource, int] = defaultdict(int)
        #: Called with each change: resource, the object before, and after (None: it is gone).
        self.on_change: Callable[[Resource, JSON | None, JSON | None], None] | None = None

    def client(self, name: str, guard: Callable[[], bool] | None = None) -> MemoryClient:
        """A further client, say a second controller."""
        return MemoryClient(self, name, guard)

    def now(self) -> datetime:
        if self._now is not None:
            return self._now()
        try:
            return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())
        except RuntimeError:  # the world is being set up before the loop runs
            return EPOCH

    # Looking at the world

    def find(self, res: Resource, namespace: str, name: str) -> JSON | None:
        """A copy of the object, or None. Not a request: leaves no trace in the log."""
        obj = self._store.get(res, {}).get((namespace if res.namespaced else "", name))
        return None if obj is None else _clone(obj)

    def items(
        self, res: Resource, namespace: str | None = None, label_selector: str | None = None
    ) -> list[JSON]:
        """Copies of all objects, by name."""
        selects = parse_selector(label_selector)
        return [_clone(obj) for obj in self._objects(res, namespace) if selects(obj)]

    def names(
        self, res: Resource, namespace: str | None = None, label_selector: str | None = None
    ) -> list[str]:
        selects = parse_selector(label_selector)
        return [obj["metadata"]["name"] for obj in self._objects(res, namespace) if selects(obj)]

    def requests(
        self, verb: str | None = None, resource: Resource | None = None, **wanted: Any
    ) -> list[Request]:
        """Logged requests, narrowed by any attributes of `Request`."""
        return [
            request
            for request in self.log
            if (verb is None or request.verb == verb)
            and (resource is None or request.resource == resource)
            and all(getattr(request, name) == value for name, value in wanted.items())
        ]

    def writes(self) -> list[Request]:
        """Logged writes, those that failed included."""
        return [request for request in self.log if request.is_write]

    def count(
        self, verb: str | None = None, resource: Resource | None = None, **wanted: Any
    ) -> int:
        return len(self.requests(verb, resource, **wanted))

    # Changing the world behind the clients' backs: no log, no faults, no admission

    def put(self, res: Resource, obj: JSON) -> JSON:
        """Create an object as somebody else would, status included; returns a copy as stored."""
        body = _clone(obj)
        body.setdefault("apiVersion", res.api_version)
        body.setdefault("kind", res.kind)
        namespace = body.get("metadata", {}).get("namespace") if res.namespaced else None
        if res.namespaced and namespace is None:
            namespace = "default"
        stored = self._prepare(res, namespace, body)
        if "status" in body:
            stored["status"] = body["status"]
        self._store_new(res, stored)
        return _clone(stored)

    def edit(self, res: Resource, namespace: str, name: str, patch: JSON) -> JSON:
        """Merge-patch an object as somebody else would, spec and status in one go."""
        obj = self._must(res, namespace, name)
        new = merge(obj, _clone(patch))
        if res in APPLIED:
            new = managed_fields.updated(obj, new, "somebody")
        return _clone(self._replace(res, obj, new))

    def remove(self, res: Resource, namespace: str, name: str) -> None:
        """The object is gone at once, without grace and finalizers."""
        self._erase(res, self._must(res, namespace, name))

    # Faults

    def fault(
        self,
        verb: str | None = None,
        resource: Resource | None = None,
        *,
        nth: int = 1,
        times: int | None = 1,
        error: BaseException | Literal["timeout", "reset", "refused"] | None = "reset",
        when: Literal["before", "after"] = "before",
        delay_s: float = 0.0,
        name: str | None = None,
        writes: bool = False,
        where: Callable[[Request], bool] | None = None,
    ) -> Fault:
        """Let the ``nth`` matching request from now on, and ``times`` in a row (None: for ever), go wrong.

        :param verb: get, list (counts pages), watch (its opening), create, patch or delete; a
            "/subresource" may follow: "patch/status", "patch/scale". None: any.
        :param writes: only create, patch and delete.
        :param error: "timeout" (30 s, then `ApiUnreachable`), "reset", "refused", an exception
            instance (`ApiError`, ``asyncio.CancelledError()`` to simulate a crash ...), or None for
            a request that is only ``delay_s`` late.
        :param when: before or after the request took effect.
        """
        base, _, subresource = (verb or "").partition("/")

        def matches(request: Request) -> bool:
            return (
                (not base or request.verb == base)
                and (not subresource or request.subresource == subresource)
                and (resource is None or request.resource == resource)
                and (name is None or request.name == name)
                and (not writes or request.is_write)
                and (where is None or where(request))
            )

        fault = Fault(matches, nth, times, error, when, delay_s)
        self.faults.append(fault)
        return fault

    def quota(self, namespace: str, res: Resource, most: int) -> Callable[[Request], None]:
        """Allow only so many objects; remove the returned check from ``admission`` to lift it."""

        def check(request: Request) -> None:
            if (request.verb, request.resource, request.namespace) != ("create", res, namespace):
                return
            used = len(list(self._objects(res, namespace)))
            if used >= most:
                raise ApiError(
                    403,
                    "Forbidden",
                    f'{res.plural} "{request.name}" is forbidden: exceeded quota: test, '
                    f"requested: {res.plural}=1, used: {res.plural}={used}, "
                    f"limited: {res.plural}={most}",
                )

        self.admission.append(check)
        return check

    def terminate_namespace(self, namespace: str) -> None:
        """From now on nothing can be created in it."""

        def check(request: Request) -> None:
            if request.verb == "create" and request.namespace == namespace:
                raise ApiError(
                    403,
                    "Forbidden",
                    f"unable to create new content in namespace {namespace} because it is being "
                    "terminated",
                    {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]},
                )

        self.admission.append(check)

    def break_watches(
        self, resource: Resource | None = None, error: BaseException | None = None
    ) -> None:
        """End open watches: normally, or with an error such as ``ApiUnreachable("...", sent=True)``."""
        for watcher in self._watchers:
            if resource is None or watcher.resource == resource:
                watcher.end = error
                watcher.wake.set()

    def deafen_watches(self, resource: Resource | None = None) -> None:
        """Open watches stay open, but nothing ever comes from them again, not even bookmarks."""
        for watcher in self._watchers:
            if resource is None or watcher.resource == resource:
                watcher.deaf = True

    def hold_events(self, *resources: Resource) -> None:
        """All watches of these resources lag from now on: caches grow stale. See `release_events`."""
        self._held.update(resources)

    def release_events(self) -> None:
        """Deliver what was held back."""
        self._held.clear()
        self._wake()

    @property
    def lags(self) -> bool:
        """Is there a watch that does not tell what happens?"""
        return bool(self._held) or any(watcher.deaf for watcher in self._watchers)

    def compact(self, resource: Resource | None = None) -> None:
        """Forget the history: watches that lag and unfinished lists are answered with 410."""
        for res in [resource] if resource else list(self._store):
            self._history.pop(res, None)
            self._compacted[res] = self.version

    def snapshot(self) -> Any:
        """A backup for `restore`."""
        return self.version, {res: dict(objects) for res, objects in self._store.items()}

    def stale_lists(self, backup: Any, *resources: Resource, times: int = 1) -> None:
        """Answer the next so many lists of each of these resources as a server does that lags behind; watches go on
        from there. All resources, if none is named."""
        self._stale = backup
        self._stale_left = defaultdict(lambda: 0 if resources else times)
        self._stale_left.update(dict.fromkeys(resources, times))

    def restore(self, backup: Any) -> None:
        """Go back in time, as an etcd restored from a backup does; breaks all watches."""
        self.version, store = backup
        self._store = {res: dict(objects) for res, objects in store.items()}
        self._history.clear()
        self._compacted.clear()
        self.break_watches(error=ApiUnreachable("connection reset", sent=True))

    # Garbage collection

    def collect_garbage(self) -> int:
        """Delete what lost all its owners, and finish foreground deletions; returns how many
        objects were deleted (scheduled pods only begin to terminate)."""
        deleted = 0
        while True:
            uids = {obj["metadata"]["uid"] for _, obj in self._everything()}
            step = 0
            for res, obj in list(self._everything()):
                meta = obj["metadata"]
                owners = meta.get("ownerReferences") or ()
                if owners and not any(owner["uid"] in uids for owner in owners):
                    if "deletionTimestamp" not in meta:
                        self._delete(res, obj, None, None)
                        step += 1
                elif "foregroundDeletion" in meta.get("finalizers", ()):
                    step += self._foreground(res, obj)
            deleted += step
            if not step:
                return deleted

    def _foreground(self, res: Resource, obj: JSON) -> int:
        uid = obj["metadata"]["uid"]
        blocked = False
        step = 0
        for child_res, child in list(self._everything()):
            if any(owner["uid"] == uid for owner in child["metadata"].get("ownerReferences") or ()):
                blocked = True
                if "deletionTimestamp" not in child["metadata"]:
                    self._delete(child_res, child, None, None)
                    step += 1
        if not blocked:
            current = self._must(res, obj["metadata"].get("namespace"), obj["metadata"]["name"])
            new = _clone(current)
            new["metadata"]["finalizers"].remove("foregroundDeletion")
            self._replace(res, current, new)
            step += 1
        return step

    # The store

    def _listed(self, res: Resource) -> tuple[int, dict[Key, JSON]]:
        """What a list that begins now sees."""
        if self._stale_left[res]:
            self._stale_left[res] -= 1
            version, store = self._stale
            return version, store.get(res, {})
        return self.version, self._store.get(res, {})

    def _objects(self, res: Resource, namespace: str | None) -> Iterator[JSON]:
        for key, obj in sorted(self._store.get(res, {}).items()):
            if namespace is None or key[0] == namespace:
                yield obj

    def _everything(self) -> Iterator[tuple[Resource, JSON]]:
        for res in list(self._store):
            for obj in list(self._objects(res, None)):
                yield res, obj

    def _must(self, res: Resource, namespace: str | None, name: str) -> JSON:
        obj = self._store.get(res, {}).get((namespace or "", name))
        if obj is None:
            raise ApiError.absent(res, name)
        return obj

    def _prepare(self, res: Resource, namespace: str | None, body: JSON) -> JSON:
        """The object as it would be stored by a create; all of the server's own checks."""
        if body.get("kind") != res.kind or body.get("apiVersion") != res.api_version:
            raise ApiError(
                400,
                "BadRequest",
                f"{body.get('apiVersion')}/{body.get('kind')} sent to {res.api_version}/{res.kind}",
            )
        obj = _clone(body)
        meta = obj.setdefault("metadata", {})
        if namespace is not None and meta.setdefault("namespace", namespace) != namespace:
            raise ApiError(400, "BadRequest", "the namespace of the object is not that of the path")
        if "resourceVersion" in meta:
            raise ApiError(400, "BadRequest", "resourceVersion should not be set on a create")
        uid = next(self._uids)
        if "name" not in meta:
            if "generateName" not in meta:
                raise ApiError(422, "Invalid", "name or generateName is required")
            meta["name"] = f"{meta['generateName']}{uid:05d}"
        if len(meta["name"]) > 253 or not re.fullmatch(
            r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", meta["name"]
        ):
            raise ApiError(422, "Invalid", f"metadata.name: Invalid value: {meta['name']!r}")
        for key, value in (meta.get("labels") or {}).items():
            if not isinstance(value, str) or len(value) > 63:
                raise ApiError(422, "Invalid", f"metadata.labels: Invalid value: {key}={value!r}")
        for value in (meta.get("annotations") or {}).values():
            if not isinstance(value, str):
                raise ApiError(422, "Invalid", f"metadata.annotations: Invalid value: {value!r}")
        if (meta.get("namespace", ""), meta["name"]) in self._store.get(res, {}):
            raise ApiError(409, "AlreadyExists", f'{res} "{meta["name"]}" already exists')
        meta["uid"] = f"uid-{uid:06d}"
        meta["creationTimestamp"] = _time(self.now())
        meta["resourceVersion"] = str(self.version + 1)
        meta.pop("deletionTimestamp", None)
        if _has_status(res):
            obj.pop("status", None)
            meta["generation"] = 1
            if res == PODS:
                obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
            else:
                obj["status"] = {"observedGeneration": -1}
        if res == SERVICES:
            if (wrong := _mistyped(obj.setdefault("spec", {}))) is not None:
                raise ApiError(400, "BadRequest", f"unable to decode: {wrong}")
            obj["spec"] = _known_fields(obj["spec"])
        if res == SERVICES and "clusterIP" not in obj["spec"]:
            obj["spec"]["clusterIP"] = f"10.96.{uid // 250 % 250}.{uid % 250 + 1}"
        return obj

    def _store_new(self, res: Resource, obj: JSON) -> None:
        self._commit(res, None, obj)

    def _patch(
        self,
        res: Resource,
        namespace: str | None,
        name: str,
        body: Any,
        subresource: str | None,
        patch_type: str,
        manager: str,
        dry_run: bool = False,
    ) -> JSON:
        if patch_type == "apply":
            return self._apply(res, namespace, name, body, manager)
        obj = self._must(res, namespace, name)
        before = _scale(res, obj) if subresource == "scale" else obj
        if patch_type == "merge":
            patched = merge(before, body)
        elif patch_type == "json":
            patched = json_patch(before, body)
        else:
            raise NotImplementedError(f"{patch_type} patches")
        want, have = patched["metadata"], obj["metadata"]
        if want.get("resourceVersion") not in (None, have["resourceVersion"]):
            raise ApiError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {res} "{name}": the object has been modified; '
                "please apply your changes to the latest version and try again",
            )
        if want.get("uid") not in (None, have["uid"]):
            raise ApiError(
                422,
                "Invalid",
                f'{res.kind} "{name}" is invalid: metadata.uid: Invalid value: '
                f'"{want["uid"]}": field is immutable',
            )
        if want.get("name") != have["name"]:
            raise ApiError(400, "BadRequest", "the name of the object does not match the URL")
        if subresource == "scale":
            new = _clone(obj)
            replicas = patched["spec"]["replicas"]
            if not isinstance(replicas, int) or replicas < 0:
                raise ApiError(422, "Invalid", f"spec.replicas: Invalid value: {replicas!r}")
            parent = new
            *path, last = SCALABLE[res]
            for step in path:
                parent = parent.setdefault(step, {})
            parent[last] = replicas
            return _scale(res, self._replace(res, obj, new))
        if subresource == "status":
            new = _clone(obj)
            if "status" in patched:
                new["status"] = patched["status"]
            else:
                new.pop("status", None)
        elif subresource is None:
            new = patched
            if _has_status(res):
                if "status" in obj:
                    new["status"] = obj["status"]
                else:
                    new.pop("status", None)
            if res == PODS and _fixed_pod_spec(new) != _fixed_pod_spec(obj):
                raise ApiError(
                    422, "Invalid", f'Pod "{name}" is invalid: spec: Forbidden: pod updates'
                )
            for field_name in ("namespace", "creationTimestamp", "deletionTimestamp"):
                if field_name in obj["metadata"]:
                    new["metadata"][field_name] = obj["metadata"][field_name]
                else:
                    new["metadata"].pop(field_name, None)
        else:
            raise ApiError(404, "NotFound", f"{res} has no subresource {subresource}")
        if res == SERVICES and subresource is None:
            if (wrong := _mistyped(new["spec"])) is not None:
                raise ApiError(400, "BadRequest", f"unable to decode: {wrong}")
            new["spec"] = _known_fields(new["spec"])
        if dry_run:
            return _clone(new)
        if res in APPLIED and subresource is None:
            new = managed_fields.updated(obj, new, manager)
        return _clone(self._replace(res, obj, new))

    def _apply(
        self, res: Resource, namespace: str | None, name: str, declared: JSON, manager: str
    ) -> JSON:
        """Server-side apply with force. One without a uid would create: the controller must never do that."""
        if res not in APPLIED:
            raise NotImplementedError(f"apply to {res}")
        uid = declared["metadata"]["uid"]
        obj = self._store.get(res, {}).get((namespace or "", name))
        if obj is None:
            words = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise ApiError(409, "Conflict", f'cannot be fulfilled on {res} "{name}": {words}')
        if obj["metadata"]["uid"] != uid:
            words = f"UID in precondition: {uid}, UID in object meta: {obj['metadata']['uid']}"
            raise ApiError(409, "Conflict", f"Precondition failed: {words}")
        if (wrong := _mistyped(declared["spec"]) or _unknown_field(declared["spec"])) is not None:
            kind = f"{namespace}/{name}; {res.api_version}, Kind={res.kind}"
            raise ApiError(500, "", f"failed to create typed patch object ({kind}): {wrong}")
        new = managed_fields.applied(obj, declared, manager)
        if res == SERVICES:
            _fixed_service(name, obj["spec"], new["spec"])
        return _clone(self._replace(res, obj, new))

    def _replace(self, res: Resource, obj: JSON, new: JSON) -> JSON:
        if new == obj:
            return obj  # no change, no version, no event: as the real server
        new = _clone(new)
        meta = new["metadata"]
        if "generation" in meta:
            meta["generation"] = obj["metadata"]["generation"] + (_spec(new) != _spec(obj))
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            grace = meta.get("deletionGracePeriodSeconds")
            if not grace:
                self._erase(res, obj, new)
                return new
        return self._commit(res, obj, new)

    def _delete(
        self, res: Resource, obj: JSON, grace_s: int | None, propagation: str | None
    ) -> JSON | None:
        new = _clone(obj)
        meta = new["metadata"]
        grace = 0
        if res == PODS and self.graceful_pods:
            spec = new.get("spec", {})
            phase = new.get("status", {}).get("phase")
            if spec.get("nodeName") and phase not in ("Succeeded", "Failed"):
                grace = (
                    spec.get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
                )
                # Less than none is a second for the API server, too; and no date may be beyond all years.
                grace = 1 if grace < 0 else min(grace, 10**9)
        if propagation == "Foreground":
            finalizers = meta.setdefault("finalizers", [])
            if "foregroundDeletion" not in finalizers:
                finalizers.append("foregroundDeletion")
        if "deletionTimestamp" in meta:
            grace = min(grace, meta.get("deletionGracePeriodSeconds", 0))
        if not grace and not meta.get("finalizers"):
            self._erase(res, obj)
            return _clone(obj) if res == PODS else None
        if "deletionTimestamp" not in meta or grace < meta.get("deletionGracePeriodSeconds", 0):
            meta["deletionTimestamp"] = _time(self.now() + timedelta(seconds=grace))
            meta["deletionGracePeriodSeconds"] = grace
        return _clone(self._commit(res, obj, new) if new != obj else obj)

    def _erase(self, res: Resource, obj: JSON, last: JSON | None = None) -> None:
        self._commit(res, last or obj, None)
        if self.auto_gc:
            self.collect_garbage()

    def _commit(self, res: Resource, old: JSON | None, new: JSON | None) -> JSON:
        """Store (or remove, when ``new`` is None), with a new version, and tell the watchers."""
        self.version += 1
        obj = new if new is not None else old
        assert obj is not None
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        objects = self._store.setdefault(res, {})
        if new is None:
            del objects[key]
        else:
            meta["resourceVersion"] = str(self.version)
            objects[key] = new
        self._history.setdefault(res, []).append(_Change(self.version, key, old, new))
        if self.on_change is not None:
            self.on_change(res, old, new)
        self._wake(res)
        return obj

    def _changes_after(self, res: Resource, version: int) -> list[_Change]:
        history = self._history.get(res, [])
        return history[bisect.bisect_right(history, version, key=lambda change: change.version) :]

    def _wake(self, res: Resource | None = None) -> None:
        for watcher in self._watchers:
            if res is None or watcher.resource == res:
                watcher.wake.set()


class Kubelet:
    """Plays scheduler and nodes for the pods of a `MemoryApi`.

    Pod methods take (namespace, name) and act at once. `tick` moves every pod one step; `settle`
    goes on until nothing moves; `play` does so in the background.

    :param room: at most so many pods are scheduled at a time (None: no limit).
    """

    def __init__(self, api: MemoryApi, *, room: int | None = None, node: str = "node-1") -> None:
        self.api = api
        self.room = room
        self.node = node
        self.missing: set[str] = set()  # images that nobody can pull
        self.lost: set[str] = set()  # uids of pods whose node is gone: nobody runs or ends them
        self._ips = itertools.count(10)

    def schedule(self, namespace: str, name: str) -> None:
        now = _time(self.api.now())
        placed = {"spec": {"nodeName": self.node}}
        self._conditions(namespace, name, {"PodScheduled": ("True", "", now)}, patch=placed)

    def run(self, namespace: str, name: str, *, ready: bool = True) -> None:
        """Containers run; the pod has an IP; with ``ready`` its readiness probe succeeds."""
        pod = self._pod(namespace, name)
        if not pod["spec"].get("nodeName"):
            self.schedule(namespace, name)
        number = next(self._ips)
        ip = pod["status"].get("podIP") or f"10.1.{number // 250}.{number % 250 + 1}"
        now = _time(self.api.now())
        statuses = [
            {
                "name": container["name"],
                "ready": ready,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"].get("containers", ())
        ]
        status = {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "hostIP": "10.0.0.1",
            "startTime": now,
            "containerStatuses": statuses,
        }
        self._set_ready(namespace, name, ready, {"status": status})

    def set_ready(self, namespace: str, name: str, ready: bool) -> None:
        pod = self._pod(namespace, name)
        statuses = pod["status"].get("containerStatuses", [])
        for status in statuses:
            status["ready"] = ready
        self._set_ready(namespace, name, ready, {"status": {"containerStatuses": statuses}})

    def _set_ready(self, namespace: str, name: str, ready: bool, patch: JSON) -> None:
        word, why = ("True", "") if ready else ("False", "ContainersNotReady")
        now = _time(self.api.now())
        entry = (word, why, now)
        self._conditions(namespace, name, {"Ready": entry, "ContainersReady": entry}, patch=patch)

    def wait(self, namespace: str, name: str, reason: str, message: str = "") -> None:
        """All containers wait: ErrImagePull, ImagePullBackOff, CrashLoopBackOff, ..."""
        pod = self._pod(namespace, name)
        if not pod["spec"].get("nodeName"):
            self.schedule(namespace, name)
        old = {status["name"]: status for status in pod["status"].get("containerStatuses", [])}
        statuses = [
            {
                "name": container["name"],
                "ready": False,
                "restartCount": old.get(container["name"], {}).get("restartCount", 0),
                "state": {"waiting": {"reason": reason, "message": message}},
            }
            for container in pod["spec"].get("containers", ())
        ]
        self.api.edit(PODS, namespace, name, {"status": {"containerStatuses": statuses}})

    def unschedulable(self, namespace: str, name: str, message: str = "0/1 nodes") -> None:
        now = _time(self.api.now())
        self._conditions(
            namespace, name, {"PodScheduled": ("False", "Unschedulable", now)}, message
        )

    def restart(
        self, namespace: str, name: str, exit_code: int = 1, reason: str = "Error", said: str = ""
    ) -> None:
        """All containers ended and run again in the same pod (same IP), not yet ready.

        :param said: what they left in their termination log.
        """
        pod = self._pod(namespace, name)
        now = _time(self.api.now())
        statuses = pod["status"].get("containerStatuses", [])
        for status in statuses:
            status["restartCount"] += 1
            ended = {"exitCode": exit_code, "reason": reason, "finishedAt": now, "message": said}
            status["lastState"] = {"terminated": ended}
            status["state"] = {"running": {"startedAt": now}}
        self.api.edit(PODS, namespace, name, {"status": {"containerStatuses": statuses}})
        self.set_ready(namespace, name, False)

    def finish(
        self,
        namespace: str,
        name: str,
        exit_code: int = 0,
        *,
        container: str | None = None,
        reason: str | None = None,
        said: str = "",
    ) -> None:
        """A container (default: all) ends for good; when the last did, so does the pod.

        :param said: what it left in its termination log.
        """
        pod = self._pod(namespace, name)
        now = _time(self.api.now())
        statuses = pod["status"].get("containerStatuses", [])
        reason = reason or ("Completed" if exit_code == 0 else "Error")
        for status in statuses:
            if container in (None, status["name"]):
                ended = {"exitCode": exit_code, "reason": reason, "finishedAt": now}
                status.update(ready=False, state={"terminated": {**ended, "message": said}})
        patch: JSON = {"containerStatuses": statuses}
        if all("terminated" in status["state"] for status in statuses):
            codes = [status["state"]["terminated"]["exitCode"] for status in statuses]
            patch["phase"] = "Failed" if any(codes) else "Succeeded"
        ended = {"Ready": ("False", "PodCompleted", now)}
        self._conditions(namespace, name, ended, patch={"status": patch})

    def time_out(self, namespace: str, name: str) -> None:
        """The kubelet ends the pod for its own activeDeadlineSeconds: what runs in it is killed."""
        for status in self._pod(namespace, name)["status"].get("containerStatuses", []):
            if "running" in status["state"]:
                self.finish(namespace, name, 137, container=status["name"])
        self.evict(namespace, name, "DeadlineExceeded")

    def evict(self, namespace: str, name: str, reason: str = "Evicted") -> None:
        """The kubelet ends the pod for lack of resources: phase Failed with this reason."""
        now = _time(self.api.now())
        failed = {"status": {"phase": "Failed", "reason": reason}}
        self._conditions(namespace, name, {"Ready": ("False", "", now)}, patch=failed)

    def lose_node(self, namespace: str, *names: str) -> None:
        """The node of these pods is gone: they are given up, and nobody confirms their end."""
        for name in names:
            pod = self._pod(namespace, name)
            self.lost.add(pod["metadata"]["uid"])
            self.set_ready(namespace, name, False)
            self.api._delete(PODS, self._pod(namespace, name), None, None)

    def terminate(self, namespace: str, name: str) -> None:
        """A pod that is being deleted has stopped: its object goes (unless finalizers hold it)."""
        pod = self._pod(namespace, name)
        if "deletionTimestamp" not in pod["metadata"]:
            raise AssertionError(f"pod {name} is not being deleted")
        self.api.edit(PODS, namespace, name, {"metadata": {"deletionGracePeriodSeconds": 0}})

    def tick(self) -> int:
        """Every pod moves one step: scheduled, then running and ready; or terminated. Gated pods
        wait, and so do those without room. Returns how many moved."""
        moved = 0
        placed = sum(
            1
            for pod in self.api._objects(PODS, None)
            if pod["spec"].get("nodeName") and pod["status"]["phase"] not in ("Succeeded", "Failed")
        )
        for pod in list(self.api._objects(PODS, None)):  # read only, so no copies
            meta, spec = pod["metadata"], pod.get("spec", {})
            key = (meta["namespace"], meta["name"])
            if meta["uid"] in self.lost:
                continue
            if "deletionTimestamp" in meta:
                if meta.get("deletionGracePeriodSeconds"):
                    self.terminate(*key)
                    moved += 1
            elif not spec.get("nodeName"):
                if not spec.get("schedulingGates") and (self.room is None or placed < self.room):
                    self.schedule(*key)
                    placed += 1
                    moved += 1
            elif pod["status"]["phase"] == "Pending" and not pod["status"].get("containerStatuses"):
                images = [container.get("image") for container in spec.get("containers", ())]
                if self.missing.intersection(images):
                    self.wait(*key, "ImagePullBackOff", "Back-off pulling image")
                else:
                    self.run(*key)
                moved += 1
            elif pod["status"]["phase"] == "Running" and spec.get("activeDeadlineSeconds") == 1:
                self.time_out(*key)
                moved += 1
        return moved

    def settle(self) -> None:
        """Tick until nothing moves."""
        while self.tick():
            pass

    async def play(self, every_s: float = 1.0) -> None:
        """Tick for ever."""
        while True:
            self.tick()
            await asyncio.sleep(every_s)

    def _pod(self, namespace: str, name: str) -> JSON:
        pod = self.api.find(PODS, namespace, name)
        if pod is None:
            raise AssertionError(f"there is no pod {namespace}/{name}")
        return pod

    def _conditions(
        self,
        namespace: str,
        name: str,
        changes: dict[str, tuple[str, str, str]],
        message: str = "",
        patch: JSON | None = None,
    ) -> None:
        """Change conditions, and what else the patch says, in one write, as kubelets do."""
        pod = self._pod(namespace, name)
        by_type = {entry["type"]: entry for entry in pod["status"].get("conditions", [])}
        for kind, (word, reason, when) in changes.items():
            old = by_type.get(kind, {})
            changed_at = old["lastTransitionTime"] if old.get("status") == word else when
            entry = {"type": kind, "status": word, "lastTransitionTime": changed_at}
            if reason:
                entry["reason"] = reason
            if message:
                entry["message"] = message
            by_type[kind] = entry
        conditions = {"status": {"conditions": list(by_type.values())}}
        self.api.edit(PODS, namespace, name, merge(patch or {}, conditions))


# Words of the API


def parse_selector(text: str | None, fields: str | None = None) -> Selector:
    """A label selector as kubectl writes it: ``a=b,c!=d,e in (f,g),h notin (i),j,!k``.

    :param fields: ``metadata.name=NAME``, which all resources know.
    """
    only = ""
    if fields:
        key, _, only = fields.partition("=")
        if key != "metadata.name":
            raise ApiError(400, "BadRequest", f"field label not supported: {key}")
    checks: list[Callable[[dict[str, str]], bool]] = []
    for term in re.findall(r"(?:[^,(]|\([^)]*\))+", text or ""):
        term = term.strip()
        if match := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", term):
            key, word, rest = match.groups()
            values = {value.strip() for value in rest.split(",")}
            checks.append(_one_of(key, values, word == "in"))
        elif match := re.fullmatch(r"([^=!\s]+)\s*(==?|!=)\s*(\S*)", term):
            key, word, value = match.groups()
            checks.append(_one_of(key, {value}, word != "!="))
        elif match := re.fullmatch(r"(!?)\s*([^=!\s]+)", term):
            checks.append(_exists(match[2], not match[1]))
        else:
            raise ApiError(400, "BadRequest", f"unable to parse requirement: {term!r}")
    return lambda obj: (
        (not only or obj["metadata"]["name"] == only)
        and all(check(obj["metadata"].get("labels") or {}) for check in checks)
    )


def _one_of(key: str, values: set[str], wanted: bool) -> Callable[[dict[str, str]], bool]:
    return lambda labels: (labels.get(key) in values) == wanted


def _exists(key: str, wanted: bool) -> Callable[[dict[str, str]], bool]:
    return lambda labels: (key in labels) == wanted


def merge(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386); returns a new value."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


#: Of a Service's spec, with the type of each; of its ports, "".
_SERVICE: dict[str, dict[str, type]] = {
    "": {
        **dict.fromkeys(("clusterIP", "externalName", "externalTrafficPolicy"), str),
        **dict.fromkeys(("internalTrafficPolicy", "ipFamilyPolicy", "loadBalancerClass"), str),
        **dict.fromkeys(("loadBalancerIP", "sessionAffinity", "trafficDistribution", "type"), str),
        **dict.fromkeys(("clusterIPs", "externalIPs", "ipFamilies"), list),
        **dict.fromkeys(("loadBalancerSourceRanges", "ports"), list),
        **dict.fromkeys(("allocateLoadBalancerNodePorts", "publishNotReadyAddresses"), bool),
        **dict.fromkeys(("selector", "sessionAffinityConfig"), dict),
        "healthCheckNodePort": int,
    },
    "ports": {
        **dict.fromkeys(("appProtocol", "name", "protocol"), str),
        **dict.fromkeys(("nodePort", "port"), int),
        "targetPort": object,
    },
}


def _mistyped(spec: JSON) -> str | None:
    """What the API server says of the first field of a Service's spec that has another shape."""
    ports = spec.get("ports")
    some = [("", spec)] + [("ports", p) for p in ports or () if isinstance(ports, list)]
    for where, fields in some:
        if not isinstance(fields, dict):
            return f".spec.{where}: a port is not an object"
        for key, value in fields.items():
            wanted = _SERVICE[where].get(key)
            if wanted is not None and value is not None and not isinstance(value, wanted):
                return f".spec.{where and f'{where}.'}{key}: expected {wanted.__name__}"
    return None


def _unknown_field(spec: JSON) -> str | None:
    paths = [f".spec.{key}" for key in spec if key not in _SERVICE[""]]
    for port in spec.get("ports") or ():
        paths += [f".spec.ports.{key}" for key in port if key not in _SERVICE["ports"]]
    return f"{paths[0]}: field not declared in schema" if paths else None


def _known_fields(spec: JSON) -> JSON:
    """As it is stored: what no Service has is dropped."""
    known = {key: value for key, value in spec.items() if key in _SERVICE[""]}
    if known.get("ports"):
        ports = known["ports"]
        known["ports"] = [{k: v for k, v in p.items() if k in _SERVICE["ports"]} for p in ports]
    return known


def _fixed_service(name: str, old: JSON, new: JSON) -> None:
    """What the API server never changes in a Service, and what it keeps where nobody says anything."""
    new.setdefault("clusterIP", old.get("clusterIP"))
    types = old.get("type"), new.get("type")
    fixed = ["clusterIP"] if "ExternalName" not in types else []
    fixed += ["loadBalancerClass"] if types == ("LoadBalancer", "LoadBalancer") else []
    for key in fixed:
        if old.get(key) and new.get(key) != old[key]:
            words = f"spec.{key}: Invalid value: {new.get(key)!r}: may not change once set"
            raise ApiError(422, "Invalid", f'Service "{name}" is invalid: {words}')


def json_patch(target: Any, operations: Any) -> Any:
    """JSON patch (RFC 6902) with add, replace, remove and test; returns a new value."""
    result = _clone(target)
    for operation in operations:
        *path, last = [
            step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]
        ]
        try:
            parent = result
            for step in path:
                parent = parent[int(step)] if isinstance(parent, list) else parent[step]
            what = operation["op"]
            if isinstance(parent, list):
                if what == "add":
                    at = len(parent) if last == "-" else int(last)
                    parent.insert(at, operation["value"])
                    continue
                key: Any = int(last)
            else:
                key = last
            if what == "add":
                parent[key] = operation["value"]
            elif what == "replace":
                parent[key]
                parent[key] = operation["value"]
            elif what == "remove":
                del parent[key]
            elif what == "test":
                if parent[key] != operation["value"]:
                    raise ApiError(422, "Invalid", f"testing value {operation['path']} failed")
            else:
                raise NotImplementedError(what)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ApiError(422, "Invalid", f"no such path: {operation['path']}") from error
    return result


def _clone(obj: V) -> V:
    """A copy, and proof that it is JSON: a datetime or a set in a manifest fails here."""
    copied: V = json.loads(json.dumps(obj))
    return copied


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _spec(obj: JSON) -> JSON:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _has_status(res: Resource) -> bool:
    return res == PODS or res.group == "kubernetes.dask.org"


def _scale(res: Resource, obj: JSON) -> JSON:
    if res not in SCALABLE:
        raise ApiError(404, "NotFound", f"{res} has no subresource scale")
    replicas: Any = obj
    for step in SCALABLE[res]:
        replicas = replicas.get(step) if isinstance(replicas, dict) else None
    if replicas is None:
        replicas = 0
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status = obj.get("status") or {}
    scale: JSON = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {key: obj["metadata"][key] for key in kept if key in obj["metadata"]},
        "spec": {"replicas": replicas},
        "status": {"replicas": status.get("replicas", 0)},
    }
    if status.get("selector"):
        scale["status"]["selector"] = status["selector"]
    return scale


def _fixed_pod_spec(pod: JSON) -> JSON:
    """What of a pod's spec may not be changed: all but images, gates and a few limits."""
    spec: JSON = _clone(pod.get("spec") or {})
    for key in ("schedulingGates", "tolerations", "activeDeadlineSeconds"):
        spec.pop(key, None)
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        container.pop("image", None)
    return spec


def _event(change: _Change, selects: Selector) -> tuple[str, JSON] | None:
    was = change.old is not None and selects(change.old)
    if change.new is not None and selects(change.new):
        return ("MODIFIED" if was else "ADDED"), _clone(change.new)
    if change.old is not None and was:
        # Gone, or relabelled: the last state that matched, with the version of the change.
        last = _clone(change.old)
        last["metadata"]["resourceVersion"] = str(change.version)
        return "DELETED", last
    return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        pass
