"""Faults between controller and API server at many points: the end is the same, nothing is stuck, doubled or lost.

Many clusters live side by side, each in a namespace of its own, behind one proxy and one controller: created, scaled up,
rolled, scaled down, deleted. In each of these phases one request of the namespace goes wrong, or something goes wrong
beside it; watches that are cut and a controller that is killed disturb all the others too.

Some 200 points; some 800 by ``pytest -m soak``. A failure names its point;
``DASK_GITOPS_FAULT="roll / create pods 2 / timeout after" pytest tests/cluster/test_fault_points.py`` tries only that one.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dask_gitops.kube import (
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Informer,
    KubeClient,
    from_kubeconfig,
)

from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import USER
from tests.support.controller_process import ControllerProcess
from tests.support.fake_scheduler import FAULTS as CALL_FAULTS
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.fault_proxy import DISTURBANCES, FAULTS, GOODBYE_S, FaultProxy, Strike
from tests.support.kubernetes import Audit, Kubectl, eventually
from tests.support.warm_controller import WarmController

JSON = dict[str, Any]

SEED = 4711
ONE = os.environ.get("DASK_GITOPS_FAULT")
LIVES = 48  # clusters of the smaller case, each with a fault in each of its phases
SOAK_LIVES = 200
AT_ONCE = 25
PATIENCE_S = 400.0  # until a phase that does not come to its end counts as stuck
CALM_S = 1.0  # how long an end has to last
NOW = "now"  # a point beside any request

# ---- what happens in a cluster's life


async def create(client: KubeClient, namespace: str) -> None:
    await client.create(DASKCLUSTERS, namespace, cluster(replicas=2))


def edit(worker: JSON) -> Callable[[KubeClient, str], Any]:
    async def do(client: KubeClient, namespace: str) -> None:
        await client.patch(DASKCLUSTERS, namespace, "demo", {"spec": {"worker": worker}})

    return do


async def delete(client: KubeClient, namespace: str) -> None:
    found = await client.get(DASKCLUSTERS, namespace, "demo")
    await client.delete(DASKCLUSTERS, namespace, "demo", uid=found["metadata"]["uid"])


NEW = {"spec": {"containers": [{"name": "worker", "env": [{"name": "NEW", "value": "1"}]}]}}
PHASES: dict[str, Callable[[KubeClient, str], Any]] = {
    "create": create,
    "up": edit({"replicas": 4}),
    "roll": edit(NEW),
    "down": edit({"replicas": 2}),
    "delete": delete,
}
#: What each phase ends with: workers that are wanted, and those that ever were.
WANTED = {"create": 2, "up": 4, "roll": 4, "down": 2, "delete": 0}


class Point(NamedTuple):
    phase: str
    words: str  # of the request: "create pods"; or `NOW`
    nth: int
    fault: str

    def __str__(self) -> str:
        where = self.words if self.words == NOW else f"{self.words} {self.nth}"
        return f"{self.phase} / {where} / {self.fault}"


# ---- what is seen of it


class Eyes:
    """The tests' own view of the API server, past the proxy."""

    def __init__(self, kubeconfig: str) -> None:
        self.client = KubeClient(from_kubeconfig(kubeconfig))
        #: (namespace, pod) -> uid, for all pods that ever were
        self.uids: dict[tuple[str, str], str] = {}
        self.informers = {
            resource: Informer[JSON](
                self.client,
                resource,
                lambda raw: raw,
                indexers={"namespace": lambda raw: [raw["metadata"]["namespace"]]},
                on_change=self._note if resource == PODS else None,
            )
            for resource in (DASKCLUSTERS, DASKWORKERGROUPS, PODS, SERVICES)
        }

    def _note(self, old: JSON | None, new: JSON | None) -> None:
        if new is not None:
            meta = new["metadata"]
            self.uids[meta["namespace"], meta["name"]] = meta["uid"]

    @classmethod
    @asynccontextmanager
    async def open(cls, kubeconfig: str) -> AsyncIterator[Eyes]:
        eyes = cls(kubeconfig)
        tasks = [asyncio.create_task(informer.run()) for informer in eyes.informers.values()]
        try:
            for informer in eyes.informers.values():
                await informer.synced.wait()
            yield eyes
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await eyes.client.close()
            await asyncio.sleep(GOODBYE_S)

    def picture(self, namespace: str) -> JSON:
        """All that users see in the namespace, without times and the names of workers."""

        def said(obj: JSON) -> JSON:
            status = obj.get("status") or {}
            return {
                "spec": obj["spec"],
                "current": status.get("observedGeneration") == obj["metadata"]["generation"],
                "conditions": {
                    c["type"]: (c["status"], c.get("reason"), c.get("message"))
                    for c in status.get("conditions") or ()
                },
                **{key: status.get(key) for key in ("phase", "workers", "replicas")},
                **{key: status.get(key) for key in ("readyReplicas", "updatedReplicas")},
            }

        def looks(pod: JSON) -> tuple[Any, ...]:
            meta, status = pod["metadata"], pod["status"]
            ready = [c["status"] for c in status.get("conditions", ()) if c["type"] == "Ready"]
            kept = ("dask.org/component", "dask.org/workergroup-name", "dask.org/revision")
            notes = {**meta["labels"], **(meta.get("annotations") or {})}
            return (
                *(notes.get(key) for key in kept),
                "dask.org/retiring" in notes,
                "deletionTimestamp" in meta,
                status.get("phase"),
                *ready,
            )

        found = {r: i.by_index("namespace", namespace) for r, i in self.informers.items()}
        return {
            "clusters": {o["metadata"]["name"]: said(o) for o in found[DASKCLUSTERS]},
            "groups": {o["metadata"]["name"]: said(o) for o in found[DASKWORKERGROUPS]},
            "pods": Counter(looks(pod) for pod in found[PODS]),
            "services": sorted(o["metadata"]["name"] for o in found[SERVICES]),
        }


