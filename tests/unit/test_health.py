"""The probes of the controller: a restart only where it can help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from dask_gitops.kube.credentials import StaticCredentials
from dask_gitops.kube.errors import ApiError, ApiUnreachable
from dask_gitops.kube.resource import PODS
from dask_gitops.main import DEAF_S, RECOVERY_S, Controller
from dask_gitops.settings import Settings

from tests.support import virtual_time


@dataclass
class FakeInformer:
    silent_for: float = 0.0
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    resource: Any = PODS
    namespace: str | None = None
    label_selector: str | None = None

    def age(self) -> float:
        return self.silent_for


class FakeApi:
    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], Any] = lambda: None

    async def list(self, *args: Any, **options: Any) -> None:
        self.asked += 1
        result = self.answer()
        if asyncio.iscoroutine(result):
            await result


def probed(story: Callable[[Controller, FakeInformer, FakeApi, Any], Any]) -> None:
    async def main() -> None:
        controller = Controller(Settings(), StaticCredentials("http://nowhere"))
        informer, api = FakeInformer(), FakeApi()
        informer.synced.set()
        controller.informers, controller.api = cast(Any, [informer]), cast(Any, api)

        async def health() -> int:
            async with asyncio.timeout(5):  # as the chart's probe has it
                return (await controller._healthz(cast(Any, None))).status

        await story(controller, informer, api, health)

    virtual_time.run(main())


def test_healthy_costs_no_request() -> None:
    async def story(
        controller: Controller, informer: FakeInformer, api: FakeApi, health: Any
    ) -> None:
        informer.silent_for = DEAF_S - 1
        assert await health() == 200
        assert api.asked == 0

    probed(story)


def test_deaf_while_requests_work() -> None:
    async def story(
        controller: Controller, informer: FakeInformer, api: FakeApi, health: Any
    ) -> None:
        informer.silent_for = DEAF_S + 1
        for _ in range(int(RECOVERY_S / 10)):
            assert await health() == 200  # informers have a minute to find their way
            await asyncio.sleep(10)
        assert await health() == 500
        informer.silent_for = 0
        assert await health() == 200
        informer.silent_for = DEAF_S + 1
        assert await health() == 200

    probed(story)


def test_no_restart_while_the_api_server_is_away() -> None:
    """However it is away: refusing, unreachable, or silent for longer than a probe may take."""

    async def story(
        controller: Controller, informer: FakeInformer, api: FakeApi, health: Any
    ) -> None:
        informer.silent_for = DEAF_S + 1

        def refused() -> None:
            raise ApiError(429, "TooManyRequests", "later")

        def unreachable() -> None:
            raise ApiUnreachable("connection refused", sent=False)

        for answer in (refused, unreachable, lambda: asyncio.sleep(3600)):
            api.answer = answer
            for _ in range(60):
                assert await health() == 200
                await asyncio.sleep(10)

    probed(story)


def test_after_an_outage_informers_have_time_to_find_their_way() -> None:
    async def story(
        controller: Controller, informer: FakeInformer, api: FakeApi, health: Any
    ) -> None:
        informer.silent_for = 3600
        api.answer = lambda: asyncio.sleep(3600)
        assert await health() == 200
        api.answer = lambda: None
        for _ in range(4):
            assert await health() == 200
            await asyncio.sleep(10)
        informer.silent_for = 0
        assert await health() == 200

    probed(story)


def test_a_standby_with_full_caches_is_ready_and_one_without_is_not() -> None:
    async def story(
        controller: Controller, informer: FakeInformer, api: FakeApi, health: Any
    ) -> None:
        assert (await controller._readyz(cast(Any, None))).status == 200
        assert not controller._leading.is_set()
        informer.synced.clear()
        answer = await controller._readyz(cast(Any, None))
        assert answer.status == 503
        assert "pods" in str(answer.text)

    probed(story)
