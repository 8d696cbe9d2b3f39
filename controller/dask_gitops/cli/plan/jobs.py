"""What a rehearsal showed of a job."""

from __future__ import annotations

from collections.abc import Iterator

from dask_gitops import status as words
from dask_gitops.kube.resource import DASKJOBS, PODS
from dask_gitops.resources import labels

from .differences import differences
from .rehearsal import Picture
from .scene import Scene, label, uid_of, works
from .subject import Effect


def job_effects(scene: Scene) -> Iterator[Effect]:
    had, has = scene.of_unit(DASKJOBS)
    old, now = (_runner(p) for p in scene.pictures[:2])
    cluster = f"on a scheduler and {words.workers(len(scene.workers(scene.course.idle)))}"
    over = had is not None and had.status.get("jobStatus") in ("Successful", "Failed")
    if had is None:
        if has is not None and has.spec.get("suspend"):
            yield Effect("added", "added, suspended: nothing runs until suspend is false")
        elif has is not None:
            yield Effect("added", f"added: runs once, {cluster} of its own")
    elif has is None:
        if over or old is None:
            yield Effect("removed", f"removed; {'it has ended' if over else 'nothing ran'}")
        else:
            text = "removed: a run that is under way ends, its runner and its cluster are deleted"
            yield Effect("removed", text, True)
    elif old is not None and now is None and has.spec.get("suspend"):
        text = "suspended: a runner under way is deleted and begins anew later; its cluster rests"
        yield Effect("suspended", text, True)
    elif now is not None and now != old:
        yield Effect("run", f"{'runs once more' if over else 'its runner starts'}, {cluster}")
    elif over and _is_changed(scene):
        yield Effect("later", "it has ended: the change counts for a later run")


def _runner(picture: Picture) -> str | None:
    """Uid of the runner Pod that is there to run."""
    pods = picture[PODS].values()
    runners = (p for p in pods if label(p, labels.COMPONENT) == labels.JOB_RUNNER and works(p))
    return next(map(uid_of, runners), None)


def _is_changed(scene: Scene) -> bool:
    of = scene.id(DASKJOBS, scene.unit.name)
    before, after = scene.unit.before.get(of), scene.unit.after.get(of)
    return before is not None and after is not None and bool(differences(before, after))
