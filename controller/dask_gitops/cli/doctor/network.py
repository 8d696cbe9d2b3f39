"""Pure: whom NetworkPolicies let in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

JSON = dict[str, Any]
_NAME = "kubernetes.io/metadata.name"


def selects(selector: JSON | None, marks: Mapping[str, str]) -> bool:
    """Does a label selector of Kubernetes choose these labels? An empty one chooses all."""
    found = selector or {}
    if any(marks.get(key) != value for key, value in (found.get("matchLabels") or {}).items()):
        return False
    return all(_holds(each, marks) for each in found.get("matchExpressions") or ())


def _holds(expression: JSON, marks: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values") or ()
    kind = expression.get("operator")
    if kind == "In":
        return marks.get(key) in values
    if kind == "NotIn":
        return marks.get(key) not in values
    return (key in marks) is (kind == "Exists")


def of_pod(policies: Iterable[JSON], marks: Mapping[str, str]) -> list[JSON]:
    """Those that say who may come in to a Pod with these labels."""
    found = []
    for policy in policies:
        spec = policy.get("spec") or {}
        kinds = spec.get("policyTypes") or ["Ingress"]
        if "Ingress" in kinds and selects(spec.get("podSelector"), marks):
            found.append(policy)
    return found


def lets_in(
    policies: Iterable[JSON], port: int, name: str, marks: Mapping[str, str] | None, namespace: str
) -> bool:
    """May somebody come in at a port, by one of these policies at least?

    :param name: of the port.
    :param marks: labels of a Pod in the same namespace who comes; None: somebody whom only a rule for everybody lets in.
    """
    for policy in policies:
        for rule in (policy.get("spec") or {}).get("ingress") or ():
            if _has_port(rule, port, name) and _has_peer(rule, marks, namespace):
                return True
    return False


def lets_in_others(
    policies: Iterable[JSON], port: int, name: str, marks: Mapping[str, str], namespace: str
) -> bool:
    """May somebody come in at a port who is no Pod like that one, such as the controller?

    :param name: of the port.
    :param marks: labels of a Pod in the same namespace.
    """
    for policy in policies:
        for rule in (policy.get("spec") or {}).get("ingress") or ():
            if not _has_port(rule, port, name):
                continue
            peers = rule.get("from") or []
            if not peers or any(
                {"namespaceSelector", "ipBlock"} & each.keys()
                or not _is_peer(each, marks, namespace)
                for each in peers
            ):
                return True
    return False


def _has_port(rule: JSON, port: int, name: str) -> bool:
    ports = rule.get("ports") or []
    return not ports or any(_is_port(each, port, name) for each in ports)


def _is_port(each: JSON, port: int, name: str) -> bool:
    first = each.get("port")
    if each.get("protocol", "TCP") != "TCP":
        return False
    if isinstance(first, int):
        return first <= port <= int(each.get("endPort") or first)
    return first in (None, name)


def _has_peer(rule: JSON, marks: Mapping[str, str] | None, namespace: str) -> bool:
    peers = rule.get("from") or []
    return not peers or any(_is_peer(each, marks, namespace) for each in peers)


def _is_peer(peer: JSON, marks: Mapping[str, str] | None, namespace: str) -> bool:
    block = peer.get("ipBlock")
    if block is not None:  # of addresses only the one that is all of them is known
        return block.get("cidr") in ("0.0.0.0/0", "::/0")
    if marks is None:
        return False
    spaces = peer.get("namespaceSelector")
    if spaces is not None and not selects(spaces, {_NAME: namespace}):
        return False
    return selects(peer.get("podSelector"), marks)
