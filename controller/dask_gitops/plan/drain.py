"""Pure: how workers leave without a loss.

Victims are the group's own, idle and light first, they are marked on their pods before the scheduler is asked, a retry
finishes exactly the marked set, and a pod is deleted only when the scheduler says that its workers are retired (or was
never told of them).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from dask_gitops import status as words
from dask_gitops.plan.actions import Delete, Draft, Emit, Patch, Retire
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.turnover import Turnover
from dask_gitops.resources import labels
from dask_gitops.resources.observed import Pod

REGISTRATION_S = (
    5  # a marked pod that the scheduler does not know after this time will not be known any more
)
RETRY_HELD_S = 10  # how often a scale-down that cannot go on is tried again
UNREACHABLE_S = 60  # with whenUnreachable: Drain, workers go this long after they were marked


class Somewhere(Protocol):
    """A worker process, as far as it tells where it runs."""

    @property
    def host(self) -> str: ...

    @property
    def name(self) -> str: ...


W = TypeVar("W", bound=Somewhere)


def match(state: GroupState, workers: Iterable[W]) -> tuple[dict[str, list[W]], list[W]]:
    """Which worker runs in which pod: by address first, then by name.

    :return: workers per pod uid, and those that belong to no pod of the cluster that we know.
    """
    everyone = [*state.pods, *state.neighbours]
    by_ip: dict[str, Pod | None] = {}
    for pod in everyone:
        if not pod.finished:
            for ip in {pod.ip, *pod.ips} - {None}:
                # An address of several pods (hostNetwork) tells nothing.
                by_ip[str(ip)] = None if str(ip) in by_ip else pod
    by_name = {p.meta.name: p for p in everyone}
    matched: dict[str, list[W]] = {}
    strangers: list[W] = []
    for worker in workers:
        # Several processes in a pod are called <name>-0, <name>-1 ...
        found = (
            by_ip.get(worker.host)
            or by_name.get(worker.name)
            or by_name.get(worker.name.rpartition("-")[0])
        )
        if found is None:
            strangers.append(worker)
        else:
            matched.setdefault(found.meta.uid, []).append(worker)
    return matched, strangers


def cancel(flow: Turnover, draft: Draft) -> None:
    # One that has started without our knowledge may hold results.
    if flow.cancel:
        which = words.workers(len(flow.cancel))
        draft.part("cancel").add(
            *(Delete("Pod", pod.meta, exact=True) for pod in flow.cancel),
            Emit("Updating", f"cancelled {which} of an earlier spec that had not started")
            if flow.rolling
            else Emit("ScaledDown", f"cancelled {which} that had not started"),
        )


def choose(
    state: GroupState,
    flow: Turnover,
    workers: Sequence[Worker] | None,
    now: float,
    draft: Draft,
    silence: str,
) -> None:
    """Workers are marked to leave, idle and light ones first."""
    if flow.rolling and state.want and not (state.scheduler and state.scheduler.ready):
        return  # it is starting, and its workers with it
    if workers is None and not state.may_discard and not _may_go_unasked(state):
        which = "workers of an earlier spec" if flow.rolling else words.workers(flow.leave)
        draft.held = f"{which} should go, but the scheduler {silence or 'is not running'}"
        draft.look_again(RETRY_HELD_S)
        return
    matched, strangers = match(state, workers or ())

    def load(pod: Pod) -> tuple[bool, int, int, int, int]:
        own = matched.get(pod.meta.uid, [])
        return (
            any(w.actors for w in own),
            sum(w.processing for w in own),
            sum(w.bytes for w in own),
            # A worker that the scheduler does not know is the cheapest, unless it may just be one of the strangers.
            len(own) if not strangers else -len(own),
            -pod.serial,
        )

    victims = [p for some, number in flow.drain for p in sorted(some, key=load)[:number]]
    marks = draft.part("marks")
    for pod in victims:
        body = {"metadata": {"annotations": {labels.RETIRING: words.timestamp(now)}}}
        marks.add(Patch("Pod", pod.meta, body))
    which = words.workers(len(victims)) + (" of an earlier spec" if flow.rolling else "")
    verb = "hands over its" if len(victims) == 1 else "hand over their"
    leave = "leaves" if len(victims) == 1 else "leave"
    marks.add(
        Emit("Updating" if flow.rolling else "ScalingDown", f"{which} {verb} results and {leave}")
    )
    marks.look_again(0)


def _may_go_unasked(state: GroupState) -> bool:
    """Does the user want workers to go, by their own hand-over, although the scheduler cannot be asked?"""
    parked = state.rest == "parked"  # they go because the scheduler said so
    return (
        not parked
        and state.cluster is not None
        and state.cluster.spec.get("whenUnreachable") == "Drain"
    )


def retire(
    state: GroupState,
    workers: Sequence[Worker] | None,
    now: float,
    draft: Draft,
    silence: str,
    stay: set[str],
) -> None:
    """Carry on with the marked pods, all but those that stay after all (uids)."""
    timeout, to_zero = state.drain_timeout, state.may_discard
    since = {p.meta.uid: now - (p.retiring or now) for p in state.leaving}
    if workers is None:
        if _may_go_unasked(state) and not to_zero:
            _go_unasked(state, now, draft, silence)
            return
        overdue = [p for p in state.leaving if to_zero and since[p.meta.uid] > timeout]
        if overdue:
            draft.part("discard").add(
                *(Delete("Pod", pod.meta) for pod in overdue),
                Emit(
                    "ResultsDiscarded",
                    f"{words.workers(len(overdue))} deleted without handing over: "
                    f"the scheduler {silence or 'is not running'}",
                    warning=True,
                ),
            )
        waiting = len(state.leaving) - len(overdue)
        if waiting:
            draft.held = f"{words.workers(waiting)} should go, but the scheduler {silence or 'is not running'}"
            draft.look_again(RETRY_HELD_S)
        return
    matched, strangers = match(state, workers)
    leaving = [p for p in state.leaving if p.meta.uid not in stay]
    known = [p for p in leaving if p.meta.uid in matched]
    for pod in leaving:
        if pod.meta.uid in matched:
            continue
        age = since[pod.meta.uid]
        # One of the strangers may be this pod's worker, so a ready pod does not count as unknown to the scheduler.
        unknown = not strangers or not pod.ready or (to_zero and age > timeout)
        if unknown and age >= REGISTRATION_S:
            draft.part("unknown workers").add(Delete("Pod", pod.meta))
        elif not unknown:
            draft.held = f"{pod.meta.name} should go, but {strangers[0].name} of the scheduler's workers has no pod here"
            draft.look_again(RETRY_HELD_S)
        else:
            draft.look_again(REGISTRATION_S - age)
    patient = [p for p in known if since[p.meta.uid] <= timeout]
    overdue = [p for p in known if since[p.meta.uid] > timeout]
    for some, late in ((patient, False), (overdue, True)):
        if some:
            ids = tuple(tuple(w.id for w in matched[p.meta.uid]) for p in some)
            asked = draft.part("retire the overdue" if late else "retire")
            asked.add(Retire(tuple(some), ids, interrupt=late, discard=late and to_zero))
            asked.look_again(1)


def _go_unasked(state: GroupState, now: float, draft: Draft, silence: str) -> None:
    """One after the other, so that each can hand over to those that stay; the silence may end meanwhile."""
    if any(p.meta.deleting is not None for p in state.pods):
        return  # its end is news
    pod = min(state.leaving, key=lambda p: (p.retiring or now, p.serial))
    wait = (pod.retiring or now) + UNREACHABLE_S - now
    if wait > 0:
        draft.held = f"{words.workers(len(state.leaving))} should go; the scheduler {silence or 'is not running'}"
        draft.look_again(wait)
        return
    text = f"{pod.meta.name} goes unasked: the scheduler {silence or 'is not running'}"
    draft.part("unasked").add(Delete("Pod", pod.meta), Emit("DrainedUnasked", text, warning=True))


def reclaimable(state: GroupState, workers: Sequence[Worker] | None) -> list[tuple[Pod, list[str]]]:
    if workers is None:
        return []
    matched, _ = match(state, workers)
    current = (p for p in state.leaving if p.meta.uid not in state.old)
    found = [(p, [w.id for w in matched.get(p.meta.uid, [])]) for p in current]
    return [(p, ids) for p, ids in found if ids]
