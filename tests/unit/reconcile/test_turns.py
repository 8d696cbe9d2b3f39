"""What a turn costs: how often it looks, how often it asks, and whom it wakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    Resource,
)
from dask_gitops.reconcile.observe import Observer
from dask_gitops.reconcile.places import Place
from dask_gitops.reconcile.stores import Key

from tests.support.harness import NS, Harness, play
from tests.support.memory_api import Request

CLUSTER, GROUP = Key("DaskCluster", NS, "demo"), Key("DaskWorkerGroup", NS, "demo-default")
AUTOSCALER, JOB = Key("DaskAutoscaler", NS, "demo"), Key("DaskJob", NS, "nightly")
BUILDERS = {
    "DaskCluster": "cluster_state",
    "DaskWorkerGroup": "group_state",
    "DaskAutoscaler": "scaler_state",
    "DaskJob": "job_state",
}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often states are built, by kind of the state."""
    found: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in BUILDERS.items():
            original: Callable[..., Any] = getattr(Observer, name)

            def build(
                *args: Any, kind: str = kind, original: Callable[..., Any] = original, **how: Any
            ) -> Any:
                found[kind] += 1
                return original(*args, **how)

            patch.setattr(Observer, name, build)
        yield found


async def turn(h: Harness, key: Key) -> Counter[str]:
    """What one turn of this key builds; there is no other turn."""
    h.turns.clear()
    h.schedulers.calls.clear()
    with counted() as found:
        h.queue.put(key)
        await h.pass_time(0.2)
    assert h.turns == [key]
    assert not h.bugs, h.bugs
    return found


def test_a_turn_at_rest_looks_once_and_asks_nobody() -> None:
    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 2})
        h.job()
        h.start()
        await h.settle()
        written = len(h.api.log)
        for key in (CLUSTER, GROUP, JOB):
            found = await turn(h, key)
            assert found[key.kind] == 1, key
            assert h.schedulers.calls == []
        assert [r for r in h.api.log[written:] if r.is_write] == []

    play(main)


def test_what_others_are_making_is_looked_at_anew() -> None:
    """While a turn waits for its scheduler, another one may take the last place under a limit."""

    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 2})
        h.start()
        await h.settle()
        seen = h.world.observe.group(GROUP, "demo")
        before = seen.now
        assert seen.now is before
        with h.world.memory.places.making(Place(NS, "demo", "demo-other"), 5):
            of_cluster = {limit.of: limit.others for limit in seen.now.limits}
            assert of_cluster["cluster"] == 5
        assert {limit.of: limit.others for limit in seen.now.limits}["cluster"] == 0

    play(main)


def test_an_autoscaler_looks_once_and_asks_once() -> None:
    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 2})
        h.autoscaler(2, 4, interval=50)
        h.start()
        await h.pass_time(60)
        assert (await turn(h, AUTOSCALER))["DaskAutoscaler"] == 1
        assert h.schedulers.calls == []
        h.turns.clear()
        with counted() as found:
            await h.pass_time(50)
        assert h.turns == [AUTOSCALER]
        assert found["DaskAutoscaler"] == 1
        assert [what for what, _ in h.schedulers.calls] == ["demand"]

    play(main)


def test_a_cluster_that_waits_for_its_update_and_for_work_asks_once() -> None:
    """Both follow from the same answer."""

    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 1})
        h.start()
        await h.settle()
        h.schedulers.scatter()
        containers = [{"name": "scheduler", "image": "dask:2"}]
        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": {"containers": containers}}})
        h.edit(DASKCLUSTERS, "demo", {"idleTimeout": 3, "idleAction": "Scale"})
        await h.pass_time(20)
        assert h.condition(DASKCLUSTERS, "demo", "UpdatePending")[0] == "True"
        h.turns.clear()
        h.schedulers.calls.clear()
        with counted() as found:
            await h.pass_time(60)
        turns = Counter(h.turns)[CLUSTER]
        assert turns > 10
        assert found["DaskCluster"] == turns
        assert [what for what, _ in h.schedulers.calls] == ["state"] * turns

    play(main)