def difference(here: Any, there: Any, path: str = "") -> list[str]:
    """Where two pictures differ, in words."""
    if isinstance(here, dict) and isinstance(there, dict):
        keys = sorted({*here, *there}, key=str)
        return [
            line
            for key in keys
            for line in difference(here.get(key), there.get(key), f"{path}/{key}")
        ]
    return [] if here == there else [f"{path} is {here!r} instead of {there!r}"]


# ---- the controller, and one cluster's life


class Victim:
    """The controller behind the proxy; killed from the proxy's thread, and at once started again."""

    def __init__(self, process: WarmController) -> None:
        self.process = process
        self.kills = 0
        self._lock = threading.Lock()

    def kill(self) -> None:
        with self._lock:
            self.process.kill()
            self.kills += 1
            self.process.start()


@dataclass
class Life:
    """One cluster in one namespace, and what became of it."""

    namespace: str
    points: dict[str, Point]
    tried: list[Point] = field(default_factory=list)
    missed: list[Point] = field(default_factory=list)  # their request never came
    wrong: list[str] = field(default_factory=list)
    pictures: dict[str, JSON] = field(default_factory=dict)
    asked: dict[str, Counter[str]] = field(default_factory=dict)

    async def live(
        self,
        eyes: Eyes,
        proxy: FaultProxy,
        schedulers: FakeSchedulers,
        should_be: dict[str, JSON] | None,
    ) -> None:
        """:param should_be: the pictures at the end of each phase; None: take those that come."""
        for phase, begin in PHASES.items():
            before = proxy.asked[self.namespace] + schedulers.asked[self.namespace]
            point, strike = self.points.get(phase), None
            if point is not None and point.words.startswith("call "):
                strike = Strike(point.words, point.nth, point.fault)
                schedulers.strikes[self.namespace] = strike
            elif point is not None and point.words != NOW:
                strike = proxy.arm(self.namespace, point.words, point.nth, point.fault)
            await begin(eyes.client, self.namespace)
            if point is not None and point.words == NOW:
                await asyncio.to_thread(proxy.disturb, point.fault)
                strike = Strike(NOW, 1, point.fault, 1, True)
            wrong = await self._end(eyes, phase, should_be[phase] if should_be else None)
            proxy.disarm(self.namespace)
            schedulers.strikes.pop(self.namespace, None)
            now = proxy.asked[self.namespace] + schedulers.asked[self.namespace]
            self.asked[phase] = now - before
            self.pictures[phase] = eyes.picture(self.namespace)
            if point is not None and strike is not None:
                (self.tried if strike.struck else self.missed).append(point)
            if wrong:
                self.wrong.append(f"{self.told(phase)}: {'; '.join(wrong[:6])}")
                return

    def told(self, phase: str) -> str:
        points = [str(self.points[p]) for p in PHASES if p in self.points]
        upto = points[: 1 + list(PHASES).index(phase)]
        return f"{self.namespace} in {phase}, after {' + '.join(upto) or 'no fault'}"

    async def _end(self, eyes: Eyes, phase: str, picture: JSON | None) -> list[str]:
        """Wait for the end of the phase; what is missing, if it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        since = None
        last: Any = None
        while True:
            now = eyes.picture(self.namespace)
            there = now == picture if picture is not None else now == last and is_end(phase, now)
            last = now
            if not there:
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since >= (CALM_S if picture is not None else 5 * CALM_S):
                return []
            if time.monotonic() > deadline:
                return difference(now, picture) if picture is not None else [f"no end: {now}"]
            await asyncio.sleep(0.25)


def is_end(phase: str, picture: JSON) -> bool:
    """Without knowing better: are all workers there that should be?"""
    if phase == "delete":
        return not any(picture.values())
    groups = picture["groups"].values()
    ready = [g["conditions"].get("Ready", ("",))[0] == "True" for g in groups]
    workers = picture["pods"].total() - 1
    return ready == [True] and workers == WANTED[phase] and all(g["current"] for g in groups)


# ---- many lives


def drawn(asked: dict[str, Counter[str]], lives: int) -> list[dict[str, Point]]:
    """The points of each life: an even draw from all requests of a calm life times all faults."""
    rng = random.Random(SEED)
    decks = {}
    for phase, counts in asked.items():
        deck = [
            Point(phase, words, nth, fault)
            for words, count in sorted(counts.items())
            for nth in range(1, _surely(phase, words, count) + 1)
            for fault in (CALL_FAULTS if words.startswith("call ") else FAULTS)
            if fault != "conflict" or not words.startswith("get ")
        ]
        deck += [Point(phase, NOW, 1, fault) for fault in DISTURBANCES] * (1 + len(deck) // 100)
        rng.shuffle(deck)
        decks[phase] = deck
    return [
        {phase: deck[number % len(deck)] for phase, deck in decks.items()}
        for number in range(lives)
    ]


def _surely(phase: str, words: str, count: int) -> int:
    """How many of these requests will come again: several news may make one status, or one look."""
    if phase == "delete":
        return 0
    if words.startswith(("create pods", "delete pods", "patch pods")):
        return count
    return min(2, (count + 1) // 2)


def counted(audit: Audit, lives: list[Life]) -> dict[str, dict[str, set[str]]]:
    """What the controller created and deleted, by the API server's audit log: namespace -> "create pods" -> names."""
    found: dict[str, dict[str, set[str]]] = {life.namespace: {} for life in lives}
    for entry in audit.requests(user=USER):
        ref = entry.get("objectRef") or {}
        verb, resource, code = entry["verb"], ref.get("resource"), entry["responseStatus"]["code"]
        if (
            ref.get("namespace") in found
            and verb in ("create", "delete")
            and resource in ("pods", "services", "daskworkergroups")
            and "subresource" not in ref
            and (code < 300 or code == 504)
        ):
            names = found[ref["namespace"]].setdefault(f"{verb} {resource}", set())
            names.add(ref["name"])
    return found


