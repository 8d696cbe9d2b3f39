"""The scheduler's Service as values: what reaches it and nothing else, its ports, and what would get lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Helm, Manifest

One = Callable[..., Manifest]
Write = Callable[[str], Path]

INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
COMM, HTTP = {"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}


def scheduler(one: One, service: str, defaults: str = "{}") -> Any:
    text = f"{{defaults: {{scheduler: {{service: {defaults}}}}}, clusters: {{demo: {{scheduler: {{service: {service}}}}}}}}}"
    return one(text, "DaskCluster")["spec"].get("scheduler")


def test_annotations_and_labels_reach_the_service_alone(one: One) -> None:
    service = f"{{type: LoadBalancer, annotations: {{{INTERNAL}: 'true'}}, labels: {{a: b}}}}"
    assert scheduler(one, service) == {
        "service": {"type": "LoadBalancer"},
        "serviceMetadata": {"annotations": {INTERNAL: "true"}, "labels": {"a": "b"}},
    }


def test_annotations_of_the_service_lie_over_the_defaults(one: One) -> None:
    found = scheduler(
        one, "{annotations: {a: null, b: cluster}}", "{annotations: {a: '1', b: '1', c: '1'}}"
    )
    assert found == {"serviceMetadata": {"annotations": {"b": "cluster", "c": "1"}}}
    assert scheduler(one, "null", "{annotations: {a: '1'}, ports: [{name: x, port: 1}]}") is None


@pytest.mark.parametrize(
    ("ports", "wanted"),
    [
        ("[{name: extra, port: 9000}]", [COMM, HTTP, {"name": "extra", "port": 9000}]),
        (
            "[{name: tcp-comm, port: 8786, nodePort: 30086}]",
            [{**COMM, "nodePort": 30086}, HTTP],
        ),
        ("[{name: http-dashboard, port: 80}]", [COMM, {**HTTP, "port": 80}]),
        ("[{name: http-dashboard, port: 80}, {name: tcp-comm, port: 1}]",
         [{**COMM, "port": 1}, {**HTTP, "port": 80}]),
        ("[]", [COMM, HTTP]),
        ("[{name: dns, port: 8786, protocol: UDP}]", [COMM, HTTP, {"name": "dns", "port": 8786, "protocol": "UDP"}]),
    ],
)  # fmt: skip
def test_ports_are_laid_over_dasks_two_by_name(one: One, ports: str, wanted: Any) -> None:
    assert scheduler(one, f"{{ports: {ports}}}") == {"service": {"ports": wanted}}


def test_ports_of_cluster_and_defaults(one: One) -> None:
    found = scheduler(
        one, "{ports: [{name: tcp-comm, nodePort: 2}]}", "{ports: [{name: tcp-comm, nodePort: 1, appProtocol: tcp}]}"
    )  # fmt: skip
    assert found["service"]["ports"] == [{**COMM, "nodePort": 2, "appProtocol": "tcp"}, HTTP]
    assert scheduler(one, "{ports: null}", "{ports: [{name: x, port: 1}]}") is None


GONE = "{name: http-dashboard, $patch: delete}"


@pytest.mark.parametrize(
    ("service", "defaults", "wanted"),
    [
        (f"{{ports: [{GONE}]}}", "{}", [COMM]),
        ("{}", f"{{ports: [{GONE}]}}", [COMM]),
        (f"{{ports: [{GONE}]}}", "{ports: [{name: http-dashboard, port: 80}]}", [COMM]),
        (f"{{ports: [{GONE}, {{name: x, port: 1}}]}}", "{ports: null}", [COMM, {"name": "x", "port": 1}]),
        ("{ports: [{name: http-dashboard, port: 80}]}", f"{{ports: [{GONE}]}}", [COMM, {**HTTP, "port": 80}]),
        ("{ports: [{name: x, $patch: delete}]}", "{ports: [{name: x, port: 1}]}", [COMM, HTTP]),
    ],
)  # fmt: skip
def test_a_port_of_dasks_is_taken_away(one: One, service: str, defaults: str, wanted: Any) -> None:
    assert scheduler(one, service, defaults) == {"service": {"ports": wanted}}


OF = "clusters: {{demo: {{scheduler: {{service: {}}}}}}}"
SERVICE = "clusters.demo.scheduler.service"
REFUSED = {
    "a field that no Service has": (OF.format("{loadBalancerIp: 1.2.3.4}"), ["demo", "service", "loadBalancerIp"]),
    "a field that no port has": (OF.format("{ports: [{name: tcp-comm, nodeport: 30086}]}"), ["ports", "nodeport"]),
    "ports as a map": (OF.format("{ports: {extra: 9000}}"), ["demo", "service", "ports"]),
    "an annotation that is no text": (OF.format("{annotations: {a: true}}"), ["service", "annotations", "a"]),
    "a port without a name": (OF.format("{ports: [{port: 9000}]}"), [f"{SERVICE}.ports", "name", "tcp-comm (8786)"]),
    "another name for Dask's port": (OF.format("{ports: [{name: comm, port: 8786}]}"), [f"{SERVICE}.ports", "tcp-comm and comm", "8786/TCP"]),
    "a port without a number": (OF.format("{ports: [{name: extra}]}"), [f"{SERVICE}.ports", "extra has no port"]),
    "no port for workers": (OF.format("{ports: [{name: tcp-comm, $patch: delete}]}"), [f"{SERVICE}.ports", "without tcp-comm"]),
    "a label that is none": (OF.format("{labels: {a: b c}}"), [f"{SERVICE}.labels.a", "no label"]),
    "a key of a label with a domain in upper case": (OF.format("{labels: {Example.com/a: b}}"), [f"{SERVICE}.labels", "is no key"]),
    "a key of an annotation that is none": (OF.format("{annotations: {a b: c}}"), [f"{SERVICE}.annotations", "is no key"]),
    "a label of a Pod that is none": (
        "clusters: {demo: {worker: {podTemplate: {metadata: {labels: {a: b c}}}}}}",
        ["clusters.demo.worker.podTemplate.metadata.labels.a", "no label"],
    ),
    "a label of the Pods of a group that is none": (
        "{defaults: {worker: {podTemplate: {metadata: {labels: {-a: b}}}}}, clusters: {demo: {workerGroups: {g: {}}}}}",
        ["podTemplate.metadata.labels", '"-a" is no key'],
    ),
    "an annotation of a job's Pod that is none": (
        "jobs: {demo: {args: [x], podTemplate: {metadata: {annotations: {a/b/c: d}}}}}",
        ["jobs.demo.podTemplate.metadata.annotations", "is no key"],
    ),
    "a cloud's annotation on the cluster": (
        f"clusters: {{demo: {{annotations: {{{INTERNAL}: 'true'}}}}}}",
        ["clusters.demo.annotations", INTERNAL, f"{SERVICE}.annotations"],
    ),
    "the same in the defaults": (
        f"{{defaults: {{annotations: {{{INTERNAL}: 'true'}}}}, clusters: {{demo: {{}}}}}}",
        ["defaults.annotations", INTERNAL, f"{SERVICE}.annotations"],
    ),
    "the same on a group": (
        f"clusters: {{demo: {{workerGroups: {{g: {{annotations: {{{INTERNAL}: 'true'}}}}}}}}}}",
        ["clusters.demo.workerGroups.g.annotations", INTERNAL, f"{SERVICE}.annotations"],
    ),
    "the same on a job": (
        f"jobs: {{demo: {{args: [x], annotations: {{{INTERNAL}: 'true'}}}}}}",
        ["jobs.demo.annotations", INTERNAL, "jobs.demo.cluster.scheduler.service.annotations"],
    ),
    "the same on the cluster of a job": (
        f"jobs: {{demo: {{args: [x], cluster: {{annotations: {{{INTERNAL}: 'true'}}}}}}}}",
        ["jobs.demo.cluster.annotations", INTERNAL, "jobs.demo.cluster.scheduler.service.annotations"],
    ),
    "a label about a Service": (
        "clusters: {demo: {labels: {service.kubernetes.io/headless: ''}}}",
        ["clusters.demo.labels", "service.kubernetes.io/headless", f"{SERVICE}.labels"],
    ),
    "a host's name for the Service": (
        "clusters: {demo: {annotations: {external-dns.alpha.kubernetes.io/hostname: a.b}}}",
        ["clusters.demo.annotations", "external-dns.alpha", f"{SERVICE}.annotations"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_service_that_would_not_be_what_was_said_is_refused(
    helm: Helm, values: Write, text: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(text))
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    "text",
    [
        "annotations: {Example.com/Owner: a}",
        "scheduler: {service: {annotations: {Example.com/Owner: a}}}",
        "worker: {podTemplate: {metadata: {annotations: {Example.com/Owner: a}}}}",
    ],
)
def test_keys_of_annotations_may_have_upper_case_everywhere(
    helm: Helm, values: Write, text: str
) -> None:
    """Kubernetes reads them in lower case, other than keys of labels."""
    done = helm.template("--values", values(f"clusters: {{demo: {{{text}}}}}"))
    assert "Example.com/Owner: a" in done.stdout


def test_annotations_that_the_controller_hands_on_stay_where_they_are(one: One) -> None:
    """A cloud's own domain is not reserved, so it reaches the Service from the cluster, too."""
    text = "clusters: {demo: {annotations: {load-balancer.example.com/internal: 'true', argocd.argoproj.io/sync-wave: '2'}}}"
    assert "load-balancer.example.com/internal" in one(text, "DaskCluster")["metadata"]["annotations"]  # fmt: skip
