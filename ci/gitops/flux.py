"""Flux as processes: its definitions, kustomize-controller, helm-controller, and what stands in for source-controller."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import programs
from argo import remove, wait_served
from common import HERE as KUBERNETES
from controlplane import kubectl
from instance import Instance
from places import Ports
from processes import Component

NAMESPACE = "flux-system"
CONTROLLERS = ("kustomize-controller", "helm-controller")


def install(instance: Instance) -> None:
    """Definitions and namespace."""
    files = definitions()
    kubectl(instance, "apply", "--server-side", *(f"--filename={file}" for file in files))
    kubectl(instance, "create", "namespace", NAMESPACE)
    for file in files:
        group, _, kind = file.stem.partition("_")
        wait_served(instance, group, kind)


def uninstall(instance: Instance) -> None:
    """All that `install` made."""
    remove(instance, NAMESPACE, definitions())


def definitions() -> list[Path]:
    """The files of its kinds."""
    return [file for name in CONTROLLERS for file in sorted(programs.kept(name).glob("*.yaml"))]


def environment(instance: Instance) -> dict[str, str]:
    """What its programs see."""
    home = instance.folder / "flux"
    home.mkdir(exist_ok=True)
    return {
        "PATH": f"{programs.links()}:{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(home),
        "KUBECONFIG": str(instance.kubeconfig),
        "RUNTIME_NAMESPACE": NAMESPACE,
    }


def components(instance: Instance, ports: Ports) -> list[Component]:
    """The two controllers; the stand-in has no health address, being alive is enough."""
    flags = {
        "kustomize-controller": ("--http-retry=2",),
        "helm-controller": ("--graceful-shutdown-timeout=5s",),
    }
    made = []
    for name in CONTROLLERS:
        metrics, health = ports(f"{name}-metrics"), ports(f"{name}-health")
        command = (
            str(programs.path(name)),
            f"--metrics-addr=127.0.0.1:{metrics}",
            f"--health-addr=127.0.0.1:{health}",
            "--requeue-dependency=2s",
            *flags[name],
        )
        made.append(Component(name, command, metrics, f"http://127.0.0.1:{health}/healthz"))
    source = KUBERNETES.parent / "gitops/source.py"
    words = (sys.executable, str(source), str(instance.folder / "web"), ports.web())
    return [*made, Component("source-stand-in", words, 0)]
