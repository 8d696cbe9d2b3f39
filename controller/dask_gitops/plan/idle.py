"""Pure: clusters that nobody uses for a while, and clusters that are to rest: is it time, and what follows?

A suspended cluster has no pods at all, by a person's word. A parked one keeps its scheduler, without workers, until
its clients have work again; it is parked as long as an annotation on the scheduler pod says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.plan.actions import Delete, Draft, Emit, Patch
from dask_gitops.resources import labels, numbers
from dask_gitops.resources.observed import CustomResource, Pod, parse_time
from dask_gitops.resources.tracking import tracked_by

Rest = Literal["", "suspended", "parked"]

SOONEST_S = 2.0  # between two looks at a cluster that works, whatever its idleTimeout
PARKED_S = 5.0  # how often a parked cluster's scheduler is asked for work
RECENT_S = 60.0  # for so long after an idle scheduler's end nobody can have given its successor work that counts
SILENT_S = 15.0  # how often a scheduler that does not answer is asked again
_BY_DASK = "Dask ended the scheduler by its own idle timeout"
ENDING, PARKING = "idle", "parking"  # parts of a plan: deleting a cluster; parking it, or waking it
_LONGEST_S = 10.0**9  # of what a scheduler says about time


@dataclass(frozen=True, slots=True)
class Look:
    """What a scheduler said when it was asked.

    :ivar scheduler: uid of its pod.
    :ivar at: when (seconds since the epoch).
    :ivar idle: for how long nothing has run or waited, in seconds by the scheduler's own clock; None: something does.
    :ivar tasks: that run, or wait to.
    :ivar results: in memory.
    :ivar silence: why it did not answer, in words; then nothing else is known.
    """

    scheduler: str
    at: float
    idle: float | None = None
    tasks: int = 0
    results: int = 0
    silence: str = ""


def is_suspended(cluster: CustomResource) -> bool:
    return bool(cluster.spec.get("suspend"))


def begins_anew(cluster: CustomResource) -> bool:
    """Is the next scheduler of this cluster no restart of the last one? At rest, and until the status says otherwise."""
    return is_suspended(cluster) or words.says(cluster.status, words.SUSPENDED)


def timeout(cluster: CustomResource) -> float:
    """Seconds without work after which something is to happen; 0: never."""
    return numbers.seconds(cluster.spec.get("idleTimeout"), 0.0)


def rest(cluster: CustomResource, scheduler: Pod | None) -> Rest:
    """Does this cluster rest? Suspended wins over parked."""
    if is_suspended(cluster):
        return "suspended"
    parked = scheduler is not None and labels.PARKED in scheduler.meta.annotations
    return "parked" if parked else ""


def kept_because(cluster: CustomResource) -> str | None:
    """Why this cluster is parked, not deleted, when it is idle, in words; None: it is deleted."""
    if cluster.spec.get("idleAction") == "Scale":
        return "idleAction is Scale"
    if cluster.meta.owner_uid is not None:
        return f"it belongs to a {cluster.meta.owner_kind}, which would miss it"
    tool = tracked_by(cluster.meta)
    return f"{tool} would create a deleted cluster again" if tool else None


def look_in(
    cluster: CustomResource, scheduler: Pod | None, last: Look | None, now: float
) -> float | None:
    """Seconds until the scheduler is to be asked, 0 for now; None: never, as things are.

    Between two looks nobody needs to know more: work that begins and ends is seen by the scheduler's own clock.

    :param last: the last look, if it is known.
    """
    if scheduler is None or not scheduler.ready or is_suspended(cluster):
        return None
    if not timeout(cluster) and not _parked_by_dask(cluster, scheduler):
        return None
    if last is None or last.scheduler != scheduler.meta.uid:
        return 0.0
    if last.silence:
        wait = SILENT_S
    elif rest(cluster, scheduler):
        wait = PARKED_S
    else:
        # What is busy now, or holds results, was idle for so long at the end of a whole timeout at the earliest.
        holds = last.results and kept_because(cluster)
        idle = 0.0 if last.idle is None or holds else last.idle
        wait = max(SOONEST_S, timeout(cluster) - idle)
    return max(0.0, min(wait, last.at + wait - now))


def plan_idle(
    cluster: CustomResource, scheduler: Pod, look: Look | None, now: float, draft: Draft
) -> bool:
    """Delete, park or wake a cluster; does it go?

    :param look: what its scheduler says at this moment; None if it was not asked.
    """
    limit, parked = timeout(cluster), rest(cluster, scheduler) == "parked"
    if ended_idle(cluster, scheduler, now):
        return _after_idle_end(cluster, scheduler, now, draft)
    if parked and not limit and not scheduler.idles:
        _unpark(scheduler, now, draft)
        draft.part(PARKING).add(Emit("Waking", "idleTimeout was taken away: the workers come back"))
        return False
    if look is None or look.silence:
        return False
    idle_long = look.idle is not None and look.idle >= limit > 0
    why_kept = kept_because(cluster)
    if idle_long and why_kept is None:
        text = f"nothing has run for {duration(look.idle)} (idleTimeout {duration(limit)})"
        # Exact: a person may just have taken the timeout away.
        draft.part(ENDING).add(
            Delete("DaskCluster", cluster.meta, exact=True),
            Emit("IdleDeleted", f"deleted, as {text}"),
        )
        return True
    if parked and (look.tasks or look.results):
        _unpark(scheduler, now, draft)
        draft.part(PARKING).add(Emit("Waking", f"{_work(look)}: the workers come back"))
    elif idle_long and not parked and not look.tasks and not look.results:
        note = {labels.PARKED: words.timestamp(now), labels.WOKEN: None}
        text = f"nothing has run for {duration(look.idle)}: the workers go until there is work"
        asked = cluster.spec.get("idleAction") == "Scale"
        draft.part(PARKING).add(
            Patch("Pod", scheduler.meta, {"metadata": {"annotations": note}}),
            Emit("Parked", text if asked else f"{text}; not deleted: {why_kept}"),
        )
    return False


def _parked_by_dask(cluster: CustomResource, scheduler: Pod) -> bool:
    """Is it parked, and may have been for its scheduler's own idle timeout?"""
    return scheduler.idles and rest(cluster, scheduler) == "parked"


