"""Pure: what to report of one worker group."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.plan import replacement
from dask_gitops.plan.groupstate import GroupState, known_warning
from dask_gitops.resources import labels, numbers
from dask_gitops.resources.observed import CustomResource, Pod, Problem, parse_time
from dask_gitops.resources.pods import PROGRESS_DEADLINE_S
from dask_gitops.resources.revision import revision

JSON = dict[str, Any]

LOOK_S = (
    10  # how often to look whether others have left, so that there is room: that is no news of ours
)


@dataclass(frozen=True, slots=True)
class Limited:
    """Fewer workers than are wanted, by a limit of the controller.

    :ivar again: when to look whether there is more room (seconds); None: others do not matter.
    """

    problem: Problem
    condition: words.Condition
    again: float | None


def ready_revision(state: GroupState) -> str | None:
    """What "was up once" is remembered for: the meaning of the workers' spec and their number."""
    if state.revision is None or state.cluster is None:
        return None
    meaning = revision(state.revision, state.cluster.spec.get("restartedAt"))
    return f"{meaning}.{state.target}"


def was_ready(state: GroupState) -> bool:
    """Was all up once for what is declared? Back to an earlier spec, that is not enough: others run in between.

    The number that an autoscaler moves is nobody's change, so any number will do.
    """
    noted, ready = _noted(state), ready_revision(state)
    if state.old or noted is None or ready is None:
        return False
    if state.autoscaled:
        return noted.rpartition(".")[0] == ready.rpartition(".")[0]
    return noted == ready


def had_as_many(state: GroupState) -> bool:
    """Were there already as many of these workers as are wanted now?"""
    return not state.old and _noted(state) is not None and _noted(state) == ready_revision(state)


def _noted(state: GroupState) -> str | None:
    notes = state.scheduler.meta.annotations if state.scheduler else {}
    return notes.get(labels.GROUP_WAS_READY + state.name)


def is_up(state: GroupState) -> bool:
    """Exactly the workers that are wanted, all at work and of the current spec, on a running scheduler."""
    return (
        state.scheduler is not None
        and state.scheduler.ready
        and not state.old
        and len(state.live) == state.want
        and all(state.is_available(p) for p in state.live)
    )


def latch(state: GroupState) -> dict[str, str]:
    """What to remember on the scheduler pod, so that a later eviction does not clear Ready."""
    revised = ready_revision(state)
    # No workers at rest prove nothing of those that are declared.
    if revised is None or state.rest or not is_up(state) or had_as_many(state):
        return {}
    return {labels.GROUP_WAS_READY + state.name: revised}


def limited(states: Iterable[GroupState], status: Mapping[str, Any], now: float) -> Limited | None:
    """What the controller's limits keep back; None: nothing.

    :param status: which has said since when.
    """
    found = [(s, s.limit) for s in states if s.limit is not None]
    if not found:
        return None
    said = words.since(status, words.LIMITED)
    since = now
    with contextlib.suppress(ValueError):
        since = parse_time(said) or now
    texts = [
        f"{words.workers(s.want)} of {s.name} are wanted, {s.fits} can be there: {limit.words}"
        for s, limit in found
    ]
    message = "; ".join(texts[:4]) + (f"; and {len(texts) - 4} more" if len(texts) > 4 else "")
    # What can never be there needs a person; others may leave.
    forbidden = any(limit.forbids(s.want) for s, limit in found)
    return Limited(
        Problem(words.LIMITED, message, since, refused=forbidden),
        words.Condition(words.LIMITED, True, found[0][1].reason, message),
        None if all(limit.of == "group" for _, limit in found) else LOOK_S,
    )


def settling(*states: GroupState) -> str:
    """Why ready workers are not enough yet; empty if they are."""
    unsure = any(s.settling is not None for s in states)
    return ", seen running for a while first, as nothing probes them" if unsure else ""


def first_problem(some: Iterable[Pod], extra: Sequence[Problem] = ()) -> Problem | None:
    """The problem to report: a refusal first, then the oldest; what else is in the way is told behind it.

    :param extra: what has to do with no pod that is there, such as a refusal: nothing else tells of it.
    """
    problems = [*extra, *(problem for p in some if (problem := replacement.problem(p)))]
    first = min(problems, key=lambda p: (not p.refused, p.since), default=None)
    others = dict.fromkeys(p.message for p in extra if first and p.message != first.message)
    if first is None or not others:
        return first
    return replace(first, message=f"{first.message}; {words.listed(others, most=2)}")


def also(message: str, problem: Problem | None) -> str:
    """Words about something that is as it should be, with what is in the way of something else."""
    return f"{message}; {problem.message}" if problem else message


def unmet(problems: Iterable[Problem]) -> Problem | None:
    """What the API server says to something that a person declared: nothing is ready without it, whatever runs."""
    return first_problem((), [p for p in problems if p.declared and p.refused])


