"""From what runs, not from what was declared: the numbers are real, and what somebody did by hand shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from dask_gitops.cli.plan.memory import KINDS
from dask_gitops.cli.plan.rehearsal import Id, Picture
from dask_gitops.kube.resource import DASKWORKERGROUPS, PODS
from dask_gitops.reconcile.stores import RESOURCES

from tests.support.harness import NS, Harness, play
from tests.unit.cli.plan.objects import autoscaler, cluster, container, env, group, job, told

Declared = dict[Id, dict[str, Any]]


async def nothing(h: Harness) -> None:
    pass


def live(
    declared: Declared, then: Callable[[Harness], Awaitable[None]] = nothing, seconds: float = 300
) -> Picture:
    """All objects after the controller has made of them what it does, and then something else happened."""
    found: Picture = {}

    async def main(h: Harness) -> None:
        h.judge.allow("in-progress", "looked at in the middle") if then is cut_off else None
        for of, raw in declared.items():
            h.api.put(RESOURCES[of.kind], raw)
        h.start()
        await h.settle()
        h.schedulers.scatter()
        await then(h)
        await h.pass_time(seconds)
        for resource in KINDS:
            objects = h.api.items(resource)
            found[resource] = {(NS, obj["metadata"]["name"]): obj for obj in objects}

    play(main)
    return found


async def cut_off(h: Harness) -> None:
    """Workers are on their way out."""
    h.schedulers.running = set(h.schedulers.workers())
    h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": 1}})


async def scale(h: Harness) -> None:
    h.edit(DASKWORKERGROUPS, "demo-gpu", {"worker": {"replicas": 5}})


def test_at_rest_it_is_as_declared() -> None:
    before = cluster(worker=env("1")) | group()
    assert told(before, before, live(before)) == []
    assert told(before, cluster(worker=env("2")) | group(), live(before)) == [
        "cluster demo: 4 workers are replaced, one after the other; each hands over first"
    ]


def test_somebody_scaled_a_group_that_git_has_a_number_for() -> None:
    before = cluster() | group(2)
    assert told(before, before, live(before, scale)) == [
        "group demo-gpu: live it was scaled to 5; before the change 2 are declared",
        "group demo-gpu: 3 of 5 workers leave, handing over their results",
    ]
    external = cluster() | group(None)
    assert told(external, external, live(external, scale)) == []
    changed = cluster() | group(None, worker=env("2"))
    assert told(external, changed, live(external, scale)) == [
        "group demo-gpu: 5 workers are replaced, 2 at a time; each hands over first"
    ]


def test_somebody_scaled_the_default_group() -> None:
    before = cluster(2)

    async def scale_default(h: Harness) -> None:
        h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": 6}})

    there = live(before, scale_default)
    already = "cluster demo: already now: ReplicasOverridden: spec.worker.replicas is 2, the worker group was scaled to 6"
    assert told(before, before, there) == [already]
    assert told(before, cluster(3), there) == [
        "cluster demo: 3 of 6 workers leave, handing over their results",
        already,
    ]


def test_an_earlier_change_still_waits() -> None:
    before = cluster(image="d:1")
    there = live(before)
    there[RESOURCES["DaskCluster"]][NS, "demo"]["spec"]["image"] = "d:2"
    assert told(before, cluster(image="d:2"), there) == [
        "! cluster demo: the scheduler waits until it is idle, then it is replaced, and 4 workers with it"
    ]
    assert told(before, before, there) == []  # git takes it back before it happened


def test_workers_on_their_way_out_go_on() -> None:
    before = cluster(4)
    there = live(before, cut_off, seconds=20)
    assert len(there[PODS]) == 5
    lines = told(before, before, there)
    assert lines[0] == "cluster demo: 3 of 4 workers leave, handing over their results"


def test_what_nobody_has_made_live_is_added_and_what_others_made_stays() -> None:
    other = cluster(name="other")
    assert told({}, cluster(), live(other)) == ["cluster demo: added: a scheduler and 4 workers"]
    assert told(cluster(), cluster(), live(other)) == [
        "cluster demo: added: a scheduler and 4 workers"
    ]


def test_a_group_without_its_cluster() -> None:
    assert told(group(), group(3), live(group())) == ["group demo-gpu: waits for DaskCluster demo"]


def test_a_parked_cluster_is_not_woken() -> None:
    before = cluster(2, idleTimeout=60, idleAction="Scale")

    async def rest(h: Harness) -> None:
        h.schedulers.keys.clear()

    there = live(before, rest)
    assert [name for _, name in there[PODS]] == ["demo-scheduler"]
    assert told(before, before, there) == []
    assert told(before, cluster(3, idleTimeout=60, idleAction="Scale"), there) == [
        "cluster demo: holds from now on; no Pod is replaced"
    ]
    assert told(before, cluster(2, image="d:2", idleTimeout=60, idleAction="Scale"), there) == [
        "! cluster demo: the scheduler is replaced at once, as the cluster is parked"
    ]
    assert told(before, cluster(2), there) == [
        "cluster demo: it is neither deleted nor parked any more when nobody uses it",
        "cluster demo: 2 more workers, 0 to 2",
    ]


def test_without_the_earlier_side_nothing_is_removed() -> None:
    there = live(cluster(2) | group(1))
    assert told({}, cluster(3), there) == ["cluster demo: 1 more worker, 2 to 3"]


def test_the_number_of_an_autoscaler() -> None:
    before = cluster(None) | autoscaler(1, 9)

    async def grow(h: Harness) -> None:
        h.schedulers.running = set(h.schedulers.workers())
        h.demand(6)

    there = live(before, grow, seconds=60)
    number = sum("demo-default" in name for _, name in there[PODS])
    assert number > 2
    assert told(before, cluster(None) | autoscaler(1, 2), there) == [
        f"cluster demo: {number - 2} of {number} workers leave, handing over their results",
        "cluster demo: its autoscaler's limits: 1 to 9 become 1 to 2; who is too many hands over and leaves",
    ]


def test_a_job_that_has_ended() -> None:
    before = job()

    async def end(h: Harness) -> None:
        h.kubelet.finish(NS, "nightly-runner", 0)

    there = live(before, end)
    assert told(before, {}, there) == ["job nightly: removed; it has ended"]
    assert told(before, job(job=container("job", image="etl:2")), there) == [
        "job nightly: it has ended: the change counts for a later run"
    ]
    assert told(before, job(restartedAt="2040-01-01T00:00:00Z"), there) == [
        "job nightly: runs once more, on a scheduler and 3 workers"
    ]
    assert told(before, job(suspend=True), there) == [
        "job nightly: it has ended: the change counts for a later run"
    ]