def ended_idle(cluster: CustomResource, scheduler: Pod, now: float) -> bool:
    """Has Dask just ended this scheduler, by its own idle timeout, and nothing came of it yet?

    One that was started again long ago may have work: its next end will tell.
    """
    end = scheduler.idle_end
    if end is None or rest(cluster, scheduler) or scheduler.meta.deleting is not None:
        return False
    return scheduler.finished or ((woken(scheduler)[0] or 0.0) < end and now - end < RECENT_S)


def _after_idle_end(cluster: CustomResource, scheduler: Pod, now: float, draft: Draft) -> bool:
    """What ``idleAction`` says, as after ``idleTimeout``; does the cluster go?"""
    if kept_because(cluster) is None:
        gone = Delete("DaskCluster", cluster.meta, exact=True)
        draft.part(ENDING).add(gone, Emit("IdleDeleted", f"deleted: {_BY_DASK}"))
        return True
    if not scheduler.finished:  # else it is told when its successor can come
        note = {labels.PARKED: words.timestamp(now), labels.WOKEN: None}
        draft.part(PARKING).add(
            Patch("Pod", scheduler.meta, {"metadata": {"annotations": note}}),
            rests_by_dask(cluster),
        )
    return False


def rests_by_dask(cluster: CustomResource) -> Emit:
    """The Event for a cluster that rests since Dask ended its scheduler."""
    why_kept = kept_because(cluster)
    return Emit("Parked", f"{_BY_DASK}: the workers go until there is work; {why_kept}")


def _unpark(scheduler: Pod, now: float, draft: Draft) -> None:
    note = {labels.PARKED: None, labels.WOKEN: words.timestamp(now)}
    draft.part(PARKING).add(Patch("Pod", scheduler.meta, {"metadata": {"annotations": note}}))


def plan_woken(scheduler: Pod, any_ready: bool, now: float, draft: Draft) -> None:
    """Once the first worker is ready, say how long that took, and remember it."""
    since, took = woken(scheduler)
    if since is None or took is not None or not any_ready:
        return
    seconds = max(0, round(now - since))
    note = {labels.WOKEN: f"{words.timestamp(since)} {seconds}"}
    text = f"the first worker is ready, {duration(seconds)} after the cluster was woken"
    draft.part("woken").add(
        Patch("Pod", scheduler.meta, {"metadata": {"annotations": note}}), Emit("Woken", text)
    )


def woken(scheduler: Pod) -> tuple[float | None, int | None]:
    """When a parked cluster was woken last, and after how many seconds its first worker was ready, if it was."""
    since, _, took = scheduler.meta.annotations.get(labels.WOKEN, "").partition(" ")
    try:
        return parse_time(since), int(took) if took else None
    except ValueError:  # not written by us
        return None, None


def carried(cluster: CustomResource, predecessor: Pod | None, now: float) -> dict[str, str]:
    """Annotations for a scheduler pod that comes in place of another one: parked is parked."""
    notes = predecessor.meta.annotations if predecessor else {}
    ended = predecessor is not None and predecessor.finished and kept_because(cluster) is not None
    if predecessor is not None and ended and ended_idle(cluster, predecessor, now):
        return {labels.PARKED: words.timestamp(now)}
    return {labels.PARKED: notes[labels.PARKED]} if labels.PARKED in notes else {}


# ---- words


def parked_words(cluster: CustomResource, scheduler: Pod, last: Look | None) -> words.Condition:
    """The condition of a cluster that is parked.

    :param last: the last look, if it is known.
    """
    why = kept_because(cluster) or "idleAction was Scale"
    since = scheduler.meta.annotations.get(labels.PARKED, "")
    message = f"parked since {since}, {why}; the workers come back when a client has work"
    if last is not None and last.silence:
        message += f"; the scheduler {last.silence}, so nothing is woken"
    return words.Condition(words.IDLE, True, reasons.PARKED, message)


def silence_words(cluster: CustomResource, scheduler: Pod, last: Look | None) -> str:
    """What to add to a message while the scheduler does not say whether it is idle; empty if it does."""
    known = last is not None and last.scheduler == scheduler.meta.uid
    if last is None or not known or not last.silence or not timeout(cluster):
        return ""
    return f"; nobody knows whether it is idle: the scheduler {last.silence}"


def waking_words(scheduler: Pod) -> str:
    """What to add to a message after a cluster was woken; empty if it never was."""
    since, took = woken(scheduler)
    if since is None:
        return ""
    if took is None:
        return f"; waking since {words.timestamp(since)}"
    return f"; woken {words.timestamp(since)}, the first worker was ready after {duration(took)}"


def duration(seconds: float | None) -> str:
    """``5400`` -> ``1 h 30 min``."""
    whole = int(min(max(0.0, seconds or 0.0), _LONGEST_S))
    hours, minutes, rest_s = whole // 3600, whole % 3600 // 60, whole % 60
    parts = [f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (rest_s, "s")) if n]
    return " ".join(parts[:2]) or "0 s"


def _work(look: Look) -> str:
    if look.tasks:
        return "1 task waits" if look.tasks == 1 else f"{look.tasks} tasks wait"
    return "results are in memory"
