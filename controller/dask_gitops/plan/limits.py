"""Pure: how many workers there may be, of a group, a cluster, a namespace and of the controller.

A limit stops growth only: a worker that is there is never taken away by it, also not in a roll-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dask_gitops import reasons

Scope = Literal["group", "cluster", "namespace", "controller"]

_VALUES: dict[Scope, tuple[str, str]] = {
    "group": (reasons.GROUP_LIMIT, "workersPerGroup"),
    "cluster": (reasons.CLUSTER_LIMIT, "workersPerCluster"),
    "namespace": (reasons.NAMESPACE_LIMIT, "workersPerNamespace"),
    "controller": (reasons.CONTROLLER_LIMIT, "workers"),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as one worker group meets it.

    :ivar of: what it is the limit of.
    :ivar most: workers that there may be.
    :ivar others: workers that are there, or are being made, but the group's own that stay.
    """

    of: Scope
    most: int
    others: int

    @property
    def room(self) -> int:
        """How many of the group's workers may stay beside the others."""
        return max(0, self.most - self.others)

    @property
    def reason(self) -> str:
        return _VALUES[self.of][0]

    @property
    def words(self) -> str:
        return f"limits.{_VALUES[self.of][1]} of the controller is {self.most}"

    def forbids(self, number: int) -> bool:
        """Would so many workers be too many if there were no others?"""
        return number > self.most


def tightest(limits: Sequence[Limit]) -> Limit | None:
    """The limit that leaves the least room."""
    return min(limits, key=lambda limit: limit.room, default=None)
