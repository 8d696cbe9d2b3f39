"""Pods come and go for months: what the controller keeps must not grow with all that ever was."""

from __future__ import annotations

import asyncio
import gc
import sys
import types
from collections.abc import Iterable
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, EVENTS, PODS
from dask_gitops.kube.tombstones import TOMBSTONE_S

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


class Months(Harness):
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


def grown(first: dict[str, int], last: dict[str, int]) -> dict[str, int]:
    return {
        path: n - first.get(path, 0) for path, n in last.items() if n > first.get(path, 0) + 100
    }


def test_nothing_grows_with_the_pods_that_were() -> None:
    (first, _), (last, _) = run(200, 1200)
    assert "World._highest" in last  # it looks where it should
    assert grown(first, last) == {}


@pytest.mark.soak
def test_memory_after_fifty_thousand_pods() -> None:
    (first, few), (last, many) = run(5_000, 50_000)
    print(f"after 5,000 pods {few / 1024:.0f} KiB, after 50,000 {many / 1024:.0f} KiB")
    assert grown(first, last) == {}
    assert many <= 1.1 * few
