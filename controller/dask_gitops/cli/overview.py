"""Pure: clusters as ``list`` and ``status`` tell of them, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask_gitops import status
from dask_gitops.client import snapshot
from dask_gitops.client.session import CREATED_BY
from dask_gitops.client.snapshot import Mood, Snapshot
from dask_gitops.resources.managed import MANAGER
from dask_gitops.resources.observed import Meta
from dask_gitops.resources.tracking import tracked_by
from dask_gitops.text import printable

from .screen import Cell

JSON = dict[str, Any]
#: What is broken comes first, what rests last.
ORDER: Sequence[Mood] = ("bad", "waiting", "good", "resting")
STYLES: Mapping[Mood, str] = {"bad": "bold red", "waiting": "yellow", "good": "", "resting": "dim"}
#: Longer texts of others are cut.
WORDS = 400


@dataclass(frozen=True, slots=True)
class Row:
    """A cluster, and whose it is.

    :ivar groups: state and mood of each of the snapshot's groups, by their names.
    :ivar created: seconds since the epoch.
    :ivar created_by: user and host, or a program; "": nobody knows.
    :ivar kept_by: the tool that keeps it as it is declared, in words; "": none.
    """

    cluster: Snapshot
    groups: Mapping[str, tuple[str, Mood]]
    created: float
    created_by: str
    kept_by: str

    @property
    def mood(self) -> Mood:
        """The worst of the cluster's own and its groups'."""
        moods = [self.cluster.mood, *(mood for _, mood in self.groups.values())]
        return self.cluster.mood if "bad" not in moods else "bad"

    @property
    def ready(self) -> int:
        return sum(group.ready for group in self.cluster.groups)

    @property
    def wanted(self) -> int | None:
        """None: nobody has said a number yet."""
        said = [group.wanted for group in self.cluster.groups if group.wanted is not None]
        return sum(said) if said else None


def rows(
    clusters: Iterable[JSON], groups: Iterable[JSON], autoscalers: Iterable[JSON]
) -> list[Row]:
    """All of them, raw, as rows: something broken first.

    :param groups: DaskWorkerGroups of the same namespaces; :param autoscalers: likewise.
    """
    there, scalers = _by_namespace(groups), _by_namespace(autoscalers)
    found = []
    for raw in clusters:
        namespace = raw["metadata"]["namespace"]
        found.append(_row(raw, there.get(namespace, []), scalers.get(namespace, [])))
    return sorted(
        found,
        key=lambda row: (ORDER.index(row.mood), row.cluster.namespace, row.cluster.name),
    )


def _by_namespace(objects: Iterable[JSON]) -> dict[str, list[JSON]]:
    found: dict[str, list[JSON]] = {}
    for raw in objects:
        found.setdefault(raw["metadata"]["namespace"], []).append(raw)
    return found


def _row(raw: JSON, groups: list[JSON], autoscalers: list[JSON]) -> Row:
    meta = Meta.of(raw)
    seen = snapshot.of(raw, groups, autoscalers, name=meta.name, namespace=meta.namespace)
    states = {
        group["metadata"]["name"].removeprefix(f"{meta.name}-"): snapshot.state(group)
        for group in groups
        if (group.get("spec") or {}).get("cluster") == meta.name
    }
    return Row(seen, states, meta.created, _creator(raw, meta), tracked_by(meta) or "")


def _creator(raw: JSON, meta: Meta) -> str:
    """Who says so, the job that has it, the tool that keeps it, or the program that wrote it first."""
    if said := meta.annotations.get(CREATED_BY):
        return said
    for owner in raw["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == "DaskJob":
            return f"DaskJob {owner.get('name')}"
    if tool := tracked_by(meta):
        return tool.partition(" (")[0]
    wrote = [
        entry
        for entry in raw["metadata"].get("managedFields") or ()
        if entry.get("manager") not in (None, MANAGER) and not entry.get("subresource")
    ]
    first: JSON = min(wrote, key=lambda entry: str(entry.get("time")), default={})
    name = str(first.get("manager") or "")
    return "kubectl" if name.startswith("kubectl-") else name


# ---- for programs


def document(found: Iterable[Row]) -> JSON:
    """What ``--output json`` writes."""
    return {"clusters": [_document(row) for row in found]}


def _document(row: Row) -> JSON:
    return {
        "namespace": row.cluster.namespace,
        "name": row.cluster.name,
        "health": row.mood,
        "state": row.cluster.state,
        "workers": {"ready": row.ready, "wanted": row.wanted},
        "groups": [
            {
                "name": group.name,
                "health": row.groups[group.name][1],
                "state": row.groups[group.name][0],
                "workers": {"ready": group.ready, "wanted": group.wanted},
                "autoscaler": None
                if group.bounds is None
                else {
                    "minimum": group.bounds[0],
                    "maximum": group.bounds[1],
                    "decision": group.decision,
                },
                "numberOwner": group.owner or None,
            }
            for group in row.cluster.groups
        ],
        "created": status.timestamp(row.created),
        "createdBy": row.created_by or None,
        "keptBy": row.kept_by or None,
    }


# ---- for people

LIST = ("CLUSTER", "WORKERS", "AGE", "CREATED BY")
STATUS = ("CLUSTER", "WORKERS", "AUTOSCALER", "AGE", "CREATED BY", "STATE")


def listed(found: Iterable[Row], now: float, namespaces: bool) -> list[list[Cell]]:
    """Cells of `LIST`, with the namespace first where there are several."""
    cells: list[list[Cell]] = []
    for row in found:
        cells.append(
            [
                *([row.cluster.namespace] if namespaces else []),
                (row.cluster.name, STYLES[row.mood]),
                _of(row.ready, row.wanted),
                age(now - row.created),
                printable(row.created_by, 60) or "-",
            ]
        )
    return cells


def told(found: Iterable[Row], now: float, namespaces: bool) -> list[list[Cell]]:
    """Cells of `STATUS`: each cluster, and below it its groups where there is more to say of them."""
    cells: list[list[Cell]] = []
    for row in found:
        space: list[Cell] = [row.cluster.namespace] if namespaces else []
        groups = [group for group in row.cluster.groups if _is_told(row, group)]
        own = next((g.bounds for g in row.cluster.groups if g.name == snapshot.DEFAULT), None)
        cells.append(
            [
                *space,
                (row.cluster.name, f"bold {STYLES[row.mood]}".strip()),
                _of(row.ready, row.wanted),
                "" if groups else _bounds(own),
                age(now - row.created),
                printable(row.created_by, 60) or "-",
                (printable(row.cluster.state, WORDS), STYLES[row.cluster.mood]),
            ]
        )
        for group in groups:
            state, mood = row.groups[group.name]
            cells.append(
                [
                    *space,
                    f"  {group.name}",
                    _of(group.ready, group.wanted),
                    _bounds(group.bounds),
                    "",
                    "",
                    (printable(state, WORDS), STYLES[mood]),
                ]
            )
    return cells


def _is_told(row: Row, group: snapshot.Group) -> bool:
    """A default group that is alone, and no worse than its cluster, needs no line of its own."""
    is_alone = len(row.cluster.groups) == 1 and group.name == snapshot.DEFAULT
    return not is_alone or (row.groups[group.name][1] == "bad" and row.cluster.mood != "bad")


def _of(ready: int, wanted: int | None) -> str:
    return f"{ready}/{'?' if wanted is None else wanted}"


def _bounds(bounds: tuple[int, int] | None) -> str:
    return "" if bounds is None else f"{bounds[0]}..{bounds[1]}"


def age(seconds: float) -> str:
    """In one unit, as kubectl writes it: ``34s``, ``5m``, ``3h``, ``2d``; another from two of it on."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"