@pytest.mark.parametrize("resource", [DASKWORKERGROUPS, DASKCLUSTERS], ids=str)
def test_what_a_scale_down_costs(resource: Resource) -> None:
    """Marks, hand-over and the end of the pods in one turn; then the news of the pods that went, and the latch."""

    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 3})
        h.start()
        await h.settle()
        keys = h.schedulers.scatter()
        h.turns.clear()
        h.schedulers.calls.clear()
        written = len(h.api.log)
        name = "demo" if resource == DASKCLUSTERS else "demo-default"
        h.edit(resource, name, {"worker": {"replicas": 1}})
        await h.settle()
        assert len(h.workers()) == 1
        assert h.schedulers.all_keys() == keys
        assert [what for what, _ in h.schedulers.calls] == ["state", "retire"]
        turns, more = Counter(key.kind for key in h.turns), int(resource == DASKCLUSTERS)
        writes = Counter(
            (r.verb, str(r.resource).partition(".")[0], r.subresource)
            for r in h.api.log[written:]
            if r.is_write and r.resource != EVENTS
        )
        assert writes["patch", "daskworkergroups", "status"] == 1
        assert writes["patch", "daskclusters", "status"] == more + 1
        assert turns == {"DaskWorkerGroup": 3 + more, "DaskCluster": 1 + more}

    play(main)


@pytest.mark.parametrize(
    ("resource", "key"),
    [(DASKCLUSTERS, CLUSTER), (DASKWORKERGROUPS, GROUP), (DASKAUTOSCALERS, AUTOSCALER)],
    ids=str,
)
def test_our_own_report_wakes_nobody(resource: Resource, key: Key) -> None:
    """Somebody puts something into a status: that is set right in one turn, whose write is no news."""

    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 1})
        h.autoscaler(1, 3, interval=40)
        h.start()
        await h.pass_time(90)
        before = h.find(resource, key.name)["status"]
        h.turns.clear()
        h.api.edit(resource, NS, key.name, {"status": {"by": "somebody else"}})
        await h.pass_time(20)
        assert h.find(resource, key.name)["status"] == before
        assert h.turns == [key]

    play(main)


def test_a_report_that_somebody_else_reads_wakes_them() -> None:
    """What the API server refuses to a group is in its cluster's status, too."""

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the API server refuses a worker")
        h.cluster(worker={"replicas": 1})
        h.start()
        await h.settle()

        def refuses(request: Request) -> None:
            if (request.verb, request.resource) == ("create", PODS):
                raise ApiError(422, "Invalid", "spec: Invalid value")

        h.api.admission.append(refuses)
        h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": 2}})
        await h.pass_time(3)
        for resource, name in ((DASKWORKERGROUPS, "demo-default"), (DASKCLUSTERS, "demo")):
            assert "spec: Invalid value" in h.condition(resource, name, "Ready")[2]

    play(main)


@pytest.mark.parametrize("takes_s", [0.0, 3.0])
def test_a_refusal_of_the_next_spec_is_told_by_the_cluster_too(takes_s: float) -> None:
    """The group's new report has the same types, truths and reasons: other words, and for another spec."""

    def worker(value: str) -> dict[str, Any]:
        env = [{"name": "A", "value": value}]
        return {"replicas": 1, "spec": {"containers": [{"name": "worker", "env": env}]}}

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the API server refuses the workers")

        def refuses(request: Request) -> None:
            if (request.verb, request.resource) == ("create", PODS) and "worker" in request.name:
                (value,) = (
                    e["value"]
                    for e in request.body["spec"]["containers"][0]["env"]
                    if e["name"] == "A"
                )
                raise ApiError(422, "Invalid", f"spec: Invalid value {value}")

        h.api.admission.append(refuses)
        h.cluster(worker=worker("one"))
        h.start()
        await h.settle()
        assert "Invalid value one" in h.condition(DASKCLUSTERS, "demo", "Stalled")[2]
        if takes_s:
            h.api.fault("create", PODS, error=None, times=None, delay_s=takes_s)
        h.edit(DASKCLUSTERS, "demo", {"worker": worker("two")})
        await h.pass_time(30)
        for resource, name in ((DASKWORKERGROUPS, "demo-default"), (DASKCLUSTERS, "demo")):
            assert "Invalid value two" in h.condition(resource, name, "Stalled")[2]
            assert h.condition(resource, name, "Reconciling") == ("", "", "")

    play(main)


def test_a_pod_that_has_gone_gives_its_room_to_a_scheduler() -> None:
    """To a cluster with a scheduler, the end of a worker that was on its way out is no news."""

    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 1})
        h.start()
        await h.settle()

        def full(request: Request) -> None:
            if (request.verb, request.resource) == ("create", PODS) and room:
                raise ApiError(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q')

        room = [True]
        h.api.admission.append(full)
        h.delete_pod("demo-scheduler")
        await h.pass_time(1)
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[1] == "QuotaExceeded"
        room.clear()
        created = len(h.created())
        h.delete_pod(h.workers()[0])
        await h.pass_time(3)
        assert h.created()[created:][0] == "demo-scheduler"

    play(main)
