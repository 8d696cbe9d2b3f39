"""Pure: a Pod template laid over a Pod, as the chart lays its ``podTemplate``."""

from __future__ import annotations

import copy
from typing import Any

JSON = dict[str, Any]
#: Lists whose entries are laid over each other, and by what they know each other; others are replaced.
BY = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "ports": "name",
    "volumeMounts": "mountPath",
}


def laid_over(base: Any, over: Any, field: str = "") -> Any:
    """``over`` wins; mappings are laid over each other, None takes a key away.

    :param field: whose values these are.
    """
    if isinstance(over, dict):
        found = dict(base) if isinstance(base, dict) else {}
        for key, value in over.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = laid_over(found.get(key), value, key)
        return found
    by = BY.get(field)
    if by is not None and _known(base, by) and _known(over, by):
        entries = {entry[by]: entry for entry in base}
        for entry in over:
            entries[entry[by]] = laid_over(entries.get(entry[by]), entry)
        return list(entries.values())
    return copy.deepcopy(over)


def _known(value: Any, by: str) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and entry.get(by) is not None for entry in value
    )