def doubled_or_lost(
    life: Life, done: dict[str, set[str]], calm: dict[str, set[str]], retired: set[str], eyes: Eyes
) -> Iterator[str]:
    for words in sorted({*done, *calm}):
        here, there = done.get(words, set()), calm.get(words, set())
        if len(here) != len(there):
            yield f"{words}: {len(here)} instead of {len(there)}: {sorted(here)}"
    gone = {eyes.uids[life.namespace, name] for name in done.get("delete pods", ())}
    if gone - retired:
        yield f"deleted and never retired: {gone - retired}"
    uids = {uid for (namespace, _), uid in eyes.uids.items() if namespace == life.namespace}
    if (retired & uids) - gone:
        yield f"retired and not deleted: {(retired & uids) - gone}"


async def story(
    kubeconfig: str,
    proxy: FaultProxy,
    schedulers: FakeSchedulers,
    audit: Audit,
    lives: int,
) -> tuple[list[Life], list[str], int]:
    """Calm lives first, from which all is learnt; then those with faults.

    :return: the lives with faults, what is wrong, and how many points there were to draw from.
    """
    admin = Kubectl(kubeconfig)
    stamp = f"{time.time_ns():x}"[-7:]
    names = [f"f-{stamp}-{number}" for number in range(lives + 2)]
    admin.apply(
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in names)
    )
    where = ("-A", "--field-selector=metadata.name=default")
    eventually(
        "every namespace has its service account",
        lambda: all(name in admin("get", "serviceaccounts", *where) for name in names),
    )
    async with Eyes.open(kubeconfig) as eyes:
        calm, second = Life(names[0], {}), Life(names[1], {})
        await asyncio.gather(*(life.live(eyes, proxy, schedulers, None) for life in (calm, second)))
        assert not calm.wrong + second.wrong, calm.wrong + second.wrong
        assert calm.pictures == second.pictures
        asked = {phase: calm.asked[phase] & second.asked[phase] for phase in PHASES}
        if ONE is not None:
            everything = {str(p): p for draw in drawn(asked, 5000) for p in draw.values()}
            assert ONE in everything, f"there is no point {ONE!r}, but {sorted(everything)}"
            todo = [{everything[ONE].phase: everything[ONE]}]
        else:
            todo = drawn(asked, lives)
        others = [Life(name, points) for name, points in zip(names[2:], todo, strict=False)]
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(life: Life) -> None:
            async with gate:
                await life.live(eyes, proxy, schedulers, calm.pictures)

        await asyncio.gather(*(one(life) for life in others))
        done = counted(audit, [calm, *others])
        retired = set().union(*schedulers.retired.values())
        wrong = [line for life in others for line in life.wrong]
        for life in others:
            if not life.wrong:
                found = doubled_or_lost(
                    life, done[life.namespace], done[calm.namespace], retired, eyes
                )
                wrong += [f"{life.told('delete')}: {line}" for line in found]
    with suppress(AssertionError):
        admin("delete", "namespace", *names, "--wait=false")
    size = len({point for draw in drawn(asked, 9999) for point in draw.values()})
    return others, wrong, size


