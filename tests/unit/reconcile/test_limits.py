"""The controller's limits: they stop growth, whoever writes the number, and take nobody away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, EVENTS, PODS
from dask_gitops.resources import labels
from dask_gitops.settings import WorkerLimits

from tests.support.harness import NS, Harness, play

JSON = dict[str, Any]
GROUP = "demo-default"
HUGE = 2_000_000_000


def limited(
    **limits: int,
) -> Callable[[Callable[[Harness], Awaitable[None]]], Callable[[], None]]:
    """A scenario under these limits."""

    def decorate(main: Callable[[Harness], Awaitable[None]]) -> Callable[[], None]:
        def test() -> None:
            play(main, lambda: Harness(limits=WorkerLimits(**limits)))

        test.__name__ = main.__name__
        return test

    return decorate


async def scale(h: Harness, number: int, name: str = GROUP) -> None:
    """As ``kubectl scale`` does."""
    body = {"spec": {"replicas": number}}
    await h.api.client("kubectl").patch(DASKWORKERGROUPS, NS, name, body, subresource="scale")


async def up(h: Harness, number: int, **spec: Any) -> None:
    h.cluster("demo", worker={"replicas": number}, **spec)
    h.start()
    await h.settle()


def renew(h: Harness) -> None:
    """The workers' spec changes."""
    image = {"containers": [{"name": "worker", "image": "dask:2"}]}
    h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": image}})


def images(h: Harness) -> list[str]:
    pods = [h.find(PODS, name) for name in h.workers()]
    return [p["spec"]["containers"][0]["image"] for p in pods]


@limited(group=5)
async def test_whoever_writes_the_number(h: Harness) -> None:
    h.judge.allow("failed", "more workers than the limit will ever allow")
    await up(h, HUGE)  # the cluster's own, copied
    assert len(h.workers()) == 5
    status, reason, message = h.condition(DASKWORKERGROUPS, GROUP, "Limited")
    assert (status, reason) == ("True", "GroupLimit")
    assert (
        message
        == f"{HUGE} workers of {GROUP} are wanted, 5 can be there: limits.workersPerGroup of the controller is 5"
    )
    for res, name in ((DASKWORKERGROUPS, GROUP), (DASKCLUSTERS, "demo")):
        assert h.condition(res, name, "Limited") == (status, reason, message)
        assert h.condition(res, name, "Stalled")[:2] == ("True", "Limited")
        assert f"5 of {HUGE} workers ready" in h.condition(res, name, "Ready")[2]
    await scale(h, 3)
    await h.settle()
    assert len(h.workers()) == 3
    assert h.condition(DASKWORKERGROUPS, GROUP, "Limited") == ("", "", "")
    assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
    await scale(h, HUGE)
    await h.settle()
    assert len(h.workers()) == 5
    h.group("extra", worker={"replicas": HUGE})  # another group's spec
    await h.settle()
    assert len(h.workers("extra")) == 5


@limited(group=4)
async def test_a_number_of_an_autoscaler(h: Harness) -> None:
    await up(h, 1)
    h.autoscaler(0, 1000)
    h.demand(1000)
    await h.settle()
    assert len(h.workers()) == 4
    assert h.condition(DASKWORKERGROUPS, GROUP, "Limited")[1] == "GroupLimit"


@limited()
async def test_so_many_groups_want_more_than_a_status_can_say(h: Harness) -> None:
    h.judge.allow("failed", "more workers than the limit will ever allow")
    h.cluster(
        "demo",
        worker={"replicas": HUGE},
        workerGroups=[{"name": f"g{n}", "worker": {"replicas": HUGE}} for n in range(3)],
        suspend=True,
    )
    h.start()
    await h.settle()
    for n in range(3):
        h.group(f"g{n}", worker={"replicas": HUGE})
    h.world.memory.places.limits = WorkerLimits(group=1)
    h.edit(DASKCLUSTERS, "demo", {"suspend": False})
    await h.settle()
    said = h.find(DASKCLUSTERS, "demo")["status"]["workers"]
    assert said["desired"] == 2**31 - 1


@limited(cluster=6)
async def test_a_clusters_groups_share_its_limit(h: Harness) -> None:
    await up(h, 4)
    h.group("extra", worker={"replicas": 4})
    await h.settle()
    assert (len(h.workers()), len(h.workers("extra"))) == (4, 2)
    status, reason, message = h.condition(DASKWORKERGROUPS, "extra", "Limited")
    assert (status, reason) == ("True", "ClusterLimit")
    assert message.endswith("limits.workersPerCluster of the controller is 6")
    assert h.condition(DASKWORKERGROUPS, GROUP, "Limited") == ("", "", "")
    await scale(h, 1)  # others leave: that is no news of the group's own
    await h.settle()
    assert (len(h.workers()), len(h.workers("extra"))) == (1, 4)
    assert h.condition(DASKWORKERGROUPS, "extra", "Ready")[0] == "True"


