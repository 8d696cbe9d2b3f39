"""Pure: whose field is whose. ``metadata.managedFields`` as server-side apply keeps them.

A declaration that is applied takes away what it no longer says, but only what its own manager *applied* before. What
we created by POST, or changed by a merge patch, is noted as *updated* by the same manager, and would stay for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

JSON = dict[str, Any]
MANAGER = "dask-gitops"  # of all that we declare


def is_applied(entries: Iterable[JSON], manager: str) -> bool:
    """Is everything that this manager owns on the object (not on a subresource) noted as applied?"""
    return _operations(entries, manager) == {"Apply"}


def owned_fields(entries: Iterable[JSON], manager: str, *path: str) -> frozenset[str]:
    """The fields below ``path`` that this manager owns, however it came to them.

    >>> fields = {"f:spec": {"f:type": {}, "f:ports": {}}}
    >>> sorted(owned_fields([{"manager": "us", "operation": "Update", "fieldsV1": fields}], "us", "spec"))
    ['ports', 'type']
    """
    found: set[str] = set()
    for entry in _of(entries, manager):
        fields = entry.get("fieldsV1") or {}
        for step in path:
            fields = fields.get(f"f:{step}") or {}
        found |= {key.removeprefix("f:") for key in fields if key.startswith("f:")}
    return frozenset(found)


def taken_over(entries: Sequence[JSON], manager: str) -> list[JSON]:
    """``managedFields`` in which what this manager updated is noted as applied by it, for the next apply to prune."""
    mine = list(_of(entries, manager))
    if not mine:
        return list(entries)
    fields: JSON = {}
    for entry in mine:
        fields = _union(fields, entry.get("fieldsV1") or {})
    kept = [entry for entry in entries if not any(entry is one for one in mine)]
    return [*kept, {**mine[0], "operation": "Apply", "fieldsV1": fields}]


def understood(declared: Any, answered: Any) -> Any:
    """What is declared without the fields that are not in the server's answer: it does not know them.

    >>> understood({"type": "x", "foo": 1, "ports": [{"port": 1, "bar": 2}]}, {"type": "x", "ports": [{"port": 1}], "a": 0})
    {'type': 'x', 'ports': [{'port': 1}]}
    """
    if isinstance(declared, dict) and isinstance(answered, dict):
        return {k: understood(v, answered[k]) for k, v in declared.items() if k in answered}
    if isinstance(declared, list) and isinstance(answered, list) and len(declared) == len(answered):
        return [understood(*pair) for pair in zip(declared, answered, strict=True)]
    return declared


def _of(entries: Iterable[JSON], manager: str) -> Iterable[JSON]:
    return (e for e in entries if e.get("manager") == manager and not e.get("subresource"))


def _operations(entries: Iterable[JSON], manager: str) -> set[str]:
    return {entry.get("operation", "") for entry in _of(entries, manager)}


def _union(one: JSON, other: JSON) -> JSON:
    result = dict(one)
    for key, value in other.items():
        result[key] = _union(result[key], value) if key in result else value
    return result
