"""Pure: what a start waits for, what it says of that, and when it gives up.

`look` folds what the watches have told so far into a `Start`; a thin shell carries it out: shows
``says`` when it changes, connects when ``reach``, raises for ``failure``, looks again at ``look_at``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dask_gitops.resources.observed import Pod

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at a moment.

    :ivar now: seconds of a clock that only goes forward.
    :ivar cluster: the DaskCluster; None: somebody deleted it.
    :ivar scheduler: the newest Pod of its scheduler, raw.
    :ivar pulling: the image that the kubelet said it pulls, and has not said to have.
    :ivar in_the_way: why clients do not get to the scheduler, although it runs; "": nobody has tried.
    :ivar slow_s: so long that may last at least.
    """

    now: float
    cluster: JSON | None
    scheduler: JSON | None = None
    pulling: str = ""
    in_the_way: str = ""
    slow_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a start ends.

    :ivar kind: ``deleted``, ``silent`` (no controller acts), ``scheduler``, ``unreached`` (it is ready,
        and nobody gets there), or ``crash``, to which the end of the scheduler's log belongs.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Start:
    """Where a start is.

    :ivar began: when the object was created, or found.
    :ivar says: one line, without the seconds.
    :ivar since: when it began to say so.
    :ivar reach: the scheduler's container runs: try to connect.
    :ivar bad_since: since when it is in a state that does not pass by itself.
    :ivar slow_s: so long that may last at least.
    :ivar look_at: when to look again although nothing changes; None: never.
    """

    name: str
    namespace: str
    began: float
    patience_s: float | None
    says: str = ""
    since: float = 0.0
    reach: bool = False
    failure: Failure | None = None
    bad_since: float | None = None
    slow_s: float = 0.0
    look_at: float | None = None

    @property
    def what(self) -> str:
        return f"DaskCluster {self.namespace}/{self.name}"


def begin(name: str, namespace: str, now: float, patience_s: float | None) -> Start:
    """A start that nothing is known of yet.

    :param patience_s: how long nobody may act, and how long a state may last that does not pass
        by itself; None: until the controller has given up.
    """
    return Start(name, namespace, now, patience_s)


def look(before: Start, seen: Seen) -> Start:
    """The same start, some time later."""
    if seen.cluster is None:
        return _failed(before, seen, "deleted", f"{before.what} was deleted while it started")
    if seen.cluster["metadata"].get("deletionTimestamp"):
        return _failed(before, seen, "deleted", f"{before.what} is being deleted")
    pod = None if seen.scheduler is None else Pod.of(seen.scheduler)
    if pod is not None and pod.running and pod.problem is None and not pod.gone:
        if not pod.ready:
            return _waits(before, seen, "scheduler: started, not ready yet", reach=True)
        if not seen.in_the_way:
            return _waits(before, seen, "scheduler: connecting", reach=True)
        words = f"ready, {seen.in_the_way}"
        return _endures(before, seen, words, "unreached", slow_s=seen.slow_s, reach=True)
    conditions = _conditions(seen.cluster)
    refused = conditions.get("Stalled")
    if refused is not None:
        return _failed(before, seen, "scheduler", _words(refused))
    if pod is None and not _acted(seen.cluster):
        words = "waits for the controller"
        if not _is_over(before.began, before.patience_s, seen.now):
            look_at = None if before.patience_s is None else before.began + before.patience_s
            return replace(_waits(before, seen, words), look_at=look_at)
        text = f"{before.what} was not acted on for {before.patience_s:.0f} s"
        return _failed(before, seen, "silent", f"{text}, is the Dask Operator running?")
    bad, kind = _bad(seen, pod, conditions)
    if not bad:
        return _waits(before, seen, f"scheduler: {_progress(seen, pod)}")
    return _endures(before, seen, bad, kind)


def _endures(
    before: Start, seen: Seen, bad: str, kind: str, *, slow_s: float = 0.0, reach: bool = False
) -> Start:
    """It goes on with what does not pass by itself, as long as there is patience."""
    is_same = (before.reach, before.slow_s) == (reach, slow_s)
    since = before.bad_since if before.bad_since is not None and is_same else seen.now
    patience_s = None if before.patience_s is None else max(before.patience_s, slow_s)
    if _is_over(since, patience_s, seen.now):
        return _failed(before, seen, kind, bad)
    look_at = None if patience_s is None else since + patience_s
    waits = _waits(before, seen, f"scheduler: {bad}", reach=reach)
    return replace(waits, bad_since=since, slow_s=slow_s, look_at=look_at)


