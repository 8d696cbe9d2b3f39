"""Pure: what people see of a cluster, folded out of what the watches told.

`of` makes it of raw objects; `display`, `html` and `widget` show it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from dask_gitops.resources import names
from dask_gitops.resources.autoscalers import target
from dask_gitops.resources.observed import CustomResource, Meta
from dask_gitops.resources.tracking import tracked_by

JSON = dict[str, Any]
DEFAULT = "default"
#: Which colour a state has.
Mood = Literal["good", "waiting", "bad", "resting"]


@dataclass(frozen=True, slots=True)
class Group:
    """A worker group.

    :ivar name: as ``scale`` takes it: ``highmem`` for ``demo-highmem`` of the cluster ``demo``.
    :ivar wanted: how many workers it is to have; None: nobody has said yet.
    :ivar bounds: minimum and maximum of its autoscaler; None: it has none.
    :ivar decision: what the autoscaler decided last, in words.
    :ivar owner: who else sets the number, in words; "": nobody.
    """

    name: str
    wanted: int | None = None
    ready: int = 0
    bounds: tuple[int, int] | None = None
    decision: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cluster at a moment.

    :ivar state: in words, such as ``scheduler ready, 2 of 3 workers``.
    :ivar groups: the default group first, others by name.
    :ivar dashboard: its link for this user; "": there is none yet.
    """

    name: str
    namespace: str
    state: str = ""
    mood: Mood = "waiting"
    groups: tuple[Group, ...] = ()
    dashboard: str = ""


def of(
    cluster: JSON | None,
    groups: Iterable[JSON],
    autoscalers: Iterable[JSON],
    *,
    name: str,
    namespace: str,
    dashboard: str = "",
) -> Snapshot:
    """What there is to see.

    :param cluster: the DaskCluster, raw; None: it is gone.
    :param groups: DaskWorkerGroups, raw; those of other clusters are passed over.
    :param autoscalers: DaskAutoscalers, raw, likewise.
    """
    if cluster is None:
        return Snapshot(name, namespace, "deleted", "resting")
    words, mood = state(cluster)
    scalers: dict[str, CustomResource] = {}
    for raw in autoscalers:
        scaler = CustomResource.of(raw)
        where, group = target(scaler)
        if where == name and scaler.meta.deleting is None:
            scalers.setdefault(group, scaler)  # a second one of a group does nothing
    found = [
        _group(raw, cluster, scalers.get(raw["metadata"]["name"]))
        for raw in groups
        if (raw.get("spec") or {}).get("cluster") == name
    ]
    found.sort(key=lambda group: (group.name != DEFAULT, group.name))
    return Snapshot(name, namespace, words, mood, tuple(found), dashboard)


def state(raw: JSON) -> tuple[str, Mood]:
    """How a DaskCluster or a worker group is, in words, by its conditions."""
    if raw["metadata"].get("deletionTimestamp"):
        return "being deleted", "resting"
    status = raw.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    if ready is None:
        return "waits for the controller", "waiting"
    words = str(ready.get("message") or ready.get("reason") or "")
    if _holds(conditions, "Stalled"):
        return words, "bad"
    if _holds(conditions, "Suspended") or _holds(conditions, "Idle"):
        return words, "resting"
    return words, "good" if ready.get("status") == "True" else "waiting"


def _holds(conditions: dict[str, JSON], kind: str) -> bool:
    return conditions.get(kind, {}).get("status") == "True"


def _group(raw: JSON, cluster: JSON, scaler: CustomResource | None) -> Group:
    meta = Meta.of(raw)
    wanted = ((raw.get("spec") or {}).get("worker") or {}).get("replicas")
    bounds, decision = None, ""
    if scaler is not None:
        minimum = scaler.spec.get("minimum") or 0
        bounds = (minimum, scaler.spec.get("maximum") or minimum)
        decision = str(scaler.status.get("lastDecision") or "")
    return Group(
        name=meta.name.removeprefix(f"{cluster['metadata']['name']}-"),
        wanted=wanted,
        ready=(raw.get("status") or {}).get("readyReplicas") or 0,
        bounds=bounds,
        decision=decision,
        owner=_owner(meta, cluster, scaler),
    )


def _owner(group: Meta, cluster: JSON, scaler: CustomResource | None) -> str:
    """Who else sets a group's number: its autoscaler, or the tool that keeps where it is written."""
    if scaler is not None:
        tool = tracked_by(scaler.meta)
        return f"autoscaler {scaler.meta.name}" + (f", kept by {tool}" if tool else "")
    if group.owner_uid != cluster["metadata"]["uid"]:
        return tracked_by(group) or ""
    declared = (cluster.get("spec") or {}).get("worker") or {}
    if group.name == names.default_group_name(cluster["metadata"]["name"]):
        return (tracked_by(Meta.of(cluster)) or "") if "replicas" in declared else ""
    return tracked_by(Meta.of(cluster)) or ""
