"""Every request and every call to a scheduler goes wrong once in every way: the world ends as if nothing had happened.

A normal run tries an even part of all combinations, ``pytest -m soak`` all of them. A failure names its combination;
``DASK_GITOPS_FAULT="scale down 6 to 2 / request 17 / timeout after" pytest tests/unit/reconcile/test_faults.py`` tries
only that one.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import marshal
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import pytest
from dask_gitops.kube.errors import ApiError, ApiUnreachable
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS, Resource
from dask_gitops.resources import labels
from dask_gitops.scheduler.client import SchedulerUnavailable

from tests.support import memory_api, virtual_time
from tests.support.harness import NS, Harness, play
from tests.support.memory_api import MemoryApi, Request

JSON = dict[str, Any]

SEED = 20301
ONE = os.environ.get("DASK_GITOPS_FAULT")
PART = 4  # a normal run tries every so-manieth combination, and all kills while workers leave
LONG_PART = 40  # the same for those that take long
AWAY_S = 20  # how long nobody looks, or watches tell nothing

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


def later(seconds: float, do: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_later(seconds, do)


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

# ---- what goes wrong

Arm = Callable[[Harness, int], None]


def answers(error: Callable[[], ApiError | str], when: str = "before") -> Arm:
    """The n-th request is answered with this error, or not at all."""
    return lambda h, n: h.api.fault(nth=n, error=error(), when=when) and None  # type: ignore[arg-type]


def says(reason: str, when: str = "before", after_s: float = 0.0) -> Arm:
    """The n-th call to a scheduler ends like this."""

    async def fails() -> None:
        await asyncio.sleep(after_s)
        raise SchedulerUnavailable(reason)

    def arm(h: Harness, n: int) -> None:
        h.strikes["call", n, when] = fails

    return arm


def happens(what: str, when: str, act: Callable[[Harness], Awaitable[None] | None]) -> Arm:
    """Something happens right before or after the n-th request ("request") or call ("call")."""

    def arm(h: Harness, n: int) -> None:
        h.strikes[what, n, when] = lambda: act(h)

    return arm


def away(h: Harness) -> None:
    h.kill()
    asyncio.get_running_loop().call_later(AWAY_S, h.start)


def watches_dropped(h: Harness) -> None:
    h.api.break_watches(error=ApiUnreachable("connection reset", sent=True))


def watches_expired(h: Harness) -> None:
    h.api.break_watches(error=ApiError(410, "Expired", "too old resource version"))


def watches_delayed(h: Harness) -> None:
    h.api.hold_events(*h.api._store)
    asyncio.get_running_loop().call_later(AWAY_S, h.api.release_events)


def list_is_stale(h: Harness) -> None:
    h.api.stale_lists(h.before)
    watches_expired(h)


def killed_and_list_is_stale(h: Harness) -> None:
    h.api.stale_lists(h.before)
    h.restart()


def killed_and_behind(resource: Resource) -> Callable[[Harness], None]:
    """The next leader's server lags behind with these, and with nothing else."""

    def act(h: Harness) -> None:
        h.api.stale_lists(h.before, resource)
        h.api.hold_events(resource)
        later(AWAY_S, h.api.release_events)
        h.restart()

    return act


def anywhere(what: str) -> dict[str, Arm]:
    return {
        "killed before": happens(what, "before", Harness.restart),
        "killed after": happens(what, "after", Harness.restart),
        "killed after, back later": happens(what, "after", away),
        "killed after, list is stale": happens(what, "after", killed_and_list_is_stale),
        "killed after, clusters are stale": happens(what, "after", killed_and_behind(DASKCLUSTERS)),
        "killed after, groups are stale": happens(
            what, "after", killed_and_behind(DASKWORKERGROUPS)
        ),
        "list is stale": happens(what, "after", list_is_stale),
        "watches dropped": happens(what, "after", watches_dropped),
        "watches expired": happens(what, "after", watches_expired),
        "watches delayed": happens(what, "before", watches_delayed),
    }


