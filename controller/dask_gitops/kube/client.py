"""The way to the API server: one HTTP session, raw dicts in and out.

Why not the official client: its typed models refuse valid pod specs (unknown fields, ``cpu: 2``)
and cost five times the CPU. A pass-through of users' pod specs has to be raw.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import random
import re
import socket
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from .credentials import Credentials, CredentialsError
from .errors import ApiError, ApiUnreachable, Asked, NotLeader
from .fairness import Places
from .nesting import decode, shallow
from .resource import PODS, Resource

JSON = dict[str, Any]
Warnings = list[str]
T = TypeVar("T")
Guard = Callable[[], bool]
#: (verb, resource, HTTP status or 0 when no answer came, seconds)
RequestHook = Callable[[str, Resource, int, float], None]

#: Whatever a server (or a proxy before it) says: after so long we look again.
MAX_RETRY_AFTER_S = 30.0
#: Bytes. What a program prints may have no end, and no line end either.
MAX_LINE = 1 << 20
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


def _object(raw: bytes) -> JSON:
    answer = decode(raw)
    if not isinstance(answer, dict):
        raise ValueError("the answer is no JSON object")
    return cast(JSON, shallow(answer))


def _list(raw: bytes) -> JSON:
    answer = decode(raw, above=2)
    if not isinstance(answer, dict):
        raise ValueError("the answer is no JSON object")
    answer["items"] = [shallow(item) for item in answer.get("items") or ()]
    return answer


@dataclass(frozen=True, slots=True)
class Created:
    """Answer to a create: the object as stored, and the server's warnings (unknown fields)."""

    object: JSON
    warnings: list[str] = field(default_factory=list)


class Page(NamedTuple):
    """One page of a list. All pages of one list are the same snapshot ``resource_version``."""

    items: list[JSON]
    resource_version: str


class Api(Protocol):
    """What the rest of the controller may ask of an API server; tests have one in memory."""

    async def get(self, res: Resource, namespace: str | None, name: str) -> JSON: ...

    async def list(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = 500,
    ) -> Page: ...

    def list_pages(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = 500,
    ) -> AsyncGenerator[Page, None]: ...

    def watch(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str,
        timeout_s: float,
    ) -> AsyncGenerator[tuple[str, JSON], None]: ...

    async def create(
        self, res: Resource, namespace: str | None, body: JSON, *, dry_run: bool = False
    ) -> Created: ...

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
    ) -> JSON: ...

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
    ) -> JSON | None: ...

    def unguarded(self) -> Api: ...


@dataclass(frozen=True, slots=True)
class _Ask(Generic[T]):
    """One request, however often it is sent.

    :ivar parse: makes the answer of its body.
    :ivar asked: the object that it is about.
    :ivar lane: the namespace whose turn a write waits for.
    """

    verb: str
    method: str
    res: Resource
    url: URL
    parse: Callable[[bytes], T]
    timeout: aiohttp.ClientTimeout
    data: bytes | None = None
    content_type: str = ""
    asked: Asked | None = None
    lane: str | None = None
    is_write: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.res}"


class _Attempt:
    """What happens to one request on the wire.

    :ivar sent: it may have reached the server.
    :ivar refused: the guard said no.
    """

    __slots__ = ("guard", "refused", "sent")

    def __init__(self, guard: Guard | None) -> None:
        self.guard = guard
        self.sent = False
        self.refused = False


class _Body(aiohttp.Payload):
    """What a write sends, given away to nobody before the guard was asked.

    aiohttp comes for it at the last moment: after the wait for a connection, and again when by
    itself it repeats a DELETE whose kept-alive connection turned out dead. It has no other way to
    the bytes, and a server does nothing with a request whose body is missing: if it ever stops to
    ask here, nothing is written.
    """

    def __init__(self, data: bytes, content_type: str, attempt: _Attempt) -> None:
        super().__init__(None, content_type=content_type)  # not even aiohttp's base class has it
        self._data = data
        self._attempt = attempt

    def _permitted(self) -> bytes:
        attempt = self._attempt
        if attempt.guard is not None and not attempt.guard():
            attempt.refused = True
            raise NotLeader("not the leader")
        attempt.sent = True
        return self._data

    @property
    def size(self) -> int:
        return len(self._data)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._permitted().decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._permitted())


