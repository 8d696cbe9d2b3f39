"""The scheduler's Service by server-side apply, on a real API server: what leaves the declaration leaves the object."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import USER, ready
from tests.support.kubernetes import Audit, CommandError, Kubectl, condition, eventually

JSON = dict[str, Any]
NAME = "demo-scheduler"
NOTHING = cluster()["spec"]["scheduler"]["service"]
pytestmark = pytest.mark.usefixtures("controller", "schedulers")


def declared(kubectl: Kubectl, **service: Any) -> None:
    kubectl.apply(cluster(scheduler={"service": {**NOTHING, **service}}))


def service(kubectl: Kubectl) -> JSON:
    return kubectl.get("service", NAME)


def service_that(kubectl: Kubectl, what: str, is_so: Callable[[JSON], bool]) -> JSON:
    """The Service, once it is there and so."""

    def look() -> JSON | None:
        found = [s for s in kubectl.list("services") if s["metadata"]["name"] == NAME]
        return next((s for s in found if is_so(s["spec"])), None)

    return eventually(what, look)


def spec_has(kubectl: Kubectl, key: str, value: Any) -> JSON:
    return service_that(
        kubectl, f"the Service's {key} is {value}", lambda spec: spec.get(key) == value
    )


def refused(kubectl: Kubectl, *words: str) -> None:
    told = eventually(
        "the refusal is told", lambda: condition(kubectl.get("daskcluster", "demo"), "Stalled")
    )
    assert all(word in told["message"] for word in words), told["message"]


def writes(audit: Audit, kubectl: Kubectl) -> list[JSON]:
    return audit.requests("patch", "services", namespace=kubectl.namespace, user=USER)


def test_what_is_taken_out_leaves_and_what_others_set_stays(kubectl: Kubectl, audit: Audit) -> None:
    declared(kubectl)
    ready(kubectl)
    plain = service(kubectl)
    exposed = {
        "type": "LoadBalancer",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "externalIPs": ["203.0.113.7"],
        "selector": {"dask.org/cluster-name": "demo", "app": "canary"},
    }
    declared(kubectl, **exposed)
    spec_has(kubectl, "externalIPs", ["203.0.113.7"])
    kubectl("annotate", "service", NAME, "cloud.example.com/balancer=lb-1")
    declared(kubectl)
    after = spec_has(kubectl, "externalIPs", None)
    assert after["spec"] == plain["spec"]
    assert after["metadata"]["uid"] == plain["metadata"]["uid"]
    assert after["metadata"]["annotations"]["cloud.example.com/balancer"] == "lb-1"
    done = len(writes(audit, kubectl))
    assert done == 3  # taken over once, applied twice
    kubectl("annotate", "service", NAME, "cloud.example.com/other=1")
    declared(kubectl, type="NodePort")
    spec_has(kubectl, "type", "NodePort")
    assert len(writes(audit, kubectl)) == done + 1  # others' writes are answered with none


def test_what_an_earlier_version_patched_and_left_behind_goes(kubectl: Kubectl) -> None:
    declared(kubectl)
    ready(kubectl)
    left = json.dumps({"spec": {"externalIPs": ["203.0.113.7"]}})
    kubectl("patch", "service", NAME, "--field-manager=dask-gitops", "--type=merge", "-p", left)
    spec_has(kubectl, "externalIPs", None)
    theirs = json.dumps({"spec": {"externalIPs": ["203.0.113.8"]}})
    kubectl("patch", "service", NAME, "--type=merge", "-p", theirs)
    declared(kubectl, type="NodePort")
    assert spec_has(kubectl, "type", "NodePort")["spec"]["externalIPs"] == ["203.0.113.8"]


@pytest.mark.expects_failed("an address that the network has not")
def test_a_cluster_ip_is_changed_by_a_new_service(kubectl: Kubectl) -> None:
    declared(kubectl)
    ready(kubectl)
    first = service(kubectl)
    declared(kubectl, clusterIP="None")
    second = spec_has(kubectl, "clusterIP", "None")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    declared(kubectl)
    third = service_that(
        kubectl, "the Service has an address again", lambda spec: spec["clusterIP"] != "None"
    )
    declared(kubectl, clusterIP="203.0.113.7")
    refused(kubectl, "range")
    assert service(kubectl)["metadata"]["uid"] == third["metadata"]["uid"]
    reasons = [e["reason"] for e in kubectl.list("events")]
    assert reasons.count("ServiceReplaced") == 2


@pytest.mark.expects_failed("an address that is taken")
def test_an_address_that_is_taken_is_told_and_healed_by_the_next_declaration(
    kubectl: Kubectl,
) -> None:
    """No trial finds it: the API server looks for it when a Service is made for good."""
    declared(kubectl)
    ready(kubectl)
    taken = Kubectl(kubectl.kubeconfig, "default").get("service", "kubernetes")["spec"]["clusterIP"]
    declared(kubectl, clusterIP=taken)
    refused(kubectl, "allocated")
    declared(kubectl)
    service_that(kubectl, "the Service is there again", lambda spec: spec["clusterIP"] != taken)
    ready(kubectl)


@pytest.mark.expects_failed("a change that Kubernetes refuses")
def test_what_a_load_balancer_cannot_change_is_told_with_the_way_out(kubectl: Kubectl) -> None:
    declared(kubectl, type="LoadBalancer", loadBalancerClass="example.com/a")
    spec_has(kubectl, "loadBalancerClass", "example.com/a")
    first = service(kubectl)["metadata"]["uid"]
    declared(kubectl, type="LoadBalancer", loadBalancerClass="example.com/b")
    refused(kubectl, "loadBalancerClass", f"delete the Service {NAME}")
    assert service(kubectl)["metadata"]["uid"] == first
    kubectl("delete", "service", NAME)
    assert spec_has(kubectl, "loadBalancerClass", "example.com/b")["metadata"]["uid"] != first


def test_fields_that_no_service_has_are_dropped(kubectl: Kubectl) -> None:
    """An apply answers them with 500; a create, and a patch of earlier versions, dropped them."""
    declared(kubectl, foo=1)
    ready(kubectl)
    port = {"name": "tcp-comm", "port": 8786, "bar": 1}
    declared(kubectl, type="NodePort", foo=2, deep={"a": [1]}, ports=[port])
    after = spec_has(kubectl, "type", "NodePort")
    assert [p["name"] for p in after["spec"]["ports"]] == ["tcp-comm"]
    ready(kubectl)


@pytest.mark.expects_failed("a Service of the wrong shape")
@pytest.mark.parametrize(
    "wrong", [{"ports": [{"port": 80}, {"port": 80}]}, {"selector": {"a": 1}}], ids=str
)
def test_a_wrong_shape_is_told_in_the_api_servers_words(kubectl: Kubectl, wrong: JSON) -> None:
    declared(kubectl)
    ready(kubectl)
    before = service(kubectl)["spec"]
    kubectl.apply(cluster(scheduler={"service": {**NOTHING, **wrong}}))
    refused(kubectl, *wrong)
    assert service(kubectl)["spec"] == before
    declared(kubectl)
    ready(kubectl)


@pytest.mark.parametrize(
    "wrong", [{"ports": {"a": 1}}, {"ports": [None]}, {"externalIPs": "203.0.113.7"}], ids=str
)
def test_a_wrong_shape_that_the_definition_knows_is_not_stored(
    kubectl: Kubectl, wrong: JSON
) -> None:
    (field,) = wrong
    with pytest.raises(CommandError, match=rf"spec\.scheduler\.service\.{field}"):
        kubectl.apply(cluster(scheduler={"service": {**NOTHING, **wrong}}))
