"""The shapes of Kubernetes' own objects (a Pod spec, a Service spec), from the schemas that kubernetes-validate brings along.

Shapes only: which field is a list, an object, a text or a number. Fields that are not known stay allowed, so that those of other
versions of Kubernetes can be written; null, by which values take something away, is allowed for every field and for no item.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import kubernetes_validate

Schema = dict[str, Any]

QUANTITY = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"
_NULLABLE = ".orNull"  # behind the name of a definition that also allows null,
_CLOSED = ".closed"  # and of one that lets no other fields through
_SIMPLE: dict[str, Schema] = {
    "Quantity": {"type": ["string", "number"], "minimum": 0, "pattern": QUANTITY},
    "IntOrString": {"type": ["string", "integer"]},
    "Time": {"type": ["string"]},
    "MicroTime": {"type": ["string"]},
}


@functools.cache
def _kubernetes() -> dict[str, Schema]:
    """Short name -> schema, of the core kinds of the newest version."""
    version = kubernetes_validate.latest_version()
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    text = (folder / f"v{version}-local" / "_definitions.json").read_text(encoding="utf-8")
    wanted = ("io.k8s.api.core.v1.", "io.k8s.apimachinery.pkg.")
    return {
        name.rpartition(".")[2]: schema
        for name, schema in json.loads(text)["$defs"].items()
        if name.startswith(wanted)
    }


def _shape(schema: Schema, *, nullable: bool, closed: bool) -> Schema:
    """The shape of one field; a type of its own is named by a `$ref`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition(".")[2]
        closed = closed and name not in _SIMPLE
        ending = (_CLOSED if closed else "") + (_NULLABLE if nullable else "")
        return {"$ref": f"#/definitions/{name}{ending}"}
    known = schema.get("type", [])
    out = _typed([known] if isinstance(known, str) else known, nullable=nullable)
    if "items" in schema:
        out["items"] = _shape(schema["items"], nullable=False, closed=closed)
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _shape(
            schema["additionalProperties"], nullable=True, closed=closed
        )
    return out


def _typed(types: list[str], *, nullable: bool) -> Schema:
    found = [t for t in types if t != "null"] + ["null"] * nullable
    return {"type": found if len(found) > 1 else found[0]} if types else {}


def fields(name: str, *, closed: bool = False) -> dict[str, Schema]:
    """The fields of a type, such as `PodSpec`, each with its shape.

    :param closed: what they are made of lets no other fields through.
    :raises KeyError: Kubernetes has no such type.
    """
    found = _kubernetes()[name].get("properties", {})
    return {
        key: _shape(value, nullable=True, closed=closed) for key, value in sorted(found.items())
    }


def definition(name: str) -> Schema:
    """The definition of that name, such as `Container`, `PodSpec.orNull` or `ServicePort.closed`.

    :raises KeyError: Kubernetes has no such type.
    """
    nullable = name.endswith(_NULLABLE)
    plain = name.removesuffix(_NULLABLE)
    closed = plain.endswith(_CLOSED)
    plain = plain.removesuffix(_CLOSED)
    if plain in _SIMPLE:
        return {**_SIMPLE[plain], **_typed(_SIMPLE[plain]["type"], nullable=nullable)}
    out = _typed(["object"], nullable=nullable)
    out |= {"properties": fields(plain, closed=closed), "additionalProperties": not closed}
    if closed and plain == "ServicePort":  # an item may also be one that is to be taken away
        out["properties"]["$patch"] = {"enum": ["delete"]}
    return out


def definitions(*names: str) -> dict[str, Schema]:
    """The definitions of these names and of all that they are made of."""
    found: dict[str, Schema] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definition(name)
            waiting += _references(found[name])
    return dict(sorted(found.items()))


def _references(node: Any) -> list[str]:
    if not isinstance(node, dict):
        return []
    here = node.get("$ref")
    found = [here.removeprefix("#/definitions/")] if isinstance(here, str) else []
    return found + [name for value in node.values() for name in _references(value)]
