"""A namespace whose Role is not there: the others are served, and it is as soon as its Role is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import ready
from tests.support.controller_process import (
    ControllerProcess,
    free_port,
    get,
    service_account_kubeconfig,
)
from tests.support.kubernetes import Kubectl, eventually, run

JSON = dict[str, Any]
QUIET = {"service": {"selector": {"nothing": "here"}}}


@pytest.fixture
def lacking(kubectl: Kubectl) -> Iterator[Kubectl]:
    """A second namespace, in which the Role will be wrong."""
    other = Kubectl(kubectl.kubeconfig, f"{kubectl.namespace}-b")
    other("create", "namespace", other.namespace)
    yield other
    other("delete", "namespace", other.namespace, "--wait=false")


def without_binding(roles: Kubectl, role: JSON, binding: JSON) -> None:
    roles.delete("rolebinding", binding["metadata"]["name"])


def without_services(roles: Kubectl, role: JSON, binding: JSON) -> None:
    rules = [
        {**rule, "resources": [r for r in rule["resources"] if r != "services"]}
        for rule in role["rules"]
    ]
    roles.apply({**role, "rules": [rule for rule in rules if rule["resources"]]})


@pytest.mark.parametrize("takes", [without_binding, without_services])
def test_a_namespace_without_its_role_keeps_no_other_waiting(
    kubectl: Kubectl,
    lacking: Kubectl,
    controller: ControllerProcess,
    root: Path,
    tmp_path: Path,
    takes: Any,
) -> None:
    here, there = kubectl.namespace, lacking.namespace
    rendered = run(
        "helm", "template", "dask", root, "-n", here, "--set", f"controller.watchNamespaces={{{here},{there}}}",
    )  # fmt: skip
    wanted = ("ServiceAccount", "Role", "RoleBinding")
    manifests = [m for m in yaml.safe_load_all(rendered) if m and m["kind"] in wanted]
    missing = [m for m in manifests if m["metadata"]["namespace"] == there]
    kubectl.apply(*(m for m in manifests if m not in missing))
    role, binding = sorted(missing, key=lambda m: len(m["kind"]))
    lacking.apply(*missing)
    takes(lacking, role, binding)
    (account,) = [m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"]
    config = service_account_kubeconfig(kubectl, account, tmp_path / "kubeconfig")
    port = free_port()
    own = {
        "DASK_GITOPS_LEASE_NAMESPACE": here,
        "DASK_GITOPS_LEASE_NAME": account,
        "DASK_GITOPS_NAMESPACES": f"{here},{there}",
        "DASK_GITOPS_PORT": str(port),
    }
    controller.stop()
    process = ControllerProcess(config, tmp_path / "log", own)
    try:
        process.start()
        for kubernetes in (kubectl, lacking):
            kubernetes.apply(cluster(replicas=1, scheduler=QUIET))
        ready(kubectl)

        def said(words: str) -> bool:
            status, text = get(f"http://127.0.0.1:{port}/readyz")
            assert (status, words in text) == (200, True), f"{status} {text}"
            return True

        eventually("it names the namespace", lambda: said(f"not served: {there}: "))
        assert f'dask_gitops_namespace_served{{namespace="{there}"}} 0.0' in metrics(port)
        assert f'dask_gitops_namespace_served{{namespace="{here}"}} 1.0' in metrics(port)
        assert "conditions" not in lacking.get("daskcluster", "demo")["status"]
        assert lacking.list("pods") == []
        lacking.apply(role, binding)
        ready(lacking)
        assert get(f"http://127.0.0.1:{port}/readyz") == (200, "ok\n")
        assert f'dask_gitops_namespace_served{{namespace="{there}"}} 1.0' in metrics(port)
    finally:
        process.stop()
        controller.start()


def metrics(port: int) -> str:
    return get(f"http://127.0.0.1:{port}/metrics")[1]