REQUEST_FAULTS: dict[str, Arm] = {
    "429": answers(lambda: ApiError(429, "TooManyRequests", "slow down", retry_after=3.0)),
    "500 before": answers(lambda: ApiError(500, "InternalError", "etcd leader changed")),
    "500 after": answers(lambda: ApiError(500, "InternalError", "etcd timed out"), "after"),
    "timeout before": answers(lambda: "timeout"),
    "timeout after": answers(lambda: "timeout", "after"),
    "reset before": answers(lambda: "reset"),
    "reset after": answers(lambda: "reset", "after"),
    "conflict": answers(lambda: ApiError(409, "Conflict", "the object has been modified")),
    **anywhere("request"),
}
CALL_FAULTS: dict[str, Arm] = {
    "429": says("answers with status 429"),
    "500 before": says("answers with status 500"),
    "500 after": says("answers with status 500", "after"),
    "timeout before": says("does not answer (timeout after 5 s)", "before", 5),
    "timeout after": says("does not answer (timeout after 5 s)", "after", 5),
    "reset before": says("closed the connection"),
    "reset after": says("closed the connection", "after"),
    "conflict": says("answers with status 409"),
    **anywhere("call"),
}
# ---- one combination


class Combination(NamedTuple):
    scenario: str
    what: str  # request or call
    number: int  # from 1 on
    fault: str

    def __str__(self) -> str:
        return f"{self.scenario} / {self.what} {self.number} / {self.fault}"

    @property
    def arm(self) -> Arm:
        return (REQUEST_FAULTS if self.what == "request" else CALL_FAULTS)[self.fault]


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
    # A process of its own, so this stays here. That all is JSON, other tests prove; here it would be half the time.
    memory_api._clone = lambda obj: marshal.loads(marshal.dumps(obj))
    quiet = calm(one.scenario)
    try:
        h = run(one.scenario, lambda h: one.arm(h, one.number))
    except AssertionError as error:
        return f"{one}: {error}"
    found = list(difference(h, quiet))
    if not h.struck and not any(fault.hits for fault in h.api.faults):
        found.append("the fault never struck")
    return f"{one}: {'; '.join(found)}" if found else ""


def combinations(scenarios: Iterable[str] = SCENARIOS) -> list[Combination]:
    """All of them, in a fixed order."""
    out = []
    for scenario in scenarios:
        quiet = calm(scenario)
        for request in quiet.api.log:
            for fault in REQUEST_FAULTS:
                if request.is_write or fault != "conflict":
                    out.append(Combination(scenario, "request", request.index + 1, fault))
        for number in range(1, len(quiet.schedulers.calls) + 1):
            out += [Combination(scenario, "call", number, fault) for fault in CALL_FAULTS]
    return out


def try_all(some: list[Combination], of: int, record: Callable[[str, object], None]) -> None:
    with ProcessPoolExecutor(2) as pool:
        bad = [text for text in pool.map(wrong, some, chunksize=16) if text]
    by_scenario = Counter(one.scenario for one in some)
    words = ", ".join(f"{scenario} {count}" for scenario, count in by_scenario.items())
    record("closing", f"faults in memory: {len(some)} of {of} combinations tried: {words}")
    assert not bad, "\n".join(bad)


def test_a_fault_changes_nothing_in_the_end(
    record_property: Callable[[str, object], None],
) -> None:
    everything = combinations()
    assert len(everything) > 2500
    if ONE is not None:
        some = [one for one in everything if str(one) == ONE]
        assert some, f"there is no combination {ONE!r}, but {everything[0]} and so on"
    else:
        always = [o for o in everything if "scale down" in o.scenario and "killed" in o.fault]
        long = [o for o in everything if o.scenario in LONG]
        rest = [o for o in everything if o not in always and o not in long]
        # Drawn, as faults repeat in a rhythm that any step could fall in with.
        draw = random.Random(SEED).sample
        some = always + draw(rest, len(rest) // PART) + draw(long, len(long) // LONG_PART)
    try_all(some, len(everything), record_property)


@pytest.mark.soak
def test_every_fault_changes_nothing_in_the_end(
    record_property: Callable[[str, object], None],
) -> None:
    everything = combinations()
    try_all(everything, len(everything), record_property)
