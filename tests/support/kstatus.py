"""What Helm, Flux and others make of a custom resource: the generic rules of kstatus (sigs.k8s.io/cli-utils).

The order is kstatus' own, its surprises too: without any condition that it knows, an object is Current.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]

IN_PROGRESS, FAILED, CURRENT, TERMINATING = "InProgress", "Failed", "Current", "Terminating"


class KstatusError(ValueError):
    """A field has a type that kstatus does not read; its users give up on such an object."""


@dataclass(frozen=True, slots=True)
class Result:
    """One of the four words, and why."""

    status: str
    message: str


def compute(obj: JSON) -> Result:
    """The status of a custom resource as the API server hands it out.

    :raises KstatusError: a field of another type than Kubernetes' conventions say.
    """
    if _field(obj, str, "metadata", "deletionTimestamp"):
        return Result(TERMINATING, "Resource scheduled for deletion")
    generation = _field(obj, int, "metadata", "generation")
    observed = _field(obj, int, "status", "observedGeneration")
    if generation is not None and observed is not None and generation != observed:
        message = f"generation is {generation}, but latest observed generation is {observed}"
        return Result(IN_PROGRESS, f"{obj.get('kind', '')} {message}")
    conditions = [
        {key: _field(c, str, key) or "" for key in ("type", "status", "message")}
        for c in _field(obj, list, "status", "conditions") or ()
    ]
    # The first of the two in the list decides.
    for condition in conditions:
        if condition["status"] == "True":
            if condition["type"] == "Reconciling":
                return Result(IN_PROGRESS, condition["message"])
            if condition["type"] == "Stalled":
                return Result(FAILED, condition["message"])
    for condition in conditions:
        if condition["type"] == "Ready":
            if condition["status"] == "True":
                return Result(CURRENT, "Resource is Ready")
            if condition["status"] in ("False", "Unknown"):
                return Result(IN_PROGRESS, condition["message"])
    return Result(CURRENT, "Resource is current")


def _field(obj: Any, kind: type, *path: str) -> Any:
    """The value there, None if it (or a map on the way) is absent."""
    for key in path:
        if obj is None:
            return None
        if not isinstance(obj, dict):
            raise KstatusError(f"{'.'.join(path)}: {obj!r} is no map")
        obj = obj.get(key)
    if obj is not None and (not isinstance(obj, kind) or isinstance(obj, bool)):
        raise KstatusError(f"{'.'.join(path)}: {obj!r} is no {kind.__name__}")
    return obj
