"""Pods come and go for months: what the controller keeps must not grow with all that ever was."""

from __future__ import annotations

import asyncio
import gc
import sys
import types
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
)
from dask_gitops.kube.tombstones import TOMBSTONE_S
from dask_gitops.reconcile.memory import Memory

from tests.support import virtual_time
from tests.support.harness import NS, Harness
from tests.support.memory_api import Request

WORKERS = 9  # of each cluster; with its scheduler ten pods
SKIP = (type, types.ModuleType, types.FunctionType, types.CodeType, types.FrameType)


def held(roots: Iterable[Any]) -> tuple[dict[str, int], int]:
    """What can be reached from ``roots``.

    :return: entries in containers by owner class and attribute, and the bytes of all of it.
    """
    seen: set[int] = set()
    found: dict[str, int] = {}
    size = 0

    def walk(obj: Any, path: str, depth: int) -> None:
        if id(obj) in seen or isinstance(obj, SKIP) or depth > 6:
            return
        nonlocal size
        seen.add(id(obj))
        size += sys.getsizeof(obj)
        if isinstance(obj, (dict, list, set, tuple, frozenset)) or hasattr(obj, "popleft"):
            found[path] = found.get(path, 0) + len(obj)
            items = list(obj.values()) if isinstance(obj, dict) else list(obj)
            for item in items:
                walk(item, path + "[]", depth + 1)
            return
        if not type(obj).__module__.startswith("dask_gitops"):
            return
        slots = [s for cls in type(obj).__mro__ for s in getattr(cls, "__slots__", ())]
        for name in [*getattr(obj, "__dict__", {}), *slots]:
            walk(getattr(obj, name, None), f"{type(obj).__name__}.{name}", depth + 1)

    for root in roots:
        walk(root, type(root).__name__, 0)
    return found, size


class Past(Harness):
    """A world that lasts long."""

    def forget_the_past(self) -> None:
        """What the pretended world and the test remember is not the controller's."""
        for event in self.api.items(EVENTS):
            self.api.remove(EVENTS, NS, event["metadata"]["name"])
        self.api.compact()
        self.api.log.clear()
        self.turns.clear()
        self.errors.clear()
        self.schedulers.calls.clear()
        self.schedulers.retired.clear()


