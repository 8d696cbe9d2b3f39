#!/usr/bin/env python3
"""Write values.schema.json (of the chart and of the controller's) and docs/values.md from the schemas in YAML, templates/_hints.tpl from
values.hints.yaml, into the definitions of the Dask kinds the shapes of Kubernetes' own specs, and for the command their schemas.

`python ci/schema.py` writes, `python ci/schema.py --check` fails when a file is not current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hints
import kinds
import shapes
import yaml
from generated import ROOT, write_or_check

SCHEMAS = [Path("values.schema.yaml"), Path("charts/controller/values.schema.yaml")]
TABLE = Path("docs/values.md")
DEFINITIONS = Path("controller/dask_gitops/cli/plan/definitions.json")

INTRO = """\
# Values

Written by `ci/schema.py` from `values.schema.yaml`. [`values.yaml`](../values.yaml) explains the same keys with examples.
A key that is not listed here is an error. In `defaults` and below `clusters`, `null` takes a default away.
"""

Schema = dict[str, Any]


def load(path: Path) -> Schema:
    """Read a schema; YAML anchors and merge keys are resolved."""
    schema: Schema = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return schema


def resolve(schema: Schema, root: Schema) -> Schema:
    """Follow a `$ref` to a definition; what stands beside it wins. Of Kubernetes' own types the kind is told, not the fields."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].removeprefix("#/definitions/")
    found = root["definitions"].get(name) or {"type": shapes.definition(name)["type"]}
    return {**found, **{k: v for k, v in schema.items() if k != "$ref"}}


def without_siblings(node: Any) -> Any:
    """Draft-07 ignores what stands beside a `$ref`; leave it out so that no validator reads it."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            return {"$ref": node["$ref"]}
        return {key: without_siblings(value) for key, value in node.items()}
    if isinstance(node, list):
        return [without_siblings(item) for item in node]
    return node


def with_fields(node: Any) -> Any:
    """`fieldsOf: ServiceSpec` beside properties means: and the fields of that type, which lets no others through."""
    if isinstance(node, list):
        return [with_fields(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: with_fields(value) for key, value in node.items() if key != "fieldsOf"}
    if "fieldsOf" in node:
        out["properties"] |= shapes.fields(node["fieldsOf"], closed=True)
    return out


def named(node: Any) -> set[str]:
    """The definitions that some `$ref` names."""
    if isinstance(node, dict):
        here = {node["$ref"].removeprefix("#/definitions/")} if "$ref" in node else set()
        return here.union(*map(named, node.values()))
    return set().union(*map(named, node)) if isinstance(node, list) else set()


def to_json(schema: Schema) -> str:
    """The schema as Helm reads it: definitions that are only there for YAML's anchors are left out, Kubernetes' own are added."""
    schema = with_fields(schema)
    wanted, own = named(schema), schema.get("definitions", {})
    kept = {key: value for key, value in own.items() if key in wanted}
    kept |= shapes.definitions(*sorted(wanted - own.keys()))
    if kept:
        schema = {**schema, "definitions": kept}
    return json.dumps(without_siblings(schema), indent=2, ensure_ascii=False) + "\n"


def type_of(schema: Schema) -> str:
    """The type in words; null is not mentioned, the introduction does."""
    types = schema.get("type", "object")
    names = [types] if isinstance(types, str) else [name for name in types if name != "null"]
    return " or ".join(names)


def rows(schema: Schema, root: Schema, path: str, stop: frozenset[str]) -> Iterator[str]:
    """One line per key, depth first. Keys in `stop` have a section of their own."""
    for key, raw in schema.get("properties", {}).items():
        value = resolve(raw, root)
        here = f"{path}{key}"
        default = f"`{json.dumps(value['default'])}`" if "default" in value else ""
        text = " ".join(value.get("description", "").split()).replace("|", "\\|")
        yield f"| `{here}` | {type_of(value)} | {default} | {text} |"
        if here not in stop:
            yield from rows(value, root, f"{here}.", stop)


def section(title: str, text: str, lines: Iterator[str]) -> str:
    """A heading and its table."""
    table = "\n".join(["| key | type | default | |", "|---|---|---|---|", *lines])
    return f"\n## {title}\n\n" + (f"{text}\n\n" if text else "") + f"{table}\n"


def to_table(chart: Schema, controller: Schema) -> str:
    """docs/values.md."""
    definitions = chart["definitions"]
    pod = frozenset({"podTemplate.metadata"})
    top = frozenset({"clusters", "defaults", "controller", "jobs"})
    cluster = frozenset({"scheduler", "worker", "workerGroups"})
    job = definitions["job"]["properties"]
    inherited = set(definitions["worker"]["properties"])
    group = {k: v for k, v in definitions["group"]["properties"].items() if k not in inherited}
    return INTRO + "".join(
        [
            section("The chart", "", rows(chart, chart, "", top)),
            section(
                "A cluster",
                "Below `clusters.<name>`, and, without `enabled` and `workerGroups`, below `defaults`.",
                rows(definitions["cluster"], chart, "", cluster),
            ),
            section(
                "Its scheduler",
                "Below `clusters.<name>.scheduler` and `defaults.scheduler`.",
                rows(definitions["scheduler"], chart, "", pod),
            ),
            section(
                "Its workers",
                "Below `clusters.<name>.worker` and `defaults.worker`, and directly below a worker group.",
                rows(definitions["worker"], chart, "", pod),
            ),
            section(
                "A worker group",
                "Below `clusters.<name>.workerGroups.<key>`, beside the keys of a worker.",
                rows({"properties": group}, chart, "", frozenset({"image"})),
            ),
            section(
                "A job",
                "Below `jobs.<name>`. Its `cluster` has the keys of a cluster without `suspend`; the groups there have those of a worker, and `image`.",
                rows({"properties": job}, chart, "", pod | {"image", "cluster"}),
            ),
            section(
                "The controller",
                "Below `controller`.",
                rows(controller, controller, "", frozenset()),
            ),
        ]
    )


def outputs() -> dict[Path, str]:
    """Every file that this program writes, with its text."""
    schemas = [load(path) for path in SCHEMAS]
    read = [hints.let_through(schemas[0]), *schemas[1:]]
    files = {
        path.with_suffix(".json"): to_json(schema)
        for path, schema in zip(SCHEMAS, read, strict=True)
    }
    files[hints.TEMPLATE] = hints.template()
    files[TABLE] = to_table(*schemas)
    files |= kinds.definitions()
    files[DEFINITIONS] = json.dumps(newest(), separators=(",", ":"), sort_keys=True) + "\n"
    return files


def newest() -> dict[str, Any]:
    """Kind -> the schema of its newest version."""
    found = {}
    for text in kinds.definitions().values():
        spec = yaml.safe_load(text)["spec"]
        schema = spec["versions"][-1]["schema"]["openAPIV3Schema"]
        found[spec["names"]["kind"]] = without_words(schema)
    return found


def without_words(node: Any, *, names: bool = False) -> Any:
    """A schema without what only people read.

    :param names: the keys are names of fields.
    """
    if isinstance(node, list):
        return [without_words(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: without_words(value, names=key == "properties" and not names)
        for key, value in node.items()
        if names or key not in ("description", "x-kubernetes-validations")
    }


if __name__ == "__main__":
    sys.exit(write_or_check("ci/schema.py", __doc__, outputs()))
