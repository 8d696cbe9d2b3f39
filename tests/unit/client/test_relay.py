from __future__ import annotations

import asyncio
import contextlib

from dask_gitops.client.relay import Relay


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())  # until the other end has said all
    writer.close()


def test_there_and_back_and_nothing_is_left() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        relay = Relay(*server.sockets[0].getsockname())
        port = await relay.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = b"x" * 300_000
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        writer.close()
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        server.close()
        await relay.close()
        silent.close()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_nobody_is_there() -> None:
    async def main() -> None:
        relay = Relay("127.0.0.1", 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", await relay.start())
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await relay.close()

    asyncio.run(main())
