"""Which fields of a declared object differ in meaning, as short paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dask_gitops.resources.revision import canonical

from .memory import JSON


def differences(before: JSON, after: JSON) -> list[str]:
    """Paths such as ``worker.spec.containers[worker].env[A]`` or ``labels.team``; other spellings are no difference."""
    old, new = (
        {
            **{key: raw["metadata"].get(key) for key in ("labels", "annotations")},
            **(raw.get("spec") or {}),
        }
        for raw in (before, after)
    )
    return list(_walk(canonical(old), canonical(new), ""))


def _walk(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    if _all(dict, old, new):
        before, after, shape = old or {}, new or {}, "{}.{}"
    elif _all(list, old, new) and all(map(_is_named, [*(old or ()), *(new or ())])):
        before, after = ({v["name"]: v for v in some or ()} for some in (old, new))
        shape = "{}[{}]"
    else:
        yield path
        return
    for key in sorted(before.keys() | after.keys()):
        inner = shape.format(path, key).lstrip(".")
        if key in before and key in after:
            yield from _walk(before[key], after[key], inner)
        elif shape == "{}[{}]":
            yield inner  # a container more: not all that it says
        else:
            yield from _walk(before.get(key), after.get(key), inner)


def _all(kind: type, *values: Any) -> bool:
    return all(v is None or isinstance(v, kind) for v in values)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)
