"""gitops/ and the commands of docs/gitops.md on a real API server that has the definitions of Argo CD and Flux, but not their programs."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import documents
from tests.support.go_modules import ARGO_CD, FLUX, files
from tests.support.kubernetes import Kubectl, eventually, run

DOC = documents.ROOT / "docs/gitops.md"
NAMESPACES = ("argocd", "flux-system", "dask-gitops", "team-a-dev", "team-a-prod")
TRACKING = "argocd.argoproj.io/tracking-id"
pytestmark = pytest.mark.usefixtures("controller")


class Admin:
    """kubectl of somebody who may do anything, in no namespace of its own."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        return run("kubectl", "--kubeconfig", self.kubeconfig, *words, stdin=stdin)

    def apply(self, *manifests: Any) -> None:
        """Objects, or texts with objects."""
        texts = [one if isinstance(one, str) else json.dumps(one) for one in manifests]
        self("apply", "--server-side", "--filename", "-", stdin="\n---\n".join(texts))


@pytest.fixture(scope="module")
def admin(system: Kubectl) -> Iterator[Admin]:
    """Where both tools' kinds are known."""
    texts = list(files(ARGO_CD, "manifests/crds").values())
    texts += [text for module in FLUX for text in files(module, "config/crd/bases").values()]
    definitions = [text for text in texts if "kind: CustomResourceDefinition" in text]
    do = Admin(system.kubeconfig)
    do.apply(*definitions)
    kinds = (
        "applicationsets,appprojects,helmreleases,kustomizations,gitrepositories,helmrepositories"
    )
    eventually("they are known", lambda: do("get", kinds, "--all-namespaces") == "")
    for name in ("argocd", "flux-system"):
        do("create", "namespace", name)
    yield do
    # Before the kinds go: a namespace cannot be emptied while it is not clear what kinds there are.
    do("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--timeout=240s")
    do("delete", "--wait=false", "--filename", "-", stdin="\n---\n".join(definitions))


def application(name: str, namespace: str) -> dict[str, Any]:
    """As the ApplicationSet makes it, in short."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {
            "project": "team-a",
            "source": {"repoURL": "x", "chart": "dask-clusters", "targetRevision": "0.1.0"},
            "destination": {"name": "in-cluster", "namespace": namespace},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
        },
    }


def test_the_api_server_takes_it_all_and_the_commands_do_what_they_say(
    admin: Admin, tmp_path: Path
) -> None:
    source = documents.copy_of_source(tmp_path)
    documents.shell(documents.of(DOC, "bash offline"), source)
    here = tmp_path / "dask"
    cm = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": "argocd"},
        "data": {"url": "https://a"},
    }
    admin.apply(cm)
    admin("apply", "--server-side", "--filename", f"{here}/argocd/apps")
    for folder in ("flux/clusters", "flux/tenants", "platform/clusters", "tenants/team-a/envs"):
        for env in ("dev", "prod"):
            path = here / folder / env
            flag = "--kustomize" if (path / "kustomization.yaml").exists() else "--filename"
            if folder == "flux/tenants":  # the namespaces are the platform's
                admin("apply", "--server-side", "--kustomize", f"{here}/platform/clusters/{env}")
            admin("apply", "--server-side", flag, str(path))
    for env in ("dev", "prod"):
        namespace = f"team-a-{env}"
        admin.apply(application(f"team-a.{env}", namespace))
        values = f"--values tenants/team-a/base/values.yaml --values tenants/team-a/envs/{env}/values.yaml"
        chart = "../dask-gitops/dist/dask-clusters-0.1.0.tgz"
        rendered = documents.shell(
            [f"helm template dask {chart} --namespace {namespace} {values}"], here
        )
        admin.apply(rendered)
    admin(
        "annotate",
        "daskcluster",
        "analytics",
        "--namespace",
        "team-a-dev",
        f"{TRACKING}=team-a.before:x",
    )
    ready = ("wait", "daskcluster/analytics", "--for=condition=Ready", "--timeout=240s")
    admin(*ready, "--namespace", "team-a-dev")
    told = documents.shell(documents.of(DOC, "bash cluster"), here, KUBECONFIG=admin.kubeconfig)

    def get(kind: str, name: str, namespace: str) -> Any:
        return Kubectl(admin.kubeconfig, namespace).get(kind, name)

    data = get("configmap", "argocd-cm", "argocd")["data"]
    assert data["url"] == "https://a"
    assert len([key for key in data if re.search("kubernetes.dask.org_Dask", key)]) == 7
    assert get("application", "dask-root", "argocd")["spec"]["source"]["path"] == "argocd/apps"
    stamp = get("application", "team-a.prod", "argocd")["metadata"]["annotations"]
    approved = stamp["argocd.argoproj.io/deletion-approved"]
    assert datetime.strptime(approved, "%Y-%m-%dT%H:%M:%S%z")
    assert Kubectl(admin.kubeconfig, "team-a-prod").list("daskclusters") == []
    kept = get("daskcluster", "analytics", "team-a-dev")
    assert TRACKING not in kept["metadata"]["annotations"]
    automated = get("application", "team-a.dev", "argocd")["spec"]["syncPolicy"]["automated"]
    assert automated == {"prune": True, "selfHeal": True, "enabled": False}
    assert get("helmrelease", "dask", "team-a-dev")["spec"]["suspend"] is True
    assert "daskcluster.kubernetes.dask.org/analytics" in told
    assert "scheduler ready, 1 of 1 worker ready" in told
    assert "kustomization.kustomize.toolkit.fluxcd.io/dask" in told


def test_what_the_team_may(admin: Admin) -> None:
    """The identity of gitops/platform, asked on the API server itself."""
    folder = documents.ROOT / "gitops/platform/clusters/dev/teams"
    admin("apply", "--server-side", "--filename", str(folder))
    user = "system:serviceaccount:team-a-dev:deployer"

    def may(verb: str, what: str, namespace: str = "team-a-dev") -> bool:
        asked = ["auth", "can-i", verb, what, "--as", user, "--namespace", namespace]
        command = ["kubectl", "--kubeconfig", admin.kubeconfig, *asked]
        said = subprocess.run(command, capture_output=True, text=True)
        assert said.stdout.strip() in ("yes", "no"), said.stderr
        return said.stdout.strip() == "yes"

    for kind in ("daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs"):
        for verb in ("get", "create", "patch", "delete"):
            assert may(verb, f"{kind}.kubernetes.dask.org")
        assert not may("create", f"{kind}.kubernetes.dask.org", "default")
    assert may("create", "secrets")
    for what in ("pods", "deployments.apps", "roles.rbac.authorization.k8s.io", "serviceaccounts"):
        assert not may("create", what)
    assert not may("patch", "customresourcedefinitions.apiextensions.k8s.io")
    assert not may("list", "secrets", "argocd")
