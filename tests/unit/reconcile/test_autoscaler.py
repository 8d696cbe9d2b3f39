"""The whole controller against the API server in memory: how an autoscaler meets demand, people and trouble."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS, EVENTS, PODS

from tests.support.harness import NS, Harness, play
from tests.unit.reconcile.test_replicas import overridden, scale
from tests.unit.reconcile.test_scenarios import GROUP, Story, ready, replicas

JSON = dict[str, Any]
WINDOW = 90  # of a scale-down, by default
LOOK = 6  # a look, and what comes of it


def scaled(story: Story) -> Any:
    """A test that plays the story; afterwards, while nothing changes, nothing is written."""

    def test() -> None:
        async def main(h: Harness) -> None:
            await story(h)
            await h.pass_time(WINDOW + 90)
            writes = len([r for r in h.api.log if r.verb != "watch"])
            await h.pass_time(300)
            new = [r for r in h.api.log if r.verb != "watch"][writes:]
            assert not new, new
            assert not h.bugs, h.bugs
            assert not h.schedulers.lost | h.schedulers.discarded

        play(main)

    test.__doc__ = story.__doc__
    return test


async def up(h: Harness, minimum: int = 1, maximum: int = 10, **spec: Any) -> None:
    """A cluster with its autoscaler, at rest."""
    h.cluster(worker={}, **spec)
    h.autoscaler(minimum, maximum)
    h.start()
    await h.pass_time(40)
    assert ready(h) == ("True", "ClusterReady")
    assert ready(h, res=DASKAUTOSCALERS) == ("True", "Steering")


def status(h: Harness, name: str = "demo") -> JSON:
    found: JSON = h.find(DASKAUTOSCALERS, name)["status"]
    return found


def scales(h: Harness) -> list[int]:
    """The numbers that autoscalers wrote, in order."""
    done = h.api.requests("patch", DASKWORKERGROUPS, subresource="scale")
    return [r.body["spec"]["replicas"] for r in done if str(r.status).startswith("200")][1:]


# ---- up and down


@scaled
async def test_it_follows_the_demand_and_says_so(h: Harness) -> None:
    await up(h)
    assert status(h)["currentReplicas"] == status(h)["desiredReplicas"] == 1
    h.demand(6)
    await h.pass_time(30)
    assert len(h.workers()) == 6
    found = status(h)
    assert found["lastDecision"] == "6 tasks queued for 1 worker: 1 to 6"
    assert (found["currentReplicas"], found["desiredReplicas"]) == (6, 6)
    h.demand(0)
    await h.pass_time(WINDOW - 10)
    assert len(h.workers()) == 6
    await h.pass_time(40)
    assert len(h.workers()) == 1
    assert status(h)["lastDecision"] == "nothing to do for 90 s: 6 to 1, limited by the minimum"
    assert scales(h) == [6, 1]
    # One Event for each decision; the group tells of its pods.
    about = [
        r.body["message"]
        for r in h.api.requests("create", EVENTS)
        if r.body["involvedObject"]["kind"] == "DaskAutoscaler"
    ]
    assert about == [
        "6 tasks queued for 1 worker: 1 to 6",
        "nothing to do for 90 s: 6 to 1, limited by the minimum",
    ]


@scaled
async def test_it_never_clears_ready(h: Harness) -> None:
    await up(h)
    seen = []
    for count in (4, 10, 0):
        h.demand(count)
        for _ in range(40):
            await h.pass_time(3)
            seen += [ready(h)[0], ready(h, GROUP, DASKWORKERGROUPS)[0]]
    assert set(seen) == {"True"}
    assert len(h.workers()) == 1


@scaled
async def test_nothing_but_the_scale_subresource_is_written(h: Harness) -> None:
    await up(h)
    h.demand(5)
    await h.pass_time(30)
    for r in h.api.requests("patch", DASKWORKERGROUPS):
        assert r.subresource in ("scale", "status")
        if r.subresource == "scale":
            assert r.body["metadata"]["resourceVersion"]
    assert not [r for r in h.api.requests("patch", DASKAUTOSCALERS) if r.subresource != "status"]


@scaled
async def test_pending_pods_go_before_workers(h: Harness) -> None:
    """40 are wanted, 15 run, 25 never start; then 10 are wanted."""
    await up(h, 1, 40)
    h.kubelet.room = 16
    h.demand(40)
    await h.pass_time(30)
    h.schedulers.scatter()
    ran = {pod["metadata"]["name"] for pod in h.schedulers.workers().values()}
    assert (len(h.workers()), len(ran)) == (40, 15)
    h.demand(10)
    await h.pass_time(WINDOW + 40)
    deleted = [r.name in ran for r in h.api.requests("delete", PODS)]
    assert deleted == [False] * 25 + [True] * 5
    assert len(h.workers()) == 10
    assert len(h.schedulers.retired) == 5


@pytest.mark.parametrize("interval", [5, 2])
def test_load_on_and_off_every_half_minute_for_ten_minutes(interval: int) -> None:
    peak, half, span = 20, 30, 570  # from the first task to the end of the last ones

    async def main(h: Harness) -> None:
        h.cluster(worker={})
        h.autoscaler(1, peak, interval=interval)
        h.start()
        await h.pass_time(40)
        begin, counts = h._time(), []

        async def watch(seconds: float) -> None:
            for _ in range(int(seconds)):
                await h.pass_time(1)
                counts.append(len(h.workers()))

        for _ in range(10):
            h.demand(200)
            await watch(half)
            h.demand(0)
            await watch(half if h._time() - begin < span else 0)
        after = len(counts)
        await watch(WINDOW + interval + 25)
        assert max(counts) == peak
        numbers = scales(h)
        downs = [b for a, b in zip([1, *numbers], numbers, strict=False) if b < a]
        assert len(downs) <= 2
        assert min(counts[after + WINDOW + interval + 15 :]) == 1, counts[after:]
        assert sum(counts) <= 1.2 * peak * span
        assert not h.schedulers.lost

    play(main)


@scaled
async def test_windows_and_steps(h: Harness) -> None:
    up_slowly = {"stabilizationSeconds": 20, "maxPercent": 100}
    h.cluster(worker={})
    h.autoscaler(
        1,
        10,
        scaleUp=up_slowly,
        scaleDown={"stabilizationSeconds": 30, "maxPercent": 50},
    )
    h.start()
    await h.pass_time(60)
    h.demand(10)
    await h.pass_time(15)
    assert scales(h) == []
    await h.pass_time(60)
    assert scales(h) == [2, 4, 8, 10]
    h.demand(0)
    await h.pass_time(25)
    assert len(scales(h)) == 4
    await h.pass_time(80)
    assert scales(h)[4:] == [5, 3, 2, 1]
    assert status(h)["lastDecision"].startswith("nothing to do for 30 s: 2 to 1")


@scaled
async def test_a_dip_is_shorter_than_the_window(h: Harness) -> None:
    await up(h)
    h.demand(5)
    await h.pass_time(LOOK)
    for _ in range(4):
        h.demand(0)
        await h.pass_time(60)
        h.demand(5)
        await h.pass_time(20)
    assert scales(h) == [5]
    h.demand(0)


@scaled
async def test_a_resource_grows_its_group_from_nothing_and_back(h: Harness) -> None:
    h.cluster(worker={"replicas": 1})
    h.group("gpu", worker={"replicas": 0, "resources": {"GPU": 1}})
    h.autoscaler(0, 4, "gpus", workerGroup="gpu")
    h.autoscaler(1, 4)
    h.schedulers.resources["gpu"] = {"GPU": 1.0}
    h.start()
    await h.pass_time(40)
    h.demand(3, GPU=1)
    await h.pass_time(30)
    assert (len(h.workers("gpu")), len(h.workers())) == (3, 1)
    assert status(h, "gpus")["lastDecision"] == "3 tasks that need GPU queued for 0 workers: 0 to 3"
    # What they computed is held in memory, and may move to the other group.
    h.schedulers.scatter()
    h.demand(0, GPU=1)
    h.demand(2)
    await h.pass_time(WINDOW + 40)
    assert (len(h.workers("gpu")), len(h.workers())) == (0, 2)
    h.demand(0)
    assert len(h.schedulers.all_keys()) == 8


@scaled
async def test_results_keep_a_worker(h: Harness) -> None:
    """Also when no task is left and the minimum is 0."""
    await up(h, 0)
    h.demand(3)
    await h.pass_time(30)
    h.schedulers.scatter()
    h.demand(0)
    await h.pass_time(WINDOW + 40)
    assert len(h.workers()) == 1
    assert len(h.schedulers.all_keys()) == 6
    h.schedulers.keys.clear()
    await h.pass_time(WINDOW + 40)
    assert len(h.workers()) == 0
    assert ready(h) == ("True", "ClusterReady")


@scaled
async def test_a_worker_with_a_running_task_stays(h: Harness) -> None:
    await up(h)
    h.demand(4)
    await h.pass_time(30)
    h.schedulers.running = set(sorted(h.schedulers.workers())[:2])
    h.demand(0)
    await h.pass_time(WINDOW + 60)
    assert len(h.workers()) == 2
    assert status(h)["lastDecision"] == "2 of 4 workers needed for 90 s: 4 to 2"
    h.schedulers.running.clear()


@scaled
async def test_a_zero_of_an_autoscaler_discards_nothing(h: Harness) -> None:
    """The last results come between its look and the drain; then nobody answers, for longer than drainTimeout."""
    await up(h, 0, drainTimeout=20)
    h.demand(2)
    await h.pass_time(30)

    def meanwhile(request: Any) -> None:
        if request.subresource == "scale" and request.body["spec"]["replicas"] == 0:
            h.schedulers.scatter()
            h.schedulers.silent = "does not answer"

    h.api.admission.append(meanwhile)
    h.demand(0)
    await h.pass_time(WINDOW + 200)
    assert (replicas(h), len(h.workers())) == (0, 2)
    assert len(h.schedulers.all_keys()) == 4
    h.schedulers.silent = None
    await h.pass_time(60)
    assert replicas(h) == 1
    assert h.workers()
    assert len(h.schedulers.all_keys()) == 4


# ---- who does not answer, what is not there


@scaled
async def test_a_scheduler_that_is_silent_holds_the_number(h: Harness) -> None:
    await up(h)
    h.demand(5)
    await h.pass_time(20)
    h.schedulers.silent = "does not answer (timeout after 5 s)"
    h.demand(0)
    await h.pass_time(20)
    assert ready(h, res=DASKAUTOSCALERS) == ("True", "Steering")  # a moment is nothing to tell
    await h.pass_time(200)
    assert len(h.workers()) == 5
    kind = h.condition(DASKAUTOSCALERS, "demo", "Reconciling")
    assert kind == (
        "True",
        "SchedulerSilent",
        "5 workers stay: the scheduler does not answer (timeout after 5 s)",
    )
    h.schedulers.silent = None
    await h.pass_time(WINDOW - 10)
    assert len(h.workers()) == 5  # what was wished before the silence says nothing
    await h.pass_time(40)
    assert len(h.workers()) == 1
    assert ready(h, res=DASKAUTOSCALERS) == ("True", "Steering")


@scaled
async def test_cluster_and_group_may_come_later(h: Harness) -> None:
    h.autoscaler(2, 5)
    h.autoscaler(1, 5, "more", workerGroup="more")
    h.start()
    await h.pass_time(20)
    for name in ("demo", "more"):
        assert h.condition(DASKAUTOSCALERS, name, "Reconciling")[:2] == ("True", "ClusterMissing")
    h.cluster(worker={})
    await h.pass_time(30)
    assert h.condition(DASKAUTOSCALERS, "more", "Reconciling") == (
        "True",
        "GroupMissing",
        "waits for DaskWorkerGroup more of demo",
    )
    assert len(h.workers()) == 2
    assert status(h)["lastDecision"] == "the minimum is 2: 1 to 2"
    h.group("more", "other", worker={"replicas": 3})
    await h.pass_time(10)
    assert h.condition(DASKAUTOSCALERS, "more", "Reconciling")[1] == "GroupMissing"
    h.api.remove(DASKWORKERGROUPS, NS, "more")
    h.group("more", worker={"replicas": 3})
    await h.pass_time(20)
    assert ready(h, "more", DASKAUTOSCALERS) == ("True", "Steering")
    asked = len(h.schedulers.calls)
    h.api._delete(DASKCLUSTERS, h.api._must(DASKCLUSTERS, NS, "demo"), None, "Background")
    await h.pass_time(60)
    assert h.condition(DASKAUTOSCALERS, "demo", "Reconciling")[1] == "ClusterMissing"
    assert len(h.schedulers.calls) - asked < 5


@scaled
async def test_a_scheduler_that_is_down_is_not_asked(h: Harness) -> None:
    await up(h)
    h.demand(4)
    await h.pass_time(20)
    h.kubelet.set_ready(NS, "demo-scheduler", False)
    await h.pass_time(5)
    asked = len(h.schedulers.calls)
    await h.pass_time(60)
    assert len(h.schedulers.calls) == asked
    assert ready(h, res=DASKAUTOSCALERS) == ("False", "SchedulerNotReady")
    assert replicas(h) == 4
    h.kubelet.set_ready(NS, "demo-scheduler", True)
    h.demand(0)


@scaled
async def test_a_suspended_cluster_is_not_asked(h: Harness) -> None:
    await up(h)
    h.demand(4)
    await h.pass_time(20)
    h.edit(DASKCLUSTERS, "demo", {"suspend": True})
    await h.pass_time(60)
    asked = [what for what, _ in h.schedulers.calls].count("demand")
    await h.pass_time(60)
    assert [what for what, _ in h.schedulers.calls].count("demand") == asked
    assert (replicas(h), len(h.workers())) == (4, 0)
    assert ready(h, res=DASKAUTOSCALERS) == ("True", "ClusterRests")
    h.edit(DASKCLUSTERS, "demo", {"suspend": False})
    await h.pass_time(60)
    assert ready(h, res=DASKAUTOSCALERS) == ("True", "Steering")
    assert len(h.workers()) == 4
    h.demand(0)


# ---- several, and people


@scaled
async def test_of_two_for_one_group_the_older_rules(h: Harness) -> None:
    h.judge.allow("failed", "the second autoscaler of a group")
    await up(h, 2, 3)
    h.autoscaler(6, 9, "second", workerGroup=GROUP)
    await h.pass_time(30)
    assert len(h.workers()) == 2
    assert h.condition(DASKAUTOSCALERS, "second", "Stalled") == (
        "True",
        "SecondAutoscaler",
        "DaskAutoscaler demo is older and sizes demo-default already",
    )
    h.api.remove(DASKAUTOSCALERS, NS, "demo")
    await h.pass_time(30)
    assert len(h.workers()) == 6
    assert ready(h, "second", DASKAUTOSCALERS) == ("True", "Steering")


@scaled
async def test_deleting_it_leaves_the_size(h: Harness) -> None:
    await up(h)
    h.demand(7)
    await h.pass_time(20)
    h.api.remove(DASKAUTOSCALERS, NS, "demo")
    h.demand(0)
    await h.pass_time(WINDOW + 60)
    assert (len(h.workers()), replicas(h)) == (7, 7)
    assert ready(h) == ("True", "ClusterReady")
    asked = len(h.schedulers.calls)
    await scale(h, 3)
    await h.pass_time(60)
    assert (len(h.workers()), replicas(h)) == (3, 3)
    assert "demand" not in {what for what, _ in h.schedulers.calls[asked:]}


@scaled
async def test_a_persons_number_has_its_window(h: Harness) -> None:
    await up(h)
    await h.pass_time(WINDOW)
    await scale(h, 4)
    await h.pass_time(WINDOW - 10)
    assert len(h.workers()) == 4
    await h.pass_time(30)
    assert len(h.workers()) == 1
    assert h.condition(DASKAUTOSCALERS, "demo", "Contested")[0] == ""


@scaled
async def test_the_clusters_number_is_copied_and_the_demand_has_the_last_word(h: Harness) -> None:
    h.cluster(worker={"replicas": 2})
    h.autoscaler(1, 10)
    h.start()
    await h.pass_time(40)
    h.demand(6)
    await h.pass_time(20)
    assert (replicas(h), overridden(h)[0]) == (6, "")
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 8}})
    await h.pass_time(20)
    assert (replicas(h), overridden(h)[0]) == (8, "")
    await h.pass_time(WINDOW)
    assert (replicas(h), overridden(h)[0]) == (6, "")
    h.demand(0)


@scaled
async def test_who_keeps_resetting_the_number_is_left_alone_for_a_while(h: Harness) -> None:
    await up(h)
    h.demand(5)
    resets = 0
    for _ in range(300):
        await h.pass_time(1)
        if replicas(h) == 5:
            resets += 1
            await scale(h, 1)
    assert h.condition(DASKAUTOSCALERS, "demo", "Contested")[:2] == ("True", "NumberIsReset")
    assert ready(h, res=DASKAUTOSCALERS)[0] == "True"
    assert 3 <= resets <= 6
    h.demand(0)
    await h.pass_time(2000)
    assert h.condition(DASKAUTOSCALERS, "demo", "Contested")[0] == ""
    h.demand(2)
    await h.pass_time(10)
    assert len(h.workers()) == 2
    h.demand(0)


@scaled
async def test_bounds_hold_at_once(h: Harness) -> None:
    await up(h, 1, 10)
    h.demand(10)
    await h.pass_time(20)
    h.edit(DASKAUTOSCALERS, "demo", {"maximum": 4})
    await h.pass_time(20)
    assert len(h.workers()) == 4
    assert status(h)["lastDecision"] == "the maximum is 4: 10 to 4"
    h.edit(DASKAUTOSCALERS, "demo", {"minimum": 4})
    h.demand(0)
    await h.pass_time(WINDOW + 20)
    assert len(h.workers()) == 4


@scaled
async def test_a_wiped_status_and_a_new_process_change_nothing(h: Harness) -> None:
    await up(h)
    h.demand(3)
    await h.pass_time(20)
    before = h.picture()
    h.api.edit(DASKAUTOSCALERS, NS, "demo", {"status": None})
    await h.pass_time(20)
    assert h.picture() == before
    h.demand(0)
    await h.pass_time(WINDOW - 20)
    h.restart()
    h.demand(3)
    await h.pass_time(30)
    assert h.picture() == before
    h.demand(0)
    await h.pass_time(WINDOW - 10)
    assert len(h.workers()) == 3  # the window began anew


@scaled
async def test_a_refused_number_is_told(h: Harness) -> None:
    await up(h)

    def no(request: Any) -> None:
        if request.subresource == "scale":
            raise ApiError(403, "Forbidden", "you may not scale")

    h.api.admission.append(no)
    h.demand(3)
    await h.pass_time(30)
    assert ready(h, res=DASKAUTOSCALERS) == ("False", "Forbidden")
    assert "you may not scale" in h.condition(DASKAUTOSCALERS, "demo", "Ready")[2]
    h.api.admission.remove(no)
    await h.pass_time(30)
    assert len(h.workers()) == 3
    assert ready(h, res=DASKAUTOSCALERS) == ("True", "Steering")


# ---- declared by the cluster


INLINE = {"minimum": 1, "maximum": 5, "interval": 2}


def ours(h: Harness) -> JSON | None:
    return h.api.find(DASKAUTOSCALERS, NS, "demo")


@scaled
async def test_a_cluster_declares_its_own(h: Harness) -> None:
    h.cluster(worker={}, autoscaler=INLINE)
    h.start()
    await h.pass_time(40)
    found = h.find(DASKAUTOSCALERS, "demo")
    assert found["spec"] == {"cluster": "demo", **INLINE}
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("DaskCluster", True)
    assert ready(h) == ("True", "ClusterReady")
    h.demand(4)
    await h.pass_time(15)
    assert len(h.workers()) == 4
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": {"maximum": 3, "scaleDown": {"maxPercent": 50}}})
    await h.pass_time(20)
    spec = h.find(DASKAUTOSCALERS, "demo")["spec"]
    assert (spec["maximum"], spec["scaleDown"]) == (3, {"maxPercent": 50})
    assert len(h.workers()) == 3
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": None})
    await h.pass_time(20)
    assert ours(h) is None
    assert (len(h.workers()), ready(h)) == (3, ("True", "ClusterReady"))


@scaled
async def test_deleted_by_somebody_it_stays_away_until_the_spec_changes(h: Harness) -> None:
    """As KubeCluster.scale does: delete the autoscaler, then scale."""
    h.cluster(worker={}, autoscaler=INLINE)
    h.start()
    await h.pass_time(40)
    h.api.remove(DASKAUTOSCALERS, NS, "demo")
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 4}})
    await h.pass_time(WINDOW + 60)
    assert ours(h) is None
    assert len(h.workers()) == 4
    h.restart()
    h.edit(DASKCLUSTERS, "demo", {"drainTimeout": 60})
    await h.pass_time(30)
    assert ours(h) is None
    assert ready(h) == ("True", "ClusterReady")
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": {"maximum": 6}})
    await h.pass_time(20)
    assert h.find(DASKAUTOSCALERS, "demo")["spec"]["maximum"] == 6


@scaled
async def test_changed_by_somebody_it_stays_so_until_the_spec_changes(h: Harness) -> None:
    """As KubeCluster.adapt does."""
    h.cluster(worker={}, autoscaler=INLINE)
    h.start()
    await h.pass_time(40)
    h.edit(DASKAUTOSCALERS, "demo", {"minimum": 2, "maximum": 3})
    await h.pass_time(30)
    assert h.find(DASKAUTOSCALERS, "demo")["spec"]["minimum"] == 2
    assert len(h.workers()) == 2
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": {"maximum": 9}})
    await h.pass_time(20)
    assert h.find(DASKAUTOSCALERS, "demo")["spec"] == {"cluster": "demo", **INLINE, "maximum": 9}


@scaled
async def test_one_that_we_did_not_make_is_neither_changed_nor_deleted(h: Harness) -> None:
    """Not even when another operator adopted it."""
    made = h.cluster(worker={}, autoscaler=None)
    owner = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo"}
    owner |= {"uid": made["metadata"]["uid"], "controller": True}
    h.autoscaler(1, 3)
    h.api.edit(DASKAUTOSCALERS, NS, "demo", {"metadata": {"ownerReferences": [owner]}})
    h.start()
    await h.pass_time(40)
    assert (ours(h) or {})["spec"]["maximum"] == 3
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": INLINE})
    await h.pass_time(5)
    assert (ours(h) or {})["spec"]["maximum"] == 3
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": None})
    await h.pass_time(20)
    assert ours(h) is not None


@scaled
async def test_it_goes_with_its_cluster(h: Harness) -> None:
    h.cluster(worker={}, autoscaler=INLINE)
    h.start()
    await h.pass_time(40)
    h.api._delete(DASKCLUSTERS, h.api._must(DASKCLUSTERS, NS, "demo"), None, "Background")
    await h.pass_time(60)
    assert ours(h) is None
    assert not h.api.items(PODS)
    assert not h.world.memory.scaling


# ---- idle


def test_an_idle_autoscaler_asks_and_writes_nothing() -> None:
    async def main(h: Harness) -> None:
        await up(h)
        await h.pass_time(WINDOW)
        log, calls = len(h.api.log), len(h.schedulers.calls)
        await h.pass_time(300)
        assert not [r for r in h.api.log[log:] if r.verb != "watch"]
        assert 55 <= len(h.schedulers.calls) - calls <= 61

    play(main)


def test_a_person_who_is_faster_is_not_overwritten() -> None:
    """The number is written only over the one that was judged."""

    async def main(h: Harness) -> None:
        await up(h)

        def meanwhile(request: Any) -> None:
            if request.subresource == "scale" and request.client == "controller":
                h.api.admission.remove(meanwhile)
                h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 8}})

        h.api.admission.append(meanwhile)
        h.demand(3)
        await h.pass_time(30)
        assert replicas(h) == 8
        await asyncio.sleep(0)

    play(main)
