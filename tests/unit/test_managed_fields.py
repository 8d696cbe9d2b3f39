"""The stand-in for server-side apply does what the API server does: each case was compared with a real one."""

from __future__ import annotations

from typing import Any

from dask_gitops.resources.managed import MANAGER, is_applied, owned_fields, taken_over

from tests.support.managed_fields import applied, updated

JSON = dict[str, Any]


def made(spec: JSON, **labels: str) -> JSON:
    obj = {"metadata": {"name": "s", "labels": labels}, "spec": spec}
    return updated({"metadata": {}}, obj, MANAGER)


def entries(obj: JSON) -> list[JSON]:
    found: list[JSON] = obj["metadata"]["managedFields"]
    return found


def declared(spec: JSON, **labels: str) -> JSON:
    return {"metadata": {"name": "s", "labels": labels}, "spec": spec}


def test_what_was_created_stays_when_it_is_declared_no_more_unless_it_was_taken_over() -> None:
    obj = made({"type": "ClusterIP", "externalIPs": ["1.2.3.4"]}, a="1", b="2")
    assert not is_applied(entries(obj), MANAGER)
    kept = applied(obj, declared({"type": "ClusterIP"}, a="1"), MANAGER)
    assert kept["spec"]["externalIPs"] == ["1.2.3.4"]
    assert kept["metadata"]["labels"] == {"a": "1", "b": "2"}
    obj["metadata"]["managedFields"] = taken_over(entries(obj), MANAGER)
    assert is_applied(entries(obj), MANAGER)
    gone = applied(obj, declared({"type": "ClusterIP"}, a="1"), MANAGER)
    assert gone["spec"] == {"type": "ClusterIP"}
    assert gone["metadata"]["labels"] == {"a": "1"}


def test_what_others_set_stays() -> None:
    obj = made({"type": "ClusterIP"}, a="1")
    theirs = {**obj, "spec": {**obj["spec"], "externalIPs": ["9.9.9.9"]}}
    obj = updated(obj, theirs, "kubectl-edit")
    obj["metadata"]["managedFields"] = taken_over(entries(obj), MANAGER)
    after = applied(obj, declared({"type": "NodePort"}), MANAGER)
    assert after["spec"] == {"type": "NodePort", "externalIPs": ["9.9.9.9"]}
    assert not after["metadata"].get("labels")
    assert owned_fields(entries(after), MANAGER, "spec") == {"type"}
    assert owned_fields(entries(after), "kubectl-edit", "spec") == {"externalIPs"}


def test_ports_are_items_by_number_and_protocol_and_a_selector_is_one_field() -> None:
    ports = [{"port": 8786, "protocol": "TCP", "name": "a"}, {"port": 9000, "name": "b"}]
    obj = made({"ports": ports, "selector": {"a": "1", "b": "2"}})
    obj["metadata"]["managedFields"] = taken_over(entries(obj), MANAGER)
    after = applied(obj, declared({"ports": ports[:1], "selector": {"a": "1"}}), MANAGER)
    assert after["spec"] == {"ports": ports[:1], "selector": {"a": "1"}}
    assert applied(after, declared({"ports": ports[:1], "selector": {"a": "1"}}), MANAGER) == after


def test_an_update_of_a_field_makes_it_the_updaters() -> None:
    obj = made({"type": "ClusterIP", "sessionAffinity": "None"})
    other = updated(obj, {**obj, "spec": {**obj["spec"], "type": "NodePort"}}, "them")
    assert owned_fields(entries(other), MANAGER, "spec") == {"sessionAffinity"}
    assert owned_fields(entries(other), "them", "spec") == {"type"}


def test_taking_over_joins_what_was_applied_and_what_was_updated_since() -> None:
    obj = made({"type": "ClusterIP"}, a="1")
    obj["metadata"]["managedFields"] = taken_over(entries(obj), MANAGER)
    obj = updated(obj, {**obj, "spec": {**obj["spec"], "externalIPs": ["1.2.3.4"]}}, MANAGER)
    assert {e["operation"] for e in entries(obj)} == {"Apply", "Update"}
    obj["metadata"]["managedFields"] = taken_over(entries(obj), MANAGER)
    assert is_applied(entries(obj), MANAGER)
    assert owned_fields(entries(obj), MANAGER, "spec") == {"type", "externalIPs"}


def test_a_status_written_by_the_same_manager_is_not_taken_over() -> None:
    status = {"manager": MANAGER, "operation": "Update", "subresource": "status", "fieldsV1": {}}
    assert taken_over([status], MANAGER) == [status]
