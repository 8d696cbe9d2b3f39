"""Pure: how many workers an autoscaler's group is to have, when it says so, and what to report.

What it knows of the past is in :class:`Memory`, which a new process begins anew: a window then starts again, and
nothing is scaled down sooner for that.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.model.declared import Place
from dask_gitops.model.shape import WrongShape
from dask_gitops.plan.actions import Action, Draft, Emit, Patch, Plan
from dask_gitops.plan.demand import Demand, Process
from dask_gitops.plan.drain import match
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.groupstatus import unready
from dask_gitops.plan.split import (
    Crew,
    Share,
    declared_threads,
    make,
    share,
    workers_for_memory,
)
from dask_gitops.resources import names
from dask_gitops.resources.autoscalers import Direction, Limits, target
from dask_gitops.resources.observed import CustomResource, Problem
from dask_gitops.text import printable

JSON = dict[str, Any]

MANAGER = "dask-gitops-autoscaler"  # field manager of the number
PATIENCE_S = 30  # a scheduler that is silent for so long is a busy one, and nothing to report
UNHEARD_S = 60  # for so long a number that we tried to write may turn out to have arrived
RESETS, REMEMBERED_S = 3, 3600  # who undoes so many of our numbers within this time keeps doing so;
PAUSE_S, LONGEST_PAUSE_S = 60, 600  # then we wait this long, doubled each time
PEACE_S = 900  # after the last of them nobody contests the number any more
STRANGERS = 20  # kinds of workers without a pod here that are told apart, the most frequent ones
CONTESTED = "Contested"

Wishes = tuple[tuple[float, int], ...]  # (since when, number of workers), the last one holds


@dataclass(frozen=True, slots=True)
class Intent:
    """A number that is being written."""

    number: int
    words: str
    at: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What one autoscaler remembers, for as long as the process lives.

    :ivar uid: of the DaskAutoscaler; :ivar generation: of its spec, when the scheduler was asked last, at ``asked``.
    :ivar scheduler: the scheduler's process that answered last.
    :ivar number: the group's number when it was seen last; :ivar ours: we wrote it.
    :ivar wishes: what was wished since the windows began.
    :ivar resets: when others changed a number of ours.
    :ivar intent: the last number that we tried to write; only an answer, or the number itself, tells that it arrived.
    :ivar decision: the last one, in words, at ``scaled``.
    :ivar silent: since when the scheduler does not answer, in which ``silence`` continues "the scheduler ...".
    :ivar wants: the last number wanted.
    :ivar problem: why the API server refused the last number.
    """

    uid: str
    generation: int = -1
    asked: float = -math.inf
    scheduler: str = ""
    number: int | None = None
    ours: bool = False
    wishes: Wishes = ()
    resets: tuple[float, ...] = ()
    intent: Intent | None = None
    decision: str = ""
    scaled: float | None = None
    silent: float | None = None
    silence: str = ""
    wants: int | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class ScalerState:
    """Everything observed about one autoscaler at one moment.

    :ivar group: None when it is missing, or belongs to another cluster.
    :ivar cluster: None when it is missing or being deleted.
    :ivar rival: an older autoscaler of the same group.
    :ivar groups: all groups of the cluster, the autoscaler's own among them.
    :ivar maxima: of the groups that have an autoscaler, by name.
    :ivar wrong: what cannot be read of the autoscaler's spec.
    :ivar unread: places in it for which nothing counts.
    """

    autoscaler: CustomResource
    cluster: CustomResource | None = None
    group: GroupState | None = None
    rival: CustomResource | None = None
    groups: tuple[GroupState, ...] = ()
    maxima: Mapping[str, int] | None = None
    wrong: tuple[WrongShape, ...] = ()
    unread: frozenset[Place] = frozenset()

    @property
    def limits(self) -> Limits:
        return Limits.of(self.autoscaler)


@dataclass(frozen=True, slots=True)
class Steps:
    """:ivar memory: at once; :ivar after: when the whole plan has been carried out.
    :ivar asked: this follows from a look.
    """

    plan: Plan
    memory: Memory
    after: Memory
    asked: bool = True

    @property
    def actions(self) -> tuple[Action, ...]:
        return self.plan.actions


# ---- does it steer?


def eldest(rivals: Sequence[CustomResource]) -> CustomResource:
    """Of several autoscalers of one group, the one that rules."""
    return min(rivals, key=lambda a: (a.meta.created, a.meta.name))


