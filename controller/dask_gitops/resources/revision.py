"""Revision of a user's input: the same meaning gives the same revision, whatever the spelling.

It is computed from what the user wrote, not from what the controller makes of it, so that upgrading the controller
restarts nobody.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

_SUFFIXES = {
    "": Decimal(1), "m": Decimal("0.001"), "u": Decimal("1e-6"), "n": Decimal("1e-9"),
    "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15, "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip
_SELECTORS = ("labelSelector", "namespaceSelector")  # {} selects all, absent selects none
_QUANTITIES = ("requests", "limits", "overhead", "capacity")  # maps whose values are quantities


def quantity(value: object) -> object:
    """``"1000m"``, ``1`` and ``"1.0"`` -> the same canonical text; anything that is no quantity stays as it is."""
    text = str(value)
    number = text.rstrip("EGKMPTikmnu")
    try:
        amount = Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (ArithmeticError, KeyError):
        return value
    if not amount.is_finite() or abs(amount.adjusted()) > 40:
        return value  # no amount of anything, and too long to be written out
    return format(amount.normalize(), "f")


def canonical(value: Any, key: str = "") -> Any:
    """Nulls, empty maps (but selectors) and empty lists dropped, quantities normalised; shape otherwise as it is."""
    if isinstance(value, dict):
        if key in _QUANTITIES:
            return {k: quantity(v) for k, v in value.items() if v is not None}
        items = {k: canonical(v, k) for k, v in value.items()}
        return {
            k: v
            for k, v in items.items()
            if v is not None and v != [] and (v != {} or k in _SELECTORS)
        }
    if isinstance(value, list):
        return [canonical(v) for v in value]
    return quantity(value) if key == "sizeLimit" and value is not None else value


def revision(*parts: Any) -> str:
    """Ten hex digits that stand for the meaning of ``parts`` (JSON values)."""
    # A part that says nothing is the same as none at all.
    said = [None if part in ({}, []) else part for part in map(canonical, parts)]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def without(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def without_nulls(value: Any) -> Any:
    """The same value with null entries of maps left out, at every depth."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value


def merge_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns ``old`` into ``new``; ``{}`` when there is nothing to do.

    :param new: without nulls, which a merge patch cannot write.
    """
    patch: dict[str, Any] = {}
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = merge_patch(before, after)
            if inner:
                patch[key] = inner
        elif before != after or key in old.keys() - new.keys():
            patch[key] = after
    return patch
