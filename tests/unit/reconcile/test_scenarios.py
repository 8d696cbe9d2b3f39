"""The whole controller against the API server in memory: what users do, and what the world does to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    SERVICES,
    Resource,
)

from tests.support.harness import CONTROL, NS, Harness, play
from tests.support.memory_api import Request

JSON = dict[str, Any]
Story = Callable[[Harness], Awaitable[None]]
GROUP = "demo-default"


async def up(h: Harness, replicas: int | None = 3, **spec: Any) -> None:
    h.cluster(worker={} if replicas is None else {"replicas": replicas}, **spec)
    h.start()
    await h.settle()


def scenario(story: Story) -> Callable[[], None]:
    """A test that plays the story, and then sees that the world stays at rest."""

    def test() -> None:
        async def main(h: Harness) -> None:
            await story(h)
            await h.settle()
            turns, requests = len(h.turns), len(h.api.log)
            await h.pass_time(600)
            new = [r for r in h.api.log[requests:] if r.verb != "watch"]
            refused = h.api.admission  # what is refused is tried again, slowly
            assert refused or not new, new
            assert len(h.turns) - turns <= (200 if refused else 0)
            assert not h.schedulers.lost

        play(main)

    test.__doc__ = story.__doc__
    return test


def ready(h: Harness, name: str = "demo", res: Any = DASKCLUSTERS) -> tuple[str, str]:
    status, reason, _ = h.condition(res, name, "Ready")
    return status, reason


def replicas(h: Harness, name: str = GROUP) -> Any:
    return (h.find(DASKWORKERGROUPS, name)["spec"].get("worker") or {}).get("replicas")


# ---- life


@scenario
async def test_create(h: Harness) -> None:
    await up(h)
    assert len(h.workers()) == 3
    assert ready(h) == ("True", "ClusterReady")
    assert ready(h, GROUP, DASKWORKERGROUPS) == ("True", "WorkersReady")
    status = h.find(DASKCLUSTERS, "demo")["status"]
    assert status["phase"] == "Running"
    assert status["workers"] == {"desired": 3, "ready": 3}
    assert h.events() == ["SchedulerCreated", "ScaledUp"]
    assert h.api.count("create", PODS) == 4
    assert h.api.count("delete") == 0
    assert h.schedulers.calls == []  # a cluster as it should be is not polled


@scenario
async def test_an_empty_spec_is_a_cluster_with_one_worker(h: Harness) -> None:
    h.api.put(DASKCLUSTERS, {"metadata": {"name": "demo", "namespace": NS}, "spec": {}})
    h.start()
    await h.settle()
    assert len(h.workers()) == 1
    assert ready(h) == ("True", "ClusterReady")
    assert replicas(h) == 1
    (scale,) = h.api.requests("patch", subresource="scale")
    assert scale.resource == DASKWORKERGROUPS


@scenario
async def test_scale_up(h: Harness) -> None:
    await up(h)
    before = set(h.workers())
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 6}})
    await h.settle()
    assert before < set(h.workers())
    assert len(h.workers()) == 6
    assert ready(h) == ("True", "ClusterReady")


@scenario
async def test_a_pod_with_several_workers_goes_when_all_of_them_are_retired(h: Harness) -> None:
    args = {"containers": [{"name": "worker", "args": ["dask", "worker", "--nworkers", "3"]}]}
    h.cluster(worker={"replicas": 2, "spec": args})
    h.start()
    await h.settle()
    keys = h.schedulers.scatter()
    assert len(h.schedulers.workers()) == 6
    slow = {w for w in h.schedulers.workers() if w.endswith("#1")}
    h.schedulers.running = set(slow)  # of each pod, one has a task that does not end soon
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.pass_time(60)
    (leaving,) = {p["metadata"]["uid"] for w, p in h.schedulers.workers().items() if w in slow} - {
        p["metadata"]["uid"] for w, p in h.schedulers.workers().items() if w not in slow
    }
    assert len(h.schedulers.retired) == 2  # the other two of its pod
    assert len(h.workers()) == 2
    assert h.api.count("delete", PODS) == 0
    h.schedulers.running.clear()
    await h.settle()
    assert {w.partition("/")[0] for w in h.schedulers.retired} == {leaving}
    assert (len(h.schedulers.retired), len(h.workers())) == (3, 1)
    assert h.schedulers.all_keys() == keys


@scenario
async def test_scale_down_moves_all_keys(h: Harness) -> None:
    await up(h, 6)
    keys = h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2}})
    await h.settle()
    assert len(h.workers()) == 2
    assert h.schedulers.all_keys() == keys
    assert h.api.count("delete", PODS) == 4
    assert h.events()[-2:] == ["ScalingDown", "ScaledDown"]


@scenario
async def test_a_worker_that_started_unseen_is_not_cancelled(h: Harness) -> None:
    h.kubelet.room = 1  # for the scheduler
    await up(h)
    assert len(h.workers()) == 3
    h.api.hold_events(PODS)
    h.kubelet.room = None
    await h.pass_time(20)
    keys = h.schedulers.scatter()
    assert len(keys) == 6
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.pass_time(60)
    h.api.release_events()
    await h.settle()
    assert len(h.workers()) == 1
    assert h.schedulers.all_keys() == keys
    assert "cancelled" not in " ".join(h.events())


@scenario
async def test_a_restart_in_the_second_in_which_workers_were_made(h: Harness) -> None:
    await up(h)
    before = set(h.api.names(PODS, NS))
    uids = {h.find(PODS, name)["metadata"]["uid"] for name in before}
    made = max(h.find(PODS, name)["metadata"]["creationTimestamp"] for name in before)
    h.edit(DASKCLUSTERS, "demo", {"restartedAt": made})
    await h.settle()
    now = {h.find(PODS, name)["metadata"]["uid"] for name in h.api.names(PODS, NS)}
    assert len(now) == 4
    assert not now & uids


@scenario
async def test_nothing_is_made_for_a_number_that_was_changed_unseen(h: Harness) -> None:
    await up(h)
    h.api.hold_events(DASKWORKERGROUPS, DASKCLUSTERS)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 1}})
    h.delete_pod(h.workers()[0])
    await h.pass_time(30)
    h.api.release_events()
    await h.settle()
    assert len(h.workers()) == 1
    assert len(h.created(PODS)) == 4


@scenario
async def test_nobody_leaves_for_a_number_that_was_changed_unseen(h: Harness) -> None:
    await up(h, 1)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 2}})
    await h.settle()
    h.kill()
    before = h.api.snapshot()
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 3}})
    h.start()
    await h.settle()
    workers = set(h.workers())
    assert len(workers) == 3
    h.kill()
    h.api.stale_lists(before)
    h.api.hold_events(DASKWORKERGROUPS)
    h.start()
    await h.pass_time(60)
    h.api.release_events()
    await h.settle()
    assert set(h.workers()) == workers


async def led_from_behind(h: Harness, before: Any, resource: Resource) -> None:
    """A minute of a new leader whose server lags behind with these, and with nothing else."""
    h.api.stale_lists(before, resource)
    h.api.hold_events(resource)
    h.start()
    await h.pass_time(60)
    h.api.release_events()


def env(name: str) -> JSON:
    return {"spec": {"containers": [{"name": name, "env": [{"name": "NEW", "value": "1"}]}]}}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"suspend": True}, {"suspend": False}),
        ({"suspend": True, "worker": {"replicas": 0}}, {"suspend": False}),
        ({}, {"workerGroups": [{"name": "big", "worker": {"replicas": 1}}]}),
        ({}, {"scheduler": env("scheduler")}),
        ({}, {"worker": {"replicas": 3, **env("worker")}}),
        ({}, {"autoscaler": {"minimum": 3, "maximum": 5}}),
    ],
    ids=[
        "suspended",
        "suspended, no workers",
        "without a group",
        "other scheduler",
        "other workers",
        "no autoscaler",
    ],
)
def test_an_earlier_spec_takes_nothing_away(earlier: JSON, later: JSON) -> None:
    """A new leader whose server lags behind with the clusters, and with nothing else."""

    async def story(h: Harness) -> None:
        await up(h, updateStrategy={"scheduler": "Immediate"})
        h.edit(DASKCLUSTERS, "demo", earlier)
        await h.settle()
        before = h.api.snapshot()
        h.edit(DASKCLUSTERS, "demo", later)
        await h.settle()
        pods, changes = set(h.api.names(PODS, NS)), len(h.api.requests("delete"))
        groups = {g: h.find(DASKWORKERGROUPS, g)["spec"] for g in h.api.names(DASKWORKERGROUPS, NS)}
        h.kill()
        await led_from_behind(h, before, DASKCLUSTERS)
        await h.settle()
        assert set(h.api.names(PODS, NS)) == pods
        assert len(h.api.requests("delete")) == changes
        found = {g: h.find(DASKWORKERGROUPS, g)["spec"] for g in h.api.names(DASKWORKERGROUPS, NS)}
        assert found == groups

    play(story)  # an autoscaler is never quite at rest


@scenario
async def test_a_group_that_a_late_list_lacks_keeps_its_workers(h: Harness) -> None:
    await up(h, 0, drainTimeout=10)
    before = h.api.snapshot()
    h.group("extra", worker={"replicas": 2})
    await h.settle()
    workers, keys = set(h.workers("extra")), h.schedulers.scatter()
    h.kill()
    await led_from_behind(h, before, DASKWORKERGROUPS)
    await h.settle()
    assert set(h.workers("extra")) == workers
    assert h.schedulers.all_keys() == keys


@pytest.mark.parametrize("pods", ["ended", "pending"])
def test_a_removed_groups_pods_go_also_when_its_cluster_changed_unseen(pods: str) -> None:
    async def story(h: Harness) -> None:
        await up(h, 1)
        if pods == "pending":
            h.kubelet.room = 2  # for the scheduler and the worker
        h.group("extra", worker={"replicas": 2})
        await h.settle()
        h.api.hold_events(DASKCLUSTERS)
        h.edit(DASKCLUSTERS, "demo", {"progressDeadlineSeconds": 1234})
        h.api.remove(DASKWORKERGROUPS, NS, "extra")
        if pods == "ended":
            for name in h.workers("extra"):
                h.kubelet.finish(NS, name, 1)
        await h.pass_time(5)
        h.api.release_events()
        await h.settle()
        assert h.workers("extra") == []

    scenario(story)()


@scenario
async def test_an_autoscaler_that_a_person_deleted_stays_away(h: Harness) -> None:
    await up(h, 2)
    before = h.api.snapshot()
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": {"minimum": 0, "maximum": 5}})
    await h.pass_time(30)
    h.api.remove(DASKAUTOSCALERS, NS, "demo")
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 3}})
    await h.settle()
    h.kill()
    await led_from_behind(h, before, DASKCLUSTERS)
    await h.settle()
    assert h.api.names(DASKAUTOSCALERS, NS) == []
    assert len(h.workers()) == 3


@scenario
async def test_a_suspension_that_is_over_discards_nothing(h: Harness) -> None:
    await up(h, 2, drainTimeout=30)
    keys = h.schedulers.scatter()
    h.schedulers.running |= set(h.schedulers.workers())
    h.edit(DASKCLUSTERS, "demo", {"suspend": True})
    await h.pass_time(10)
    before, workers = h.api.snapshot(), set(h.workers())
    h.kill()
    h.edit(DASKCLUSTERS, "demo", {"suspend": False})
    await led_from_behind(h, before, DASKCLUSTERS)
    h.schedulers.running.clear()
    await h.settle()
    assert set(h.workers()) == workers
    assert h.schedulers.all_keys() == keys


@scenario
async def test_a_status_is_written_only_over_the_one_that_was_judged(h: Harness) -> None:
    await up(h)
    judged = h.world.stores.clusters.get(NS, "demo")
    assert judged is not None
    theirs = {"phase": "Running", "schedulerAddress": "theirs"}
    h.api.edit(DASKCLUSTERS, NS, "demo", {"status": theirs})
    await h.pass_time(0.1)
    await h.world.report.write_status(judged, {**judged.status, "phase": "Error"})
    assert h.find(DASKCLUSTERS, "demo")["status"]["schedulerAddress"] == "theirs"
    assert h.find(DASKCLUSTERS, "demo")["status"]["phase"] == "Running"
    await h.settle()
    assert h.find(DASKCLUSTERS, "demo")["status"]["schedulerAddress"] != "theirs"


@scenario
async def test_a_name_is_never_used_again(h: Harness) -> None:
    await up(h)
    names = set(h.workers())
    for number in (1, 4):
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": number}})
        await h.settle()
    assert len(h.workers()) == 4
    assert len(names | set(h.workers())) == 6


@scenario
async def test_scale_to_zero_discards_only_when_time_is_up(h: Harness) -> None:
    await up(h, 2, drainTimeout=120)
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 0}})
    await h.pass_time(100)
    assert len(h.workers()) >= 1
    assert h.condition(DASKWORKERGROUPS, GROUP, "ScaleDownHeld")[0] == "True"
    await h.settle()
    assert h.workers() == []
    assert len(h.schedulers.discarded) == 4
    assert h.condition(DASKWORKERGROUPS, GROUP, "ScaleDownHeld")[0] == ""


@scenario
async def test_a_worker_that_nobody_can_relieve_is_kept_and_not_asked_every_second(
    h: Harness,
) -> None:
    await up(h, 2, workerGroups=[{"name": "big", "worker": {"replicas": 0}}])
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 0}, "drainTimeout": 100_000})
    await h.pass_time(60)
    calls = len(h.schedulers.calls)
    await h.pass_time(300)
    assert len(h.workers()) == 1
    assert len(h.schedulers.calls) - calls <= 2 * 32
    assert (
        "no worker can take its 2 keys" in h.condition(DASKWORKERGROUPS, GROUP, "ScaleDownHeld")[2]
    )
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.settle()
    assert len(h.workers()) == 1
    assert h.schedulers.leaving == set()


@scenario
async def test_a_running_task_may_finish(h: Harness) -> None:
    await up(h, 2)
    h.schedulers.running = set(h.schedulers.workers())
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.pass_time(100)
    assert len(h.workers()) == 2
    h.schedulers.running.clear()
    await h.pass_time(5)
    assert len(h.workers()) == 1


@scenario
async def test_a_task_that_never_ends_is_interrupted(h: Harness) -> None:
    await up(h, 2, drainTimeout=60)
    h.schedulers.running = set(h.schedulers.workers())
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.settle()
    assert len(h.workers()) == 1


@scenario
async def test_a_silent_scheduler_holds_a_scale_down(h: Harness) -> None:
    await up(h, 3)
    h.schedulers.silent = "does not answer (timeout after 5 s)"
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.pass_time(2000)
    assert len(h.workers()) == 3
    _, _, message = h.condition(DASKWORKERGROUPS, GROUP, "ScaleDownHeld")
    assert message == "2 workers should go, but the scheduler does not answer (timeout after 5 s)"
    h.schedulers.silent = None
    await h.settle()
    assert len(h.workers()) == 1


@scenario
async def test_scaled_up_again_while_scaling_down(h: Harness) -> None:
    await up(h, 4)
    h.schedulers.running = set(h.schedulers.workers())
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.pass_time(10)
    assert len(h.schedulers.leaving) == 3
    before = h.workers()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 4}})
    await h.settle()
    assert h.workers() == before
    assert h.schedulers.leaving == set()


@scenario
async def test_kubectl_scale_of_the_cluster_and_of_the_group(h: Harness) -> None:
    await up(h, 2)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 4}})
    await h.settle()
    assert len(h.workers()) == 4
    assert h.condition(DASKCLUSTERS, "demo", "ReplicasOverridden")[0] == "True"
    await h.api.client("kubectl").patch(
        DASKCLUSTERS, NS, "demo", {"spec": {"replicas": 3}}, subresource="scale"
    )
    await h.settle()
    assert len(h.workers()) == 3
    assert h.condition(DASKCLUSTERS, "demo", "ReplicasOverridden")[0] == ""


@scenario
async def test_a_number_taken_out_of_git_is_held(h: Harness) -> None:
    await up(h, 5)
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": None}})
    await h.settle()
    assert (len(h.workers()), replicas(h)) == (5, 5)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": None}})
    await h.settle()
    assert (len(h.workers()), replicas(h)) == (5, 5)


# ---- lost and deleted children


@scenario
async def test_a_deleted_worker_comes_back(h: Harness) -> None:
    await up(h)
    victim = h.workers()[1]
    h.delete_pod(victim)
    await h.settle()
    assert len(h.workers()) == 3
    assert ready(h) == ("True", "ClusterReady")


@scenario
async def test_ready_survives_an_eviction(h: Harness) -> None:
    await up(h)
    await h.pass_time(60)
    h.kubelet.room = 3
    h.kubelet.evict(NS, h.workers()[0])
    await h.pass_time(5)
    assert ready(h) == ("True", "ClusterReady")
    h.kubelet.room = None
    h.api.edit(PODS, NS, h.workers()[0], {"metadata": {"labels": {"wake": "x"}}})
    await h.settle()
    assert len(h.workers()) == 3


@scenario
async def test_a_deleted_scheduler_comes_back(h: Harness) -> None:
    await up(h)
    uid = h.find(PODS, "demo-scheduler")["metadata"]["uid"]
    h.delete_pod("demo-scheduler")
    await h.pass_time(0.3)
    assert ready(h)[0] == "False"
    await h.settle()
    assert h.find(PODS, "demo-scheduler")["metadata"]["uid"] != uid
    assert ready(h) == ("True", "ClusterReady")
    assert len(h.workers()) == 3


@scenario
async def test_a_scheduler_on_a_lost_node_is_given_up(h: Harness) -> None:
    await up(h)
    h.kubelet.tick = lambda: 0  # type: ignore[method-assign]
    h.delete_pod("demo-scheduler")
    await h.pass_time(80)
    assert "SchedulerLost" not in h.events()
    await h.pass_time(20)
    assert "SchedulerLost" in h.events()
    del h.kubelet.tick  # type: ignore[method-assign]
    await h.settle()
    assert ready(h) == ("True", "ClusterReady")


@pytest.mark.parametrize("res", [SERVICES, DASKWORKERGROUPS], ids=str)
def test_a_deleted_child_comes_back(res: Any) -> None:
    @scenario
    async def story(h: Harness) -> None:
        await up(h)
        before = h.workers()
        h.api.remove(res, NS, "demo-scheduler" if res == SERVICES else GROUP)
        await h.settle()
        assert h.workers() == before
        assert ready(h) == ("True", "ClusterReady")

    story()


@scenario
async def test_a_worker_that_ends_at_once_makes_no_storm(h: Harness) -> None:
    await up(h, 1, **{})
    for _ in range(300):
        for name in h.workers():
            pod = h.find(PODS, name)
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]:
                h.kubelet.finish(NS, name, exit_code=1)
        await h.pass_time(1)
    assert h.api.count("create", PODS) <= 2 + 300 / 30 + 1


# ---- the end of clusters and groups


@scenario
async def test_a_deleted_cluster_takes_all_and_nothing_is_made_anew(h: Harness) -> None:
    await up(h)
    writes = h.api.count("create")
    h.api.remove(DASKCLUSTERS, NS, "demo")
    await h.settle()
    assert h.api.items(PODS) == h.api.items(SERVICES) == h.api.items(DASKWORKERGROUPS) == []
    assert h.api.count("create") == writes


@scenario
async def test_foreground_deletion(h: Harness) -> None:
    await up(h)
    writes = h.api.count("create")
    uid = h.find(DASKCLUSTERS, "demo")["metadata"]["uid"]
    user = h.api.client("argocd")
    await user.delete(DASKCLUSTERS, NS, "demo", uid=uid, propagation="Foreground")
    for _ in range(40):
        h.api.collect_garbage()
        await h.pass_time(1)
    assert h.api.find(DASKCLUSTERS, NS, "demo") is None
    assert h.api.items(PODS) == []
    assert h.api.count("create") == writes


@scenario
async def test_a_cluster_made_anew_under_the_same_name(h: Harness) -> None:
    await up(h)
    h.api.remove(DASKCLUSTERS, NS, "demo")
    h.cluster(worker={"replicas": 2})
    await h.settle()
    uid = h.find(DASKCLUSTERS, "demo")["metadata"]["uid"]
    owners = {o["uid"] for p in h.api.items(PODS) for o in p["metadata"]["ownerReferences"]}
    assert owners == {uid}
    assert len(h.workers()) == 2
    assert ready(h) == ("True", "ClusterReady")


@scenario
async def test_a_removed_group_is_drained_first(h: Harness) -> None:
    await up(h, 2)
    h.group("extra", worker={"replicas": 2})
    await h.settle()
    assert len(h.workers("extra")) == 2
    keys = h.schedulers.scatter()
    h.api.remove(DASKWORKERGROUPS, NS, "extra")
    await h.settle()
    assert h.workers("extra") == []
    assert len(h.workers()) == 2
    assert h.schedulers.all_keys() == keys
    notes = h.find(PODS, "demo-scheduler")["metadata"]["annotations"]
    assert "ready.dask.org/extra" not in notes


@scenario
async def test_inline_groups_come_and_go(h: Harness) -> None:
    await up(h, 1, workerGroups=[{"name": "gpu", "worker": {"replicas": 2}}])
    assert len(h.workers("demo-gpu")) == 2
    keys = h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"workerGroups": []})
    await h.settle()
    assert h.workers("demo-gpu") == []
    assert h.api.names(DASKWORKERGROUPS) == [GROUP]
    assert h.schedulers.all_keys() == keys


@scenario
async def test_a_group_made_anew_for_another_cluster_leaves_no_pods_behind(h: Harness) -> None:
    await up(h, 1)
    h.cluster("other", worker={"replicas": 0})
    h.group("extra", worker={"replicas": 2})
    await h.settle()
    h.api.remove(DASKWORKERGROUPS, NS, "extra")
    h.group("extra", "other", worker={"replicas": 1})
    await h.settle()
    pods = h.api.items(PODS, NS, "dask.org/workergroup-name=extra")
    assert [p["metadata"]["labels"]["dask.org/cluster-name"] for p in pods] == ["other"]


@scenario
async def test_a_group_waits_for_its_cluster(h: Harness) -> None:
    h.group("extra", worker={"replicas": 2})
    h.start()
    await h.settle()
    assert ready(h, "extra", DASKWORKERGROUPS) == ("False", "ClusterMissing")
    assert h.condition(DASKWORKERGROUPS, "extra", "Stalled")[0] == ""
    h.cluster(worker={"replicas": 0})
    await h.settle()
    assert len(h.workers("extra")) == 2
    assert ready(h, "extra", DASKWORKERGROUPS) == ("True", "WorkersReady")
    assert h.find(DASKWORKERGROUPS, "extra")["metadata"].get("ownerReferences") is None


# ---- refusals


@scenario
async def test_quota(h: Harness) -> None:
    h.judge.allow("failed", "for ten minutes nobody raises the quota")
    check = h.api.quota(NS, PODS, 3)
    await up(h, 10)
    assert len(h.workers()) == 2
    for res, name in ((DASKWORKERGROUPS, GROUP), (DASKCLUSTERS, "demo")):
        assert ready(h, name, res) == ("False", "QuotaExceeded")
        assert h.condition(res, name, "Reconciling")[0] == "True"
    creates = h.api.count("create", PODS)
    await h.pass_time(100)
    assert h.api.count("create", PODS) - creates <= 11  # one try each time
    await h.pass_time(600)
    for res, name in ((DASKWORKERGROUPS, GROUP), (DASKCLUSTERS, "demo")):
        assert h.condition(res, name, "Stalled")[0] == "True"
    h.api.admission.remove(check)
    await h.settle()
    assert len(h.workers()) == 10
    assert ready(h) == ("True", "ClusterReady")


def refuse(h: Harness, error: ApiError, *resources: Any, verb: str = "create") -> Any:
    def check(request: Request) -> None:
        if request.verb == verb and request.resource in resources:
            raise error

    h.api.admission.append(check)
    return check


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ApiError(422, "Invalid", "spec.containers[0].image: Required value"), "Invalid"),
        (ApiError(400, "BadRequest", "json: cannot unmarshal number"), "Invalid"),
        (ApiError(403, "Forbidden", "violates PodSecurity restricted"), "Forbidden"),
    ],
)
def test_a_refused_pod_is_stalled_with_the_servers_words(error: ApiError, reason: str) -> None:
    @scenario
    async def story(h: Harness) -> None:
        h.judge.allow("failed", "a spec that is refused")
        await up(h, 1)
        check = refuse(h, error, PODS)
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2}})
        await h.pass_time(130)
        for res, name in ((DASKWORKERGROUPS, GROUP), (DASKCLUSTERS, "demo")):
            assert h.condition(res, name, "Stalled")[:2] == ("True", reason)
            assert error.message in h.condition(res, name, "Ready")[2]
        h.api.admission.remove(check)
        await h.settle()
        assert ready(h) == ("True", "ClusterReady")

    story()


@scenario
async def test_missing_rights_may_be_on_their_way_for_a_minute(h: Harness) -> None:
    h.judge.allow("failed", "rights that never come")
    refuse(h, ApiError(403, "Forbidden", "cannot create pods"), PODS)
    h.cluster(worker={"replicas": 1})
    h.start()
    await h.pass_time(45)
    assert h.condition(DASKCLUSTERS, "demo", "Ready")[:2] == ("False", "Forbidden")
    assert h.condition(DASKCLUSTERS, "demo", "Stalled") == ("", "", "")
    await h.pass_time(90)
    assert h.condition(DASKCLUSTERS, "demo", "Stalled")[:2] == ("True", "Forbidden")


@scenario
async def test_a_refused_scheduler_is_an_error(h: Harness) -> None:
    h.judge.allow("failed", "a spec that is refused")
    refuse(h, ApiError(422, "Invalid", "bad spec"), PODS)
    await up(h, 1)
    assert h.find(DASKCLUSTERS, "demo")["status"]["phase"] == "Error"
    assert h.condition(DASKCLUSTERS, "demo", "Stalled")[:2] == ("True", "Invalid")
    assert h.events() == []


@scenario
async def test_a_refused_change_of_the_service_is_told(h: Harness) -> None:
    h.judge.allow("failed", "a spec that is refused")
    await up(h, 1)
    check = refuse(h, ApiError(422, "Invalid", "nodePort: taken"), SERVICES, verb="patch")
    h.edit(DASKCLUSTERS, "demo", {"scheduler": {"service": {"type": "NodePort"}}})
    await h.pass_time(60)
    # The cluster was and is up; the refusal shows until it is complete for what it says now.
    assert not h.queue.failing
    h.api.admission.remove(check)
    await h.settle()
    assert h.find(SERVICES, "demo-scheduler")["spec"]["type"] == "NodePort"


@scenario
async def test_warnings_become_a_condition_and_cost_one_more_request(h: Harness) -> None:
    h.api.warn = lambda res, body: ["unknown field spec.foo"] if res == PODS else []
    await up(h, 5)
    for res, name in ((DASKWORKERGROUPS, GROUP), (DASKCLUSTERS, "demo")):
        assert h.condition(res, name, "SpecWarning") == (
            "True",
            "UnknownField",
            "unknown field spec.foo",
        )
    notes = [
        r for r in h.api.requests("patch", PODS)
        if "dask.org/spec-warning" in r.body["metadata"]["annotations"]
    ]  # fmt: skip
    assert len(notes) == 2  # the scheduler, the first worker


@pytest.mark.parametrize("res", [PODS, SERVICES], ids=str)
def test_a_foreign_object_with_our_name(res: Any) -> None:
    @scenario
    async def story(h: Harness) -> None:
        h.judge.allow("failed", "for ten minutes somebody else has the name")
        spec = {"externalName": "somebody.else"}
        foreign = {"metadata": {"name": "demo-scheduler", "namespace": NS}, "spec": spec}
        h.api.put(res, foreign)
        check = h.api.admission.append(lambda request: None)  # it is tried again, slowly
        h.cluster(worker={"replicas": 1})
        h.start()
        await h.pass_time(60)
        assert ready(h) == ("False", "NameTaken")
        assert h.find(res, "demo-scheduler")["spec"]["externalName"] == "somebody.else"
        await h.pass_time(700)
        assert h.condition(DASKCLUSTERS, "demo", "Stalled")[0] == "True"
        h.api.remove(res, NS, "demo-scheduler")
        await h.settle()
        assert ready(h) == ("True", "ClusterReady")
        assert check is None

    story()


@scenario
async def test_nothing_is_made_in_a_namespace_that_ends(h: Harness) -> None:
    h.api.terminate_namespace(NS)
    await up(h, 3)
    assert h.api.items(PODS) == []
    assert ready(h) == ("False", "NamespaceTerminating")
    assert h.condition(DASKCLUSTERS, "demo", "Stalled")[0] == ""


# ---- caches that lag


@scenario
async def test_a_lagging_cache_makes_no_storm_and_no_twins(h: Harness) -> None:
    await up(h, 3)
    h.api.hold_events(PODS, DASKWORKERGROUPS, SERVICES)
    requests = len(h.api.log)
    h.api.remove(PODS, NS, h.workers()[0])
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.pass_time(100)
    assert len(h.api.log) - requests < 100
    h.api.release_events()
    await h.settle()
    assert len(h.workers()) == 1


@scenario
async def test_what_we_made_is_known_before_the_watch_tells(h: Harness) -> None:
    await up(h, 1)
    h.api.hold_events(PODS)
    requests = len(h.api.log)
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 4}})
    await h.pass_time(60)
    pods = [r.status for r in h.api.log[requests:] if r.resource == PODS and r.verb != "watch"]
    assert pods == [201, 201, 201]
    h.api.release_events()
    await h.settle()


@scenario
async def test_a_successor_under_the_same_name_is_not_mistaken(h: Harness) -> None:
    await up(h, 1)
    h.api.hold_events(PODS)
    (name,) = h.workers()
    h.api.remove(PODS, NS, name)
    foreign = h.api.put(PODS, {"metadata": {"name": name, "namespace": NS}, "spec": {}})
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 0}})
    await h.pass_time(400)
    found = h.find(PODS, name)["metadata"]
    assert (found["uid"], "annotations" in found) == (foreign["metadata"]["uid"], False)
    assert h.api.count("patch", PODS, name=name) + h.api.count("delete", PODS, name=name) >= 1
    h.api.release_events()
    await h.settle()


@scenario
async def test_the_held_number_with_a_lagging_cache(h: Harness) -> None:
    h.api.hold_events(DASKWORKERGROUPS)
    h.cluster()
    h.start()
    await h.pass_time(60)
    assert h.api.count("patch", DASKWORKERGROUPS, subresource="scale") == 1
    h.api.release_events()
    await h.settle()
    assert replicas(h) == 1


@scenario
async def test_a_wiped_status_is_written_anew_and_changes_nothing_else(h: Harness) -> None:
    await up(h)
    before = h.picture()
    for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, GROUP)):
        h.api.edit(res, NS, name, {"status": None})
    await h.settle()
    assert h.picture() == before


@scenario
async def test_a_new_process_changes_nothing(h: Harness) -> None:
    await up(h)
    writes = len(h.api.writes())
    h.kill()
    h.start()
    await h.settle()
    assert len(h.api.writes()) == writes


# ---- noise and size


def test_only_the_namespaces_of_the_settings() -> None:
    async def main(h: Harness) -> None:
        h.cluster()
        h.api.put(DASKCLUSTERS, {"metadata": {"name": "demo", "namespace": "served"}, "spec": {}})
        h.start()
        await h.settle()
        assert {p["metadata"]["namespace"] for p in h.api.items(PODS)} == {"served"}

    play(main, lambda: Harness(namespaces=("served", "empty")))


def test_two_hundred_workers_cost_one_create_each_and_few_status_writes() -> None:
    async def main(h: Harness) -> None:
        await up(h, 200)
        assert len(h.workers()) == 200
        assert h.api.count("create", PODS) == 201
        assert h.api.count("create", EVENTS) == 2
        assert h.api.count("patch", subresource="status") < 30
        writes = len(h.api.writes())
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2}})
        await h.settle()
        assert len(h.workers()) == 2
        assert h.api.count("delete", PODS) == 198
        # Marks and deletes, and a few words about them.
        assert len(h.api.writes()) - writes < 2 * 198 + 60

    play(main)


def test_the_token_is_new_for_each_scheduler_pod_and_found_in_its_env() -> None:
    async def main(h: Harness) -> None:
        await up(h, 0)

        def token() -> str:
            (main,) = h.find(PODS, "demo-scheduler")["spec"]["containers"]
            return next(str(e["value"]) for e in main["env"] if e["name"] == CONTROL.token_env)

        first = token()
        h.api.remove(PODS, NS, "demo-scheduler")
        await h.settle()
        assert len(first) > 30
        assert token() != first

    play(main)


def test_progress_is_told_once_a_second_and_a_verdict_at_once() -> None:
    async def main(h: Harness) -> None:
        await up(h, 10)
        writes = h.api.count("patch", subresource="status")
        names = h.workers()
        for name in names[:5]:
            h.kubelet.set_ready(NS, name, False)
            await h.pass_time(0.6)
        assert h.api.count("patch", subresource="status") - writes <= 2 * 5
        await h.settle()
        assert h.find(DASKCLUSTERS, "demo")["status"]["workers"]["ready"] == 5
        h.delete_pod("demo-scheduler")
        await h.pass_time(0.1)
        assert ready(h)[0] == "False"

    play(main)
