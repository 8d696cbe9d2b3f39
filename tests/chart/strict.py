"""A custom resource definition as a JSON schema that refuses what the API server would prune."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def strict(schema: Schema, *, root: bool = True) -> Schema:
    """Objects with known properties accept no others, unless the definition preserves unknown fields."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    out = {
        key: value
        for key, value in schema.items()
        if not key.startswith("x-") and key not in ("default", "format")
    }
    if "properties" in out:
        out["properties"] = {
            key: strict(value, root=False) for key, value in out["properties"].items()
        }
        out["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = strict(schema["additionalProperties"], root=False)
    if "items" in out:
        out["items"] = strict(out["items"], root=False)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        out.pop("additionalProperties", None)
    elif out.get("type") == "object":
        out.setdefault("additionalProperties", False)
    if root:
        out["properties"]["metadata"] = {"type": "object"}
    return out
