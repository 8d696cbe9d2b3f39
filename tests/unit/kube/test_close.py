"""A client that is closed leaves no connection behind, nor one that it gave up before."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from dask_gitops.kube import PODS, KubeClient, KubeError
from dask_gitops.kube.credentials import StaticCredentials

from tests.support.certificates import self_signed

NAME = "api.example.com"
EVENT = b'{"type": "ADDED", "object": {"metadata": {"name": "x", "resourceVersion": "2"}}}\n'


class Deaf:
    """Speaks TLS, answers the first request of each connection and hears nothing after it, nor any goodbye."""

    def __init__(self, folder: Path) -> None:
        certificate, key = self_signed(folder, NAME)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self.trusted = ssl.create_default_context(cafile=str(certificate))
        self.trusted.check_hostname = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                connection = self._tls.wrap_socket(plain, server_side=True)
                self._open.append(connection)
                asked = connection.recv(1 << 16)
                if b"watch=" in asked:
                    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                    connection.sendall(head + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
                elif b"/answers" in asked:
                    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
                    connection.sendall(head + b"{}")

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Deaf]:
    server = Deaf(tmp_path)
    yield server
    server.stop()


async def left_in_the_middle(client: KubeClient) -> None:
    watch = client.watch(PODS, "a", resource_version="1", timeout_s=60)
    async with contextlib.aclosing(watch) as events:
        async for _ in events:
            return


async def cancelled(client: KubeClient) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.get(PODS, "a", "hangs")


async def given_up(client: KubeClient) -> None:
    with pytest.raises(KubeError):
        await client.get(PODS, "a", "hangs")


async def kept_alive(client: KubeClient) -> None:
    await client.get(PODS, "a", "answers")


@pytest.mark.parametrize("use", [left_in_the_middle, cancelled, given_up, kept_alive])
def test_nothing_is_open_after_close(
    deaf: Deaf, use: Callable[[KubeClient], Awaitable[None]]
) -> None:
    """TLS says goodbye and waits for an answer; a loop that ends meanwhile would leave sockets to the garbage collector."""

    async def main() -> None:
        credentials = StaticCredentials(f"https://127.0.0.1:{deaf.port}", ssl=deaf.trusted)
        async with KubeClient(credentials, timeout_s=0.2, deadline_s=0.2) as client:
            await use(client)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert [str(w.message) for w in told] == []
