"""``dashboard`` and ``port-forward``, beside a stand-in of API server and kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from dask_gitops.cli import reach, screen, shell
from dask_gitops.cli.options import Where
from dask_gitops.client.errors import (
    ClusterNotFoundError,
    NotAllowedError,
)
from dask_gitops.kube import DASKCLUSTERS, KubeClient

from tests.unit.cli.conftest import Client, Typed
from tests.unit.client.test_session import running
from tests.unit.kube.test_portforward import Kubelet

FORBIDDEN = {
    "kind": "Status",
    "code": 403,
    "reason": "Forbidden",
    "message": 'pods "x" is forbidden: User "bob" cannot get resource "pods/portforward" in API group "" '
    'in the namespace "team-b"',
}


async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The dashboard's process."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.0 200 OK\r\n\r\nhealthy")
    writer.close()


class Forwarding(Client):
    """The rest is in memory, connections are real."""

    def __init__(self, typed: Typed) -> None:
        super().__init__(typed.api, "us")
        self.real: KubeClient

    def websocket(self, *words: Any) -> Any:
        return self.real.websocket(*words)


Story = Callable[[dict[str, Any], asyncio.Future[None]], Awaitable[None]]


def staying(
    typed: Typed,
    monkeypatch: pytest.MonkeyPatch,
    told: Story,
    kubelet: Kubelet | None = None,
    port: int = 0,
) -> None:
    """Play it once something answers; nothing is left at the end."""
    there = kubelet or Kubelet(healthy)
    client = Forwarding(typed)
    monkeypatch.setattr(shell, "connect", lambda credentials: client)

    async def main() -> None:
        async with there.client() as client.real:
            found: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            task = asyncio.ensure_future(
                reach._stay("demo", port, Where(), True, found.set_result, True)
            )
            try:
                await asyncio.wait([task, found], return_when=asyncio.FIRST_COMPLETED)
                await told(found.result() if found.done() else {}, task)
            finally:
                found.cancel()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.fixture
def cluster(typed: Typed) -> Typed:
    typed.put(DASKCLUSTERS, "demo")
    running(typed.api)
    return typed


def test_it_leads_there_until_the_cluster_goes(
    cluster: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(found: dict[str, Any], task: asyncio.Future[None]) -> None:
        port = found["dashboard"].removeprefix("http://127.0.0.1:").removesuffix("/status")
        assert found == {
            "namespace": "team-b",
            "name": "demo",
            "scheduler": found["scheduler"],
            "dashboard": f"http://127.0.0.1:{port}/status",
            "jupyter": None,
        }
        assert found["scheduler"].startswith("tcp://127.0.0.1:")
        assert await reach._unreached("127.0.0.1", int(port)) == ""
        cluster.api.remove(DASKCLUSTERS, "team-b", "demo")
        with pytest.raises(ClusterNotFoundError, match="team-b/demo was deleted"):
            await task

    staying(cluster, monkeypatch, told)


def test_jupyter_is_told_where_it_runs(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    main = {"name": "scheduler", "args": ["dask-scheduler", "--jupyter"]}
    typed.put(DASKCLUSTERS, "demo", spec={"scheduler": {"spec": {"containers": [main]}}})
    running(typed.api)

    async def told(found: dict[str, Any], task: asyncio.Future[None]) -> None:
        assert found["jupyter"] == found["dashboard"].replace("/status", "/jupyter/lab")

    staying(typed, monkeypatch, told)


def test_who_may_not_is_told_at_once(cluster: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    kubelet = Kubelet(healthy)
    kubelet.refusals = [web.json_response(FORBIDDEN, status=403) for _ in range(8)]

    async def told(found: dict[str, Any], task: asyncio.Future[None]) -> None:
        assert not found
        with pytest.raises(NotAllowedError, match="may not get/create pods/portforward"):
            await task

    staying(cluster, monkeypatch, told, kubelet)


def test_a_port_that_is_in_use(cluster: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]

        async def told(found: dict[str, Any], task: asyncio.Future[None]) -> None:
            with pytest.raises(OSError, match=f"scheduler_forward_port {port} is in use"):
                await task

        staying(cluster, monkeypatch, told, port=port)


def test_what_does_not_answer_says_why() -> None:
    async def told() -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert "Connect call failed" in await reach._unreached("127.0.0.1", port)

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await reach._unreached("127.0.0.1", port) == "it ends the connection"
        server.close()

    asyncio.run(told())


FOUND = {
    "namespace": "team-b",
    "name": "demo",
    "scheduler": "tcp://127.0.0.1:1",
    "dashboard": "http://127.0.0.1:2/status",
    "jupyter": None,
}


@pytest.fixture
def opened(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A scheduler that is found at once, and Ctrl-C; links that were opened."""

    async def stay(
        name: str, port: int, where: Where, quiet: bool, tell: Any, always: bool
    ) -> None:
        if name == "demo":
            tell(FOUND)
        raise KeyboardInterrupt

    def run(work: Any) -> None:
        with contextlib.suppress(StopIteration):
            work.send(None)

    links: list[str] = []
    monkeypatch.setattr(reach, "_stay", stay)
    monkeypatch.setattr(shell, "run", run)
    monkeypatch.setattr(reach, "has_browser", lambda: True)
    monkeypatch.setattr("webbrowser.open", links.append)
    return links


def test_ctrl_c_is_how_it_ends(typed: Typed, opened: list[str]) -> None:
    assert typed.done("dashboard", "demo") == "http://127.0.0.1:2/status\n"
    assert opened == ["http://127.0.0.1:2/status"]
    assert typed.done("dashboard", "demo", "--no-open") == "http://127.0.0.1:2/status\n"
    assert typed.done("port-forward", "demo") == (
        "scheduler tcp://127.0.0.1:1\ndashboard http://127.0.0.1:2/status\n"
    )
    for command in ("dashboard", "port-forward"):
        assert typed.document(command, "demo") == FOUND
    assert len(opened) == 1


def test_an_interrupt_before_is_one(typed: Typed, opened: list[str]) -> None:
    assert typed.refused(130, "port-forward", "slow") == ""


def test_no_such_cluster(typed: Typed) -> None:
    for command in ("dashboard", "port-forward"):
        told = typed.refused(1, command, "demo").splitlines()[-1]
        assert told == "error: no DaskCluster 'demo' in 'team-b'; there are: none"
        assert "is not in the range" in typed.refused(2, command, "demo", "--port", "70000")


@pytest.mark.parametrize(
    ("environment", "there"), [({}, False), ({"DISPLAY": ":0"}, True), ({"BROWSER": "x"}, True)]
)
def test_a_browser_with_a_window(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], there: bool
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.environ", environment)
    assert reach.has_browser() is there
    assert not screen.is_terminal()
