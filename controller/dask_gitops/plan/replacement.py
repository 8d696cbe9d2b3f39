"""Pure: pods that ended, and who comes in their place.

A pod that dies at once is replaced more and more slowly. How often in a row that happened, since when and why is
remembered on its successor; a pod that lived ends the row. A scheduler pod carries the number of restarts before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.plan.actions import Draft, Emit
from dask_gitops.resources import labels
from dask_gitops.resources.observed import CustomResource, Pod, Problem, parse_time

JSON = dict[str, Any]

LIVED_S = 60  # who lived so long has not died at once
BACKOFF_S, LONGEST_S = 10, 300  # after the first death at once, and at most; doubled each time
LOST_NODE_S = (
    60  # past the end of its grace period, a pod that is still there is on a node that is lost
)


def deaths_in_a_row(pod: Pod) -> int:
    """How many pods in a row died at once, this one among them if it has."""
    before = _number(pod, labels.QUICK_DEATHS)
    if not pod.finished:
        return before
    return before + 1 if pod.lived < LIVED_S else 0


def may_be_replaced_in(pod: Pod, now: float) -> float:
    """Seconds until a pod that ended may get a successor: at once, unless it hardly lived. Nobody else backs off."""
    row = deaths_in_a_row(pod)
    if pod.retiring is not None or row == 0:
        return 0.0
    pause = min(BACKOFF_S * 2.0 ** min(row - 1, 10), LONGEST_S)
    # A node's clock may be ahead.
    return min(pause, (pod.ended or pod.meta.created) + pause - now)


def notes(pod: Pod) -> dict[str, str]:
    """Annotations for the successor of a pod that ended: nothing, unless it died at once."""
    row = deaths_in_a_row(pod)
    if row == 0:
        return {}
    since = pod.meta.annotations.get(labels.FAILING_SINCE) or words.timestamp(pod.meta.created)
    return {
        labels.QUICK_DEATHS: str(row),
        labels.FAILING_SINCE: since,
        labels.LAST_DEATH: str(pod.end or "it ended"),
    }


def inherited(mourned: Sequence[Pod]) -> list[dict[str, str]]:
    """Annotations for the worker pods that come in their place, the longest row of deaths first.

    :param mourned: pods whose early end says something of their successors.
    """
    return [notes(pod) for pod in sorted(mourned, key=deaths_in_a_row, reverse=True)]


def mourn(dead: Sequence[Pod], draft: Draft) -> None:
    """Tell of those that failed and are not replaced now."""
    failed = [p for p in dead if p.phase == "Failed"]
    if failed:
        told = Emit("WorkersFailed", deaths(failed), warning=True)
        draft.part("ended workers").add(told)  # once they are away: nobody is told twice


def ended_with(scheduler: Pod | None, worker: Pod) -> bool:
    """Was this worker made for the scheduler before this one?"""
    return scheduler is not None and worker.meta.created < scheduler.meta.created


def problem(pod: Pod) -> Problem | None:
    """What keeps a pod from running, also while it only follows others that died at once, and since the first did."""
    row, found = _number(pod, labels.QUICK_DEATHS), pod.problem
    if row == 0 or pod.ready:
        return found
    since = _time(pod, labels.FAILING_SINCE)
    if found is not None:
        return replace(found, since=min(found.since, since))
    if row == 1:
        return None
    why = pod.meta.annotations.get(labels.LAST_DEATH, "")
    message = f"{pod.meta.name}: {row} before it died at once, the last by {why}"
    return Problem(reasons.CRASH_LOOP, message, since)


def growth(missing: int, want: int, *, dead: Sequence[Pod], was_up: bool) -> Emit:
    """The Event about worker pods that are created.

    :param dead: those of them that ended and are replaced now.
    :param was_up: there were all of them before.
    """
    if dead:
        return Emit(
            "WorkersReplaced",
            f"created {words.workers(missing)}, {want} wanted; ended: {deaths(dead)}",
            warning=any(p.phase == "Failed" for p in dead),
        )
    if was_up:
        return Emit(
            "WorkersReplaced", f"created {words.workers(missing)} for what is gone, {want} wanted"
        )
    return Emit("ScaledUp", f"created {words.workers(missing)}, {want} wanted")


def deaths(dead: Sequence[Pod], most: int = 3) -> str:
    """Who ended and why, not more than people read."""
    told = [f"{p.meta.name} ({p.end or 'it ended'})" for p in dead[:most]]
    return ", ".join(told) + (f" and {len(dead) - most} more" if len(dead) > most else "")


# ---- the scheduler


def restarts(pod: Pod) -> tuple[int, str | None]:
    """How often the scheduler was restarted until now, in this pod and before it, and why last."""
    before = _number(pod, labels.SCHEDULER_RESTARTS)
    why = pod.last_exit or pod.meta.annotations.get(labels.LAST_RESTART)
    return before + pod.restarts, why


def reported(cluster: CustomResource) -> tuple[int, str | None]:
    """The same as the cluster's status says it: a report that is all there is after the process was restarted."""
    said = cluster.status.get("scheduler") or {}
    number = said.get("restarts")
    return number if isinstance(number, int) else 0, said.get("lastRestartReason")


def scheduler_notes(
    predecessor: Pod | None, cluster: CustomResource, now: float, *, renewed: bool
) -> dict[str, str]:
    """Annotations for a scheduler pod that is created: nothing for the first one.

    :param predecessor: the cluster's last scheduler pod as it was last seen; None: never, by this process.
    :param renewed: that one was of an earlier spec, so its end is what was wanted.
    """
    if predecessor is None:
        if not cluster.status.get("scheduler"):
            return {}
        row, why = {}, "the pod was gone when the controller started"
        count = reported(cluster)[0] + 1
    else:
        row = {} if renewed else notes(predecessor)
        why = "its spec changed" if renewed else why_it_ended(predecessor, now)
        count = restarts(predecessor)[0] + 1
    return {**row, labels.SCHEDULER_RESTARTS: str(count), labels.LAST_RESTART: why}


def scheduler_event(made: JSON, *, warning: bool) -> Emit:
    """The Event about a scheduler pod that is created.

    :param warning: it comes in place of one that nobody wanted to end.
    """
    name = made["metadata"]["name"]
    why = made["metadata"]["annotations"].get(labels.LAST_RESTART)
    if why is None:
        return Emit("SchedulerCreated", f"created {name}")
    return Emit("SchedulerReplaced", f"created {name} anew: {why}", warning=warning)


def why_it_ended(pod: Pod, now: float) -> str:
    """Why a pod is there no longer, in words, from what was last seen of it."""
    if pod.end is not None:
        return str(pod.end)
    if pod.meta.deleting is not None and now >= pod.meta.deleting + LOST_NODE_S:
        return "the pod was deleted, and its node never confirmed its end"
    return "the pod was deleted"


def _number(pod: Pod, key: str) -> int:
    text = pod.meta.annotations.get(key, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _time(pod: Pod, key: str) -> float:
    try:
        return parse_time(pod.meta.annotations.get(key)) or pod.meta.created
    except ValueError:  # not written by us
        return pod.meta.created
