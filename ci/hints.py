"""Keys and values that are refused with a sentence: let through the schema, told by templates/_hints.tpl."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import shapes
import yaml
from generated import ROOT

SOURCE = Path("values.hints.yaml")
TEMPLATE = Path("templates/_hints.tpl")

#: Where the keys of a place may stand: names of definitions.
PLACES = {
    "cluster": ("cluster", "defaults", "jobCluster"),
    "scheduler": ("scheduler",),
    "worker": ("worker",),
    "group": ("group", "jobGroup"),
    "workers": ("worker", "group", "jobGroup"),
    "pod": ("scheduler", "worker", "group", "jobGroup", "job"),
    "job": ("job",),
}


def hints() -> dict[str, dict[str, str]]:
    """Place -> key -> the remedy."""
    found: dict[str, dict[str, str]] = yaml.safe_load((ROOT / SOURCE).read_text(encoding="utf-8"))
    return found


def template() -> str:
    """templates/_hints.tpl."""
    lines = [f"{json.dumps(place)}: {json.dumps(keys)}" for place, keys in hints().items()]
    lines.append(f'"quantity": {json.dumps(shapes.QUANTITY)}')
    body = ",\n".join(lines)
    return (
        "{{/*\n"
        f"dask.hints: as JSON, what is meant by keys that do not exist: place -> key -> the remedy. Written by ci/schema.py from {SOURCE}.\n"
        f'*/}}}}\n{{{{- define "dask.hints" -}}}}\n{{{body}}}\n{{{{- end -}}}}\n'
    )


def let_through(schema: dict[str, Any]) -> dict[str, Any]:
    """The chart's schema with those keys, whatever their values, where they do not exist."""
    schema = copy.deepcopy(json.loads(json.dumps(schema)))
    found, definitions = hints(), schema["definitions"]
    _add(schema["properties"], found["chart"])
    for place, names in PLACES.items():
        for name in names:
            if name in definitions:
                _add(definitions[name]["properties"], found[place])
    for definition in definitions.values():
        image = definition.get("properties", {}).get("image", {})
        if "repository" in image.get("properties", {}):
            _add(image["properties"], found["image"])
    return schema


def _add(properties: dict[str, Any], keys: dict[str, str]) -> None:
    for key in keys:
        properties.setdefault(key, {})
