"""A proxy between the controller and the API server that lets chosen requests go wrong.

The controller's kubeconfig names it as its server (plain http on loopback); tokens are handed on as they are, so the API
server sees the same identity and writes the same audit log. One request of a namespace at a time can be armed::

    proxy = FaultProxy(admin_kubeconfig, on_kill=kill_and_restart)
    proxy.start()
    strike = proxy.arm("my-namespace", "create pods", 2, "timeout after")
    ...
    assert strike.struck
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

JSON = dict[str, Any]

HANGS_S = 40.0  # longer than the controller waits for an answer
DELAY_S = 4.0  # how late watches are
GOODBYE_S = 0.5  # connections with TLS end a moment after their session
LISTED = ("pods", "services", "daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs")
#: What can go wrong at any time.
DISTURBANCES = (
    "killed",
    "watches cut",
    "watches delayed",
    "watches cut and refused",
    "list is stale",
    "list fails",
)
#: What can go wrong with a request, or right after it.
FAULTS = (
    "429",
    "500",
    "conflict",
    "timeout before",
    "timeout after",
    "reset before",
    "reset after",
    "killed before",
    "killed after",
    "watches cut",
    "watches delayed",
    "watches cut and refused",
    "list is stale",
    "list fails",
)
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


@dataclass
class Strike:
    """What is to go wrong in one namespace, and whether it did.

    :ivar words: of the request: "create pods", "patch daskclusters/status".
    :ivar nth: which of them, from 1 on.
    :ivar when: those that come while this is false do not count.
    """

    words: str
    nth: int
    fault: str
    seen: int = 0
    struck: bool = False
    when: Callable[[], bool] = lambda: True

    def meets(self, words: str) -> bool:
        """A request of these words arrives: is it the one?"""
        if self.struck or words != self.words or not self.when():
            return False
        self.seen += 1
        self.struck = self.seen == self.nth
        return self.struck


@dataclass(frozen=True)
class _Ask:
    words: str
    resource: str
    namespace: str | None

    @classmethod
    def of(cls, request: web.BaseRequest) -> _Ask:
        match = PATH.fullmatch(request.path)
        if match is None:
            return cls("other", "", None)
        verb = VERBS.get(request.method, request.method)
        if verb == "get" and not match["name"]:
            verb = "watch" if request.query.get("watch") else "list"
        sub = f"/{match['sub']}" if match["sub"] else ""
        return cls(f"{verb} {match['resource']}{sub}", match["resource"], match["namespace"])


class FaultProxy:
    """See the module. ``on_kill`` is called in a thread of its own; it must end the controller at once, and start it again."""

    def __init__(self, admin_kubeconfig: str, on_kill: Callable[[], None]) -> None:
        cluster = yaml.safe_load(Path(admin_kubeconfig).read_text())["clusters"][0]["cluster"]
        self._server = cluster["server"]
        # No client certificate is shown: only the controller's own token counts.
        authority = base64.b64decode(cluster.get("certificate-authority-data", "")).decode()
        self._ssl = ssl.create_default_context(cadata=authority) if authority else True
        self._on_kill = on_kill
        self._strikes: dict[str, Strike] = {}
        #: namespace -> how often each request was made
        self.asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._watches: set[asyncio.Event] = set()
        self._goodbye: bytes = b""  # the last line of watches that are cut
        self._late_until = 0.0
        self._list_troubles: defaultdict[str, list[str]] = defaultdict(list)
        self._watch_troubles: defaultdict[str, int] = defaultdict(int)
        self._list_paths: dict[str, URL] = {}  # as the controller asks for them
        self._recorded: dict[str, bytes] = {}
        self._authorization = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = ""

    # ---- from the test's thread

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def kubeconfig(self, kubeconfig: str, target: Path) -> str:
        """A copy of a kubeconfig (that has a token) which leads through this proxy."""
        config = yaml.safe_load(Path(kubeconfig).read_text())
        for cluster in config["clusters"]:
            cluster["cluster"] = {"server": self.url}
        target.write_text(yaml.safe_dump(config))
        return str(target)

    def arm(self, namespace: str, words: str, nth: int, fault: str) -> Strike:
        """From now on: the n-th request of these words in the namespace goes wrong."""
        return self.place(namespace, Strike(words, nth, fault))

    def place(self, namespace: str, strike: Strike) -> Strike:
        """The same, in whole."""
        if strike.fault not in FAULTS:
            raise ValueError(f"no fault {strike.fault!r}; there are {', '.join(FAULTS)}")
        self._strikes[namespace] = strike
        return strike

    def disarm(self, namespace: str) -> None:
        self._strikes.pop(namespace, None)

    def disturb(self, fault: str) -> None:
        """Let it go wrong now, beside any request."""
        asyncio.run_coroutine_threadsafe(self._disturb(fault), self._loop).result(60)

    # ---- in the proxy's own thread

    async def _serve(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=30),
        )
        self._web = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(self._web, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        self._cut(b"")
        open_ones = [connection.transport for connection in self._web.connections]
        await self._runner.cleanup()
        for transport in open_ones:
            if transport is not None:
                transport.abort()  # one whose other end does not read would never be closed
        await end_all_others()
        await self._session.close()
        await asyncio.sleep(GOODBYE_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        ask = _Ask.of(request)
        self._authorization = request.headers.get("Authorization", self._authorization)
        body = await request.read()
        if ask.words.startswith("watch "):
            return await self._watch(request, ask)
        if ask.words.startswith("list "):
            return await self._list(request, ask)
        strike = self._struck(ask)
        if strike is None:
            return await self._forward(request, body)
        return await self._fail(strike.fault, request, body)

    def _struck(self, ask: _Ask) -> Strike | None:
        if ask.namespace is None:
            return None
        self.asked[ask.namespace][ask.words] += 1
        strike = self._strikes.get(ask.namespace)
        return strike if strike is not None and strike.meets(ask.words) else None

    async def _forward(self, request: web.BaseRequest, body: bytes) -> web.Response:
        async with self._session.request(
            request.method,
            URL(self._server + request.raw_path, encoded=True),
            data=body or None,
            headers=_handed_on(request.headers),
            allow_redirects=False,
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers=_handed_on(answer.headers)
            )

    async def _fail(self, fault: str, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        what, _, when = fault.rpartition(" ")
        if when in ("before", "after"):
            if when == "after":
                await self._forward(request, body)
            if what == "timeout":
                await asyncio.sleep(HANGS_S)
            elif what == "killed":
                await asyncio.to_thread(self._on_kill)
            return reset(request)
        if fault == "429":
            return _refusal(429, "TooManyRequests", "slow down", {"Retry-After": "1"})
        if fault == "500":
            return _refusal(500, "InternalError", "etcdserver: leader changed")
        if fault == "conflict":
            return _refusal(409, "Conflict", "the object has been modified")
        if fault == "list is stale":
            await self._record()  # as it was before the request took effect
        answer = await self._forward(request, body)
        await self._disturb(fault)
        return answer

    async def _disturb(self, fault: str) -> None:
        """What goes wrong beside a request."""
        if fault.startswith("killed"):
            await asyncio.to_thread(self._on_kill)
        elif fault == "list is stale":
            if not self._recorded:
                await self._record()
            self._list_troubles.update({resource: ["stale"] for resource in LISTED})
            self._cut(_expired())
        elif fault == "list fails":
            self._list_troubles.update({resource: ["500", "429", "reset"] for resource in LISTED})
            self._cut(_expired())
        elif fault == "watches delayed":
            self._late_until = self._loop.time() + DELAY_S
        else:
            refused = 2 if fault == "watches cut and refused" else 0
            self._watch_troubles.update(dict.fromkeys(LISTED, refused))
            self._cut(b"")

    def _cut(self, goodbye: bytes) -> None:
        """End all watches now, with a last line or in the middle of nothing."""
        self._goodbye = goodbye
        for cut in self._watches:
            cut.set()

    async def _watch(self, request: web.BaseRequest, ask: _Ask) -> web.StreamResponse:
        if self._watch_troubles[ask.resource]:
            self._watch_troubles[ask.resource] -= 1
            return _refusal(500, "InternalError", "etcdserver: leader changed")
        cut = asyncio.Event()
        self._watches.add(cut)
        cutting = asyncio.create_task(cut.wait())
        try:
            async with self._session.get(
                URL(self._server + request.raw_path, encoded=True),
                headers=_handed_on(request.headers),
            ) as answer:
                response = web.StreamResponse(
                    status=answer.status, headers=_handed_on(answer.headers)
                )
                response.enable_chunked_encoding()
                await response.prepare(request)
                while True:
                    reading = asyncio.create_task(answer.content.readany())
                    await asyncio.wait({reading, cutting}, return_when=asyncio.FIRST_COMPLETED)
                    if cut.is_set():
                        reading.cancel()
                        await asyncio.gather(reading, return_exceptions=True)
                        if not self._goodbye:
                            return reset(request)
                        await response.write(self._goodbye)
                        break
                    chunk = reading.result()
                    if not chunk:
                        break
                    while (late := self._late_until - self._loop.time()) > 0:
                        await asyncio.sleep(late)
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, ConnectionError):
            return reset(request)  # one of the two is gone
        finally:
            cutting.cancel()
            self._watches.discard(cut)

    async def _list(self, request: web.BaseRequest, ask: _Ask) -> web.StreamResponse:
        if "continue" not in request.query:
            path = URL(self._server + request.raw_path, encoded=True)
            self._list_paths[ask.resource] = path.without_query_params("limit")
        troubles = self._list_troubles[ask.resource]
        trouble = troubles.pop(0) if troubles else ""
        if trouble == "stale" and ask.resource in self._recorded:
            return web.Response(body=self._recorded[ask.resource], content_type="application/json")
        if trouble == "500":
            return _refusal(500, "InternalError", "etcdserver: leader changed")
        if trouble == "429":
            return _refusal(429, "TooManyRequests", "slow down", {"Retry-After": "1"})
        if trouble == "reset":
            return reset(request)
        return await self._forward(request, b"")

    async def _record(self) -> None:
        """How the controller's lists look now, each as one page."""
        headers = {"Authorization": self._authorization}
        for resource, path in self._list_paths.items():
            async with self._session.get(path, headers=headers) as answer:
                if answer.status == 200:
                    self._recorded[resource] = await answer.read()


async def end_all_others() -> None:
    """Cancel what still hangs in this loop: handlers whose client is gone go on otherwise."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _handed_on(headers: Any) -> dict[str, str]:
    """All but what belongs to the one connection."""
    own = {"host", "connection", "content-length", "transfer-encoding", "keep-alive", "date"}
    return {name: value for name, value in headers.items() if name.lower() not in own}


def _refusal(
    code: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
    return web.json_response(status, status=code, headers=headers)


def _expired() -> bytes:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": 410,
        "reason": "Expired",
        "message": "too old resource version",
    }
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


def reset(request: web.BaseRequest) -> web.Response:
    """The connection ends with an RST; the answer that is returned finds nobody."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)
