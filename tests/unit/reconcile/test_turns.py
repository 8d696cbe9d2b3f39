"""What a turn costs: how often it looks, how often it asks, and whom it wakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dask_gitops.kube.resource import DASKCLUSTERS
from dask_gitops.reconcile.observe import Observer
from dask_gitops.reconcile.stores import Key

from tests.support.harness import NS, Harness, play

CLUSTER, GROUP = Key("DaskCluster", NS, "demo"), Key("DaskWorkerGroup", NS, "demo-default")
AUTOSCALER, JOB = Key("DaskAutoscaler", NS, "demo"), Key("DaskJob", NS, "nightly")
BUILDERS = {
    "DaskCluster": "cluster_state",
    "DaskWorkerGroup": "group_state",
    "DaskAutoscaler": "scaler_state",
    "DaskJob": "job_state",
}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often states are built, by kind of the state."""
    found: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in BUILDERS.items():
            original: Callable[..., Any] = getattr(Observer, name)

            def build(
                *args: Any, kind: str = kind, original: Callable[..., Any] = original, **how: Any
            ) -> Any:
                found[kind] += 1
                return original(*args, **how)

            patch.setattr(Observer, name, build)
        yield found


async def turn(h: Harness, key: Key) -> Counter[str]:
    """What one turn of this key builds; there is no other turn."""
    h.turns.clear()
    h.schedulers.calls.clear()
    with counted() as found:
        h.queue.put(key)
        await h.pass_time(0.2)
    assert h.turns == [key]
    assert not h.bugs, h.bugs
    return found


def test_a_turn_at_rest_looks_once_and_asks_nobody() -> None:
    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 2})
        h.job()
        h.start()
        await h.settle()
        written = len(h.api.log)
        for key in (CLUSTER, GROUP, JOB):
            found = await turn(h, key)
            assert found[key.kind] == 1, key
            assert h.schedulers.calls == []
        assert [r for r in h.api.log[written:] if r.is_write] == []

    play(main)


def test_an_autoscaler_looks_once_and_asks_once() -> None:
    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 2})
        h.autoscaler(2, 4, interval=50)
        h.start()
        await h.pass_time(60)
        assert (await turn(h, AUTOSCALER))["DaskAutoscaler"] == 1
        assert h.schedulers.calls == []
        h.turns.clear()
        with counted() as found:
            await h.pass_time(50)
        assert h.turns == [AUTOSCALER]
        assert found["DaskAutoscaler"] == 1
        assert [what for what, _ in h.schedulers.calls] == ["demand"]

    play(main)


def test_a_cluster_that_waits_for_its_update_and_for_work_asks_once() -> None:
    """Both follow from the same answer."""

    async def main(h: Harness) -> None:
        h.cluster(worker={"replicas": 1})
        h.start()
        await h.settle()
        h.schedulers.scatter()
        containers = [{"name": "scheduler", "image": "dask:2"}]
        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": {"containers": containers}}})
        h.edit(DASKCLUSTERS, "demo", {"idleTimeout": 3, "idleAction": "Scale"})
        await h.pass_time(20)
        assert h.condition(DASKCLUSTERS, "demo", "UpdatePending")[0] == "True"
        h.turns.clear()
        h.schedulers.calls.clear()
        with counted() as found:
            await h.pass_time(60)
        turns = Counter(h.turns)[CLUSTER]
        assert turns > 10
        assert found["DaskCluster"] == turns
        assert [what for what, _ in h.schedulers.calls] == ["state"] * turns

    play(main)
