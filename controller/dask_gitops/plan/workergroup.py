"""Pure: what to do about one worker group, and what to report of it.

Scaling down never loses work: victims are the group's own, idle and light first, they are marked on their pods before
the scheduler is asked, a retry finishes exactly the marked set, and a pod is deleted only when the scheduler says that
its workers are retired (or was never told of them).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dask_gitops import status as words
from dask_gitops.plan import replacement
from dask_gitops.plan.actions import Create, Delete, Draft, Emit, Patch, Plan, Retire, Undrain
from dask_gitops.plan.rollout import Budget, image_to_hold, is_of, is_restarted
from dask_gitops.resources import groups, labels, pods
from dask_gitops.resources.metadata import metadata_patch, with_note
from dask_gitops.resources.observed import CustomResource, Pod, Problem
from dask_gitops.resources.revision import revision

JSON = dict[str, Any]

HEAD_START_S = 10  # workers are created this long after the scheduler got a node, even if its image is still pulled
REGISTRATION_S = (
    5  # a marked pod that the scheduler does not know after this time will not be known any more
)
RETRY_HELD_S = 10  # how often a scale-down that cannot go on is tried again
UNREACHABLE_S = 60  # with whenUnreachable: Drain, workers go this long after they were marked
PROGRESS_DEADLINE_S = 600  # from here on a problem needs a person


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process as the scheduler sees it."""

    id: str  # server id: names and addresses also match a process that came after
    host: str
    name: str
    processing: int  # tasks sent to it
    bytes: int  # of the results that it holds
    actors: int = 0


@dataclass(frozen=True)
class GroupState:
    """Everything observed about one group at one moment.

    :ivar group: None when it was removed (or is being deleted) while its pods are still there.
    :ivar cluster: None when it is missing or being deleted.
    :ivar scheduler: the cluster's scheduler pod, unless it has ended or is being deleted.
    :ivar pods: the group's worker pods of this very cluster (by uid).
    :ivar neighbours: addresses and names of the cluster's other worker pods.
    :ivar highest: the highest serial of a worker that was ever seen, also of one that is gone.
    """

    name: str
    group: CustomResource | None
    cluster: CustomResource | None
    scheduler: Pod | None
    pods: tuple[Pod, ...] = ()
    neighbours: tuple[Pod, ...] = ()
    highest: int = -1

    @cached_property
    def live(self) -> list[Pod]:
        return [p for p in self.pods if not p.gone]

    @cached_property
    def leaving(self) -> list[Pod]:
        return [p for p in self.live if p.retiring is not None]

    @cached_property
    def staying(self) -> list[Pod]:
        return [p for p in self.live if p.retiring is None]

    @property
    def declared(self) -> int | None:
        """``spec.worker.replicas`` as it stands; 0 for a removed group."""
        if self.group is None:
            return 0
        replicas: int | None = (self.group.spec.get("worker") or {}).get("replicas")
        return replicas

    @property
    def want(self) -> int:
        """How many workers there should be. A number that nobody gives any more is held."""
        return self.held if self.declared is None else self.declared

    @property
    def held(self) -> int:
        """How many there were to be until the number was taken away; 1 for a new group."""
        old = sum(not self.is_current(p) for p in self.staying)
        there = max(old, len(self.staying) - old)  # in a roll-out, some are there twice
        before = self._up_with
        if before is None:
            return there if self.live else 1
        if self.leaving and all(self.is_current(p) for p in self.live):
            return there  # on the way down; who stays is what was asked for
        return max(there, before)  # on the way up nobody has to leave again

    @property
    def _up_with(self) -> int | None:
        """With how many workers the group was complete last, as far as this scheduler pod remembers."""
        notes = self.scheduler.meta.annotations if self.scheduler else {}
        _, dot, number = notes.get(labels.GROUP_WAS_READY + self.name, "").rpartition(".")
        return int(number) if dot and number.isdecimal() else None

    @cached_property
    def held_image(self) -> str | None:
        """The image that workers keep until the scheduler changes its own too; None: they wait for nothing."""
        if self.cluster is None or self.group is None:
            return None
        return image_to_hold(self.scheduler, self.cluster, self.group, self.live)

    @cached_property
    def revision(self) -> str | None:
        """Of the workers' spec; None for a removed group."""
        if self.cluster is None or self.group is None:
            return None
        return pods.worker_revision(self.cluster, self.group)

    def is_current(self, pod: Pod) -> bool:
        """Was this pod made from what is declared now? There is nothing to be renewed in a removed group."""
        if self.cluster is None or self.revision is None:
            return True
        followed = pod.meta.annotations.get(labels.SCHEDULER_IMAGE)
        follows = None in (followed, self.scheduler) or followed == getattr(
            self.scheduler, "image", None
        )
        return follows and is_of(pod, self.revision) and is_restarted(pod, self.cluster)

    @cached_property
    def old(self) -> frozenset[str]:
        """Uids of the live workers of an earlier spec that are to be replaced now."""
        if self.held_image is not None or self.declared is None:
            return frozenset()  # a number that is not written down yet would grow with the surge
        return frozenset(p.meta.uid for p in self.live if not self.is_current(p))

    @property
    def judged(self) -> list[Pod]:
        """Live workers whose problems count: those of an earlier spec say nothing about what is declared now."""
        return [p for p in self.live if p.meta.uid not in self.old]

    @property
    def drain_timeout(self) -> float:
        for resource in (self.group, self.cluster):
            if resource is not None and resource.spec.get("drainTimeout") is not None:
                return float(resource.spec["drainTimeout"])
        return pods.DRAIN_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Turnover:
    """Which workers come and go next.

    :ivar missing: how many are to be made.
    :ivar short: how many of those that were about to leave may stay instead.
    :ivar cancel: never started, so nothing is lost with them.
    :ivar drain: sets of workers, and how many of each are to leave.
    :ivar rolling: workers of an earlier spec are being replaced.
    """

    missing: int
    short: int
    cancel: tuple[Pod, ...]
    drain: tuple[tuple[tuple[Pod, ...], int], ...]
    rolling: bool = False

    @property
    def leave(self) -> int:
        return sum(number for _, number in self.drain)


