"""A Service of type LoadBalancer: clients of the existing operator read its address as soon as the phase is Running."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan.cluster import ClusterState, cluster_status
from dask_gitops.resources.observed import Service

from tests.unit.objects import T0, TIME, cluster, scheduler


def service(type_: str, status: Any) -> Service:
    owner = {"uid": cluster().meta.uid, "controller": True}
    meta = {
        "name": "demo-scheduler",
        "uid": "u",
        "creationTimestamp": TIME,
        "ownerReferences": [owner],
    }
    return Service.of({"metadata": meta, "spec": {"type": type_}, "status": status})


WAITING: list[Any] = [None, {}, {"loadBalancer": None}, {"loadBalancer": {}}, {"loadBalancer": {"ingress": []}}]  # fmt: skip


@pytest.mark.parametrize("status", WAITING)
def test_pending_until_the_address_is_there(status: Any) -> None:
    state = ClusterState(cluster(), (scheduler(),), service("LoadBalancer", status))
    found, _ = cluster_status(state, T0)
    assert found["phase"] == "Pending"
    ready = replace(state, service=service("LoadBalancer", {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}))  # fmt: skip
    after, _ = cluster_status(ready, T0)
    assert after["phase"] == "Running"
    assert after["conditions"] == found["conditions"]  # it works inside: no waiting tool is held up


@pytest.mark.parametrize("type_", ["ClusterIP", "NodePort"])
def test_other_services_have_no_address_to_wait_for(type_: str) -> None:
    state = ClusterState(cluster(), (scheduler(),), service(type_, {"loadBalancer": {}}))
    assert cluster_status(state, T0)[0]["phase"] == "Running"
