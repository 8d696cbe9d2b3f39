"""The end of clusters and groups, in memory: nothing is stuck, nothing is made anew, nothing is adopted.

tests/cluster/test_deletion.py does the same with real garbage collection.
"""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Resource,
)

from tests.support.harness import NS, Harness, play
from tests.support.memory_api import MemoryApi, Request
from tests.unit.reconcile.test_scenarios import GROUP, ready, replicas, scenario, up

JSON = dict[str, Any]
KOPF = "kopf.zalando.org/KopfFinalizerMarker"
KINDS = (DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS, DASKJOBS)


async def delete(h: Harness, res: Resource, name: str, propagation: str = "Background") -> None:
    """As a person does; without waiting for the end."""
    uid = h.find(res, name)["metadata"]["uid"]
    await h.api.client("user").delete(res, NS, name, uid=uid, propagation=propagation)


def finalizers(h: Harness, res: Resource, name: str) -> list[str]:
    return list(h.find(res, name)["metadata"].get("finalizers") or ())


def orphan(h: Harness, name: str = "demo") -> None:
    """What ``kubectl delete daskcluster --cascade=orphan`` leaves."""
    uid = h.find(DASKCLUSTERS, name)["metadata"]["uid"]
    h.api.edit(DASKCLUSTERS, NS, name, {"metadata": {"finalizers": ["orphan"]}})
    h.api._delete(DASKCLUSTERS, h.api._must(DASKCLUSTERS, NS, name), None, None)
    for res in (PODS, SERVICES, DASKWORKERGROUPS):
        for child in h.api.items(res):
            if any(o["uid"] == uid for o in child["metadata"].get("ownerReferences") or ()):
                free = {"metadata": {"ownerReferences": None}}
                h.api.edit(res, NS, child["metadata"]["name"], free)
    h.api.edit(DASKCLUSTERS, NS, name, {"metadata": {"finalizers": None}})


# ---- an old operator's finalizer


@pytest.mark.parametrize("res", KINDS, ids=str)
def test_an_old_operators_finalizer_keeps_nothing(res: Resource) -> None:
    @scenario
    async def story(h: Harness) -> None:
        meta = {"name": "old", "namespace": NS, "finalizers": [KOPF]}
        h.api.put(res, {"metadata": meta, "spec": {} if res == DASKJOBS else {"cluster": "none"}})
        h.start()
        await h.settle()
        assert finalizers(h, res, "old") == [KOPF]  # it is not ours to take yet
        await delete(h, res, "old")
        await h.settle()
        assert h.api.find(res, NS, "old") is None
        assert h.events()[-1:] == ["Released"]

    story()


@pytest.mark.parametrize("res", KINDS, ids=str)
def test_also_one_that_hung_before_the_controller_came(res: Resource) -> None:
    @scenario
    async def story(h: Harness) -> None:
        meta = {"name": "old", "namespace": NS, "finalizers": [KOPF, "example.com/backup"]}
        h.api.put(res, {"metadata": meta, "spec": {} if res == DASKJOBS else {"cluster": "none"}})
        await delete(h, res, "old")
        h.start()
        await h.settle()
        assert finalizers(h, res, "old") == ["example.com/backup"]
        h.api.edit(res, NS, "old", {"metadata": {"finalizers": None}})
        assert h.api.find(res, NS, "old") is None

    story()


@scenario
async def test_the_finalizer_of_somebody_who_comes_in_between_is_not_lost(h: Harness) -> None:
    await up(h, 1)
    h.api.edit(DASKCLUSTERS, NS, "demo", {"metadata": {"finalizers": [KOPF]}})
    await h.settle()

    def meanwhile(request: Request) -> None:
        if request.verb == "patch" and "finalizers" in (request.body.get("metadata") or {}):
            h.api.admission.remove(meanwhile)
            both = {"metadata": {"finalizers": [KOPF, "example.com/backup"]}}
            h.api.edit(DASKCLUSTERS, NS, "demo", both)

    h.api.admission.append(meanwhile)
    await delete(h, DASKCLUSTERS, "demo")
    await h.settle()
    assert finalizers(h, DASKCLUSTERS, "demo") == ["example.com/backup"]
    h.api.edit(DASKCLUSTERS, NS, "demo", {"metadata": {"finalizers": None}})
    await h.settle()
    assert h.api.items(PODS) == []


@scenario
async def test_a_foreground_deletion_ends_too(h: Harness) -> None:
    await up(h, 2)
    h.api.edit(DASKCLUSTERS, NS, "demo", {"metadata": {"finalizers": [KOPF]}})
    creates = h.api.count("create", PODS)
    await delete(h, DASKCLUSTERS, "demo", "Foreground")
    await h.settle()
    for res in (DASKCLUSTERS, DASKWORKERGROUPS, PODS, SERVICES):
        assert h.api.items(res) == []
    assert h.api.count("create", PODS) == creates


