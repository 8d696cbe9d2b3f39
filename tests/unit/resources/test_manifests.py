"""Manifests of the existing operator's users: the pods and Services that they mean, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.resources import labels
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import scheduler_pod, worker_pod
from dask_gitops.resources.services import scheduler_service

from tests.manifests import CLUSTERS, HERE, NAMES, expected, manifests
from tests.unit.objects import CONTROL, TIME, cluster, group

JSON = dict[str, Any]
NAMESPACE = "team"


def stored(manifest: JSON) -> CustomResource:
    """The object as the API server would hand it out."""
    given = {"namespace": NAMESPACE, "uid": f"{manifest['metadata']['name']}-uid"}
    metadata = {**manifest["metadata"], **given, "generation": 1, "creationTimestamp": TIME}
    return CustomResource.of({**manifest, "metadata": metadata})


def added_to_env(pod: JSON) -> list[JSON]:
    """What the controller adds besides name and address: the control API, and the hand-over of workers."""
    (container,) = pod["spec"]["containers"]
    known = ("DASK_WORKER_NAME", "DASK_SCHEDULER_ADDRESS")
    return [e for e in container["env"] if e["name"] not in known]


@pytest.mark.parametrize("name", CLUSTERS)
def test_what_a_manifest_means(name: str) -> None:
    of, *declared = [stored(m) for m in manifests(name)]
    groups = [stored(g) for g in declared_groups(of)] + declared
    made = {
        f"{m['kind']} {m['metadata']['name']}": m
        for m in (
            scheduler_pod(of, default_image="default:1", control=CONTROL, token="secret"),
            scheduler_service(of),
            *declared_groups(of),
            *(worker_pod(of, g, 0, default_image="default:1") for g in groups),
        )
    }
    empty = scheduler_pod(cluster(), default_image="d", control=CONTROL, token="secret")
    want = expected(
        name,
        of,
        groups,
        control_api=added_to_env(empty),
        hand_over=added_to_env(worker_pod(cluster(), group(), 0, default_image="d")),
    )
    assert sorted(made) == sorted(want)
    for key in want:
        made[key]["metadata"]["annotations"].pop(labels.HANDED_ON, None)  # a note on what is there
        assert made[key] == want[key], key


SOURCES = ("dask-kubernetes", "Dask operator", "dask-docker")


@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_names_its_source(name: str) -> None:
    first, _, _ = (HERE / f"{name}.yaml").read_text().partition("apiVersion")
    assert any(word in first for word in SOURCES)


def test_all_but_what_has_no_pods_yet_is_expected_somewhere() -> None:
    assert set(NAMES) - set(CLUSTERS) == {"autoscaler", "jobs"}
