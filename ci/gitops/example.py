"""The example repository: gitops/ of this checkout, with the lab's addresses in it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import lab
from common import REPOSITORY, run
from instance import Instance
from places import Ports

NAME = "dask"
AUTHOR = ("-c", "user.name=lab", "-c", "user.email=lab@example.com")


def addresses(git: str, charts: str) -> dict[str, str]:
    """What stands in gitops/, and what is there instead: plain http in place of a registry."""
    return {
        "https://git.example.com/dask.git": git,
        "oci://registry.example.com/charts": charts,
        "registry.example.com/charts": charts,
        "  type: oci\n": "",
        'enableOCI: "true"': 'enableOCI: "false"',
    }


def address(instance: Instance) -> str:
    """Where git finds the example."""
    return f"{Ports(instance).web()}/git/{NAME}.git"


def on_a_node(images: dict[str, str]) -> dict[str, str]:
    """The local images, and sizes that fit a small machine."""
    controller, _, tag = images["dask-gitops-controller"].rpartition(":")
    dask, _, dask_tag = images["dask-gitops-dask"].rpartition(":")
    return {
        "repository: registry.example.com/dask-gitops/controller": f'repository: {controller}\n    tag: "{tag}"',
        "ghcr.io/dask/dask": dask,
        '"2026.8.0"': f'"{dask_tag}"',
        "requests: {cpu: 1, memory: 4Gi}": "requests: {cpu: 50m, memory: 256Mi}",
        "limits: {memory: 4Gi}": "limits: {memory: 1Gi}",
    }


def make(instance: Instance, images: dict[str, str]) -> str:
    """Push it to a new repository of the lab; its address.

    The lab is one Kubernetes cluster, `dev`; what is about another one stays in the repository, unread by Argo CD.
    """
    changes = addresses(address(instance), f"{Ports(instance).web()}/charts") | (
        on_a_node(images) if images else {}
    )
    lab.repository(instance, NAME)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(REPOSITORY / "gitops", Path(scratch) / NAME))
        for file in (path for path in copy.rglob("*") if path.is_file()):
            text = file.read_text()
            for before, after in changes.items():
                text = text.replace(before, after)
            file.write_text(text)
        for folder in ("platform/clusters/prod", "tenants/team-a/envs/prod"):
            (copy / folder / "config.yaml").unlink()
        run(["git", "init", "--quiet", "--initial-branch=main"], cwd=copy)
        run(["git", "add", "--all"], cwd=copy)
        run(["git", *AUTHOR, "commit", "--quiet", "--message", "The example"], cwd=copy)
        run(["git", "push", "--quiet", address(instance), "main"], cwd=copy)
    return address(instance)
