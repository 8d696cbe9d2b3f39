"""What happens to clusters and their groups, and how the world must look after each fault: as if nothing had happened."""

from __future__ import annotations

import asyncio
import copy
import functools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from dask_gitops.kube.resource import DASKCLUSTERS, PODS
from dask_gitops.resources import labels

from tests.support import virtual_time
from tests.support.harness import NS, Harness, play
from tests.support.memory_api import MemoryApi, Request
from tests.unit.faults.trial import SEED, Combination, compared, faults_of, later, trials

JSON = dict[str, Any]

# ---- what happens


def create(h: Harness) -> None:
    h.cluster(worker={"replicas": 3}, workerGroups=[{"name": "big", "worker": {}}])


def scale_up(h: Harness) -> None:
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 6}})


def roll_workers(h: Harness) -> None:
    h.schedulers.scatter()
    spec = {"containers": [{"name": "worker", "env": [{"name": "NEW", "value": "1"}]}]}
    h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": spec}})


def roll_scheduler(h: Harness) -> None:
    spec = {"containers": [{"name": "scheduler", "env": [{"name": "NEW", "value": "1"}]}]}
    h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": spec}})


def scale_down(h: Harness) -> None:
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2}})


def scale_down_busy(h: Harness) -> None:
    """Four of six have work: two of those who leave drain for a while."""
    h.schedulers.running = set(sorted(h.schedulers.workers())[:4])
    asyncio.get_running_loop().call_later(20, h.schedulers.running.clear)
    scale_down(h)


def delete_worker(h: Harness) -> None:
    h.delete_pod(sorted(h.workers())[1])


def remove_group(h: Harness) -> None:
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"workerGroups": None})


def delete(h: Harness, propagation: str = "Background") -> None:
    h.api._delete(DASKCLUSTERS, h.api._must(DASKCLUSTERS, NS, "demo"), None, propagation)


def suspend_and_resume(h: Harness) -> None:
    h.edit(DASKCLUSTERS, "demo", {"suspend": True})
    later(45, lambda: h.edit(DASKCLUSTERS, "demo", {"suspend": False}))


def park_and_wake(h: Harness) -> None:
    """It was idle for longer than that already."""
    h.edit(DASKCLUSTERS, "demo", {"idleTimeout": 60, "idleAction": "Scale"})
    later(45, lambda: setattr(h.schedulers, "waiting", 12))


def delete_idle(h: Harness) -> None:
    h.edit(DASKCLUSTERS, "demo", {"idleTimeout": 60})


#: name -> workers of the default group before, and the change
SCENARIOS: dict[str, tuple[int, Callable[[Harness], None]]] = {
    "create": (0, create),
    "scale up 3 to 6": (3, scale_up),
    "roll 3 workers": (3, roll_workers),
    "roll the scheduler": (3, roll_scheduler),
    "scale down 6 to 2": (6, scale_down),
    "scale down 6 to 2, busy": (6, scale_down_busy),
    "delete a worker": (3, delete_worker),
    "remove a group": (2, remove_group),
    "suspend and resume": (2, suspend_and_resume),
    "park and wake": (2, park_and_wake),
    "delete when idle": (2, delete_idle),
    "delete": (3, delete),
    "delete in the foreground": (3, functools.partial(delete, propagation="Foreground")),
}

LONG = ("suspend and resume", "park and wake", "delete when idle")
#: Scenarios of other files that try the same faults.
MORE: dict[str, tuple[int, Callable[[Harness], None]]] = {}

# ---- one combination


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


def run(scenario: str, arm: Callable[[Harness], None] = lambda h: None) -> Harness:
    """Play a scenario; ``arm`` prepares what goes wrong."""
    workers, change = (SCENARIOS | MORE)[scenario]
    harness = world(workers)

    async def main(h: Harness) -> None:
        random.seed(SEED)
        h.before = h.api.snapshot()
        arm(h)
        virtual_time.freeze(1000)  # the world is older than the loop's clock
        h.start()
        if workers:
            await asyncio.sleep(0.01)  # the change finds a process that just began
        change(h)
        h.held = h.schedulers.all_keys()
        await h.settle(quiet_s=100 if scenario in LONG else 60)

    return play(main, lambda: harness)


@functools.cache
def calm(scenario: str) -> Harness:
    return run(scenario)


def took_effect(h: Harness, verb: str) -> Counter[str]:
    """How often the controller's requests of this kind changed an object, by name, also if it did not hear of it."""
    return Counter(
        f"{r.resource} {r.name}"
        for r in h.api.log
        if r.verb == verb
        and str(r.status)[:3] in ("200", "201")
        and "events" not in str(r.resource)
    )


def marked(h: Harness) -> set[str]:
    """Names of the pods that were ever marked to leave."""

    def marks(r: Request) -> Any:
        return (r.body["metadata"].get("annotations") or {}).get(labels.RETIRING)

    done = [r for r in h.api.requests("patch", PODS) if str(r.status).startswith("200")]
    return {f"{PODS} {r.name}" for r in done if marks(r)}


def story(h: Harness) -> JSON:
    """The world without the words for why the last scheduler ended and for an autoscaler's last decision, which one who
    was away then does not know, and without how long something took.
    """
    found = h.picture()
    for thing in found.values():
        thing["status"].pop("lastDecision", None)
        (thing["status"].get("scheduler") or {}).pop("lastRestartReason", None)
        for note in (labels.LAST_RESTART, labels.WOKEN):
            (thing["annotations"] or {}).pop(note, None)
        for condition in thing["status"].get("conditions") or ():
            condition["message"] = condition["message"].partition("; woken ")[0]
    return found


def difference(h: Harness, quiet: Harness) -> Iterator[str]:
    """What is not as it is without a fault."""
    if story(h) != story(quiet):
        yield "another end"
    for verb in ("create", "delete"):
        here, there = took_effect(h, verb), took_effect(quiet, verb)
        if len(here) != len(there):
            yield f"{verb}s: {sorted(here)} instead of {sorted(there)}"
        if twice := [name for name, count in here.items() if count > 1]:
            yield f"{verb}d twice: {twice}"
    if len(marked(h)) != len(marked(quiet)):
        yield f"{len(marked(h))} marked to leave instead of {len(marked(quiet))}"
    if marked(h) - took_effect(h, "delete").keys():
        yield f"marked and still there: {marked(h) - took_effect(h, 'delete').keys()}"
    if h.schedulers.all_keys() != h.held or h.schedulers.lost or h.schedulers.discarded:
        yield "keys are lost"
    pods = h.api.items(PODS, None, f"{labels.COMPONENT}={labels.WORKER}")
    if len(h.schedulers.workers()) != len(pods):
        yield f"{len(pods)} pods, {len(h.schedulers.workers())} workers"
    if h.queue.failing:
        yield "still failing"


def wrong(one: Combination) -> str:
    """What is wrong after this fault; nothing, hopefully."""
    return compared(one, run, calm(one.scenario), difference)


def combinations(scenario: str) -> list[Combination]:
    """All of them, in a fixed order."""
    return faults_of(calm(scenario), scenario)


cluster_trials = functools.partial(trials, combinations, wrong)
