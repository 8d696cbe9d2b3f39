"""The forward beside a stand-in of the kubelet: what is sent comes, once, whatever happens before the first answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import WSMsgType, web
from dask_gitops.kube import KubeClient, portforward
from dask_gitops.kube.credentials import StaticCredentials
from dask_gitops.kube.portforward import PROTOCOL, PortForward

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Kubelet:
    """Carries WebSockets to a process, as API server and kubelet do together."""

    def __init__(self, serve: Serve = echo) -> None:
        self.serve = serve
        self.refusals: list[web.Response | str] = []
        self.asked: list[str] = []
        self.open = 0
        self.pings = 0
        self._process: asyncio.Server

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            refusal = self.refusals.pop(0) if self.refusals else ""
            if isinstance(refusal, web.Response):
                return refusal
            return web.json_response(
                {"kind": "Status", "code": 400, "message": "Upgrade!"}, status=400
            )
        if request.headers.get("Accept", "*/*") != "*/*":  # a real server makes no JSON of it
            return web.Response(status=406)
        if self.refusals and isinstance(self.refusals[0], web.Response):
            return web.Response(status=self.refusals[0].status)
        socket = web.WebSocketResponse(protocols=(PROTOCOL,), autoping=False)
        await socket.prepare(request)
        self.open += 1
        try:
            port = struct.pack("<H", int(request.query["ports"]))
            for channel in (0, 1):
                await socket.send_bytes(bytes([channel]) + port)
            if self.refusals:
                await asyncio.sleep(0.05)  # it finds out a moment later
                await socket.send_bytes(b"\1" + str(self.refusals.pop(0)).encode())
                return socket
            await self.carry(socket)
        finally:
            self.open -= 1
        return socket

    async def carry(self, socket: web.WebSocketResponse) -> None:
        host, port = self._process.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)

        async def down() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(b"\0" + data)
            await socket.close()

        task = asyncio.create_task(down())
        try:
            async for message in socket:
                if message.type is WSMsgType.PING:
                    self.pings += 1
                elif message.type is WSMsgType.BINARY:
                    assert message.data[0] == 0
                    writer.write(message.data[1:])
                    await writer.drain()
        finally:
            writer.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[KubeClient]:
        self._process = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        runner = web.ServerRunner(web.Server(self.handle), shutdown_timeout=0.1)  # type: ignore[arg-type]
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with KubeClient(StaticCredentials(url)) as client:
                yield client
        finally:
            self._process.close()
            await runner.cleanup()


async def pod() -> str:
    return "demo"


def play(
    main: Callable[[PortForward], Awaitable[None]], kubelet: Kubelet, **options: object
) -> list[str]:
    """What was told of errors; nothing of it is left."""
    told: list[str] = []

    async def start() -> None:
        async with kubelet.client() as client:
            name = options.pop("pod", pod)
            forward = PortForward(
                client,
                "team",
                name,
                8786,
                on_error=told.append,
                **options,  # type: ignore[arg-type]
            )
            await forward.start()
            try:
                await asyncio.wait_for(main(forward), 30)
            finally:
                await asyncio.wait_for(forward.close(), 5)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", forward.port)
            for _ in range(100):
                if not kubelet.open:
                    break
                await asyncio.sleep(0.01)
            assert kubelet.open == 0

    threads = threading.active_count()
    asyncio.run(start())
    assert threading.active_count() == threads
    gc.collect()  # an open socket would be a warning, which is an error
    return told


async def exchange(forward: PortForward, data: bytes) -> bytes:
    """Send, and read as much."""
    reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
    try:
        writer.write(data)
        await writer.drain()
        return await reader.readexactly(len(data))
    finally:
        writer.close()
        await writer.wait_closed()


def test_there_and_back() -> None:
    async def main(forward: PortForward) -> None:
        answers = await asyncio.gather(*(exchange(forward, b"%d" % n) for n in range(10)))
        assert answers == [b"%d" % n for n in range(10)]

    kubelet = Kubelet()
    assert play(main, kubelet) == []
    assert set(kubelet.asked) == {"/api/v1/namespaces/team/pods/demo/portforward?ports=8786"}
    assert len(kubelet.asked) == 10


def test_much_in_both_directions_at_once() -> None:
    data = bytes(range(256)) * 65536  # 16 MiB

    async def main(forward: PortForward) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)

        async def send() -> None:
            for at in range(0, len(data), 100_000):
                writer.write(data[at : at + 100_000])
                await writer.drain()

        sending = asyncio.create_task(send())
        got = hashlib.sha256()
        left = len(data)
        while left:
            piece = await reader.read(65536)
            got.update(piece)
            left -= len(piece)
        await sending
        writer.close()
        await writer.wait_closed()
        assert got.digest() == hashlib.sha256(data).digest()

    assert play(main, Kubelet()) == []


@pytest.mark.parametrize("size", [5, 300_000])
def test_what_was_sent_before_anybody_listened_comes_once(size: int) -> None:
    async def main(forward: PortForward) -> None:
        data = bytes(range(250)) * (size // 250 + 1)
        assert await exchange(forward, data[:size]) == data[:size]

    kubelet = Kubelet()
    refused = "failed to connect to localhost:8786: connection refused"
    gone = {"kind": "Status", "code": 404, "reason": "NotFound", "message": "no pod demo"}
    kubelet.refusals = [refused, refused, web.json_response(gone, status=404), refused]
    told = play(main, kubelet)
    assert told == [
        f"port 8786 of Pod team/demo: {refused}",
        f"port 8786 of Pod team/demo: {refused}",
        "404 NotFound: no pod demo",
        f"port 8786 of Pod team/demo: {refused}",
    ]


def test_it_waits_for_a_pod_and_takes_the_current_one() -> None:
    names = asyncio.Queue[str]()

    async def main(forward: PortForward) -> None:
        asked = asyncio.create_task(exchange(forward, b"hello"))
        await asyncio.sleep(0.1)
        assert not asked.done()
        names.put_nowait("second")
        assert await asked == b"hello"

    kubelet = Kubelet()
    assert play(main, kubelet, pod=names.get) == []
    assert kubelet.asked == ["/api/v1/namespaces/team/pods/second/portforward?ports=8786"]


def test_a_client_that_waits_no_longer_is_forgotten() -> None:
    left = asyncio.Event()

    async def nobody() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            left.set()
        raise AssertionError

    async def main(forward: PortForward) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"hello")
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(left.wait(), 5)

    assert play(main, Kubelet(), pod=nobody) == []


def test_patience_ends() -> None:
    async def main(forward: PortForward) -> None:
        with pytest.raises(asyncio.IncompleteReadError):
            await exchange(forward, b"hello")

    kubelet = Kubelet()
    kubelet.refusals = ["connection refused"] * 100
    told = play(main, kubelet, patience_s=0.5)
    assert 2 <= len(told) <= 10


def test_no_right_is_told_at_once() -> None:
    words = "pods 'demo' is forbidden: User 'ann' cannot create resource 'pods/portforward'"
    body = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": words}

    async def main(forward: PortForward) -> None:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await exchange(forward, b"hello")

    kubelet = Kubelet()
    kubelet.refusals = [web.json_response(body, status=403)]
    assert play(main, kubelet) == [f"403 Forbidden: {words}"]


def test_after_an_answer_an_end_is_an_end() -> None:
    """What was sent may have had its effect: it is not sent again."""
    served = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        writer.write(await reader.read(5))
        await reader.read(5)
        writer.close()

    async def main(forward: PortForward) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"first")
        assert await reader.readexactly(5) == b"first"
        writer.write(b"other")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    play(main, Kubelet(once))
    assert served == 1


def test_who_closes_here_closes_there() -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        assert await reader.read() == b""
        ended.set()
        writer.close()

    async def main(forward: PortForward) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)

    assert play(main, Kubelet(wait)) == []


def test_a_reader_that_is_slow_holds_the_writer_back() -> None:
    """Nothing piles up between the two."""
    written = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        with contextlib.suppress(ConnectionError):
            for _ in range(2000):
                writer.write(bytes(65536))
                await writer.drain()
                written += 65536

    async def main(forward: PortForward) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", forward.port, limit=65536)
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.5)
        assert 0 < written < 100 * 2**20
        writer.close()

    play(main, Kubelet(pour))


def test_something_goes_over_the_wire_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody must answer it."""
    monkeypatch.setattr(portforward, "PING_S", 0.02)
    kubelet = Kubelet()

    async def main(forward: PortForward) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        while kubelet.pings < 5:
            await asyncio.sleep(0.02)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()

    assert play(main, kubelet) == []


def test_a_port_in_use() -> None:
    async def main(forward: PortForward) -> None:
        other = PortForward(forward._client, "team", pod, 8786)
        with pytest.raises(OSError, match="in use"):
            await other.start(forward.port)
        await other.close()

    assert play(main, Kubelet()) == []
