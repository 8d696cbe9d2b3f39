"""The probes of the controller: a restart only where it can help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from dask_gitops.kube.errors import ApiError, ApiUnreachable
from dask_gitops.kube.resource import PODS, SERVICES
from dask_gitops.kube.workqueue import WorkQueue
from dask_gitops.metrics import Metrics
from dask_gitops.probes import DEAF_S, RECOVERY_S, Probes
from dask_gitops.reconcile.serving import Serving
from prometheus_client.parser import text_string_to_metric_families

from tests.support import virtual_time


@dataclass
class FakeInformer:
    silent_for: float = 0.0
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    resource: Any = PODS
    namespace: str | None = None
    last_heard: float | None = 0.0
    label_selector: str | None = None
    trouble: Exception | None = None
    lists: int = 0
    watches: int = 0
    events: int = 0
    errors: int = 0
    convert_errors: int = 0
    unreadables: int = 0

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


def serve(probes: Probes, *informers: FakeInformer) -> None:
    found = cast(Any, list(informers))
    serving = Serving(lambda key, seconds: None)
    serving.take(found)
    probes._informers, probes._serving = found, serving
    probes._metrics.caches.informers = found


def probed(story: Callable[[Probes, FakeInformer, FakeApi, Any], Any]) -> None:
    async def main() -> None:
        informer, api = FakeInformer(), FakeApi()
        informer.synced.set()
        probes = Probes(cast(Any, api), Serving(lambda key, seconds: None), [], Metrics())
        serve(probes, informer)

        async def health() -> int:
            async with asyncio.timeout(5):  # as the chart's probe has it
                return (await probes.healthz(cast(Any, None))).status

        await story(probes, informer, api, health)

    virtual_time.run(main())


def test_healthy_costs_no_request() -> None:
    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
        informer.silent_for = DEAF_S - 1
        assert await health() == 200
        assert api.asked == 0

    probed(story)


def test_deaf_while_requests_work() -> None:
    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
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

    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
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
    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
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


def test_a_watch_that_is_refused_is_not_deaf_and_hides_none_that_is() -> None:
    """A Role was taken away: its namespace is named, and no restart would bring it back."""

    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
        refused = FakeInformer(DEAF_S + 1, namespace="gone", trouble=FORBIDDEN)
        refused.synced.set()
        serve(probes, refused, informer)
        for silent_for, status in ((0, 200), (DEAF_S + 1, 500)):
            informer.silent_for = silent_for
            for _ in range(1 + int(RECOVERY_S / 10)):
                found = await health()
                await asyncio.sleep(10)
            assert found == status

    probed(story)


FORBIDDEN = ApiError(403, "Forbidden", "pods is forbidden in gone")


@pytest.mark.parametrize(
    ("trouble", "read", "ready", "said"),
    [
        (None, False, False, "gone: waiting for the first list of pods"),  # it may come at once
        (FORBIDDEN, False, True, "gone: pods: 403 Forbidden: pods is forbidden in gone"),
        (ApiError(404, "", "page not found"), False, True, "gone: pods: 404"),
        (ApiUnreachable("reset", sent=True), False, True, "gone: pods: reset"),
        (FORBIDDEN, True, True, "gone: pods: 403"),  # its Role went later
        (ApiUnreachable("reset", sent=True), True, True, ""),  # a watch is opened anew
        (ApiError(410, "Gone"), True, True, ""),
        (ApiError(429, "TooManyRequests"), True, True, ""),
    ],
)
def test_a_namespace_that_cannot_be_read_is_named_and_keeps_no_standby_waiting(
    trouble: Exception | None, read: bool, ready: bool, said: str
) -> None:
    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
        informer.namespace = "team"
        other = FakeInformer(namespace="gone", trouble=trouble)
        if read:
            other.synced.set()
        serve(probes, informer, other)
        answer = await probes.readyz(cast(Any, None))
        assert answer.status == (200 if ready else 503)
        assert str(answer.text).count("not served") == bool(said)
        assert said in str(answer.text)
        served = {"team": 1.0, "gone": 0.0 if said else 1.0}
        assert await series(probes, "dask_gitops_namespace_served") == served
        informer.synced.clear()
        informer.trouble = trouble
        alone = (await probes.readyz(cast(Any, None))).status
        assert alone == (200 if read and trouble else 503)

    probed(story)


async def series(probes: Probes, name: str) -> dict[str, float]:
    """The values of a series by its only label."""
    answer = await probes.metrics(cast(Any, None))
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for family in text_string_to_metric_families(cast(bytes, answer.body).decode())
        for sample in family.samples
        if sample.name == name
    }


def test_each_series_tells_the_worst_of_its_informers() -> None:
    """One that is deaf is not hidden by another that hears, in whatever order; nor one that was never heard."""

    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
        hears = FakeInformer(1.0, namespace="a", lists=1, watches=2, events=7)
        deaf = FakeInformer(900.0, namespace="b", lists=2, watches=5, errors=3, unreadables=1)
        services = FakeInformer(2.0, namespace="b", resource=SERVICES, convert_errors=4)
        for some in ([hears, deaf, services], [services, deaf, hears]):
            serve(probes, *some)
            for name, pods, of_services in (
                ("watch_age_seconds", 900.0, 2.0),
                ("watch_lists_total", 3.0, 0.0),
                ("watch_opened_total", 7.0, 0.0),
                ("watch_events_total", 7.0, 0.0),
                ("watch_errors_total", 3.0, 0.0),
                ("unreadable_objects", 1.0, 0.0),
                ("unreadable_total", 0.0, 4.0),
            ):
                found = await series(probes, f"dask_gitops_{name}")
                assert found == {"pods": pods, "services": of_services}, name

    probed(story)


def test_the_queue_is_told() -> None:
    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
        async def turn(key: str) -> None:
            if key == "bad":
                raise ApiError(500)
            await asyncio.sleep(3600)

        queue: WorkQueue[str] = WorkQueue(
            turn, workers=2, quiet=(ApiError,), base_s=3600, cap_s=3600
        )
        probes._metrics.queue.line = queue
        for key in ("bad", "slow", "slower", "waits"):
            queue.put(key)
        queue.start()
        await asyncio.sleep(10)
        found = {
            name: (await series(probes, f"dask_gitops_queue_{name}"))[""]
            for name in ("depth", "running", "failing", "oldest_seconds", "longest_run_seconds")
        }
        await queue.stop(0)
        assert found.pop("longest_run_seconds") == pytest.approx(10)
        assert found.pop("oldest_seconds") == pytest.approx(10)
        assert found == {"depth": 1, "running": 2, "failing": 1}

    probed(story)


def test_a_standby_with_full_caches_is_ready_and_one_without_is_not() -> None:
    async def story(probes: Probes, informer: FakeInformer, api: FakeApi, health: Any) -> None:
        assert (await probes.readyz(cast(Any, None))).status == 200
        informer.synced.clear()
        answer = await probes.readyz(cast(Any, None))
        assert answer.status == 503
        assert "pods" in str(answer.text)

    probed(story)
