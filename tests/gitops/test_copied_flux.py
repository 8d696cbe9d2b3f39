"""gitops/ as it is copied, by Flux's real controllers: what it brings up, and what it never takes away. Read in this order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.gitops.copied import Copy, copy_of_bundle
from tests.gitops.test_copied_argocd import PROD, all_uids, lives
from tests.gitops.tools import PATIENCE_S, Tell
from tests.support.kubernetes import JSON, Kubectl, condition, eventually

SYNC = "kustomizations.kustomize.toolkit.fluxcd.io"


@pytest.fixture(scope="module")
def copied(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with copy_of_bundle(tmp_path_factory.mktemp("copied")) as found:
        yield found


def look_again(kubectl: Kubectl, kind: str, name: str) -> None:
    """Do not wait for the next time."""
    mark = f"reconcile.fluxcd.io/requestedAt={time.time()}"
    kubectl("annotate", kind, name, mark, "--overwrite")


def told(
    kubectl: Kubectl, kind: str, name: str = "dask", status: str = "True", words: str = ""
) -> None:
    """Until it says so in its Ready condition."""

    def look() -> bool:
        found = kubectl.get(kind, name)
        ready = condition(found, "Ready")
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
        assert ready.get("status") == status, ready
        assert words in ready["message"], ready
        return True

    eventually(f"{kind} {name} is Ready={status}", look, timeout=2 * PATIENCE_S)


def fetched(copied: Copy, *namespaces: str) -> None:
    """Until the sources are at the last commit."""
    commit = copied.repo._git("rev-parse", "HEAD").strip()
    for namespace in namespaces:
        name = "flux-system" if namespace == "flux-system" else "dask"

        def look(namespace: str = namespace, name: str = name) -> bool:
            found: JSON = copied.kubectl(namespace).get("gitrepository", name)["status"]
            return commit in found["artifact"]["revision"]

        eventually(f"{namespace} has the commit", look, timeout=PATIENCE_S)


def test_one_source_brings_up_platform_and_teams(copied: Copy, tell: Tell) -> None:
    """As `flux bootstrap` does: the source flux-system, and what lies in flux/clusters/dev."""
    system = copied.kubectl("flux-system")
    spec = {"interval": "1m", "url": copied.repo.url, "ref": {"branch": "main"}}
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository"}
    system.apply({**kind, "metadata": {"name": "flux-system"}, "spec": spec})
    began = time.monotonic()
    system("apply", "--filename", str(copied.repo.clone / "flux/clusters/dev"))
    told(system, SYNC, "dask-platform")
    tell("B4", "Flux: gitops/ on an empty cluster, platform ready", time.monotonic() - began)
    copied.start_controller()
    told(system, SYNC, "dask-tenants")
    for namespace in ("team-a-dev", "team-a-prod"):
        told(copied.kubectl(namespace), "helmrelease")
        told(copied.kubectl(namespace), SYNC)
    tell("B4", "Flux: gitops/ on an empty cluster, clusters ready", time.monotonic() - began)
    assert lives(copied.kubectl("team-a-prod"), kind="daskautoscaler")
    assert len(all_uids(copied)) == 5


def test_a_protected_cluster_goes_on_when_git_forgets_it(copied: Copy, tell: Tell) -> None:
    prod = copied.kubectl("team-a-prod")
    text = (copied.repo.clone / PROD).read_text()
    copied.repo.push_files({PROD: f"{text}  second: {{}}\n"})
    eventually("it is there", lambda: prod.exists("daskcluster", "second"), timeout=PATIENCE_S)
    tell("B5", "Flux: push to a second cluster", time.monotonic() - copied.repo.pushed)
    told(prod, "helmrelease")
    before = prod.get("helmrelease", "dask")["status"]["history"][0]["version"]
    copied.repo.push_files({PROD: text})
    eventually(
        "it is forgotten",
        lambda: prod.get("helmrelease", "dask")["status"]["history"][0]["version"] > before,
        timeout=PATIENCE_S,
    )
    told(prod, "helmrelease")
    assert lives(prod, "second")


def test_a_renamed_folder_is_told_and_deletes_nothing(copied: Copy) -> None:
    dev, before = copied.kubectl("team-a-dev"), all_uids(copied)
    copied.repo._git("mv", "tenants/team-a/envs/dev", "tenants/team-a/envs/development")
    copied.repo.push_files({})
    told(dev, SYNC, status="False", words="path not found")
    assert lives(dev)
    file = "flux/tenants/dev/team-a.yaml"
    text = (copied.repo.clone / file).read_text()
    copied.repo.push_files({file: text.replace("envs/dev", "envs/development")})
    fetched(copied, "flux-system")
    look_again(copied.kubectl("flux-system"), SYNC, "dask-tenants")
    told(dev, SYNC)
    assert all_uids(copied) == before


def test_an_edit_by_hand_is_undone(copied: Copy) -> None:
    dev = copied.kubectl("team-a-dev")
    patch = '{"spec": {"worker": {"replicas": 5}}}'
    dev("patch", "daskcluster", "analytics", "--type=merge", "--patch", patch)
    look_again(dev, "helmrelease", "dask")
    eventually(
        "it is undone",
        lambda: dev.get("daskcluster", "analytics")["spec"]["worker"]["replicas"] == 1,
        timeout=PATIENCE_S,
    )


def test_without_the_teams_file_its_clusters_go_on(copied: Copy) -> None:
    dev = copied.kubectl("team-a-dev")
    copied.repo.push_files({"flux/tenants/dev/team-a.yaml": None})
    fetched(copied, "flux-system")
    look_again(copied.kubectl("flux-system"), SYNC, "dask-tenants")
    eventually("its sync goes", lambda: not dev.exists(SYNC, "dask"), timeout=PATIENCE_S)
    assert lives(dev, "dask", kind="helmrelease")
    assert lives(dev)


def test_a_release_that_is_deleted_leaves_what_is_protected(copied: Copy) -> None:
    for namespace in ("team-a-dev", "team-a-prod"):
        copied.kubectl(namespace)("delete", "helmrelease", "dask", "--timeout=90s")
    assert not copied.kubectl("team-a-dev").exists("daskcluster", "analytics")
    for name in ("analytics", "second"):
        assert lives(copied.kubectl("team-a-prod"), name)
