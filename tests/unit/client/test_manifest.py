from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask_gitops.client.manifest import manifest

JSON = dict[str, Any]


def thing(kind: str, name: str = "demo", **spec: Any) -> JSON:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


CLUSTER = thing("DaskCluster", worker={"replicas": 2})
GROUP = thing("DaskWorkerGroup", "demo-gpu", cluster="demo")
SCALER = thing("DaskAutoscaler", cluster="demo", minimum=1, maximum=3)


def test_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "demo.yaml"
    text = "---\n" + yaml.safe_dump_all([CLUSTER, None, GROUP, SCALER])
    file.write_text(text)
    monkeypatch.chdir(tmp_path)
    listed = yaml.safe_dump({"kind": "List", "items": [GROUP, CLUSTER, SCALER]})
    for given in (text, "demo.yaml", str(file), file, listed):
        found = manifest(given)
        assert found.cluster == CLUSTER
        assert found.name == "demo"
        assert sorted(each["kind"] for each in found.more) == ["DaskAutoscaler", "DaskWorkerGroup"]
    for given in (
        CLUSTER,
        "{kind: DaskCluster, apiVersion: kubernetes.dask.org/v1, metadata: {name: a}, spec: {}}",
    ):
        assert manifest(given).more == []
    found = manifest(CLUSTER)
    found.cluster["spec"]["worker"]["replicas"] = 9
    assert CLUSTER["spec"]["worker"]["replicas"] == 2


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("c.yml", FileNotFoundError, "custom_cluster_spec 'c.yml': no such file (in {here})"),
        ("folder", ValueError, "custom_cluster_spec 'folder': Is a directory"),
        ("binary", ValueError, "custom_cluster_spec 'binary' is no text"),
        ("bad.yml", ValueError, "custom_cluster_spec 'bad.yml' line 3: mapping values are not allowed here"),
        ("https://x/c.yml", ValueError, "custom_cluster_spec 'https://x/c.yml' is a URL; download it first"),
        (3, TypeError, "custom_cluster_spec is 3; write a dict, a path, or YAML text"),
        ({"kind": "Pod"}, ValueError, "custom_cluster_spec is a Pod; expected a DaskCluster (of a worker Pod: KubeCluster.from_yaml)"),
        ({}, ValueError, "custom_cluster_spec has no kind; expected a DaskCluster"),
        ({**CLUSTER, "metadata": {}}, ValueError, "custom_cluster_spec has no metadata.name"),
        ({**CLUSTER, "metadata": {"name": 3}}, ValueError, "custom_cluster_spec has no metadata.name"),
        ({**CLUSTER, "spec": None}, ValueError, "custom_cluster_spec has no spec"),
        ({**CLUSTER, "apiVersion": "v1"}, ValueError, "custom_cluster_spec has apiVersion 'v1'; write kubernetes.dask.org/v1"),
        ("a: b\n", ValueError, "custom_cluster_spec has no kind"),
        ("- a\n- b\n", ValueError, "custom_cluster_spec is ['a', 'b']; expected a DaskCluster"),
        ("# nothing\n\n", ValueError, "custom_cluster_spec has no DaskCluster; write one"),
        (yaml.safe_dump_all([CLUSTER, CLUSTER]), ValueError, "custom_cluster_spec has 2 DaskClusters; write one"),
        (yaml.safe_dump_all([CLUSTER, {"kind": "Service"}]), ValueError, "custom_cluster_spec, document 2, is a Service; a DaskCluster, its"),
        (yaml.safe_dump_all([CLUSTER, thing("DaskWorkerGroup", cluster="other")]), ValueError, "custom_cluster_spec, document 2, has spec.cluster 'other'; the DaskCluster is called 'demo'"),
        ("a: !!python/object:os.system {}", ValueError, "custom_cluster_spec line 1: could not determine a constructor"),
        ("{" * 5000, ValueError, "custom_cluster_spec"),
    ],
)  # fmt: skip
def test_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, kind: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.yml").write_text("a: 1\nb: 2\nc: d: e\n")
    with pytest.raises(kind, match="^" + re.escape(message.format(here=tmp_path))):
        manifest(given)
