"""Changed specs against the API server in memory: what is replaced, what is kept, and nothing lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS, SERVICES

from tests.support.harness import NS, Harness, play
from tests.support.memory_api import Request
from tests.unit.reconcile.test_scenarios import GROUP, ready, refuse, scenario, up

JSON = dict[str, Any]


def env(value: str) -> JSON:
    container = {"name": "worker", "env": [{"name": "A", "value": value}]}
    return {"worker": {"spec": {"containers": [container]}}}


def values(h: Harness) -> list[str]:
    """The variable A of all workers."""
    pods = [h.find(PODS, name)["spec"]["containers"][0]["env"] for name in h.workers()]
    return [next((e["value"] for e in some if e["name"] == "A"), "") for some in pods]


def uid(h: Harness, name: str = "demo-scheduler") -> str:
    return str(h.find(PODS, name)["metadata"]["uid"])


def updated(h: Harness) -> tuple[int, int]:
    status = h.find(DASKWORKERGROUPS, GROUP)["status"]
    return status["updatedReplicas"], status["replicas"]


@scenario
async def test_a_changed_spec_replaces_all_workers_and_loses_nothing(h: Harness) -> None:
    await up(h, 6, **{"updateStrategy": {"maxSurge": 2}})
    scheduler, before, keys = uid(h), set(h.workers()), h.schedulers.scatter()
    most: list[int] = []
    least: list[int] = []

    def watch(_: Request) -> None:
        live = [p for p in h.api.items(PODS) if "deletionTimestamp" not in p["metadata"]]
        most.append(len(live))
        least.append(
            sum(
                c["status"] == "True"
                for p in live
                if "dask.org/retiring" not in p["metadata"].get("annotations", {})
                for c in p["status"].get("conditions", ())
                if c["type"] == "Ready"
            )
        )

    h.api.admission.append(watch)
    h.edit(DASKCLUSTERS, "demo", env("2"))
    await h.settle()
    h.api.admission.remove(watch)
    assert values(h) == ["2"] * 6
    assert not before & set(h.workers())
    assert h.schedulers.all_keys() == keys
    assert uid(h) == scheduler
    assert (max(most), min(least)) == (1 + 8, 1 + 6)  # with the scheduler
    assert h.api.count("create", PODS) == 13
    assert h.api.count("delete", PODS) == 6
    assert ready(h) == ("True", "ClusterReady")
    assert updated(h) == (6, 6)


@scenario
async def test_it_counts_how_far_it_is(h: Harness) -> None:
    await up(h, 3)
    h.schedulers.running = set(h.schedulers.workers())
    h.edit(DASKCLUSTERS, "demo", env("2"))
    await h.pass_time(20)
    for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, GROUP)):
        status, _, message = h.condition(res, name, "Ready")
        assert status == "False"
        assert "1 of 3 updated" in message
        assert h.condition(res, name, "Reconciling")[0] == "True"
    h.schedulers.running.clear()
    await h.settle()
    assert ready(h) == ("True", "ClusterReady")


@pytest.mark.parametrize(
    "edit",
    [
        {"worker": {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"cpu": 1, "memory": "1.0Gi"}}}]}}},
        {"worker": {"spec": {"nodeSelector": {}, "tolerations": []}}},
        {"progressDeadlineSeconds": 99, "drainTimeout": 7},
        {"updateStrategy": {"maxSurge": 1, "scheduler": "Immediate"}},
    ],
)  # fmt: skip
def test_what_means_the_same_restarts_nobody(edit: JSON) -> None:
    @scenario
    async def story(h: Harness) -> None:
        limits = {"limits": {"cpu": "1000m", "memory": "1Gi"}}
        h.cluster(
            worker={
                "replicas": 2,
                "spec": {"containers": [{"name": "worker", "resources": limits}]},
            }
        )
        h.start()
        await h.settle()
        pods = [uid(h, name) for name in ["demo-scheduler", *h.workers()]]
        h.edit(DASKCLUSTERS, "demo", edit)
        await h.settle()
        assert [uid(h, name) for name in ["demo-scheduler", *h.workers()]] == pods
        assert ready(h) == ("True", "ClusterReady")

    story()


@scenario
async def test_labels_and_annotations_are_changed_in_place(h: Harness) -> None:
    await up(h, 2)
    pods = [uid(h, name) for name in ["demo-scheduler", *h.workers()]]
    h.api.edit(DASKCLUSTERS, NS, "demo", {"metadata": {"labels": {"team": "a", "x": "1"}}})
    h.edit(DASKCLUSTERS, "demo", {"worker": {"metadata": {"annotations": {"note": "n"}}}})
    await h.settle()
    assert [uid(h, name) for name in ["demo-scheduler", *h.workers()]] == pods
    for res, name in (
        (PODS, "demo-scheduler"),
        (SERVICES, "demo-scheduler"),
        (DASKWORKERGROUPS, GROUP),
        *((PODS, w) for w in h.workers()),
    ):
        assert h.find(res, name)["metadata"]["labels"]["team"] == "a", name
    h.api.edit(DASKCLUSTERS, NS, "demo", {"metadata": {"labels": {"team": "b", "x": None}}})
    h.edit(DASKCLUSTERS, "demo", {"worker": {"metadata": None}})
    await h.settle()
    for res, name in (
        (PODS, "demo-scheduler"),
        (SERVICES, "demo-scheduler"),
        (PODS, h.workers()[0]),
    ):
        meta = h.find(res, name)["metadata"]
        assert (meta["labels"]["team"], "x" in meta["labels"]) == ("b", False)
        assert "note" not in meta["annotations"]
    assert [uid(h, name) for name in ["demo-scheduler", *h.workers()]] == pods


@scenario
async def test_a_bad_image_stops_it_and_the_next_good_spec_goes_on(h: Harness) -> None:
    await up(h, 4)
    keys = h.schedulers.scatter()
    before = set(h.workers())
    run = h.kubelet.run

    def pull(namespace: str, name: str, **kwargs: Any) -> None:
        pod = h.find(PODS, name)
        if pod["spec"]["containers"][0]["image"] == "bad:1":
            h.kubelet.wait(namespace, name, "ImagePullBackOff", 'Back-off pulling image "bad:1"')
        else:
            run(namespace, name, **kwargs)

    h.kubelet.run = pull  # type: ignore[method-assign]
    bad = {"worker": {"spec": {"containers": [{"name": "worker", "image": "bad:1"}]}}}
    h.judge.allow("failed", "an image that does not exist")
    h.edit(DASKCLUSTERS, "demo", bad)
    await h.pass_time(300)
    assert before < set(h.workers())
    assert len(h.workers()) == 5
    for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, GROUP)):
        status, reason, message = h.condition(res, name, "Ready")
        assert (status, reason) == ("False", "ImagePullBackOff")
        assert "bad:1" in message
        assert h.condition(res, name, "Stalled")[0] == ""
    await h.pass_time(400)
    assert h.condition(DASKCLUSTERS, "demo", "Stalled")[0] == "True"
    h.edit(DASKCLUSTERS, "demo", env("good"))
    await h.pass_time(0.3)
    for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, GROUP)):
        assert h.condition(res, name, "Stalled")[0] == "", "the next spec is not to blame"
    await h.settle()
    assert values(h) == ["good"] * 4
    assert h.schedulers.all_keys() == keys
    assert ready(h) == ("True", "ClusterReady")


@scenario
async def test_back_to_what_was_keeps_the_workers_that_are_left(h: Harness) -> None:
    await up(h, 4)
    h.schedulers.running = set(h.schedulers.workers())
    before = set(h.workers())
    h.edit(DASKCLUSTERS, "demo", env("2"))
    await h.pass_time(20)
    h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": None}})
    await h.pass_time(0.2)
    assert ready(h) == ready(h, GROUP, DASKWORKERGROUPS) == ("False", "Progressing")
    await h.pass_time(10)
    h.schedulers.running.clear()
    await h.settle()
    assert before == set(h.workers())
    assert h.schedulers.leaving == set()


@scenario
async def test_a_worker_that_nobody_can_relieve_waits_for_its_successor(h: Harness) -> None:
    await up(h, 1)
    keys = h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", env("2"))
    await h.settle()
    assert values(h) == ["2"]
    assert h.schedulers.all_keys() == keys


@scenario
async def test_workers_roll_for_a_later_restart_only(h: Harness) -> None:
    await up(h, 2, restartedAt="2020-01-01T00:00:00Z")
    pods = [uid(h, name) for name in ["demo-scheduler", *h.workers()]]
    for text in ("2019-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00", None):
        h.edit(DASKCLUSTERS, "demo", {"restartedAt": text})
        await h.settle()
        assert [uid(h, name) for name in ["demo-scheduler", *h.workers()]] == pods
    h.edit(DASKCLUSTERS, "demo", {"restartedAt": "2021-01-01T00:00:00Z"})
    await h.settle()
    assert not set(pods) & {uid(h, name) for name in ["demo-scheduler", *h.workers()]}
    pods = [uid(h, name) for name in ["demo-scheduler", *h.workers()]]
    h.restart()
    await h.settle()
    assert [uid(h, name) for name in ["demo-scheduler", *h.workers()]] == pods


# ---- the scheduler


SCHEDULER = {"scheduler": {"spec": {"priority": 7}}}


@scenario
async def test_a_scheduler_waits_until_nothing_would_be_lost(h: Harness) -> None:
    await up(h, 2)
    before = uid(h)
    keys = h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", SCHEDULER)
    await h.pass_time(300)
    assert uid(h) == before
    assert ready(h) == ("True", "ClusterReady")
    assert h.condition(DASKCLUSTERS, "demo", "UpdatePending") == (
        "True",
        "WaitsForIdle",
        "demo-scheduler runs an earlier spec; it is replaced when the cluster is idle; "
        "now results are in memory",
    )
    dry = [r for r in h.api.requests("create", PODS) if r.dry_run]
    assert len(dry) == 1
    writes = len(h.api.writes())
    await h.pass_time(100)
    assert len(h.api.writes()) == writes, "waiting is not a reason to write"
    for worker in list(h.schedulers.keys):
        h.schedulers.keys[worker].clear()  # the client lets its results go
    await h.settle()
    assert keys
    assert uid(h) != before
    assert h.find(PODS, "demo-scheduler")["spec"]["priority"] == 7
    assert h.condition(DASKCLUSTERS, "demo", "UpdatePending")[0] == ""
    assert ready(h) == ("True", "ClusterReady")


@scenario
async def test_on_delete_and_immediate(h: Harness) -> None:
    await up(h, 1, updateStrategy={"scheduler": "OnDelete"})
    before = uid(h)
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", SCHEDULER)
    await h.pass_time(100)
    assert uid(h) == before
    assert h.condition(DASKCLUSTERS, "demo", "UpdatePending")[1] == "WaitsForDelete"
    h.edit(DASKCLUSTERS, "demo", {"updateStrategy": {"scheduler": "Immediate"}})
    await h.pass_time(30)
    assert uid(h) != before


@scenario
async def test_the_deadline_of_waiting(h: Harness) -> None:
    await up(h, 1, updateStrategy={"schedulerDeadlineSeconds": 200})
    before = uid(h)
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", SCHEDULER)
    await h.pass_time(100)
    h.restart()
    await h.pass_time(80)
    assert uid(h) == before
    await h.pass_time(60)
    assert uid(h) != before


@scenario
async def test_a_refused_scheduler_spec_is_found_before_the_old_pod_goes(h: Harness) -> None:
    await up(h, 1)
    before = uid(h)
    h.judge.allow("failed", "a spec that is refused")
    check = refuse(h, ApiError(422, "Invalid", "spec.priority: not allowed"), PODS)
    h.edit(DASKCLUSTERS, "demo", SCHEDULER)
    await h.pass_time(200)
    assert uid(h) == before
    assert h.condition(DASKCLUSTERS, "demo", "Stalled") == (
        "True",
        "Invalid",
        "create Pod demo-scheduler: spec.priority: not allowed",
    )
    assert h.find(DASKCLUSTERS, "demo")["status"]["phase"] == "Running"
    h.api.admission.remove(check)
    await h.settle()
    assert uid(h) != before
    assert ready(h) == ("True", "ClusterReady")


@scenario
async def test_a_spec_that_is_refused_only_when_its_turn_comes(h: Harness) -> None:
    """It was accepted while it waited: it is asked for once more right before the old pod goes."""
    await up(h, 1)
    before = uid(h)
    h.judge.allow("failed", "a spec that is refused")
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", SCHEDULER)
    await h.pass_time(60)
    assert h.condition(DASKCLUSTERS, "demo", "UpdatePending")[0] == "True"
    check = refuse(h, ApiError(422, "Invalid", "spec.priority: not allowed"), PODS)
    for held in h.schedulers.keys.values():
        held.clear()  # the client lets its results go
    await h.pass_time(60)
    assert uid(h) == before
    assert h.condition(DASKCLUSTERS, "demo", "Stalled")[:2] == ("True", "Invalid")
    h.api.admission.remove(check)
    await h.settle()
    assert uid(h) != before


@scenario
async def test_a_quota_is_no_refusal_of_a_replacement(h: Harness) -> None:
    h.api.quota(NS, PODS, 2)
    await up(h, 1)
    before = uid(h)
    h.edit(DASKCLUSTERS, "demo", SCHEDULER)
    await h.settle()
    assert uid(h) != before
    assert ready(h) == ("True", "ClusterReady")


@scenario
async def test_a_scheduler_that_never_came_up_is_replaced_at_once(h: Harness) -> None:
    run = h.kubelet.run

    def pull(namespace: str, name: str, **kwargs: Any) -> None:
        if h.find(PODS, name)["spec"]["containers"][0]["image"] == "bad:1":
            h.kubelet.wait(namespace, name, "ImagePullBackOff", "no such image")
        else:
            run(namespace, name, **kwargs)

    h.kubelet.run = pull  # type: ignore[method-assign]
    h.cluster(image="bad:1", worker={"replicas": 2})
    h.start()
    await h.pass_time(60)
    assert ready(h) == ("False", "ImagePullBackOff")
    h.edit(DASKCLUSTERS, "demo", {"image": "good:1"})
    await h.settle()
    assert ready(h) == ("True", "ClusterReady")
    assert {h.find(PODS, n)["spec"]["containers"][0]["image"] for n in h.workers()} == {"good:1"}


@scenario
async def test_the_image_of_both_is_one_change(h: Harness) -> None:
    await up(h, 2, image="dask:1")
    before = [uid(h), *(uid(h, n) for n in h.workers())]
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"image": "dask:2"})
    await h.pass_time(120)
    assert [uid(h), *(uid(h, n) for n in h.workers())] == before
    assert ready(h) == ("True", "ClusterReady")
    assert h.condition(DASKWORKERGROUPS, GROUP, "UpdatePending")[1] == "WaitsForScheduler"
    # One that dies meanwhile comes back with the image that the scheduler still has.
    h.delete_pod(h.workers()[0])
    await h.pass_time(60)
    images = [h.find(PODS, n)["spec"]["containers"][0]["image"] for n in h.workers()]
    assert images == ["dask:1", "dask:1"]
    h.schedulers.lost.clear()
    for worker in list(h.schedulers.keys):
        h.schedulers.keys[worker].clear()
    await h.settle()
    pods = ["demo-scheduler", *h.workers()]
    assert {h.find(PODS, n)["spec"]["containers"][0]["image"] for n in pods} == {"dask:2"}
    assert len(h.workers()) == 2
    assert ready(h) == ("True", "ClusterReady")


def test_a_thousand_pods_of_a_new_controller_are_left_alone() -> None:
    """What another version of the controller would fill in otherwise is no change of the user's."""

    async def main(h: Harness) -> None:
        await up(h, 3)
        for pod in h.api.items(PODS):
            patch = {"spec": {"containers": [{**pod["spec"]["containers"][0], "stdin": True}]}}
            h.api.edit(PODS, NS, pod["metadata"]["name"], patch)
        writes = len(h.api.writes())
        h.restart()
        await h.settle()
        assert len(h.api.writes()) == writes

    play(main)
