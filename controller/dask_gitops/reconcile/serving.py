"""Which namespaces are served: those of which everything is known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.informer import Informer
from dask_gitops.reconcile.stores import Key

log = logging.getLogger(__name__)

#: A namespace, or None: all of them by one set of informers.
Scope = str | None

PATIENCE_S = 20  # a first list that takes longer is told


class Serving:
    """Keeps what is asked for in a namespace until all its caches hold their first list.

    A turn that knows half of a namespace would make anew what is there. But one namespace that cannot be read (its
    Role is missing) keeps no other waiting, and is served as soon as it can be read.

    :param put: key, seconds from now: where keys of namespaces that are served go.
    """

    def __init__(self, put: Callable[[Key, float], None]) -> None:
        self._put = put
        self._informers: dict[Scope, list[Informer[Any]]] = {}
        self._waiting: dict[Scope, dict[Key, None]] = {}

    def take(self, informers: Iterable[Informer[Any]]) -> None:
        """These fill the caches; none of them runs yet."""
        for informer in informers:
            self._informers.setdefault(informer.namespace, []).append(informer)
            self._waiting.setdefault(informer.namespace, {})

    @property
    def scopes(self) -> list[Scope]:
        return list(self._informers)

    def put(self, key: Key, seconds: float) -> None:
        """Asks for a turn of ``key`` in so many seconds, or once its namespace is served."""
        scope = key.namespace if key.namespace in self._informers else None
        waiting = self._waiting.get(scope)
        if waiting is None:
            self._put(key, seconds)
        else:
            waiting[key] = None

    async def complete(self, scope: Scope) -> None:
        """Wait until this namespace can be served; then what was asked for there gets its turns."""
        for informer in self._informers[scope]:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await informer.synced.wait()
            except TimeoutError:
                log.warning(
                    "still waiting for the first list of %s in %s; are its CRD and our rights there?",
                    informer.resource,
                    scope or "all namespaces",
                )
                await informer.synced.wait()
        log.info("%s: served", scope or "all namespaces")
        for key in self._waiting.pop(scope):
            self._put(key, 0)

    # ---- what probes and metrics ask

    def missing(self, scope: Scope) -> str:
        """Why this namespace is not served, in words; "" if it is."""
        informers = self._informers[scope]
        unread = [i for i in informers if not i.synced.is_set()]
        for informer in unread or informers:
            if is_refused(informer) or (unread and informer.trouble is not None):
                return f"{informer.resource}: {informer.trouble}"
        resources = ", ".join(sorted(str(i.resource) for i in unread))
        return f"waiting for the first list of {resources}" if unread else ""

    def ready(self) -> bool:
        """Whether this process may take over: something can be served, and of all else it is known why it cannot."""
        read = {
            scope: all(i.synced.is_set() for i in informers)
            for scope, informers in self._informers.items()
        }
        return any(read.values()) and all(
            done or any(i.trouble is not None for i in self._informers[scope])
            for scope, done in read.items()
        )


def is_refused(informer: Informer[Any]) -> bool:
    """The API server answers, and does not let us read this; no restart would help."""
    error = informer.trouble
    return isinstance(error, ApiError) and 400 <= error.status < 500 and not _passes(error)


def _passes(error: ApiError) -> bool:
    return error.is_gone or error.status == 429
