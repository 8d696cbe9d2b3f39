#!/usr/bin/env python3
"""Write what Argo CD needs to know of the four kinds, in the forms that users copy, from gitops/argocd/resource_customizations.

`python ci/argocd.py` writes, `python ci/argocd.py --check` fails when a file is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from generated import ROOT, write_or_check

FOLDER = Path("gitops/argocd")
GROUP = "kubernetes.dask.org"
WRITTEN = "# Written by ci/argocd.py from resource_customizations and resource_links.yaml.\n"
USE = {
    "argocd-cm.yaml": "# kubectl apply --server-side --field-manager=dask-gitops -f argocd-cm.yaml adds these keys to the ConfigMap, and changes no other.\n",
    "argo-helm-values.yaml": "# For the chart argo-cd of argo-helm: helm upgrade ... --values argo-helm-values.yaml\n",
    "argocd-operator.yaml": "# For argocd-operator and OpenShift GitOps: lay this over your ArgoCD object, whose name and namespace may differ.\n",
}


class Dumper(yaml.SafeDumper):
    """Texts of several lines as such."""


Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def dump(value: Any) -> str:
    """YAML in the order in which it was put together."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=1000)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def kinds() -> list[Path]:
    """One folder for each kind."""
    return sorted(
        path.parent
        for path in (ROOT / FOLDER / "resource_customizations" / GROUP).glob("*/health.lua")
    )


def actions(kind: Path) -> str | None:
    """The actions of a kind as one text, None if it has none."""
    scripts = sorted(kind.glob("actions/*/action.lua"))
    if not scripts:
        return None
    definitions = [{"name": path.parent.name, "action.lua": read(path)} for path in scripts]
    return dump({"discovery.lua": read(kind / "actions/discovery.lua"), "definitions": definitions})


def settings() -> dict[str, str]:
    """Keys and texts of the ConfigMap argocd-cm."""
    found = {}
    for kind in kinds():
        found[f"resource.customizations.health.{GROUP}_{kind.name}"] = read(kind / "health.lua")
        text = actions(kind)
        if text:
            found[f"resource.customizations.actions.{GROUP}_{kind.name}"] = text
    return {**found, "resource.links": read(ROOT / FOLDER / "resource_links.yaml")}


def operator() -> dict[str, Any]:
    """What the operator's own object has fields for, and the rest."""
    named = [{"group": GROUP, "kind": kind.name} for kind in kinds()]
    acting = [(name, actions(kind)) for name, kind in zip(named, kinds(), strict=True)]
    return {
        "resourceHealthChecks": [
            {**name, "check": read(kind / "health.lua")}
            for name, kind in zip(named, kinds(), strict=True)
        ],
        "resourceActions": [{**name, "action": text} for name, text in acting if text],
        "extraConfig": {"resource.links": settings()["resource.links"]},
    }


def outputs() -> dict[Path, str]:
    """Every file that this program writes, with its text."""
    name = {"name": "argocd-cm", "namespace": "argocd"}
    part = {"labels": {"app.kubernetes.io/part-of": "argocd"}}
    contents: dict[str, Any] = {
        "argocd-cm.yaml": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**name, **part},
            "data": settings(),
        },
        "argo-helm-values.yaml": {"configs": {"cm": settings()}},
        "argocd-operator.yaml": {
            "apiVersion": "argoproj.io/v1beta1",
            "kind": "ArgoCD",
            "metadata": {"name": "argocd", "namespace": "argocd"},
            "spec": operator(),
        },
    }
    return {FOLDER / file: WRITTEN + USE[file] + dump(value) for file, value in contents.items()}


if __name__ == "__main__":
    sys.exit(write_or_check("ci/argocd.py", __doc__, outputs()))