def _waits(before: Start, seen: Seen, says: str, *, reach: bool = False) -> Start:
    return replace(
        before,
        says=says,
        since=before.since if before.says == says else seen.now,
        reach=reach,
        bad_since=None,
        slow_s=0.0,
        look_at=None,
    )


def _failed(before: Start, seen: Seen, kind: str, text: str) -> Start:
    words = text
    if kind in ("scheduler", "crash"):
        words = f"Scheduler failed to start. {text}"
    elif kind == "unreached":
        words = f"The scheduler is {text}"
    return replace(_waits(before, seen, text), failure=Failure(kind, words))


def _is_over(since: float, patience_s: float | None, now: float) -> bool:
    return patience_s is not None and now >= since + patience_s  # as `look_at` has it


def _conditions(cluster: JSON) -> dict[str, JSON]:
    """Those that are true, by type; and Ready, whatever it is. Only of what the user wrote last."""
    status = cluster.get("status") or {}
    generation = cluster["metadata"].get("generation", 0)
    return {
        each["type"]: each
        for each in status.get("conditions") or ()
        if (each.get("status") == "True" or each["type"] == "Ready")
        and each.get("observedGeneration", generation) >= generation
    }


def _acted(cluster: JSON) -> bool:
    """Has a controller looked at it? The existing one writes a phase only."""
    status = cluster.get("status") or {}
    return bool(status.get("conditions") or status.get("phase"))


#: In Ready's reason: what does not pass by itself, as there is no Pod that could tell it.
_NO_POD = ("Forbidden", "Invalid", "NameTaken", "NamespaceTerminating", "QuotaExceeded")


def _bad(seen: Seen, pod: Pod | None, conditions: Mapping[str, JSON]) -> tuple[str, str]:
    """A state that does not pass by itself, in words, and its kind of failure; "" for none."""
    if pod is not None and pod.problem is not None and not pod.gone:
        if pod.problem.reason == "CrashLoopBackOff":
            return _crash(pod), "crash"
        return _without_name(pod.problem.message, pod.meta.name), "scheduler"
    ready = conditions.get("Ready", {})
    if pod is None and ready.get("reason") in _NO_POD:
        return _words(ready), "scheduler"
    for kind in ("Suspended", "Idle"):
        if pod is None and kind in conditions:
            return _words(conditions[kind]), "scheduler"
    return "", ""


def _crash(pod: Pod) -> str:
    """Its log follows."""
    times = "once" if pod.restarts == 1 else f"{pod.restarts} times"
    last = pod.last_exit or str(pod.exited or "an error")
    # A program's own end; others, such as OOMKilled, tell more.
    if last.startswith("Error (exit code "):
        last = last.removeprefix("Error (").replace(")", "", 1)
    return f"It ended {times}, last with {last}"


def _progress(seen: Seen, pod: Pod | None) -> str:
    """What a start is busy with that goes its way."""
    if pod is None or pod.gone:
        return "its Pod is being created"
    if pod.scheduled is None:
        return "waits for a node"
    if seen.pulling:
        return f"pulling {seen.pulling}"
    return "its container is being created"


def _words(condition: JSON) -> str:
    return str(condition.get("message") or condition.get("reason") or condition["type"])


def _without_name(text: str, name: str) -> str:
    """A problem's words begin with the Pod's name; here only one is spoken of."""
    return text.removeprefix(f"{name}: ")


# ---- workers


def lacking(wanted: int, arrived: int, pods: Iterable[JSON], after_s: float) -> str:
    """Why not all workers came, in words.

    :param pods: the worker Pods that there are, raw.
    """
    problems: Counter[str] = Counter()
    starting = 0
    for raw in pods:
        pod = Pod.of(raw)
        if pod.gone or pod.ready:
            continue
        if pod.problem is None:
            starting += 1
        else:
            problems[_without_name(pod.problem.message, pod.meta.name)] += 1
    told = [
        f"{count} {'waits' if count == 1 else 'wait'}: {words}"
        for words, count in problems.most_common(3)
    ]
    told += [f"{starting} {'is' if starting == 1 else 'are'} starting"] if starting else []
    why = f" {'; '.join(told)}" if told else ""
    return f"Only {arrived}/{wanted} workers arrived after {after_s:.0f}.{why}"
