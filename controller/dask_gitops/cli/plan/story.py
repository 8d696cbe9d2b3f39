"""What a rehearsal showed, in the words of a user. Nothing is decided here: what happened is counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from dask_gitops import status as words
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
)
from dask_gitops.resources import labels
from dask_gitops.resources.tracking import protected_by
from dask_gitops.text import printable

from .clusters import cluster_effects, replaced_later
from .differences import differences
from .groups import autoscaler_effects, group_effects
from .jobs import job_effects
from .memory import CUSTOM, JSON
from .rehearsal import Course, Id, Unit
from .scene import Scene, label, uid_of, users_metadata
from .subject import Effect, Subject

_KINDS = {DASKCLUSTERS.kind: "cluster", DASKWORKERGROUPS.kind: "group", DASKJOBS.kind: "job"}
_INLINE = re.compile(r"workerGroups\[(.+?)\]")
MESSAGE_LIMIT = 1024  # characters of what a status says
_OF_BEFORE = ("already", "drift")  # what is so without the change, too
_REPLACES = ("roll", "restart", "scheduler-replaced", "scheduler-when-idle")
_TELLING = (  # conditions that a person wants to know of before the merge
    words.UPDATE_PENDING,
    words.SCALE_DOWN_HELD,
    words.REPLICAS_OVERRIDDEN,
    words.ORPHANED_PODS,
    words.LISTENS_ELSEWHERE,
    words.STALLED,
)


def tell(unit: Unit, course: Course) -> list[Subject]:
    """Who is touched, and how; those to whom nothing happens are left out."""
    scene = Scene(unit, course)
    found: dict[Id, Subject] = {}

    def subject(of: Id) -> Subject:
        key = scene.subject(of)
        return found.setdefault(key, Subject(_KINDS[key.kind], key.namespace, key.name))

    order = (DASKJOBS.kind, DASKCLUSTERS.kind, DASKWORKERGROUPS.kind, DASKAUTOSCALERS.kind)
    for of in sorted(scene.declared, key=lambda of: (order.index(of.kind), of.name)):
        subject(of)
    for of, effect in _effects(scene):
        subject(of).effects.append(effect)
    for of, path in _changes(scene):
        subject(of).changed.append(path)
    replaces = any(e.what in _REPLACES for s in found.values() for e in s.effects)
    for one in found.values():
        if one.changed and all(e.what in _OF_BEFORE for e in one.effects):
            text = "holds from now on" + ("" if replaces else "; no Pod is replaced")
            one.effects.append(Effect("settings", text))
    return [one for one in found.values() if one.effects]


def _effects(scene: Scene) -> Iterator[tuple[Id, Effect]]:
    whole = scene.id(DASKCLUSTERS, scene.unit.name)
    if scene.is_job:
        yield from ((whole, effect) for effect in job_effects(scene))
    else:
        yield from ((whole, effect) for effect in cluster_effects(scene))
        for name in scene.groups(scene.course.before, scene.course.idle):
            group = scene.id(DASKWORKERGROUPS, name)
            yield from ((group, effect) for effect in group_effects(scene, name))
        for name, effect in autoscaler_effects(scene):
            yield scene.id(DASKWORKERGROUPS, name), effect
        yield from ((whole, effect) for effect in replaced_later(scene))
    yield from _in_place(scene)
    yield from _protected(scene)
    # A cluster and its default group may say the same, under one name.
    seen: set[tuple[Id, Effect]] = set()
    for of, effect in _conditions(scene):
        key = scene.subject(of), effect
        if key not in seen:
            seen.add(key)
            yield of, effect


def _in_place(scene: Scene) -> Iterator[tuple[Id, Effect]]:
    """Labels and annotations that reach live Pods."""
    after = {uid_of(raw): raw for raw in scene.course.busy[PODS].values()}
    pods: Counter[Id] = Counter()
    for raw in scene.course.before[PODS].values():
        new = after.get(uid_of(raw))
        if new is not None and [*users_metadata(raw)] != [*users_metadata(new)]:
            group = label(raw, labels.GROUP)
            of = scene.id(
                *((DASKWORKERGROUPS, group) if group else (DASKCLUSTERS, scene.unit.name))
            )
            pods[scene.subject(of)] += 1
    for of, number in pods.items():
        known = all(map(scene.knows, scene.groups(scene.course.before)))
        many = "its Pods" if not known else "1 Pod" if number == 1 else f"{number} Pods"
        yield of, Effect("metadata", f"labels and annotations change in place on {many}")


def _protected(scene: Scene) -> Iterator[tuple[Id, Effect]]:
    for of in sorted(scene.unit.before.keys() - scene.unit.after.keys()):
        mark = protected_by(scene.unit.before[of]["metadata"])
        if mark is not None:
            yield of, Effect("protected", f"not declared any more, but it stays: {mark}")


def _conditions(scene: Scene) -> Iterator[tuple[Id, Effect]]:
    """What the controller itself will say of it, or says already."""
    for resource in CUSTOM:
        for (_, name), raw in scene.course.idle[resource].items():
            earlier = _telling(scene.at(scene.course.before, resource, name))
            for text in _telling(raw):
                if text not in earlier:
                    yield scene.id(resource, name), Effect("condition", text)
        if scene.unit.live is not None:
            for (_, name), raw in scene.course.before[resource].items():
                for text in _telling(raw):
                    yield scene.id(resource, name), Effect("already", f"already now: {text}")


def _telling(raw: JSON | None) -> list[str]:
    found = ((raw or {}).get("status") or {}).get("conditions") or ()
    return [
        printable(f"{c['type']}: {c.get('message', '')}", MESSAGE_LIMIT)
        for c in found
        if c.get("type") in _TELLING and c.get("status") == "True"
    ]


def _changes(scene: Scene) -> Iterator[tuple[Id, str]]:
    """Which fields differ, and whose they are."""
    before, after = scene.unit.before, scene.unit.after
    for of in sorted(before.keys() & after.keys()):
        for path in differences(before[of], after[of]):
            inline = _INLINE.match(path)
            if inline and of.kind == DASKCLUSTERS.kind:
                yield scene.id(DASKWORKERGROUPS, f"{of.name}-{inline[1]}"), path
            else:
                yield of, f"autoscaler.{path}" if of.kind == DASKAUTOSCALERS.kind else path
