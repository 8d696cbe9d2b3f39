"""Server-side apply as the API server does it, for the kinds that the controller applies: pure, on plain dicts.

A field is a path of steps as FieldsV1 writes them: ``f:name`` in an object, ``k:{...}`` for an item of a list with keys,
``.`` for "this item itself". Other lists, and a Service's selector, are one field as a whole.
"""

from __future__ import annotations

import copy
import json
from typing import Any

JSON = dict[str, Any]
Path = tuple[str, ...]

_KEYS: dict[Path, tuple[str, ...]] = {
    ("f:metadata", "f:ownerReferences"): ("uid",),
    ("f:spec", "f:ports"): ("port", "protocol"),
}
_WHOLE: set[Path] = {("f:spec", "f:selector")}
_DEFAULTS = {"protocol": "TCP"}
_NOBODYS = {"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation"}
_NOBODYS |= {"managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"}


def fields_of(obj: JSON) -> set[Path]:
    """Every field of metadata and spec that somebody can own."""
    meta = {k: v for k, v in obj.get("metadata", {}).items() if k not in _NOBODYS}
    found = _fields(meta, ("f:metadata",))
    if "spec" in obj:
        found |= _fields(obj["spec"], ("f:spec",))
    return found - {("f:metadata",), ("f:spec",)}


def _fields(value: Any, at: Path) -> set[Path]:
    if isinstance(value, dict) and value and at not in _WHOLE:
        return set().union(*(_fields(v, (*at, f"f:{k}")) for k, v in value.items()))
    if isinstance(value, list) and at in _KEYS:
        found: set[Path] = set()
        for item in value:
            here = (*at, _key(item, at))
            found |= {(*here, "."), *_fields(item, here)}
        return found
    return {at}


def _key(item: JSON, at: Path) -> str:
    key = {k: item.get(k, _DEFAULTS.get(k)) for k in _KEYS[at]}
    return "k:" + json.dumps(key, sort_keys=True, separators=(",", ":"))


def encode(paths: set[Path]) -> JSON:
    tree: JSON = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    return tree


def decode(tree: JSON, at: Path = ()) -> set[Path]:
    if not tree:
        return {at} if at else set()
    return set().union(*(decode(below, (*at, step)) for step, below in tree.items()))


def updated(before: JSON, after: JSON, manager: str) -> JSON:
    """``after`` with managedFields as they are once ``manager`` has made it of ``before`` by POST or patch."""
    changed = {
        path
        for path in fields_of(after)
        if _value(after, path) != _value(before, path) or path not in fields_of(before)
    }
    owners = _owners(after)
    if "managedFields" in after["metadata"] and _owners(before) != owners:
        return after  # somebody writes them: they are taken as they come
    return _with(after, _claim(owners, (manager, "Update"), changed, fields_of(after)))


def applied(obj: JSON, declared: JSON, manager: str) -> JSON:
    """What ``obj`` is once ``manager`` has applied ``declared`` with force."""
    owners, wanted, result = _owners(obj), fields_of(declared), copy.deepcopy(obj)
    me = (manager, "Apply")
    others = set().union(*(paths for who, paths in owners.items() if who != me))
    gone = owners.get(me, set()) - wanted - others
    # Items that are nobody's first: without its keys an item could not be found any more.
    for path in sorted(gone, key=lambda path: (path[-1] != ".", -len(path))):
        inside = any(p[: len(path) - 1] == path[:-1] and p != path for p in others | wanted)
        if path[-1] != "." or not inside:
            _remove(result, path)
    changed = {path for path in wanted if _value(result, path) != _value(declared, path)}
    for path in sorted(wanted, key=len):
        if path[-1] != ".":
            _set(result, path, _value(declared, path))
    there = fields_of(result)
    owners = {who: (p - changed if who != me else p) & there for who, p in owners.items()}
    owners[me] = wanted
    return _with(result, owners)


def _claim(
    owners: dict[tuple[str, str], set[Path]], who: tuple[str, str], new: set[Path], there: set[Path]
) -> dict[tuple[str, str], set[Path]]:
    kept = {w: (paths - new if w != who else paths) & there for w, paths in owners.items()}
    return {**kept, who: kept.get(who, set()) | new}


def _owners(obj: JSON) -> dict[tuple[str, str], set[Path]]:
    entries = obj["metadata"].get("managedFields") or ()
    return {(e["manager"], e["operation"]): decode(e["fieldsV1"]) for e in entries}


def _with(obj: JSON, owners: dict[tuple[str, str], set[Path]]) -> JSON:
    entries = [
        {
            "manager": manager,
            "operation": operation,
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": encode(paths),
        }
        for (manager, operation), paths in sorted(owners.items())
        if paths
    ]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": entries}}


def _child(parent: Any, at: Path, step: str) -> Any:
    if parent is None or step == ".":
        return parent
    if step.startswith("k:"):
        return next((item for item in parent if _key(item, at) == step), None)
    return parent.get(step.removeprefix("f:"))


def _value(obj: JSON, path: Path) -> Any:
    found: Any = obj
    for n, step in enumerate(path):
        found = _child(found, path[:n], step)
    return found if path[-1] != "." else found is not None


def _set(obj: JSON, path: Path, value: Any) -> None:
    parent: Any = obj
    for n, step in enumerate(path[:-1]):
        below = _child(parent, path[:n], step)
        if below is None:
            below = [] if path[: n + 1] in _KEYS else {}
            if step.startswith("k:"):
                below = json.loads(step.removeprefix("k:"))
                parent.append(below)
            else:
                parent[step.removeprefix("f:")] = below
        parent = below
    parent[path[-1].removeprefix("f:")] = copy.deepcopy(value)


def _remove(obj: JSON, path: Path) -> None:
    parent = _value(obj, path[:-1])
    if parent is None:
        return
    if path[-1] == ".":
        _value(obj, path[:-2]).remove(parent)
        return
    parent.pop(path[-1].removeprefix("f:"), None)
    if not parent and len(path) > 2 and not path[-2].startswith("k:"):
        _remove(obj, path[:-1])
