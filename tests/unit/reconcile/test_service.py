"""A scheduler's Service is what is declared: what leaves the declaration leaves the Service, what others set stays."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKCLUSTERS, PODS, SERVICES
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.services import service_revision

from tests.support.harness import NS, Harness, play
from tests.support.memory_api import Request

JSON = dict[str, Any]
NAME = "demo-scheduler"


async def up(h: Harness, service: JSON | None = None, **metadata: JSON) -> None:
    h.cluster(worker={"replicas": 1}, scheduler={"service": service, "metadata": metadata})
    h.start()
    await h.settle()


async def balanced(h: Harness) -> None:
    """The cloud gives the load balancer its address."""
    address = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
    h.api.edit(SERVICES, NS, NAME, address)
    await h.settle()


async def declare(h: Harness, service: JSON | None, metadata: JSON | None = None) -> None:
    """As ``kubectl apply`` would: what is not said any more is gone."""
    h.edit(DASKCLUSTERS, "demo", {"scheduler": None})
    h.edit(DASKCLUSTERS, "demo", {"scheduler": {"service": service, "metadata": metadata or {}}})
    await h.settle()


def spec(h: Harness) -> JSON:
    found: JSON = h.find(SERVICES, NAME)["spec"]
    return found


def uid(h: Harness) -> str:
    found: str = h.find(SERVICES, NAME)["metadata"]["uid"]
    return found


async def rests(h: Harness) -> None:
    requests = len(h.api.log)
    await h.pass_time(300)
    assert [r for r in h.api.log[requests:] if r.is_write] == []


@pytest.mark.parametrize(
    "before",
    [
        {"externalIPs": ["203.0.113.7"]},
        {
            "selector": {
                "dask.org/cluster-name": "demo",
                "dask.org/component": "scheduler",
                "a": "b",
            }
        },
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
        {"ports": [{"name": "tcp-comm", "port": 8786}, {"name": "extra", "port": 9000}]},
        {
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 9}},
        },
        {"type": "NodePort", "externalTrafficPolicy": "Local", "publishNotReadyAddresses": False},
    ],
    ids=lambda before: ",".join(before),
)
def test_what_is_taken_out_of_the_declaration_leaves_the_service(before: JSON) -> None:
    async def main(h: Harness) -> None:
        await up(h)
        await balanced(h)
        plain, first = spec(h), uid(h)
        await declare(h, before)
        assert spec(h) != plain
        await declare(h, {})
        assert spec(h) == plain
        assert uid(h) == first
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        await rests(h)

    play(main)


def test_a_field_that_is_in_the_service_from_its_creation_leaves_it_too() -> None:
    async def main(h: Harness) -> None:
        await up(h, {"externalIPs": ["203.0.113.7"]})
        assert "externalIPs" in spec(h)
        await declare(h, None)
        assert "externalIPs" not in spec(h)

    play(main)


def test_labels_and_annotations_that_are_declared_no_more_leave_it_and_others_stay() -> None:
    async def main(h: Harness) -> None:
        await up(h, labels={"team": "a"}, annotations={"note": "1"})
        theirs = {
            "metadata": {"annotations": {"cloud": "x"}},
            "spec": {"externalIPs": ["192.0.2.1"]},
        }
        h.api.edit(SERVICES, NS, NAME, theirs)
        await declare(h, {"type": "NodePort"}, {"labels": {"stage": "b"}})
        meta = h.find(SERVICES, NAME)["metadata"]
        assert meta["labels"]["stage"] == "b"
        assert "team" not in meta["labels"]
        assert meta["annotations"]["cloud"] == "x"
        assert "note" not in meta["annotations"]
        assert spec(h)["externalIPs"] == ["192.0.2.1"]
        assert spec(h)["type"] == "NodePort"
        await rests(h)

    play(main)


def test_what_an_earlier_version_left_behind_is_taken_off_once() -> None:
    """It patched: its own externalIPs stayed, with the revision of a declaration that says nothing of them."""

    async def main(h: Harness) -> None:
        await up(h, {"externalIPs": ["203.0.113.7"]})
        h.kill()
        h.edit(DASKCLUSTERS, "demo", {"scheduler": None})
        now = CustomResource.of(h.find(DASKCLUSTERS, "demo"))
        note = {"dask.org/revision": service_revision(now)}
        h.api.edit(SERVICES, NS, NAME, {"metadata": {"annotations": note}})
        h.restart()
        await h.settle()
        assert "externalIPs" not in spec(h)
        await rests(h)

    play(main)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "None"), ("None", None), ("10.96.7.7", "10.96.7.8")],
    ids=["headless", "headless no more", "another address"],
)
def test_a_cluster_ip_is_changed_by_a_new_service(before: str | None, after: str | None) -> None:
    async def main(h: Harness) -> None:
        await up(h, {} if before is None else {"clusterIP": before})
        first = uid(h)
        await declare(h, {} if after is None else {"clusterIP": after})
        assert uid(h) != first
        assert (spec(h)["clusterIP"] == after) if after else spec(h)["clusterIP"].startswith("10.")
        assert h.events().count("ServiceReplaced") == 1
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        await rests(h)

    play(main)


def test_a_service_that_would_be_refused_is_not_taken_away_for_a_new_one() -> None:
    async def main(h: Harness) -> None:
        def full(request: Request) -> None:
            body = request.body or {}
            if request.dry_run and body.get("kind") == "Service":
                raise ApiError(422, "Invalid", "spec.clusterIPs: provided IP is already allocated")

        await up(h)
        first = uid(h)
        h.judge.allow("failed", "an address that is taken")
        h.api.admission.append(full)
        await declare(h, {"clusterIP": "10.96.7.7"})
        assert uid(h) == first
        assert "already allocated" in h.condition(DASKCLUSTERS, "demo", "Stalled")[2]

    play(main)


def test_a_load_balancer_keeps_its_address_and_the_status_says_the_way_out() -> None:
    async def main(h: Harness) -> None:
        await up(h, {"type": "LoadBalancer", "loadBalancerClass": "example.com/a"})
        await balanced(h)
        h.judge.allow("failed", "a change that Kubernetes refuses")
        h.judge.allow("counts", "the new load balancer has no address yet")
        first = uid(h)
        await declare(h, {"type": "LoadBalancer", "loadBalancerClass": "example.com/b"})
        assert uid(h) == first
        status, _, message = h.condition(DASKCLUSTERS, "demo", "Stalled")
        assert status == "True"
        assert "loadBalancerClass" in message
        assert f"delete the Service {NAME}" in message
        h.api.remove(SERVICES, NS, NAME)
        await h.settle()
        assert spec(h)["loadBalancerClass"] == "example.com/b"

    play(main)


def test_an_apply_never_makes_a_service() -> None:
    """It went between the look and the apply: the next turn makes it, by a create."""

    async def main(h: Harness) -> None:
        await up(h)

        def gone(request: Request) -> None:
            if (
                request.verb == "patch"
                and request.resource == SERVICES
                and h.api.find(SERVICES, NS, NAME)
            ):
                h.api.remove(SERVICES, NS, NAME)

        h.api.admission.append(gone)
        await declare(h, {"type": "NodePort"})
        h.api.admission.remove(gone)
        await h.settle()
        assert spec(h)["type"] == "NodePort"
        assert h.api.count("create", SERVICES) == 2

    play(main)


@pytest.mark.parametrize(
    "service",
    [
        {"type": "NodePort", "foo": 1},
        {"type": "NodePort", "ports": [{"name": "tcp-comm", "port": 8786, "bar": {"x": 1}}]},
        {"type": "NodePort", "trafficDistribution": "PreferClose", "x": None, "deep": {"a": [1]}},
    ],
    ids=["a field", "in a port", "deep"],
)
def test_fields_that_no_service_has_are_dropped_as_when_it_was_made(service: JSON) -> None:
    """An apply answers them with 500, for ever."""

    async def main(h: Harness) -> None:
        await up(h, {"foo": 1})
        await declare(h, service)
        assert spec(h)["type"] == "NodePort"
        assert not {"foo", "deep"} & spec(h).keys()
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        assert not h.queue.failing
        await rests(h)
        await declare(h, {})
        assert spec(h)["type"] == "ClusterIP"

    play(main)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ports", {"a": 1}),
        ("ports", "8786"),
        ("ports", [None]),
        ("ports", [{"port": "x"}]),
        ("selector", ["a"]),
        ("externalIPs", "203.0.113.7"),
        ("publishNotReadyAddresses", "yes"),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_shape_is_refused_once_and_told(field: str, value: Any) -> None:
    async def main(h: Harness) -> None:
        await up(h)
        h.judge.allow("failed", "a Service of the wrong shape")
        before = spec(h)
        await declare(h, {field: value})
        assert spec(h) == before
        status, reason, message = h.condition(DASKCLUSTERS, "demo", "Stalled")
        assert (status, reason) == ("True", "Invalid")
        assert field in message
        assert not h.bugs
        assert not h.queue.failing

    play(main)


def test_metadata_of_the_service_follows_its_declaration_in_place() -> None:
    """It comes, changes and goes without a new Service, and without a word to the Pod."""

    async def main(h: Harness) -> None:
        internal = "service.beta.kubernetes.io/aws-load-balancer-internal"
        own = {"annotations": {internal: "true"}, "labels": {"a": "b"}}
        h.cluster(worker={"replicas": 1}, scheduler={"serviceMetadata": own})
        h.start()
        await h.settle()
        first, pod = h.find(SERVICES, NAME), h.find(PODS, NAME)
        assert own["annotations"].items() <= first["metadata"]["annotations"].items()
        assert own["labels"].items() <= first["metadata"]["labels"].items()
        assert not {internal, "a"} & {*pod["metadata"]["annotations"], *pod["metadata"]["labels"]}
        await declare(h, None)
        gone = h.find(SERVICES, NAME)
        assert (gone["metadata"]["uid"], h.find(PODS, NAME)["metadata"]["uid"]) == (
            first["metadata"]["uid"],
            pod["metadata"]["uid"],
        )
        assert internal not in gone["metadata"]["annotations"]
        assert "a" not in gone["metadata"]["labels"]
        await rests(h)

    play(main)


def test_no_service_is_made_while_its_metadata_cannot_be_read() -> None:
    """It could be open to the world without them."""

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the metadata are wrong on purpose")
        balancer = {"service": {"type": "LoadBalancer"}, "serviceMetadata": {"annotations": ["x"]}}
        h.cluster(worker={"replicas": 1}, scheduler=balancer)
        h.start()
        await h.settle()
        assert h.api.items(SERVICES) == []
        status, _, message = h.condition(DASKCLUSTERS, "demo", "Stalled")
        assert (status, "spec.scheduler.serviceMetadata.annotations" in message) == ("True", True)

    play(main)


def test_ports_of_the_wrong_shape_are_told_with_their_path() -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the ports are wrong on purpose")
        await up(h, {"ports": {"extra": 9000}})
        _, reason, message = h.condition(DASKCLUSTERS, "demo", "Stalled")
        assert (reason, "spec.scheduler.service.ports: is an object" in message) == (
            "Invalid",
            True,
        )

    play(main)
