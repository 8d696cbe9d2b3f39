from __future__ import annotations

import pytest
from dask_gitops.resources import labels, names


@pytest.mark.parametrize(
    ("key", "reserved"),
    [
        ("team", False),
        ("example.com/team", False),
        ("kubernetes.io/x", True),
        ("app.kubernetes.io/name", True),
        ("notkubernetes.io/x", False),
        ("k8s.io/x", True),
        ("argoproj.io/x", True),
        ("kopf.dev/x", True),
        ("dask.org/x", True),
        ("kubectl.kubernetes.io", True),  # a domain without a name
        ("kubernetes.io.team", False),
        ("mine.example.org/x", True),
        ("example.org/x", True),
        ("example.org.evil/x", False),
    ],
)
def test_reserved_domains(key: str, reserved: bool) -> None:
    assert labels.is_reserved(key, ["example.org"]) is reserved


def test_selector_as_a_string() -> None:
    selector = labels.group_selector("demo", "demo-default")
    assert labels.as_string(selector) == (
        "dask.org/cluster-name=demo,dask.org/component=worker,dask.org/workergroup-name=demo-default"
    )


def test_names_that_users_scripts_rely_on() -> None:
    assert names.scheduler_name("demo") == "demo-scheduler"
    assert names.default_group_name("demo") == "demo-default"
    assert names.scheduler_address("demo", "ns") == "tcp://demo-scheduler.ns.svc:8786"
    assert names.dashboard_address("demo", "ns") == "http://demo-scheduler.ns.svc:8787"
    assert names.worker_name("demo-default", "uid", 0) == "demo-default-worker-5496279ad5"
