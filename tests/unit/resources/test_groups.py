from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from dask_gitops.resources.groups import declared_groups, group_patch
from dask_gitops.resources.observed import CustomResource

from tests.support.memory_api import merge
from tests.unit.objects import cluster
from tests.unit.resources.test_revision import tree

JSON = dict[str, Any]
NOTE = "dask.org/cluster-replicas"


def declared(spec: JSON | None = None, **meta: Any) -> list[JSON]:
    return declared_groups(cluster(spec, **meta))


def stored(manifest: JSON, **meta: Any) -> CustomResource:
    return CustomResource.of({**manifest, "metadata": {**manifest["metadata"], "uid": "u", **meta}})


def patched(group: CustomResource, patch: JSON) -> CustomResource:
    meta = patch.get("metadata", {})
    return replace(
        group,
        spec=merge(group.spec, patch.get("spec", {})),
        meta=replace(
            group.meta,
            labels=merge(group.meta.labels, meta.get("labels", {})),
            annotations=merge(group.meta.annotations, meta.get("annotations", {})),
        ),
    )


def test_the_default_group_of_an_empty_spec() -> None:
    (group,) = declared()
    (owner,) = group["metadata"].pop("ownerReferences")
    assert (owner["uid"], owner["controller"]) == ("cluster-uid", True)
    assert group == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {
            "name": "demo-default",
            "namespace": "ns",
            "labels": {"dask.org/cluster-name": "demo", "dask.org/component": "workergroup"},
            "annotations": {NOTE: ""},
        },
        "spec": {"cluster": "demo", "worker": {}},
    }


def test_all_groups_the_default_one_first() -> None:
    spec = {
        "worker": {"replicas": 2, "spec": {"x": 1}, "cluster": "ignored"},
        "workerGroups": [{"name": "gpu", "worker": {"replicas": 0}}, {"name": "big"}],
        "drainTimeout": 0,
    }
    default, gpu, big = declared(spec, labels={"team": "a", "helm.sh/chart": "c"})
    assert default["spec"] == {
        "cluster": "demo",
        "worker": {"replicas": 2, "spec": {"x": 1}},
        "drainTimeout": 0,
    }
    assert (gpu["metadata"]["name"], gpu["spec"]["worker"]) == ("demo-gpu", {"replicas": 0})
    assert (big["metadata"]["name"], big["spec"]["worker"]) == ("demo-big", {})
    assert default["metadata"]["labels"]["team"] == "a"
    assert "helm.sh/chart" not in default["metadata"]["labels"]
    assert [g["metadata"]["annotations"][NOTE] for g in (default, gpu, big)] == ["2", "0", ""]


def test_a_group_carries_the_metadata_of_its_workers_but_nothing_reserved() -> None:
    metadata = {
        "labels": {"team": "b", "argocd.argoproj.io/instance": "x", "dask.org/component": "x"},
        "annotations": {"note": "n", "helm.sh/hook": "x"},
    }
    (made,) = declared({"worker": {"metadata": metadata}}, labels={"team": "a", "cost": "c"})
    assert made["metadata"]["labels"] == {
        "team": "b",
        "cost": "c",
        "dask.org/cluster-name": "demo",
        "dask.org/component": "workergroup",
    }
    made["metadata"]["annotations"].pop("dask.org/handed-on")
    assert made["metadata"]["annotations"] == {"note": "n", NOTE: ""}
    assert made["spec"]["worker"]["metadata"] == metadata  # as it is, for the pods


def test_an_inline_group_cannot_take_the_default_groups_place() -> None:
    (only,) = declared({"worker": {"replicas": 2}, "workerGroups": [{"name": "default"}]})
    assert only["spec"]["worker"]["replicas"] == 2


def test_a_group_as_it_was_created_needs_no_patch() -> None:
    (want,) = declared({"worker": {"replicas": 2, "spec": {"x": None, "y": {}}}})
    assert group_patch(want, stored(want)) == {}


def test_the_number_is_copied_when_the_clusters_own_changes() -> None:
    (old,), (new,) = declared({"worker": {"replicas": 2}}), declared({"worker": {"replicas": 5}})
    patch = {"metadata": {"annotations": {NOTE: "5"}}, "spec": {"worker": {"replicas": 5}}}
    assert group_patch(new, stored(old)) == patch


def test_kubectl_scale_of_the_group_is_not_undone() -> None:
    (want,) = declared({"worker": {"replicas": 2}})
    group = stored(want)
    group = replace(group, spec=merge(group.spec, {"worker": {"replicas": 30}}))
    assert group_patch(want, group) == {}


def test_a_number_that_is_taken_out_of_git_stays() -> None:
    (old,), (new,) = declared({"worker": {"replicas": 2}}), declared({})
    assert group_patch(new, stored(old)) == {"metadata": {"annotations": {NOTE: ""}}}


def test_the_same_number_again_counts_as_new_after_none_was_given() -> None:
    (none,), (two,) = declared({}), declared({"worker": {"replicas": 2}})
    group = replace(stored(none), spec={"cluster": "demo", "worker": {"replicas": 7}})
    assert group_patch(two, group)["spec"] == {"worker": {"replicas": 2}}


def test_the_number_of_a_group_from_another_operator_is_kept() -> None:
    (want,) = declared({"worker": {"replicas": 2}})
    group = replace(
        stored(want, annotations={}), spec={"cluster": "demo", "worker": {"replicas": 30}}
    )
    assert group_patch(want, group) == {"metadata": {"annotations": {NOTE: "2"}}}


def test_labels_of_the_group_that_others_set_stay() -> None:
    (want,) = declared({}, labels={"team": "a"})
    group = stored(want, labels={"mine": "x"})
    assert group_patch(want, group)["metadata"]["labels"] == want["metadata"]["labels"]


def test_a_field_that_is_removed_is_removed() -> None:
    (old,), (new,) = (
        declared({"worker": {"spec": {"a": {"b": 1, "c": 2}}}}),
        declared({"worker": {"spec": {"a": {"c": 2}}}}),
    )
    assert group_patch(new, stored(old)) == {"spec": {"worker": {"spec": {"a": {"b": None}}}}}


def test_one_patch_is_enough_for_any_change() -> None:
    rng = random.Random(2)
    for _ in range(1500):
        first, second = (
            {"worker": {"spec": tree(rng), "replicas": rng.choice([None, 1, 2])}} for _ in "ab"
        )
        for spec in (first, second):
            if rng.random() < 0.3:
                spec["drainTimeout"] = rng.choice([None, 0, 9])  # type: ignore[assignment]
        (old,), (new,) = declared(first), declared(second)
        after = patched(stored(old), group_patch(new, stored(old)))
        assert group_patch(new, after) == {}, (first, second)
