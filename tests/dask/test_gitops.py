"""Commits reach a cluster that computes, by the real Argo CD and by the real Flux: workers, then the image, then back.

Both run as processes beside the node, as in the gitops tier.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from ci.demo.story import split_image
from tests.dask.support import Cluster, Inside
from tests.gitops.tools import Argo, Flux, Lab, Repo
from tests.support.kubernetes import JSON, Audit, Kubectl, condition, eventually, run

NAME = "local"
LAB = (sys.executable, "ci/gitops")
PATIENCE_S = 300  # pods begin and end between a commit and the tool's word that all is well
HELD = "now results are in memory"


class Tool(Protocol):
    """What keeps the cluster as git says."""

    repo: Repo
    name: str
    well: str

    def write(self, values: JSON) -> str:
        """Push values; the commit."""

    def begin(self) -> None:
        """Have it follow the repository."""

    def settled(self, commit: str) -> None:
        """Until it says that all is well at that commit."""

    def settled_but_pending(self, commit: str) -> None:
        """The same, and where it has room for words, for what the cluster waits."""

    def end(self) -> None:
        """Leave nothing behind outside the namespace."""


@dataclass
class ByArgo:
    """An Application."""

    argo: Argo
    repo: Repo
    app: str
    name: str = "Argo CD"
    well: str = "Healthy"

    def write(self, values: JSON) -> str:
        return self.repo.push(values__yaml=values)

    def begin(self) -> None:
        self.argo.clusters(self.app, self.app, self.repo)

    def settled(self, commit: str) -> None:
        self.argo.wait(self.app, commit=commit, timeout=PATIENCE_S)

    def settled_but_pending(self, commit: str) -> None:
        self.argo.wait(self.app, commit=commit, message=HELD, timeout=PATIENCE_S)

    def end(self) -> None:
        self.argo.delete(self.app)
        self.argo.close()


@dataclass
class ByFlux:
    """A Kustomization of a folder with a HelmRelease, so that both of its controllers have their part."""

    flux: Flux
    repo: Repo
    name: str = "Flux"
    well: str = "Ready"

    def write(self, values: JSON) -> str:
        return self.repo.push(release__yaml=self.flux.release_manifest("demo", values))

    def begin(self) -> None:
        self.flux.source(self.repo)
        self.flux.kustomization("demo")

    def settled(self, commit: str) -> None:
        self.flux.ready("kustomization", "demo", commit, timeout=PATIENCE_S)

    settled_but_pending = settled

    def end(self) -> None:
        for kind in ("kustomization", "helmrelease"):
            self.flux.kubectl("delete", kind, "--all", "--timeout=240s")


@pytest.fixture(scope="module")
def lab(system: Kubectl) -> Iterator[Lab]:
    """Argo CD and Flux on the tier's node, for this file."""
    up = subprocess.run([*LAB, "up", "--name", NAME], stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(up.stdout)
    yield Lab(**{**told, "name": NAME, "folder": Path(told["folder"])})
    run(*LAB, "leave", "--name", NAME)


@pytest.fixture(params=["argocd", "flux"])
def tool(
    request: pytest.FixtureRequest, lab: Lab, kubectl: Kubectl, tmp_path: Path
) -> Iterator[Tool]:
    repo = lab.repo(kubectl.namespace, tmp_path / "clone")
    made: Tool
    if request.param == "argocd":
        made = ByArgo(Argo(lab, Kubectl(lab.kubeconfig, "argocd")), repo, kubectl.namespace)
    else:
        flux = Flux(kubectl)
        flux.charts(lab)
        made = ByFlux(flux, repo)
    yield made
    made.end()


@pytest.fixture
def other_image(lab: Lab, dask_image: str) -> Iterator[str]:
    """The node's Dask image by another tag, which is another image to whoever compares specs."""
    ctr = ("ctr", "--address", str(lab.folder / "containerd.sock"), "--namespace", "k8s.io")
    tagged = f"{split_image(dask_image)[0]}:next"
    run(*ctr, "images", "tag", "--force", dask_image, tagged)
    yield tagged
    run(*ctr, "images", "remove", tagged)


def values(replicas: int, flavour: str, image: str) -> JSON:
    """Of one cluster, ``demo``, with small workers."""
    repository, tag = split_image(image)
    worker = {"replicas": replicas, "nthreads": 1, "env": {"FLAVOUR": flavour}}
    return {
        "clusters": {"demo": {"image": {"repository": repository, "tag": tag}, "worker": worker}}
    }


def looks(it: Cluster) -> list[tuple[str, str]]:
    """Variable and image of each worker's pod."""
    containers = [pod["spec"]["containers"][0] for pod in it.pods().values()]
    return sorted(
        (next(e["value"] for e in c["env"] if e["name"] == "FLAVOUR"), c["image"])
        for c in containers
    )


def scheduler(it: Cluster) -> tuple[str, str]:
    """Uid and image of its pod; empty while there is none."""
    pod = it.scheduler()
    return (pod["metadata"]["uid"], pod["spec"]["containers"][0]["image"]) if pod else ("", "")


def test_commits_reach_a_cluster_that_computes(
    tool: Tool, kubectl: Kubectl, inside: Inside, audit: Audit, dask_image: str, other_image: str,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    it = Cluster("demo", kubectl, inside, audit)

    def tell(what: str, since: float) -> None:
        seconds = time.monotonic() - since
        record_property("closing", f"real node  {tool.name + ': ' + what:<64} {seconds:6.1f} s")

    commit = tool.write(values(2, "old", dask_image))
    tool.begin()
    tool.settled(commit)
    tell(f"first sync to {tool.well}, 2 workers", tool.repo.pushed)
    old = it.wait_pods(2)
    was = scheduler(it)
    it.connect(2)
    before = it.inside("hold(20, 5)")
    assert it.inside("run_gated(2)") == 2

    # More workers, with another variable, while each of them runs a task.
    since = Audit.now(audit.path)
    new = ("new", dask_image)
    commit = tool.write(values(3, *new))
    eventually("a worker by the commit", lambda: new in looks(it), timeout=PATIENCE_S)
    tell("push of workers to the first new pod", tool.repo.pushed)
    eventually("an old worker is to go", it.retiring, timeout=PATIENCE_S)
    assert it.deletes(since) == [], "deleted before its task ended"
    it.inside("open_gate()")
    opened = time.monotonic()
    eventually(
        "all roll while others compute",
        lambda: it.computes() and looks(it) == [new] * 3,
        timeout=PATIENCE_S,
        every=2,
    )
    tool.settled(commit)
    tell(f"old workers' tasks end to all rolled and {tool.well}", opened)
    tell(f"push of workers to {tool.well}", tool.repo.pushed)
    it.wait_workers(3)
    assert it.inside("hashes()") == before
    assert it.inside("results()") == [0, 1]
    assert it.inside("starts()") == {"0": 1, "1": 1}
    assert len(it.inside("removed()")) == 2
    assert it.lost() == []
    assert (it.deletes(since), it.creates(since)) == (sorted(old), 3)
    assert scheduler(it) == was

    # Another image, which waits for the client.
    pods = it.wait_pods(3)
    commit = tool.write(values(3, "new", other_image))
    eventually(
        "it says what it waits for",
        lambda: condition(it.get(), "UpdatePending").get("message", "").endswith(HELD),
        timeout=PATIENCE_S,
    )
    tell("push of an image to UpdatePending", tool.repo.pushed)
    tool.settled_but_pending(commit)
    tell(f"push of an image to {tool.well}, as it waits for the client", tool.repo.pushed)
    assert it.inside("hashes()") == before
    assert (it.uids(), scheduler(it)) == (pods, was)
    it.inside("let_go()")
    let_go = time.monotonic()
    rolled(it, other_image)
    tool.settled(commit)
    tell(f"client lets go to all rolled and {tool.well}", let_go)
    it.connect(3)
    assert it.computes()

    # And back, with a client that holds nothing.
    commit = tool.repo.revert()
    rolled(it, dask_image)
    tell("push of the revert to all rolled", tool.repo.pushed)
    tool.settled(commit)
    tell(f"push of the revert to {tool.well}", tool.repo.pushed)
    it.connect(3)
    assert it.computes()


def rolled(it: Cluster, image: str) -> None:
    """Until scheduler and workers have this image, and nobody else is there."""
    eventually(
        f"all run {image}",
        lambda: (scheduler(it)[1], looks(it)) == (image, [("new", image)] * 3),
        timeout=PATIENCE_S,
    )
    it.wait_ready(PATIENCE_S)
    it.wait_pods(3)