@pytest.fixture
def proxied(
    controller: ControllerProcess,
    schedulers: FakeSchedulers,
    account_kubeconfig: str,
    kubeconfig: str,
    tmp_path: Path,
) -> Iterator[tuple[FaultProxy, Victim]]:
    """The controller behind a proxy, without Lease: one that was killed need not wait for its own to end."""
    controller.stop()
    proxy = FaultProxy(kubeconfig, lambda: victim.kill())
    proxy.start()
    through = proxy.kubeconfig(account_kubeconfig, tmp_path / "kubeconfig")
    victim = Victim(WarmController(through, tmp_path / "log"))
    schedulers.on_kill = victim.kill
    victim.process.start()
    try:
        victim.process.wait()
        yield proxy, victim
    finally:
        proxy.stop()  # first: it may still kill, and start anew
        victim.process.stop()
        controller.start()


def try_points(
    lives: int,
    least: int,
    proxied: tuple[FaultProxy, Victim],
    kubeconfig: str,
    schedulers: FakeSchedulers,
    audit: Audit,
    record: Callable[[str, object], None],
) -> None:
    """:param least: so many points have to strike."""
    proxy, victim = proxied
    began = time.monotonic()
    lived, wrong, size = asyncio.run(story(kubeconfig, proxy, schedulers, audit, lives))
    tried = [point for life in lived for point in life.tried]
    missed = [str(point) for life in lived for point in life.missed]
    faults = ", ".join(f"{name} {n}" for name, n in sorted(Counter(p.fault for p in tried).items()))
    record(
        "closing",
        f"faults on the real API server: {len(tried)} points of {size} tried "
        f"in {time.monotonic() - began:.0f} s (seed {SEED}, {victim.kills} kills): {faults}",
    )
    assert not wrong, "\n".join([*wrong, victim.process.log.read_text()[-3000:]])
    assert len(tried) >= (1 if ONE else least), f"these never came: {missed}"


@pytest.mark.parametrize(
    ("lives", "least"),
    [(LIVES, 200), pytest.param(SOAK_LIVES, 800, marks=pytest.mark.soak)],
)
def test_a_fault_at_any_point_changes_nothing_in_the_end(
    lives: int,
    least: int,
    proxied: tuple[FaultProxy, Victim],
    kubeconfig: str,
    schedulers: FakeSchedulers,
    audit: Audit,
    record_property: Callable[[str, object], None],
) -> None:
    try_points(lives, least, proxied, kubeconfig, schedulers, audit, record_property)
