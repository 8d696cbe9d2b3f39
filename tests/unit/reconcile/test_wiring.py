"""Who is woken by what is seen: those whom it is about now, and those whom it was about before."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from dask_gitops import status as words
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


def group_told(
    old: list[words.Condition], new: list[words.Condition], *, before: int = 2
) -> set[str]:
    """Who is woken when a group of generation 2 reports this instead of that.

    :param before: the generation that the old report is of.
    """
    put: set[str] = set()

    def raw(version: int, found: list[words.Condition], generation: int) -> dict[str, Any]:
        meta = {"name": "demo-default", "namespace": "a", "uid": "u", "generation": 2}
        return {
            "kind": "DaskWorkerGroup",
            "metadata": {**meta, "resourceVersion": str(version)},
            "spec": {"cluster": "demo"},
            "status": {"conditions": words.conditions(found, {}, generation, 0)},
        }

    async def main() -> None:
        stores = build_stores(cast(Any, None), (), lambda key, seconds: put.add(str(key)))
        stores.groups.observe(raw(1, old, before))
        put.clear()
        stores.groups.observe(raw(2, new, 2))

    asyncio.run(main())
    return put


@pytest.mark.parametrize("says", [words.stalled, words.reconciling])
@pytest.mark.parametrize("reason", ["Invalid", "Forbidden", "QuotaExceeded", "NameTaken"])
def test_what_a_cluster_reads_of_a_group_wakes_it(says: Any, reason: str) -> None:
    first, other = says(reason, "0 of 2; no", "no"), says(reason, "0 of 2; no!", "no!")
    assert CLUSTER in group_told(first, other), "other words"
    assert CLUSTER in group_told(first, first, before=1), "the same words, for the spec of now"
    counted = says(reason, "1 of 2; no", "no")
    assert CLUSTER not in group_told(first, counted), "the pods tell that"


def test_progress_of_a_group_does_not_wake_its_cluster() -> None:
    """Its pods do: the words of progress have counts in them, and are no refusal."""
    first, other = (words.reconciling("Progressing", f"{n} of 9 ready") for n in (1, 2))
    assert CLUSTER not in group_told(first, other)
