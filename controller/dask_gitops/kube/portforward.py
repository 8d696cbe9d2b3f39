"""A port of this machine that leads to a port of a Pod.

Each connection gets a WebSocket of its own to the kubelet, through the API server. Its messages
begin with a channel: 0 carries data, 1 what went wrong; the first of each tells the port. It knows
no half of an end: who stops sending has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

from .client import KubeClient
from .errors import ApiError, ApiUnreachable, KubeError
from .resource import PODS

PROTOCOL = "v4.channel.k8s.io"
HOST = "127.0.0.1"
DATA, ERROR = 0, 1
PIECE = 64 * 1024  # bytes
#: What a client may send before anything comes back: it is kept, for it may have to be sent again.
UNANSWERED = 1024 * 1024  # bytes
PING_S = 30.0
#: Between two attempts to reach a process that does not listen yet.
FIRST_WAIT_S, LAST_WAIT_S = 0.1, 0.5
T = TypeVar("T")


class PortForward:
    """Connections to ``127.0.0.1:port`` go to whatever Pod is the current one then.

    While it starts, or while nobody knows a current one, a connection waits; nothing that was sent
    into it is lost, as long as nothing came back. After an answer it ends when its Pod does.

    :param pod: name of the current Pod; it waits until there is one.
    :param pod_port: of the process in the Pod.
    :param patience_s: so long a connection waits for a process that listens.
    :param on_error: is told, in words, why a connection ended, or has to wait.
    :param on_refusal: is told what the server refuses whoever asks again.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        pod: Callable[[], Awaitable[str]],
        pod_port: int,
        *,
        patience_s: float = 60.0,
        on_error: Callable[[str], None] = lambda words: None,
        on_refusal: Callable[[ApiError], None] = lambda error: None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._pod = pod
        self._pod_port = pod_port
        self._patience_s = patience_s
        self._on_error = on_error
        self._on_refusal = on_refusal
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, port: int = 0) -> int:
        """Listen.

        :param port: on this machine; 0: the kernel chooses one.
        :returns: the port.
        :raises OSError: it is in use.
        """
        self._server = await asyncio.start_server(self._accept, HOST, port, limit=PIECE)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def close(self) -> None:
        """End all connections. No task and no socket is left."""
        if self._server is not None:
            self._server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._connect(_Local(reader, writer))
        except asyncio.CancelledError:  # by close(); asyncio's own server wants no raise
            pass
        except (KubeError, aiohttp.ClientError, OSError) as error:
            self._on_error(str(error))
        finally:
            self._connections.discard(task)
            writer.transport.abort()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _connect(self, local: _Local) -> None:
        """Carry a connection; begin anew while nobody listens and nothing has come back."""
        loop = asyncio.get_running_loop()
        began, wait_s = loop.time(), FIRST_WAIT_S
        while True:
            name = await local.unless_gone(self._pod())
            if name is None:
                return
            try:
                async with self._client.websocket(
                    PODS, self._namespace, name, "portforward", self._query, PROTOCOL
                ) as remote:
                    refused = await local.carry(remote)
                if not refused:
                    return
                why = f"port {self._pod_port} of Pod {self._namespace}/{name}: {refused}"
            except (ApiError, ApiUnreachable) as error:
                if isinstance(error, ApiError) and not _passes(error):
                    self._on_refusal(error)
                    raise
                if local.answered:
                    raise
                why = str(error)
            self._on_error(why)
            if local.answered or loop.time() - began > self._patience_s:
                return
            await local.unless_gone(asyncio.sleep(wait_s * random.uniform(0.8, 1.2)))
            wait_s = min(2 * wait_s, LAST_WAIT_S)

    @property
    def _query(self) -> dict[str, str]:
        return {"ports": str(self._pod_port)}


def _passes(error: ApiError) -> bool:
    """Is it a matter of time: a Pod that has no host yet, or is just gone; a server that is busy?"""
    return error.status in (400, 404, 429) or error.status >= 500


class _Local:
    """The end of a connection that is on this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unanswered = bytearray()
        self._may_send = asyncio.Event()
        self._ended = False
        self.answered = False

    async def unless_gone(self, awaited: Awaitable[T]) -> T | None:
        """Wait, unless the client ends meanwhile: then None."""
        waiting = asyncio.ensure_future(awaited)
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            for task in (waiting, gone):
                task.cancel()
            await asyncio.gather(waiting, gone, return_exceptions=True)

    async def _gone(self) -> None:
        """Read on, within bounds, until there is nobody to read from."""
        while await self._read():
            pass

    async def _read(self) -> bytes:
        """The next piece; kept until something came back."""
        while not self.answered and len(self._unanswered) >= UNANSWERED:
            await self._may_send.wait()
        data = b"" if self._ended else await self._reader.read(PIECE)
        self._ended = not data
        if not self.answered:
            self._unanswered += data
        return data

    async def carry(self, remote: aiohttp.ClientWebSocketResponse) -> str:
        """Carry both ways until one end ends.

        :returns: why nothing came back; "" when something did, or nobody waits for it any more.
        """
        tasks = [
            asyncio.create_task(way)
            for way in (self._up(remote), self._down(remote), _ping(remote))
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            up, down, _ = tasks
            if up.done() and not up.exception():
                return ""
            said = await down
            return "" if self.answered else said or "the connection ended"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _up(self, remote: aiohttp.ClientWebSocketResponse) -> None:
        """From here to the Pod, what was sent before first. Ends with the client."""
        head = bytes([DATA])
        again = bytes(self._unanswered)  # an answer to its beginning empties that
        for at in range(0, len(again), PIECE):
            await remote.send_bytes(head + again[at : at + PIECE])
        while data := await self._read():
            await remote.send_bytes(head + data)

    async def _down(self, remote: aiohttp.ClientWebSocketResponse) -> str:
        """From the Pod to here. Ends with the Pod's process, and tells what it said of errors."""
        begun: set[int] = set()
        said = ""
        async for message in remote:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in begun:  # the port
                begun.add(channel)
            elif channel == DATA and data:
                self.answered = True
                self._unanswered.clear()
                self._may_send.set()
                self._writer.write(data)
                await self._writer.drain()
            elif channel == ERROR:
                said += data.decode(errors="replace").strip()
                if not self.answered:
                    break
        return said


async def _ping(remote: aiohttp.ClientWebSocketResponse) -> None:
    """Something goes over the wire now and then. No answer is demanded: a busy one comes late."""
    while True:
        await asyncio.sleep(PING_S)
        await remote.ping()
