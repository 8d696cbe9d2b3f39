"""The proxy of the cluster tier does to requests what it says, and nothing to all others."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from dask_gitops.kube import PODS, ApiError, ApiUnreachable, KubeClient, KubeError, from_kubeconfig

from tests.support import fault_proxy
from tests.support.fault_proxy import FaultProxy, Strike

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
Story = Callable[["Upstream", FaultProxy, KubeClient], Awaitable[None]]


class Upstream:
    """Counts what arrives; lists tell how often pods were created."""

    def __init__(self) -> None:
        self.seen = Counter[str]()
        self.tokens: set[str | None] = set()
        self.kills: list[int] = []  # creates seen at each kill

    @property
    def creates(self) -> int:
        return self.seen["POST"]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        watch = "watch" in request.query
        self.seen["watch" if watch else request.method] += 1
        self.tokens.add(request.headers.get("Authorization"))
        if request.method == "POST":
            return web.json_response(await asyncio.wait_for(request.json(), 5), status=201)
        if watch:
            response = web.StreamResponse()
            await response.prepare(request)
            meta = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "9"}
            event = {"type": "ADDED", "object": {"kind": "Pod", "metadata": meta}}
            await response.write(json.dumps(event).encode() + b"\n")
            await asyncio.sleep(30)
            return response
        return web.json_response(
            {"metadata": {"resourceVersion": str(self.creates + 1)}, "items": []}
        )


def play(story: Story, tmp_path: Path) -> None:
    async def main() -> None:
        upstream = Upstream()
        runner = web.ServerRunner(web.Server(upstream.handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [
                        {
                            "name": "c",
                            "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"},
                        }
                    ],
                    "users": [{"name": "u", "user": {"token": "secret"}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                }
            )
        )
        proxy = FaultProxy(str(kubeconfig), lambda: upstream.kills.append(upstream.creates))
        proxy.start()
        through = proxy.kubeconfig(str(kubeconfig), tmp_path / "through")
        client = KubeClient(from_kubeconfig(through), timeout_s=0.5)
        try:
            await story(upstream, proxy, client)
            assert upstream.tokens <= {"Bearer secret"}
        finally:
            await client.close()
            await asyncio.to_thread(proxy.stop)
            await runner.cleanup()

    asyncio.run(main())


def test_only_what_comes_in_its_time_counts(tmp_path: Path) -> None:
    """A strike that waits for something lets all pass until then."""

    async def story(upstream: Upstream, proxy: FaultProxy, client: KubeClient) -> None:
        begun: list[bool] = []
        strike = proxy.place("ns", Strike("create pods", 2, "500", when=lambda: bool(begun)))
        for _ in range(3):
            await client.create(PODS, "ns", POD)
            assert (strike.seen, strike.struck) == (0, False)
        begun.append(True)
        await client.create(PODS, "ns", POD)
        with pytest.raises(ApiError):
            await client.create(PODS, "ns", POD)
        assert strike.struck
        assert upstream.creates == 4

    play(story, tmp_path)


@pytest.mark.parametrize(
    ("fault", "error", "effects"),
    [
        ("429", None, 1),  # the client itself asks again
        ("500", ApiError, 0),
        ("conflict", ApiError, 0),
        ("reset before", ApiUnreachable, 0),
        ("reset after", ApiUnreachable, 1),
        ("timeout before", ApiUnreachable, 0),
        ("timeout after", ApiUnreachable, 1),
        ("killed before", ApiUnreachable, 0),
        ("killed after", ApiUnreachable, 1),
        ("watches cut", None, 1),
        ("watches delayed", None, 1),
        ("watches cut and refused", None, 1),
        ("list is stale", None, 1),
        ("list fails", None, 1),
    ],
)
def test_the_second_create_goes_wrong(
    fault: str, error: type[KubeError] | None, effects: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fault_proxy, "HANGS_S", 1.0)

    async def story(upstream: Upstream, proxy: FaultProxy, client: KubeClient) -> None:
        strike = proxy.arm("ns", "create pods", 2, fault)
        await client.create(PODS, "ns", POD)
        await client.create(PODS, "other", POD)
        assert not strike.struck
        if error is None:
            await client.create(PODS, "ns", POD)
        else:
            with pytest.raises(error):
                await client.create(PODS, "ns", POD)
        assert strike.struck
        assert upstream.creates == 2 + effects
        assert upstream.kills == ([2 + effects] if fault.startswith("killed") else [])
        await client.create(PODS, "ns", POD)  # only once
        assert upstream.creates == 3 + effects

    play(story, tmp_path)


def test_every_fault_is_tried_here() -> None:
    """A fault that is added gets its line above."""
    marks = test_the_second_create_goes_wrong.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(fault_proxy.FAULTS)


@pytest.mark.parametrize("fault", fault_proxy.DISTURBANCES)
def test_disturbances(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_proxy, "DELAY_S", 1.0)

    async def watch(client: KubeClient, heard: asyncio.Event) -> str:
        try:
            stream = client.watch(PODS, resource_version="1", timeout_s=60)
            async with aclosing(stream) as events:
                async for _ in events:
                    heard.set()
        except ApiError as error:
            return str(error.status)
        except ApiUnreachable:
            return "cut"
        return "ended"

    async def story(upstream: Upstream, proxy: FaultProxy, client: KubeClient) -> None:
        assert (await client.list(PODS)).resource_version == "1"
        heard = asyncio.Event()
        first = asyncio.create_task(watch(client, heard))
        await asyncio.wait_for(heard.wait(), 10)
        await asyncio.to_thread(proxy.disturb, fault)
        if fault == "killed":
            assert upstream.kills == [0]
        elif fault == "watches delayed":
            late = asyncio.Event()
            second = asyncio.create_task(watch(client, late))
            await asyncio.sleep(0.2)
            assert upstream.seen["watch"] == 2
            assert not late.is_set()
            await asyncio.wait_for(late.wait(), 10)
            second.cancel()
        else:
            assert await asyncio.wait_for(first, 10) == ("410" if "list" in fault else "cut")
        if fault == "watches cut and refused":
            assert await asyncio.wait_for(watch(client, heard), 10) == "500"
        if fault == "list fails":
            assert (await client.list(PODS)).resource_version == "1"  # the client asked again
            assert upstream.seen["GET"] == 2
        if fault == "list is stale":
            await client.create(PODS, "ns", POD)
            assert (await client.list(PODS)).resource_version == "1"
            assert (await client.list(PODS)).resource_version == "2"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    play(story, tmp_path)
