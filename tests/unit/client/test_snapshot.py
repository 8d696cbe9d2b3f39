"""What there is to see of a cluster, out of objects as the API server has them."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.client.snapshot import Group, Snapshot, of

ARGO = {"argocd.argoproj.io/tracking-id": "x"}


def thing(name: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", **more.pop("metadata", {})}
    return {"metadata": meta, **more}


def cluster(*conditions: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    told = [{"type": t, "status": s, "message": m} for t, s, m in conditions]
    return thing("demo", status={"conditions": told} if told else {}, **more)


def group(name: str, ready: int | None = None, owner: str = "uid-demo", **more: Any) -> Any:
    spec = {"cluster": "demo", "worker": {"replicas": 3}, **more.pop("spec", {})}
    owners = [{"uid": owner, "kind": "DaskCluster", "controller": True}] if owner else []
    meta = {"ownerReferences": owners, **more.pop("metadata", {})}
    status = {} if ready is None else {"readyReplicas": ready}
    return thing(name, spec=spec, status=status, metadata=meta, kind="DaskWorkerGroup")


def scaler(name: str, status: Any = None, **spec: Any) -> Any:
    return thing(name, kind="DaskAutoscaler", spec={"cluster": "demo", **spec}, status=status or {})


def seen(it: Any, groups: Any = (), scalers: Any = ()) -> Snapshot:
    return of(it, groups, scalers, name="demo", namespace="ns")


@pytest.mark.parametrize(
    ("it", "state", "mood"),
    [
        (None, "deleted", "resting"),
        (cluster(), "waits for the controller", "waiting"),
        (cluster(("Ready", "False", "1 of 2"), ("Reconciling", "True", "")), "1 of 2", "waiting"),
        (cluster(("Ready", "True", "2 workers")), "2 workers", "good"),
        (cluster(("Ready", "False", "refused"), ("Stalled", "True", "refused")), "refused", "bad"),
        (cluster(("Ready", "True", "no Pods"), ("Suspended", "True", "")), "no Pods", "resting"),
        (cluster(("Ready", "True", "parked"), ("Idle", "True", "")), "parked", "resting"),
        (
            cluster(("Ready", "True", "2"), metadata={"deletionTimestamp": "2030-01-01T00:00:00Z"}),
            "being deleted",
            "resting",
        ),
    ],
)
def test_a_state_in_words(it: Any, state: str, mood: str) -> None:
    found = seen(it)
    assert (found.state, found.mood) == (state, mood)


def test_groups_with_what_they_are_to_have() -> None:
    groups = [
        group("demo-more", 1),
        group("demo-default", spec={"worker": {}}),
        group("apart", 2, owner=""),
        group("other-default", 9, spec={"cluster": "other"}),
    ]
    assert seen(cluster(), groups).groups == (
        Group("default", None, 0),
        Group("apart", 3, 2),
        Group("more", 3, 1),
    )


def test_autoscalers_belong_to_their_groups() -> None:
    scalers = [
        scaler("any", {"lastDecision": "2 workers for 8 tasks"}, minimum=1, maximum=5),
        scaler("twin", minimum=7, maximum=9),
        scaler("more", workerGroup="demo-more", maximum=4),
        scaler("theirs", cluster="other", minimum=1, maximum=2),
    ]
    default, more = seen(cluster(), [group("demo-default"), group("demo-more")], scalers).groups
    assert (default.bounds, default.decision) == ((1, 5), "2 workers for 8 tasks")
    assert default.owner == "autoscaler any"
    assert (more.bounds, more.owner) == ((0, 4), "autoscaler more")


@pytest.mark.parametrize(
    ("it", "of_group", "owner"),
    [
        (cluster(), group("demo-default"), ""),
        (
            cluster(metadata={"annotations": ARGO}, spec={"worker": {"replicas": 3}}),
            group("demo-default"),
            "Argo CD (annotation argocd.argoproj.io/tracking-id)",
        ),
        (cluster(metadata={"annotations": ARGO}, spec={"worker": {}}), group("demo-default"), ""),
        (
            cluster(),
            group("apart", owner="", metadata={"annotations": ARGO}),
            "Argo CD (annotation argocd.argoproj.io/tracking-id)",
        ),
        (
            cluster(metadata={"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}),
            group("demo-more"),
            "Flux (label kustomize.toolkit.fluxcd.io/name)",
        ),
    ],
)
def test_who_else_sets_the_number(it: Any, of_group: Any, owner: str) -> None:
    (found,) = seen(it, [of_group]).groups
    assert found.owner == owner
