"""What a rehearsal showed of a cluster as a whole: its scheduler, its Service, whether it rests."""

from __future__ import annotations

from collections.abc import Iterator

from dask_gitops import status as words
from dask_gitops.kube.resource import DASKCLUSTERS, PODS, SERVICES
from dask_gitops.plan import idle
from dask_gitops.resources import names, numbers
from dask_gitops.resources.observed import CustomResource, parse_time

from .rehearsal import Picture, is_parked
from .scene import Scene
from .subject import Effect

AT_ONCE_S = 5  # a scheduler that goes later than this was waited for


def cluster_effects(scene: Scene) -> Iterator[Effect]:
    """What happens at once; :func:`replaced_later` has the rest."""
    had, has = scene.of_unit(DASKCLUSTERS)
    before, _, after = scene.pictures
    first, _, last = scene.schedulers
    many = scene.count(len(scene.workers(before)), *scene.groups(before))
    if had is None:
        if has is not None:
            yield _added(scene)
        return
    if has is None:
        if first is None:
            yield Effect("removed", "removed; no Pods ran")
        else:
            text = f"removed: the scheduler and {many} are deleted, with all that they hold"
            yield Effect("removed", text, True)
        return
    if first is not None and last is None:
        text = f"suspended: {many} leave, then the scheduler; {scene.discards()}"
        yield Effect("suspended", text, True)
    elif first is None and last is not None:
        number = words.workers(len(scene.workers(after)))
        yield Effect("resumed", f"resumed: a new scheduler and {number}")
    else:
        yield from _replaced_now(scene, has)
    yield from _service(scene)
    yield from _rest(had, has)


def _added(scene: Scene) -> Effect:
    if scene.schedulers[2] is None:
        return Effect("added", "added, suspended: no Pods run")
    own = [g for g in scene.groups(scene.course.idle) if not scene.declares(g)]
    number = sum(len(scene.workers(scene.course.idle, g)) for g in own)
    return Effect("added", f"added: a scheduler and {words.workers(number)}")


def _replaced_now(scene: Scene, cluster: CustomResource) -> Iterator[Effect]:
    """A scheduler that is replaced although its cluster is busy."""
    first, second, _ = scene.schedulers
    if first is None or second in (None, first):
        return
    pod = scene.at(scene.course.busy, PODS, names.scheduler_name(scene.unit.name)) or {}
    made = parse_time(pod["metadata"]["creationTimestamp"]) or 0.0
    text = "the scheduler is replaced at once, whatever it does"
    before = scene.at(scene.course.before, PODS, pod["metadata"]["name"])
    if before is not None and is_parked(before):
        text = "the scheduler is replaced at once, as the cluster is parked"
    if made - scene.course.started > AT_ONCE_S:
        strategy = cluster.spec.get("updateStrategy") or {}
        limit = idle.duration(numbers.seconds(strategy.get("schedulerDeadlineSeconds"), 0.0))
        text = f"the scheduler waits until it is idle, at most {limit}, then it is replaced"
    yield Effect("scheduler-replaced", text + _with_it(scene, scene.course.before), True)


def replaced_later(scene: Scene) -> Iterator[Effect]:
    """A scheduler that waits for an idle moment."""
    first, second, third = scene.schedulers
    if first is not None and first == second and third not in (None, second):
        text = "the scheduler waits until it is idle, then it is replaced"
        yield Effect("scheduler-when-idle", text + _with_it(scene, scene.course.busy), True)


def _with_it(scene: Scene, picture: Picture) -> str:
    number = len(scene.workers(picture))
    return f", and {scene.count(number, *scene.groups(picture))} with it" if number else ""


def _service(scene: Scene) -> Iterator[Effect]:
    name = names.scheduler_name(scene.unit.name)
    old, new = (scene.at(p, SERVICES, name) for p in scene.pictures[:2])
    if old is None or new is None or old["spec"] == new["spec"]:
        return
    was, is_now = (service["spec"].get("type", "ClusterIP") for service in (old, new))
    change = f": {was} to {is_now}" if was != is_now else ""
    anew = old["metadata"]["uid"] != new["metadata"]["uid"]
    yield Effect("service", f"the Service is {'made anew' if anew else 'changed in place'}{change}")


def _rest(had: CustomResource, has: CustomResource) -> Iterator[Effect]:
    """What follows when nobody uses the cluster for a while."""

    def meaning(cluster: CustomResource) -> tuple[float, bool]:
        limit = idle.timeout(cluster)
        return limit, bool(limit) and idle.kept_because(cluster) is None

    limit, goes = meaning(has)
    if meaning(had) == (limit, goes):
        return
    if not limit:
        text = "it is neither deleted nor parked any more when nobody uses it"
    elif goes:
        text = f"after {idle.duration(limit)} without work it is deleted (parked, if a GitOps tool tracks it)"
    else:
        text = f"after {idle.duration(limit)} without work it is parked: {idle.kept_because(has)}"
    yield Effect("idle", text)
