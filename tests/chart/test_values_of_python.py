"""A cluster made in Python, as values: the chart makes the same DaskCluster of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from dask_gitops.client.settings import settings
from dask_gitops.client.values import values
from dask_gitops.client.wanted import wanted

from .conftest import Manifest

JSON = dict[str, Any]
GIVEN: list[JSON] = [
    {},
    {
        "n_workers": 0,
        "image": "registry.example.org:5000/team/dask:2026.8.0@sha256:" + 64 * "a",
        "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
        "env": {"A": "1", "B": ""},
        "worker_command": "dask-cuda-worker --rmm-pool-size 1GB",
        "idle_timeout": 3600,
        "scheduler_service_type": "LoadBalancer",
        "jupyter": True,
        "labels": {"team": "b"},
        "annotations": {"example.org/why": "a: b"},
        "worker_template": {
            "metadata": {"labels": {"x": "z"}},
            "spec": {
                "nodeSelector": {"pool": "batch"},
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            },
        },
    },
]
WRITTEN: JSON = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskCluster",
    "metadata": {"name": "demo"},
    "spec": {
        "image": "ghcr.io/dask/dask:2026.8.0",
        "idleTimeout": 60,
        "idleAction": "Scale",
        "drainTimeout": 30,
        "worker": {"spec": {"containers": [{"name": "worker", "image": "x:1"}]}},
        "scheduler": {"spec": {"containers": [{"name": "scheduler"}], "priorityClassName": "high"}},
    },
}


@pytest.mark.parametrize("given", [*GIVEN, {"custom_cluster_spec": WRITTEN}])
def test_the_chart_makes_the_same_of_them(given: JSON, one: Callable[..., Manifest]) -> None:
    made = wanted(settings({"name": "demo", **given}, {}), given, {}).objects.cluster
    rendered = one(yaml.safe_dump(values(made)), "DaskCluster", "demo")
    assert without_empty(rendered["spec"]) == without_empty(made["spec"])
    for key in ("labels", "annotations"):
        written = made["metadata"].get(key, {})
        assert written.items() <= (rendered["metadata"].get(key) or {}).items()


def without_empty(spec: Any) -> Any:
    """0 means never, as if it were left out; a container of which only the name is told is the one that is there."""
    found = {key: value for key, value in spec.items() if (key, value) != ("idleTimeout", 0)}
    scheduler = dict(found["scheduler"]["spec"])
    if scheduler.get("containers") == [{"name": "scheduler"}]:
        del scheduler["containers"]
    return {**found, "scheduler": {**found["scheduler"], "spec": scheduler}}


def test_dasks_own_resources_are_among_them(one: Callable[..., Manifest]) -> None:
    spec = {**WRITTEN["spec"], "worker": {"replicas": 1, "resources": {"GPU": 1}}}
    rendered = one(yaml.safe_dump(values({**WRITTEN, "spec": spec})), "DaskCluster", "demo")
    assert rendered["spec"]["worker"]["resources"] == {"GPU": 1}
