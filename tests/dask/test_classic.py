"""People of the classic `dask_kubernetes.KubeCluster` change one import: their worker-spec.yml on the real node."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.config
import pytest
from click.testing import CliRunner
from dask_gitops import InCluster, KubeCluster, KubeConfig, make_pod_spec
from dask_gitops.cli.convert.command import convert
from dask_gitops.client.classic import front
from distributed import Client

from tests.support.kubernetes import JSON, Kubectl

# Python's last part, and packages that only the image has, may differ.
pytestmark = [
    pytest.mark.filterwarnings("ignore::distributed.versions.VersionMismatchWarning"),
    pytest.mark.filterwarnings("ignore:KubeCluster of a worker's Pod:FutureWarning"),
]
#: As the classic documentation has it, with image and resources of this node.
WORKER_SPEC = """\
kind: Pod
metadata:
  labels:
    foo: bar
spec:
  restartPolicy: Never
  containers:
  - image: $DASK_IMAGE
    imagePullPolicy: IfNotPresent
    args: [dask-worker, --nthreads, '2', --no-dashboard, --memory-limit, 6GB, --death-timeout, '60']
    name: dask
    env:
      - name: EXTRA_PIP_PACKAGES
        value: git+https://github.com/dask/distributed
    resources:
      limits:
        memory: 400Mi
      requests:
        cpu: 50m
        memory: 150Mi
"""
SCRIPT = '#!/bin/sh\nSTARTED_BY=start.sh exec "$@"\n'


#: No function of this module: workers do not have it.
environment: Callable[[], dict[str, str]] = lambda: dict(os.environ)  # noqa: E731


@pytest.fixture
def worker_spec(tmp_path: Path, dask_image: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DASK_IMAGE", dask_image)
    file = tmp_path / "worker-spec.yml"
    file.write_text(WORKER_SPEC)
    return file


def where(kubectl: Kubectl) -> dict[str, Any]:
    way = [InCluster(), KubeConfig(kubectl.kubeconfig)]
    return {"auth": way, "namespace": kubectl.namespace, "quiet": True}


def pods(kubectl: Kubectl, component: str) -> list[JSON]:
    return kubectl.list("pods", f"dask.org/component={component}")


def test_a_worker_spec(kubectl: Kubectl, worker_spec: Path) -> None:
    """No workers at first; two computing later, as their Pods and their words say; all gone at the end."""
    options = {"env": {"A": 1}, "n_workers": None, "name": "dask-{user}-{uuid}"}
    with KubeCluster(str(worker_spec), **options, **where(kubectl)) as cluster:
        assert cluster.scheduler_info["workers"] == {}
        assert pods(kubectl, "worker") == []
        cluster.scale(2)
        cluster.wait_for_workers(2, timeout=90)
        with Client(cluster) as client:
            assert client.submit(sum, range(101)).result(timeout=60) == 5050
            assert {w["nthreads"] for w in client.scheduler_info(n_workers=-1)["workers"].values()} == {2}  # fmt: skip
            everywhere = [*client.run(environment).values(), client.run_on_scheduler(environment)]
            for found in everywhere:
                assert found["EXTRA_PIP_PACKAGES"] == "git+https://github.com/dask/distributed"
                assert found["A"] == "1"
        names = {w["name"] for w in cluster.scheduler_info["workers"].values()}
        workers = pods(kubectl, "worker")
        assert names == {pod["metadata"]["name"] for pod in workers}
        (scheduler,) = pods(kubectl, "scheduler")
        for pod, component in ((scheduler, "scheduler"), *((pod, "worker") for pod in workers)):
            assert pod["metadata"]["labels"].items() >= {"foo": "bar", "app": "dask"}.items()
            assert pod["spec"]["restartPolicy"] == "Never"
            tolerations = {(t["key"], t.get("value")) for t in pod["spec"]["tolerations"]}
            assert ("k8s.dask.org/dedicated", component) in tolerations
            assert ("k8s.dask.org_dedicated", component) in tolerations
        assert not scheduler["spec"]["containers"][0].get("resources")
        words = workers[0]["spec"]["containers"][0]["args"]
        assert words[words.index("--death-timeout") + 1] == "60"
        cluster.adapt(minimum=0, maximum=2)
    assert kubectl.list("daskclusters", "") == []


def test_behind_a_start_script(
    kubectl: Kubectl, worker_spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, started by the two lines of a script; the file is named in the configuration."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "start"},
            "data": {"start.sh": SCRIPT},
        }
    )
    text = WORKER_SPEC.replace("args: [dask-worker", "args: [start.sh, dask-worker")
    worker_spec.write_text(text.replace("--no-dashboard", "--no-bokeh"))
    script: JSON = {
        "volumes": [{"name": "start", "configMap": {"name": "start", "defaultMode": 0o755}}],
        "containers": [
            {
                "name": "worker",
                "volumeMounts": [
                    {"name": "start", "mountPath": "/venv/bin/start.sh", "subPath": "start.sh"}
                ],
            }
        ],
    }
    monkeypatch.setenv("FOLDER", str(worker_spec.parent))
    setting = {"kubernetes.worker-template-path": "{FOLDER}/worker-spec.yml"}
    with (
        dask.config.set(setting),
        KubeCluster(name="demo", n_workers=1, worker_template=script, **where(kubectl)) as cluster,
        Client(cluster) as client,
    ):
        cluster.wait_for_workers(1, timeout=90)
        assert client.submit(sum, range(101)).result(timeout=60) == 5050
        (found,) = client.run(environment).values()
        assert found["STARTED_BY"] == "start.sh"
        assert found["EXTRA_PIP_PACKAGES"] == "git+https://github.com/dask/distributed"
        (worker,) = cluster.scheduler_info["workers"].values()
        (pod,) = pods(kubectl, "worker")
        assert worker["name"] == pod["metadata"]["name"]


def test_a_pod_of_a_few_words(kubectl: Kubectl, dask_image: str) -> None:
    """`make_pod_spec`, changed as a dict; from there to manifests for git; one warning for all clusters of a process."""
    spec = make_pod_spec(
        image=dask_image, memory_limit="400M", memory_request="150M", cpu_request="50m"
    )
    spec["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    front._told.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FutureWarning)
        with KubeCluster.from_dict(spec, name="demo", n_workers=1, **where(kubectl)) as cluster:
            with Client(cluster) as client:
                assert client.submit(sum, range(101)).result(timeout=90) == 5050
            cluster.adapt(minimum=1, maximum=2)
            words = ["--live", "demo", "--to", "manifests", "--output", "json"]
            there = ["--kubeconfig", kubectl.kubeconfig, "--namespace", kubectl.namespace]
            done = CliRunner().invoke(convert, [*words, *there])
            assert (done.exit_code, done.stderr) == (0, "")
            kinds = [one["kind"] for one in json.loads(done.stdout)["manifests"]]
            assert kinds == ["DaskCluster", "DaskAutoscaler"]
            found = json.loads(done.stdout)["manifests"][0]
            assert found["spec"]["scheduler"] == cluster.to_manifest()["spec"]["scheduler"]
            with pytest.raises(FileNotFoundError):
                KubeCluster.from_yaml("nowhere.yml")
    told = [w for w in caught if w.category is FutureWarning]
    assert len(told) == 1
