"""What a change does to one cluster or job: the controller itself plays it, on a Kubernetes in memory.

First everything comes to rest as it was declared before (or the live objects are taken as they are). Then the change is
applied, while the cluster is busy; at last the cluster becomes idle, for what has waited for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from dask_gitops.kube.client import Api
from dask_gitops.kube.errors import KubeError
from dask_gitops.kube.resource import DASKCLUSTERS, DASKJOBS, Resource
from dask_gitops.metrics import Metrics
from dask_gitops.reconcile.stores import RESOURCES, Key
from dask_gitops.reconcile.wiring import build_stores
from dask_gitops.reconcile.wiring import turn as reconcile
from dask_gitops.reconcile.world import World
from dask_gitops.resources import labels, numbers
from dask_gitops.resources.pods import DRAIN_TIMEOUT_S
from dask_gitops.resources.revision import merge_patch, without_nulls
from dask_gitops.resources.tracking import protected_by
from dask_gitops.settings import Settings

from ..faults import fault
from .memory import CUSTOM, JSON, Kubernetes, Name, merged

OLDEST = 946_684_800.0  # 2000-01-01: what runs at rest is older than any restartedAt
QUIET_S = 75.0  # a job of which nothing is heard for so long is at rest
TURNS = 20_000  # a world that needs more does not come to rest,
TURNS_EACH = 20  # with so many more for each object
SLOWEST = 6  # doublings of the time between two looks that change nothing


class RehearsalError(Exception):
    """A change cannot be played, by a fault of ours; the message names the object."""


class Id(NamedTuple):
    """An object that a person declares."""

    kind: str
    namespace: str
    name: str


Declared = Mapping[Id, JSON]
Picture = dict[Resource, dict[Name, JSON]]


@dataclass(frozen=True)
class Unit:
    """All that belongs to one cluster name in one namespace.

    :ivar before: what was declared; :ivar after: what is to be declared.
    :ivar live: what there is; None: everything is at rest as ``before`` declares it.
    """

    namespace: str
    name: str
    before: Declared
    after: Declared
    live: Picture | None = None


@dataclass(frozen=True)
class Course:
    """How it went.

    :ivar before: at rest; :ivar busy: what came of the change at once; :ivar idle: and when nothing ran any more.
    :ivar started: when the change was made (seconds since the epoch).
    :ivar lost: uids of worker Pods that ended with results which nobody else held, before the cluster was idle.
    """

    before: Picture
    busy: Picture
    idle: Picture
    started: float
    lost: frozenset[str]


@dataclass
class Play:
    """A controller at work on a Kubernetes in memory."""

    kubernetes: Kubernetes
    settings: Settings
    due: dict[Key, float] = field(default_factory=dict)
    calm: dict[Key, int] = field(default_factory=dict)
    turns: int = 0

    def __post_init__(self) -> None:
        # Informers that nobody runs: they hear of each change at once.
        stores = build_stores(cast(Api, self.kubernetes), (), self.put)

        def heard(resource: Resource, raw: JSON, there: bool) -> None:
            store, meta = stores.of(resource.kind), raw["metadata"]
            if there:
                store.observe(raw)
            else:
                store.forget(meta.get("namespace", ""), meta["name"], meta["uid"])

        self.kubernetes.heard = heard
        self.world = World(
            api=cast(Api, self.kubernetes),
            schedulers=self.kubernetes,
            stores=stores,
            settings=self.settings,
            metrics=Metrics(),
            again=self.put,
            clock=lambda: self.kubernetes.now,
        )

    def put(self, key: Key, seconds: float) -> None:
        """Who looks in vain looks more and more seldom: time is free here, turns are not."""
        at = self.kubernetes.now + seconds * 2.0 ** min(self.calm.get(key, 0), SLOWEST)
        self.due[key] = min(at, self.due.get(key, at))

    def all_again(self) -> None:
        for resource in CUSTOM:
            for namespace, name in self.kubernetes.objects[resource]:
                self.put(Key(resource.kind, namespace, name), 0)

    async def settle(self, quiet_s: float) -> None:
        """Until nothing has changed for so long."""
        kubernetes = self.kubernetes
        end = kubernetes.now + quiet_s
        while self.due:
            key = min(self.due, key=lambda k: self.due[k])
            if self.due[key] > end:
                break
            kubernetes.now = max(kubernetes.now, self.due.pop(key))
            seen = kubernetes.version
            await self._turn(key)
            if kubernetes.version != seen:
                end = kubernetes.now + quiet_s
                self.calm.clear()
            else:
                self.calm[key] = self.calm.get(key, 0) + 1
        kubernetes.now = max(kubernetes.now, end)

    async def _turn(self, key: Key) -> None:
        self.turns += 1
        if self.turns > TURNS + TURNS_EACH * sum(map(len, self.kubernetes.objects.values())):
            raise RehearsalError(f"{key}: it never comes to rest")
        try:
            await reconcile(self.world, key)
        except KubeError:
            self.put(key, 1)
        except Exception as error:
            raise RehearsalError(f"{key}: {fault(error)}") from error


async def rehearse(unit: Unit, settings: Settings, now: float) -> Course:
    """Play the change.

    :param now: seconds since the epoch, for live objects.
    :raises RehearsalError: the controller would fail on it.
    """
    kubernetes = Kubernetes(OLDEST if unit.live is None else now)
    play = Play(kubernetes, settings)
    if unit.live is None:
        for of, raw in unit.before.items():
            kubernetes.put(RESOURCES[of.kind], raw)
        await play.settle(_quiet(unit.before))
    else:
        for resource, objects in unit.live.items():
            for raw in objects.values():
                if "deletionTimestamp" not in raw["metadata"]:
                    kubernetes.put(resource, raw)
                    kubernetes.busy &= not is_parked(raw)
    before, started = kubernetes.picture(), kubernetes.now
    kubernetes.lost.clear()
    _apply(kubernetes, unit)
    play.all_again()
    await play.settle(_quiet(unit.after))
    busy, lost = kubernetes.picture(), frozenset(kubernetes.lost)
    kubernetes.busy = False
    play.all_again()
    await play.settle(_quiet(unit.after))
    return Course(before, busy, kubernetes.picture(), started, lost)


def is_parked(pod: JSON) -> bool:
    """Is this the scheduler Pod of a cluster that is parked? Then nobody uses it."""
    return labels.PARKED in (pod["metadata"].get("annotations") or {})


def _apply(kubernetes: Kubernetes, unit: Unit) -> None:
    """As a tool does it that applies what is declared: what was declared and is not any more goes, all else stays."""
    for of, raw in unit.after.items():
        resource, name = RESOURCES[of.kind], (of.namespace, of.name)
        found = kubernetes.objects[resource].get(name)
        if found is None:
            kubernetes.put(resource, raw)
            continue
        had = unit.before.get(of, {})
        new = dict(found)
        for part in ("spec", "metadata"):
            old, want = _declared(had, part), _declared(raw, part)
            new[part] = merged(merged(found.get(part) or {}, merge_patch(old, want)), want)
        if new != found:
            changed = new["spec"] != (found.get("spec") or {})
            meta = {**new["metadata"], "generation": found["metadata"]["generation"] + changed}
            kubernetes.put(resource, {**new, "metadata": meta})
    for of in removed(unit):
        kubernetes.remove(RESOURCES[of.kind], (of.namespace, of.name))


def removed(unit: Unit) -> list[Id]:
    """What is not declared any more, and goes."""
    gone = unit.before.keys() - unit.after.keys()
    return sorted(of for of in gone if protected_by(unit.before[of]["metadata"]) is None)


def _declared(raw: JSON, part: str) -> JSON:
    found: JSON = without_nulls(raw.get(part) or {})
    if part == "metadata":
        return {key: found[key] for key in ("labels", "annotations") if key in found}
    return found


def _quiet(declared: Declared) -> float:
    """For how long nothing may happen before the end: longer than anybody waits for anything."""
    longest, jobs = float(DRAIN_TIMEOUT_S), []
    for raw in declared.values():
        spec: JSON = raw.get("spec") or {}
        strategy = spec.get("updateStrategy") or {}
        for wait in (spec.get("drainTimeout"), strategy.get("schedulerDeadlineSeconds")):
            longest = max(longest, numbers.seconds(wait, 0.0))
        if raw["kind"] == DASKJOBS.kind and not spec.get("suspend"):
            # A run that is under way must not run over its deadline meanwhile.
            jobs.append(
                min(
                    QUIET_S,
                    (numbers.seconds(spec.get("activeDeadlineSeconds"), 0.0) or math.inf) / 4,
                )
            )
    return min(jobs, default=1000 + 2.0 * longest)


def unit_of(raw: JSON) -> tuple[str, str]:
    """(namespace, cluster name) that an object belongs to."""
    meta = raw["metadata"]
    named = raw["kind"] in (DASKCLUSTERS.kind, DASKJOBS.kind)
    cluster = meta["name"] if named else (raw.get("spec") or {}).get("cluster")
    return meta["namespace"], str(cluster or "")


def has_job(declared: Declared) -> bool:
    return any(of.kind == DASKJOBS.kind for of in declared)


def live_part(live: Picture, unit: Unit) -> Picture:
    """What of all live objects belongs to a unit."""

    def belongs(resource: Resource, raw: JSON) -> bool:
        if resource in CUSTOM:
            return unit_of(raw) == (unit.namespace, unit.name)
        meta = raw["metadata"]
        cluster = (meta.get("labels") or {}).get(labels.CLUSTER)
        return (meta["namespace"], cluster) == (unit.namespace, unit.name)

    return {
        resource: {name: raw for name, raw in objects.items() if belongs(resource, raw)}
        for resource, objects in live.items()
    }


def units(before: Declared, after: Declared) -> Iterable[Unit]:
    """What is declared, sorted into units; a job in the place of a cluster, or the other way round, makes two."""
    sides: list[dict[tuple[str, str], dict[Id, JSON]]] = []
    for declared in (before, after):
        side: dict[tuple[str, str], dict[Id, JSON]] = {}
        for of, raw in declared.items():
            side.setdefault(unit_of(raw), {})[of] = raw
        sides.append(side)
    for key in sorted(sides[0].keys() | sides[1].keys()):
        old, new = (side.get(key, {}) for side in sides)
        if old and new and has_job(old) != has_job(new):
            yield from (Unit(*key, old, {}), Unit(*key, {}, new))
        else:
            yield Unit(*key, old, new)
