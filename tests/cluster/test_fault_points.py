"""Faults between controller and API server at many points: the end is the same, nothing is stuck, doubled or lost.

Many clusters live side by side, each in a namespace of its own, behind one proxy and one controller: created, scaled,
rolled and deleted; suspended, parked and back; followed by an autoscaler; their scheduler renewed (`fault_stories.py`).
In each step one request of the namespace goes wrong, or something goes wrong beside it; watches that are cut and a
controller that is killed disturb all the others too.

Some 300 points; some 1,500 by ``pytest -m soak``. A failure names its point;
``DASK_GITOPS_FAULT="roll / create pods 2 / timeout after" pytest tests/cluster/test_fault_points.py`` tries only that one.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dask_gitops.kube import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Informer,
    KubeClient,
    from_kubeconfig,
)

from tests.cluster.fault_stories import BEGIN, STORIES, Step, World
from tests.cluster.test_main_job import USER
from tests.support.controller_process import ControllerProcess
from tests.support.fake_scheduler import FAULTS as CALL_FAULTS
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.fault_proxy import DISTURBANCES, FAULTS, FaultProxy, Strike
from tests.support.kubernetes import Audit, Kubectl, eventually, may_have_taken_effect
from tests.support.warm_controller import WarmController
from tests.support.witness import Witness

JSON = dict[str, Any]

SEED = 4711
ONE = os.environ.get("DASK_GITOPS_FAULT")
#: story -> clusters of the smaller case and of the larger one, each with a fault in each of its steps
LIVES = {"sized": 48, "rests": 10, "scaled": 10, "renewed": 12}
SOAK_LIVES = {"sized": 200, "rests": 100, "scaled": 100, "renewed": 100}
AT_ONCE = 25
PATIENCE_S = 400.0  # until a step that does not come to its end counts as stuck
CALM_S = 1.0  # how long an end has to last
NOW = "now"  # a point beside any request


class Point(NamedTuple):
    step: str
    words: str  # of the request: "create pods"; or `NOW`
    nth: int
    fault: str

    def __str__(self) -> str:
        where = self.words if self.words == NOW else f"{self.words} {self.nth}"
        return f"{self.step} / {where} / {self.fault}"


# ---- what is seen of it


class Eyes:
    """The tests' own view of the API server, past the proxy."""

    def __init__(self, kubeconfig: str) -> None:
        self.client = KubeClient(from_kubeconfig(kubeconfig))
        #: (namespace, pod) -> uids, for all pods that ever were: a new leader begins with the same names
        self.uids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self.informers = {
            resource: Informer[JSON](
                self.client,
                resource,
                lambda raw: raw,
                indexers={"namespace": lambda raw: [raw["metadata"]["namespace"]]},
                on_change=self._note if resource == PODS else None,
            )
            for resource in (DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS, PODS, SERVICES)
        }

    def _note(self, old: JSON | None, new: JSON | None) -> None:
        if new is not None:
            meta = new["metadata"]
            known = self.uids[meta["namespace"], meta["name"]]
            if meta["uid"] not in known:
                known.append(meta["uid"])

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

    def picture(self, namespace: str) -> JSON:
        """All that users see in the namespace, without times and the names of workers."""

        def said(obj: JSON) -> JSON:
            status = obj.get("status") or {}
            return {
                "spec": obj["spec"],
                "current": status.get("observedGeneration") == obj["metadata"]["generation"],
                "conditions": {
                    c["type"]: (c["status"], c.get("reason"), timeless(c.get("message", "")))
                    for c in status.get("conditions") or ()
                },
                **{key: status.get(key) for key in COUNTS},
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
            "autoscalers": {o["metadata"]["name"]: said(o) for o in found[DASKAUTOSCALERS]},
            "pods": Counter(looks(pod) for pod in found[PODS]),
            "services": sorted(o["metadata"]["name"] for o in found[SERVICES]),
        }


COUNTS = ("phase", "workers", "replicas", "readyReplicas", "updatedReplicas", "desiredReplicas")


