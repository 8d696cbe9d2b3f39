"""The chart as it is shipped: generated files, the package, and a chart that contains this one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from .conftest import ROOT, Helm, load_all

SCHEMAS = ["values.schema", "charts/controller/values.schema"]
SOURCES = [
    "Chart.yaml",
    "Chart.lock",
    "values.yaml",
    "values.schema.json",
    "templates",
    "charts",
    ".helmignore",
]


def test_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "ci/schema.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_draft_07_and_closed(name: str) -> None:
    schema = json.loads((ROOT / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    known = {
        "$schema", "$ref", "title", "type", "description", "default", "definitions", "properties", "additionalProperties",
        "propertyNames", "items", "required", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength",
    }  # fmt: skip
    open_on_purpose = {
        "requests", "limits", "claims", "service", "spec", "valueFrom", "global", "affinity", "tolerations", "extraEnv",
        "controller", "crds",
    }  # fmt: skip

    def visit(node: Any, key: str) -> None:
        assert set(node) <= known, f"{key}: {set(node) - known}"
        types = node.get("type", [])
        if (
            "object" in ([types] if isinstance(types, str) else types)
            and key not in open_on_purpose
        ):
            assert "additionalProperties" in node, f"{key} is open"
        for name, value in {**node.get("properties", {}), **node.get("definitions", {})}.items():
            visit(value, name)
        for word in ("items", "additionalProperties", "propertyNames"):
            if isinstance(node.get(word), dict):
                visit(node[word], key)

    visit(schema, "")


def test_every_value_of_the_controller_is_explained() -> None:
    """Each key stands in values.yaml below a comment, with the default that the schema tells."""
    text = (ROOT / "charts/controller/values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    schema = yaml.safe_load(
        (ROOT / "charts/controller/values.schema.yaml").read_text(encoding="utf-8")
    )["properties"]
    assert set(values) == set(schema) - {"enabled", "global"}
    for key, value in values.items():
        node = schema[key]
        told = (
            node["default"]
            if "default" in node
            else {k: v.get("default") for k, v in node["properties"].items()}
        )
        assert key == "resources" or value == told, key


def test_commented_values_are_values_that_work(helm: Helm, tmp_path: Path) -> None:
    """Take the comment signs off everything below `defaults` and `controller`, and the chart still accepts it."""
    text = (ROOT / "values.yaml").read_text(encoding="utf-8")
    lines = []
    for line in text.replace("defaults: {}", "defaults:").splitlines():
        option = re.match(r"^  # ( *)(# )?([-A-Za-z_].*)$", line)
        if (
            option
            and not option[2]
            and re.match(r"^(- |[-A-Za-z_./]+:( |$))", option[3])
            and not option[3].endswith(".")
        ):
            lines.append(f"  {option[1]}{option[3]}")
        elif not line.strip().startswith("#"):
            lines.append(line)
    path = tmp_path / "values.yaml"
    path.write_text("\n".join(lines).replace("sha256:...", "sha256:" + "0" * 64), encoding="utf-8")
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    schema = yaml.safe_load((ROOT / "values.schema.yaml").read_text(encoding="utf-8"))[
        "definitions"
    ]
    assert set(told["defaults"]) == set(schema["defaults"]["properties"]), (
        "values.yaml explains every key"
    )
    assert set(told["defaults"]["worker"]) == set(schema["worker"]["properties"])
    assert set(told["defaults"]["scheduler"]) == set(schema["scheduler"]["properties"])
    helm.template("--values", path, "--set-json", "clusters.demo={}")


def test_the_examples_in_comments_work(helm: Helm, tmp_path: Path) -> None:
    """Each `clusters:` block in a comment of values.yaml is a values file."""
    text = (ROOT / "values.yaml").read_text(encoding="utf-8")
    blocks = re.findall(r"^#\n((?:#   .*\n)+)#?$", text, flags=re.MULTILINE)
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(re.sub(r"^#   ", "", block, flags=re.MULTILINE), encoding="utf-8")
        rendered = load_all(helm.template("--values", path).stdout)
        assert "DaskCluster" in {m["kind"] for m in rendered}


def test_package_renders_the_same_and_holds_nothing_else(helm: Helm, tmp_path: Path) -> None:
    helm.run("package", ROOT, "--destination", tmp_path)
    (package,) = tmp_path.glob("dask-gitops-*.tgz")
    with tarfile.open(package) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames()}
    assert tops <= {
        "Chart.yaml",
        "Chart.lock",
        "values.yaml",
        "values.schema.json",
        "templates",
        "charts",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
    }
    assert package.stat().st_size < 100_000
    for example in [ROOT / "ci/all-options-values.yaml", ROOT / "ci/merge-values.yaml"]:
        args = ("--values", example, "--include-crds")
        assert helm.render(*args, chart=package) == helm.render(*args)


def test_dependency_build_changes_nothing(helm: Helm, tmp_path: Path) -> None:
    """Argo CD and Flux build dependencies before they render; the folders stay, no archives appear beside them."""
    chart = tmp_path / "chart"
    chart.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, chart / name)
    before = {p.relative_to(chart): p.read_bytes() for p in chart.rglob("*") if p.is_file()}
    helm.run("dependency", "build", chart)
    assert {p.relative_to(chart): p.read_bytes() for p in chart.rglob("*") if p.is_file()} == before


def parent(folder: Path, values: str) -> Path:
    """A chart of a user that contains this one."""
    inner = folder / "charts/dask-gitops"
    inner.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, inner / name)
    (folder / "Chart.yaml").write_text(
        "{apiVersion: v2, name: parent, version: 1.0.0, dependencies: [{name: dask-gitops, version: 0.x.x}]}",
        encoding="utf-8",
    )
    (folder / "values.yaml").write_text(values, encoding="utf-8")
    return folder


def test_inside_a_parent_chart(helm: Helm, tmp_path: Path) -> None:
    chart = parent(tmp_path / "chart", "{global: {a: b}, dask-gitops: {clusters: {demo: {}}}}")
    file = tmp_path / "values.yaml"
    file.write_text("dask-gitops: {clusters: {empty: }}", encoding="utf-8")
    names = {
        m["metadata"]["name"]
        for m in helm.render("--values", file, chart=chart)
        if m["kind"] == "DaskCluster"
    }
    assert names == {"demo", "empty"}


def test_empty_key_in_the_values_of_a_parent_chart(helm: Helm, tmp_path: Path) -> None:
    """Helm 4 drops nulls from the values.yaml inside a chart before any template or schema sees them.

    This is why values.yaml tells authors of parent charts to write `demo: {}`. When it fails, that warning can go.
    """
    chart = parent(tmp_path / "chart", "dask-gitops: {clusters: {demo: }}")
    names = {m["metadata"]["name"] for m in helm.render(chart=chart) if m["kind"] == "DaskCluster"}
    assert names == ({"demo"} if helm.name == "helm3" else set())


def notes(helm: Helm, folder: Path, text: str) -> str:
    """The notes for some values. Helm prints them only against a cluster, so they are rendered as a value."""
    folder.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    source = (folder / "templates/NOTES.txt").read_text(encoding="utf-8")
    wrapped = f'{{{{ define "notes" }}}}{source}{{{{ end }}}}\nkind: Notes\nmetadata: {{name: notes}}\nnotes: {{{{ include "notes" . | quote }}}}\n'
    (folder / "templates/notes.yaml").write_text(wrapped, encoding="utf-8")
    (folder / "given.yaml").write_text(text, encoding="utf-8")
    rendered = load_all(helm.template("--values", folder / "given.yaml", chart=folder).stdout)
    (found,) = [m["notes"] for m in rendered if m["kind"] == "Notes"]
    return str(found)


@pytest.mark.parametrize(
    ("text", "told", "not_told"),
    [
        (
            "{}",
            ["No cluster is declared", "clusters: {demo: {}}"],
            ["port-forward", "brings no controller"],
        ),
        (
            "clusters: {b: {}, a: {workerGroups: {g: {}}}}",
            ["DaskCluster a", "DaskWorkerGroup a-g", "DaskCluster b", "service/a-scheduler"],
            ["No cluster"],
        ),
        (
            "{controller: {enabled: false}, clusters: {a: {}}}",
            ["DaskCluster a", "brings no controller"],
            ["No cluster"],
        ),
    ],
)
def test_notes_tell_what_was_declared(
    helm: Helm, tmp_path: Path, text: str, told: list[str], not_told: list[str]
) -> None:
    said = notes(helm, tmp_path / "chart", text)
    for word in told:
        assert word in said
    for word in not_told:
        assert word not in said
