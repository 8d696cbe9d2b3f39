"""Does a spec follow the definition of its kind? Of that among the manifests, else of the one that this version brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..published import ours
from .memory import JSON
from .rehearsal import Declared


def complaints(objects: Declared, definitions: Mapping[str, JSON]) -> list[str]:
    """What the API server would refuse, in words that name object and field."""
    if not objects:
        return []
    import jsonschema

    schemas = {**ours(), **definitions}
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)
    checks = {kind: validator(_plain(schema)) for kind, schema in schemas.items()}
    found = []
    for of, raw in objects.items():
        errors = checks[of.kind].iter_errors(raw) if of.kind in checks else ()
        for error in sorted(errors, key=lambda e: list(map(str, e.absolute_path))):
            path = _path(error.absolute_path)
            found.append(f"{of.kind} {of.namespace}/{of.name}: {path}: {error.message}")
    return found


def _is_integer(checker: Any, value: Any) -> bool:
    """As the API server sees it: what is larger than a float can tell exactly is no whole number any more."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) < 2**53
    return isinstance(value, int) and not isinstance(value, bool)


def _path(parts: Iterable[Any]) -> str:
    words = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts)
    return words.lstrip(".") or "the object"


def _plain(schema: Any) -> Any:
    """An OpenAPI schema of Kubernetes as a JSON schema: what it says in words of its own is left out."""
    if isinstance(schema, list):
        return [_plain(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _plain(value) for key, value in schema.items() if key != "format"}
    if schema.get("x-kubernetes-int-or-string"):
        out["type"] = ["integer", "string"]
    elif schema.get("nullable"):
        out["type"] = [schema["type"], "null"]
    return out
