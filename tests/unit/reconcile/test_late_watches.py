"""Watches that tell late: nothing is made for what is gone, and nothing is believed that was true once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dask_gitops.kube.resource import (
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    SERVICES,
    Resource,
)
from dask_gitops.reconcile.ask import Asker
from dask_gitops.reconcile.execute import Executor

from tests.support.harness import NS, Harness, play


async def up(h: Harness) -> None:
    h.cluster(worker={"replicas": 2})
    h.group("extra", worker={"replicas": 1})
    h.start()
    await h.settle()
    h.api.log.clear()


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_a_deleted_cluster_is_not_built_anew(propagation: str) -> None:
    """Its children are seen to go; that it was deleted itself is not heard of for a minute."""

    async def main(h: Harness) -> None:
        await up(h)
        h.api.hold_events(DASKCLUSTERS)
        h.api._delete(DASKCLUSTERS, h.api._must(DASKCLUSTERS, NS, "demo"), None, propagation)
        await h.pass_time(60)
        h.api.release_events()
        await h.settle()
        assert h.api.count("create") == 0
        assert h.api.names(PODS) == []

    play(main)


@pytest.mark.parametrize("late", [DASKWORKERGROUPS, DASKCLUSTERS])
def test_a_deleted_group_gets_no_workers(late: Resource) -> None:
    """One of its workers is deleted together with it, and the news of the group is late."""

    async def main(h: Harness) -> None:
        await up(h)
        h.api.hold_events(late)
        h.api.remove(DASKWORKERGROUPS, NS, "extra")
        h.delete_pod(h.workers("extra")[0])
        await h.pass_time(60)
        h.api.release_events()
        await h.settle()
        assert h.api.count("create", PODS) == 0
        assert len(h.api.names(PODS)) == 3

    play(main)


def test_a_quiet_watch_costs_one_question() -> None:
    """However many workers are created: one look before the number is handed on, one at both before it is acted upon."""

    async def main(h: Harness) -> None:
        await up(h)
        await asyncio.sleep(600)
        h.api.edit(DASKCLUSTERS, NS, "demo", {"spec": {"worker": {"replicas": 40}}})
        await h.settle()
        assert len(h.workers()) == 40
        assert h.api.count("create", PODS) == 38
        assert h.api.count("get", DASKCLUSTERS) == 2
        assert h.api.count("get", DASKWORKERGROUPS) == 1

    play(main)


@pytest.mark.parametrize("namespaces", [(), (NS,), ("empty", NS)], ids=["all", "one", "two"])
@pytest.mark.parametrize("kind", [DASKCLUSTERS, DASKJOBS], ids=str)
def test_the_first_objects_of_a_namespace_are_made_once(
    namespaces: tuple[str, ...], kind: Resource
) -> None:
    """The answers to our own creates count, also where the cache was empty until then."""

    async def main(h: Harness) -> None:
        h.start()
        await h.settle(5)
        h.api.hold_events(PODS, SERVICES, DASKWORKERGROUPS)
        if kind == DASKJOBS:
            h.api.hold_events(DASKCLUSTERS)
            h.job("nightly")
        else:
            h.cluster("demo", worker={"replicas": 1})
        await h.pass_time(30)
        h.api.release_events()
        await h.settle()
        creates = [r for r in h.api.writes() if r.verb == "create" and r.resource != EVENTS]
        made = Counter((str(r.resource), r.name) for r in creates)
        assert set(made.values()) == {1}, made
        told = Counter((e["reason"], e["message"]) for e in h.api.items(EVENTS))
        assert set(told.values()) == {1}, told

    play(main, lambda: Harness(namespaces=namespaces))


@contextmanager
def replaced_within(
    room: type, step: str, h: Harness, resource: Resource, name: str
) -> Iterator[None]:
    """Once, right after this step of a turn, an object is deleted and made anew, and only the first is heard of.

    As ``kubectl replace --force`` does it.
    """
    original = getattr(room, step)

    async def meanwhile(*args: Any, **how: Any) -> Any:
        found = await original(*args, **how)
        old = h.api.find(resource, NS, name)
        if old is not None and not h.api.lags:
            h.api.remove(resource, NS, name)
            await asyncio.sleep(0.1)
            h.api.hold_events(resource)
            for field in ("uid", "resourceVersion", "creationTimestamp"):
                del old["metadata"][field]
            if resource != PODS:
                del old["status"]
            h.api.put(resource, old)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, step, meanwhile)
        yield


@pytest.mark.parametrize(("room", "step"), [(Asker, "group"), (Executor, "carry_out")], ids=str)
def test_workers_stay_with_a_group_that_is_replaced_within_a_turn(room: type, step: str) -> None:
    """It is asked for right before its workers are marked or asked to leave, not only when the turn begins."""

    async def main(h: Harness) -> None:
        await up(h)
        h.edit(DASKWORKERGROUPS, "extra", {"worker": {"replicas": 5}})
        await h.settle()
        h.api.log.clear()
        with replaced_within(room, step, h, DASKWORKERGROUPS, "extra"):
            h.edit(DASKWORKERGROUPS, "extra", {"worker": {"replicas": 4}})
            await h.pass_time(20)
        assert h.api.lags
        h.api.release_events()
        await h.settle()
        assert len(h.workers("extra")) == 4
        marked = {r.name for r in h.api.requests("patch", PODS) if "retiring" in str(r.body)}
        assert len(marked) == 1

    play(main)


def test_a_runner_that_is_replaced_while_its_scheduler_is_asked_is_no_failure() -> None:
    async def main(h: Harness) -> None:
        script = {"spec": {"containers": [{"name": "scheduler", "command": ["./start.sh"]}]}}
        h.job(cluster={"spec": {"worker": {"replicas": 1}, "scheduler": script}}, backoffLimit=2)
        with replaced_within(Asker, "job", h, PODS, "nightly-runner"):
            h.start()
            await h.pass_time(20)
        assert h.api.lags
        h.api.release_events()
        await h.settle()
        assert [name for name in h.created(PODS) if "runner" in name] == ["nightly-runner"]

    play(main)