def timeless(message: str) -> str:
    """Without times, and without how long something took."""
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:]+Z|(?<= after )\d+ s", "...", message)


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
    story: str
    points: dict[str, Point] = field(default_factory=dict)
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
        """:param should_be: the pictures at the end of each step; None: take those that come."""
        world = World(eyes.client, schedulers, self.namespace)
        for step, meant in STORIES[self.story].items():
            before = proxy.asked[self.namespace] + schedulers.asked[self.namespace]
            point, strike = self.points.get(step), None
            if point is not None and point.words.startswith("call "):
                strike = Strike(point.words, point.nth, point.fault)
                schedulers.strikes[self.namespace] = strike
            elif point is not None and point.words != NOW:
                strike = proxy.arm(self.namespace, point.words, point.nth, point.fault)
            await meant.act(world)
            if point is not None and point.words == NOW:
                await asyncio.to_thread(proxy.disturb, point.fault)
                strike = Strike(NOW, 1, point.fault, 1, True)
            wrong = await self._end(eyes, meant, should_be[step] if should_be else None)
            proxy.disarm(self.namespace)
            schedulers.strikes.pop(self.namespace, None)
            now = proxy.asked[self.namespace] + schedulers.asked[self.namespace]
            self.asked[step] = now - before
            self.pictures[step] = eyes.picture(self.namespace)
            if point is not None and strike is not None:
                (self.tried if strike.struck else self.missed).append(point)
            if wrong:
                self.wrong.append(f"{self.told(step)}: {'; '.join(wrong[:6])}")
                return

    def told(self, step: str) -> str:
        steps = list(STORIES[self.story])
        upto = [str(self.points[s]) for s in steps[: 1 + steps.index(step)] if s in self.points]
        return f"{self.namespace} in {step}, after {' + '.join(upto) or 'no fault'}"

    async def _end(self, eyes: Eyes, step: Step, picture: JSON | None) -> list[str]:
        """Wait for the end of the step; what is missing, if it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        since = None
        last: Any = None
        while True:
            now = eyes.picture(self.namespace)
            there = now == picture if picture is not None else now == last and is_end(step, now)
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


def is_end(step: Step, picture: JSON) -> bool:
    """Without knowing better: is all there that should be, and at rest?"""
    if picture["pods"].total() != step.pods:
        return False
    if not picture["clusters"]:
        return not any(picture.values())
    objects = [o for kind in ("clusters", "groups", "autoscalers") for o in picture[kind].values()]
    ready = [o["current"] and o["conditions"].get("Ready", ("",))[0] == "True" for o in objects]
    (cluster,) = picture["clusters"].values()
    return all(ready) and cluster["conditions"].keys() == {"Ready", *step.says}


# ---- many lives


def deck(step: str, asked: Counter[str]) -> list[Point]:
    """All requests of a calm life times all faults, in a random order."""
    if step == BEGIN:
        return []
    points = [
        Point(step, words, nth, fault)
        for words, count in sorted(asked.items())
        for nth in range(1, _surely(step, words, count) + 1)
        for fault in (CALL_FAULTS if words.startswith("call ") else FAULTS)
        if fault != "conflict" or not words.startswith("get ")
    ]
    points += [Point(step, NOW, 1, fault) for fault in DISTURBANCES] * (1 + len(points) // 100)
    random.Random(f"{SEED} {step}").shuffle(points)
    return points


def drawn(asked: dict[str, Counter[str]], lives: int) -> list[dict[str, Point]]:
    """The points of each life: an even draw from all."""
    decks = {step: points for step, counts in asked.items() if (points := deck(step, counts))}
    return [
        {step: points[number % len(points)] for step, points in decks.items()}
        for number in range(lives)
    ]


def _surely(step: str, words: str, count: int) -> int:
    """How many of these requests will come again: several news may make one status, or one look."""
    if step == "delete":
        return 0
    if words.startswith(("create pods", "delete pods", "patch pods")):
        return count
    return min(2, (count + 1) // 2)


Done = dict[str, set[tuple[str, int]]]
"""``"create pods"`` -> names, each with the how-manieth of that name it was."""


def counted(audit: Audit, lives: list[Life]) -> dict[str, Done]:
    """What the controller created and deleted, by the API server's audit log and namespace."""
    found: dict[str, Done] = {life.namespace: {} for life in lives}
    made = Counter[tuple[str, str, str]]()
    for entry in audit.requests(user=USER):
        ref = entry.get("objectRef") or {}
        verb, resource, code = entry["verb"], ref.get("resource"), entry["responseStatus"]["code"]
        if (
            ref.get("namespace") in found
            and verb in ("create", "delete")
            and resource in ("pods", "services", "daskworkergroups", "daskautoscalers")
            and "subresource" not in ref
            and may_have_taken_effect(entry)
        ):
            one = ref["namespace"], resource, ref["name"]
            if verb == "create":
                made[one] = made[one] + 1 if code < 300 else max(made[one], 1)
            done = found[ref["namespace"]].setdefault(f"{verb} {resource}", set())
            done.add((ref["name"], made[one]))
    return found