@scenario
async def test_a_removed_group_with_an_old_finalizer_is_drained_first(h: Harness) -> None:
    await up(h, 2)
    h.group("extra", worker={"replicas": 2})
    await h.settle()
    h.api.edit(DASKWORKERGROUPS, NS, "extra", {"metadata": {"finalizers": [KOPF]}})
    keys = h.schedulers.scatter()
    await delete(h, DASKWORKERGROUPS, "extra")
    await h.settle()
    assert h.api.find(DASKWORKERGROUPS, NS, "extra") is None
    assert h.workers("extra") == []
    assert h.schedulers.all_keys() == keys


def test_no_finalizer_of_ours_ever() -> None:
    """Every request of a whole life: only kopf's finalizer is ever written about, and only to take it off."""

    async def main(h: Harness) -> None:
        await up(h, 3, workerGroups=[{"name": "gpu", "worker": {"replicas": 1}}])
        h.group("extra", worker={"replicas": 2})
        await h.settle()
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}, "workerGroups": None})
        h.delete_pod("demo-scheduler")
        await h.settle()
        for name in ("extra",):
            await delete(h, DASKWORKERGROUPS, name)
        h.api.edit(DASKCLUSTERS, NS, "demo", {"metadata": {"finalizers": [KOPF]}})
        await h.settle()
        await delete(h, DASKCLUSTERS, "demo", "Foreground")
        await h.settle()

    h = play(main)
    bodies = [r.body for r in h.api.log if r.client == "controller" and isinstance(r.body, dict)]
    written = [b["metadata"]["finalizers"] for b in bodies if "finalizers" in b.get("metadata", {})]
    assert written == [["foregroundDeletion"]]
    assert [r for r in h.api.log if r.subresource == "finalizers"] == []


# ---- orphans


@scenario
async def test_orphans_are_left_alone(h: Harness) -> None:
    await up(h, 2)
    before = {p["metadata"]["uid"] for p in h.api.items(PODS)}
    writes = len([r for r in h.api.writes() if r.subresource != "status"])
    orphan(h)
    await h.settle()
    assert {p["metadata"]["uid"] for p in h.api.items(PODS)} == before
    assert [r for r in h.api.writes() if r.subresource != "status"][writes:] == []
    assert ready(h, GROUP, DASKWORKERGROUPS) == ("False", "ClusterMissing")


@scenario
async def test_a_new_cluster_among_orphans_says_what_is_in_its_way(h: Harness) -> None:
    h.judge.allow("failed", "for ten minutes nobody removes what holds its name")
    await up(h, 2)
    orphan(h)
    orphans = {p["metadata"]["uid"] for p in h.api.items(PODS)}
    h.cluster(worker={"replicas": 3})
    await h.pass_time(60)
    _, reason, message = h.condition(DASKCLUSTERS, "demo", "Ready")
    assert reason == "NameTaken"
    h.judge.allow("failed", "pods of an earlier cluster are in the way")
    assert "Pod demo-scheduler was not made for this cluster and belongs to nobody" in message
    await h.pass_time(700)
    assert h.condition(DASKCLUSTERS, "demo", "Stalled")[0] == "True"
    assert {p["metadata"]["uid"] for p in h.api.items(PODS)} == orphans

    # Somebody clears the way for the scheduler, and forgets workers and group.
    h.api.remove(PODS, NS, "demo-scheduler")
    h.api.remove(SERVICES, NS, "demo-scheduler")
    await h.settle()
    assert ready(h) == ("True", "ClusterReady")
    status, reason, message = h.condition(DASKCLUSTERS, "demo", "OrphanedPods")
    assert (status, reason) == ("True", "NoOwner")
    assert message.startswith("2 worker pods belong to nobody, nobody drains or replaces them: ")
    assert h.condition(DASKCLUSTERS, "demo", "ReplicasOverridden")[1] == "GroupOfItsOwn"
    mine = {p["metadata"]["uid"] for p in h.api.items(PODS)} - orphans
    assert len(mine) == 1 + 2  # the scheduler, and the workers of the group that was left

    # They keep nobody from leaving.
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": 1}})
    await h.settle()
    assert len(orphans & {p["metadata"]["uid"] for p in h.api.items(PODS)}) == 2
    assert h.condition(DASKWORKERGROUPS, GROUP, "ScaleDownHeld")[0] == ""
    assert len(h.workers()) == 1 + 2

    for pod in h.api.items(PODS):
        if pod["metadata"]["uid"] in orphans:
            h.api.remove(PODS, NS, pod["metadata"]["name"])
    h.api.remove(DASKWORKERGROUPS, NS, GROUP)
    await h.settle()
    assert (replicas(h), len(h.workers())) == (3, 3)
    for kind in ("OrphanedPods", "ReplicasOverridden"):
        assert h.condition(DASKCLUSTERS, "demo", kind)[0] == ""


