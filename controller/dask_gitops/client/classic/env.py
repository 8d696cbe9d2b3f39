"""Pure: variables laid over those of a Pod."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

JSON = dict[str, Any]
#: ``$$`` is one dollar sign to Kubernetes.
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def with_variables(kept: Sequence[JSON], given: Sequence[Mapping[str, Any]]) -> list[JSON]:
    """Each in the place of the one whose name it has, new ones behind them.

    Kubernetes replaces ``$(NAME)`` only by what stands above: what is replaced stays above those
    that refer to it, and what is new, or what a new value refers to, comes above them.

    :param kept: of the Pod; one that is not in ``given`` stays as it is.
    """
    new: dict[Any, list[JSON]] = {}
    for each in given:
        new.setdefault(each["name"], []).append(dict(each))
    there = {each.get("name") for each in kept}
    found: list[JSON] = []
    put: set[Any] = set()
    for each in kept:
        name = each.get("name")
        if name not in new:
            found.append(each)
        elif name not in put:
            put.add(name)
            found += new[name]
    found += (each for name, ones in new.items() if name not in there for each in ones)
    return _in_order(found, new.keys(), new.keys() - there)


def _in_order(variables: list[JSON], given: Any, fresh: Any) -> list[JSON]:
    """Below what they refer to; what a Pod's own refers to in vain, it does as before."""
    first: dict[Any, int] = {}
    for at, each in enumerate(variables):
        first.setdefault(each.get("name"), at)
    order: dict[int, None] = {}
    for start in range(len(variables)):
        waiting = {start: None}  # each for the next
        while waiting:
            at = next(reversed(waiting))
            is_given = variables[at].get("name") in given
            needs = next(
                (
                    first[name]
                    for name in _references(variables[at])
                    if name in first
                    and first[name] not in order
                    and first[name] not in waiting
                    and (is_given or name in fresh or first[name] < at)
                ),
                None,
            )
            if needs is not None:
                waiting[needs] = None
                continue
            del waiting[at]
            order.setdefault(at)
    return [variables[at] for at in order]


def _references(variable: JSON) -> Iterator[str]:
    return (name for name in _REFERENCE.findall(str(variable.get("value") or "")) if name)
