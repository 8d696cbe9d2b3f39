"""What Flux does not take away of a team's clusters, with gitops/flux/tenants as it is copied. Read in this order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.gitops.tenants import ENVIRONMENTS, PROD, Copy, given, lives
from tests.gitops.tools import PATIENCE_S, Lab, Tell
from tests.support.controller_process import ControllerProcess
from tests.support.kubernetes import Kubectl, condition, eventually
from tests.support.witness import Witness

SYNC = "kustomizations.kustomize.toolkit.fluxcd.io"


@pytest.fixture(scope="module")
def team(
    lab: Lab, controller: ControllerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copy]:
    """Both environments, ready, with the rights of the team's own identity."""
    with given(lab, "by-flux", tmp_path_factory.mktemp("team") / "clone") as copy:
        copy.apply(*(f"flux/tenants/{env}" for env in ENVIRONMENTS))
        for env in ENVIRONMENTS:
            told(copy.kubectl(env), SYNC)
            told(copy.kubectl(env), "helmrelease")
            assert lives(copy.kubectl(env))
        yield copy
        # Before their identity goes with the namespace: without it Flux could not end them.
        for kind in (SYNC, "helmrelease"):
            for env in ENVIRONMENTS:
                copy.kubectl(env)("delete", kind, "--all", "--timeout=240s")


def told(kubectl: Kubectl, kind: str, status: str = "True", words: str = "") -> None:
    """Until it says so in its Ready condition."""

    def look() -> bool:
        found = kubectl.get(kind, "dask")
        ready = condition(found, "Ready")
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
        assert ready.get("status") == status, ready
        assert words in ready["message"], ready
        return True

    eventually(f"{kind} of {kubectl.namespace} is Ready={status}", look, timeout=2 * PATIENCE_S)


def rests_at(kubectl: Kubectl, commit: str) -> None:
    """Until the team's sync has applied that commit and waits for nothing.

    While it waits, it would not see its own deletion, nor give up on what a person deletes.
    """

    def look() -> bool:
        assert commit in kubectl.get(SYNC, "dask")["status"].get("lastAppliedRevision", "")
        return True

    eventually(f"{kubectl.namespace} is at {commit}", look, timeout=PATIENCE_S)
    told(kubectl, SYNC)


def version(kubectl: Kubectl) -> int:
    """How often Helm has released it."""
    return int(kubectl.get("helmrelease", "dask")["status"]["history"][0]["version"])


def test_a_protected_cluster_goes_on_when_git_forgets_it(team: Copy, tell: Tell) -> None:
    prod = team.kubectl("prod")
    text = (team.repo.clone / PROD).read_text()
    team.repo.push_files({PROD: f"{text}  second: {{}}\n"})
    eventually("it is there", lambda: prod.exists("daskcluster", "second"), timeout=PATIENCE_S)
    told(prod, "helmrelease")
    before = version(prod)
    team.repo.push_files({PROD: text})
    eventually("it is forgotten", lambda: version(prod) > before, timeout=PATIENCE_S)
    told(prod, "helmrelease")
    tell(
        "B2",
        "Flux: a protected cluster's key gone, to Ready without it",
        time.monotonic() - team.repo.pushed,
    )
    assert lives(prod, "second")


def test_the_next_commit_puts_a_failed_release_right(
    team: Copy, tell: Tell, witness: Witness
) -> None:
    prod = team.kubectl("prod")
    witness.allow("a spec is refused", prod.namespace)
    text = (team.repo.clone / PROD).read_text()
    only_the_api_server_knows = "      podTemplate: {spec: {restartPolicy: Sometimes}}\n"
    bad = text.replace("    worker:\n", f"    worker:\n{only_the_api_server_knows}")
    assert bad != text
    team.repo.push_files({PROD: bad})
    told(prod, "helmrelease", status="False", words="status: 'Failed'")
    tell("B3", "Flux: push of refused values to Failed", time.monotonic() - team.repo.pushed)
    why = condition(prod.get("daskcluster", "analytics"), "Stalled")["message"]
    assert "restartPolicy" in why
    commit = team.repo.push_files({PROD: text})
    rests_at(prod, commit)
    told(prod, "helmrelease")
    tell("B3", "Flux: push of the remedy to Ready", time.monotonic() - team.repo.pushed)


def test_a_renamed_folder_is_told_and_deletes_nothing(team: Copy) -> None:
    dev, before = team.kubectl("dev"), team.uids()
    folder = team.repo.clone / "tenants/team-a/envs/dev"
    folder.rename(folder.parent / "development")
    commit = team.repo.push_files({})
    told(dev, SYNC, status="False", words="path not found")
    file = team.repo.clone / "flux/tenants/dev/team-a.yaml"
    file.write_text(file.read_text().replace("envs/dev", "envs/development"))
    team.apply("flux/tenants/dev")
    for env in ENVIRONMENTS:
        rests_at(team.kubectl(env), commit)
    assert team.uids() == before


def test_without_the_teams_sync_its_clusters_go_on(team: Copy) -> None:
    dev = team.kubectl("dev")
    dev("delete", SYNC, "dask", "--timeout=240s")
    for kind, name in (("helmrelease", "dask"), ("daskcluster", "analytics")):
        assert lives(dev, name, kind)


def test_a_release_that_is_deleted_leaves_what_is_protected(team: Copy) -> None:
    for env in ENVIRONMENTS:
        team.kubectl(env)("delete", "helmrelease", "dask", "--timeout=240s")
    assert not team.kubectl("dev").exists("daskcluster", "analytics")
    for name in ("analytics", "second"):
        assert lives(team.kubectl("prod"), name)
