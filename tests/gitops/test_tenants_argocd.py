"""What Argo CD does not take away of a team's clusters, with gitops/argocd/apps as it is copied. Read in this order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.gitops.tenants import BASE, DEV, ENVIRONMENTS, PROD, Copy, given, lives
from tests.gitops.tools import PATIENCE_S, Argo, Lab, Tell
from tests.support import documents
from tests.support.controller_process import ControllerProcess
from tests.support.kubernetes import eventually

DOC = documents.ROOT / "docs/gitops.md"
LOOK = "argocd.argoproj.io/application-set-refresh"


@pytest.fixture(scope="module")
def team(
    lab: Lab, argo: Argo, controller: ControllerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copy]:
    """Both environments, healthy."""
    with given(lab, "by-argocd", tmp_path_factory.mktemp("team") / "clone") as copy:
        copy.apply("argocd/apps/team-a.yaml", "argocd/apps/tenants.yaml")
        for env, workers in zip(ENVIRONMENTS, ("1 of 1 worker", "2 of 2 workers"), strict=True):
            words = f"DaskCluster analytics: Healthy, scheduler ready, {workers} ready"
            eventually(
                f"team-a.{env} is made",
                lambda env=env: argo.admin.exists("application", f"team-a.{env}"),  # type: ignore[misc]
                timeout=PATIENCE_S,
            )
            argo.wait(f"team-a.{env}", message=words, timeout=2 * PATIENCE_S)
        yield copy
        argo.admin("delete", "applicationset", "dask-tenants", "--ignore-not-found")


def look_at_git(argo: Argo, *environments: str) -> None:
    """Do not wait for the next time."""
    argo.admin("annotate", "applicationset", "dask-tenants", f"{LOOK}=true", "--overwrite")
    for env in environments:
        argo.refresh(f"team-a.{env}")


def asked(argo: Argo) -> bool:
    """Has the ApplicationSet not looked yet?"""
    found = argo.admin.get("applicationset", "dask-tenants")
    return LOOK in (found["metadata"].get("annotations") or {})


def test_a_protected_cluster_goes_only_when_a_person_confirms(
    team: Copy, argo: Argo, tell: Tell
) -> None:
    prod = team.kubectl("prod")
    text = (team.repo.clone / PROD).read_text()
    commit = team.repo.push_files({PROD: f"{text}  second: {{}}\n"})
    look_at_git(argo, "prod")
    argo.wait("team-a.prod", commit=commit, message="DaskCluster second: Healthy")
    team.repo.push_files({PROD: text})
    look_at_git(argo, "prod")

    def asks() -> bool:
        said = argo.status("team-a.prod")["operationState"].get("message", "")
        assert "waiting for pruning confirmation of kubernetes.dask.org/DaskCluster/second" in said
        return True

    eventually("it asks", asks, timeout=PATIENCE_S)
    passed = time.monotonic() - team.repo.pushed
    tell("B1", "Argo CD: a protected cluster's key gone, to asking", passed)
    approved = "argocd.argoproj.io/deletion-approved"
    argo.admin("annotate", "application", "team-a.prod", f"{approved}=2000-01-01T00:00:00Z")
    look_at_git(argo)
    eventually("the set has seen it", lambda: not asked(argo), timeout=PATIENCE_S)
    notes = argo.admin.get("application", "team-a.prod")["metadata"]["annotations"]
    assert approved in notes, "the ApplicationSet takes what a person confirms back"
    assert lives(prod, "second")  # that was not about this
    (confirm,) = [t for t in documents.of(DOC, "bash cluster") if "deletion-approved" in t]
    time.sleep(2)  # a person is not that quick: Argo CD compares whole seconds
    began = time.monotonic()
    documents.shell([confirm], team.repo.clone, KUBECONFIG=team.lab.kubeconfig)
    eventually("it is pruned", lambda: not prod.exists("daskcluster", "second"), timeout=PATIENCE_S)
    argo.wait("team-a.prod")
    tell("B1", "Argo CD: confirmed, to pruned and Synced", time.monotonic() - began)
    assert lives(prod)


def test_the_last_cluster_of_an_environment_is_not_pruned(team: Copy, argo: Argo) -> None:
    text = (team.repo.clone / DEV).read_text()
    before = team.uids()
    team.repo.push_files({DEV: f"{text}clusters: {{analytics: {{enabled: false}}}}\n"})
    look_at_git(argo, "dev")
    eventually(
        "it refuses",
        lambda: "auto-sync will wipe out all" in str(argo.status("team-a.dev").get("conditions")),
        timeout=PATIENCE_S,
    )
    commit = team.repo.push_files({DEV: text})
    look_at_git(argo, "dev")
    argo.wait("team-a.dev", commit=commit)
    assert team.uids() == before


def test_a_person_can_stop_the_automation_of_one_environment(team: Copy, argo: Argo) -> None:
    """The ApplicationSet does not switch it on again."""
    switch = '{"spec": {"syncPolicy": {"automated": {"enabled": %s}}}}'
    argo.admin("patch", "application", "team-a.dev", "--type=merge", "--patch", switch % "false")
    synced = argo.status("team-a.dev")["history"]
    text = (team.repo.clone / BASE).read_text()
    team.repo.push_files({BASE: text.replace("replicas: 1", "replicas: 3")})
    look_at_git(argo, "dev")
    argo.wait("team-a.dev", sync="OutOfSync")
    for _ in range(3):
        argo.refresh("team-a.dev")  # a sync would begin with it
    status = argo.status("team-a.dev")
    assert status["sync"]["status"] == "OutOfSync"
    assert status["operationState"]["phase"] == "Succeeded", "a sync has begun"
    assert status["history"] == synced, "it was synced"
    argo.admin("patch", "application", "team-a.dev", "--type=merge", "--patch", switch % "true")
    argo.wait("team-a.dev", message="3 of 3 workers ready")


def test_deleted_with_all_its_resources_protected_clusters_stay(team: Copy, argo: Argo) -> None:
    argo.admin("delete", "applicationset", "dask-tenants", "--cascade=orphan", "--timeout=240s")
    finalizer = '{"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}}'
    for env in ENVIRONMENTS:
        app = f"team-a.{env}"
        argo.admin("patch", "application", app, "--type=merge", "--patch", finalizer)
        argo.admin("delete", "application", app, "--timeout=240s")
    assert not team.kubectl("dev").exists("daskcluster", "analytics")
    for kind in ("daskcluster", "daskautoscaler"):
        assert lives(team.kubectl("prod"), kind=kind)
