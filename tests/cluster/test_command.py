"""`dask-gitops` on the real API server, by who has nothing but the role `edit` in the namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.manifests import cluster, group, pod_spec
from tests.cluster.test_main_job import ready
from tests.support.controller_process import service_account_kubeconfig
from tests.support.kubernetes import Kubectl, eventually
from tests.support.witness import Witness

pytestmark = pytest.mark.usefixtures("controller", "schedulers")
Done = subprocess.CompletedProcess[str]


class Typed:
    """The command, as its own process."""

    def __init__(self, kubectl: Kubectl, kubeconfig: str) -> None:
        self.kubectl = kubectl
        self.env = {**os.environ, "KUBECONFIG": kubeconfig, "PYTHONPATH": "controller"}

    def __call__(self, *words: str) -> Done:
        namespace = [] if words[0] == "gen" else ["--namespace", self.kubectl.namespace]
        command = [sys.executable, "-m", "dask_gitops.cli", *words, *namespace]
        return subprocess.run(command, capture_output=True, text=True, env=self.env)

    def done(self, *words: str) -> str:
        result = self(*words)
        assert (result.returncode, result.stderr) == (0, ""), result.stderr
        return result.stdout

    def document(self, *words: str) -> Any:
        return json.loads(self.done(*words, "--output", "json"))


@pytest.fixture
def user(kubectl: Kubectl, tmp_path: Path) -> Typed:
    """Who may edit here."""
    kubectl("create", "serviceaccount", "user")
    who = f"--serviceaccount={kubectl.namespace}:user"
    kubectl("create", "rolebinding", "user", "--clusterrole=edit", who)
    return Typed(kubectl, service_account_kubeconfig(kubectl, "user", tmp_path / "user"))


def test_a_day_in_a_shell(user: Typed, tmp_path: Path) -> None:
    kubectl = user.kubectl
    here = kubectl.namespace
    file = tmp_path / "demo.yaml"
    file.write_text(yaml.safe_dump_all([cluster(), group("demo-gpu", 1)]))
    kubectl("apply", "-f", str(file))
    ready(kubectl)
    ready(kubectl, "demo-gpu", "daskworkergroup")
    (found,) = user.document("status", "demo")["clusters"]
    assert (found["health"], found["workers"]) == ("good", {"ready": 3, "wanted": 3})
    assert [each["name"] for each in found["groups"]] == ["default", "gpu"]
    assert found["createdBy"] == "kubectl"
    head, row = user.done("list").splitlines()
    assert (head.split()[:2], row.split()[:2]) == (["CLUSTER", "WORKERS"], ["demo", "3/3"])

    autoscaler = {"cluster": "demo", "workerGroup": "demo-gpu", "minimum": 1, "maximum": 2}
    made = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskAutoscaler"}
    file.write_text(yaml.safe_dump({**made, "metadata": {"name": "a"}, "spec": autoscaler}))
    kubectl("apply", "-f", str(file))
    assert user.done("scale", "demo", "2", "--group", "gpu").splitlines() == [
        f"{here}/demo: group gpu is to have 2 workers, it had 1",
        "  its autoscaler a is gone",
    ]
    assert user.document("scale", f"{here}/demo", "3")["workers"] == 3

    def so() -> bool:
        (found,) = user.document("status", "demo")["clusters"]
        assert found["workers"] == {"ready": 5, "wanted": 5}
        return True

    eventually("five workers are ready", so, timeout=90)

    assert user("delete", "demo").returncode == 2, "nobody can be asked"
    kubectl("annotate", "daskcluster", "demo", "meta.helm.sh/release-name=r")
    kept = user("delete", "demo", "--yes")
    assert kept.returncode == 1
    assert kept.stderr.startswith(
        f"error: Helm (annotation meta.helm.sh/release-name) keeps cluster {here}/demo"
    )
    kubectl("annotate", "daskcluster", "demo", "meta.helm.sh/release-name-")
    assert user.done("delete", "demo", "--yes") == f"cluster {here}/demo is gone\n"
    gone = user("status", "demo")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr == f"error: no DaskCluster 'demo' in '{here}'; there are: none\n"


def test_what_is_written_is_taken(user: Typed, tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    words = ["--name", "demo", "--n-workers", "1", "--image", "x:1", "-e", "A=b", "--jupyter"]
    file.write_text(user.done("gen", "cluster", *words))
    said = user.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(file))
    assert "daskcluster.kubernetes.dask.org/demo" in said


def test_what_is_broken_says_why(user: Typed, tmp_path: Path, witness: Witness) -> None:
    kubectl = user.kubectl
    witness.allow("a person wrote env as a map", kubectl.namespace)
    spec = {"spec": {"containers": [{"name": "scheduler", "env": {"A": "b"}}]}}
    file = tmp_path / "demo.yaml"
    broken = cluster("broken", 1, scheduler=spec)
    file.write_text(yaml.safe_dump_all([cluster("fine", 1, worker=pod_spec(image="x")), broken]))
    kubectl("apply", "--validate=false", "-f", str(file))
    ready(kubectl, "fine")

    def so() -> bool:
        first, second = user.document("status")["clusters"]
        assert (first["name"], first["health"], second["name"]) == ("broken", "bad", "fine")
        assert "spec.scheduler.spec.containers[0].env" in first["state"]
        return True

    eventually("it is told first", so, timeout=60)
    logs = user("logs", "broken")
    assert (logs.returncode, logs.stdout) == (0, "")
    assert "has no Pods now: " in logs.stderr


def test_a_look_for_what_stands_in_the_way(user: Typed, tmp_path: Path) -> None:
    kubectl = user.kubectl
    file = tmp_path / "demo.yaml"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}}
    full = {**quota, "spec": {"hard": {"pods": "2"}}}
    file.write_text(yaml.safe_dump_all([full, cluster("demo", 1)]))
    kubectl("apply", "-f", str(file))
    ready(kubectl)

    def look() -> dict[str, Any]:
        result = user("doctor", "--output", "json")
        assert result.returncode == 3, "its Service selects nothing"
        return {each["check"]: each for each in json.loads(result.stdout)["checks"]}

    found = look()
    verdicts = {name: each["verdict"] for name, each in found.items()}
    assert verdicts == {
        "kubeconfig": "ok",
        "tls": "ok",
        "clock": "ok",
        "server": "ok",
        "definitions": "ok",
        "controller": "ok",
        "one operator": "not checked",
        "rights": "ok",
        "quota": "warning",
        "images": "ok",
        "service": "failure",
        "network policies": "ok",
        "port-forward": "not checked",
        "versions": "not checked",
        "memory": "warning",
    }, found
    assert found["kubeconfig"]["says"].endswith(f"system:serviceaccount:{kubectl.namespace}:user")
    assert found["one operator"]["says"] == "we may not list Deployments of all namespaces"
    assert found["quota"]["says"] == "nothing is left of q: pods 2"
    closed = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    spec = {"podSelector": {}, "policyTypes": ["Ingress"]}
    file.write_text(yaml.safe_dump({**closed, "metadata": {"name": "p"}, "spec": spec}))
    kubectl("apply", "-f", str(file))
    assert look()["network policies"]["verdict"] == "failure"


def test_who_may_not(user: Typed, tmp_path: Path) -> None:
    user.kubectl("delete", "rolebinding", "user")

    def so() -> bool:
        for words in (["list"], ["status"], ["logs", "demo"], ["scale", "demo", "1"]):
            result = user(*words)
            assert (result.returncode, result.stdout) == (1, ""), words
            account = f"system:serviceaccount:{user.kubectl.namespace}:user"
            assert result.stderr.startswith(f"error: user '{account}' may not list dask"), words
            assert result.stderr.endswith("there, or use --namespace\n"), words
        return True

    eventually("its rights are gone", so, timeout=30)
