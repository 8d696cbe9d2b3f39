"""A port of this machine that leads to another address: for proxies that know ports of their own host only."""

from __future__ import annotations

import asyncio
import contextlib

HOST = "127.0.0.1"
PIECE = 64 * 1024  # bytes


class Relay:
    """Connections to ``127.0.0.1:port`` go to that host and port."""

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listen.

        :param port: of this machine; 0: the kernel chooses one.
        :returns: the port.
        :raises OSError: it is in use.
        """
        self._server = await asyncio.start_server(self._accept, HOST, port, limit=PIECE)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End all connections. No task and no socket is left."""
        if self._server is None:
            return
        self._server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            answers, far = await asyncio.open_connection(*self._where, limit=PIECE)
            ways = [
                asyncio.create_task(_carry(reader, far)),
                asyncio.create_task(_carry(answers, writer)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):  # asyncio's own server wants no raise
            pass
        finally:
            self._connections.discard(task)
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()
                    with contextlib.suppress(OSError, asyncio.CancelledError):
                        await end.wait_closed()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One way, and its end."""
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