class Months(Past):
    """Clusters come and go: good ones, ones that the API server refuses, ones beyond a quota."""

    def __init__(self) -> None:
        super().__init__()
        self.pods = 0
        self.made = 0

        def check(request: Request) -> None:
            if request.verb != "create" or request.resource != PODS:
                return
            name = str(request.name)
            if name.startswith("refused"):
                raise ApiError(422, "Invalid", "spec: Invalid value")
            if name.startswith("forbidden"):
                raise ApiError(403, "Forbidden", "not allowed")
            if "worker" in name and name.startswith("quota"):
                raise ApiError(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q')

        self.api.admission.append(check)

    async def month(self, pods: int, at_once: int = 20) -> None:
        """So many pods come and go."""
        target = self.pods + pods
        while self.pods < target:
            names = []
            for _ in range(at_once):
                self.made += 1
                kind = {3: "refused", 5: "forbidden", 7: "quota"}.get(self.made % 10, "good")
                names.append(f"{kind}-{self.made}")
                self.cluster(names[-1], worker={"replicas": WORKERS})
            await self.pass_time(6)
            self.pods += len(self.api.items(PODS))
            for name in names[::2]:
                if self.api.find(DASKWORKERGROUPS, NS, f"{name}-default"):
                    self.edit(DASKWORKERGROUPS, f"{name}-default", {"worker": {"replicas": 3}})
            await self.pass_time(4)
            for name in names:
                self.api.remove(DASKCLUSTERS, NS, name)
            await self.pass_time(3)
            self.forget_the_past()
        await self.pass_time(2 * TOMBSTONE_S + 100)
        self.cluster("last", worker={"replicas": 1})
        await self.pass_time(20)
        self.api.remove(DASKCLUSTERS, NS, "last")
        await self.pass_time(20)
        self.forget_the_past()


class Going(Past):
    """Objects of every kind come and go while one cluster stays."""

    async def rounds(self, number: int, at_once: int) -> None:
        """So many of each kind."""
        for first in range(0, number, at_once):
            some = range(first, first + at_once)
            for i in some:
                self.come(i)
            await self.pass_time(12)
            for i in some:
                self.kubelet.finish(NS, f"job-{i}-runner")
                spec = {"containers": [{"name": "scheduler", "image": "y"}]}
                self.edit(DASKCLUSTERS, f"c-{i}", {"scheduler": {"spec": spec}})
            await self.pass_time(8)
            for i in some:
                self.go(i)
            await self.pass_time(8)
            assert set(self.api.names(DASKCLUSTERS)) == {"stays"}
        await self.pass_time(2 * TOMBSTONE_S + 100)
        self.come(number)  # what is dropped when the next ones come and go is dropped now
        await self.pass_time(12)
        self.go(number)
        self.api.remove(DASKCLUSTERS, NS, "stays")
        await self.pass_time(20)

    def come(self, i: int) -> None:
        refused = {"containers": [{"name": "worker", "image": "refused"}]} if i % 3 == 0 else {}
        idle = {"idleTimeout": 3, "idleAction": "Scale"}
        self.cluster(f"c-{i}", worker={"replicas": 1, "spec": refused}, **idle)
        self.autoscaler(1, 2, f"a-{i}", cluster=f"c-{i}", interval=1)
        self.group(f"g-{i}", "stays", worker={"replicas": 1})
        self.group(f"lonely-{i}", f"nowhere-{i}", worker={"replicas": 1})
        self.job(f"job-{i}")

    def go(self, i: int) -> None:
        for res, name in OF_ROUND:
            self.api.remove(res, NS, f"{name}-{i}")


OF_ROUND = (
    (DASKAUTOSCALERS, "a"),
    (DASKCLUSTERS, "c"),
    (DASKWORKERGROUPS, "g"),
    (DASKWORKERGROUPS, "lonely"),
    (DASKJOBS, "job"),
)
FEW = 150  # of objects that are gone so many may be remembered, however many there were

Taken = tuple[dict[str, int], int]


def run(few: int, many: int) -> tuple[Taken, Taken]:
    """What is held after few and after many pods."""

    async def main() -> tuple[Taken, Taken]:
        h = Months()
        h.start()

        def taken() -> Taken:
            gc.collect()
            return held([h.world, h.queue, *h.informers])

        await h.month(few)
        first = taken()
        await h.month(many - few)
        last = taken()
        h.kill()
        await asyncio.sleep(0)
        return first, last

    return virtual_time.run(main(), limit_s=1e8)


#: All that a process remembers; a new field is to be asked for here, too.
REMEMBERED = [
    f.name
    for f in fields(Memory)
    if isinstance(f.default_factory, type) and f.default_factory is dict
]
OURS = ("World", "Memory", "WorkQueue", "Informer", "Tombstones")


def grown(first: dict[str, int], last: dict[str, int]) -> dict[str, int]:
    return {
        path: n - first.get(path, 0) for path, n in last.items() if n > first.get(path, 0) + 100
    }


def test_nothing_grows_with_the_pods_that_were() -> None:
    (first, _), (last, _) = run(200, 1200)
    assert "Memory.highest" in last  # it looks where it should
    assert grown(first, last) == {}


def test_nothing_is_remembered_of_objects_that_are_gone() -> None:
    """Clusters, groups, autoscalers and jobs, a thousand in all: good, refused, looked at, tried out and never served."""
    most: Counter[str] = Counter()
    number = 200

    def refuses(request: Request) -> None:
        is_pod = (request.verb, request.resource) == ("create", PODS)
        if is_pod and request.body["spec"]["containers"][0]["image"] == "refused":
            raise ApiError(403, "Forbidden", "not allowed")

    async def main() -> dict[str, int]:
        h = Going()
        h.api.admission.append(refuses)
        h.start()
        h.cluster("stays", worker={"replicas": 1})
        turned = h.queue._on_turn

        def watch(*args: Any) -> None:
            for name in REMEMBERED:
                most[name] = max(most[name], len(getattr(h.world.memory, name)))
            assert turned is not None
            turned(*args)

        h.queue._on_turn = watch
        await h.rounds(number, 10)
        assert not h.bugs, h.bugs
        assert h.queue.failing == 0
        h.forget_the_past()
        found, _ = held([h.world, h.queue, *h.informers])
        h.kill()
        await asyncio.sleep(0)
        return found

    found = virtual_time.run(main(), limit_s=1e8)
    assert all(most[name] for name in REMEMBERED), most  # each was put to use,
    assert all(most[name] <= FEW for name in REMEMBERED), most  # held what was there then,
    kept = {path: n for path, n in found.items() if n > FEW and path.partition(".")[0] in OURS}
    assert kept == {}  # and nothing is left


@pytest.mark.soak
def test_memory_after_fifty_thousand_pods() -> None:
    (first, few), (last, many) = run(5_000, 50_000)
    print(f"after 5,000 pods {few / 1024:.0f} KiB, after 50,000 {many / 1024:.0f} KiB")
    assert grown(first, last) == {}
    assert many <= 1.1 * few
