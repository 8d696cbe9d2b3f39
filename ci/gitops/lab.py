"""Brings a lab up: an instance of the local Kubernetes, a web server, Argo CD, Flux."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import argo
import building
import flux
import lifecycle
import programs
from common import REPOSITORY, Problem, lock, report, run, seconds
from instance import Instance
from places import Ports
from processes import Component, records, start, stop, wait_healthy

HERE = Path(__file__).resolve().parent


def up(wanted: Instance) -> Instance:
    """Start what does not run yet. A second call changes nothing."""
    packages = programs.PACKAGES_CONTROL_PLANE | programs.PACKAGES_GITOPS
    building.build(programs.GITOPS, packages, tell_cached=False)
    instance = lifecycle.up(wanted)
    ports = Ports(instance)
    with lock(instance.folder, f"another up of {instance.name}"):
        complete = instance.folder / "web" / "complete"
        if complete.exists():
            return instance
        if complete.parent.exists():
            raise Problem(f"the lab {instance.name} came up in part only: end that instance first")
        started = time.monotonic()
        charts(instance, ports)
        argo.install(instance)
        flux.install(instance)
        report("definitions, charts", seconds(started))
        began = time.monotonic()
        environment = argo.environment(instance)
        run_all(instance, [web(instance, ports), argo.redis(instance, ports)], environment)
        for component in argo.components(instance, ports):
            start(instance.folder, component, environment)
        run_all(instance, flux.components(instance, ports), flux.environment(instance))
        wait_healthy(instance.folder, argo.components(instance, ports))
        complete.touch()
        report("Argo CD, Flux", f"ready in {seconds(began)}, port {ports('argocd')}")
    return instance


def leave(instance: Instance) -> None:
    """Take Argo CD and Flux with their definitions and namespaces off an instance that goes on."""
    argo.uninstall(instance)
    flux.uninstall(instance)
    ports = Ports(instance)
    ours = [web(instance, ports), argo.redis(instance, ports)]
    ours += [*argo.components(instance, ports), *flux.components(instance, ports)]
    names = {component.name for component in ours}
    stop(record for record in records(instance.folder) if record.name in names)
    for name in names:
        (instance.folder / "processes" / f"{name}.json").unlink(missing_ok=True)
    for folder in ("web", "argocd", "flux"):
        shutil.rmtree(instance.folder / folder, ignore_errors=True)


def run_all(instance: Instance, components: list[Component], env: Mapping[str, str]) -> None:
    """Start some and wait until they are well."""
    for component in components:
        start(instance.folder, component, env)
    wait_healthy(instance.folder, components)


def web(instance: Instance, ports: Ports) -> Component:
    """The web server."""
    words = (sys.executable, str(HERE / "server.py"), str(instance.folder / "web"))
    return Component(
        "web", (*words, str(ports("web"))), ports("web"), f"{ports.web()}/charts/index.yaml"
    )


def charts(instance: Instance, ports: Ports) -> None:
    """This checkout's packages as a chart repository."""
    folder = instance.folder / "web" / "charts"
    for part in ("git", "artifacts", "charts"):
        (folder.parent / part).mkdir(parents=True)
    path = {"PATH": f"{programs.links()}:{os.environ['PATH']}"}
    run([sys.executable, REPOSITORY / "ci/packages.py", folder], env=path)
    run(["helm", "repo", "index", folder, "--url", f"{ports.web()}/charts"], env=path)


def repository(instance: Instance, name: str) -> None:
    """An empty repository that anybody on this machine may push to."""
    folder = instance.folder / "web/git" / f"{name}.git"
    run(["git", "init", "--quiet", "--bare", "--initial-branch=main", folder])
    run(["git", "-C", folder, "config", "http.receivepack", "true"])
