"""Pure: DaskAutoscalers: which group one sizes, within what, and the one that a cluster declares itself."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from dask_gitops.resources import labels, names, numbers
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import owner_reference
from dask_gitops.resources.revision import merge_patch, revision, without_nulls

JSON = dict[str, Any]

INTERVAL_S = 5.0
UP_WINDOW_S, DOWN_WINDOW_S = 0.0, 90.0
LONGEST_WINDOW_S = 3600.0  # as for a HorizontalPodAutoscaler


@dataclass(frozen=True, slots=True)
class Direction:
    """:ivar window: for how long a wish must have been there, in seconds.
    :ivar percent: how much of the present number one decision may change, at least 1 worker; None: any.
    """

    window: float
    percent: int | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What an autoscaler may do.

    :ivar interval: seconds between two looks at the demand.
    """

    minimum: int
    maximum: int
    interval: float
    up: Direction
    down: Direction

    @classmethod
    def of(cls, autoscaler: CustomResource) -> Limits:
        spec = autoscaler.spec
        minimum = numbers.whole(spec.get("minimum")) or 0
        return cls(
            minimum=minimum,
            maximum=max(minimum, numbers.whole(spec.get("maximum")) or 0),
            interval=max(1.0, numbers.seconds(spec.get("interval"), 0.0) or INTERVAL_S),
            up=_direction(spec.get("scaleUp"), UP_WINDOW_S),
            down=_direction(spec.get("scaleDown"), DOWN_WINDOW_S),
        )


def _direction(spec: JSON | None, window: float) -> Direction:
    said = without_nulls(spec or {})
    seconds = min(numbers.seconds(said.get("stabilizationSeconds"), window), LONGEST_WINDOW_S)
    return Direction(seconds, numbers.whole(said.get("maxPercent")))


def target(autoscaler: CustomResource) -> tuple[str, str]:
    """(cluster, worker group) that it sizes."""
    cluster = str(autoscaler.spec.get("cluster", ""))
    return cluster, str(autoscaler.spec.get("workerGroup") or names.default_group_name(cluster))


def declared_autoscaler(cluster: CustomResource) -> JSON | None:
    """What ``spec.autoscaler`` of a cluster means: for its default group, named as the cluster; None: nothing."""
    declared = cluster.spec.get("autoscaler")
    if not declared:
        return None
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {
            "name": cluster.meta.name,
            "namespace": cluster.meta.namespace,
            "labels": labels.cluster_selector(cluster.meta.name, labels.AUTOSCALER),
            "annotations": {labels.INLINE_AUTOSCALER: declared_revision(cluster)},
            "ownerReferences": [owner_reference(cluster)],
        },
        "spec": {"cluster": cluster.meta.name, **copy.deepcopy(without_nulls(declared))},
    }


def declared_revision(cluster: CustomResource) -> str:
    return revision("autoscaler", cluster.spec.get("autoscaler"))


def is_from(autoscaler: CustomResource, cluster: CustomResource) -> bool:
    """Did we make it for ``spec.autoscaler``? An owner alone says nothing: another operator adopts what users made."""
    of_cluster = autoscaler.meta.owner_uid == cluster.meta.uid
    return of_cluster and labels.INLINE_AUTOSCALER in autoscaler.meta.annotations


def autoscaler_patch(want: JSON, autoscaler: CustomResource) -> JSON:
    """JSON merge patch that brings an existing object to what is declared; ``{}`` if it is there."""
    spec = merge_patch(autoscaler.spec, want["spec"])
    note = want["metadata"]["annotations"]
    stale = autoscaler.meta.annotations.get(labels.INLINE_AUTOSCALER) not in note.values()
    metadata = {"annotations": note} if stale else {}
    return {key: value for key, value in (("metadata", metadata), ("spec", spec)) if value}
