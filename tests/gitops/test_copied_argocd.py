"""gitops/ as it is copied, by the real Argo CD: what it brings up, and what it never takes away. Read in this order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.gitops.copied import Copy, copy_of_bundle
from tests.gitops.tools import PATIENCE_S, Argo, Tell, uids
from tests.support import documents
from tests.support.kubernetes import Kubectl, eventually

DOC = documents.ROOT / "docs/gitops.md"
BASE, PROD = "tenants/team-a/base/values.yaml", "tenants/team-a/envs/prod/values.yaml"
SETS = ("dask-platform", "dask-tenants")


@pytest.fixture(scope="module")
def copied(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with copy_of_bundle(tmp_path_factory.mktemp("copied")) as found:
        yield found


@pytest.fixture(scope="module")
def own(copied: Copy) -> Iterator[Argo]:
    """The Argo CD beside that copy."""
    found = Argo(copied.lab, copied.kubectl("argocd"))
    yield found
    found.close()


def documented(copied: Copy, word: str) -> None:
    """Do what the document says, in the block with this word."""
    (block,) = [text for text in documents.of(DOC, "bash cluster") if word in text]
    documents.shell([block], copied.folder, KUBECONFIG=copied.lab.kubeconfig)


def look_at_git(own: Argo, *apps: str) -> None:
    """Do not wait for the next time."""
    for name in SETS:
        mark = "argocd.argoproj.io/application-set-refresh=true"
        own.admin("annotate", "applicationset", name, mark, "--overwrite")
    for app in apps:
        mark = "argocd.argoproj.io/refresh=normal"
        own.admin("annotate", "application", app, mark, "--overwrite")


def lives(kubectl: Kubectl, name: str = "analytics", kind: str = "daskcluster") -> bool:
    return (
        kubectl.exists(kind, name)
        and "deletionTimestamp" not in kubectl.get(kind, name)["metadata"]
    )


def all_uids(copied: Copy) -> set[str]:
    return {
        uid for env in ("dev", "prod") for uid in uids(copied.kubectl(f"team-a-{env}"), "analytics")
    }


def test_one_command_brings_up_platform_and_teams(copied: Copy, own: Argo, tell: Tell) -> None:
    began = time.monotonic()
    own.admin("apply", "--filename", str(copied.repo.clone / "argocd/root.yaml"))
    own.wait("dask-root")
    own.wait("dask-platform.dev", timeout=2 * PATIENCE_S)
    tell("B1", "Argo CD: gitops/ on an empty cluster, platform healthy", time.monotonic() - began)
    copied.start_controller()
    for env, workers in (("dev", 1), ("prod", 2)):
        words = f"DaskCluster analytics: Healthy, scheduler ready, {workers} of {workers} worker"
        own.wait(f"team-a.{env}", message=words, timeout=2 * PATIENCE_S)
    tell("B1", "Argo CD: gitops/ on an empty cluster, clusters healthy", time.monotonic() - began)
    assert lives(copied.kubectl("team-a-prod"), kind="daskautoscaler")
    assert len(all_uids(copied)) == 5


def test_a_renamed_folder_changes_nothing_but_paths(copied: Copy, own: Argo, tell: Tell) -> None:
    before = all_uids(copied)
    copied.repo._git("mv", "tenants/team-a/envs/dev", "tenants/team-a/envs/development")
    commit = copied.repo.push_files({})
    look_at_git(own)
    eventually(
        "the Application has the new path",
        lambda: "envs/development" in str(own.admin.get("application", "team-a.dev")["spec"]),
        timeout=PATIENCE_S,
    )
    look_at_git(own, "team-a.dev")
    own.wait("team-a.dev", commit=commit)
    tell("B2", "Argo CD: a renamed folder, to Synced", time.monotonic() - copied.repo.pushed)
    assert all_uids(copied) == before


def test_a_protected_cluster_goes_only_when_a_person_confirms(
    copied: Copy, own: Argo, tell: Tell
) -> None:
    prod = copied.kubectl("team-a-prod")
    text = (copied.repo.clone / PROD).read_text()
    commit = copied.repo.push_files({PROD: f"{text}  second: {{}}\n"})
    look_at_git(own, "team-a.prod")
    own.wait("team-a.prod", commit=commit, message="DaskCluster second: Healthy")
    copied.repo.push_files({PROD: text})
    look_at_git(own, "team-a.prod")

    def asks() -> bool:
        said = own.status("team-a.prod")["operationState"].get("message", "")
        assert "waiting for pruning confirmation of kubernetes.dask.org/DaskCluster/second" in said
        return True

    eventually("it asks", asks, timeout=PATIENCE_S)
    tell(
        "B3",
        "Argo CD: push to 'waiting for pruning confirmation'",
        time.monotonic() - copied.repo.pushed,
    )
    assert lives(prod, "second")
    began = time.monotonic()
    documented(copied, "deletion-approved")
    eventually("it is pruned", lambda: not prod.exists("daskcluster", "second"), timeout=PATIENCE_S)
    own.wait("team-a.prod")
    tell("B3", "Argo CD: confirmed, to pruned and Synced", time.monotonic() - began)
    assert lives(prod)


def test_the_last_cluster_of_an_environment_is_not_pruned(copied: Copy, own: Argo) -> None:
    text = (copied.repo.clone / BASE).read_text()
    copied.repo.push_files({BASE: "clusters: {}\n"})
    look_at_git(own, "team-a.dev")
    refusal = "auto-sync will wipe out all resources"
    eventually(
        "it refuses",
        lambda: refusal in str(own.status("team-a.dev").get("conditions")),
        timeout=PATIENCE_S,
    )
    assert lives(copied.kubectl("team-a-dev"))
    commit = copied.repo.push_files({BASE: text})
    look_at_git(own, "team-a.dev", "team-a.prod")
    for app in ("team-a.dev", "team-a.prod"):
        own.wait(app, commit=commit)


def test_a_person_can_stop_the_automation_of_one_environment(copied: Copy, own: Argo) -> None:
    switch = '{"spec": {"syncPolicy": {"automated": {"enabled": %s}}}}'
    own.admin("patch", "application", "team-a.dev", "--type=merge", "--patch", switch % "false")
    look_at_git(own)
    text = (copied.repo.clone / BASE).read_text()
    copied.repo.push_files({BASE: text.replace("replicas: 1", "replicas: 3")})
    look_at_git(own, "team-a.dev")
    own.wait("team-a.dev", sync="OutOfSync")
    time.sleep(5)  # for longer than it would take
    assert own.status("team-a.dev")["sync"]["status"] == "OutOfSync"
    own.admin("patch", "application", "team-a.dev", "--type=merge", "--patch", switch % "true")
    own.wait("team-a.dev", message="3 of 3 workers ready")


def test_a_folder_that_is_gone_leaves_its_clusters(copied: Copy, own: Argo) -> None:
    folder = copied.repo.clone / "tenants/team-a/envs/development"
    files = {
        str(path.relative_to(copied.repo.clone)): path.read_text() for path in folder.iterdir()
    }
    before = all_uids(copied)
    copied.repo.push_files(dict.fromkeys(files))
    look_at_git(own)
    eventually(
        "its Application goes",
        lambda: not own.admin.exists("application", "team-a.dev"),
        timeout=PATIENCE_S,
    )
    assert lives(copied.kubectl("team-a-dev"))
    copied.repo.push_files(files)
    look_at_git(own)
    eventually(
        "it is back", lambda: own.admin.exists("application", "team-a.dev"), timeout=PATIENCE_S
    )
    own.wait("team-a.dev")
    assert all_uids(copied) == before


def test_deleted_with_all_its_resources_protected_clusters_stay(copied: Copy, own: Argo) -> None:
    own.admin("delete", "application", "dask-root", "--timeout=60s")
    own.admin("delete", "applicationset", "dask-tenants", "--cascade=orphan", "--timeout=60s")
    finalizer = '{"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}}'
    for app in ("team-a.dev", "team-a.prod"):
        own.admin("patch", "application", app, "--type=merge", "--patch", finalizer)
        own.admin("delete", "application", app, "--timeout=90s")
    assert not copied.kubectl("team-a-dev").exists("daskcluster", "analytics")
    for kind in ("daskcluster", "daskautoscaler"):
        assert lives(copied.kubectl("team-a-prod"), kind=kind)