def turnover(state: GroupState) -> Turnover:
    """The next step from the workers that there are to the number and kind that is declared."""
    old = [p for p in state.staying if p.meta.uid in state.old]
    if old:
        new = [p for p in state.staying if p.meta.uid not in state.old]
        return _roll(state, old, new)
    missing, cancel, drain = _resize(state.staying, state.want)
    return Turnover(missing, missing, cancel, (drain,))


def _resize(
    some: Sequence[Pod], want: int
) -> tuple[int, tuple[Pod, ...], tuple[tuple[Pod, ...], int]]:
    surplus = max(0, len(some) - want)
    pending = sorted((p for p in some if not p.started), key=lambda p: -p.serial)[:surplus]
    started = tuple(p for p in some if p.started)
    return max(0, want - len(some)), tuple(pending), (started, surplus - len(pending))


def _roll(state: GroupState, old: Sequence[Pod], new: Sequence[Pod]) -> Turnover:
    """As a Deployment does it: new ones within the surge, old ones as far as enough are ready without them."""
    want, budget = state.want, Budget.of(state.want, state.group, state.cluster)
    at_least = want - budget.unavailable
    cancel = tuple(p for p in old if not p.started)
    ready_old = tuple(p for p in old if p.started and p.ready)
    broken = tuple(p for p in old if p.started and not p.ready)
    ready_new = sum(p.ready for p in new)
    room = len(ready_old) + len(broken) + ready_new - at_least
    free = len(state.live) - len(cancel)
    _, surplus_new, drain_new = _resize(new, want)
    return Turnover(
        missing=max(0, min(want - len(new), want + budget.surge - free)),
        short=max(0, want - len(new)),
        cancel=(*cancel, *surplus_new),
        drain=(
            (broken, max(0, min(len(broken), room))),
            (ready_old, max(0, min(len(ready_old), len(ready_old) + ready_new - at_least))),
            drain_new,
        ),
        rolling=True,
    )


def needs_scheduler(state: GroupState) -> bool:
    """Must the scheduler be asked before this group can be planned? Never for a group that is as it should be."""
    if state.cluster is None or state.scheduler is None:
        return False
    return bool(state.leaving) or turnover(state).leave > 0