def unready(
    message: str,
    problem: Problem | None,
    now: float,
    *,
    deadline: float = PROGRESS_DEADLINE_S,
    reason: str = reasons.PROGRESSING,
) -> list[words.Condition]:
    """Conditions of something on its way: reconciling, or stalled when only a person can help."""
    if problem is None:
        return words.reconciling(reason, message)
    text = f"{message}; {problem.message}"
    if problem.refused or now - problem.since > deadline:
        return words.stalled(problem.reason, text, problem.message)
    return words.reconciling(problem.reason, text, problem.message)


def group_status(
    state: GroupState, now: float, *, problems: Sequence[Problem] = (), held: str | None = None
) -> tuple[JSON, float | None]:
    """Status of a group that exists, and when it will change by itself (seconds), if it will.

    :param problems: what the API server refused in this round.
    :param held: why a scale-down waits.
    """
    group = state.group
    if group is None:
        raise ValueError("a removed group has no status")
    live = state.live
    ready = [p for p in live if p.ready]
    cluster_name = str(group.spec.get("cluster", ""))
    soon = [] if state.settling is None else [state.settling]
    if state.cluster is None:
        found = words.reconciling(reasons.CLUSTER_MISSING, f"waits for DaskCluster {cluster_name}")
        updated = 0
    else:
        updated = sum(state.is_current(p) for p in live)
        scheduler_down = state.scheduler is None or not state.scheduler.ready
        limit = limited([state], group.status, now)
        problem = first_problem(
            [*state.judged, *(p for p in state.pods if p.finished and state.is_current(p))],
            [*problems, *([limit.problem] if limit else [])],
        )
        count = f"{len(ready)} of {words.workers(state.want)} ready"
        if state.old:
            count += f", {updated} of {state.want} updated"
        elif len(live) > state.want:
            count += f", {len(live) - state.want} on the way out"
        if state.rest == "suspended" or (state.rest and not scheduler_down):
            found = _at_rest(state, was_ready(state), first_problem((), problems), now)
        elif scheduler_down:
            found = words.reconciling(
                reasons.SCHEDULER_NOT_READY, f"{count}; the scheduler is not ready"
            )
        elif unmet(problems) is None and (is_up(state) or was_ready(state)):
            found = words.ready(reasons.WORKERS_READY, also(count, problem))
        else:
            found = unready(
                count + settling(state), problem, now, deadline=_deadline(state.cluster)
            )
            left = problem.since + _deadline(state.cluster) - now if problem else 0.0
            if left >= 0 and problem and not problem.refused:
                soon.append(left + 1)
        if limit is not None:
            found.append(limit.condition)
            soon += [] if limit.again is None else [limit.again]
    found = words.misshapen(found, state.wrong)
    if held:
        found.append(
            words.Condition(words.SCALE_DOWN_HELD, True, reasons.NOTHING_IS_DISCARDED, held)
        )
    if state.held_image is not None and updated < len(live):
        message = f"{words.workers(len(live) - updated)} of an earlier spec wait for the scheduler, whose image changes too"
        found.append(
            words.Condition(words.UPDATE_PENDING, True, reasons.WAITS_FOR_SCHEDULER, message)
        )
    warning = known_warning(state)
    if warning:
        found.append(words.spec_warning(warning))
    return {
        "observedGeneration": group.meta.generation,
        "conditions": words.conditions(found, group.status, group.meta.generation, now),
        "replicas": len(live),
        "readyReplicas": len(ready),
        "updatedReplicas": updated,
        "selector": labels.as_string(labels.group_selector(cluster_name, group.meta.name)),
    }, min(soon, default=None)


def _at_rest(
    state: GroupState, was_up: bool, refusal: Problem | None, now: float
) -> list[words.Condition]:
    """Conditions of a group whose cluster rests.

    :param was_up: it was up for what is declared: that it is about to be parked changes nothing for anybody.
    :param refusal: what the API server refused in this round.
    """
    suspended, going = state.rest == "suspended", len(state.live)
    kind, reason, why = (
        (words.SUSPENDED, reasons.SUSPENDED, "spec.suspend of the cluster is true")
        if suspended
        else (words.IDLE, reasons.PARKED, "the cluster is idle")
    )
    count = f"{words.workers(going)} on the way out" if going else "no workers"
    text = f"{count}, {state.target if state.declared is None else state.declared} declared: {why}"
    if going and (suspended or not was_up):
        return unready(
            text, refusal, now, reason=reasons.SUSPENDING if suspended else reasons.PARKING
        )
    rests = [] if going else [words.Condition(kind, True, reason, text)]
    return [*words.ready(reason, also(text, refusal)), *rests]


def _deadline(cluster: CustomResource) -> float:
    return numbers.seconds(cluster.spec.get("progressDeadlineSeconds"), PROGRESS_DEADLINE_S)
