"""What `dask-gitops convert --to values` writes: the chart makes objects of it that mean what the source meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dask_gitops.cli.convert import manifests
from dask_gitops.cli.convert.comments import comments
from dask_gitops.cli.convert.running import written
from dask_gitops.cli.plan.documents import read

from tests.manifests import HERE, NAMES
from tests.support.conversions import CHART, CLASSIC, OPERATOR
from tests.support.meaning import meaning, plain

from .conftest import Helm

JSON = dict[str, Any]
#: An autoscaler alone is none of any cluster.
FILES = {name: (HERE / f"{name}.yaml").read_text() for name in NAMES if name != "autoscaler"}
TCP = """
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: demo}
spec: {scheduler: {service: {ports: [{name: tcp-comm, port: 8786}]}}}
"""
SOURCES = FILES | OPERATOR | CLASSIC | CHART | {"tcp-comm alone": TCP}
KINDS = ("DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob")
#: What a source loses on the way, and nothing else.
LOSES = {
    "all": ["DaskCluster demo: metadata.namespace", "clusters.demo: replicas 3"],
    "sidecars": ["DaskCluster meshed: the order of containers"],
    "named-otherwise": ["DaskCluster other: the order of containers"],
    "earlier-ports": [
        "DaskCluster earlier: the Service's port 'comm'",
        "DaskCluster earlier: the Service's port 'dashboard'",
    ],
    "services": [
        "DaskCluster served: metadata.annotations service.beta.kubernetes.io/aws-load-balancer-type"
    ],
}


def test_there_are_enough() -> None:
    assert len(OPERATOR | CLASSIC | CHART) >= 20


@pytest.mark.parametrize("name", SOURCES)
def test_the_chart_makes_the_same_of_them(helm: Helm, tmp_path: Path, name: str) -> None:
    text = SOURCES[name]
    found = manifests.convert(read(text), "file.yaml", "dask" if name in CHART else None)
    source = [one.raw for one in found.objects]
    out, _ = written(found, comments(text) if text[:1] != "{" else [{}], "values")
    if name in LOSES:
        assert [one.what for one in found.left] == LOSES[name]
    file = tmp_path / "values.yaml"
    file.write_text(out)
    made = [one for one in helm.render("-f", file) if one["kind"] in KINDS]
    assert plain(meaning(made)) == plain(meaning(source))
