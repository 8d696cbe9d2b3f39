from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.client.errors import ValidationError
from dask_gitops.client.settings import settings
from dask_gitops.client.templates import laid_over
from dask_gitops.client.values import written
from dask_gitops.client.wanted import Wanted, wanted

JSON = dict[str, Any]
TOKENS = {"user": "ann", "uuid": "0123456789", "dask_version": "2026.8.0", "python_version": "3.11"}


def made(**given: Any) -> Wanted:
    return wanted(settings({"name": "demo", **given}, {}), given, TOKENS)


def test_one_worker_where_nobody_says_a_number() -> None:
    spec = made().objects.cluster["spec"]
    assert spec["worker"]["replicas"] == 1
    assert made(n_workers=0).objects.cluster["spec"]["worker"]["replicas"] == 0
    assert "image" not in spec["worker"]["spec"]["containers"][0]


def test_an_image_of_versions() -> None:
    template = "ghcr.io/dask/dask:{dask_version}-py{python_version}"
    spec = made(image=template).objects.cluster["spec"]
    for part in ("worker", "scheduler"):
        assert spec[part]["spec"]["containers"][0]["image"] == "ghcr.io/dask/dask:2026.8.0-py3.11"


def test_resources_of_each() -> None:
    spec = made(
        resources={"limits": {"cpu": "1"}}, worker_resources={"limits": {"cpu": "2"}}
    ).objects.cluster["spec"]
    assert spec["worker"]["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "2"}}
    assert spec["scheduler"]["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}


def test_a_template_is_laid_over_by_name() -> None:
    """A Pod, or the spec of one; lists whose entries have names are merged."""
    template = {
        "metadata": {"labels": {"team": "b"}},
        "spec": {
            "nodeSelector": {"gpu": "yes"},
            "containers": [{"name": "worker", "env": [{"name": "A", "value": "2"}]}],
        },
    }
    given = {"env": {"A": "1", "B": "1"}, "worker_template": template}
    worker = made(**given).objects.cluster["spec"]["worker"]
    (container,) = worker["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "1"}]
    assert container["args"][0] == "dask-worker"
    assert worker["metadata"] == {"labels": {"team": "b"}}
    assert worker["spec"]["nodeSelector"] == {"gpu": "yes"}
    spec_only = made(worker_template=template["spec"]).objects.cluster["spec"]["worker"]
    assert spec_only["spec"]["nodeSelector"] == {"gpu": "yes"}


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"a": 1, "b": 2}, {"b": None, "c": 3}, {"a": 1, "c": 3}),
        ([1, 2], [3], [3]),
        (
            {"env": [{"name": "a", "x": 1}]},
            {"env": [{"name": "b"}]},
            {"env": [{"name": "a", "x": 1}, {"name": "b"}]},
        ),
        ({"env": [{"name": "a", "x": 1}]}, {"env": [{"key": "b"}]}, {"env": [{"key": "b"}]}),
        (
            {"imagePullSecrets": [{"name": "a"}]},
            {"imagePullSecrets": [{"name": "b"}]},
            {"imagePullSecrets": [{"name": "b"}]},
        ),
        (
            {"volumeMounts": [{"mountPath": "/a", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}, {"mountPath": "/b", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}, {"mountPath": "/b", "name": "x"}]},
        ),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        (None, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ],
)
def test_laid_over(base: Any, over: Any, result: Any) -> None:
    assert laid_over(base, over) == result


SPEC: JSON = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskCluster",
    "metadata": {"name": "mine"},
    "spec": {"worker": {"replicas": 3, "spec": {}}, "scheduler": {}},
}


def test_beside_a_cluster_that_the_user_wrote() -> None:
    found = made(custom_cluster_spec=SPEC, n_workers=5, idle_timeout=60, image="x", env={"A": "1"})
    assert found.name == "mine"
    assert not found.is_ours
    assert found.ignored == ["image", "env"]
    assert found.objects.cluster["spec"]["worker"] == {"replicas": 5, "spec": {}}
    assert found.objects.cluster["spec"]["idleTimeout"] == 60
    kept = made(custom_cluster_spec=SPEC).objects.cluster
    assert kept == SPEC


def test_a_name_that_the_user_wrote_in_it_is_looked_at() -> None:
    bad = {**SPEC, "metadata": {"name": "My_Cluster"}}
    with pytest.raises(ValidationError, match="try 'my-cluster'"):
        made(custom_cluster_spec=bad)


def test_labels_and_annotations() -> None:
    metadata = made(labels={"a": "1"}, annotations={"b": "2"}).objects.cluster["metadata"]
    assert metadata == {"name": "demo", "labels": {"a": "1"}, "annotations": {"b": "2"}}


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"labels": {"a": 1}}, TypeError, "labels['a'] is 1; keys and values are strings"),
        (
            {"worker_template": {"kind": "Deployment", "spec": {}}},
            ValueError,
            "worker_template is a Deployment; write a Pod, or the spec of one",
        ),
        (
            {"worker_template": "x"},
            TypeError,
            "worker_template is 'x'; write a dict: a Pod, or the spec of one",
        ),
        (
            {"external_address": "dask.example.org"},
            ValueError,
            "external_address is 'dask.example.org'; write it such as 'tcp://dask.example.org:8786'",
        ),
        (
            {"worker_resources": {"limit": {}}},
            ValueError,
            "worker_resources has the unknown field 'limit'; it may have: limits, requests",
        ),
    ],
)
def test_refused(given: JSON, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        made(**given)
    assert str(caught.value) == words


def test_what_somebody_wrote_of_an_object() -> None:
    raw = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": "demo",
            "namespace": "team-b",
            "uid": "u",
            "labels": {"team": "b", "app.kubernetes.io/instance": "x"},
            "annotations": {"dask.org/created-by": "ann@laptop"},
        },
        "spec": {"worker": {"replicas": 2}},
        "status": {"phase": "Running"},
    }
    assert written(raw) == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "demo", "labels": {"team": "b"}},
        "spec": {"worker": {"replicas": 2}},
    }
