"""Faults between controller and API server at many points of a job's life: it runs once, and ends as it should.

Many jobs live side by side, each in a namespace of its own, behind one proxy and one controller; in the first half of
its life, and again in the second, one request of the job's namespace goes wrong. A failure names its points.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from dask_gitops.kube import DASKCLUSTERS, DASKJOBS, PODS, ApiError, KubeClient, from_kubeconfig

from tests.cluster.test_fault_points import (
    AT_ONCE,
    PATIENCE_S,
    SEED,
    Point,
    Victim,
    proxied,  # noqa: F401  # a fixture
)
from tests.cluster.test_job import NAME, RUNNER, job
from tests.cluster.test_main_job import USER
from tests.support.fault_proxy import FAULTS, FaultProxy
from tests.support.kubernetes import Audit, Kubectl, eventually
from tests.support.witness import Witness

JSON = dict[str, Any]
LIVES, SOAK_LIVES = 24, 150


@dataclass
class Life:
    """One job in one namespace, and what became of it."""

    namespace: str
    points: dict[str, Point]
    tried: list[Point] = field(default_factory=list)
    asked: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: str = ""

    async def live(self, client: KubeClient, proxy: FaultProxy) -> None:
        try:
            await self._half("start", proxy, self._starts(client))
            await self._half("end", proxy, self._ends(client))
        except (AssertionError, ApiError) as error:
            points = " + ".join(map(str, self.points.values()))
            self.wrong = f"{self.namespace} after {points or 'no fault'}: {error}"

    async def _half(self, half: str, proxy: FaultProxy, work: Awaitable[None]) -> None:
        before, point = proxy.asked[self.namespace].copy(), self.points.get(half)
        strike = None
        if point is not None:
            strike = proxy.arm(self.namespace, point.words, point.nth, point.fault)
        await work
        proxy.disarm(self.namespace)
        self.asked[half] = proxy.asked[self.namespace] - before
        if point is not None and strike is not None and strike.struck:
            self.tried.append(point)

    async def _starts(self, client: KubeClient) -> None:
        await client.create(DASKJOBS, self.namespace, job())

        async def runs() -> bool:
            return (await self._status(client)).get("jobStatus") == "Running"

        await self._until(runs)

    async def _ends(self, client: KubeClient) -> None:
        pod = await client.get(PODS, self.namespace, RUNNER)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now}
        states = [
            {**s, "ready": False, "state": {"terminated": ended}}
            for s in pod["status"]["containerStatuses"]
        ]
        body = {"status": {"phase": "Succeeded", "containerStatuses": states}}
        await client.patch(PODS, self.namespace, RUNNER, body, subresource="status")

        async def is_over() -> bool:
            said = await self._status(client)
            pods = (await client.list(PODS, self.namespace)).items
            clusters = (await client.list(DASKCLUSTERS, self.namespace)).items
            over = said.get("jobStatus") == "Successful" and not clusters
            return over and [p["metadata"]["uid"] for p in pods] == [pod["metadata"]["uid"]]

        await self._until(is_over)
        await asyncio.sleep(2)
        assert await is_over(), "its end did not last"

    async def _status(self, client: KubeClient) -> JSON:
        found: JSON = (await client.get(DASKJOBS, self.namespace, NAME)).get("status") or {}
        assert found.get("jobStatus") != "Failed", found
        return found

    async def _until(self, so: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await so():
            assert time.monotonic() < deadline, "it never comes to its end"
            await asyncio.sleep(0.5)


def drawn(asked: dict[str, Counter[str]], lives: int) -> list[dict[str, Point]]:
    """The points of each life: an even draw from the requests of a calm life times all faults."""
    rng = random.Random(SEED)
    decks = {}
    for half, counts in asked.items():
        decks[half] = [
            Point(half, words, nth, fault)
            for words, count in sorted(counts.items())
            for nth in range(1, (count + 1) // 2 + 1)  # several news may make one status
            for fault in FAULTS
            if fault != "conflict" or not words.startswith("get ")
        ]
        rng.shuffle(decks[half])
    return [
        {half: deck[number % len(deck)] for half, deck in decks.items()} for number in range(lives)
    ]


def ran_more_than_once(audit: Audit, namespace: str) -> str:
    """What the audit log says against a job that ran once."""
    for verb in ("create", "delete"):
        found = audit.touched(verb, "daskclusters", namespace=namespace, user=USER)
        if found != {NAME}:
            return f"{namespace}: {verb} daskclusters: {sorted(found)}"
    done = audit.done("create", "pods", namespace=namespace, user=USER)
    runners = [r["objectRef"]["name"] for r in done if "-runner" in r["objectRef"]["name"]]
    return f"{namespace}: runners created: {runners}" if len(runners) > 1 else ""


async def story(
    kubeconfig: str, proxy: FaultProxy, names: list[str]
) -> tuple[list[Life], dict[str, Counter[str]]]:
    """A calm life first, from which all is learnt; then those with faults, and what the calm one asked for."""
    client = KubeClient(from_kubeconfig(kubeconfig))
    try:
        calm = Life(names[0], {})
        await calm.live(client, proxy)
        assert not calm.wrong, calm.wrong
        todo = drawn(calm.asked, len(names) - 1)
        others = [Life(name, points) for name, points in zip(names[1:], todo, strict=True)]
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(life: Life) -> None:
            async with gate:
                await life.live(client, proxy)

        await asyncio.gather(*(one(life) for life in others))
        return others, calm.asked
    finally:
        await client.close()


@pytest.mark.parametrize("lives", [LIVES, pytest.param(SOAK_LIVES, marks=pytest.mark.soak)])
def test_a_fault_at_any_point_of_a_jobs_life(
    lives: int,
    kubeconfig: str,
    audit: Audit,
    witness: Witness,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    proxy: FaultProxy
    victim: Victim
    proxy, victim = request.getfixturevalue("proxied")
    admin = Kubectl(kubeconfig)
    stamp = f"{time.time_ns():x}"[-7:]
    names = [f"j-{stamp}-{number}" for number in range(lives + 1)]
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in names]
    admin.apply(*spaces)
    where = ("-A", "--field-selector=metadata.name=default")
    eventually(
        "every namespace has its service account",
        lambda: all(name in admin("get", "serviceaccounts", *where) for name in names),
    )
    began = time.monotonic()
    lived, asked = asyncio.run(story(kubeconfig, proxy, names))
    tried = [point for life in lived for point in life.tried]
    for life in lived:
        witness.allow("watches and lists are held back", life.namespace, "counts")
    requests = sum(sum(counts.values()) for counts in asked.values())
    record_property(
        "closing",
        f"faults in the lives of jobs on the real API server: {len(tried)} points in {lives} lives of "
        f"{requests} requests, {time.monotonic() - began:.0f} s (seed {SEED}, {victim.kills} kills)",
    )
    wrong = [life.wrong for life in lived if life.wrong]
    wrong += [said for life in lived if (said := ran_more_than_once(audit, life.namespace))]
    admin("delete", "namespace", *names, "--wait=false")
    assert not wrong, "\n".join([*wrong, victim.process.log.read_text()[-3000:]])
    assert len(tried) >= lives, f"only {len(tried)} points were struck"
