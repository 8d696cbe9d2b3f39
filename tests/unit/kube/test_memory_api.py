"""The fake must behave as the real server where tests rely on it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from dask_gitops.kube import (
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    PODS,
    ApiError,
    ApiUnreachable,
    NotLeader,
)

from tests.support import virtual_time
from tests.support.memory_api import Kubelet, MemoryApi, json_patch, merge, parse_selector


def pod(name: str = "a", owner: str | None = None, **labels: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": "ns", "labels": labels}
    if owner:
        meta["ownerReferences"] = [{"uid": owner, "kind": "X", "name": "x"}]
    spec = {"containers": [{"name": "c", "image": "i"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def cluster(name: str = "demo", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": spec,
    }


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


def test_create_fills_in_what_the_server_owns() -> None:
    async def main() -> None:
        api = MemoryApi()
        created = (await api.create(DASKCLUSTERS, "ns", {**cluster(), "status": {"x": 1}})).object
        assert created["metadata"]["generation"] == 1
        assert created["status"] == {"observedGeneration": -1}
        assert created["metadata"]["uid"] == "uid-000001"
        assert created["metadata"]["creationTimestamp"] == "2030-01-01T00:16:40Z"
        assert (await refused(api.create(DASKCLUSTERS, "ns", cluster()))).is_already_exists
        assert (await refused(api.get(DASKCLUSTERS, "ns", "other"))).is_not_found
        assert (await refused(api.create(PODS, "ns", cluster()))).status == 400
        assert (await refused(api.create(PODS, "ns", pod("Bad")))).is_invalid

    virtual_time.run(main())


def test_dry_run_checks_and_stores_nothing() -> None:
    async def main() -> None:
        api = MemoryApi()
        before = api.version
        await api.create(PODS, "ns", pod(), dry_run=True)
        assert (api.names(PODS), api.version) == ([], before)
        assert api.log[0].dry_run
        api.put(PODS, pod())
        assert (await refused(api.create(PODS, "ns", pod(), dry_run=True))).is_already_exists

    virtual_time.run(main())


def test_generation_moves_with_the_spec_only_and_a_no_op_moves_nothing() -> None:
    async def main() -> None:
        api = MemoryApi()
        first = (await api.create(DASKCLUSTERS, "ns", cluster(a=1))).object["metadata"]
        changes = [
            ({"metadata": {"labels": {"x": "y"}}}, None, 1),
            ({"status": {"phase": "Running"}}, "status", 1),
            ({"spec": {"a": 2}}, None, 2),
        ]
        version = int(first["resourceVersion"])
        for patch, subresource, generation in changes:
            meta = (await api.patch(DASKCLUSTERS, "ns", "demo", patch, subresource=subresource))[
                "metadata"
            ]
            assert meta["generation"] == generation
            assert int(meta["resourceVersion"]) == version + 1
            again = await api.patch(DASKCLUSTERS, "ns", "demo", patch, subresource=subresource)
            assert int(again["metadata"]["resourceVersion"]) == version + 1
            version += 1

    virtual_time.run(main())


def test_status_and_spec_do_not_leak_into_each_other() -> None:
    async def main() -> None:
        api = MemoryApi()
        api.put(DASKCLUSTERS, cluster(a=1))
        both = {"spec": {"a": 2}, "status": {"phase": "Running"}}
        plain = await api.patch(DASKCLUSTERS, "ns", "demo", both)
        assert plain["status"] == {"observedGeneration": -1}
        api.edit(DASKCLUSTERS, "ns", "demo", {"spec": {"a": 1}})
        status = await api.patch(DASKCLUSTERS, "ns", "demo", both, subresource="status")
        assert status["spec"] == {"a": 1}
        assert status["status"] == {"observedGeneration": -1, "phase": "Running"}

    virtual_time.run(main())


def test_scale_subresource() -> None:
    async def main() -> None:
        api = MemoryApi()
        group = {**cluster("g"), "kind": "DaskWorkerGroup"}
        stored = api.put(DASKWORKERGROUPS, group)
        scale = await api.patch(
            DASKWORKERGROUPS,
            "ns",
            "g",
            {
                "metadata": {"resourceVersion": stored["metadata"]["resourceVersion"]},
                "spec": {"replicas": 3},
            },
            subresource="scale",
        )
        assert scale["kind"] == "Scale"
        assert scale["spec"] == {"replicas": 3}
        now = api.find(DASKWORKERGROUPS, "ns", "g")
        assert now is not None
        assert now["spec"]["worker"]["replicas"] == 3
        assert now["metadata"]["generation"] == 2
        stale = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}
        error = await refused(api.patch(DASKWORKERGROUPS, "ns", "g", stale, subresource="scale"))
        assert error.is_conflict
        assert (await refused(api.patch(PODS, "ns", "g", {}, subresource="scale"))).is_not_found
        unserved = await refused(api.patch(DASKWORKERGROUPS, "ns", "g", {}, subresource="other"))
        assert (unserved.status, unserved.is_not_found) == (404, False)

    virtual_time.run(main())


def test_patch_preconditions_and_immutable_pod_spec() -> None:
    async def main() -> None:
        api = MemoryApi()
        stored = api.put(PODS, pod())
        error = await refused(api.patch(PODS, "ns", "a", {"metadata": {"uid": "other"}}))
        assert (error.status, error.is_uid_mismatch) == (422, True)
        stale = {"uid": "other", "resourceVersion": "1"}
        error = await refused(api.patch(PODS, "ns", "a", {"metadata": stale}))
        assert (error.is_conflict, error.is_uid_mismatch) == (True, False)
        good = {"uid": stored["metadata"]["uid"], "labels": {"x": "1", "y": None}}
        assert (await api.patch(PODS, "ns", "a", {"metadata": good}))["metadata"]["labels"] == {
            "x": "1"
        }
        assert (
            await refused(api.patch(PODS, "ns", "a", {"spec": {"hostNetwork": True}}))
        ).is_invalid
        operations = [{"op": "replace", "path": "/spec/containers/0/image", "value": "new"}]
        patched = await api.patch(PODS, "ns", "a", operations, patch_type="json")
        assert patched["spec"]["containers"][0]["image"] == "new"

    virtual_time.run(main())


def test_deleting_pods_is_graceful_once_they_have_a_node() -> None:
    async def main() -> None:
        api = MemoryApi()
        kubelet = Kubelet(api)
        uid = api.put(PODS, pod("pending"))["metadata"]["uid"]
        await api.delete(PODS, "ns", "pending", uid=uid)
        assert api.names(PODS) == []
        uid = api.put(PODS, pod("running"))["metadata"]["uid"]
        kubelet.settle()
        assert await api.delete(PODS, "ns", "running", uid="another") is None
        answer = await api.delete(PODS, "ns", "running", uid=uid)
        assert answer is not None
        assert answer["metadata"]["deletionGracePeriodSeconds"] == 30
        assert api.names(PODS) == ["running"]
        kubelet.settle()
        assert api.names(PODS) == []
        assert await api.delete(PODS, "ns", "running", uid=uid) is None
        uid = api.put(PODS, pod("dead-node"))["metadata"]["uid"]
        kubelet.settle()
        await api.delete(PODS, "ns", "dead-node", uid=uid)
        await api.delete(PODS, "ns", "dead-node", uid=uid, grace_period_s=0)
        assert api.names(PODS) == []

    virtual_time.run(main())


def test_garbage_is_collected_and_foreground_waits_for_the_children() -> None:
    async def main() -> None:
        api = MemoryApi()
        uid = api.put(DASKCLUSTERS, cluster())["metadata"]["uid"]
        api.put(PODS, pod("child", owner=uid))
        api.put(PODS, pod("stranger"))
        assert api.collect_garbage() == 0
        await api.delete(DASKCLUSTERS, "ns", "demo", uid=uid, propagation="Foreground")
        assert api.names(DASKCLUSTERS) == ["demo"]
        api.collect_garbage()
        assert (api.names(DASKCLUSTERS), api.names(PODS)) == ([], ["stranger"])
        api.auto_gc = True
        uid = api.put(DASKCLUSTERS, cluster())["metadata"]["uid"]
        api.put(PODS, pod("child", owner=uid))
        assert await api.delete(DASKCLUSTERS, "ns", "demo", uid=uid) is None
        assert api.names(PODS) == ["stranger"]

    virtual_time.run(main())


def test_finalizers_hold_an_object() -> None:
    async def main() -> None:
        api = MemoryApi()
        held = cluster()
        held["metadata"]["finalizers"] = ["kopf.zalando.org/KopfFinalizerMarker"]
        uid = api.put(DASKCLUSTERS, held)["metadata"]["uid"]
        answer = await api.delete(DASKCLUSTERS, "ns", "demo", uid=uid)
        assert answer is not None
        assert "deletionTimestamp" in answer["metadata"]
        await api.patch(DASKCLUSTERS, "ns", "demo", {"metadata": {"finalizers": None}})
        assert api.names(DASKCLUSTERS) == []

    virtual_time.run(main())


def test_pages_are_one_snapshot_and_expire_with_the_history() -> None:
    async def main() -> None:
        api = MemoryApi()
        for name in "abc":
            api.put(PODS, pod(name))
        names = []
        async with aclosing(api.list_pages(PODS, limit=2)) as pages:
            async for page in pages:
                names += [item["metadata"]["name"] for item in page.items]
                if page.items[0]["metadata"]["name"] == "a":
                    api.put(PODS, pod("d"))
                    api.remove(PODS, "ns", "c")
        assert names == ["a", "b", "c"]

        async def too_slow() -> None:
            async with aclosing(api.list_pages(PODS, limit=2)) as pages:
                async for _ in pages:
                    api.put(PODS, pod("e"))
                    api.compact()

        assert (await refused(too_slow())).is_gone
        assert len((await api.list(PODS, limit=2)).items) == 4

    virtual_time.run(main())


async def events(api: MemoryApi, version: int, count: int, **options: Any) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    watch = api.watch(PODS, resource_version=str(version), timeout_s=100, **options)
    async with aclosing(watch) as stream:
        async for kind, obj in stream:
            seen.append((kind, obj["metadata"].get("name", "")))
            if len(seen) == count:
                break
    return seen


def test_watch_tells_history_then_news_through_the_selector() -> None:
    async def main() -> None:
        api = MemoryApi()
        begin = api.version
        api.put(PODS, pod("a", app="x"))
        task = asyncio.create_task(events(api, begin, 5, label_selector="app=x"))
        await asyncio.sleep(1)
        api.put(PODS, pod("other", app="y"))
        api.edit(PODS, "ns", "a", {"metadata": {"labels": {"app": "y"}}})
        api.edit(PODS, "ns", "other", {"metadata": {"labels": {"app": "x"}}})
        api.edit(PODS, "ns", "other", {"metadata": {"labels": {"z": "1"}}})
        api.remove(PODS, "ns", "other")
        assert await task == [
            ("ADDED", "a"),
            ("DELETED", "a"),
            ("ADDED", "other"),
            ("MODIFIED", "other"),
            ("DELETED", "other"),
        ]

    virtual_time.run(main())


def test_watch_bookmarks_time_out_and_410() -> None:
    async def main() -> None:
        api = MemoryApi()
        begin = api.version
        assert await events(api, begin, 9) == [("BOOKMARK", "")]  # ended by its time-out of 100 s
        api.put(PODS, pod("a"))
        api.compact()
        assert (await refused(events(api, begin, 1))).is_gone

    virtual_time.run(main())


def test_watches_can_be_held_broken_and_deafened() -> None:
    async def main() -> None:
        api = MemoryApi()
        task = asyncio.create_task(events(api, api.version, 1))
        await asyncio.sleep(1)
        api.hold_events(PODS)
        api.put(PODS, pod("a"))
        await asyncio.sleep(1000)
        assert not task.done()
        api.release_events()
        assert await task == [("ADDED", "a")]
        task = asyncio.create_task(events(api, api.version, 1))
        await asyncio.sleep(1)
        api.break_watches(PODS)
        assert await task == []
        task = asyncio.create_task(events(api, api.version, 1))
        await asyncio.sleep(1)
        api.deafen_watches()
        api.put(PODS, pod("b"))
        await asyncio.sleep(1000)
        assert not task.done()
        api.break_watches(error=ApiUnreachable("reset", sent=True))
        with pytest.raises(ApiUnreachable):
            await task

    virtual_time.run(main())


def test_faults_before_and_after_the_effect() -> None:
    async def main() -> None:
        api = MemoryApi()
        loop = asyncio.get_running_loop()
        fault = api.fault("create", PODS, nth=2, error="timeout", when="after")
        await api.create(PODS, "ns", pod("a"))
        began = loop.time()
        with pytest.raises(ApiUnreachable) as caught:
            await api.create(PODS, "ns", pod("b"))
        assert (caught.value.sent, loop.time() - began) == (True, 30)
        assert (api.names(PODS), fault.hits) == (["a", "b"], 1)
        api.fault("create", error="refused", times=2)
        for _ in range(2):
            with pytest.raises(ApiUnreachable) as caught:
                await api.create(PODS, "ns", pod("c"))
            assert not caught.value.sent
        api.fault("patch/status", error=ApiError(500, "InternalError"))
        await api.patch(PODS, "ns", "a", {"metadata": {"labels": {"x": "y"}}})
        assert (await refused(api.patch(PODS, "ns", "a", {}, subresource="status"))).status == 500
        assert [str(request.status) for request in api.requests("create")] == [
            "201",
            "201, ApiUnreachable",
            "nothing done, ApiUnreachable",
            "nothing done, ApiUnreachable",
        ]
        assert api.count("patch", PODS, subresource="status", status=500) == 1

    virtual_time.run(main())


def test_guard_quota_namespace_and_warnings() -> None:
    async def main() -> None:
        api = MemoryApi()
        standby = api.client("standby", guard=lambda: False)
        with pytest.raises(NotLeader):
            await standby.create(PODS, "ns", pod())
        assert api.log == []
        await standby.unguarded().create(PODS, "ns", pod())
        assert api.log[0].client == "standby"
        lift = api.quota("ns", PODS, 1)
        assert (await refused(api.create(PODS, "ns", pod("b")))).is_forbidden_quota
        api.admission.remove(lift)
        api.warn = lambda res, body: ['unknown field "spec.x"']
        assert (await api.create(PODS, "ns", pod("b"))).warnings == ['unknown field "spec.x"']
        api.terminate_namespace("ns")
        assert (await refused(api.create(PODS, "ns", pod("c")))).is_namespace_terminating

    virtual_time.run(main())


def test_kubelet() -> None:
    async def main() -> None:
        api = MemoryApi()
        kubelet = Kubelet(api, room=2)
        gated = pod("gated")
        gated["spec"]["schedulingGates"] = [{"name": "dask.org/scheduler"}]
        api.put(PODS, gated)
        for name in "abc":
            api.put(PODS, pod(name))
        kubelet.settle()
        phases = {item["metadata"]["name"]: item["status"]["phase"] for item in api.items(PODS)}
        assert phases == {"a": "Running", "b": "Running", "c": "Pending", "gated": "Pending"}
        a = api.items(PODS)[0]
        assert a["status"]["podIP"] == "10.1.0.11"
        assert {entry["type"]: entry["status"] for entry in a["status"]["conditions"]} == {
            "PodScheduled": "True",
            "Ready": "True",
            "ContainersReady": "True",
        }
        kubelet.restart("ns", "a")
        a = api.items(PODS)[0]
        assert a["status"]["containerStatuses"][0]["restartCount"] == 1
        assert not a["status"]["containerStatuses"][0]["ready"]
        kubelet.finish("ns", "a", 0)
        kubelet.evict("ns", "b")
        kubelet.settle()
        phases = {item["metadata"]["name"]: item["status"]["phase"] for item in api.items(PODS)}
        assert phases == {"a": "Succeeded", "b": "Failed", "c": "Running", "gated": "Pending"}
        kubelet.wait("ns", "gated", "ErrImagePull")
        kubelet.unschedulable("ns", "gated")

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, True),
        ("", True),
        ("a=1", True),
        ("a==2", False),
        ("a!=2", True),
        ("zz!=2", True),
        ("a in (1,2),b", True),
        ("a in (2, 3)", False),
        ("a notin (2,3)", True),
        ("!zz", True),
        ("!a", False),
        ("zz", False),
    ],
)
def test_selectors(selector: str | None, matches: bool) -> None:
    obj = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    assert parse_selector(selector)(obj) is matches


def test_patch_arithmetic() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": {"e": None}}}) == {
        "a": {"c": 2, "d": {}}
    }
    assert json_patch({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}]) == {"a": [1, 2]}
    assert json_patch({"a/b": 1}, [{"op": "remove", "path": "/a~1b"}]) == {}
    with pytest.raises(ApiError):
        json_patch({}, [{"op": "remove", "path": "/x"}])


def test_virtual_time_stands_still_loudly() -> None:
    async def waits() -> None:
        while True:
            await asyncio.sleep(10)

    with pytest.raises(virtual_time.StandStill, match="ran past 100 s"):
        virtual_time.run(waits(), limit_s=100)