class KubeClient:
    """Client of one API server. Close it, or use ``async with``.

    - Reads are repeated (3 times, jittered back-off) after connection errors and 5xx.
    - Writes are repeated only when they certainly did not take effect: the connection could not be
      made, 429, 401 (once, with fresh credentials). An ambiguous end raises
      ``ApiUnreachable(sent=True)`` and the caller copes.
    - At most ``writes_in_flight`` writes at a time, shared out fairly between namespaces; waits (back-off, Retry-After) hold no slot.
    - ``guard`` is asked right before each write is sent; when it says False `NotLeader` is raised
      and nothing is sent.

    - An object that nests deeper than ``nesting.MAX_LEVELS`` comes as a `Cut`, and costs nobody else.

    Errors of every method: `ApiError` (the server said no), `ApiUnreachable` (no answer), and for
    writes `NotLeader`.

    :param on_request: called after every attempt, also failed ones; must not raise.
    :param timeout_s: for one attempt, watches excepted.
    :param deadline_s: no retry begins later than this after the call began; the last error is
        raised instead, with its ``retry_after``.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        guard: Guard | None = None,
        on_request: RequestHook | None = None,
        writes_in_flight: int = 64,
        timeout_s: float = 30.0,
        deadline_s: float = 30.0,
        user_agent: str = "dask-gitops",
    ) -> None:
        self.credentials = credentials
        self.guard = guard
        self._on_request = on_request
        self._writes: Places | None = Places(writes_in_flight)
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._server = credentials.server.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._unhurried = aiohttp.ClientTimeout(
            total=None, sock_connect=timeout_s, sock_read=timeout_s
        )
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._session = aiohttp.ClientSession(
            # No limit: writes have their own, and a queue of connections would delay the watches.
            # Connections are dropped by us before any server or load balancer does it on its own,
            # because a create that meets a dying connection ends ambiguously.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=30, socket_factory=self._new_socket
            ),
            # Uncompressed: a list of thousands of pods costs the server more CPU than network.
            headers={
                "User-Agent": user_agent,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=credentials.proxy,
        )

    async def __aenter__(self) -> KubeClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, also for views made by `unguarded`; no connection is open afterwards."""
        await self._session.close()
        # A connection with TLS that was left early still waits for the other end's goodbye.
        for each in self._open_sockets():
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        patience = asyncio.get_running_loop().time() + _FAREWELL_S
        while self._open_sockets() and asyncio.get_running_loop().time() < patience:
            await asyncio.sleep(0.005)

    def _new_socket(self, address: Any) -> socket.socket:
        made = _socket(address)
        self._sockets.add(made)
        return made

    def _open_sockets(self) -> list[socket.socket]:
        return [each for each in self._sockets if each.fileno() >= 0]

    def unguarded(self) -> KubeClient:
        """A view on the same session without guard and without waiting behind other writes.

        For leader election itself: a renewal must pass although 64 creates are under way.
        """
        view = copy.copy(self)
        view.guard = None
        view._writes = None
        return view

    # Reads

    async def get(self, res: Resource, namespace: str | None, name: str) -> JSON:
        """One object."""
        path = res.path(namespace, name)
        answer, _ = await self._call("get", "GET", res, path, asked=(res, name))
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
        """The whole list in one consistent snapshot; read in pages of ``limit`` (0: at once)."""
        try:
            items: list[JSON] = []
            version = ""
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
        # The continue token expired between two pages: slow network or a compacting server.
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
        """The list page by page. A 410 in mid-list is raised: the pages so far are no list."""
        query: dict[str, str] = {}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        if limit:
            query["limit"] = str(limit)
        while True:
            answer, _ = await self._call("list", "GET", res, res.path(namespace), query=query)
            meta = answer.get("metadata") or {}
            yield Page(answer["items"], meta.get("resourceVersion", ""))
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

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
        """Events after ``resource_version`` as (type, object), BOOKMARKs included.

        Ends when the server ends it (asked to after ``timeout_s`` seconds). ERROR events and
        refusals raise `ApiError`, a broken connection `ApiUnreachable`. Wrap it in
        ``contextlib.aclosing`` so that leaving the loop closes the connection.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(timeout_s))),
        }
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        try:
            async with self._opened("watch", res, res.path(namespace), query) as response:
                async for line in _lines(response):
                    if not line.strip():
                        continue
                    event = decode(line, above=1)
                    if not isinstance(event, dict) or not isinstance(event["object"], dict):
                        raise ValueError("a line is no event")
                    kind, obj = event["type"], shallow(event["object"])
                    if kind == "ERROR":
                        raise ApiError.from_status(obj)
                    yield kind, obj
        except (ValueError, KeyError) as error:
            raise ApiUnreachable(
                f"watch {res}: {_words(error, self._timeout_s)}", sent=True
            ) from error

    async def about(self, path: str) -> tuple[JSON, float | None]:
        """What the server tells of itself, such as at ``/version``; and its clock, in seconds since the epoch.

        One attempt.
        """
        res = Resource("", "", path.strip("/"), namespaced=False)
        async with self._opened("get", res, path, {}) as response:
            raw = await response.read()
            date = response.headers.get("Date")
        try:
            clock = None if date is None else parsedate_to_datetime(date).timestamp()
            return _object(raw), clock
        except ValueError as error:
            raise ApiUnreachable(
                f"get {res}: {_words(error, self._timeout_s)}", sent=True
            ) from error

    async def logs(
        self,
        namespace: str,
        name: str,
        *,
        container: str | None = None,
        previous: bool = False,
        tail: int | None = None,
        since_time: str | None = None,
        timestamps: bool = False,
    ) -> str:
        """What a Pod's container has printed, as far as its node has kept it.

        :param container: may be left out where the Pod has one only.
        :param previous: of the container that ended before the present one.
        :param tail: the last lines only, so many.
        :param since_time: what was printed then or later, as an RFC 3339 time.
        :param timestamps: each line begins with the RFC 3339 time at which it was printed.
        :raises ApiError: there is none, and ``message`` says why: the container has not started,
            there was none before it, the Pod has several.
        """
        url = self._url(
            PODS.path(namespace, name, "log"),
            _log_query(container, tail, since_time, timestamps, previous=previous),
        )
        # Megabytes over a slow line take their time: only a silence is too long.
        raw, _ = await self._repeated(_Ask("get", "GET", PODS, url, bytes, self._unhurried))
        return str(raw, "utf-8", "replace")

    async def follow_logs(
        self,
        namespace: str,
        name: str,
        *,
        container: str | None = None,
        tail: int | None = None,
        since_time: str | None = None,
        timestamps: bool = False,
    ) -> AsyncGenerator[str, None]:
        """The lines of `logs` without their ends, then those to come, until the container ends.

        One attempt: a broken connection raises `ApiUnreachable`. A line beyond `MAX_LINE`
        bytes comes in pieces. Wrap it in ``contextlib.aclosing`` as `watch`.
        """
        query = _log_query(container, tail, since_time, timestamps, follow=True)
        path = PODS.path(namespace, name, "log")
        async with self._opened("get", PODS, path, query) as response:
            async for line in _lines(response, MAX_LINE):
                yield line.decode(errors="replace")

    async def review(self, res: Resource, spec: JSON | None = None) -> JSON:
        """The ``status`` that answers a cluster-wide review, such as `SELF_SUBJECT_ACCESS_REVIEWS`.

        It is a question, though asked by POST: repeated as reads are, and no guard forbids it.
        """
        body: JSON = {"apiVersion": res.api_version, "kind": res.kind, "spec": spec or {}}
        answer, _ = await self._call("create", "POST", res, res.path(), body=body, is_write=False)
        status = answer.get("status")
        return status if isinstance(status, dict) else {}

    @contextlib.asynccontextmanager
    async def _opened(
        self, verb: str, res: Resource, path: str, query: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """An answer that goes on and on; one attempt.

        :raises ApiError: the server refused it.
        :raises ApiUnreachable: no answer came, or it broke off.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        status = 0
        answered = False
        try:
            headers = await self._headers(f"{verb} {res}")
            async with asyncio.timeout(self._timeout_s):  # servers answer before anything happens
                response = await self._session.get(
                    self._url(path, query),
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=None),
                    allow_redirects=False,
                    ssl=self.credentials.ssl,
                    server_hostname=self.credentials.server_name,
                )
            async with response:
                status = response.status
                if status == 401:
                    await self._headers(f"{verb} {res}", refresh=True)
                if status != 200:
                    raise _error(response, await response.read())
                answered = True
                self._report(verb, res, status, loop.time() - started)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachable(
                f"{verb} {res}: {_words(error, self._timeout_s)}", sent=_left_us(error)
            ) from error
        finally:
            if not answered:
                self._report(verb, res, status, loop.time() - started)

    # Writes

    async def create(
        self, res: Resource, namespace: str | None, body: JSON, *, dry_run: bool = False
    ) -> Created:
        """Create an object. Unknown fields do not fail, they come back as warnings."""
        query = {"fieldValidation": "Warn", "fieldManager": "dask-gitops"}
        if dry_run:
            query["dryRun"] = "All"
        path = res.path(namespace)
        answer, warnings = await self._call(
            "create", "POST", res, path, query=query, body=body, lane=namespace
        )
        return Created(answer, warnings)

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
        """Change an object. Put ``metadata.resourceVersion`` into a merge patch to have it refused
        when the object has changed since (``is_conflict``), and ``metadata.uid`` when it is another
        one of the same name (``is_uid_mismatch``)."""
        query = {"fieldManager": field_manager}
        if patch_type == "apply":
            query["force"] = "true"
        if dry_run:
            query["dryRun"] = "All"
        answer, _ = await self._call(
            "patch",
            "PATCH",
            res,
            res.path(namespace, name, subresource),
            query=query,
            body=body,
            content_type=PATCH_TYPES[patch_type],
            asked=(res, name),
            lane=namespace,
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
        """Delete the object with this uid and no other; with ``resource_version``, only as it was then.

        Returns the object while it is still terminating (or as it was at its end), None when the
        object with this uid no longer exists, be the name unused or taken by a successor.
        """
        preconditions = {"uid": uid}
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        options: JSON = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
        }
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        if propagation is not None:
            options["propagationPolicy"] = propagation
        try:
            answer, _ = await self._call(
                "delete",
                "DELETE",
                res,
                res.path(namespace, name),
                body=options,
                asked=(res, name),
                lane=namespace,
            )
        except ApiError as error:
            if error.is_not_found or error.is_uid_mismatch:
                return None
            raise
        if answer.get("kind") == "Status":
            if answer.get("status") != "Success":
                raise ApiUnreachable(f"delete {res}: the answer is no object", sent=True)
            return None
        return answer

    @contextlib.asynccontextmanager
    async def websocket(
        self,
        res: Resource,
        namespace: str | None,
        name: str,
        subresource: str,
        query: Mapping[str, str],
        protocol: str,
    ) -> AsyncGenerator[aiohttp.ClientWebSocketResponse, None]:
        """A WebSocket to a subresource such as ``portforward``. One attempt; its messages may be of any size.

        :raises ApiError: the server refused it, in its own words.
        :raises ApiUnreachable: there was no answer, or one of something else.
        """
        path = f"{res.path(namespace, name)}/{subresource}"
        url = self._url(path, query)
        what = f"{subresource} {namespace}/{name}"
        try:
            async with asyncio.timeout(self._timeout_s):
                socket = await self._session.ws_connect(
                    url,
                    # Whoever wants JSON is answered 406 by a real server.
                    headers={**await self._headers(what), "Accept": "*/*"},
                    protocols=(protocol,),
                    ssl=self.credentials.ssl,
                    server_hostname=self.credentials.server_name,
                    max_msg_size=0,
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 401:
                await self._headers(what, refresh=True)
            # A refused handshake comes without words; asked once more, the server tells them.
            try:
                await self._call("get", "GET", res, path, query=query)
            except ApiError as told:
                if told.status == error.status:
                    raise
            raise ApiError(error.status, "", f"{what}: no WebSocket: {error.message}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiUnreachable(f"{what}: {_words(error, self._timeout_s)}", sent=True) from error
        async with socket:
            if socket.protocol != protocol:
                raise ApiUnreachable(f"{what}: the server does not speak {protocol}", sent=True)
            yield socket

    # The one way all calls but watches, followed logs and WebSockets take

    async def _call(
        self,
        verb: str,
        method: str,
        res: Resource,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        asked: Asked | None = None,
        lane: str | None = None,
        is_write: bool | None = None,
    ) -> tuple[JSON, Warnings]:
        """What all of them answer but logs: one JSON object."""
        ask = _Ask(
            verb,
            method,
            res,
            self._url(path, query),
            _list if verb == "list" else _object,
            self._timeout,
            data=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
            content_type=content_type,
            asked=asked,
            lane=lane,
            is_write=method != "GET" if is_write is None else is_write,
        )
        return await self._repeated(ask)

    async def _repeated(self, ask: _Ask[T]) -> tuple[T, Warnings]:
        is_write, places = ask.is_write, self._writes if ask.is_write else None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_s
        failures = 0
        refreshed = False
        while True:
            attempt = _Attempt(self.guard if is_write else None)
            try:
                async with places.of(ask.lane) if places is not None else contextlib.nullcontext():
                    return await self._once(ask, attempt)
            except ApiError as error:
                if error.status == 401 and not refreshed:
                    # Refused before it had any effect; a rotated token explains it.
                    refreshed = True
                    await self._headers(str(ask), refresh=True)
                    continue
                if error.status == 429:
                    # Turned away before it had any effect, so this holds for writes too.
                    wait = error.retry_after if error.retry_after is not None else 1.0
                elif error.status >= 500 and not is_write and failures < 3:
                    failures += 1
                    wait = max(error.retry_after or 0.0, _backoff(failures))
                else:
                    raise
                if loop.time() + wait > deadline:
                    raise
            except ApiUnreachable as error:
                if (is_write and error.sent) or failures == 3:
                    raise
                failures += 1
                wait = _backoff(failures)
                if loop.time() + wait > deadline:
                    raise
            # Never below what the server asked for; spread, so that not all come back at once.
            await asyncio.sleep(wait * random.uniform(1.0, 1.25))

    async def _once(self, ask: _Ask[T], attempt: _Attempt) -> tuple[T, Warnings]:
        headers = await self._headers(str(ask))
        body = None if ask.data is None else _Body(ask.data, ask.content_type, attempt)
        if attempt.guard is not None and not attempt.guard():
            raise NotLeader(f"{ask}: not the leader")  # not even a connection is needed
        loop = asyncio.get_running_loop()
        started = loop.time()
        status = 0
        try:
            async with self._session.request(
                ask.method,
                ask.url,
                data=body,
                headers=headers,
                timeout=ask.timeout,
                allow_redirects=False,
                ssl=self.credentials.ssl,
                server_hostname=self.credentials.server_name,
            ) as response:
                raw = await response.read()
                status = response.status
                if status >= 300:
                    raise _error(response, raw, ask.asked)
                return ask.parse(raw), _warnings(response.headers.getall("Warning", ()))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if attempt.refused:
                raise NotLeader(f"{ask} was not sent: not the leader") from error
            sent = _left_us(error) if body is None else attempt.sent
            raise ApiUnreachable(f"{ask}: {_words(error, self._timeout_s)}", sent=sent) from error
        finally:
            self._report(ask.verb, ask.res, status, loop.time() - started)

    async def _headers(self, what: str, *, refresh: bool = False) -> Mapping[str, str]:
        """Headers that say who we are. Without them nothing is asked: as if nobody answered."""
        try:
            return await self.credentials.headers(refresh=refresh)
        except CredentialsError as error:
            raise ApiUnreachable(f"{what}: {error}", sent=False) from error

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        url = URL(self._server + path, encoded=True)
        return url.with_query(query) if query else url

    def _report(self, verb: str, res: Resource, status: int, seconds: float) -> None:
        if self._on_request is not None:
            self._on_request(verb, res, status, seconds)


def _socket(address: Any) -> socket.socket:
    """A socket that notices within half a minute that the other end is gone without a word: no
    answer to probes, or our bytes unconfirmed. Else a watch waits for bookmarks that never come."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _DEAD_PEER.items():
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


_FAREWELL_S = 1.0  # at most; the loop sees that a socket is shut down in its next turn
_DEAD_PEER = {
    "TCP_KEEPIDLE": 15,  # s
    "TCP_KEEPINTVL": 5,  # s
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 30_000,  # ms
}


async def _lines(response: aiohttp.ClientResponse, limit: int = 0) -> AsyncGenerator[bytes, None]:
    """The lines of an answer, each as soon as it is whole; the last may lack its end.

    Not ``response.content.readline()``: it refuses lines beyond 64 KiB, and objects may be 1.5 MiB.

    :param limit: bytes after which a line without an end is given out; 0: never.
    """
    pieces: list[bytes] = []
    length = 0
    async for chunk in response.content.iter_any():
        head, newline, rest = chunk.partition(b"\n")
        pieces.append(head)
        length += len(head)
        if newline:
            *whole, last = [b"".join(pieces), *rest.split(b"\n")]
            for line in whole:
                yield line
            pieces, length = [last], len(last)
        if limit and length > limit:
            text = b"".join(pieces)
            at = _between_characters(text)
            yield text[:at]
            pieces, length = [text[at:]], len(text) - at
    last = b"".join(pieces)
    if last:
        yield last


def _between_characters(text: bytes) -> int:
    """Where UTF-8 can be cut near its end: before the character that may not be whole."""
    for back in range(1, min(4, len(text)) + 1):
        if text[-back] & 0xC0 != 0x80:
            return len(text) - back if text[-back] >= 0xC0 else len(text)
    return len(text)


def _log_query(
    container: str | None,
    tail: int | None,
    since_time: str | None,
    timestamps: bool,
    *,
    previous: bool = False,
    follow: bool = False,
) -> dict[str, str]:
    wishes = {
        "container": container,
        "follow": "true" if follow else None,
        "previous": "true" if previous else None,
        "sinceTime": since_time,
        "tailLines": None if tail is None else str(tail),
        "timestamps": "true" if timestamps else None,
    }
    return {key: wish for key, wish in wishes.items() if wish is not None}


def _backoff(failures: int) -> float:
    return float(0.2 * 2**failures * random.uniform(0.5, 1.0))


def _left_us(error: BaseException) -> bool:
    """Whether a read may have reached the server: a connection could be made."""
    return not isinstance(error, aiohttp.ClientConnectorError)


def _words(error: BaseException, patience_s: float) -> str:
    """Why there was no answer. What aiohttp says of a host has an object of Python in it.

    :param patience_s: how long one was waited for.
    """
    said = re.sub(r" ssl:(<[^>]*>|\S+)", "", str(error))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        why = f" ({error.os_error.strerror})" if error.os_error.strerror else ""
        return f"cannot find the host {error.host}{why}"
    if isinstance(error, aiohttp.ServerTimeoutError) or (
        isinstance(error, TimeoutError) and not said
    ):
        return f"no answer within {patience_s:g} s"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _error(response: aiohttp.ClientResponse, raw: bytes, asked: Asked | None = None) -> ApiError:
    try:
        body: Any = decode(raw)
    except ValueError:  # a proxy's page, or plain text from an API server that is starting
        body = raw.decode(errors="replace")
    wait: float | None = None
    with contextlib.suppress(KeyError, ValueError):
        # Kubernetes sends seconds, never dates; and what stands between may send anything.
        wait = min(max(0.0, float(response.headers["Retry-After"])), MAX_RETRY_AFTER_S)
    return ApiError.from_status(body, http_status=response.status, retry_after=wait, asked=asked)


_WARNING = re.compile(r'\b\d{3} \S+ "((?:[^"\\]|\\.)*)"')


def _warnings(values: Iterable[str]) -> list[str]:
    """Texts of ``Warning: 299 - "..."`` headers; a proxy may have joined several into one."""
    texts = [text for value in values for text in _WARNING.findall(value)]
    return [re.sub(r"\\(.)", r"\1", text) for text in texts]
