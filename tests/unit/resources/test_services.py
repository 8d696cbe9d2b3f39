from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.resources.pods import scheduler_metadata, scheduler_revision
from dask_gitops.resources.services import scheduler_service, service_revision

from tests.unit.objects import cluster


def service(declared: Any = None, **meta: Any) -> dict[str, Any]:
    return scheduler_service(cluster({"scheduler": {"service": declared}}, **meta))


def test_the_service_of_an_empty_spec() -> None:
    made = scheduler_service(cluster())
    (owner,) = made["metadata"].pop("ownerReferences")
    assert owner["uid"] == "cluster-uid"
    assert made == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "demo-scheduler",
            "namespace": "ns",
            "labels": {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"},
            "annotations": {"dask.org/revision": service_revision(cluster())},
        },
        "spec": {
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"},
            "ports": [
                {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": 8786},
                {
                    "name": "http-dashboard",
                    "protocol": "TCP",
                    "port": 8787,
                    "targetPort": 8787,
                },
            ],
        },
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "LoadBalancer"),
        ("selector", {"a": "b"}),
        ("publishNotReadyAddresses", False),
        ("ports", [{"name": "p", "port": 1}]),
        ("loadBalancerIP", "1.2.3.4"),
    ],
)
def test_what_the_user_says_stays(field: str, value: Any) -> None:
    assert service({field: value})["spec"][field] == value


def test_null_means_absent() -> None:
    assert service({"type": None, "ports": None}) == service()


def test_ports_that_the_user_names_otherwise_are_reached_by_number() -> None:
    ports = [
        {"name": "comm", "containerPort": 8786},
        {"name": "http-dashboard", "containerPort": 80},
    ]
    spec = {"containers": [{"name": "logs"}, {"name": "scheduler", "ports": ports}]}
    made = scheduler_service(cluster({"scheduler": {"spec": spec}}))
    assert [p["targetPort"] for p in made["spec"]["ports"]] == [8786, 80]


def test_a_port_without_a_number_is_left_to_the_api_server() -> None:
    ports = [{"name": "http-dashboard", "containerPort": None}, {"name": "tcp-comm"}]
    made = scheduler_service(cluster({"scheduler": {"spec": {"containers": [{"ports": ports}]}}}))
    assert [p["targetPort"] for p in made["spec"]["ports"]] == [8786, 8787]


def test_ports_that_the_users_command_says() -> None:
    args = ["dask-scheduler", "--port", "9001", "--dashboard-address", ":9000"]
    made = scheduler_service(cluster({"scheduler": {"spec": {"containers": [{"args": args}]}}}))
    assert [p["targetPort"] for p in made["spec"]["ports"]] == [9001, 9000]


def test_metadata_of_the_scheduler_is_the_services_too() -> None:
    """The only way to annotate it, for example for a cloud's load balancer."""
    key = "service.beta.kubernetes.io/aws-load-balancer-internal"
    metadata = {
        "labels": {"team": "b", "dask.org/component": "x"},
        "annotations": {key: "true", "dask.org/revision": "x"},
    }
    of = cluster({"scheduler": {"metadata": metadata}}, labels={"team": "a", "cost": "c"})
    made = scheduler_service(of)["metadata"]
    assert made["labels"] == {
        "team": "b",
        "cost": "c",
        "dask.org/cluster-name": "demo",
        "dask.org/component": "scheduler",
    }
    made["annotations"].pop("dask.org/handed-on")
    assert made["annotations"] == {key: "true", "dask.org/revision": service_revision(of)}


def test_metadata_is_handed_on_but_never_into_the_selector() -> None:
    made = service(labels={"team": "a", "helm.sh/chart": "x"}, annotations={"note": "n"})
    assert made["metadata"]["labels"]["team"] == "a"
    assert "helm.sh/chart" not in made["metadata"]["labels"]
    assert made["metadata"]["annotations"]["note"] == "n"
    assert set(made["spec"]["selector"]) == {"dask.org/cluster-name", "dask.org/component"}


def test_the_revision_follows_the_service_only() -> None:
    other = cluster({"scheduler": {"service": {"type": "NodePort"}}})
    assert service_revision(other) != service_revision(cluster())
    assert service_revision(cluster({"worker": {"replicas": 3}})) == service_revision(cluster())


def test_a_port_called_like_dasks_leads_to_where_the_scheduler_listens() -> None:
    """However it is published; what says its target, or is called otherwise, stays."""
    spec = {"containers": [{"args": ["dask-scheduler", "--port", "9001"]}]}
    ports = [
        {"name": "tcp-comm", "port": 8786, "nodePort": 30086},
        {"name": "http-dashboard", "port": 8787},
        {"name": "extra", "port": 9000},
    ]
    made = scheduler_service(cluster({"scheduler": {"spec": spec, "service": {"ports": ports}}}))
    assert made["spec"]["ports"] == [{**ports[0], "targetPort": 9001}, *ports[1:]]
    named = [{"name": "tcp-comm", "port": 1, "targetPort": "mine"}]
    assert service({"ports": named})["spec"]["ports"] == named


def test_metadata_of_the_service_alone() -> None:
    """It wins over what the Pod has too, also with keys of Kubernetes, and counts in no revision."""
    both = {"labels": {"a": "pod", "b": "pod"}}
    own = {
        "labels": {"a": "service", "dask.org/cluster-name": "other"},
        "annotations": {"service.beta.kubernetes.io/aws-load-balancer-internal": "true"},
    }
    declared = cluster({"scheduler": {"metadata": both, "serviceMetadata": own}})
    metadata = scheduler_service(declared)["metadata"]
    assert metadata["labels"] == {
        "a": "service",
        "b": "pod",
        "dask.org/cluster-name": "demo",
        "dask.org/component": "scheduler",
    }
    assert own["annotations"].items() <= metadata["annotations"].items()
    assert scheduler_metadata(declared) == {"labels": both["labels"], "annotations": {}}
    assert service_revision(declared) == service_revision(cluster())
    assert scheduler_revision(declared) == scheduler_revision(cluster())
