"""An earlier state of this project and this one take turns below busy clusters: no pod is replaced, nothing fails."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.gitops.tools import PATIENCE_S, Argo, Lab, Repo, Tell
from tests.support import earlier
from tests.support.controller_process import ROOT, ControllerProcess
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import JSON, Audit, Kubectl, eventually, is_ready, run

EARLIER = earlier.VERSION
NOW = str(yaml.safe_load((ROOT / "Chart.yaml").read_text())["version"])
PLATFORM = "dask-platform"
CLUSTERS = 10  # of each tenant
LONG_S = 2 * PATIENCE_S


@pytest.fixture
def files(lab: Lab, tmp_path: Path) -> Path:
    """Files of the earlier state, and its package beside this one's."""
    folder, packages = earlier.unpack(tmp_path), lab.folder / "web/charts"
    run("helm", "package", folder, "--version", EARLIER, "--destination", packages)
    run("helm", "repo", "index", packages, "--url", lab.charts)
    return folder


def move(argo: Argo, app: str, field: str, value: object) -> None:
    """Change an application, as a commit to its folder would."""
    patch = [{"op": "replace", "path": f"/spec/sources/0{field}", "value": value}]
    argo.admin("patch", "application", app, "--type=json", "-p", json.dumps(patch))


def package(lab: Lab, version: str) -> JSON:
    """What a team installs: in the earlier state the whole chart without what all share."""
    source: JSON = {"repoURL": lab.charts, "chart": "dask-clusters", "targetRevision": version}
    source["helm"] = {"valueFiles": ["$values/values.yaml"]}
    if version == EARLIER:
        source["chart"] = "dask-gitops"
        off = {"enabled": False}
        source["helm"]["valuesObject"] = {"crds": off, "controller": off}
    return source


@dataclass
class Platform:
    """Definitions, rights and controller, which Argo CD and then the controller's process change together."""

    argo: Argo
    processes: dict[str, ControllerProcess]

    def be(self, version: str) -> None:
        move(self.argo, PLATFORM, "/targetRevision", version)
        self.argo.wait(PLATFORM, commit=version, timeout=LONG_S)
        for process in self.processes.values():
            process.stop()
        self.processes[version].start()


@pytest.fixture
def platform(
    argo: Argo, controller: ControllerProcess, files: Path, tmp_path: Path
) -> Iterator[Platform]:
    """As the earlier state made it; as it was before, at the end."""
    env = {**controller.env, "PYTHONPATH": str(files / "controller")}
    old = ControllerProcess(controller.kubeconfig, tmp_path / "log", env)
    made = Platform(argo, {EARLIER: old, NOW: controller})
    try:
        made.be(EARLIER)
        yield made
    finally:
        made.be(NOW)
        move(argo, PLATFORM, "/targetRevision", "*")


@dataclass
class Tenant:
    """A namespace with busy clusters, from a package of some version."""

    argo: Argo
    kubectl: Kubectl
    repo: Repo

    @property
    def app(self) -> str:
        return self.kubectl.namespace

    def push(self, workers: int) -> str:
        clusters = {f"c{n}": {"worker": {"replicas": workers}} for n in range(CLUSTERS)}
        return self.repo.push(values__yaml={"clusters": clusters})

    def pods(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.kubectl.list("pods", "dask.org/component")}

    def well(self, workers: int, commit: str) -> set[str]:
        """Until all is as it was pushed; the pods."""
        self.argo.wait(self.app, commit=commit, timeout=LONG_S)

        def look() -> set[str]:
            found = self.kubectl.list("daskclusters")
            assert [is_ready(cluster) for cluster in found] == [True] * CLUSTERS
            uids = self.pods()
            assert len(uids) == CLUSTERS * (workers + 1)
            return uids

        # The earlier state may say Ready for a moment before it has heard of the new number.
        return eventually(f"{self.app} has all its pods", look, timeout=LONG_S)


@pytest.fixture
def tenants(
    platform: Platform, lab: Lab, kubectl: Kubectl, schedulers: FakeSchedulers, tmp_path: Path
) -> Iterator[dict[str, Tenant]]:
    """One with the packages of each state."""
    made = {}
    other = Kubectl(lab.kubeconfig, f"{kubectl.namespace}-b")
    other("create", "namespace", other.namespace)
    for version, here in ((EARLIER, kubectl), (NOW, other)):
        schedulers.tasks[here.namespace] = {"processing": 3}
        repo = lab.repo(here.namespace, tmp_path / here.namespace)
        made[version] = Tenant(platform.argo, here, repo)
    yield made
    for tenant in made.values():
        if platform.argo.admin.exists("application", tenant.app):
            platform.argo.delete(tenant.app)
    other("delete", "namespace", other.namespace, "--wait=false")


def test_an_earlier_state_to_this_one_and_back_below_busy_clusters(
    platform: Platform, tenants: dict[str, Tenant], argo: Argo, audit: Audit, tell: Tell
) -> None:
    both = old, new = tuple(tenants.values())
    start = time.monotonic()
    commits = [tenant.push(2) for tenant in both]
    for version, tenant in tenants.items():
        values = {"repoURL": tenant.repo.url, "targetRevision": "main", "ref": "values"}
        argo.app(tenant.app, tenant.app, package(argo.lab, version), values)
    pods = all_pods(both, 2, commits)
    assert definitions_written(audit) == [], "a tenant's package wrote definitions"
    began = time.monotonic()
    platform.be(NOW)
    tell("A13", f"Argo CD: definitions and controller to {NOW}", time.monotonic() - began)
    pods = grown(pods, both, 3)
    quiet = Audit.now(audit.path)
    began = time.monotonic()
    move(argo, old.app, "", package(argo.lab, NOW))
    move(argo, new.app, "", package(argo.lab, EARLIER))
    argo.wait(old.app, commit=NOW, timeout=LONG_S)
    argo.wait(new.app, commit=EARLIER, timeout=LONG_S)
    tell("A13", "Argo CD: two tenants exchange versions", time.monotonic() - began)
    pods = grown(pods, both, 4)
    assert definitions_written(quiet) == [], "a tenant's package wrote definitions"
    began = time.monotonic()
    platform.be(EARLIER)
    tell("A13", f"Argo CD: definitions and controller to {EARLIER}", time.monotonic() - began)
    grown(pods, both, 5)
    for tenant in both:
        states = [app.get("status", {}) for app in argo.history(tenant.app, start)]
        shown = {status.get("health", {}).get("status") for status in states}
        assert "Healthy" in shown
        assert "Degraded" not in shown


def all_pods(tenants: tuple[Tenant, ...], workers: int, commits: list[str]) -> set[str]:
    """Of tenants that are well."""
    found = (t.well(workers, commit) for t, commit in zip(tenants, commits, strict=True))
    return set().union(*found)


def grown(before: set[str], tenants: tuple[Tenant, ...], workers: int) -> set[str]:
    """Have each cluster get one more worker, as a sign that the controller knows all of them; the pods, with those before."""
    after = all_pods(tenants, workers, [tenant.push(workers) for tenant in tenants])
    assert before <= after, f"{len(before - after)} pods were replaced"
    assert len(after) == len(before) + len(tenants) * CLUSTERS
    return after


def definitions_written(audit: Audit) -> list[str]:
    """Names of definitions in requests that changed them."""
    verbs = ("create", "update", "patch", "delete")
    kind = "customresourcedefinitions"
    return [r["objectRef"]["name"] for verb in verbs for r in audit.done(verb, kind)]
