"""A lab for a person: the example, kept by both tools, and what to do with it."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import example
import images
import lifecycle
import programs
from common import REPOSITORY, Problem, report, run, seconds, wait_until
from controlplane import kubectl
from instance import Instance, load
from places import Ports
from processes import Component, start, wait_healthy

PATIENCE_S = 300
MARK = "tour"  # in the lab's folder: which process brings the example; empty when all is there
WORDS = """
Argo CD keeps the namespace team-a-dev as the repository says, Flux keeps team-a-prod.{pods}

  change     git clone {git} && cd dask
             for Argo CD, add to tenants/team-a/envs/dev/values.yaml:
               clusters: {{analytics: {{worker: {{replicas: 3}}}}}}
             for Flux, in tenants/team-a/envs/prod/values.yaml, where an autoscaler has the number: minimum: 3
             git commit -a -m "three workers" && git push
  watch      export KUBECONFIG={kubeconfig}
             export PATH={path}:"$PATH"
             kubectl get daskclusters -A -w
             kubectl get applications -n argocd -w
             kubectl get kustomizations,helmreleases -A -w
  why        kubectl describe daskcluster analytics -n team-a-dev; docs/gitops.md, "When something is wrong"
  Argo CD    {argocd} is its API, without a password; its web page is not part of its Go module
  what runs  in {folder}: python3 ci/kubernetes status --name {name};  python3 ci/kubernetes logs --name {name} COMPONENT
  end        there: {down}
"""
PRETENDED = """
Without a real node pods are pretended. No scheduler answers, so the controller holds what would end workers."""


def spare(name: str) -> None:
    """Before a start: see that nothing of a person's goes. What a start left behind that was cut short is cleared away.

    :raises Problem: the lab is somebody else's work, or not well: only a person can say that it may go.
    """
    instance = load(name)
    if instance is None:
        return
    mark = instance.folder / MARK
    if not mark.exists():
        if lifecycle.healthy(instance):
            raise Problem(f"{name} is up, without the example; `{down(name)}` ends it")
        return
    starter = mark.read_text()
    if starter:
        if Path(f"/proc/{starter}").exists():
            raise Problem(f"process {starter} is starting {name}")
        lifecycle.down([name])
        return
    rows = lifecycle.status([name])
    bad = [f"{row['component']} is {row['state']}" for row in rows if row["state"] != "up"]
    if bad:
        raise Problem(
            f"{name}: {', '.join(bad)}; `{down(name)}` ends all of it, with what was pushed to it"
        )


def down(name: str) -> str:
    """The command that ends a lab."""
    return "make gitops-lab-down" if name == "lab" else f"python3 ci/gitops down --name {name}"


def begin(instance: Instance) -> str:
    """Have both tools keep the example; what to tell."""
    began = time.monotonic()
    mark, copy = instance.folder / MARK, instance.folder / "example"
    if mark.exists():
        return words(instance)
    mark.write_text(str(os.getpid()))
    built = images.deliver(list(images.IMAGES), images.Node(instance)) if instance.node else {}
    url = example.make(instance, built)
    run(["git", "clone", "--quiet", url, copy])
    for part in ("argocd/root.yaml", "platform/clusters/prod/teams/team-a.yaml"):
        kubectl(instance, "apply", "-f", str(copy / part))
    wait_until("definitions", lambda: tried(instance, "get", "daskautoscalers"), PATIENCE_S, 1)
    if not instance.node:
        controller(instance)
    # As in flux/clusters, where it depends on the platform: Helm gives up on kinds that it does not know.
    kubectl(instance, "apply", "-f", str(copy / "flux/tenants/prod/team-a.yaml"))
    for namespace in ("team-a-dev", "team-a-prod"):
        there = functools.partial(ready, instance, namespace)
        wait_until(f"a Dask cluster in {namespace}", there, PATIENCE_S)
        report(namespace, f"its Dask cluster is ready after {seconds(began)}")
    mark.write_text("")
    return words(instance)


def words(instance: Instance) -> str:
    """What to tell somebody who has a lab with the example."""
    ports = Ports(instance)
    return WORDS.format(
        pods="" if instance.node else PRETENDED,
        git=example.address(instance),
        kubeconfig=instance.kubeconfig,
        path=programs.links(),
        argocd=f"http://127.0.0.1:{ports('argocd')}",
        name=instance.name,
        folder=REPOSITORY,
        down=down(instance.name),
    )


def ready(instance: Instance, namespace: str) -> bool:
    """Is the example's Dask cluster there, and does it say so?"""
    wait = ("wait", "daskcluster/analytics", "--for=condition=Ready", "--timeout=5s")
    return tried(instance, "-n", namespace, *wait)


def controller(instance: Instance) -> None:
    """The controller as a process, where its own pod is pretended."""
    port = Ports(instance)("controller")
    python = run(["python3", REPOSITORY / "ci/venv.py"]).stdout.strip()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY / "controller"),
        "KUBECONFIG": str(instance.kubeconfig),
        "DASK_GITOPS_PORT": str(port),
    }
    command = (python, "-m", "dask_gitops")
    component = Component("controller", command, port, f"http://127.0.0.1:{port}/readyz")
    start(instance.folder, component, env)
    wait_healthy(instance.folder, [component])


def tried(instance: Instance, *words: str) -> bool:
    """Did kubectl succeed?"""
    try:
        kubectl(instance, *words)
    except Problem:
        return False
    return True
