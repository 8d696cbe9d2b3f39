"""What users are told: status and Events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dask_gitops import events
from dask_gitops.kube.client import Api
from dask_gitops.kube.errors import ApiError, KubeError
from dask_gitops.kube.resource import EVENTS
from dask_gitops.plan.actions import Emit
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.stores import RESOURCES, Key, Stores, key_of
from dask_gitops.reconcile.writes import Writer
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.revision import merge_patch, revision
from dask_gitops.status import is_progress

JSON = dict[str, Any]
log = logging.getLogger(__name__)

PROGRESS_S = 1.0  # mere progress is written this often


@dataclass(slots=True)
class Reporter:
    """:ivar again: asks for another reconcile of a key after so many seconds.
    :ivar clock: wall clock, seconds since the epoch.
    """

    api: Api
    stores: Stores
    memory: Memory
    write: Writer
    again: Callable[[Key, float], None]
    clock: Callable[[], float]

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
        key, now = key_of(resource), self.clock()
        written = {k: at for k, at in self.memory.written.items() if 0 <= now - at < PROGRESS_S}
        if key in written and is_progress(resource.status, status):
            self.again(key, written[key] + PROGRESS_S - now)
            return
        self.memory.written = {**written, key: now}
        self.memory.reports[key] = revision(status)  # before its news can come
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
                await self.write.refresh(resource.kind, meta.namespace, meta.name, meta.uid)
                if key in self.memory.contended:
                    raise  # once more, and later each time
                self.memory.contended.add(key)
                self.again(key, 0.1)
                return
            if error.is_not_found:
                store.forget(meta.namespace, meta.name, meta.uid)
                return
            raise
        self.memory.contended.discard(key)
        store.observe(answer)
