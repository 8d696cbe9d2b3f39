"""What the API server refuses ends one part of a plan: all others go on, and the refused one is tried again in its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import (
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Resource,
)
from dask_gitops.reconcile.refusals import Outcomes
from dask_gitops.reconcile.stores import Key
from dask_gitops.resources import labels
from dask_gitops.resources.observed import Problem
from dask_gitops.scheduler.client import Outcome

from tests.support.harness import NS, Harness, play
from tests.support.memory_api import Request

JSON = dict[str, Any]
GROUP = "demo-default"
WHY = 'admission webhook "rules.example.com" denied the request'


def scenario(main: Callable[[Harness], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        play(main)

    test.__doc__ = main.__doc__
    return test


def env(value: str) -> JSON:
    return {
        "containers": [{"name": "w", "image": "dask:1", "env": [{"name": "A", "value": value}]}]
    }


async def up(h: Harness, replicas: int, **spec: Any) -> None:
    h.cluster(worker={"replicas": replicas, "spec": env("1")}, **spec)
    h.start()
    await h.settle()


def refuse(
    h: Harness,
    verb: str,
    res: Resource,
    status: int = 403,
    *,
    where: Callable[[Request], bool] = lambda request: True,
    fails: bool = True,
) -> Callable[[], None]:
    """From now on; what is returned lifts it.

    :param fails: some status is Stalled for that.
    """
    if fails:
        h.judge.allow("failed", "a rule refuses something")

    def check(request: Request) -> None:
        same = (request.verb, request.resource, request.subresource) == (verb, res, None)
        if same and where(request):
            raise ApiError(status, "Forbidden" if status == 403 else "Invalid", WHY)

    h.api.admission.append(check)
    return lambda: h.api.admission.remove(check)


def is_metadata(request: Request) -> bool:
    return "labels" in request.body["metadata"]


def refused(h: Harness) -> int:
    return sum(r.is_write and r.status not in (200, 201) for r in h.api.log)


def of_new_spec(h: Harness) -> int:
    return sum("'value': '2'" in str(p["spec"]["containers"]) for p in h.api.items(PODS))


# ---- nothing hot


@pytest.mark.parametrize("strategy", [{"maxSurge": 1, "maxUnavailable": 1}, {"maxUnavailable": 1}])
@pytest.mark.parametrize("status", [403, 422])
def test_a_refused_worker_and_old_ones_to_be_marked_make_no_hot_loop(
    status: int, strategy: JSON
) -> None:
    async def main(h: Harness) -> None:
        await up(h, 4, updateStrategy=strategy)
        refuse(h, "create", PODS, status)
        turns = len(h.turns)
        h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": env("2")}})
        await h.pass_time(60)
        assert refused(h) <= 8
        assert len(h.turns) - turns < 30
        # As many old ones as may be unavailable have gone all the same.
        assert len(h.workers()) == 3

    play(main)


@scenario
async def test_a_refused_mark_makes_no_hot_loop_and_is_told(h: Harness) -> None:
    await up(h, 3)
    lift = refuse(h, "patch", PODS)
    turns = len(h.turns)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 1}})
    await h.pass_time(120)
    assert len(h.turns) - turns < 30
    state, reason, text = h.condition(DASKWORKERGROUPS, GROUP, "Stalled")
    assert (state, reason) == ("True", "Forbidden")
    assert f"patch Pod {GROUP}-worker-" in text
    assert WHY in text
    lift()
    await h.settle()
    assert len(h.workers()) == 1


@scenario
async def test_an_idle_cluster_that_may_not_be_deleted_is_not_asked_all_the_time(
    h: Harness,
) -> None:
    """Nor does its status go to and fro between the refusal and nothing."""
    await up(h, 1)
    lift = refuse(h, "delete", DASKCLUSTERS, 422)
    h.edit(DASKCLUSTERS, "demo", {"idleTimeout": 5})
    await h.pass_time(120)
    turns, log = len(h.turns), len(h.api.log)
    await h.pass_time(600)
    assert len(h.turns) - turns < 40
    writes = [r for r in h.api.log[log:] if r.is_write]
    assert {str(r.verb) for r in writes} == {"delete"}
    assert WHY in h.condition(DASKCLUSTERS, "demo", "Ready")[2]
    # Its cluster is cared for all the while.
    h.delete_pod("demo-scheduler")
    await h.pass_time(10)
    assert h.find(PODS, "demo-scheduler")
    lift()
    await h.settle()
    assert not h.api.find(DASKCLUSTERS, NS, "demo")


# ---- the others go on


@pytest.mark.parametrize("surge", [0, 1])
def test_a_roll_out_within_a_full_quota(surge: int) -> None:
    async def main(h: Harness) -> None:
        await up(h, 4, updateStrategy={"maxSurge": surge, "maxUnavailable": 1})
        h.api.quota(NS, PODS, 5)  # no room for the surge
        h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": env("2")}})
        await h.pass_time(120)
        assert (of_new_spec(h), len(h.workers())) == (4, 4)

    play(main)


@scenario
async def test_a_scheduler_that_a_quota_refuses_gets_room_by_what_the_user_takes_away(
    h: Harness,
) -> None:
    await up(h, 3, workerGroups=[{"name": "gpu", "worker": {"replicas": 2}}], drainTimeout=30)
    h.api.quota(NS, PODS, 5)

    def somebody_else(h: Harness) -> None:
        h.delete_pod("demo-scheduler")
        body = {"metadata": {"name": "theirs", "namespace": NS}, "spec": {"containers": []}}
        h.api.put(PODS, body)

    somebody_else(h)
    await h.pass_time(60)
    assert "exceeded quota" in h.condition(DASKCLUSTERS, "demo", "Reconciling")[2]
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 0}, "workerGroups": None})
    await h.pass_time(15)
    assert h.find(DASKWORKERGROUPS, GROUP)["spec"]["worker"]["replicas"] == 0
    assert h.api.names(DASKWORKERGROUPS) == [GROUP]
    await h.pass_time(60)
    assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
    assert sorted(h.api.names(PODS)) == ["demo-scheduler", "theirs"]


@scenario
async def test_a_label_that_is_refused_keeps_no_group_from_scaling_down(h: Harness) -> None:
    await up(h, 3)
    refuse(h, "patch", PODS, 422, where=is_metadata)
    meta = {"labels": {"team": "not valid!"}}
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1, "metadata": meta}})
    await h.pass_time(60)
    assert len(h.workers()) == 1
    # The label is declared and is not there: that is no success, whatever runs.
    state, reason, text = h.condition(DASKWORKERGROUPS, GROUP, "Stalled")
    assert (state, reason) == ("True", "Invalid")
    assert text.startswith("patch Pod")
    told = h.condition(DASKWORKERGROUPS, GROUP, "Ready")[2]
    assert told.startswith("1 of 1 worker ready; patch Pod")
    assert WHY in text
    assert h.condition(DASKCLUSTERS, "demo", "Stalled")[0] == "True"
    # A person's next word is followed at once.
    h.api.admission.clear()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"metadata": {"labels": {"team": "valid"}}}})
    await h.pass_time(5)
    (worker,) = h.workers()
    assert h.find(PODS, worker)["metadata"]["labels"]["team"] == "valid"
    assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"


@scenario
async def test_one_refused_group_keeps_no_other_from_being_made(h: Harness) -> None:
    refuse(h, "create", DASKWORKERGROUPS, 422, where=lambda r: r.name == "demo-a")
    refuse(h, "create", SERVICES, 422)
    some = [{"name": name, "worker": {"replicas": 1}} for name in ("a", "b")]
    h.cluster(worker={"replicas": 1}, workerGroups=some)
    h.start()
    await h.pass_time(60)
    assert (len(h.workers()), len(h.workers("demo-b"))) == (1, 1)
    state, _, text = h.condition(DASKCLUSTERS, "demo", "Stalled")
    # All that is refused is told, not only the first of it.
    assert state == "True"
    assert "create Service demo-scheduler" in text
    assert "create DaskWorkerGroup demo-a" in text


@scenario
async def test_a_refused_latch_is_tried_again_and_the_status_stays_true(h: Harness) -> None:
    lift = refuse(h, "patch", PODS, fails=False)
    h.cluster(worker={"replicas": 2})
    h.start()
    await h.pass_time(900)
    for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, GROUP)):
        state, _, text = h.condition(res, name, "Ready")
        assert state == "True"
        assert "2 of 2 workers ready" in text
    assert f"patch Pod demo-scheduler: {WHY}" in h.condition(DASKCLUSTERS, "demo", "Ready")[2]
    assert not h.errors
    lift()
    await h.pass_time(90)
    assert labels.WAS_READY in h.find(PODS, "demo-scheduler")["metadata"]["annotations"]
    assert WHY not in h.condition(DASKCLUSTERS, "demo", "Ready")[2]


@scenario
async def test_a_jobs_cluster_waits_for_a_runner_that_is_refused(h: Harness) -> None:
    """Its workers would eat the quota that it waits for."""
    check = h.api.quota(NS, PODS, 0)
    h.job()
    h.start()
    await h.pass_time(60)
    assert h.api.names(DASKCLUSTERS) == []
    assert "exceeded quota" in h.condition(DASKJOBS, "nightly", "Reconciling")[2]
    h.api.admission.remove(check)
    await h.settle()
    assert h.api.names(DASKCLUSTERS) == ["nightly"]


# ---- when it is tried again


@scenario
async def test_room_in_a_quota_is_used_as_soon_as_a_pod_has_gone(h: Harness) -> None:
    await up(h, 2, workerGroups=[{"name": "gpu", "worker": {"replicas": 2}}])
    h.api.quota(NS, PODS, 5)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 3}})
    await h.pass_time(21)
    before = refused(h)
    assert 2 <= before <= 4  # every ten seconds
    h.edit(DASKWORKERGROUPS, "demo-gpu", {"worker": {"replicas": 1}})
    await h.pass_time(7)
    assert len(h.workers()) == 3


@scenario
async def test_news_of_pods_try_no_refused_part_again(h: Harness) -> None:
    await up(h, 2)
    refuse(h, "patch", PODS, 422, where=is_metadata)
    meta = {"labels": {"team": "x"}}
    h.edit(DASKCLUSTERS, "demo", {"worker": {"metadata": meta}})
    await h.pass_time(5)
    before = refused(h)
    for ready in (False, True) * 5:
        h.kubelet.set_ready(NS, h.workers()[0], ready)
        await h.pass_time(4)
    assert refused(h) == before
    await h.pass_time(25)
    assert refused(h) == 2 * before


@scenario
async def test_a_conflict_of_statuses_that_does_not_end_is_tried_more_and_more_slowly(
    h: Harness,
) -> None:
    await up(h, 1)

    def check(request: Request) -> None:
        if request.subresource == "status":
            raise ApiError(409, "Conflict", "the object has been modified")

    h.api.admission.append(check)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 2}})
    await h.pass_time(120)
    assert 10 < refused(h) < 40
    h.api.admission.clear()
    await h.settle()
    assert h.condition(DASKWORKERGROUPS, GROUP, "Ready")[0] == "True"


@scenario
async def test_nobody_has_an_earlier_look_beside_a_refusal(h: Harness) -> None:
    await up(h, 1)
    asked: list[float] = []
    h.world.execute.again = lambda key, seconds: asked.append(seconds)
    key = Key("DaskCluster", NS, "demo")
    done = Outcomes()
    done.look_again(0)
    h.world.execute.rest(key, done, 5.0)
    done.refused["marks"] = Problem("Forbidden", WHY, 0.0)
    h.world.execute.rest(key, done, 0.0, None)
    assert asked == [0, 1]


@scenario
async def test_an_error_that_has_passed_is_never_told(h: Harness) -> None:
    await up(h, 3)
    h.api.fault(verb="delete", resource=PODS, error=ApiError(500, "InternalError", "etcd"))
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2}})
    await h.pass_time(30)
    assert len(h.workers()) == 2
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 3}})
    await h.settle()
    told = [r.body["status"] for r in h.api.log if r.subresource == "status"]
    assert told
    assert "etcd" not in str(told)


@scenario
async def test_what_failed_for_long_and_is_not_wanted_any_more_is_told_no_longer(
    h: Harness,
) -> None:
    """Its worker ends by itself, so no part of a plan comes back to what failed."""
    await up(h, 3)
    fault = h.api.fault(
        verb="delete", resource=PODS, times=None, error=ApiError(500, "InternalError", "etcd")
    )
    h.schedulers.running = set(h.schedulers.workers())
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2}})
    await h.pass_time(5)
    h.schedulers.running.clear()
    await h.pass_time(60)
    assert "etcd" in h.condition(DASKWORKERGROUPS, GROUP, "Ready")[2]
    fault.cancel()
    (gone,) = (
        p["metadata"]["name"] for p in h.api.items(PODS) if p["status"]["phase"] == "Succeeded"
    )
    h.api.remove(PODS, NS, gone)
    await h.settle()
    assert h.condition(DASKWORKERGROUPS, GROUP, "Ready")[2] == "2 of 2 workers ready"


@scenario
async def test_an_error_that_lasts_is_told_and_fails_nothing(h: Harness) -> None:
    await up(h, 2)

    def check(request: Request) -> None:
        if request.verb == "patch" and request.resource == PODS and is_metadata(request):
            raise ApiError(500, "InternalError", "etcdserver: request timed out")

    h.api.admission.append(check)
    h.edit(DASKCLUSTERS, "demo", {"worker": {"metadata": {"labels": {"team": "x"}}}})
    await h.pass_time(5)
    assert "etcd" not in h.condition(DASKWORKERGROUPS, GROUP, "Ready")[2]
    await h.pass_time(115)
    state, _, text = h.condition(DASKWORKERGROUPS, GROUP, "Ready")
    assert state == "True"
    assert text.startswith("2 of 2 workers ready; patch Pod")
    assert "etcdserver: request timed out" in text
    assert len({type(e) for e in h.errors}) == 1  # counted as turns that failed
    assert 10 < refused(h) < 40
    h.api.admission.clear()
    await h.settle()
    assert h.condition(DASKWORKERGROUPS, GROUP, "Ready")[2] == "2 of 2 workers ready"


def refuse_deletes(h: Harness, name: str | None = None) -> None:
    error = ApiError(403, "Forbidden", "pods is forbidden")
    h.api.fault("delete", PODS, name=name, times=None, error=error)


def stuck(h: Harness, *rules: str) -> None:
    """For as long as the rights are missing no status can be good."""
    for rule in ("current", "in-progress", "counts", *rules):
        h.judge.allow(rule, "nothing may be deleted")


def test_who_ended_and_may_not_be_deleted_is_not_replaced_again_and_again() -> None:
    async def main(h: Harness) -> None:
        stuck(h)
        never = {"containers": [{"name": "worker"}], "restartPolicy": "Never"}
        h.cluster(worker={"replicas": 2, "spec": never})
        h.start()
        await h.settle()
        refuse_deletes(h)
        for _ in range(30):
            for name in h.workers():
                if h.find(PODS, name)["status"]["phase"] == "Running":
                    h.kubelet.finish(NS, name, 1)
            await h.pass_time(70)
        assert len(h.workers()) <= 5

    play(main)


def test_who_is_given_up_and_may_not_be_deleted_makes_no_room_for_more() -> None:
    async def main(h: Harness) -> None:
        stuck(h, "failed")
        await up(h, 10)
        refuse_deletes(h)
        h.kubelet.room = 0  # whoever is new waits for a node, and is given up for the next
        for number in range(6):
            image = {"containers": [{"name": "worker", "image": f"dask:{number}"}]}
            h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": image}})
            await h.pass_time(120)
        assert len(h.workers()) <= 25

    play(main)


def test_what_was_lost_is_told_although_the_deletion_fails() -> None:
    async def main(h: Harness) -> None:
        await up(h, 3)
        retire = h.schedulers.retire

        async def losing(*args: Any, **named: Any) -> dict[str, Outcome]:
            found = await retire(*args, **named)
            return {
                i: Outcome("retired", "its 2 keys are lost", True) if o.state == "retired" else o
                for i, o in found.items()
            }

        h.schedulers.retire = losing  # type: ignore[method-assign]
        h.api.fault("delete", PODS, error=ApiError(500, "InternalError", "etcd"))
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
        await h.pass_time(120)
        assert len(h.workers()) == 1
        assert h.events().count("ResultsDiscarded") == 1

    play(main)
