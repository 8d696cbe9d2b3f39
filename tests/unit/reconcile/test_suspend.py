"""The whole controller against the API server in memory: clusters that are suspended, and released again."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS, SERVICES
from dask_gitops.resources import labels

from tests.support.harness import NS, Harness
from tests.unit.reconcile.test_scenarios import GROUP, ready, replicas, scenario, up

JSON = dict[str, Any]


def suspend(h: Harness, value: bool = True) -> None:
    h.edit(DASKCLUSTERS, "demo", {"suspend": value})


def phase(h: Harness) -> str:
    return str(h.find(DASKCLUSTERS, "demo")["status"]["phase"])


def at_rest(h: Harness) -> None:
    """No pods, and everything says so."""
    assert h.api.names(PODS, NS) == []
    assert ready(h) == ("True", "Suspended")
    assert h.condition(DASKCLUSTERS, "demo", "Suspended")[0] == "True"
    assert h.condition(DASKCLUSTERS, "demo", "Reconciling")[0] == ""
    assert phase(h) == "Suspended"
    assert h.find(DASKCLUSTERS, "demo")["status"]["workers"] == {"desired": 0, "ready": 0}


def at_work(h: Harness, workers: int, group: str = GROUP) -> None:
    assert len(h.workers(group)) == workers
    assert ready(h) == ("True", "ClusterReady")
    assert ready(h, group, DASKWORKERGROUPS) == ("True", "WorkersReady")
    assert h.condition(DASKCLUSTERS, "demo", "Suspended")[0] == ""
    assert phase(h) == "Running"


@scenario
async def test_suspended_and_resumed(h: Harness) -> None:
    await up(h, workerGroups=[{"name": "big", "worker": {"replicas": 1}}])
    before = set(h.api.names(PODS, NS))
    writes = h.api.count("patch", DASKWORKERGROUPS, subresource="scale")
    suspend(h)
    await h.settle()
    at_rest(h)
    assert ready(h, GROUP, DASKWORKERGROUPS) == ("True", "Suspended")
    assert "3 declared" in h.condition(DASKWORKERGROUPS, GROUP, "Suspended")[2]
    assert h.find(SERVICES, "demo-scheduler")
    assert (replicas(h), replicas(h, "demo-big")) == (3, 1)
    assert h.api.count("patch", DASKWORKERGROUPS, subresource="scale") == writes
    assert h.events()[-1] == "Suspended"
    assert h.api.count("delete", PODS) == 5
    suspend(h, False)
    await h.settle()
    at_work(h, 3)
    assert len(h.workers("demo-big")) == 1
    assert before & set(h.api.names(PODS, NS)) == {"demo-scheduler"}
    # Who rested was not restarted.
    assert h.find(DASKCLUSTERS, "demo")["status"]["scheduler"] == {"restarts": 0}
    assert h.events()[-3:] == ["SchedulerCreated", "ScaledUp", "ScaledUp"]


@scenario
async def test_created_suspended_and_released(h: Harness) -> None:
    """As Kueue does it: nothing at all before."""
    await up(h, suspend=True)
    at_rest(h)
    assert h.created() == []
    assert h.api.items(SERVICES) == []
    assert h.api.items(DASKWORKERGROUPS) == []
    assert h.events() == []
    suspend(h, False)
    await h.settle()
    at_work(h, 3)
    assert h.api.count("create", PODS) == 4


@scenario
async def test_running_tasks_may_finish_first(h: Harness) -> None:
    await up(h, 2)
    h.schedulers.running = set(h.schedulers.workers())
    suspend(h)
    await h.pass_time(60)
    assert len(h.workers()) == 2
    assert ready(h) == ("False", "Suspending")
    assert h.condition(DASKCLUSTERS, "demo", "Reconciling")[0] == "True"
    assert h.condition(DASKCLUSTERS, "demo", "Suspended")[0] == ""
    assert "2 workers on the way out" in h.condition(DASKCLUSTERS, "demo", "Ready")[2]
    assert ready(h, GROUP, DASKWORKERGROUPS) == ("False", "Suspending")
    assert phase(h) == "Running"
    h.schedulers.running.clear()
    await h.settle()
    at_rest(h)


@scenario
async def test_results_have_no_place_and_go_when_time_is_up(h: Harness) -> None:
    await up(h, 2, drainTimeout=120)
    keys = h.schedulers.scatter()
    suspend(h)
    await h.pass_time(110)
    assert h.api.find(PODS, NS, "demo-scheduler") is not None
    assert len(h.workers()) == 1
    assert h.schedulers.all_keys() == keys
    assert h.condition(DASKWORKERGROUPS, GROUP, "ScaleDownHeld")[0] == "True"
    await h.settle()
    at_rest(h)
    assert h.schedulers.discarded == keys


@scenario
async def test_a_dead_scheduler_keeps_nobody(h: Harness) -> None:
    """Nor is it made anew, for workers that go."""
    await up(h, 2, drainTimeout=60)
    h.schedulers.silent = "does not answer (timeout after 5 s)"
    suspend(h)
    h.delete_pod("demo-scheduler")
    await h.pass_time(50)
    assert len(h.workers()) == 2
    await h.settle()
    at_rest(h)
    assert h.api.count("create", PODS) == 3
    assert "ResultsDiscarded" in h.events()


@scenario
async def test_resumed_while_the_workers_drain(h: Harness) -> None:
    await up(h)
    h.schedulers.running = set(h.schedulers.workers())
    before = h.api.names(PODS, NS)
    suspend(h)
    await h.pass_time(30)
    suspend(h, False)
    await h.settle()
    assert h.api.names(PODS, NS) == before
    assert h.schedulers.leaving == set()
    at_work(h, 3)


@scenario
async def test_resumed_while_the_scheduler_ends(h: Harness) -> None:
    await up(h, 1)
    slow = h.find(PODS, "demo-scheduler")["metadata"]["uid"]
    h.kubelet.lost.add(slow)
    suspend(h)
    await h.pass_time(20)
    (pod,) = h.api.items(PODS)
    assert "deletionTimestamp" in pod["metadata"]
    assert ready(h) == ("False", "Suspending")
    suspend(h, False)
    await h.pass_time(5)
    h.kubelet.lost.discard(slow)
    await h.settle()
    at_work(h, 1)
    assert h.find(DASKCLUSTERS, "demo")["status"]["scheduler"] == {"restarts": 0}
    assert h.events().count("SchedulerCreated") == 2
    assert "SchedulerReplaced" not in h.events()


@scenario
async def test_what_changes_meanwhile_holds_from_then_on(h: Harness) -> None:
    """Spec, numbers and groups: nothing is created for them before."""
    await up(h, workerGroups=[{"name": "big", "worker": {"replicas": 1}}])
    suspend(h)
    await h.settle()
    created = len(h.created())
    container = {"containers": [{"name": "worker", "env": [{"name": "NEW", "value": "1"}]}]}
    spec = {
        "image": "dask:2",
        "worker": {"replicas": 2, "spec": container},
        "workerGroups": [{"name": "small", "worker": {"replicas": 1}}],
    }
    h.edit(DASKCLUSTERS, "demo", spec)
    await h.settle()
    at_rest(h)
    assert len(h.created()) == created
    assert h.api.names(DASKWORKERGROUPS, NS) == [GROUP]
    assert replicas(h) == 2
    suspend(h, False)
    await h.settle()
    at_work(h, 2)
    assert len(h.workers("demo-small")) == 1
    images = {p["spec"]["containers"][0]["image"] for p in h.api.items(PODS)}
    assert images == {"dask:2"}
    assert "SchedulerUpdating" not in h.events()


@scenario
async def test_suspended_in_the_middle_of_a_roll_out(h: Harness) -> None:
    await up(h, 4)
    h.schedulers.scatter()
    spec = {"containers": [{"name": "worker", "env": [{"name": "NEW", "value": "1"}]}]}
    h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": spec}, "drainTimeout": 60})
    await h.pass_time(3)
    suspend(h)
    await h.settle()
    at_rest(h)
    suspend(h, False)
    await h.settle()
    at_work(h, 4)
    workers = h.api.items(PODS, None, f"{labels.GROUP}={GROUP}")
    assert all("NEW" in str(p["spec"]) for p in workers)


@scenario
async def test_a_group_that_somebody_else_declared_rests_too(h: Harness) -> None:
    await up(h, 1)
    h.group("more", worker={"replicas": 2})
    await h.settle()
    suspend(h)
    await h.settle()
    at_rest(h)
    assert ready(h, "more", DASKWORKERGROUPS) == ("True", "Suspended")
    suspend(h, False)
    await h.settle()
    at_work(h, 2, "more")


@scenario
async def test_a_default_group_that_is_deleted_leaves_no_workers_behind(h: Harness) -> None:
    await up(h)
    suspend(h)
    h.api._delete(DASKWORKERGROUPS, h.api._must(DASKWORKERGROUPS, NS, GROUP), None, None)
    await h.settle()
    at_rest(h)
    suspend(h, False)
    await h.settle()
    at_work(h, 3)


@scenario
async def test_workers_that_never_started_go_at_once(h: Harness) -> None:
    h.kubelet.room = 1  # the scheduler's
    h.cluster(worker={"replicas": 3})
    h.start()
    await h.pass_time(20)
    suspend(h)
    await h.settle()
    at_rest(h)
    h.kubelet.room = None
    suspend(h, False)
    await h.settle()
    at_work(h, 3)


@scenario
async def test_a_number_that_nobody_gives_is_not_written(h: Harness) -> None:
    await up(h, None, suspend=True)
    h.group("own", worker={})
    await h.settle()
    at_rest(h)
    assert replicas(h, "own") is None
    suspend(h, False)
    await h.settle()
    assert (replicas(h, "own"), replicas(h)) == (1, 1)
    at_work(h, 1, "own")


@pytest.mark.parametrize("when", ["draining", "at rest", "resumed"])
def test_a_wiped_status_changes_nothing(when: str) -> None:
    async def story(h: Harness) -> None:
        await up(h)
        suspend(h)
        await h.pass_time(1)
        if when != "draining":
            await h.settle()
        if when == "resumed":
            suspend(h, False)
            await h.settle()
        for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, GROUP)):
            h.api.edit(res, NS, name, {"status": None})
        h.restart()
        await h.settle()
        if when == "resumed":
            at_work(h, 3)
        else:
            at_rest(h)
        assert h.api.count("create", PODS) == (8 if when == "resumed" else 4)

    scenario(story)()


@scenario
async def test_resumed_under_a_new_leader_whose_list_is_late(h: Harness) -> None:
    """He sees the scheduler that went with the suspension, and takes its successor for no restart."""
    await up(h)
    before = h.api.snapshot()
    suspend(h)
    await h.settle()
    h.kill()
    suspend(h, False)
    h.api.stale_lists(before)
    h.start()
    await h.settle()
    at_work(h, 3)
    assert h.find(DASKCLUSTERS, "demo")["status"]["scheduler"] == {"restarts": 0}
