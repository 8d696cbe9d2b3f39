"""What a rehearsal showed, in the words of a user. Nothing is decided here: what happened is counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dask_gitops import status as words
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Resource,
)
from dask_gitops.plan import idle
from dask_gitops.plan.rollout import Budget
from dask_gitops.resources import labels, names
from dask_gitops.resources.autoscalers import Limits, target
from dask_gitops.resources.observed import CustomResource, parse_time
from dask_gitops.resources.pods import DRAIN_TIMEOUT_S
from dask_gitops.resources.tracking import protected_by

from .differences import differences
from .memory import CUSTOM, JSON
from .rehearsal import Course, Declared, Id, Picture, Unit

WORDS = {
    "DaskCluster": "cluster",
    "DaskWorkerGroup": "group",
    "DaskAutoscaler": "autoscaler",
    "DaskJob": "job",
}
AT_ONCE_S = 5  # a scheduler that goes later than this was waited for
_INLINE = re.compile(r"workerGroups\[(.+?)\]")
_OF_LIVE = ("already", "drift")  # what is so before the change
_REPLACES = ("roll", "restart", "scheduler-replaced", "scheduler-when-idle")
_NOTES = (  # conditions that tell what a person wants to know before the merge
    words.UPDATE_PENDING,
    words.SCALE_DOWN_HELD,
    words.REPLICAS_OVERRIDDEN,
    words.NOT_SUPPORTED,
    words.ORPHANED_PODS,
    words.STALLED,
)


Say = Callable[..., None]


@dataclass(frozen=True)
class Effect:
    """One thing that happens.

    :ivar what: one word, for programs.
    :ivar disruptive: a scheduler is restarted, or work or results are lost.
    :ivar workers: how many workers it is about; None: it is about none, or nobody knows how many there are.
    """

    what: str
    text: str
    disruptive: bool = False
    workers: int | None = None


@dataclass
class Subject:
    """:ivar because: the fields that were changed."""

    kind: str
    namespace: str
    name: str
    effects: list[Effect] = field(default_factory=list)
    because: list[str] = field(default_factory=list)


def tell(unit: Unit, course: Course) -> list[Subject]:
    """Who is touched, and how; objects to which nothing happens are left out."""
    return _Story(unit, course).subjects()


class _Story:
    def __init__(self, unit: Unit, course: Course) -> None:
        self.unit, self.course = unit, course
        self.before, self.busy, self.idle = course.before, course.busy, course.idle
        self.declared = {of: raw for side in (unit.before, unit.after) for of, raw in side.items()}
        self.found: dict[tuple[str, str], Subject] = {}
        self.job = any(of.kind == DASKJOBS.kind for of in self.declared)
        self.scheduler = tuple(
            self._uid(p, names.scheduler_name(unit.name))
            for p in (self.before, self.busy, self.idle)
        )

    def subjects(self) -> list[Subject]:
        for of in sorted(self.declared, key=lambda of: (list(WORDS).index(of.kind), of.name)):
            self._of(of)  # in the order in which people read them
        if self.job:
            self._job()
        else:
            self._cluster()
            for name in sorted({*self._groups(self.before), *self._groups(self.idle)}):
                self._group(name)
            self._autoscalers()
            self._waits()
        self._in_place()
        self._protected()
        self._notes()
        self._because()
        return [s for s in self.found.values() if s.effects]

    # ---- who

    def _of(self, of: Id) -> Subject:
        """Under whose name an object is told of: its cluster's or job's, unless it is a group of its own."""
        kind, name = of.kind, of.name
        if kind == DASKAUTOSCALERS.kind:
            kind, name = DASKWORKERGROUPS.kind, self._sized(of)
        own = Id(DASKWORKERGROUPS.kind, of.namespace, name) in self.declared
        default = names.default_group_name(self.unit.name)
        if self.job:
            kind, name = DASKJOBS.kind, self.unit.name
        elif kind == DASKWORKERGROUPS.kind and name == default and not own:
            kind, name = DASKCLUSTERS.kind, self.unit.name
        key = kind, name
        return self.found.setdefault(key, Subject(WORDS[kind], self.unit.namespace, name))

    def _sized(self, of: Id) -> str:
        """Name of the group that an autoscaler sizes."""
        raw = self.declared.get(of) or self._at(self.idle, DASKAUTOSCALERS, of.name)
        return str(_spec(raw).get("workerGroup") or names.default_group_name(self.unit.name))

    def _say(
        self,
        resource: Resource,
        name: str,
        what: str,
        text: str,
        *,
        disruptive: bool = False,
        workers: int | None = None,
    ) -> None:
        subject = self._of(Id(resource.kind, self.unit.namespace, name))
        subject.effects.append(Effect(what, text, disruptive, workers))

    # ---- what there is

    def _at(self, picture: Picture, resource: Resource, name: str) -> JSON | None:
        return picture[resource].get((self.unit.namespace, name))

    def _resource(self, picture: Picture, resource: Resource, name: str) -> CustomResource | None:
        raw = self._at(picture, resource, name)
        return CustomResource.of(raw) if raw is not None else None

    def _uid(self, picture: Picture, name: str) -> str | None:
        raw = self._at(picture, PODS, name)
        return raw["metadata"]["uid"] if raw is not None and _works(raw) else None

    def _groups(self, picture: Picture) -> Iterator[str]:
        return (name for _, name in picture[DASKWORKERGROUPS])

    def _workers(self, picture: Picture, group: str | None = None) -> dict[str, JSON]:
        """Workers by uid, of one group or of all."""
        return {
            raw["metadata"]["uid"]: raw
            for raw in picture[PODS].values()
            if _label(raw, labels.COMPONENT) == labels.WORKER
            and _label(raw, labels.CLUSTER) == self.unit.name
            and group in (None, _label(raw, labels.GROUP))
            and _works(raw)
        }

    def _number(self, declared: Declared, group: str) -> int | None:
        """How many workers a group is declared to have; None: an autoscaler or a person decides."""
        namespace, name = self.unit.namespace, self.unit.name
        if any(self._sized(of) == group for of in declared if of.kind == DASKAUTOSCALERS.kind):
            return None
        own = declared.get(Id(DASKWORKERGROUPS.kind, namespace, group))
        cluster = _spec(declared.get(Id(DASKCLUSTERS.kind, namespace, name)))
        of_job = _spec(declared.get(Id(DASKJOBS.kind, namespace, name))).get("cluster")
        cluster = cluster or _spec(of_job)
        inline = {f"{name}-{g['name']}": g for g in cluster.get("workerGroups") or ()}
        if own is not None:
            worker = _spec(own).get("worker")
        elif group == names.default_group_name(name):
            worker = None if cluster.get("autoscaler") else cluster.get("worker")
        else:
            worker = inline.get(group, {}).get("worker")
        number: int | None = (worker or {}).get("replicas")
        return number

    def _known(self, group: str) -> bool:
        """Is it known how many workers a group has at rest? Else only the live cluster knows."""
        return self.unit.live is not None or self._number(self.unit.before, group) is not None

    def _count(self, number: int, *groups: str) -> str:
        """``3 workers``, or ``all workers`` where only the live cluster knows how many there are."""
        if all(map(self._known, groups)):
            return words.workers(number)
        return "all workers" if number else words.workers(0)

    # ---- a cluster

    def _cluster(self) -> None:
        name = self.unit.name
        had, has = (self._resource(p, DASKCLUSTERS, name) for p in (self.before, self.idle))
        there = [*self._groups(self.before)]
        old, new = len(self._workers(self.before)), len(self._workers(self.idle))
        first, _, last = self.scheduler
        many = self._count(old, *there)

        def say(what: str, text: str, disruptive: bool = False, workers: int | None = None) -> None:
            self._say(DASKCLUSTERS, name, what, text, disruptive=disruptive, workers=workers)

        if had is None and has is None:
            return
        if had is None:
            own = {g for g in self._groups(self.idle) if not self._declares(g)}
            number = sum(len(self._workers(self.idle, g)) for g in own)
            if last is None:
                say("added", "added, suspended: no Pods run")
            else:
                say("added", f"added: a scheduler and {words.workers(number)}", workers=number)
        elif has is None:
            if first is None:
                say("removed", "removed; no Pods ran")
            else:
                text = f"removed: the scheduler and {many} are deleted, with all that they hold"
                say("removed", text, True, old)
        elif first is not None and last is None:
            text = f"suspended: {many} leave, then the scheduler; {self._discards()}"
            say("suspended", text, True, old)
        elif first is None and last is not None:
            say("resumed", f"resumed: a new scheduler and {words.workers(new)}", workers=new)
        else:
            self._replaced(has)
        if had is not None and has is not None:
            self._service()
            self._rest(had, has)

    def _discards(self, group: str | None = None) -> str:
        resources = [self._resource(self.busy, DASKCLUSTERS, self.unit.name)]
        if group is not None:
            resources.insert(0, self._resource(self.busy, DASKWORKERGROUPS, group))
        seconds: Any = DRAIN_TIMEOUT_S
        for resource in reversed(resources):
            if resource is not None and resource.spec.get("drainTimeout") is not None:
                seconds = resource.spec["drainTimeout"]
        return f"results that have no place are discarded after {idle.duration(float(seconds))}"

    def _declares(self, group: str) -> bool:
        """Is this group an object of its own?"""
        return Id(DASKWORKERGROUPS.kind, self.unit.namespace, group) in self.declared

    def _replaced(self, cluster: CustomResource) -> None:
        first, second, _ = self.scheduler
        if first is None or second == first:
            return
        pod = self._at(self.busy, PODS, names.scheduler_name(self.unit.name)) or {}
        made = parse_time((pod.get("metadata") or {}).get("creationTimestamp")) or 0.0
        if made - self.course.started > AT_ONCE_S:
            strategy = cluster.spec.get("updateStrategy") or {}
            limit = idle.duration(float(strategy.get("schedulerDeadlineSeconds") or 0))
            text = f"the scheduler waits until it is idle, at most {limit}, then it is replaced"
        else:
            text = "the scheduler is replaced at once, whatever it does"
        text += self._with_it(self.before)
        self._say(DASKCLUSTERS, self.unit.name, "scheduler-replaced", text, disruptive=True)

    def _waits(self) -> None:
        first, second, third = self.scheduler
        if first is None or first != second or third in (None, second):
            return
        text = "the scheduler waits until it is idle, then it is replaced"
        text += self._with_it(self.busy)
        self._say(DASKCLUSTERS, self.unit.name, "scheduler-when-idle", text, disruptive=True)

    def _with_it(self, picture: Picture) -> str:
        number = len(self._workers(picture))
        return f", and {self._count(number, *self._groups(picture))} with it" if number else ""

    def _service(self) -> None:
        name = names.scheduler_name(self.unit.name)
        old, new = (self._at(p, SERVICES, name) for p in (self.before, self.busy))
        if old is None or new is None or old["spec"] == new["spec"]:
            return
        kinds = [s["spec"].get("type", "ClusterIP") for s in (old, new)]
        change = f": {kinds[0]} to {kinds[1]}" if kinds[0] != kinds[1] else ""
        text = f"the Service is changed in place{change}"
        self._say(DASKCLUSTERS, self.unit.name, "service", text)

    def _rest(self, had: CustomResource, has: CustomResource) -> None:
        def meaning(cluster: CustomResource) -> tuple[float, bool]:
            limit = idle.timeout(cluster)
            return limit, bool(limit) and idle.kept_because(cluster) is None

        if meaning(had) == meaning(has):
            return
        limit, goes = meaning(has)
        if not limit:
            text = "it is neither deleted nor parked any more when nobody uses it"
        elif goes:
            text = f"after {idle.duration(limit)} without work it is deleted (parked, if a GitOps tool tracks it)"
        else:
            why = idle.kept_because(has)
            text = f"after {idle.duration(limit)} without work it is parked: {why}"
        self._say(DASKCLUSTERS, self.unit.name, "idle", text)

    # ---- workers

    def _group(self, name: str) -> None:
        group = Id(DASKWORKERGROUPS.kind, self.unit.namespace, name)
        had, has = (self._at(p, DASKWORKERGROUPS, name) for p in (self.before, self.idle))
        old, now, then = (self._workers(p, name) for p in (self.before, self.busy, self.idle))

        def say(what: str, text: str, number: int, *, disruptive: bool = False) -> None:
            known = number if self._known(name) or not old else None
            self._say(DASKWORKERGROUPS, name, what, text, disruptive=disruptive, workers=known)

        if self.unit.live is not None:
            self._drift(group)
        was, is_there = (
            self._at(p, DASKCLUSTERS, self.unit.name) for p in (self.before, self.idle)
        )
        if had is None:
            if is_there is None:
                say("added", f"added; waits for DaskCluster {self.unit.name}", 0)
            elif self._declares(name) or (was is not None and self.scheduler[0] is not None):
                say("added", f"added: {words.workers(len(then))}", len(then))
            return
        if is_there is None:
            if was is not None and self._declares(name):
                kept = (
                    "goes with its cluster"
                    if has is None
                    else "has no workers any more: its cluster is gone"
                )
                say("removed", kept, len(old))
            return
        if has is None:
            lost = bool(old.keys() & self.course.lost)
            end = f"; {self._discards(name)}" if lost else ""
            text = f"removed: {self._count(len(old), name)} hand over their results and go{end}"
            say("removed", text, len(old), disruptive=lost)
            return
        first, second, third = self.scheduler
        if first is None or third is None:
            return  # the cluster's story tells of them
        if second != first:
            self._scaled(name, old, then, say)
        else:
            self._rolled(name, old, now, say)
            self._scaled(name, old, now, say)
            if third == second:
                self._later(name, now, then, say)
        if third != first and self._declares(name) and old:
            text = f"{self._count(len(then), name)} start anew with the scheduler"
            say("restart", text, len(then))

    def _rolled(self, name: str, old: dict[str, JSON], now: dict[str, JSON], say: Say) -> None:
        number = min(len(old.keys() - now.keys()), len(now.keys() - old.keys()))
        if not number:
            return
        if not self._known(name):
            say(
                "roll",
                "its workers are replaced, as updateStrategy says, each hands over first",
                number,
            )
            return
        if number == 1:
            say("roll", "1 worker is replaced; it hands over first", 1)
            return
        group, cluster = (
            self._resource(self.busy, resource, of)
            for resource, of in ((DASKWORKERGROUPS, name), (DASKCLUSTERS, self.unit.name))
        )
        budget = Budget.of(len(now), group, cluster)
        step = budget.surge + budget.unavailable
        pace = "one after the other" if step == 1 else f"{step} at a time"
        pace = "all at once" if step >= number else pace
        say("roll", f"{number} workers are replaced, {pace}; each hands over first", number)

    def _scaled(self, name: str, old: dict[str, JSON], now: dict[str, JSON], say: Say) -> None:
        lost = bool(self.course.lost & (old.keys() - now.keys()))
        end = f"; {self._discards(name)}" if lost else ""
        change, whole = len(now) - len(old), words.workers(len(old))
        if not self._known(name):
            if self._number(self.unit.after, name) is not None:
                text = (
                    f"{words.workers(len(now))} from now on; who is too many hands over and leaves"
                )
                say("number", text + end, len(now), disruptive=lost)
        elif change > 0:
            more = words.workers(change).replace(" ", " more ")
            say("up", f"{more}, {len(old)} to {len(now)}", change)
        elif change < 0:
            some = f"all {whole}" if not now else f"{-change} of {whole}"
            some = "the only worker" if len(old) == 1 else some
            verb = "leaves, handing over its" if change == -1 else "leave, handing over their"
            say("down", f"{some} {verb} results{end}", -change, disruptive=lost)

    def _later(self, name: str, now: dict[str, JSON], then: dict[str, JSON], say: Say) -> None:
        if len(now) != len(then):
            say(
                "later",
                f"when the cluster is idle: {len(now)} to {words.workers(len(then))}",
                len(then),
            )

    def _drift(self, of: Id) -> None:
        """Somebody gave a live group another number than git has."""
        live = self._at(self.before, DASKWORKERGROUPS, of.name)
        declared = self.unit.before.get(of)
        if live is None or declared is None:
            return
        now, said = (
            ((raw.get("spec") or {}).get("worker") or {}).get("replicas")
            for raw in (live, declared)
        )
        if None not in (now, said) and now != said:
            text = f"live it was scaled to {now}; before the change {said} are declared"
            self._say(DASKWORKERGROUPS, of.name, "drift", text)

    # ---- autoscalers

    def _autoscalers(self) -> None:
        for name in sorted({n for p in (self.before, self.idle) for _, n in p[DASKAUTOSCALERS]}):
            had, has = (self._resource(p, DASKAUTOSCALERS, name) for p in (self.before, self.idle))
            group = next(target(a)[1] for a in (has, had) if a is not None)
            old, new = (None if a is None else Limits.of(a) for a in (had, has))
            if old == new or self._at(self.idle, DASKWORKERGROUPS, group) is None:
                continue
            if new is None:
                text = "no autoscaler sizes it any more: the number of workers stays as it is"
            elif old is None:
                text = f"an autoscaler sizes it, from {new.minimum} to {words.workers(new.maximum)}"
            elif (old.minimum, old.maximum) != (new.minimum, new.maximum):
                text = (
                    f"its autoscaler's limits: {old.minimum} to {old.maximum} become {new.minimum} to {new.maximum}; "
                    "who is too many hands over and leaves"
                )
            else:
                text = "its autoscaler's pace changes"
            self._say(DASKWORKERGROUPS, group, "autoscaler", text)

    # ---- a job

    def _job(self) -> None:
        name = self.unit.name
        had, has = (self._resource(p, DASKJOBS, name) for p in (self.before, self.idle))
        old, now = (self._runner(p) for p in (self.before, self.busy))
        workers = len(self._workers(self.before)), len(self._workers(self.idle))
        over = had is not None and had.status.get("jobStatus") in ("Successful", "Failed")
        of = Id(DASKJOBS.kind, self.unit.namespace, name)

        def say(what: str, text: str, disruptive: bool = False) -> None:
            self._say(DASKJOBS, name, what, text, disruptive=disruptive)

        if had is None and has is not None:
            if has.spec.get("suspend"):
                say("added", "added, suspended: nothing runs until suspend is false")
            else:
                say(
                    "added",
                    f"added: runs once, on a scheduler and {words.workers(workers[1])} of its own",
                )
        elif had is not None and has is None:
            if old is None or over:
                say("removed", f"removed; {'it has ended' if over else 'nothing ran'}")
            else:
                say(
                    "removed",
                    "removed: a run that is under way ends, its runner and its cluster are deleted",
                    True,
                )
        elif had is not None and has is not None:
            if old is not None and now is None and has.spec.get("suspend"):
                say(
                    "suspended",
                    "suspended: a runner under way is deleted and begins anew later; its cluster rests",
                    True,
                )
            elif old is None and now is not None:
                say("resumed", f"its runner starts, on a scheduler and {words.workers(workers[1])}")
            elif old is not None and now is not None and old != now:
                say("rerun", "runs once more")
            elif (
                over
                and of in self.unit.before
                and differences(self.unit.before[of], self.unit.after[of])
            ):
                say("later", "it has ended: the change counts for a later run")

    def _runner(self, picture: Picture) -> str | None:
        return next(
            (
                raw["metadata"]["uid"]
                for raw in picture[PODS].values()
                if _label(raw, labels.COMPONENT) == labels.JOB_RUNNER and _works(raw)
            ),
            None,
        )

    # ---- all of them

    def _in_place(self) -> None:
        """Labels and annotations that reach live Pods."""
        changed: dict[tuple[str, str], int] = {}
        after = {raw["metadata"]["uid"]: raw for raw in self.busy[PODS].values()}
        for raw in self.before[PODS].values():
            new = after.get(raw["metadata"]["uid"])
            if new is not None and _users(raw) != _users(new):
                group = _label(raw, labels.GROUP)
                of = (
                    (DASKWORKERGROUPS.kind, group) if group else (DASKCLUSTERS.kind, self.unit.name)
                )
                changed[of] = changed.get(of, 0) + 1
        totals: dict[int, tuple[Subject, int]] = {}
        for (kind, name), number in changed.items():
            subject = self._of(Id(kind, self.unit.namespace, name))
            totals[id(subject)] = subject, totals.get(id(subject), (subject, 0))[1] + number
        for subject, number in totals.values():
            pods = "1 Pod" if number == 1 else f"{number} Pods"
            if not all(self._known(g) for g in self._groups(self.before)):
                pods = "its Pods"
            subject.effects.append(
                Effect("metadata", f"labels and annotations change in place on {pods}")
            )

    def _protected(self) -> None:
        for of in sorted(self.unit.before.keys() - self.unit.after.keys()):
            mark = protected_by(self.unit.before[of]["metadata"])
            if mark is not None:
                text = f"not declared any more, but it stays: {mark}"
                self._of(of).effects.append(Effect("protected", text))

    def _notes(self) -> None:
        """What the controller itself will say of it, or says already."""
        for resource in CUSTOM:
            for (_, name), raw in self.idle[resource].items():
                earlier = _conditions(self._at(self.before, resource, name))
                for kind, message in _conditions(raw):
                    if (kind, message) not in earlier:
                        self._say(resource, name, "note", f"{kind}: {message}")
            if self.unit.live is not None:
                for (_, name), raw in self.before[resource].items():
                    for kind, message in _conditions(raw):
                        self._say(resource, name, "already", f"already now: {kind}: {message}")

    def _because(self) -> None:
        """Which fields were changed; and those that nothing follows from now."""
        happens = any(e.what in _REPLACES for s in self.found.values() for e in s.effects)
        for of in sorted(self.unit.before.keys() & self.unit.after.keys()):
            for path in differences(self.unit.before[of], self.unit.after[of]):
                subject, inline = self._of(of), _INLINE.match(path)
                if of.kind == DASKAUTOSCALERS.kind:
                    path = f"autoscaler.{path}"
                elif inline and of.kind == DASKCLUSTERS.kind:
                    group = f"{of.name}-{inline[1]}"
                    subject = self._of(Id(DASKWORKERGROUPS.kind, of.namespace, group))
                subject.because.append(path)
        for subject in self.found.values():
            if subject.because and not any(e.what not in _OF_LIVE for e in subject.effects):
                text = "holds from now on" + ("" if happens else "; no Pod is replaced")
                subject.effects.append(Effect("settings", text))


def _spec(raw: JSON | None) -> JSON:
    return (raw or {}).get("spec") or {}


def _label(raw: JSON, key: str) -> str:
    return str((raw["metadata"].get("labels") or {}).get(key, ""))


def _works(raw: JSON) -> bool:
    return (raw.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _users(raw: JSON) -> list[JSON]:
    """Labels and annotations but ours."""
    fields = (raw["metadata"].get(field) or {} for field in ("labels", "annotations"))
    return [{k: v for k, v in field.items() if not labels.is_ours(k)} for field in fields]


def _conditions(raw: JSON | None) -> list[tuple[str, str]]:
    found = ((raw or {}).get("status") or {}).get("conditions") or ()
    return [
        (c["type"], c.get("message", ""))
        for c in found
        if c.get("type") in _NOTES and c.get("status") == "True"
    ]