@scenario
async def test_a_worker_in_an_orphaned_pod_is_no_stranger(h: Harness) -> None:
    """With a stranger about, a pod whose worker is not registered would be the last to go, not the first."""
    await up(h, 1)
    orphan(h)
    for res in (PODS, SERVICES):
        h.api.remove(res, NS, "demo-scheduler")
    h.api.remove(DASKWORKERGROUPS, NS, GROUP)
    h.cluster(worker={"replicas": 2})
    await h.settle()
    worker, name = next(
        (w, p["metadata"]["name"])
        for w, p in h.schedulers.workers().items()
        if p["metadata"].get("ownerReferences")
    )
    h.schedulers.retired.add(worker)  # not registered
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.settle()
    assert name not in h.workers()
    assert len(h.workers()) == 1 + 1


# ---- in the middle of something


def test_deleted_while_it_is_being_created() -> None:
    """Only requests that are on their way already may still make a pod."""

    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 400})
        h.start()
        while len(h.workers()) < 20:
            await h.pass_time(0.5)
        await delete(h, DASKCLUSTERS, "demo")
        before = h.api.count("create", PODS)
        await h.settle()
        assert h.api.items(PODS) == []
        assert h.api.count("create", PODS) - before <= 64
        assert not h.errors

    play(main, lambda: Harness(MemoryApi(latency_s=0.3)))


@pytest.mark.parametrize("gone", ["cluster first", "pods first"])
def test_a_namespace_ends(gone: str) -> None:
    """Its objects go in any order, and nothing can be created any more."""

    @scenario
    async def story(h: Harness) -> None:
        await up(h, 3)
        h.group("extra", worker={"replicas": 2})
        await h.settle()
        made = len(h.created())
        h.api.terminate_namespace(NS)
        order: list[Resource] = [DASKCLUSTERS, DASKWORKERGROUPS, SERVICES, PODS]
        for res in order if gone == "cluster first" else reversed(order):
            for name in h.api.names(res):
                uid = h.find(res, name)["metadata"]["uid"]
                await h.api.client("namespace-controller").delete(res, NS, name, uid=uid)
            await h.pass_time(5)
        await h.settle()
        for res in order:
            assert h.api.items(res) == []
        assert len(h.created()) == made

    story()


@scenario
async def test_a_group_made_anew_at_once_loses_nothing(h: Harness) -> None:
    """Idle workers have left by then, one that still works stays."""
    await up(h, 1)
    h.group("extra", worker={"replicas": 3})
    await h.settle()
    keys = h.schedulers.scatter()
    busy, pod = next(
        (w, p["metadata"]["name"])
        for w, p in h.schedulers.workers().items()
        if p["metadata"]["name"] in h.workers("extra")
    )
    h.schedulers.running = {busy}
    await delete(h, DASKWORKERGROUPS, "extra")
    await h.pass_time(1)
    h.group("extra", worker={"replicas": 3})
    await h.settle()
    assert len(h.workers("extra")) == 3
    assert pod in h.workers("extra")
    assert h.schedulers.all_keys() == keys


@scenario
async def test_deleted_while_a_group_of_it_drains(h: Harness) -> None:
    await up(h, 1)
    h.group("extra", worker={"replicas": 2})
    await h.settle()
    h.schedulers.running = set(h.schedulers.workers())
    await delete(h, DASKWORKERGROUPS, "extra")
    await h.pass_time(5)
    assert len(h.schedulers.leaving) == 2
    await delete(h, DASKCLUSTERS, "demo")
    await h.settle()
    assert h.api.items(PODS) == []


@scenario
async def test_deleting_needs_no_rights_that_are_gone(h: Harness) -> None:
    """As in ``helm uninstall`` of clusters and controller: its rights go in the middle."""
    await up(h, 2)

    def nothing_allowed(request: Request) -> None:
        if request.client == "controller":
            raise ApiError(403, "Forbidden", "no rights any more")

    h.api.admission.append(nothing_allowed)
    await delete(h, DASKCLUSTERS, "demo")
    await h.settle()
    assert h.api.items(PODS) == h.api.items(SERVICES) == h.api.items(DASKWORKERGROUPS) == []
