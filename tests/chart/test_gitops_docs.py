"""docs/gitops.md: what it tells people to type is run, and what it tells them to write is rendered."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from tests.support import documents
from tests.support.go_modules import ARGO_CD, FLUX

from .conftest import ROOT, Helm, load_all
from .test_gitops_bundle import check, schemas

DOC = ROOT / "docs/gitops.md"
MARKS = {"bash offline", "bash cluster", "yaml objects", "yaml values"}

__all__ = ["schemas"]  # a fixture


def test_every_block_says_what_it_is() -> None:
    """`bash cluster` is run by tests/cluster."""
    assert {mark for mark, _ in documents.blocks(DOC)} == MARKS


def test_commands_that_need_no_cluster(helm: Helm, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/helm").symlink_to(helm.program)
    source = documents.copy_of_source(tmp_path)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    told = documents.shell(documents.of(DOC, "bash offline"), source, PATH=path)
    assert "kind: DaskAutoscaler" in told
    assert "kind: HelmRelease" in told
    left = tmp_path / "dask"
    texts = [p.read_text() for p in left.rglob("*.yaml") if ".git" not in p.parts]
    assert "example.com/charts" not in "".join(texts)
    assert "git.my.org/data/dask.git" in "".join(texts)
    log = documents.shell(["git log --format=%s --name-only"], left).split("\n\n")[0]
    assert log.startswith("team-a, dev: dask-clusters 0.1.1")
    config = yaml.safe_load((left / "tenants/team-a/envs/dev/config.yaml").read_text())
    assert config["chartVersion"] == "0.1.1"
    assert "value: 0.1.1" in (left / "tenants/team-a/envs/dev/kustomization.yaml").read_text()


@pytest.mark.parametrize("text", documents.of(DOC, "yaml values"))
def test_values_render(helm: Helm, packages: dict[str, Path], tmp_path: Path, text: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(text, encoding="utf-8")
    rendered = helm.render("--values", path, chart=packages["dask-clusters"])
    assert [m["kind"] for m in rendered] == ["DaskCluster"]


@pytest.mark.parametrize("text", documents.of(DOC, "yaml objects"))
def test_objects_are_of_their_kind(
    helm: Helm, packages: dict[str, Path], schemas: dict, text: str, tmp_path: Path
) -> None:
    for manifest in load_all(text):
        check(manifest, schemas)
        source = manifest["spec"]["source"]
        path = tmp_path / "values.yaml"
        path.write_text(yaml.safe_dump(source["helm"]["valuesObject"]), encoding="utf-8")
        kinds = {m["kind"] for m in helm.render("--values", path, chart=packages[source["chart"]])}
        assert {"DaskCluster", "Deployment"} <= kinds


def test_versions_that_it_names_are_those_of_the_tests() -> None:
    text = DOC.read_text(encoding="utf-8")
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| ")}
    for module, row in [(ARGO_CD, rows["Argo CD"])] + [(module, rows["Flux"]) for module in FLUX]:
        name, _, version = module.rpartition("/")[2].partition("@v")
        said = version if name == "v3" else f"{name} {version}"
        assert said in row


def test_links_lead_somewhere() -> None:
    for name in (DOC, ROOT / "gitops/README.md", ROOT / "README.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", name.read_text(encoding="utf-8")):
            assert (name.parent / link).exists(), f"{name.name}: {link}"
