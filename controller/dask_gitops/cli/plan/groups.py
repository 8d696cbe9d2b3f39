"""What a rehearsal showed of a worker group: who comes, goes and is replaced, and who decides how many there are."""

from __future__ import annotations

from collections.abc import Iterator

from dask_gitops import status as words
from dask_gitops.kube.resource import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS
from dask_gitops.plan.rollout import Budget
from dask_gitops.resources.autoscalers import Limits, target

from .scene import Pods, Scene, spec_of
from .subject import Effect


def group_effects(scene: Scene, name: str) -> Iterator[Effect]:
    """In the order in which it happens."""
    before, busy, after = scene.pictures
    had, has = (scene.at(p, DASKWORKERGROUPS, name) for p in (before, after))
    old, now, then = (scene.workers(p, name) for p in (before, busy, after))
    yield from _drift(scene, name)
    was, is_there = scene.of_unit(DASKCLUSTERS)
    first, second, third = scene.schedulers
    if is_there is None:
        yield from _without_cluster(scene, name, has is not None, was is not None)
    elif had is None:
        # The groups of a cluster that is new, or was created suspended, are told of with it.
        if scene.declares(name) or (was is not None and first is not None):
            yield Effect("added", f"added: {words.workers(len(then))}", workers=len(then))
    elif has is None:
        yield _removed(scene, name, old)
    elif first is not None and third is not None:
        stays = second == first
        if stays:
            yield from _rolled(scene, name, old, now)
        yield from _scaled(scene, name, old, now if stays else then)
        if third != first and scene.declares(name) and old:
            text = f"{scene.count(len(then), name)} start anew with the scheduler"
            yield Effect("restart", text, workers=_told(scene, name, len(then)))


def _told(scene: Scene, name: str, number: int) -> int | None:
    return number if scene.knows(name) else None


def _without_cluster(scene: Scene, name: str, has: bool, was: bool) -> Iterator[Effect]:
    if not scene.declares(name):
        return
    if not was:
        yield _unknown(scene)
    else:
        text = "has no workers any more: its cluster is gone" if has else "goes with its cluster"
        yield Effect("removed", text)


def _unknown(scene: Scene) -> Effect:
    name = f"DaskCluster {scene.unit.name}"
    if scene.unit.live is not None:
        return Effect("waits", f"waits for {name}")
    return Effect(
        "unknown", f"{name} is not declared here; --live tells what becomes of its workers"
    )


def _removed(scene: Scene, name: str, old: Pods) -> Effect:
    lost = bool(old.keys() & scene.course.lost)
    text = f"removed: {scene.count(len(old), name)} hand over their results and go"
    if len(old) == 1 and scene.knows(name):
        text = "removed: its worker hands over its results and goes"
    text += f"; {scene.discards(name)}" if lost else ""
    return Effect("removed", text, lost, _told(scene, name, len(old)))


def _rolled(scene: Scene, name: str, old: Pods, now: Pods) -> Iterator[Effect]:
    number = min(len(old.keys() - now.keys()), len(now.keys() - old.keys()))
    if not number:
        return
    if not scene.knows(name):
        text = "its workers are replaced, as updateStrategy says; each hands over first"
    elif number == 1:
        text = "1 worker is replaced; it hands over first"
    else:
        text = f"{number} workers are replaced, {_pace(scene, name, len(now), number)}; each hands over first"
    yield Effect("roll", text, workers=_told(scene, name, number))


def _pace(scene: Scene, name: str, want: int, number: int) -> str:
    group = scene.resource(scene.course.busy, DASKWORKERGROUPS, name)
    cluster = scene.resource(scene.course.busy, DASKCLUSTERS, scene.unit.name)
    budget = Budget.of(want, group, cluster)
    step = budget.surge + budget.unavailable
    if step >= number:
        return "all at once"
    return "one after the other" if step == 1 else f"{step} at a time"


def _scaled(scene: Scene, name: str, old: Pods, now: Pods) -> Iterator[Effect]:
    lost = bool(scene.course.lost & (old.keys() - now.keys()))
    end = f"; {scene.discards(name)}" if lost else ""
    change, whole = len(now) - len(old), words.workers(len(old))
    if not scene.knows(name):
        if scene.number(scene.unit.after, name) is not None:
            text = f"{words.workers(len(now))} from now on; who is too many hands over and leaves"
            yield Effect("number", text + end, lost, len(now))
    elif change > 0:
        more = words.workers(change).replace(" ", " more ")
        yield Effect("up", f"{more}, {len(old)} to {len(now)}", workers=change)
    elif change < 0:
        some = f"all {whole}" if not now else f"{-change} of {whole}"
        some = "the only worker" if len(old) == 1 else some
        verb = "leaves, handing over its" if change == -1 else "leave, handing over their"
        yield Effect("down", f"{some} {verb} results{end}", lost, -change)


def _drift(scene: Scene, name: str) -> Iterator[Effect]:
    """Somebody gave a live group another number than git has."""
    declared = scene.unit.before.get(scene.id(DASKWORKERGROUPS, name))
    live = scene.at(scene.course.before, DASKWORKERGROUPS, name)
    now, said = ((spec_of(raw).get("worker") or {}).get("replicas") for raw in (live, declared))
    if scene.unit.live is not None and None not in (now, said) and now != said:
        text = f"live it was scaled to {now}; before the change {said} are declared"
        yield Effect("drift", text)


def autoscaler_effects(scene: Scene) -> Iterator[tuple[str, Effect]]:
    """(name of the group, effect)."""
    before, _, after = scene.pictures
    for name in sorted({name for p in (before, after) for _, name in p[DASKAUTOSCALERS]}):
        had, has = (scene.resource(p, DASKAUTOSCALERS, name) for p in (before, after))
        group = next(target(a)[1] for a in (has, had) if a is not None)
        old, new = (None if a is None else Limits.of(a) for a in (had, has))
        if old == new:
            continue
        if scene.at(after, DASKWORKERGROUPS, group) is not None:
            stays = scene.number(scene.unit.after, group) is None
            yield group, Effect("autoscaler", _limits(old, new, stays=stays))
        elif scene.of_unit(DASKCLUSTERS) == (None, None):
            yield group, _unknown(scene)


def _limits(old: Limits | None, new: Limits | None, *, stays: bool) -> str:
    if new is None:
        rest = ": the number of workers stays as it is" if stays else ""
        return f"no autoscaler sizes it any more{rest}"
    if old is None:
        return f"an autoscaler sizes it, from {new.minimum} to {words.workers(new.maximum)}"
    if (old.minimum, old.maximum) == (new.minimum, new.maximum):
        return "its autoscaler's pace changes"
    return (
        f"its autoscaler's limits: {old.minimum} to {old.maximum} become {new.minimum} to {new.maximum}; "
        "who is too many hands over and leaves"
    )