def waits(state: ScalerState) -> list[words.Condition] | None:
    """Why this autoscaler does nothing, and asks nobody; None: it steers."""
    cluster_name, group_name = target(state.autoscaler)
    if state.unread:
        return words.reconciling(reasons.PROGRESSING, "it does nothing")
    if state.rival is not None:
        message = f"DaskAutoscaler {state.rival.meta.name} is older and sizes {group_name} already"
        return words.stalled(reasons.SECOND_AUTOSCALER, message)
    if state.cluster is None:
        return words.reconciling(reasons.CLUSTER_MISSING, f"waits for DaskCluster {cluster_name}")
    if state.group is None or state.group.group is None or state.group.declared is None:
        message = f"waits for DaskWorkerGroup {group_name} of {cluster_name}"
        return words.reconciling(reasons.GROUP_MISSING, message)
    if state.group.rest:
        message = f"{cluster_name} has no workers for now; {words.workers(state.group.declared)} when it goes on"
        return words.ready(reasons.CLUSTER_RESTS, message)
    if state.group.scheduler is None or not state.group.scheduler.ready:
        stays = words.workers(state.group.declared)
        return words.reconciling(
            reasons.SCHEDULER_NOT_READY, f"{stays} stay; the scheduler is not ready"
        )
    return None


def due_in(state: ScalerState, memory: Memory, now: float) -> float:
    """Seconds until the scheduler is to be asked; 0: now."""
    if memory.generation != state.autoscaler.meta.generation:
        return 0.0
    interval = state.limits.interval
    return max(0.0, min(interval, memory.asked + interval - now))  # a clock may be set back


def is_due(state: ScalerState, memory: Memory, now: float) -> bool:
    """Must the scheduler be asked now?"""
    return waits(state) is None and due_in(state, memory, now) == 0


# ---- how many


def crews(state: ScalerState, demand: Demand) -> list[Crew]:
    """The groups of the cluster in the order in which work is given to them, then workers that no pod here runs."""
    if state.group is None or state.cluster is None:
        return []
    matched, strangers = match(state.group, demand.processes)
    default = names.default_group_name(state.cluster.meta.name)
    out = []
    for group in sorted(state.groups, key=lambda g: (g.name != default, g.name)):
        if group.group is None:
            continue
        pods = tuple(tuple(matched[p.meta.uid]) for p in group.staying if p.meta.uid in matched)
        maximum = (state.maxima or {}).get(group.name)
        out.append(
            Crew(group.name, _offers(group, pods), declared_threads(group.group), pods, maximum)
        )
    return [*out, *_strangers(strangers)]


def _strangers(some: Iterable[Process]) -> list[Crew]:
    """Those that can do the same are one crew."""
    found: dict[Hashable, list[Process]] = {}
    for process in some:
        found.setdefault(make(process), []).append(process)
    crews = sorted(found.values(), key=lambda alike: -len(alike))[:STRANGERS]
    return [
        Crew("", dict(alike[0].resources), alike[0].nthreads, tuple((p,) for p in alike))
        for alike in crews
    ]


