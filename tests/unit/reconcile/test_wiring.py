"""Who is woken by what is seen: those whom it is about now, and those whom it was about before."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from dask_gitops.reconcile.wiring import build_stores
from dask_gitops.resources import labels

POD = {labels.CLUSTER: "demo", labels.COMPONENT: labels.WORKER, labels.GROUP: "demo-default"}


def woken(kind: str, old: dict[str, str], new: dict[str, str] | None) -> set[str]:
    """The keys that are put when an object with these labels gets those; None: when it goes."""
    put: set[str] = set()

    def raw(version: int, labels: dict[str, str]) -> dict[str, Any]:
        meta = {"name": "w", "namespace": "a", "uid": "u", "labels": labels}
        return {
            "kind": kind,
            "metadata": {**meta, "resourceVersion": str(version)},
            "spec": {"containers": []},
        }

    async def main() -> None:
        stores = build_stores(cast(Any, None), (), lambda key, seconds: put.add(str(key)))
        store = stores.of(kind)
        store.observe(raw(1, old))
        put.clear()
        if new is None:
            store.forget("a", "w", "u")
        else:
            store.observe(raw(2, new))

    asyncio.run(main())
    return put


CLUSTER, GROUP = "DaskCluster a/demo", "DaskWorkerGroup a/demo-default"


@pytest.mark.parametrize(
    ("change", "also"),
    [
        ({labels.GROUP: "demo-other"}, {"DaskWorkerGroup a/demo-other"}),
        ({labels.CLUSTER: "second"}, {"DaskCluster a/second"}),
        ({labels.COMPONENT: labels.SCHEDULER}, set()),
        ({labels.COMPONENT: labels.JOB_RUNNER}, {"DaskJob a/demo"}),
        ({labels.COMPONENT: "else"}, set()),
    ],
)
def test_a_pod_that_is_relabelled_wakes_those_who_lost_it(
    change: dict[str, str], also: set[str]
) -> None:
    assert woken("Pod", POD, {**POD, **change}) == {CLUSTER, GROUP} | also
    assert {CLUSTER, GROUP} <= woken("Pod", {**POD, **change}, POD)


def test_a_pod_that_goes_or_changes_wakes_its_own() -> None:
    assert woken("Pod", POD, None) == {CLUSTER, GROUP}
    assert woken("Pod", POD, {**POD, "team": "a"}) == {CLUSTER, GROUP}


def test_a_service_that_is_relabelled_wakes_both_clusters() -> None:
    old, new = {labels.CLUSTER: "demo"}, {labels.CLUSTER: "second"}
    assert woken("Service", old, new) == {CLUSTER, "DaskCluster a/second"}
    assert woken("Service", old, None) == {CLUSTER}
