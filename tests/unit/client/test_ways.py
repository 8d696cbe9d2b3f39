from __future__ import annotations

import pytest
from dask_gitops.client.ways import Plan, kind_of


@pytest.mark.parametrize(
    ("plan", "service", "kind"),
    [
        (Plan(inside=False), "ClusterIP", "forward"),
        (Plan(inside=True), "ClusterIP", "service"),
        (Plan(inside=True), "LoadBalancer", "service"),
        (Plan(inside=False), "LoadBalancer", "LoadBalancer"),
        (Plan(inside=False), "NodePort", "NodePort"),
        (Plan(inside=False, forward=True), "LoadBalancer", "forward"),
        (Plan(inside=True, forward=True), "ClusterIP", "forward"),
        (Plan(inside=False, forward=False), "ClusterIP", "service"),
        (Plan(inside=False, forward=False), "NodePort", "NodePort"),
        (Plan(inside=True, external="tls://dask.example.org:443"), "ClusterIP", "external"),
    ],
)
def test_which_way(plan: Plan, service: str, kind: str) -> None:
    assert kind_of(plan, service) == kind
