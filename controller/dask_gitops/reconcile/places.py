"""How many worker Pods there are, and are being made, where a limit counts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.limits import Limit
from dask_gitops.resources import labels
from dask_gitops.resources.observed import Pod
from dask_gitops.settings import WorkerLimits

WORKERS = "workers"  # name of the index


class Place(NamedTuple):
    """A worker group of one cluster."""

    namespace: str
    cluster: str
    group: str


def filed_under(pod: Pod) -> list[tuple[str, ...]]:
    """Where a worker counts that is at work, or will be: in its group, cluster and namespace, and at all."""
    if pod.component != labels.WORKER or pod.gone or pod.meta.owner_kind != "DaskCluster":
        return []
    place = Place(pod.meta.namespace, pod.cluster, pod.group)
    return [place[:n] for n in range(len(place) + 1)]


class Counted(Protocol):
    """The cache of Pods."""

    def count(self, index: str, *value: str) -> int: ...


@dataclass(slots=True)
class Places:
    """:ivar limits: of the controller.
    :ivar changes: how often it changed what is being made.
    """

    limits: WorkerLimits
    changes: int = 0
    # How many workers a group will have whose turn is making some: two turns at a time would take one place twice.
    _coming: dict[Place, int] = field(default_factory=dict)
    # (namespace, group) -> (cluster uid, how many workers stayed before its roll-out). Losing it costs one worker less.
    _granted: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)

    def limits_of(self, place: Place, pods: Counted, staying: int) -> tuple[Limit, ...]:
        """What a group meets.

        :param staying: its workers that stay.
        """

        def others(of: tuple[str, ...]) -> int:
            coming = sum(
                max(0, number - pods.count(WORKERS, *group))
                for group, number in self._coming.items()
                if group != place and group[: len(of)] == of
            )
            return max(0, pods.count(WORKERS, *of) + coming - staying)

        limits = self.limits
        return (
            Limit("group", limits.group, others(place)),
            Limit("cluster", limits.cluster, others(place[:2])),
            Limit("namespace", limits.namespace, others(place[:1])),
            Limit("controller", limits.controller, others(())),
        )

    @contextmanager
    def making(self, place: Place, number: int) -> Iterator[None]:
        """While a group's workers are made.

        :param number: how many there will be then.
        """
        self._coming[place] = number
        self.changes += 1
        try:
            yield
        finally:
            self._coming.pop(place, None)
            self.changes += 1

    def granted(self, state: GroupState, namespace: str) -> int | None:
        """How many workers a group had before the roll-out that is under way; None: none is.

        Where nobody remembers, as another process began it, those that are there without one surge at most: forgetting
        costs a worker and never makes one.
        """
        if state.cluster is None or not state.rolls:
            return None
        known, number = self._granted.get((namespace, state.name), ("", 0))
        if known != state.cluster.meta.uid:
            begun = any(pod.meta.uid not in state.old for pod in state.staying)
            number = max(1, len(state.live) - begun)
        return min(number, state.want)  # what was given up in between is given up

    def saw(self, state: GroupState, namespace: str) -> None:
        """Remember what a later roll-out begins with."""
        key, number = (namespace, state.name), state.granted if state.rolls else len(state.staying)
        if state.cluster is not None and number is not None and (number or state.rolls):
            self._granted[key] = (state.cluster.meta.uid, number)
        else:
            self._granted.pop(key, None)

    def forget(self, namespace: str, group: str) -> None:
        self._granted.pop((namespace, group), None)
