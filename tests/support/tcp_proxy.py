"""A TCP proxy that can let connections go dead without a word: bytes are taken, and never arrive."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any


class TcpProxy:
    """Between a client and ``host:port``; on 127.0.0.1 and a port of its own, in its own thread.

    :ivar delay_s: each piece of data is so late.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.delay_s = 0.0
        self._dead: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def start(self) -> None:
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    @property
    def open(self) -> int:
        """How many connections there are; one whose client is gone counts until all that it sent has arrived."""
        return len(self._writers) // 2

    def kill_silently(self) -> int:
        """From now on nothing passes on the connections that are open; new ones work. Returns their number."""

        async def kill() -> int:
            self._dead |= self._writers
            return len(self._writers) // 2

        return self._run(kill())

    def reset(self) -> int:
        """Break the connections that are open, both ways; new ones work. Returns their number."""

        async def reset() -> int:
            broken = list(self._writers)
            for writer in broken:
                end = writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            return len(broken) // 2

        return self._run(reset())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            ends = {writer, far_writer}
            self._writers |= ends
            try:
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            finally:
                self._writers -= ends
                self._dead -= ends
                for end in ends:
                    end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if writer not in self._dead:
                    writer.write(data)
                    await writer.drain()
            if writer not in self._dead and writer.can_write_eof():
                writer.write_eof()