def _offers(group: GroupState, pods: Sequence[Sequence[Process]]) -> dict[str, float]:
    """What the group declares; a group that declares nothing offers what all of its workers have."""
    declared = ((group.group.spec.get("worker") or {}).get("resources")) if group.group else None
    if declared:
        return {name: float(amount) for name, amount in declared.items() if amount}
    live = [p.resources for pod in pods for p in pod]
    common = set.intersection(*(set(r) for r in live)) if live else set()
    return {name: amount for name in common if (amount := min(r[name] for r in live)) > 0}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the demand asks for, whatever the limits say.

    :ivar why: in words that a number of workers may follow.
    """

    number: int
    why: str


def wish(state: ScalerState, demand: Demand) -> Wish:
    """How many workers the group could use now."""
    assert state.group is not None
    everyone = crews(state, demand)
    mine = next(c for c in everyone if c.name == state.group.name)
    others = [c for c in everyone if c is not mine]
    of_tasks = share(everyone, demand.kinds, demand.target_seconds)[mine.name]
    work, memory = math.ceil(of_tasks.work - 1e-6), workers_for_memory(mine, others)
    number = max(work, mine.busy, memory)
    if number == 0:
        return Wish(0, "nothing to do")
    if number == work:
        return Wish(number, _tasks(of_tasks))
    if number == memory:
        return Wish(number, "results in memory")
    return Wish(number, f"tasks on {words.workers(number)}")


def _tasks(some: Share) -> str:
    if not some.waiting:
        return "tasks running"
    needs = f" that need {words.listed(sorted(some.needs))}" if some.needs else ""
    return f"{some.waiting} task{'s' if some.waiting > 1 else ''}{needs} queued"


# ---- when


def next_steps(
    state: ScalerState,
    memory: Memory,
    now: float,
    *,
    asked: bool,
    demand: Demand | None,
    silence: str,
) -> Steps:
    """What a turn does: nothing but for a look, and who waits begins its windows anew.

    :param asked: this is a look; see `plan_autoscaler` for the rest.
    """
    if waits(state) is not None:
        memory = replace(memory, generation=-1, wishes=(), silent=None, wants=None)
    elif asked:
        return plan_autoscaler(state, demand, silence, memory, now)
    return Steps(Plan(), memory, memory, asked=False)


def plan_autoscaler(
    state: ScalerState, demand: Demand | None, silence: str, memory: Memory, now: float
) -> Steps:
    """One look: what was wished, and the group's next number, if it is another.

    :param demand: None when the scheduler does not answer; then all stays as it is.
    :param silence: why, in words that continue "the scheduler ...".
    """
    assert state.group is not None
    assert state.group.group is not None
    assert state.group.declared is not None
    current, limits = state.group.declared, state.limits
    draft = Draft()
    memory = replace(memory, asked=now, generation=state.autoscaler.meta.generation, problem=None)
    memory = _recognise(memory, current, now, draft)
    if demand is None:
        silent = now if memory.silent is None else memory.silent
        memory = replace(memory, silent=silent, silence=silence, wishes=(), wants=current)
        return Steps(draft.done(), memory, memory)
    if demand.id != memory.scheduler or not memory.wishes:
        memory = replace(memory, scheduler=demand.id, wishes=((now, current),))
    wanted = wish(state, demand)
    inside = max(limits.minimum, min(limits.maximum, wanted.number))
    longest = max(limits.up.window, limits.down.window)
    memory = replace(memory, wishes=remember(memory.wishes, inside, now, longest), silent=None)
    number, why = decide(current, memory.wishes, limits, wanted, now)
    if number == current or now < contested_until(memory):
        memory = replace(memory, wants=number)
        return Steps(draft.done(), memory, memory)
    text = printable(why, 500)
    intent = Intent(number, text, now)
    body = {"spec": {"replicas": number}}
    patch = Patch("DaskWorkerGroup", state.group.group.meta, body, "scale", manager=MANAGER)
    draft.part("number", declared=True).add(patch, _event(intent, current))
    memory = replace(memory, wants=number, intent=intent)
    return Steps(draft.done(), memory, _arrived(memory, intent))


def _event(intent: Intent, before: int) -> Emit:
    return Emit("ScaledUp" if intent.number > before else "ScaledDown", intent.words)


def _arrived(memory: Memory, intent: Intent) -> Memory:
    return replace(
        memory,
        number=intent.number,
        ours=True,
        intent=None,
        decision=intent.words,
        scaled=intent.at,
    )


def _recognise(memory: Memory, current: int, now: float, draft: Draft) -> Memory:
    """Whose number is it that we see? With another's, all windows begin anew."""
    if memory.number == current:
        return memory
    tried = memory.intent
    if tried is not None and tried.number == current and now - tried.at <= UNHEARD_S:
        # Our own, whose answer we did not hear.
        draft.part("recognised").add(_event(tried, memory.number or 0))
        return _arrived(memory, tried)
    resets = tuple(at for at in memory.resets if now - at < REMEMBERED_S)
    if memory.ours:
        resets = (*resets, now)
    return replace(
        memory, number=current, ours=False, intent=None, resets=resets, wishes=((now, current),)
    )


def contested_until(memory: Memory) -> float:
    """Until when a number that somebody keeps setting is left alone; 0: nobody does."""
    if len(memory.resets) < RESETS:
        return 0.0
    pause = PAUSE_S * 2.0 ** min(len(memory.resets) - RESETS, 10)
    return memory.resets[-1] + min(pause, LONGEST_PAUSE_S)


def is_contested(memory: Memory, now: float) -> bool:
    return len(memory.resets) >= RESETS and now - memory.resets[-1] < PEACE_S


def remember(wishes: Wishes, number: int, now: float, longest: float) -> Wishes:
    """One more wish, without those that ended before the longest window began."""
    if not wishes or wishes[-1][1] != number:
        wishes = (*wishes, (now, number))
    ended = [n for n in range(len(wishes) - 1) if wishes[n + 1][0] <= now - longest]
    return wishes[len(ended) :]


