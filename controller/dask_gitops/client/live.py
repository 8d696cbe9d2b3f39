"""One DaskCluster and its Pods as two watches show them. Lives in the loop of `background`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from dask_gitops.kube import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    ApiError,
    ApiUnreachable,
    Informer,
)
from dask_gitops.kube.client import Api
from dask_gitops.kube.resource import Resource
from dask_gitops.resources import labels, names

JSON = dict[str, Any]
T = TypeVar("T")
#: So long a server may have trouble before we give up.
OPEN_S = 30.0


def is_final(error: Exception) -> bool:
    """Is it the same if it is asked once more? What nobody answers has been asked several times."""
    if isinstance(error, ApiError):
        return 400 <= error.status < 500 and error.status != 429 and not error.is_gone
    return not isinstance(error, ApiUnreachable) or not error.sent


class Live:
    """:ivar uid: of the object that counts; one of the same name and another uid is none."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self.api = api
        self.namespace = namespace
        self.name = name
        self.uid = ""
        self.pulling = ""
        self._clusters = self._informer(DASKCLUSTERS, field_selector=f"metadata.name={name}")
        self._pods = self._informer(PODS, label_selector=f"{labels.CLUSTER}={name}")
        self._beside: list[Informer[JSON]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._trouble: Exception | None = None
        self._changes = 0
        self._events: asyncio.Task[None] | None = None

    def _informer(
        self,
        resource: Resource,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Informer[JSON]:
        return Informer(
            self.api,
            resource,
            _trimmed,
            namespace=self.namespace,
            on_change=lambda old, new: self._changed(),
            on_error=self._failed,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    # ---- what there is

    @property
    def cluster(self) -> JSON | None:
        """The DaskCluster; None: there is none, or another of that name."""
        found = self._clusters.get(self.namespace, self.name)
        return found if found is not None and self.uid in ("", found["metadata"]["uid"]) else None

    @property
    def scheduler(self) -> JSON | None:
        """The newest Pod of its scheduler."""
        return max(self._of(labels.SCHEDULER), key=_age, default=None)

    @property
    def workers(self) -> list[JSON]:
        """The Pods of its workers."""
        return sorted(self._of(labels.WORKER), key=_age)

    @property
    def pods(self) -> list[JSON]:
        return [pod for pod in self._pods.all() if self._is_own(pod)]

    def _of(self, component: str) -> list[JSON]:
        return [
            pod
            for pod in self.pods
            if pod["metadata"].get("labels", {}).get(labels.COMPONENT) == component
        ]

    def _is_own(self, pod: JSON) -> bool:
        """A predecessor's Pods may be on their way out still."""
        owners = [
            owner["uid"]
            for owner in pod["metadata"].get("ownerReferences") or ()
            if owner["kind"] == "DaskCluster"
        ]
        return not owners or not self.uid or self.uid in owners

    # ---- keeping it

    async def open(self) -> None:
        """Begin to watch, and wait until all that there is has been seen.

        :raises KubeError: the server said no, or nobody answered.
        """
        self._tasks = [
            asyncio.create_task(informer.run()) for informer in (self._clusters, self._pods)
        ]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + OPEN_S
        synced = asyncio.create_task(self._synced())
        try:
            while not synced.done():
                trouble = self._trouble
                if trouble is not None and (is_final(trouble) or loop.time() >= deadline):
                    raise trouble
                await self.change(None if trouble is None else deadline - loop.time())
        finally:
            synced.cancel()
            await asyncio.gather(synced, return_exceptions=True)

    async def _synced(self) -> None:
        for informer in (self._clusters, self._pods):
            await informer.synced.wait()
        self._changed()

    async def close(self) -> None:
        """End the watches."""
        await self.ignore_events()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def beside(self, patience_s: float = 5.0) -> tuple[list[JSON], list[JSON]]:
        """Worker groups and autoscalers of the namespace, also those that carry no label of ours; watched from
        the first call on. None of those that may not be read."""
        if not self._beside:
            self._beside = [
                Informer(
                    self.api,
                    resource,
                    _trimmed,
                    namespace=self.namespace,
                    on_change=lambda old, new: self._changed(),
                    on_error=lambda error: None,
                )
                for resource in (DASKWORKERGROUPS, DASKAUTOSCALERS)
            ]
            self._tasks += [asyncio.create_task(informer.run()) for informer in self._beside]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    for informer in self._beside:
                        await informer.synced.wait()
        groups, autoscalers = self._beside
        return groups.all(), autoscalers.all()

    def observe(self, raw: JSON) -> None:
        """The server's answer to what we did to the DaskCluster."""
        self._clusters.observe(raw)

    # ---- waiting

    async def change(self, timeout_s: float | None = None) -> None:
        """Wait until something changed, at most so long."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(timeout_s):
                await waiting
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiting)

    async def until(self, found: Callable[[], T | None], timeout_s: float | None = None) -> T:
        """Wait until something is there.

        :raises TimeoutError: it was not in time.
        """
        async with asyncio.timeout(timeout_s):
            while (value := found()) is None:
                await self.change()
            return value

    def wake(self) -> None:
        """Something changed that is not ours."""
        self._changed()

    async def news(self, seen: int, timeout_s: float | None = None) -> int:
        """How many changes there were, once they are not as many as ``seen``, or time is up."""
        if self._changes == seen:
            await self.change(timeout_s)
        return self._changes

    def _changed(self) -> None:
        self._changes += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _failed(self, error: Exception) -> None:
        self._trouble = error
        self._changed()

    # ---- Events, while it starts only

    def follow_events(self) -> None:
        """Hear what the kubelet does with the scheduler's Pod."""
        if self._events is None:
            self._events = asyncio.create_task(self._follow())

    async def ignore_events(self) -> None:
        """Hear of it no more."""
        task, self._events = self._events, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        pod = names.scheduler_name(self.name)
        newest = 0

        def hear(old: JSON | None, new: JSON | None) -> None:
            nonlocal newest
            if new is None or new.get("reason") not in ("Pulling", "Pulled", "Failed"):
                return
            version = int(new["metadata"]["resourceVersion"])
            if version < newest:
                return
            newest = version
            image = str(new.get("message", "")).partition('"')[2].partition('"')[0]
            self.pulling = image if new["reason"] == "Pulling" else ""
            self._changed()

        await Informer(
            self.api,
            EVENTS,
            _trimmed,
            namespace=self.namespace,
            field_selector=f"involvedObject.kind=Pod,involvedObject.name={pod}",
            on_change=hear,
            on_error=lambda error: None,  # who may not read them starts all the same
        ).run()


def _trimmed(raw: JSON) -> JSON:
    """Without what only the server needs."""
    metadata = {k: v for k, v in raw["metadata"].items() if k != "managedFields"}
    return {**raw, "metadata": metadata}


def _age(pod: JSON) -> tuple[bool, str, str]:
    """Those on their way out come first."""
    metadata = pod["metadata"]
    is_alive = "deletionTimestamp" not in metadata
    return is_alive, metadata.get("creationTimestamp", ""), metadata["name"]