@pytest.mark.parametrize("scope", ["namespace", "controller"])
def test_clusters_that_grow_side_by_side_pass_no_limit(scope: str) -> None:
    async def main(h: Harness) -> None:
        most: list[int] = []
        judge = h.api.on_change

        def count(res: Any, old: JSON | None, new: JSON | None) -> None:
            assert judge is not None
            judge(res, old, new)
            if res == PODS and old is None:
                most.append(len(h.api.names(PODS, NS, f"{labels.COMPONENT}={labels.WORKER}")))

        h.api.on_change = count
        for name in ("a", "b", "c"):
            h.cluster(name, worker={"replicas": 60})
        h.start()
        await h.settle()
        assert max(most) == 100
        reasons = {h.condition(DASKCLUSTERS, n, "Limited")[1] for n in ("a", "b", "c")}
        assert f"{scope.capitalize()}Limit" in reasons

    play(main, lambda: Harness(limits=WorkerLimits(**{scope: 100})))


@limited(group=1000)
async def test_an_upgrade_that_brings_a_limit_takes_nobody_away(h: Harness) -> None:
    h.judge.allow("failed", "more workers than the limit will ever allow")
    await up(h, 8)
    before = h.workers()
    h.kill()
    h.settings = type(h.settings)(dask_image="dask:1", limits=WorkerLimits(group=3))
    h.start()
    await h.settle()
    assert h.workers() == before
    assert h.condition(DASKWORKERGROUPS, GROUP, "Limited") == ("", "", "")
    assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
    await scale(h, 20)
    await h.settle()
    assert h.workers() == before
    renew(h)
    await h.settle()
    assert images(h) == ["dask:2"] * 8
    await scale(h, 6)
    await h.settle()
    assert len(h.workers()) == 6
    h.delete_pod(h.workers()[0])
    await h.settle()
    assert len(h.workers()) == 5  # what ends is not replaced while there are too many


@pytest.mark.parametrize("strategy", [{}, {"maxSurge": 0, "maxUnavailable": 2}, {"maxSurge": 3}])
@pytest.mark.parametrize("want", [5, 9])
def test_a_roll_out_at_the_limit_ends_and_loses_no_worker(want: int, strategy: JSON) -> None:
    async def main(h: Harness) -> None:
        if want > 5:
            h.judge.allow("failed", "more workers than the limit will ever allow")
        await up(h, want, updateStrategy=strategy)
        seen: list[int] = []
        judge = h.api.on_change

        def count(res: Any, old: JSON | None, new: JSON | None) -> None:
            assert judge is not None
            judge(res, old, new)
            pods = h.api.items(PODS)
            live = [
                p
                for p in pods
                if p["metadata"]["labels"].get(labels.COMPONENT) == labels.WORKER
                and "deletionTimestamp" not in p["metadata"]
            ]
            seen.append(len(live))

        h.api.on_change = count
        renew(h)
        await h.settle()
        assert images(h) == ["dask:2"] * 5
        assert max(seen) <= 6
        assert min(seen) >= 5 - strategy.get("maxUnavailable", 0)

    play(main, lambda: Harness(limits=WorkerLimits(group=5)))


@limited(namespace=10)
async def test_two_that_roll_in_a_full_namespace_lose_no_worker(h: Harness) -> None:
    await up(h, 6)
    h.cluster("two", worker={"replicas": 6})
    await h.settle()
    assert len(h.workers("two-default")) == 4
    image = {"containers": [{"name": "worker", "image": "dask:2"}]}
    for name in ("demo", "two"):
        h.edit(DASKCLUSTERS, name, {"worker": {"spec": image}})
    await h.settle()
    assert (len(h.workers()), len(h.workers("two-default"))) == (6, 4)
    assert images(h) == ["dask:2"] * 6


@limited(group=1000)
async def test_a_thousand_come_in_turns(h: Harness) -> None:
    await up(h, 450)
    assert len(h.workers()) == 450
    told = [r.body["message"] for r in h.api.requests("create", EVENTS)]
    made = [m for m in told if m.startswith("created 200 workers")]
    assert len(made) == 2


@limited(group=4)
async def test_a_restart_in_a_roll_out_makes_no_room(h: Harness) -> None:
    """The number that the roll-out began with is remembered by no object; it must not creep up for that."""
    h.judge.allow("failed", "more workers than the limit will ever allow")
    await up(h, 12)
    assert len(h.workers()) == 4
    renew(h)
    peak = 0
    for moment in range(120):
        await h.pass_time(1.5)
        peak = max(peak, len(h.workers()))
        if moment in (1, 4, 9):
            h.restart()
    await h.settle()
    assert peak <= 5
    assert 3 <= len(h.workers()) <= 4
    assert set(images(h)) == {"dask:2"}


@pytest.mark.parametrize(
    "strategy",
    [
        {"maxSurge": 0, "maxUnavailable": "25%"},
        {"maxSurge": 0, "maxUnavailable": "50%"},
        {"maxSurge": 0, "maxUnavailable": 12},
        {"maxSurge": "50%", "maxUnavailable": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["group", "controller"])
def test_a_roll_out_above_a_limit_that_came_with_an_upgrade_takes_nobody_away(
    strategy: dict[str, Any], kind: str
) -> None:
    async def main(h: Harness) -> None:
        await up(h, 12, updateStrategy=strategy)
        h.kill()
        h.settings = replace(h.settings, limits=WorkerLimits(**{kind: 4}))
        h.start()
        await h.settle()
        renew(h)
        await h.pass_time(300)
        assert images(h) == ["dask:2"] * 12

    play(main)
