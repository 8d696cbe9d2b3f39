from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from dask_gitops.resources.pods import scheduler_revision, worker_revision
from dask_gitops.resources.revision import canonical, merge_patch, quantity, revision, without_nulls

from tests.support.memory_api import merge
from tests.unit.objects import cluster, group


@pytest.mark.parametrize(
    "same",
    [
        (1, "1", "1.0", "1000m", "1e0", 1.0),
        ("1Gi", "1024Mi", 1073741824, "1073741824"),
        ("1k", "1000", "1e3", "1E3"),
        ("0.5", "500m", ".5"),
        (0, "0", "0Gi"),
        ("100u", "0.1m", "100000n"),
    ],
)
def test_spellings_of_a_quantity(same: tuple[Any, ...]) -> None:
    assert len({quantity(value) for value in same}) == 1


@pytest.mark.parametrize(
    "value",
    ["", "many", "1Xi", "Gi", "NaN", "Infinity", "sNaN", "1e99", "1e999999999", True],
)
def test_what_is_no_quantity_stays(value: Any) -> None:
    assert quantity(value) == value


def test_different_quantities_differ() -> None:
    values = ["1", "1m", "1k", "1Ki", "1M", "1Mi", "1G", "1Gi", "2", "1.5", "0"]
    assert len({quantity(v) for v in values}) == len(values)


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "worker", **fields}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (container(resources={"limits": {"cpu": "1"}}), container(resources={"limits": {"cpu": 1}})),
        (container(resources=None), container()),
        (container(resources={}), container()),
        (container(env=[]), container()),
        (container(resources={"limits": {"cpu": None}}), container()),
        ({"volumes": [{"name": "a", "emptyDir": {}}]}, {"volumes": [{"name": "a"}]}),
        (
            {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}]},
            {"volumes": [{"emptyDir": {"sizeLimit": "1024Mi"}, "name": "a"}]},
        ),
        (None, {}),
    ],
)  # fmt: skip
def test_the_same_meaning_gives_the_same_revision(one: Any, other: Any) -> None:
    assert revision("x", one) == revision("x", other)


DIFFERENT: list[Any] = [
    None,
    container(),
    container(image="a"),
    container(image="b"),
    container(args=["1"]),
    container(args=["1", "2"]),
    container(args=["2", "1"]),
    container(env=[{"name": "A", "value": ""}]),
    container(env=[{"name": "A", "value": "1"}]),
    container(env=[{"name": "A", "value": "1.0"}]),  # no quantity
    container(resources={"limits": {"cpu": "1"}}),
    container(resources={"limits": {"cpu": "1.5"}}),
    container(resources={"requests": {"cpu": "1"}}),
    {"hostNetwork": True},
    {"hostNetwork": False},
    {"affinity": {"podAffinity": {"x": [{"namespaceSelector": {}}]}}},
    {"affinity": {"podAffinity": {"x": [{}]}}},
]


def test_different_meanings_give_different_revisions() -> None:
    for one, other in itertools.combinations(DIFFERENT, 2):
        assert revision(one) != revision(other), (one, other)


def test_replicas_and_metadata_are_no_part_of_a_workers_revision() -> None:
    of = cluster()
    plain = worker_revision(of, group({"worker": {"spec": container()}}))
    same = {"spec": container(), "replicas": 7, "metadata": {"labels": {"a": "b"}}, "cluster": "x"}
    assert worker_revision(of, group({"worker": same})) == plain
    assert worker_revision(of, group({"worker": {"spec": container(image="x")}})) != plain
    assert (
        worker_revision(of, group({"worker": {"spec": container(), "resources": {"GPU": 1}}}))
        != plain
    )
    assert (
        worker_revision(cluster({"image": "x"}), group({"worker": {"spec": container()}})) != plain
    )


def test_the_schedulers_revision_follows_its_spec_and_the_image() -> None:
    plain = scheduler_revision(cluster())
    assert scheduler_revision(cluster({"worker": {"replicas": 3}, "idleTimeout": 5})) == plain
    assert scheduler_revision(cluster({"scheduler": {"metadata": {"labels": {"a": "b"}}}})) == plain
    assert scheduler_revision(cluster({"image": "x"})) != plain
    assert scheduler_revision(cluster({"scheduler": {"spec": {"hostNetwork": True}}})) != plain


def tree(rng: random.Random, depth: int = 3) -> Any:
    """A random JSON value, with nulls and empty maps."""
    kind = rng.randrange(7 if depth else 4)
    if kind < 4:
        return [None, 0, "1", "1Gi"][kind]
    if kind == 4:
        return [tree(rng, depth - 1) for _ in range(rng.randrange(3))]
    return {
        k: tree(rng, depth - 1)
        for k in rng.sample(["a", "b", "limits", "emptyDir"], rng.randrange(4))
    }


def test_a_merge_patch_leads_from_anything_to_anything() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        old, new = {"x": tree(rng), "y": tree(rng)}, without_nulls({"x": tree(rng), "z": tree(rng)})
        patch = merge_patch(old, new)
        after = merge(old, patch)
        assert canonical(after) == canonical(new), (old, new, patch)
        assert merge_patch(after, new) == {}, (old, new, patch)
        assert merge_patch(new, new) == {}
