"""``scale`` and ``delete``."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.cli import change
from dask_gitops.kube import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS, ApiError

from tests.unit.cli.conftest import Typed

HELM = {"labels": {"app.kubernetes.io/managed-by": "Helm"}}
ARGO = {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}


def owned(cluster: Any) -> Any:
    owner = {"uid": cluster["metadata"]["uid"], "kind": "DaskCluster", "name": "demo"}
    return {"ownerReferences": [{**owner, "controller": True}]}


def demo(typed: Typed, **more: Any) -> None:
    cluster = typed.cluster("demo", ("Ready", "True", "fine"), **more)
    typed.group("demo", "default", 2, 2, metadata=owned(cluster))
    typed.group("demo", "more", 1, 1, metadata=owned(cluster))


def replicas(typed: Typed, name: str) -> Any:
    found = typed.api.find(DASKWORKERGROUPS, "team-b", name)
    assert found is not None
    return found["spec"]["worker"]["replicas"]


def test_a_number(typed: Typed) -> None:
    demo(typed)
    assert typed.done("scale", "demo", "5") == (
        "team-b/demo: group default is to have 5 workers, it had 2\n"
    )
    assert replicas(typed, "demo-default") == 5
    assert typed.document("scale", "team-b/demo", "0", "--group", "more") == {
        "namespace": "team-b",
        "name": "demo",
        "group": "more",
        "workers": 0,
        "before": 1,
        "removedAutoscalers": [],
        "numberOwner": None,
    }
    assert replicas(typed, "demo-more") == 0


def test_the_groups_autoscaler_goes_and_it_is_said(typed: Typed) -> None:
    demo(typed)
    typed.autoscaler("a", spec={"cluster": "demo"})
    typed.autoscaler("b", spec={"cluster": "demo", "workerGroup": "demo-more"}, metadata=ARGO)
    assert typed.done("scale", "demo", "1") == (
        "team-b/demo: group default is to have 1 worker, it had 2\n  its autoscaler a is gone\n"
    )
    assert typed.api.names(DASKAUTOSCALERS) == ["b"]
    assert typed.done("scale", "demo", "4", "-g", "more").splitlines()[1:] == [
        "  its autoscaler b is gone",
        "  autoscaler b, kept by Argo CD (annotation argocd.argoproj.io/tracking-id) will set it "
        "back: change it there",
    ]


def test_who_else_sets_the_number_is_said(typed: Typed) -> None:
    demo(typed, metadata=HELM, spec={"worker": {"replicas": 2}})
    typed.autoscaler("a", spec={"cluster": "demo"})
    assert typed.done("scale", "demo", "5").splitlines()[1:] == [
        "  its autoscaler a is gone",
        "  Helm (label app.kubernetes.io/managed-by) will set it back: change it there",
    ]


def test_no_more_than_may_be_paid_for(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    demo(typed)
    monkeypatch.setattr(change, "configured", lambda: {"maximum": 3})
    assert typed.done("scale", "demo", "50").splitlines()[1] == (
        "  no more than 3: kubernetes.count.max of Dask's configuration"
    )
    assert replicas(typed, "demo-default") == 3


def test_what_cannot_be_scaled(typed: Typed) -> None:
    demo(typed)
    assert typed.refused(1, "scale", "demo", "1", "-g", "gpu") == (
        "error: cluster demo has no worker group 'gpu'; it has: default, more"
    )
    assert typed.refused(1, "scale", "gone", "1") == (
        "error: no DaskCluster 'gone' in 'team-b'; there are: demo"
    )
    for words in (["demo", "-1"], ["demo", "x"], ["demo"]):
        assert "Usage:" in typed.refused(2, "scale", *words)
    typed.api.fault("patch", error=ApiError(422, "Invalid", "no so many"))
    assert typed.refused(1, "scale", "demo", "1") == "error: no so many"


def test_a_cluster_goes(typed: Typed) -> None:
    demo(typed)
    assert typed.done("delete", "demo", "--yes") == "cluster team-b/demo is gone\n"
    assert typed.api.items(DASKCLUSTERS) == []
    typed.api.collect_garbage()
    demo(typed)
    document = {"namespace": "team-b", "name": "demo", "deleted": True}
    assert typed.document("delete", "team-b/demo", "-y") == document
    assert typed.refused(1, "delete", "demo", "-y") == (
        "error: no DaskCluster 'demo' in 'team-b'; there are: none"
    )


def test_nobody_is_asked_where_nobody_is(typed: Typed) -> None:
    demo(typed)
    for more in ([], ["-o", "json"]):
        told = typed.refused(2, "delete", "demo", *more)
        assert told.endswith("Error: nobody can be asked here whether it may go: give --yes")
    assert not typed.api.writes()


@pytest.mark.parametrize("answer", ["y", "n"])
def test_who_looks_on_is_asked(typed: Typed, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    demo(typed, metadata={"annotations": {"dask.org/created-by": "ann@laptop"}})
    monkeypatch.setattr(change, "has_person", lambda: True)
    result = typed("delete", "demo", says=f"{answer}\n")
    asked = "Delete cluster team-b/demo (0 workers, created by ann@laptop)? [y/N]: "
    assert result.stdout.startswith(asked)
    assert result.exit_code == (0 if answer == "y" else 1)
    assert (typed.api.names(DASKCLUSTERS) == []) is (answer == "y")


@pytest.mark.parametrize(
    ("mark", "tool"),
    [
        (HELM, "Helm (label app.kubernetes.io/managed-by)"),
        (ARGO, "Argo CD (annotation argocd.argoproj.io/tracking-id)"),
        (
            {"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}},
            "Flux (label kustomize.toolkit.fluxcd.io/name)",
        ),
    ],
)
def test_what_is_kept_is_not_deleted(typed: Typed, mark: Any, tool: str) -> None:
    demo(typed, metadata=mark)
    assert typed.refused(1, "delete", "demo", "--yes") == (
        f"error: {tool} keeps cluster team-b/demo: take it out there, or it comes back; "
        "kubectl delete daskcluster demo -n team-b deletes it all the same"
    )
    assert not typed.api.writes()


def test_one_that_was_made_anew_meanwhile_stays(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo(typed)

    def anew(question: str, abort: bool) -> None:
        typed.api.remove(DASKCLUSTERS, "team-b", "demo")
        typed.cluster("demo")

    monkeypatch.setattr(change, "has_person", lambda: True)
    monkeypatch.setattr("click.confirm", anew)
    result = typed("delete", "demo")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: DaskCluster team-b/demo was made anew meanwhile; ask again\n",
    )
    assert typed.api.names(DASKCLUSTERS) == ["demo"]


def test_one_that_does_not_go_in_time(typed: Typed) -> None:
    demo(typed, metadata={"finalizers": ["example.com/keep"]})
    assert typed.refused(1, "delete", "demo", "-y", "--timeout", "5") == (
        "error: DaskCluster team-b/demo is not gone after 5 s"
    )