def doubled_or_lost(
    life: Life, done: Done, calm: Done, retired: set[str], eyes: Eyes
) -> Iterator[str]:
    for words in sorted({*done, *calm}):
        here, there = done.get(words, set()), calm.get(words, set())
        if len(here) != len(there):
            yield f"{words}: {len(here)} instead of {len(there)}: {sorted(here)}"
    deleted = [one for one in done.get("delete pods", ()) if "-worker-" in one[0]]
    gone = {eyes.uids[life.namespace, name][nth - 1] for name, nth in deleted}
    if gone - retired:
        yield f"deleted and never retired: {gone - retired}"
    uids = {
        u for (namespace, _), some in eyes.uids.items() if namespace == life.namespace for u in some
    }
    if (retired & uids) - gone:
        yield f"retired and not deleted: {(retired & uids) - gone}"


async def play(
    kubeconfig: str,
    proxy: FaultProxy,
    schedulers: FakeSchedulers,
    audit: Audit,
    lives: dict[str, int],
) -> tuple[list[Life], list[str], int]:
    """Two calm lives of each story first, from which all is learnt; then those with faults.

    :return: the lives with faults, what is wrong, and how many points there were to draw from.
    """
    admin = Kubectl(kubeconfig)
    stamp = f"{time.time_ns():x}"[-7:]
    names = [
        f"f-{stamp}-{story}-{number}"
        for story, count in lives.items()
        for number in range(count + 2)
    ]
    admin.apply(
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in names)
    )
    where = ("-A", "--field-selector=metadata.name=default")
    eventually(
        "every namespace has its service account",
        lambda: all(name in admin("get", "serviceaccounts", *where) for name in names),
    )
    free = iter(names)
    gate = asyncio.Semaphore(AT_ONCE)
    async with Eyes.open(kubeconfig) as eyes:

        async def one(life: Life, calm: Life | None = None) -> None:
            async with gate:
                await life.live(eyes, proxy, schedulers, calm.pictures if calm else None)

        spaces = {story: [next(free) for _ in range(count + 2)] for story, count in lives.items()}
        calm = {story: [Life(n, story) for n in some[:2]] for story, some in spaces.items()}
        await asyncio.gather(*(one(life) for pair in calm.values() for life in pair))
        others: list[Life] = []
        size = 0
        for story, (first, second) in calm.items():
            assert not first.wrong + second.wrong, first.wrong + second.wrong
            assert first.pictures == second.pictures, difference(first.pictures, second.pictures)
            asked = {step: first.asked[step] & second.asked[step] for step in STORIES[story]}
            everything = {p for step, counts in asked.items() for p in deck(step, counts)}
            size += len(everything)
            todo = drawn(asked, lives[story])
            if ONE is not None:
                todo = [{p.step: p} for p in everything if str(p) == ONE]
            fresh = zip(spaces[story][2:], todo, strict=False)
            others += [Life(name, story, points) for name, points in fresh]
        assert others, f"there is no point {ONE!r}"
        await asyncio.gather(*(one(life, calm[life.story][0]) for life in others))
        done = counted(audit, [*others, *(first for first, _ in calm.values())])
        retired = set().union(*schedulers.retired.values())
        wrong = [line for life in others for line in life.wrong]
        for life in others:
            if not life.wrong:
                quiet = done[calm[life.story][0].namespace]
                found = doubled_or_lost(life, done[life.namespace], quiet, retired, eyes)
                wrong += [f"{life.told(list(STORIES[life.story])[-1])}: {line}" for line in found]
    admin("delete", "namespace", *names, "--wait=false")
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
    lives: dict[str, int],
    least: int,
    proxied: tuple[FaultProxy, Victim],
    kubeconfig: str,
    schedulers: FakeSchedulers,
    audit: Audit,
    witness: Witness,
    record: Callable[[str, object], None],
) -> None:
    """:param least: so many points have to strike."""
    proxy, victim = proxied
    began = time.monotonic()
    lived, wrong, size = asyncio.run(play(kubeconfig, proxy, schedulers, audit, lives))
    for life in lived:
        # For longer than the witness forgives; how each step ends is compared exactly.
        witness.allow("watches and lists are held back", life.namespace, "counts")
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
    [(LIVES, 280), pytest.param(SOAK_LIVES, 1400, marks=pytest.mark.soak)],
    ids=["sampled", "many"],
)
def test_a_fault_at_any_point_changes_nothing_in_the_end(
    lives: dict[str, int],
    least: int,
    proxied: tuple[FaultProxy, Victim],
    kubeconfig: str,
    schedulers: FakeSchedulers,
    audit: Audit,
    witness: Witness,
    record_property: Callable[[str, object], None],
) -> None:
    try_points(lives, least, proxied, kubeconfig, schedulers, audit, witness, record_property)
