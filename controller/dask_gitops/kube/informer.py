"""A local copy of a collection that is always on its way to being right.

List in pages, watch, resume; list anew when the server forgot our place, and then notice what
vanished. What we write ourselves enters at once (`Informer.observe`), so that the next reconcile
does not decide from a world in which it has not happened yet.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from sys import intern
from typing import Any, Generic, TypeVar

from .client import JSON, Api
from .errors import ApiError, ApiUnreachable, KubeError
from .nesting import MAX_LEVELS, Cut
from .resource import Resource
from .tombstones import Tombstones

log = logging.getLogger(__name__)

T = TypeVar("T")
#: (namespace, name); the namespace of cluster-scoped objects is "".
Key = tuple[str, str]

BEHIND = 5  # so many lists in a row (some ten seconds) that are older than what we saw: history did go back
_NEVER = float("inf")


class _Entry(Generic[T]):
    __slots__ = ("uid", "value", "version")

    def __init__(self, value: T, uid: str, version: int) -> None:
        self.value = value
        self.uid = uid
        self.version = version


@dataclass(slots=True)
class Unreadable:
    """An object that is there and is not in the cache as it is: cut, or in an earlier state, or not at all.

    :ivar told: for whoever tells people of it.
    """

    uid: str
    version: int
    why: str
    told: bool = False


class _Silence(Exception):
    """Nothing was heard on a watch for too long."""


class _Behind(Exception):
    """A list is older than what was seen before."""


class Informer(Generic[T]):
    """Cache of the objects of one resource, kept by list and watch.

    :param convert: trims a raw object to what is needed; the raw dict is not kept. The result must
        be immutable and comparable: an event that does not change it is no change. It should not
        raise; if it does (or an indexer), the last good value stays, the object is named by
        `unreadable`, and the failure is counted and logged. No object stops the others.
    :param on_change: called in the event loop after the cache was changed, with (None, new) for a
        new object, (old, new) for a changed one, (old, None) for a vanished one. An object that
        was replaced by one of the same name and another uid gives two calls. Must not block;
        whatever it raises is logged.
    :param on_unreadable: called with (namespace, name) when an object became unreadable.
    :param cut_is_enough: of an object that nests too deep, what is left is taken in, so that others
        see that it is there. False: it is unreadable all the same; True: for kinds whose deep parts
        are never looked at.
    :param on_error: called in the event loop when a list or watch went wrong; it is repeated all the
        same. Who gives it is the one who speaks of the trouble: nothing is logged.
    :param indexers: name -> function that gives the values under which an object is found.
    :param silence_s: a watch on which nothing was heard for so long is opened anew (servers send a
        bookmark about once a minute); after the second time everything is listed.
    """

    def __init__(
        self,
        client: Api,
        resource: Resource,
        convert: Callable[[JSON], T],
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        on_change: Callable[[T | None, T | None], None] | None = None,
        on_unreadable: Callable[[str, str], None] | None = None,
        cut_is_enough: bool = False,
        on_error: Callable[[Exception], None] | None = None,
        indexers: Mapping[str, Callable[[T], Iterable[Hashable]]] | None = None,
        page_size: int = 500,
        silence_s: float = 75.0,
        watch_timeout_s: tuple[float, float] = (240.0, 300.0),
        backoff_s: tuple[float, float] = (0.5, 15.0),
    ) -> None:
        self.client = client
        self.resource = resource
        self.namespace = namespace
        self.label_selector = label_selector
        self.field_selector = field_selector
        self.on_change = on_change
        self.on_unreadable = on_unreadable
        self._cut_is_enough = cut_is_enough
        self.on_error = on_error
        #: Set when the first complete list is in the cache; never cleared.
        self.synced = asyncio.Event()
        #: ``loop.time()`` of the last sign of life: list, event, bookmark. None: never.
        self.last_heard: float | None = None
        self._began: float | None = None
        #: What went wrong since then; None: nothing.
        self.trouble: Exception | None = None
        #: Counters for metrics.
        self.lists = 0
        self.watches = 0
        self.events = 0
        self.errors = 0
        self.convert_errors = 0
        #: How often something in the cache was changed, be it only in its resourceVersion.
        self.changes = 0
        self._convert = convert
        self._indexers = dict(indexers or {})
        self._page_size = page_size
        self._silence_s = silence_s
        self._watch_timeout_s = watch_timeout_s
        self._backoff_s = backoff_s
        self._entries: dict[Key, _Entry[T]] = {}
        self._indexes: dict[str, dict[Hashable, dict[Key, _Entry[T]]]] = {
            name: {} for name in self._indexers
        }
        self._unreadable: dict[Key, Unreadable] = {}
        self._tombstones = Tombstones()
        self._version = 0  # our place in the server's history; 0: a list is needed
        self._last_version = 0  # the newest place that the server itself told us
        self._behind = 0  # lists in a row that were older than what we know
        self._page_limit = page_size
        self._complaint = ""
        self._was_silent = False  # the last watch ended without a sound

    # What the cache holds

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name, or None."""
        entry = self._entries.get((namespace, name))
        return None if entry is None else entry.value

    def unreadable(self, namespace: str, name: str) -> Unreadable | None:
        """Why the object of that name is not in the cache as it is now; None: it is, or is gone."""
        return self._unreadable.get((namespace, name))

    @property
    def unreadables(self) -> int:
        """How many objects cannot be taken in as they are."""
        return len(self._unreadable)

    def all(self) -> list[T]:
        """All objects, in order of first sight."""
        return [entry.value for entry in self._entries.values()]

    def by_index(self, index: str, value: Hashable) -> list[T]:
        """Objects that the indexer of this name filed under ``value``."""
        return [entry.value for entry in self._indexes[index].get(value, {}).values()]

    def count(self, index: str, value: Hashable) -> int:
        """How many they are."""
        return len(self._indexes[index].get(value, ()))

    @property
    def size(self) -> int:
        """How many objects there are."""
        return len(self._entries)

    def age(self) -> float:
        """Seconds since the last sign of life, or since `run` began; infinite before that."""
        since = self._began if self.last_heard is None else self.last_heard
        return _NEVER if since is None else asyncio.get_running_loop().time() - since

    # What we know ourselves

    def observe(self, raw: JSON) -> bool:
        """Take in the server's answer to our own create or patch (or delete, while terminating).

        Returns False when it is older than what is known: the watch was faster, or the object has
        been deleted meanwhile. The object must match this informer's selector and namespace; the
        answer of a scale subresource is a Scale and no such object (ValueError).
        """
        if raw.get("kind", self.resource.kind) != self.resource.kind:
            raise ValueError(f"a {raw['kind']} is no object of {self.resource}")
        return self._apply(raw)

    def forget(self, namespace: str, name: str, uid: str) -> bool:
        """The object with this uid is known to be gone (a delete was answered with None).

        Returns whether it was in the cache. A late answer or an old list cannot bring it back.
        """
        return self._drop((namespace, name), uid, _NEVER)

    # Keeping it

    async def run(self) -> None:
        """Keep the cache; returns only by cancellation."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        failures = 0
        while True:
            started = loop.time()
            heard = self.events
            wait: float | None = None
            connected = True
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                # A server that ends watches at once would make this a busy loop.
                if loop.time() - started >= 1.0 or self.events > heard:
                    failures = 0
                    self._complaint = ""
                    continue
                self._complain("the server ends watches at once")
            except (KubeError, _Silence, _Behind, TimeoutError) as error:
                if isinstance(error, ApiError) and error.is_gone:
                    if not self._version:
                        self._page_limit = 0  # mid-list: too slow for pages, take it in one
                    self._version = 0
                elif isinstance(error, _Silence):
                    # Mostly the connection is dead. But a watch is also deaf from a place that does
                    # not exist (restored etcd), and servers owe nobody a bookmark: look, now and then.
                    if self._was_silent:
                        self._version = 0
                    self._was_silent = not self._was_silent
                connected = not (isinstance(error, ApiUnreachable) and not error.sent)
                self.errors += 1
                self.trouble = error
                if self.on_error is None:
                    self._complain(str(error))
                else:
                    self.on_error(error)
                wait = getattr(error, "retry_after", None)
            except Exception as error:
                # Anything else is a bug; a dead informer would hide it behind a stale cache.
                self.errors += 1
                self.trouble = error
                self._version = 0
                log.exception("%s: unexpected error, listing anew: %r", self.resource, error)
            if connected and loop.time() - started > 5.0:
                failures = 0  # it went well for a while: this is a new trouble
            first, most = self._backoff_s
            backoff = min(most, first * 2 ** min(failures, 16)) * random.uniform(0.5, 1.0)
            failures += 1
            await asyncio.sleep(max(backoff, wait or 0.0))

    def _complain(self, message: str) -> None:
        if message != self._complaint:  # once per trouble, not once per retry
            self._complaint = message
            log.warning("%s: %s", self.resource, message)

    def _hear(self) -> float:
        self.last_heard = asyncio.get_running_loop().time()
        self.trouble = None
        return self.last_heard

    async def _list(self) -> None:
        before = self._last_version
        listed: set[Key] = set()
        version = 0
        first = True
        async with aclosing(
            self.client.list_pages(
                self.resource,
                self.namespace,
                label_selector=self.label_selector,
                field_selector=self.field_selector,
                limit=self._page_limit,
            )
        ) as pages:
            async for page in pages:
                self._hear()
                version = int(page.resource_version)
                if first:
                    first = False
                    # Either this server lags behind the others, or etcd was restored from a backup:
                    # then nothing that we know by number is worth anything.
                    if version < before:
                        self._behind += 1
                        if self._behind < BEHIND:
                            raise _Behind(f"a list is older than what was seen ({version})")
                        log.warning("%s: the server's history went back", self.resource)
                        self._tombstones.clear()
                        self._unreadable.clear()
                        for entry in self._entries.values():
                            entry.version = 0
                for raw in page.items:
                    if (key := self._identified(raw)) is not None:
                        listed.add(key)
                        self._apply(raw)
        for key in [key for key in self._unreadable if key not in listed]:
            if self._unreadable[key].version <= version:
                del self._unreadable[key]
        for key in [key for key in self._entries if key not in listed]:
            entry = self._entries[key]
            # Newer than the list: we observed it after the list was made.
            if entry.version <= version:
                self._drop(key, entry.uid, version)
        self.lists += 1
        self._behind = 0
        self._page_limit = self._page_size
        self._version = self._last_version = version
        self.synced.set()

    async def _watch(self) -> None:
        timeout_s = random.uniform(*self._watch_timeout_s)
        self.watches += 1
        try:
            async with asyncio.timeout(self._silence_s) as alarm:
                armed = asyncio.get_running_loop().time()
                async with aclosing(
                    self.client.watch(
                        self.resource,
                        self.namespace,
                        label_selector=self.label_selector,
                        field_selector=self.field_selector,
                        resource_version=str(self._version),
                        timeout_s=timeout_s,
                    )
                ) as events:
                    async for kind, raw in events:
                        now = self._hear()
                        self._was_silent = False
                        # Moving the alarm costs more than the rest: not for every event.
                        if now - armed > self._silence_s / 50:
                            alarm.reschedule(now + self._silence_s)
                            armed = now
                        self._event(kind, raw)
        except TimeoutError:
            raise _Silence(f"nothing heard for {self._silence_s:.0f} s") from None

    def _event(self, kind: str, raw: JSON) -> None:
        if kind != "BOOKMARK":
            self.events += 1
            if (key := self._identified(raw)) is None:
                return
            if kind == "DELETED":
                meta = raw["metadata"]
                self._drop(key, meta["uid"], int(meta["resourceVersion"]))
            else:
                self._apply(raw)
        version = int(raw["metadata"]["resourceVersion"])
        self._version = self._last_version = max(version, self._version)

    # Changing it

    def _identified(self, raw: JSON) -> Key | None:
        """(namespace, name); None, and told, if it does not say which object it is, of which state."""
        try:
            meta = raw["metadata"]
            int(meta["resourceVersion"])
            hash((meta["uid"], meta["name"]))
            return intern(meta.get("namespace", "")), meta["name"]
        except (TypeError, KeyError, ValueError) as error:
            self.convert_errors += 1
            log.error("%s: an object without identity: %r", self.resource, error)
            return None

    def _name_unreadable(self, key: Key, what: Unreadable) -> None:
        known = self._unreadable.get(key)
        what.told = (
            known is not None and known.told and (known.uid, known.why) == (what.uid, what.why)
        )
        self._unreadable[key] = what
        if self.on_unreadable is not None and not what.told:
            self.on_unreadable(*key)

    def _apply(self, raw: JSON) -> bool:
        meta = raw["metadata"]
        key = (intern(meta.get("namespace", "")), meta["name"])
        uid = meta["uid"]
        version = int(meta["resourceVersion"])
        grave = self._tombstones.get(uid)
        if grave is not None:
            if version <= grave:
                return False
            self._tombstones.discard(uid)  # it had only left our selector, and is back
        entry = self._entries.get(key)
        if entry is not None and version <= entry.version:
            return False
        unreadable = self._unreadable.get(key)
        if unreadable is not None and unreadable.uid == uid and version <= unreadable.version:
            return False
        try:
            value = self._convert(raw)
            filed = {name: set(indexer(value)) for name, indexer in self._indexers.items()}
        except Exception as error:
            self.convert_errors += 1
            log.error("%s %s/%s cannot be understood: %r", self.resource, *key, error)
            self._name_unreadable(key, Unreadable(uid, version, str(error) or repr(error)))
            if entry is not None and entry.uid == uid:
                entry.version = version
                return False
            # A successor we cannot read: its predecessor is gone all the same.
            if entry is not None:
                self._drop(key, entry.uid, version)
            return False
        if isinstance(raw, Cut) and not self._cut_is_enough:
            self.convert_errors += 1
            why = f"it nests deeper than {MAX_LEVELS} levels"
            log.error("%s %s/%s: %s", self.resource, *key, why)
            self._name_unreadable(key, Unreadable(uid, version, why))
        else:
            self._unreadable.pop(key, None)
        if entry is not None and entry.uid != uid:
            self._drop(key, entry.uid, version)  # a name has one owner at a time: that one is gone
            entry = None
        if entry is None:
            entry = _Entry(value, uid, version)
            self._entries[key] = entry
            for name, values in filed.items():
                self._file(name, key, entry, values)
            self._tell(None, value)
            return True
        old, entry.value, entry.version = entry.value, value, version
        if old == value:
            self.changes += 1
            return True  # nothing that matters to us
        for name, indexer in self._indexers.items():
            before, after = set(indexer(old)), filed[name]
            if before != after:
                self._unfile(name, key, before - after)
                self._file(name, key, entry, after - before)
        self._tell(old, value)
        return True

    def _drop(self, key: Key, uid: str, version: float) -> bool:
        """The object ``uid`` did not exist (for us) at ``version``."""
        entry = self._entries.get(key)
        if entry is not None and entry.uid == uid and entry.version > version:
            return False  # it was relabelled and came back; we know that state already
        self._tombstones.put(uid, version, asyncio.get_running_loop().time())
        unreadable = self._unreadable.get(key)
        if unreadable is not None and unreadable.uid == uid:
            del self._unreadable[key]
        if entry is None or entry.uid != uid:
            return False
        del self._entries[key]
        for name, indexer in self._indexers.items():
            self._unfile(name, key, indexer(entry.value))
        self._tell(entry.value, None)
        return True

    def _file(self, name: str, key: Key, entry: _Entry[T], values: Iterable[Hashable]) -> None:
        index = self._indexes[name]
        for value in values:
            index.setdefault(value, {})[key] = entry

    def _unfile(self, name: str, key: Key, values: Iterable[Hashable]) -> None:
        index = self._indexes[name]
        for value in values:
            bucket = index.get(value)
            if bucket is not None:
                bucket.pop(key, None)
                if not bucket:
                    del index[value]

    def _tell(self, old: T | None, new: T | None) -> None:
        self.changes += 1
        if self.on_change is not None:
            try:
                self.on_change(old, new)
            except Exception:
                log.exception("%s: on_change failed", self.resource)


def key_of(raw: Mapping[str, Any]) -> Key:
    """(namespace, name) of a raw object."""
    meta = raw["metadata"]
    return meta.get("namespace", ""), meta["name"]
