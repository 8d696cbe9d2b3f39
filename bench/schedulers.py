"""Plays the schedulers of pretended clusters that are idle: one server for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator

PORT = 8789  # of the control API
ANSWER = {"id": "Scheduler", "target_seconds": 5.0, "kinds": [], "kinds_left_out": 0}
WORKER = {
    "nthreads": 1,
    "memory_limit": 10**9,
    "bytes": 0,
    "keys": 0,
    "tasks": 0,
    "actors": 0,
    "resources": {},
}


@contextlib.asynccontextmanager
async def schedulers() -> AsyncIterator[Counter[str]]:
    """Answer on all loopback addresses, as the pretended pods have such ones; counts the calls.

    Three workers each, on addresses of nobody: an answer of the usual size.
    """
    calls: Counter[str] = Counter()
    rows = [{"host": "203.0.113.1", "name": f"worker-{n}", **WORKER} for n in range(3)]
    body = json.dumps({**ANSWER, "workers": rows}).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                calls[request.split(b" ", 2)[1].decode()] += 1
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", PORT)
    try:
        yield calls
    finally:
        server.close()