def plan_group(
    state: GroupState,
    workers: Sequence[Worker] | None,
    now: float,
    *,
    default_image: str,
    silence: str = "",
    reserved: tuple[str, ...] = (),
) -> Plan:
    """The next step for this group.

    :param workers: what the scheduler knows, None if it was not asked or does not answer.
    :param silence: why it does not answer, in words.
    :param default_image: for workers whose spec names none, when no scheduler runs to follow.
    """
    draft = Draft()
    if state.cluster is None:
        return draft.done()  # garbage collection takes the pods of a deleted cluster
    if state.group is None and groups.declares(state.cluster, state.name):
        return draft.done()  # somebody deleted it, and it comes back: no worker has to go
    _metadata(state, draft, reserved)
    flow = turnover(state)
    may_grow = _may_grow(state, now, draft) if flow.missing else False
    fresh = 0  # ended right after their start, or with the scheduler: they hold their places for a moment
    dead: list[Pod] = []  # are replaced now,
    mourned: list[Pod] = []  # and those of them whose early end says something of their successors
    for pod in state.pods:
        if pod.finished and pod.meta.deleting is None:
            # A worker ends with its scheduler, and with an earlier spec: that says nothing against its successor.
            other = replacement.ended_with(state.scheduler, pod) or not state.is_current(pod)
            wait = 0.0 if other else replacement.may_be_replaced_in(pod, now)
            if (wait > 0 or not may_grow) and fresh < flow.missing:
                fresh += 1
                if wait > 0:
                    draft.look_again(wait)
                continue
            draft.add(Delete("Pod", pod.meta))
            if pod.retiring is None:
                dead.append(pod)
                mourned += [] if other else [pod]
    if state.group is not None and state.declared is None:
        body = {"spec": {"replicas": state.want}}
        draft.add(Patch("DaskWorkerGroup", state.group.meta, body, subresource="scale"))
    missing = flow.missing - fresh
    reclaimed = _reclaimable(state, workers)[: max(0, flow.short - fresh)]
    if reclaimed:  # who was about to leave stays, as far as the scheduler can be told
        draft.add(
            Undrain(tuple(p for p, _ in reclaimed), tuple(i for _, ids in reclaimed for i in ids))
        )
    # Before new pods: a quota that refuses them must not keep old ones from going.
    if state.leaving:
        _retire(state, workers, now, draft, silence, stay={p.meta.uid for p, _ in reclaimed})
    _cancel(flow, draft)
    missing -= len(reclaimed)
    if missing > 0 and may_grow:
        _grow(
            state,
            missing,
            now,
            draft,
            rolling=flow.rolling,
            default_image=default_image,
            reserved=reserved,
            dead=dead,
        )
    if flow.leave:
        _choose(state, flow, workers, now, draft, silence)
    replacement.hand_on(draft, dead, mourned)
    return draft.done()


def _metadata(state: GroupState, draft: Draft, reserved: tuple[str, ...]) -> None:
    """Changed labels and annotations reach the live pods as they are; nothing restarts."""
    if state.cluster is None or state.group is None:
        return
    want = with_note(pods.worker_metadata(state.cluster, state.group, reserved))
    for pod in state.live:
        patch = metadata_patch(want, pod.meta)
        if patch:
            draft.add(Patch("Pod", pod.meta, {"metadata": patch}))


def _may_grow(state: GroupState, now: float, draft: Draft) -> bool:
    """Workers come once the scheduler has its place: they would take its room."""
    scheduler = state.scheduler
    if state.group is None or scheduler is None or scheduler.scheduled is None:
        return False
    if not scheduler.started and now < scheduler.scheduled + HEAD_START_S:
        draft.look_again(scheduler.scheduled + HEAD_START_S - now)
        return False
    return True


