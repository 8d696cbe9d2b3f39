"""The custom resource definitions, with the shapes of what a Pod spec and a Service spec are made of written into them.

One level only: that `containers` is a list of objects, that `nodeSelector` is an object. What is deeper is anybody's, and nothing is
pruned. Every field may be null, as in Kubernetes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import shapes
from generated import ROOT

FOLDER = Path("charts/crds/crds")
MARK = "# Written by ci/schema.py: the shapes of its fields."
_WORDS = {
    "A Pod spec of any Kubernetes version; nothing in it is pruned.": "PodSpec",
    "The Service `<cluster>-scheduler`, a Service spec.": "ServiceSpec",
}
# Also of texts and lists: an object in their place is refused by its kind, not emptied first.
_KEPT = {"x-kubernetes-preserve-unknown-fields": True}
_OPEN = re.compile(
    r"^(?P<indent> +)type: object\n"
    r"(?P<words>(?P=indent)description:.*\n(?:(?P=indent) .*\n)*)"
    r"(?P<open>(?P=indent)x-kubernetes-preserve-unknown-fields: true\n)"
    rf"(?:(?P=indent){re.escape(MARK)}\n(?P=indent)properties:\n(?:(?P=indent) .*\n)+)?",
    re.MULTILINE,
)


def definitions() -> dict[Path, str]:
    """The files of the definitions, with their texts."""
    found = sorted(path.relative_to(ROOT) for path in (ROOT / FOLDER).glob("*.yaml"))
    return {path: with_fields((ROOT / path).read_text(encoding="utf-8")) for path in found}


def with_fields(text: str) -> str:
    """A definition's text with those shapes as they are now."""

    def written(match: re.Match[str]) -> str:
        kind = next((k for words, k in _WORDS.items() if words in match["words"]), None)
        if kind is None:
            return match[0]
        indent = match["indent"]
        head = f"{indent}type: object\n{match['words']}{match['open']}"
        lines = [MARK, "properties:"]
        lines += [f"  {key}: {_flow(value)}" for key, value in fields(kind).items()]
        return head + "".join(f"{indent}{line}\n" for line in lines)

    return _OPEN.sub(written, text)


def fields(kind: str) -> dict[str, Any]:
    """The fields of a Kubernetes type as a definition says them, one level deep."""
    return {key: _level(shape) for key, shape in shapes.fields(kind).items()}


def _level(shape: shapes.Schema) -> dict[str, Any]:
    while "$ref" in shape:
        shape = shapes.definition(shape["$ref"].removeprefix("#/definitions/"))
    (kind,) = (t for t in shape["type"] if t != "null")
    out: dict[str, Any] = {"type": kind, "nullable": True, **_KEPT}
    if kind == "array":
        out["items"] = {"type": shape["items"].get("type", "object"), **_KEPT}
    return out


def _flow(value: Any) -> str:
    """As YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v)}" for k, v in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
