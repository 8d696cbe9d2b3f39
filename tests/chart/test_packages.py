"""The two packages of one source: what a team installs declares the same clusters, and can move nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, Helm, examples

SHARED = ("controller", "crds")
OFF = ("--set", "controller.enabled=false,crds.enabled=false")


def without_shared(example: Path, folder: Path) -> Path:
    """The values of an example that are about clusters and jobs."""
    values = yaml.safe_load(example.read_text(encoding="utf-8")) or {}
    path = folder / "values.yaml"
    kept = {key: value for key, value in values.items() if key not in SHARED}
    path.write_text(json.dumps(kept, default=datetime.isoformat), encoding="utf-8")
    return path


@pytest.mark.parametrize("example", examples(), ids=lambda path: path.name)
def test_the_same_custom_resources_and_nothing_else(
    helm: Helm, packages: dict[str, Path], example: Path, tmp_path: Path
) -> None:
    path = without_shared(example, tmp_path)
    whole = helm.render("--values", path, *OFF, chart=packages["dask-gitops"])
    ours = helm.render("--values", path, "--include-crds", chart=packages["dask-clusters"])
    assert ours == whole
    for manifest in ours:
        assert manifest["apiVersion"] == "kubernetes.dask.org/v1"
        options = manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        assert "SkipDryRunOnMissingResource=true" in options


def test_most_examples_declare_something() -> None:
    """Or else the test above compares nothing with nothing."""
    assert sum("clusters:" in path.read_text(encoding="utf-8") for path in examples()) > 5


@pytest.mark.parametrize(
    "values", ["crds.enabled=true", "crds.enabled=false", "controller.enabled=true", "controller.replicas=2"]
)  # fmt: skip
def test_what_all_teams_share_is_refused_in_a_sentence(
    helm: Helm, packages: dict[str, Path], values: str
) -> None:
    args = ("--set", values, "--set-json", "clusters.demo={}")
    done = helm.template(*args, chart=packages["dask-clusters"], check=False)
    assert done.returncode != 0
    key = values.partition(".")[0]
    assert f"{key}: this package declares clusters and jobs only" in done.stderr
    assert "take the key away here" in done.stderr
    assert "kind:" not in done.stdout


def test_a_typo_is_still_an_error(helm: Helm, packages: dict[str, Path]) -> None:
    done = helm.template("--set", "cluster.a=1", chart=packages["dask-clusters"], check=False)
    assert done.returncode != 0
    assert "cluster" in done.stderr


def test_what_is_packed(helm: Helm, packages: dict[str, Path]) -> None:
    chart = yaml.safe_load(helm.run("show", "chart", packages["dask-clusters"]).stdout)
    source = yaml.safe_load((ROOT / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["name"] == "dask-clusters"
    assert "dependencies" not in chart
    for key in ("version", "appVersion", "kubeVersion", "apiVersion", "type"):
        assert chart[key] == source[key]
    values = yaml.safe_load(helm.run("show", "values", packages["dask-clusters"]).stdout)
    assert values == {"clusters": {}, "defaults": {}, "jobs": {}}
    with tarfile.open(packages["dask-clusters"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    templates = {f"templates/{path.name}" for path in (ROOT / "templates").iterdir()}
    assert names == templates | {
        "Chart.yaml", "values.yaml", "values.schema.json", "CHANGELOG.md", "LICENSE", "templates/refusal.yaml",
    }  # fmt: skip


def test_the_sources_of_clusters_are_linted_by_helm(
    helm: Helm, packages: dict[str, Path], tmp_path: Path
) -> None:
    with tarfile.open(packages["dask-clusters"]) as archive:
        archive.extractall(tmp_path, filter="data")
    helm.run("lint", "--strict", tmp_path / "dask-clusters")


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--help"], ["-x"]])
def test_without_a_folder_it_says_how_to_use_it(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "ci/packages.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert "usage: python3 ci/packages.py FOLDER" in done.stderr
    assert not list(tmp_path.iterdir())
