"""Every request of a scenario fails once in every way: the world ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import copy
import functools
import marshal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKCLUSTERS

from tests.support import memory_api, virtual_time
from tests.support.harness import Harness, play
from tests.support.memory_api import MemoryApi

JSON = dict[str, Any]

FAULTS: dict[str, Callable[[], dict[str, Any]]] = {
    "429": lambda: {"error": ApiError(429, "TooManyRequests", "slow down", retry_after=1.0)},
    "500": lambda: {"error": ApiError(500, "InternalError", "etcd leader changed")},
    "conflict": lambda: {"error": ApiError(409, "Conflict", "the object has been modified")},
    "timeout before": lambda: {"error": "timeout"},
    "timeout after": lambda: {"error": "timeout", "when": "after"},
    "reset after": lambda: {"error": "reset", "when": "after"},
    "killed": lambda: {},
}


def create(h: Harness) -> None:
    h.cluster(worker={"replicas": 3}, workerGroups=[{"name": "big", "worker": {}}])


def scale_up(h: Harness) -> None:
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 6}})


def scale_down(h: Harness) -> None:
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2}})


def delete_worker(h: Harness) -> None:
    h.delete_pod(sorted(h.workers())[1])


def remove_group(h: Harness) -> None:
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"workerGroups": None})


SCENARIOS: dict[str, tuple[int, Callable[[Harness], None]]] = {
    "create": (0, create),
    "scale up 3 to 6": (3, scale_up),
    "scale down 6 to 2": (6, scale_down),
    "delete a worker": (3, delete_worker),
    "remove a group": (2, remove_group),
}


@functools.cache
def base(workers: int) -> Harness:
    """A world at rest; without workers: an empty one."""

    async def main(h: Harness) -> None:
        if workers:
            h.cluster(
                worker={"replicas": workers},
                workerGroups=[{"name": "big", "worker": {"replicas": 1}}],
            )
            h.start()
            await h.settle(quiet_s=45)

    return play(main)


def world(workers: int) -> Harness:
    before = base(workers)
    h = Harness(before.copy_of_world() if workers else MemoryApi())
    h.kubelet._ips = copy.copy(before.kubelet._ips)
    return h


def run(
    scenario: str,
    *,
    fault: dict[str, Any] | None = None,
    nth: int = 0,
    scheduler_fault: tuple[int, str] | None = None,
) -> Harness:
    """:param fault: of the ``nth`` request; ``{}``: the controller is killed right after its answer."""
    workers, change = SCENARIOS[scenario]
    harness = world(workers)

    async def main(h: Harness) -> None:
        h.schedulers.fault = scheduler_fault
        h.schedulers.on_kill = h.restart
        if fault == {}:
            h.kill_at = nth
        elif fault:
            h.api.fault(nth=nth, **fault)
        virtual_time.freeze(1000)  # the world is older than the loop's clock
        h.start()
        if workers:
            await asyncio.sleep(0.01)  # the change finds a process that just began
        change(h)
        keys = h.schedulers.all_keys()
        await h.settle(quiet_s=45)
        assert h.schedulers.all_keys() == keys
        assert not h.schedulers.lost

    return play(main, lambda: harness)


# A read that fails is a read that fails: it is only asked again, whatever the words.
READS = ("500", "timeout before", "killed")


def every(scenario: str, name: str) -> tuple[int, list[str]]:
    """Let each request of the scenario fail in this way.

    :return: how many combinations were tried, and what was wrong.
    """
    # A process of its own, so this stays here. That all is JSON, other tests prove; here it would be half the time.
    memory_api._clone = lambda obj: marshal.loads(marshal.dumps(obj))
    calm = run(scenario)
    picture, tried, wrong = calm.picture(), 0, []
    for request in calm.api.log:
        if not request.is_write and name not in READS:
            continue
        tried += 1
        where = f"{scenario}: {name} at request {request.index + 1} ({request})"
        try:
            h = run(scenario, fault=FAULTS[name](), nth=request.index + 1)
        except AssertionError as error:
            wrong.append(f"{where}: {error}")
            continue
        if h.picture() != picture:
            wrong.append(f"{where}: another end")
        if max(Counter(h.created()).values(), default=0) > 1:
            wrong.append(f"{where}: a pod was created twice")
        if h.queue.failing:
            wrong.append(f"{where}: still failing")
        if name == "killed" and not h.kills:
            wrong.append(f"{where}: nothing was killed")
    return tried, wrong


def test_a_single_fault_changes_nothing_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [(scenario, name) for scenario in SCENARIOS for name in FAULTS]
    tried = Counter[str]()
    wrong = []
    with ProcessPoolExecutor(2) as pool:
        for (scenario, _), (count, bad) in zip(
            tasks, pool.map(every, *zip(*tasks, strict=True)), strict=True
        ):
            tried[scenario] += count
            wrong += bad
    with capsys.disabled():
        words = ", ".join(f"{scenario} {count}" for scenario, count in tried.items())
        print(f"\n{tried.total()} combinations of request and fault: {words}")
    assert not wrong, "\n".join(wrong)
    assert tried.total() > 600


@pytest.mark.parametrize("scenario", ["scale down 6 to 2", "remove a group"])
@pytest.mark.parametrize("when", ["before", "after", "killed"])
def test_a_single_fault_of_the_scheduler_changes_nothing_in_the_end(
    scenario: str, when: str
) -> None:
    calm = run(scenario)
    assert len(calm.schedulers.calls) >= 3
    for nth in range(1, len(calm.schedulers.calls) + 1):
        h = run(scenario, scheduler_fault=(nth, when))
        assert h.picture() == calm.picture(), f"{when} at call {nth}"
        assert len(h.schedulers.calls) > nth
