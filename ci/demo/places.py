"""Where the demo runs: a context that the person names, kind, or the local Kubernetes of ci/kubernetes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from ci.demo.kube import Kube
from ci.demo.shell import Problem, run

NAMESPACE = "dask-demo"
KIND_CLUSTER = "dask-gitops-demo"
LOCAL = "local"
CONTROLLER = "dask-gitops-controller"
DASK = "dask-gitops-dask"
TOOL = [sys.executable, "ci/kubernetes"]


class Place(Protocol):
    """A Kubernetes cluster for the demo."""

    @property
    def title(self) -> str:
        """What it is, in a few words."""

    @property
    def kube(self) -> Kube:
        """How to reach it, once it is up."""

    @property
    def parts(self) -> list[tuple[str, float, float]]:
        """What was made for it: name, wall and CPU seconds of each part."""

    def start(self) -> str:
        """Have it up; returns what was done, in words."""

    def images(self) -> dict[str, str]:
        """Have the controller's and Dask's image there; returns their names in pods."""

    def stop(self) -> str:
        """Put back what ``start`` did; returns what was done, in words."""


def choose(context: str, registry: str) -> Place:
    """The place for these wishes; never a current context that nobody named."""
    if context:
        return Context(context, registry)
    if registry:
        raise Problem(
            "a registry without a context",
            "name the cluster that pulls from it: make demo CONTEXT=... REGISTRY=...",
        )
    if not docker_answers():
        return Local("no Docker daemon answers")
    if shutil.which("kind"):
        return Kind()
    if os.geteuid() != 0:
        raise Problem(
            "Docker answers, but kind is not on PATH, and a local Kubernetes without it needs root",
            "install kind, or: sudo -E make demo",
        )
    return Local("kind is not on PATH")


def docker_answers() -> bool:
    """Does a Docker daemon answer?"""
    if not shutil.which("docker"):
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=30)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def need(*programs: str) -> None:
    """Say early which programs are missing."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise Problem(
            f"not on PATH: {', '.join(missing)}",
            "install them, or name a cluster of yours: make demo CONTEXT=... REGISTRY=...",
        )


def deliver(*target: str) -> dict[str, str]:
    """Build the images unless they are built, and bring them to a target of `ci/kubernetes images`."""
    answer = run(
        [*TOOL, "images", CONTROLLER, DASK, "--json", *target], timeout=3600, show_progress=True
    )
    found: dict[str, str] = json.loads(answer)
    return found


class Local:
    """A real Kubernetes with one node on this very machine, for machines without Docker or kind."""

    def __init__(self, why: str) -> None:
        self.title = f"a local Kubernetes ({why})"
        self.was_up = False
        self.env: dict[str, str] = {}
        self.made: dict[str, str] = {}
        self.parts: list[tuple[str, float, float]] = []

    @property
    def kube(self) -> Kube:
        return Kube(NAMESPACE, self.env)

    def start(self) -> str:
        status = [*TOOL, "status", "--name", LOCAL]
        self.was_up = subprocess.run(status, capture_output=True).returncode == 0
        # One command for all: the images are made beside the programs, not after them.
        up = [*TOOL, "up", "--name", LOCAL, "--images", f"{CONTROLLER},{DASK}"]
        told = json.loads(run(up, timeout=3600, show_progress=True))
        self.made, self.parts = told["images"], [tuple(row) for row in told["parts"]]
        self.env = {
            "KUBECONFIG": told["kubeconfig"],
            "PATH": f"{told['path']}{os.pathsep}{os.environ['PATH']}",
        }
        return "was up already" if self.was_up else "started"

    def images(self) -> dict[str, str]:
        return self.made

    def stop(self) -> str:
        if self.was_up:
            return "left as it was found: up"
        run([*TOOL, "down", "--name", LOCAL], timeout=300, show_progress=True)
        return "stopped"


class Kind:
    """A kind cluster of the demo's own, with a kubeconfig of its own."""

    title = f"kind, cluster {KIND_CLUSTER}"

    def __init__(self) -> None:
        self.was_up = False
        self.parts: list[tuple[str, float, float]] = []
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(os.environ.get("DASK_GITOPS_CACHE") or Path(base) / "dask-gitops")
        self.kubeconfig = cache / "demo" / "kind-kubeconfig"

    @property
    def kube(self) -> Kube:
        return Kube(NAMESPACE, {"KUBECONFIG": str(self.kubeconfig)})

    def start(self) -> str:
        need("kind", "kubectl", "helm")
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        which = ["--name", KIND_CLUSTER, "--kubeconfig", str(self.kubeconfig)]
        self.was_up = KIND_CLUSTER in run(["kind", "get", "clusters"]).split()
        if self.was_up:
            run(["kind", "export", "kubeconfig", *which])
            return "was up already"
        command = ["kind", "create", "cluster", *which, "--wait", "180s"]
        run(command, timeout=900, show_progress=True)
        return "created"

    def images(self) -> dict[str, str]:
        return deliver("--load", "kind", KIND_CLUSTER)

    def stop(self) -> str:
        if self.was_up:
            return "left as it was found: up"
        which = ["--name", KIND_CLUSTER, "--kubeconfig", str(self.kubeconfig)]
        run(["kind", "delete", "cluster", *which], timeout=300)
        self.kubeconfig.unlink(missing_ok=True)
        return "deleted"


class Context:
    """A cluster of the person's own."""

    def __init__(self, context: str, registry: str) -> None:
        self.context = context
        self.registry = registry
        self.title = f"your context {context}"
        self.parts: list[tuple[str, float, float]] = []

    @property
    def kube(self) -> Kube:
        return Kube(NAMESPACE, {}, self.context)

    def start(self) -> str:
        need("kubectl", "helm")
        contexts = run(["kubectl", "config", "get-contexts", "-o", "name"]).split()
        if self.context not in contexts:
            known = ", ".join(contexts) or "none"
            raise Problem(f"no context {self.context!r} in your kubeconfig; there are: {known}")
        if not (self.registry or self.context.startswith("kind-")):
            raise Problem(
                "the cluster needs a registry that it can pull from and that you can push to",
                f"make demo CONTEXT={self.context} REGISTRY=registry.example.com/you",
            )
        return "yours"

    def images(self) -> dict[str, str]:
        if self.registry:
            return deliver("--push", self.registry)
        return deliver("--load", "kind", self.context.removeprefix("kind-"))

    def stop(self) -> str:
        return "left as it was found"