def within(wishes: Wishes, window: float, now: float) -> list[int]:
    """The numbers that were wished at any moment of the window, the present one among them."""
    ends = [since for since, _ in wishes[1:]] + [math.inf]
    return [n for (_, n), end in zip(wishes, ends, strict=True) if end > now - window]


def decide(
    current: int, wishes: Wishes, limits: Limits, wanted: Wish, now: float
) -> tuple[int, str]:
    """The next number and why; the present one if it stays."""
    up = min(within(wishes, limits.up.window, now))
    down = max(within(wishes, limits.down.window, now))
    least, most = limits.minimum, limits.maximum
    if current > most:
        return most, f"the maximum is {most}: {current} to {most}"
    if current < least and up <= least:
        return least, f"the minimum is {least}: {current} to {least}"
    if up > current:
        number = min(up, current + _most(current, limits.up))
        number = max(number, limits.minimum)
        by = _bound(number, up, limits.up, wanted.number > limits.maximum, "the maximum")
        return number, f"{wanted.why} for {words.workers(current)}: {current} to {number}{by}"
    if down < current:
        number = max(down, current - _most(current, limits.down))
        by = _bound(number, down, limits.down, wanted.number < limits.minimum, "the minimum")
        lately = f" for {limits.down.window:g} s" if limits.down.window else ""
        what = (
            "nothing to do"
            if down == 0 or wanted.number == 0
            else f"{down} of {words.workers(current)} needed"
        )
        return number, f"{what}{lately}: {current} to {number}{by}"
    return current, ""


def _most(current: int, direction: Direction) -> int:
    """By how many one decision may change the number."""
    if direction.percent is None:
        return 2**31
    return max(1, current * direction.percent // 100)


def _bound(number: int, asked: int, direction: Direction, at_bound: bool, bound: str) -> str:
    if number != asked:
        return ", limited by maxPercent"
    return f", limited by {bound}" if at_bound else ""


# ---- status


def autoscaler_status(state: ScalerState, memory: Memory, now: float) -> tuple[JSON, float | None]:
    """Status of an autoscaler, and when it will change by itself (seconds), if it will."""
    scaler, again = state.autoscaler, None
    group = state.group
    found = waits(state)
    if found is None:
        assert group is not None
        if memory.problem is not None:
            found = unready(f"cannot scale {group.name}", memory.problem, now)
        elif memory.silent is not None and now - memory.silent >= PATIENCE_S:
            stays = words.workers(group.want)
            message = f"{stays} stay: the scheduler {memory.silence}"
            found = words.reconciling(reasons.SCHEDULER_SILENT, message)
        elif memory.silent is not None and not memory.scheduler:
            found = words.reconciling(reasons.PROGRESSING, "asks the scheduler for its demand")
        else:
            if memory.silent is not None:
                again = memory.silent + PATIENCE_S - now
            found = words.ready(reasons.STEERING, _steering(state, memory))
        if is_contested(memory, now):
            message = (
                f"{len(memory.resets)} of its numbers were set back by somebody else; "
                f"the next try is {words.timestamp(contested_until(memory))} at the earliest"
            )
            found.append(words.Condition(CONTESTED, True, reasons.NUMBER_IS_RESET, message))
    found = words.misshapen(found, state.wrong)
    out: JSON = {
        "observedGeneration": scaler.meta.generation,
        "conditions": words.conditions(found, scaler.status, scaler.meta.generation, now),
    }
    if group is not None and group.group is not None:
        out["currentReplicas"] = len(group.live)
        wants = memory.wants if waits(state) is None else None
        out["desiredReplicas"] = group.want if wants is None else wants
    decision = memory.decision or str(scaler.status.get("lastDecision") or "")
    scaled = scaler.status.get("lastScaleTime")
    scaled = words.timestamp(memory.scaled) if memory.scaled is not None else scaled
    if decision:
        out["lastDecision"] = decision
    if scaled:
        out["lastScaleTime"] = scaled
    return out, again


def _steering(state: ScalerState, memory: Memory) -> str:
    limits, wants = state.limits, memory.wants
    if wants is None:
        return "follows the scheduler's demand"
    if limits.minimum == limits.maximum:
        bound = ", minimum and maximum"
    elif wants in (limits.minimum, limits.maximum):
        bound = ", the minimum" if wants == limits.minimum else ", the maximum"
    else:
        bound = ""
    return f"{words.workers(wants)} wanted{bound}"
