"""What is not carried over is told; without classic words nothing changes."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import dask.config
import pytest
from dask_gitops.client.classic import front
from dask_gitops.client.classic.front import INSTEAD
from dask_gitops.client.settings import configured, settings

from tests.unit.client.classic.support import (
    JSON,
    PDB,
    POD,
    RESOURCES,
    WHOLE,
    heard,
    made,
    remarks,
)


@pytest.mark.parametrize(
    ("given", "remark"),
    [
        (
            {"deploy_mode": "local"},
            "deploy_mode='local' is not carried over: the scheduler runs in a Pod, where its workers "
            "reach it whatever machine this is",
        ),
        (
            {"host": "10.0.0.1"},
            "host='10.0.0.1' is not carried over: the scheduler listens in a Pod of its own; "
            "cluster.scheduler_address says how to reach it",
        ),
        (
            {"port": 9000},
            "port=9000 is not carried over: the scheduler listens in a Pod of its own; "
            "cluster.scheduler_address says how to reach it",
        ),
        (
            {"interface": "eth0"},
            "interface='eth0' is not carried over: the scheduler listens in a Pod of its own, "
            "on that Pod's only interface",
        ),
        (
            {"protocol": "tls://"},
            "protocol='tls://' is not carried over: security= says whether it is TLS",
        ),
        (
            {"dashboard_address": ":9000"},
            "dashboard_address=':9000' is not carried over: the dashboard listens in the scheduler's "
            "Pod; cluster.dashboard_link leads there",
        ),
        (
            {"scheduler_service_name_resolution_retries": 5},
            "scheduler_service_name_resolution_retries=5 is not carried over: no name is looked up "
            "before its Service exists",
        ),
        (
            {"worker_command": "dask-cuda-worker"},
            "worker_command is not carried over: the Pod says its words itself",
        ),
        ({"name": "A"}, "name 'A' becomes 'a': it names objects of Kubernetes"),
    ],
)
def test_a_line_for_each(given: JSON, remark: str) -> None:
    assert sorted(remarks(**given)) == sorted([remark, PDB, RESOURCES])


def test_a_line_for_what_metadata_may_not_say() -> None:
    metadata = {"name": "w", "namespace": "n", "labels": {"dask.org/x": "1", "dask.org/component": "y"}, "finalizers": ["a"]}  # fmt: skip
    pod = {"metadata": metadata, "spec": {"containers": [{"image": "dask:1"}]}}
    assert remarks(pod) == [
        PDB,
        "metadata.finalizers of the worker's Pod is not carried over: labels and annotations are",
        "metadata.name of the worker's Pod is not carried over: the controller names the Pods",
        "label 'dask.org/x' of the worker's Pod is not carried over: keys of dask.org are the "
        "controller's",
    ]
    labels = made(pod)["spec"]["worker"]["metadata"]["labels"]
    assert labels == {"user": "annlee", "app": "dask"}


def test_they_are_told_once_in_a_process(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        front.tell(["a", "b"])
        front.tell(["b", "c"])
    assert [(w.category, str(w.message), w.filename) for w in caught] == [
        (FutureWarning, INSTEAD, __file__)
    ]
    assert caplog.messages == ["a", "b", "c"]


def test_nothing_changes_without_classic_words() -> None:
    plain = heard(None, name="demo")
    assert not plain[0].is_classic
    assert plain[1].objects.cluster["spec"]["worker"]["replicas"] == 1
    named = heard("demo")
    assert named[0].given["name"] == "demo"
    assert not named[0].is_classic
    with pytest.raises(TypeError, match="name is 'demo' and 'other'; give one"):
        heard("demo", name="other")


def test_a_configured_pod_is_not_for_another_cluster() -> None:
    spec = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "x"}, "spec": {}}  # fmt: skip
    with dask.config.set({"kubernetes.worker-template": POD}):
        assert heard(None, custom_cluster_spec=spec)[0].pods is None
        assert heard(None, name="demo", create_mode="connect_only")[0].pods is None
        with dask.config.set({"kubernetes.custom-cluster-spec": spec}):
            assert heard(None)[0].pods is None
            assert made(POD) == WHOLE


def test_what_another_library_fills_in_is_no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic package's own file of settings, as far as it concerns us."""
    theirs: JSON = {
        "kubernetes": {
            "name": "dask-{user}-{uuid}",
            "count": {"start": 0, "max": None},
            "scheduler-service-type": "ClusterIP",
            "host": "0.0.0.0",
            "port": 0,
            "protocol": "tcp://",
            "dashboard_address": ":8787",
            "deploy-mode": "remote",
            "scheduler-service-wait-timeout": 30,
            "scheduler-service-name-resolution-retries": 20,
            "scheduler-service-template": {"spec": {"selector": {"dask.org/component": "x"}}},
            "worker-template": {},
        }
    }
    monkeypatch.setattr(dask.config, "defaults", [*dask.config.defaults, theirs])
    with dask.config.set(theirs):
        assert made() == WHOLE
        assert remarks() == [PDB, RESOURCES]
        assert not heard(None, name="demo")[0].is_classic


def test_resource_timeout_covers_the_service() -> None:
    def seconds(**given: Any) -> Any:
        return settings(heard(POD, **given)[0].given, configured()).resource_timeout

    assert seconds(scheduler_service_wait_timeout=30) == 60
    assert seconds(scheduler_service_wait_timeout=300) == 300
    assert seconds(scheduler_service_wait_timeout=0) is None
    assert seconds(scheduler_service_wait_timeout=300, resource_timeout=5) == 5
