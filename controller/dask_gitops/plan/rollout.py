"""Pure: which pods run an earlier spec, and how many of them may go or be added at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from dask_gitops.resources import labels
from dask_gitops.resources.observed import CustomResource, Pod, parse_time
from dask_gitops.resources.pods import declared_image, scheduler_revision

JSON = dict[str, Any]
When = Literal["WhenIdle", "Immediate", "OnDelete"]

DEFAULT_SURGE = "25%"


@dataclass(frozen=True, slots=True)
class Budget:
    """:ivar surge: workers that may be there beside the wanted number.
    :ivar unavailable: workers that may be missing from it.
    """

    surge: int
    unavailable: int

    @classmethod
    def of(cls, want: int, *resources: CustomResource | None) -> Budget:
        """Of the first of these resources that says something, in numbers for so many workers.

        As for a Deployment, a percentage of surge is rounded up, one of unavailability down; with neither a roll-out
        could not move, so the surge is 1 then.
        """
        surge: Any = DEFAULT_SURGE
        unavailable: Any = 0
        for resource in reversed(resources):
            strategy: JSON = (resource.spec.get("updateStrategy") or {}) if resource else {}
            surge = _given(strategy.get("maxSurge"), surge)
            unavailable = _given(strategy.get("maxUnavailable"), unavailable)
        return cls(_number(surge, want, math.ceil), _number(unavailable, want, math.floor)).moving

    @property
    def moving(self) -> Budget:
        return self if self.surge or self.unavailable else Budget(1, 0)

    def within(self, spare: float) -> Budget:
        """With no more surge than there is room for; one that has to be is there all the same."""
        return Budget(int(min(self.surge, spare)), self.unavailable).moving


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _number(value: Any, of: int, rounded: Any) -> int:
    """A number or a percentage (``"25%"``); what is neither counts as 0."""
    text = str(value)
    try:
        exact = float(text[:-1]) * of / 100 if text.endswith("%") else float(text)
        return max(0, int(rounded(exact)))
    except (ValueError, OverflowError):
        return 0


def when(cluster: CustomResource) -> When:
    """When a scheduler of an earlier spec is replaced."""
    found = (cluster.spec.get("updateStrategy") or {}).get("scheduler")
    return found if found in ("Immediate", "OnDelete") else "WhenIdle"


def is_of(pod: Pod, revision: str) -> bool:
    """Was this pod made from the spec of that revision? One without a note of it is left alone."""
    return pod.meta.annotations.get(labels.REVISION, revision) == revision


def is_restarted(pod: Pod, cluster: CustomResource) -> bool:
    """Was this pod made after the restart that ``spec.restartedAt`` asks for? Only a later timestamp asks."""
    asked = _time(cluster.spec.get("restartedAt"))
    noted = _time(pod.meta.annotations.get(labels.RESTARTED_AT))
    if asked is None:
        return True
    # Times have whole seconds: a pod without the note was made before the wish, also in the same one.
    return asked < pod.meta.created if noted is None else asked <= noted


def _time(text: Any) -> float | None:
    try:
        return parse_time(text) if isinstance(text, str) else None
    except ValueError:
        return None


def scheduler_is_current(scheduler: Pod, cluster: CustomResource) -> bool:
    """Does the scheduler run what the cluster's spec says now?"""
    return is_of(scheduler, scheduler_revision(cluster)) and is_restarted(scheduler, cluster)


def target(cluster: CustomResource) -> str:
    """One word for what the scheduler is to become."""
    return f"{scheduler_revision(cluster)}/{cluster.spec.get('restartedAt') or '-'}"


def image_to_hold(
    scheduler: Pod | None,
    cluster: CustomResource,
    group: CustomResource,
    workers: Iterable[Pod],
) -> str | None:
    """The image that new workers run until the scheduler has its new image too; None: nothing to wait for.

    A change of the image of both is one change, so that the versions of Dask never mix.
    """
    if scheduler is None or scheduler_is_current(scheduler, cluster):
        return None
    next_scheduler = declared_image(
        (cluster.spec.get("scheduler") or {}).get("spec"), labels.SCHEDULER, cluster
    )
    next_worker = declared_image(
        (group.spec.get("worker") or {}).get("spec"), labels.WORKER, cluster
    )
    if next_worker is None or next_scheduler in (None, scheduler.image):
        return None
    images = [p.image for p in workers]
    if not images:
        return scheduler.image if next_worker == next_scheduler else None
    return next((image for image in images if image != next_worker), None)
