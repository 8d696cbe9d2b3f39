"""Words shared by all statuses: conditions as kstatus, ``kubectl wait``, Helm, Flux and Argo CD read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dask_gitops import reasons
from dask_gitops.text import printable

JSON = dict[str, Any]

READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"
SPEC_WARNING = "SpecWarning"
SCALE_DOWN_HELD = "ScaleDownHeld"
REPLICAS_OVERRIDDEN = "ReplicasOverridden"
UPDATE_PENDING = "UpdatePending"
ORPHANED_PODS = "OrphanedPods"
LIMITED = "Limited"
LISTENS_ELSEWHERE = "SchedulerListensElsewhere"
SUSPENDED, IDLE = "Suspended", "Idle"
INTERNAL_ERROR = "InternalError"

_WRONG_LIMIT = 3  # fields that are named
_MESSAGE_LIMIT = 1024  # characters; whole API errors do not belong into `kubectl get`


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, before it gets its times."""

    type: str
    status: bool
    reason: str  # CamelCase
    message: str


def timestamp(now: float) -> str:
    """Seconds since the epoch -> RFC 3339 as the API server writes it."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ready(reason: str, message: str) -> list[Condition]:
    return [Condition(READY, True, reason, message)]


def reconciling(reason: str, message: str, why: str = "") -> list[Condition]:
    """:param why: what is in the way, without counts and what else Ready says; empty: ``message``."""
    way = Condition(RECONCILING, True, reason, why or message)
    return [Condition(READY, False, reason, message), way]


def stalled(reason: str, message: str, why: str = "") -> list[Condition]:
    """Only where a person is needed: kstatus, Helm and Flux give up on it.

    :param why: what is in the way, without counts and what else Ready says; empty: ``message``.
    """
    way = Condition(STALLED, True, reason, why or message)
    return [Condition(READY, False, reason, message), way]


def unready(status: Mapping[str, Any], generation: int | None = None) -> Condition | None:
    """The condition of a written status that says what is in the way; None: nothing is, or nobody knows.

    :param generation: only if it was observed for that.
    """
    found = {c.get("type"): c for c in status.get("conditions") or ()}
    if found.get(READY, {}).get("status") != "False":
        return None
    for kind in (STALLED, RECONCILING):
        said = found.get(kind, {})
        current = generation is None or said.get("observedGeneration") == generation
        if said.get("status") == "True" and current:
            return Condition(kind, True, str(said.get("reason")), str(said.get("message") or ""))
    return None


def misshapen(found: Sequence[Condition], wrong: Sequence[object]) -> list[Condition]:
    """The same conditions, but stalled as long as a spec cannot be read.

    :param wrong: what cannot be read, each a path with what is wrong there.
    """
    if not wrong:
        return list(found)
    said = next((c.message for c in found if c.type == READY), "")
    text = "; ".join([said, *map(str, wrong[:_WRONG_LIMIT])])
    if len(wrong) > _WRONG_LIMIT:
        text += f"; and {len(wrong) - _WRONG_LIMIT} more fields"
    rest = [c for c in found if c.type not in (READY, RECONCILING, STALLED)]
    return [*stalled(reasons.INVALID, text), *rest]


def conditions(
    new: Iterable[Condition], old: Mapping[str, Any], generation: int, now: float
) -> list[JSON]:
    """Conditions as they are written; one that did not change its status keeps its transition time.

    :param old: the status written last, ``{}`` if none.
    """
    before = {c.get("type"): c for c in old.get("conditions") or []}
    out = []
    for condition in new:
        status = "True" if condition.status else "False"
        previous = before.get(condition.type, {})
        unchanged = previous.get("status") == status and previous.get("lastTransitionTime")
        out.append(
            {
                "type": condition.type,
                "status": status,
                "reason": condition.reason,
                "message": printable(condition.message, _MESSAGE_LIMIT),
                "observedGeneration": generation,
                "lastTransitionTime": unchanged or timestamp(now),
            }
        )
    return out


def says(status: Mapping[str, Any], kind: str) -> bool:
    """Does this status have a condition of that type which is true?"""
    conditions = status.get("conditions") or ()
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def since(status: Mapping[str, Any], kind: str) -> str | None:
    """Since when this status says so; None: it does not."""
    found = (c for c in status.get("conditions") or () if c.get("type") == kind)
    time = next((c.get("lastTransitionTime") for c in found if c.get("status") == "True"), None)
    return time if isinstance(time, str) else None


def is_progress(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Does nothing change but counts and words, nobody's decision?"""

    def verdict(status: Mapping[str, Any]) -> tuple[Any, ...]:
        found = {(c.get("type"), c.get("status")) for c in status.get("conditions") or ()}
        return status.get("observedGeneration"), status.get("phase"), found

    return verdict(old) == verdict(new)


def spec_warning(text: str) -> Condition:
    """What the API server warned of when it took a pod."""
    reason = reasons.UNKNOWN_FIELD if "unknown field" in text else reasons.API_SERVER_WARNING
    return Condition(SPEC_WARNING, True, reason, text)


def workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def listed(names: Iterable[str], most: int = 4) -> str:
    """Names for a message, not more than people read."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
