"""Rights of plugins: granted where the controller's own are, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Helm, Manifest, load_all

RULE = {
    "apiGroups": ["networking.istio.io"],
    "resources": ["virtualservices"],
    "verbs": ["get", "create", "patch"],
}
VALUES = """
controller:
  extraRules:
    - {apiGroups: [networking.istio.io], resources: [virtualservices], verbs: [get, create, patch]}
"""


def granting(manifests: list[Manifest]) -> list[tuple[str, str | None]]:
    """Kind and namespace of every role with that rule."""
    return [
        (m["kind"], m["metadata"].get("namespace"))
        for m in manifests
        if RULE in (m.get("rules") or [])
    ]


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ("", [("ClusterRole", None)]),
        ("  watchNamespaces: [team-a, team-b]", [("Role", "team-a"), ("Role", "team-b")]),
    ],
)
def test_where_a_plugins_rights_are_granted(
    helm: Helm, values: Callable[[str], Path], more: str, wanted: list[tuple[str, str | None]]
) -> None:
    manifests = load_all(helm.template("--values", values(VALUES + more)).stdout)
    assert granting(manifests) == wanted
    assert granting(helm.render()) == []


def test_a_rule_with_a_typo_is_refused(helm: Helm, values: Callable[[str], Path]) -> None:
    text = "controller: {extraRules: [{apiGroups: [a], resource: [b], verbs: [get]}]}"
    done = helm.template("--values", values(text), check=False)
    assert done.returncode != 0
    assert "extraRules" in done.stderr
    assert "resource" in done.stderr