def _grow(
    state: GroupState,
    missing: int,
    now: float,
    draft: Draft,
    *,
    rolling: bool,
    default_image: str,
    reserved: tuple[str, ...],
    dead: Sequence[Pod],
) -> None:
    """Create workers.

    :param dead: the pods that they replace, of those that ended.
    """
    scheduler = state.scheduler
    if state.group is None or state.cluster is None or scheduler is None:
        return
    first = 1 + max((p.serial for p in state.pods), default=-1)
    first = max(first, state.highest + 1)
    warning = _known_warning(state)
    draft.add(
        Create(
            "Pod",
            tuple(
                pods.worker_pod(
                    state.cluster,
                    state.group,
                    serial,
                    default_image=scheduler.image or default_image,
                    held_image=state.held_image,
                    reserved=reserved,
                    warning=warning,
                )
                for serial in range(first, first + missing)
            ),
        ),
        Emit("Updating", f"created {words.workers(missing)} of the new spec")
        if rolling
        else replacement.growth(missing, state.want, dead=dead[:missing], was_up=was_ready(state)),
    )


def _reclaimable(
    state: GroupState, workers: Sequence[Worker] | None
) -> list[tuple[Pod, list[str]]]:
    if workers is None:
        return []
    matched, _ = match(state, workers)
    current = (p for p in state.leaving if p.meta.uid not in state.old)
    found = [(p, [w.id for w in matched.get(p.meta.uid, [])]) for p in current]
    return [(p, ids) for p, ids in found if ids]


def _known_warning(state: GroupState) -> str | None:
    if state.group is None or state.cluster is None:
        return None
    return next(
        (
            p.meta.annotations[labels.SPEC_WARNING]
            for p in state.pods
            if labels.SPEC_WARNING in p.meta.annotations
            and p.meta.annotations.get(labels.REVISION) == state.revision
        ),
        None,
    )


def match(
    state: GroupState, workers: Iterable[Worker]
) -> tuple[dict[str, list[Worker]], list[Worker]]:
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
    matched: dict[str, list[Worker]] = {}
    strangers: list[Worker] = []
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


def _cancel(flow: Turnover, draft: Draft) -> None:
    draft.add(*(Delete("Pod", pod.meta) for pod in flow.cancel))
    if flow.cancel:
        which = words.workers(len(flow.cancel))
        draft.add(
            Emit("Updating", f"cancelled {which} of an earlier spec that had not started")
            if flow.rolling
            else Emit("ScaledDown", f"cancelled {which} that had not started")
        )


