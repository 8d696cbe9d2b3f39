"""`protect`: no tool removes a cluster on its own. tests/gitops shows what the tools make of the annotations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Helm, Manifest

OPTIONS = "argocd.argoproj.io/sync-options"
FLUX, HELM = "kustomize.toolkit.fluxcd.io/prune", "helm.sh/resource-policy"
Write = Callable[[str], Path]


def rendered(helm: Helm, path: Path) -> dict[tuple[str, str], Manifest]:
    found = helm.render("--values", path)
    return {(m["kind"], m["metadata"]["name"]): m for m in found if m["kind"].startswith("Dask")}


def annotations(helm: Helm, path: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {key: m["metadata"]["annotations"] for key, m in rendered(helm, path).items()}


def test_a_cluster_with_its_groups_and_autoscalers(helm: Helm, values: Write) -> None:
    path = values("""
    clusters:
      demo:
        protect: true
        autoscaler: {minimum: 0, maximum: 2}
        workerGroups: {gpu: {autoscaler: {minimum: 0, maximum: 2}}}
      other: {workerGroups: {gpu: {}}}
    """)
    found = annotations(helm, path)
    protected = {key for key, marks in found.items() if HELM in marks}
    assert protected == {
        ("DaskCluster", "demo"), ("DaskWorkerGroup", "demo-gpu"), ("DaskAutoscaler", "demo"), ("DaskAutoscaler", "demo-gpu"),
    }  # fmt: skip
    assert set(found) - protected == {("DaskCluster", "other"), ("DaskWorkerGroup", "other-gpu")}
    for key, marks in found.items():
        told = {name: marks.get(name) for name in (OPTIONS, FLUX, HELM)}
        kept = {OPTIONS: "Delete=confirm,Prune=confirm", FLUX: "disabled", HELM: "keep"}
        assert told == (kept if key in protected else dict.fromkeys(kept))


def test_of_the_defaults_it_is_about_clusters(helm: Helm, values: Write) -> None:
    path = values("""
    defaults: {protect: true}
    clusters: {a: {}, b: {protect: false}, c: {protect: null}}
    jobs: {j: {args: [x], cluster: {workerGroups: {g: {}}}}}
    """)
    found = annotations(helm, path)
    assert {name for (_, name), marks in found.items() if HELM in marks} == {"a"}
    assert "confirm" not in str(rendered(helm, path)[("DaskJob", "j")])


@pytest.mark.parametrize(
    ("own", "together"),
    [
        ("ServerSideApply=true", "Delete=confirm,Prune=confirm,ServerSideApply=true"),
        (" Replace=true, Prune=false ,", "Delete=confirm,Prune=false,Replace=true"),
        ("", "Delete=confirm,Prune=confirm"),
    ],
)
def test_beside_options_of_the_user(helm: Helm, values: Write, own: str, together: str) -> None:
    """Joined; where both say something of the same, the user has the last word."""
    path = values(f"clusters: {{a: {{protect: true, annotations: {{{OPTIONS}: '{own}'}}}}}}")
    assert annotations(helm, path)["DaskCluster", "a"][OPTIONS] == together


def test_beside_definitions_from_elsewhere(helm: Helm, values: Write) -> None:
    path = values(f"""
    crds: {{enabled: false}}
    clusters:
      a: {{protect: true}}
      b: {{annotations: {{{OPTIONS}: Replace=true}}}}
      c: {{annotations: {{{OPTIONS}: SkipDryRunOnMissingResource=false}}}}
    """)
    told = {name: marks[OPTIONS] for (_, name), marks in annotations(helm, path).items()}
    assert told == {
        "a": "Delete=confirm,Prune=confirm,SkipDryRunOnMissingResource=true",
        "b": "Replace=true,SkipDryRunOnMissingResource=true",
        "c": "SkipDryRunOnMissingResource=false",
    }


def test_another_policy_of_the_user_stays(helm: Helm, values: Write) -> None:
    path = values(f"clusters: {{a: {{protect: true, annotations: {{{HELM}: ''}}}}}}")
    marks = annotations(helm, path)["DaskCluster", "a"]
    assert (marks[HELM], marks[FLUX]) == ("", "disabled")


@pytest.mark.parametrize(
    "text",
    [
        "clusters: {a: {protect: 'yes'}}",
        "clusters: {a: {workerGroups: {g: {protect: true}}}}",
        "jobs: {j: {args: [x], protect: true}}",
    ],
)
def test_refused(helm: Helm, values: Write, text: str) -> None:
    done = helm.template("--values", values(text), check=False)
    assert done.returncode != 0
    assert "protect" in done.stderr
