"""What happens to a job, and how it must have ended after each fault: as if nothing had happened, and run once."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from dask_gitops.kube.resource import DASKCLUSTERS, DASKJOBS, PODS
from dask_gitops.resources import labels

from tests.support import virtual_time
from tests.support.harness import NS, Harness, play
from tests.support.memory_api import MemoryApi
from tests.unit.faults.clusters import took_effect
from tests.unit.faults.trial import SEED, Combination, compared, faults_of, trials

JSON = dict[str, Any]
NAME, RUNNER = "nightly", "nightly-runner"

# ---- what happens


async def until(h: Harness, so: Callable[[], bool]) -> None:
    """Let time pass until something is so, as long as faults may delay it."""
    for _ in range(600):
        if so():
            return
        await h.pass_time(0.5)
    raise AssertionError(f"it never comes to that: {h.api.find(DASKJOBS, NS, NAME)}")


def pod(h: Harness, name: str = RUNNER) -> JSON:
    return h.api.find(PODS, NS, name) or {"status": {}, "metadata": {}}


async def runs(h: Harness, name: str = RUNNER, not_uid: str = "") -> None:
    def so() -> bool:
        found = pod(h, name)
        alive = "deletionTimestamp" not in found["metadata"]
        running = found["status"].get("phase") == "Running" and alive
        return running and found["metadata"]["uid"] != not_uid

    await until(h, so)


async def ends(h: Harness, code: int = 0, name: str = RUNNER, **how: Any) -> None:
    await runs(h, name)
    h.kubelet.finish(NS, name, code, **how)


async def exit_0(h: Harness) -> None:
    h.job()
    await ends(h)


async def exit_0_of_a_running_one(h: Harness) -> None:
    await ends(h)


async def retry(h: Harness) -> None:
    await ends(h, 1)
    await ends(h, 0, f"{RUNNER}-2")


async def sidecar(h: Harness) -> None:
    await ends(h, 0, container="job")


async def nothing(h: Harness) -> None:
    """It runs over its deadline."""
    await h.pass_time(220)


async def cluster_deleted(h: Harness) -> None:
    h.api.remove(DASKCLUSTERS, NS, NAME)


async def runner_deleted(h: Harness) -> None:
    h.api.remove(PODS, NS, RUNNER)
    await ends(h, 0, f"{RUNNER}-2")


async def node_lost(h: Harness) -> None:
    h.kubelet.lose_node(NS, RUNNER)
    await h.pass_time(60)


async def suspend(h: Harness) -> None:
    first = pod(h)["metadata"]["uid"]
    h.edit(DASKJOBS, NAME, {"suspend": True})

    def still() -> bool:
        cluster = h.api.find(DASKCLUSTERS, NS, NAME)
        return cluster is not None and bool(cluster["spec"].get("suspend"))

    await until(h, still)
    assert not pod(h)["metadata"]
    h.edit(DASKJOBS, NAME, {"suspend": False})
    await runs(h, not_uid=first)
    await ends(h)


async def once_more(h: Harness) -> None:
    first = pod(h)["metadata"]["uid"]
    await ends(h)
    h.edit(DASKJOBS, NAME, {"restartedAt": "2031-01-01T00:00:00Z"})
    await runs(h, not_uid=first)
    await ends(h)


async def expire(h: Harness) -> None:
    await ends(h)
    await until(h, lambda: h.api.find(DASKJOBS, NS, NAME) is None)


async def delete(h: Harness) -> None:
    h.api._delete(DASKJOBS, h.api._must(DASKJOBS, NS, NAME), None, "Background")


async def apply_anew(h: Harness) -> None:
    first = pod(h)["metadata"]["uid"]
    await delete(h)
    h.job(**SPECS["apply anew"])
    await runs(h, not_uid=first)
    await ends(h)


Story = Callable[[Harness], Awaitable[None]]
#: The spec of a job that runs already; None: there is nothing yet.
SPECS: dict[str, JSON] = {
    "exit 0, running": {},
    "retry": {"backoffLimit": 1},
    "sidecar": {
        "job": {
            "spec": {"containers": [{"name": "job", "image": "x"}, {"name": "p", "image": "p"}]}
        }
    },
    "deadline": {"activeDeadlineSeconds": 200},
    "cluster deleted": {},
    "runner deleted": {"backoffLimit": 1},
    "node lost": {},
    "suspend": {},
    "once more": {},
    "expire": {"ttlSecondsAfterFinished": 5, "cleanupPolicy": "Never"},
    "delete": {},
    "apply anew": {},
}
STORIES: dict[str, Story] = {
    "exit 0": exit_0,
    "exit 0, running": exit_0_of_a_running_one,
    "retry": retry,
    "sidecar": sidecar,
    "deadline": nothing,
    "cluster deleted": cluster_deleted,
    "runner deleted": runner_deleted,
    "node lost": node_lost,
    "suspend": suspend,
    "once more": once_more,
    "expire": expire,
    "delete": delete,
    "apply anew": apply_anew,
}
FAIL = ("deadline", "cluster deleted", "node lost")

# ---- one combination


@functools.cache
def base(spec: str) -> Harness:
    """A world at rest with a job that runs."""

    async def main(h: Harness) -> None:
        h.job(**json.loads(spec))
        h.start()
        await h.settle(quiet_s=45)

    return play(main)


def world(story: str) -> Harness:
    if story not in SPECS:
        return Harness(MemoryApi())
    before = base(json.dumps(SPECS[story]))
    h = Harness(before.copy_of_world())
    h.kubelet._ips = copy.copy(before.kubelet._ips)
    return h


def run(story: str, arm: Callable[[Harness], None] = lambda h: None) -> Harness:
    """Play a story; ``arm`` prepares what goes wrong."""
    harness = world(story)

    async def main(h: Harness) -> None:
        random.seed(SEED)
        if story in FAIL:
            h.judge.allow("failed", story)
        h.before = h.api.snapshot()
        arm(h)
        virtual_time.freeze(100)  # the world is older than the loop's clock
        h.start()
        if story in SPECS:
            await asyncio.sleep(0.01)  # the change finds a process that just began
        await STORIES[story](h)
        await h.settle(quiet_s=65)

    return play(main, lambda: harness)


@functools.cache
def calm(story: str) -> Harness:
    return run(story)


DIFFER = (labels.RUN_STARTED, labels.ENDING, labels.OUTCOME, labels.CLUSTER_UID)


def end_of(h: Harness) -> JSON:
    """The world without times and uids."""
    found = h.picture()
    for thing in found.values():
        for key in DIFFER:
            (thing["annotations"] or {}).pop(key, None)
        for key in ("startTime", "endTime", "uid"):
            thing["status"].pop(key, None)
        (thing["status"].get("scheduler") or {}).pop("lastRestartReason", None)
    return found


def done(h: Harness, verb: str) -> Counter[str]:
    """What became of jobs, runners and clusters. How far a cluster had come by then is another matter."""
    ours = ("-runner", "daskclusters", "daskjobs")
    found = took_effect(h, verb)
    return Counter({name: n for name, n in found.items() if any(word in name for word in ours)})


def difference(h: Harness, quiet: Harness) -> Iterator[str]:
    """What is not as it is without a fault."""
    if end_of(h) != end_of(quiet):
        ours, theirs = end_of(h), end_of(quiet)
        wrong = [k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)]
        yield f"another end: {[(k, ours.get(k), theirs.get(k)) for k in sorted(wrong)]}"
    for verb in ("create", "delete"):
        if done(h, verb) != done(quiet, verb):
            yield f"{verb}s: {dict(done(h, verb))} instead of {dict(done(quiet, verb))}"
    if h.queue.failing:
        yield "still failing"


def wrong(one: Combination) -> str:
    """What is wrong after this fault; nothing, hopefully."""
    return compared(one, run, calm(one.scenario), difference)


def combinations(story: str) -> list[Combination]:
    """All of them, in a fixed order; faults of calls are tried with clusters."""
    return [one for one in faults_of(calm(story), story) if one.what == "request"]


job_trials = functools.partial(trials, combinations, wrong)
