"""Pure: a Pod template laid over a Pod, as the chart lays its ``podTemplate``."""

from __future__ import annotations

import copy
from typing import Any

JSON = dict[str, Any]


def laid_over(base: Any, over: Any) -> Any:
    """``over`` wins; mappings are laid over each other, lists whose entries have names by name.

    None takes a key away. Other lists are replaced.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        found = {key: value for key, value in base.items() if over.get(key, value) is not None}
        for key, value in over.items():
            if value is not None:
                found[key] = laid_over(base.get(key), value)
        return found
    if _named(base) and _named(over):
        by_name = {entry["name"]: entry for entry in base}
        for entry in over:
            by_name[entry["name"]] = laid_over(by_name.get(entry["name"]), entry)
        return list(by_name.values())
    return copy.deepcopy(over)


def _named(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, dict) and "name" in entry for entry in value)
    )
