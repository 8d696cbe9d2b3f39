"""gitops/ as people copy it, on an empty Kubernetes cluster: by Argo CD, then, emptied again, by Flux.

These tests follow each other: each goes on where the one before has ended.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.gitops.conftest import ACCOUNT, fresh_lab, tool
from tests.gitops.tools import PATIENCE_S, Argo, Flux, Lab, Repo, Tell, uids
from tests.support.controller_process import ControllerProcess, service_account_kubeconfig
from tests.support.kubernetes import CommandError, Kubectl, condition, eventually, is_ready, run
from tests.support.witness import Witness, watched

NAME = "gitops-empty"
PLATFORM, TEAM = "dask-gitops", "team-a-dev"
KINDS = "daskclusters,daskworkergroups,daskautoscalers,daskjobs"


@pytest.fixture(scope="module")
def empty(network: None) -> Iterator[Lab]:
    yield from fresh_lab(NAME)


@pytest.fixture(scope="module", autouse=True)
def witness(empty: Lab) -> Iterator[Witness]:
    """Of this lab; the tier's own is not needed here."""
    yield from watched(empty.kubeconfig, NAME)


@pytest.fixture(scope="module")
def argo(empty: Lab) -> Iterator[Argo]:
    made = Argo(empty, Kubectl(empty.kubeconfig, "argocd"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def copy(empty: Lab, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """The example repository, pushed; and a clone of it."""
    url = tool("example", "--name", NAME).strip()
    clone = tmp_path_factory.mktemp("copy") / "dask"
    run("git", "clone", "--quiet", url, clone)
    return Repo(url, clone, time.monotonic())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("controller")


@contextlib.contextmanager
def controlled(lab: Lab, folder: Path) -> Iterator[ControllerProcess]:
    """The controller, as soon as somebody has brought the rights for it."""
    here = Kubectl(lab.kubeconfig, PLATFORM)
    eventually(
        "the platform's rights are there",
        lambda: here("get", f"rolebinding/{ACCOUNT}-lease", f"clusterrolebinding/{ACCOUNT}"),
        timeout=PATIENCE_S,
    )
    account = service_account_kubeconfig(here, ACCOUNT, folder / "kubeconfig")
    env = {"DASK_GITOPS_LEASE_NAMESPACE": PLATFORM, "DASK_GITOPS_LEASE_NAME": ACCOUNT}
    process = ControllerProcess(account, folder / "log", env)
    process.start()
    try:
        yield process
    finally:
        process.stop()


def test_argo_cd_brings_all_of_it_to_an_empty_cluster(
    empty: Lab, argo: Argo, copy: Repo, folder: Path, tell: Tell
) -> None:
    team = Kubectl(empty.kubeconfig, TEAM)
    argo.admin("apply", "--filename", str(copy.clone / "argocd/root.yaml"))
    begun = time.monotonic()
    argo.wait("dask-root", timeout=120)
    with controlled(empty, folder):
        argo.wait("team-a.dev", timeout=180)
        tell(
            "A8",
            "Argo CD, empty cluster: root.yaml to a healthy Dask cluster",
            time.monotonic() - begun,
        )
        assert is_ready(team.get("daskcluster", "analytics"))
        argo.wait("dask-platform.dev", timeout=180)
        tell("A8", "Argo CD, empty cluster: and to a healthy platform", time.monotonic() - begun)
        environments_come_and_go(empty, argo, copy, tell)
        a_tenant_stays_at_home(empty, argo, copy, tell)
        everything_goes_at_once(empty, argo, tell)


def environments_come_and_go(empty: Lab, argo: Argo, copy: Repo, tell: Tell) -> None:
    """As gitops/README.md says: a folder copied, renamed, removed."""
    envs, name = copy.clone / "tenants/team-a/envs", "team-a-test"
    test = Kubectl(empty.kubeconfig, name)
    shutil.copytree(envs / "dev", envs / "test")
    replace(envs / "test/config.yaml", ("name: dev", "name: test"), (TEAM, name))
    teams = copy.clone / "platform/clusters/dev/teams"
    shutil.copy(teams / "team-a.yaml", teams / "team-a-test.yaml")
    replace(teams / "team-a-test.yaml", (TEAM, name))
    line = '    - {server: "*", namespace: team-a-dev}\n'
    replace(copy.clone / "argocd/apps/team-a.yaml", (line, line + line.replace(TEAM, name)))
    copy.push()
    argo.wait("team-a.test", timeout=240)
    tell(
        "A10", "Argo CD: an environment's folder added, to Healthy", time.monotonic() - copy.pushed
    )
    before, application = uids(test, "analytics"), uid(argo, "team-a.test")
    assert before
    (envs / "test").rename(envs / "staging")
    commit = copy.push()
    argo.wait("team-a.test", commit=commit)
    assert (uids(test, "analytics"), uid(argo, "team-a.test")) == (before, application)
    tell("A10", "Argo CD: the folder renamed, to Synced", time.monotonic() - copy.pushed)
    shutil.rmtree(envs / "staging")
    copy.push()
    eventually(
        "its Application is gone",
        lambda: not argo.admin.exists("application", "team-a.test"),
        timeout=PATIENCE_S,
    )
    tell(
        "A10",
        "Argo CD: the folder removed, Application gone, clusters kept",
        time.monotonic() - copy.pushed,
    )
    assert is_ready(test.get("daskcluster", "analytics"))
    assert uids(test, "analytics") == before


def replace(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for before, after in changes:
        assert before in text, f"{file} has no {before!r}"
        text = text.replace(before, after)
    file.write_text(text)


def uid(argo: Argo, name: str) -> str:
    return str(argo.admin.get("application", name)["metadata"]["uid"])


def a_tenant_stays_at_home(empty: Lab, argo: Argo, copy: Repo, tell: Tell) -> None:
    """Argo CD syncs with the team's own rights, which end with its namespace, wherever its project lets it write."""
    argo.set("application.sync.impersonation.enabled", "true")
    for name, namespace in (("own", TEAM), ("foreign", "team-a-test")):
        metadata = {"name": name, "namespace": namespace}
        kind = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster"}
        copy.push_files({f"{name}/cluster.yaml": {**kind, "metadata": metadata, "spec": {}}})
        source = {"repoURL": copy.url, "targetRevision": "main", "path": name}
        argo.app(name, TEAM, source, project="team-a")
    start = time.monotonic()
    argo.wait("own")

    def refused() -> bool:
        results = argo.status("foreign")["operationState"]["syncResult"]["resources"]
        told = results[0]["message"]
        return "forbidden" in told and f"system:serviceaccount:{TEAM}:deployer" in told

    eventually("the foreign one is refused", refused, timeout=PATIENCE_S)
    tell("A11", "Argo CD, impersonation: write elsewhere to refused", time.monotonic() - start)
    assert not Kubectl(empty.kubeconfig, "team-a-test").exists("daskcluster", "foreign")
    argo.set("application.sync.impersonation.enabled", None)
    for name in ("own", "foreign"):
        argo.delete(name)
    Kubectl(empty.kubeconfig, TEAM).delete("daskcluster", "own")


def everything_goes_at_once(empty: Lab, argo: Argo, tell: Tell) -> None:
    """Controller and clusters deleted in one moment, by Applications that take along what they made."""
    admin = Kubectl(empty.kubeconfig)
    argo.delete("dask-root")
    admin("delete", "-n", "argocd", "applicationsets", "--all", "--cascade=orphan")
    names = ("team-a.dev", "dask-platform.dev")
    patch = json.dumps({"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}})
    for name in names:
        argo.admin("patch", "application", name, "--type=merge", "-p", patch)
    start = time.monotonic()
    argo.admin("delete", "application", *names, "--wait=false")
    confirmed = "argocd.argoproj.io/deletion-approved"
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for name in names:
        try:
            argo.admin("annotate", "application", name, f"{confirmed}={now}")
        except CommandError as error:
            if "NotFound" not in str(error):  # gone already
                raise
    for name in names:
        eventually(
            f"{name} is gone",
            lambda name=name: not argo.admin.exists("application", name),  # type: ignore[misc]
            timeout=180,
        )
    team = Kubectl(empty.kubeconfig, TEAM)
    eventually("no pods are left", lambda: team.list("pods") == [], timeout=PATIENCE_S)
    tell(
        "A7", "Argo CD: controller and clusters deleted at once, to gone", time.monotonic() - start
    )
    assert team(*("get", KINDS, "-o", "name")) == ""


def emptied(empty: Lab) -> None:
    """As if nobody had ever been here."""
    admin = Kubectl(empty.kubeconfig)
    namespaces = (PLATFORM, TEAM, "team-a-test")
    admin("delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=240s")
    found = admin("get", "crd,clusterroles,clusterrolebindings", "-o", "name").split()
    for name in found:
        if "dask" in name:
            admin("delete", name)


def test_flux_brings_all_of_it_to_an_empty_cluster(
    empty: Lab, copy: Repo, folder: Path, tell: Tell
) -> None:
    emptied(empty)
    system, team = Kubectl(empty.kubeconfig, "flux-system"), Kubectl(empty.kubeconfig, TEAM)
    flux = Flux(system)
    begun = time.monotonic()
    flux.source(copy, "flux-system")  # what `flux bootstrap` would leave
    source = {"kind": "GitRepository", "name": "flux-system"}
    flux.kustomization(
        "flux-system", "./flux/clusters/dev", sourceRef=source, targetNamespace=None, wait=False
    )
    eventually(
        "tenants wait for the platform",
        lambda: (
            condition(system.get("kustomization", "dask-tenants"), "Ready").get("reason")
            == "DependencyNotReady"
        ),
        timeout=PATIENCE_S,
    )
    with controlled(empty, folder):
        flux.ready("kustomization", "dask-platform", timeout=180)
        eventually(
            "the team's release is there", lambda: team.exists("helmrelease", "dask"), timeout=180
        )
        Flux(team).ready("helmrelease", "dask", timeout=180)
        tell(
            "F6",
            "Flux, empty cluster: first source to a ready Dask cluster",
            time.monotonic() - begun,
        )
        assert is_ready(team.get("daskcluster", "analytics"))
        definitions_follow_the_package(empty, system, tell)


def definitions_follow_the_package(empty: Lab, system: Kubectl, tell: Tell) -> None:
    """CreateReplace: an upgrade of the release brings definitions back to the package's."""
    patch = '{"metadata":{"labels":{"old":"yes"}},"spec":{"names":{"shortNames":["old"]}}}'
    crd = ("crd", "daskjobs.kubernetes.dask.org")
    names = system.get(*crd)["spec"]["names"].get("shortNames")
    system("patch", *crd, "--type=merge", "-p", patch)
    values = yaml.safe_dump({"controller": {"replicas": 1, "logLevel": "DEBUG"}})
    config = json.dumps({"data": {"values.yaml": values}})
    platform = Kubectl(empty.kubeconfig, PLATFORM)
    start = time.monotonic()
    platform("patch", "configmap", "dask-gitops-cluster", "--type=merge", "-p", config)
    eventually(
        "the definition is the package's",
        lambda: system.get(*crd)["spec"]["names"].get("shortNames") == names,
        timeout=120,
    )
    tell("F5", "Flux: upgrade of the platform to definitions replaced", time.monotonic() - start)