def _choose(
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
    if workers is None and state.want > 0 and not _may_go_unasked(state):
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
    for pod in victims:
        body = {"metadata": {"annotations": {labels.RETIRING: words.timestamp(now)}}}
        draft.add(Patch("Pod", pod.meta, body))
    which = words.workers(len(victims)) + (" of an earlier spec" if flow.rolling else "")
    verb = "hands over its" if len(victims) == 1 else "hand over their"
    leave = "leaves" if len(victims) == 1 else "leave"
    draft.add(
        Emit("Updating" if flow.rolling else "ScalingDown", f"{which} {verb} results and {leave}")
    )
    draft.look_again(0)


def _may_go_unasked(state: GroupState) -> bool:
    """Does the user want workers to go, by their own hand-over, although the scheduler cannot be asked?"""
    return state.cluster is not None and state.cluster.spec.get("whenUnreachable") == "Drain"


def _retire(
    state: GroupState,
    workers: Sequence[Worker] | None,
    now: float,
    draft: Draft,
    silence: str,
    stay: set[str],
) -> None:
    """Carry on with the marked pods, all but those that stay after all (uids)."""
    timeout, to_zero = state.drain_timeout, state.want == 0
    since = {p.meta.uid: now - (p.retiring or now) for p in state.leaving}
    if workers is None:
        if _may_go_unasked(state) and not to_zero:
            _go_unasked(state, now, draft, silence)
            return
        overdue = [p for p in state.leaving if to_zero and since[p.meta.uid] > timeout]
        for pod in overdue:
            draft.add(Delete("Pod", pod.meta))
        if overdue:
            draft.add(
                Emit(
                    "ResultsDiscarded",
                    f"{words.workers(len(overdue))} deleted without handing over: "
                    f"the scheduler {silence or 'is not running'}",
                    warning=True,
                )
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
            draft.add(Delete("Pod", pod.meta))
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
            draft.add(Retire(tuple(some), ids, interrupt=late, discard=late and to_zero))
            draft.look_again(1)


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
    draft.add(Delete("Pod", pod.meta), Emit("DrainedUnasked", text, warning=True))


# ---- status


def ready_revision(state: GroupState) -> str | None:
    """What "was up once" is remembered for: the meaning of the workers' spec and their number."""
    if state.group is None or state.cluster is None:
        return None
    meaning = revision(state.revision, state.cluster.spec.get("restartedAt"))
    return f"{meaning}.{state.want}"


def was_ready(state: GroupState) -> bool:
    """Was all up once for what is declared? Back to an earlier spec, that is not enough: others run in between."""
    if state.old:
        return False
    key = labels.GROUP_WAS_READY + state.name
    return state.scheduler is not None and state.scheduler.meta.annotations.get(
        key
    ) == ready_revision(state)


def is_up(state: GroupState) -> bool:
    """Exactly the workers that are wanted, all ready and of the current spec, on a running scheduler."""
    return (
        state.scheduler is not None
        and state.scheduler.ready
        and not state.old
        and len(state.live) == state.want
        and all(p.ready for p in state.live)
    )


def latch(state: GroupState) -> dict[str, str]:
    """What to remember on the scheduler pod, so that a later eviction does not clear Ready."""
    revised = ready_revision(state)
    if revised is None or not is_up(state) or was_ready(state):
        return {}
    return {labels.GROUP_WAS_READY + state.name: revised}


def first_problem(some: Iterable[Pod], extra: Iterable[Problem] = ()) -> Problem | None:
    """The problem to report: a refusal first, then the oldest."""
    problems = [*extra, *(problem for p in some if (problem := replacement.problem(p)))]
    return min(problems, key=lambda p: (not p.refused, p.since), default=None)


def unready(
    message: str, problem: Problem | None, now: float, *, deadline: float = PROGRESS_DEADLINE_S
) -> list[words.Condition]:
    """Conditions of something on its way: reconciling, or stalled when only a person can help."""
    if problem is None:
        return words.reconciling("Progressing", message)
    text = f"{message}; {problem.message}"
    if problem.refused or now - problem.since > deadline:
        return words.stalled(problem.reason, text)
    return words.reconciling(problem.reason, text)


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
    again: float | None = None
    if state.cluster is None:
        found = words.reconciling("ClusterMissing", f"waits for DaskCluster {cluster_name}")
        updated = 0
    else:
        updated = sum(state.is_current(p) for p in live)
        scheduler_down = state.scheduler is None or not state.scheduler.ready
        problem = first_problem(
            [*state.judged, *(p for p in state.pods if p.finished and state.is_current(p))],
            problems,
        )
        count = f"{len(ready)} of {words.workers(state.want)} ready"
        if state.old:
            count += f", {updated} of {state.want} updated"
        elif len(live) > state.want:
            count += f", {len(live) - state.want} on the way out"
        if scheduler_down:
            found = words.reconciling("SchedulerNotReady", f"{count}; the scheduler is not ready")
        elif is_up(state) or was_ready(state):
            found = words.ready("WorkersReady", f"{count}; {problem.message}" if problem else count)
        else:
            found = unready(count, problem, now, deadline=_deadline(state.cluster))
            left = problem.since + _deadline(state.cluster) - now if problem else 0.0
            if left >= 0 and problem and not problem.refused:
                again = left + 1
    if held:
        found.append(words.Condition(words.SCALE_DOWN_HELD, True, "NothingIsDiscarded", held))
    if state.held_image is not None and updated < len(live):
        message = f"{words.workers(len(live) - updated)} of an earlier spec wait for the scheduler, whose image changes too"
        found.append(words.Condition(words.UPDATE_PENDING, True, "WaitsForScheduler", message))
    warning = _known_warning(state)
    if warning:
        found.append(words.spec_warning(warning))
    return {
        "observedGeneration": group.meta.generation,
        "conditions": words.conditions(found, group.status, group.meta.generation, now),
        "replicas": len(live),
        "readyReplicas": len(ready),
        "updatedReplicas": updated,
        "selector": labels.as_string(labels.group_selector(cluster_name, group.meta.name)),
    }, again


def _deadline(cluster: CustomResource) -> float:
    value = cluster.spec.get("progressDeadlineSeconds")
    return PROGRESS_DEADLINE_S if value is None else float(value)
