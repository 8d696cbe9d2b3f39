"""Pure: what to do about one worker group."""

from __future__ import annotations

import functools
import itertools
from collections import UserList
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from dask_gitops import status as words
from dask_gitops.plan import replacement
from dask_gitops.plan.actions import Create, Delete, Draft, Emit, Patch, Plan, Undrain
from dask_gitops.plan.drain import cancel, choose, reclaimable, retire
from dask_gitops.plan.groupstate import GroupState, Worker, known_warning
from dask_gitops.plan.groupstatus import had_as_many
from dask_gitops.plan.turnover import turnover
from dask_gitops.resources import groups, pods
from dask_gitops.resources.metadata import metadata_patch, with_note
from dask_gitops.resources.observed import Pod

JSON = dict[str, Any]

MOST_AT_ONCE = 200  # workers that are made in one turn; the news of them brings the next one
HEAD_START_S = 10  # workers are created this long after the scheduler got a node, even if its image is still pulled


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
    comes_back = groups.declares(state.cluster, state.name) and state.rest != "suspended"
    if state.group is None and comes_back:
        return draft.done()  # somebody deleted it: no worker has to go
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
            draft.part("ended workers").add(Delete("Pod", pod.meta))
            if pod.retiring is None:
                dead.append(pod)
                mourned += [] if other else [pod]
    if state.group is not None and state.declared is None and not state.rest and not state.unread:
        body = {"spec": {"replicas": state.want}}
        held = Patch("DaskWorkerGroup", state.group.meta, body, subresource="scale")
        draft.part("number").add(held)
    missing = flow.missing - fresh
    reclaimed = reclaimable(state, workers)[: max(0, flow.short - fresh)]
    if reclaimed:  # who was about to leave stays, as far as the scheduler can be told
        draft.part("stay").add(
            Undrain(tuple(p for p, _ in reclaimed), tuple(i for _, ids in reclaimed for i in ids))
        )
    if state.leaving:
        retire(state, workers, now, draft, silence, stay={p.meta.uid for p, _ in reclaimed})
    cancel(flow, draft)
    made = min(missing - len(reclaimed), MOST_AT_ONCE) if may_grow else 0
    # Who ended or is given up is on the way out. More of them than workers: their deletion is refused, and they pile up.
    out = sum(p.finished and p.meta.deleting is None for p in state.pods) + len(flow.cancel)
    if out > max(1, state.want):
        made = 0
    if made > 0:
        _grow(
            state,
            made,
            draft,
            rolling=flow.rolling,
            default_image=default_image,
            reserved=reserved,
            dead=dead,
            mourned=mourned,
        )
    if flow.leave:
        choose(state, flow, workers, now, draft, silence)
    replacement.mourn(dead[max(0, made) :], draft)
    return draft.done()


def _metadata(state: GroupState, draft: Draft, reserved: tuple[str, ...]) -> None:
    """Changed labels and annotations reach the live pods as they are; nothing restarts."""
    if state.cluster is None or state.group is None or state.unread:
        return
    want = with_note(pods.worker_metadata(state.cluster, state.group, reserved))
    for pod in state.live:
        patch = metadata_patch(want, pod.meta)
        if patch:
            change = Patch("Pod", pod.meta, {"metadata": patch})
            draft.part("metadata", declared=True).add(change)


def _may_grow(state: GroupState, now: float, draft: Draft) -> bool:
    """Workers come once the scheduler has its place: they would take its room."""
    scheduler = state.scheduler
    if state.group is None or scheduler is None or scheduler.scheduled is None or state.unread:
        return False
    if not scheduler.started and now < scheduler.scheduled + HEAD_START_S:
        draft.look_again(scheduler.scheduled + HEAD_START_S - now)
        return False
    return True


def _grow(
    state: GroupState,
    missing: int,
    draft: Draft,
    *,
    rolling: bool,
    default_image: str,
    reserved: tuple[str, ...],
    dead: Sequence[Pod],
    mourned: Sequence[Pod],
) -> None:
    """Create workers.

    :param dead: the pods that they replace, of those that ended.
    :param mourned: those of the dead whose early end says something of their successors.
    """
    scheduler = state.scheduler
    if state.group is None or state.cluster is None or scheduler is None:
        return
    first = 1 + max((p.serial for p in state.pods), default=-1)
    first = max(first, state.highest + 1)
    make = functools.partial(
        pods.worker_pod,
        state.cluster,
        state.group,
        default_image=scheduler.image or default_image,
        held_image=state.held_image,
        reserved=reserved,
        warning=known_warning(state),
    )
    notes = itertools.chain(replacement.inherited(mourned), itertools.repeat({}))
    serials = range(first, first + missing)
    makers = (functools.partial(_made, make, n, some) for n, some in zip(serials, notes, strict=False))  # fmt: skip
    draft.part("grow").add(
        Create("Pod", Crowd(makers)),
        Emit("Updating", f"created {words.workers(missing)} of the new spec")
        if rolling
        else replacement.growth(
            missing, state.want, dead=dead[:missing], was_up=had_as_many(state)
        ),
    )


class Crowd(UserList[JSON]):
    """Manifests of workers; each is made when it is asked for, as hundreds of large ones have no room beside each other."""

    def __init__(self, makers: Iterable[Callable[[], JSON]]) -> None:
        super().__init__()
        self._makers = list(makers)
        self.data = cast(list[JSON], self._makers)  # what is counted and cut

    def __getitem__(self, n: Any) -> Any:
        found = self._makers[n]
        return Crowd(found) if isinstance(found, list) else found()


def _made(make: Callable[[int], JSON], serial: int, notes: Mapping[str, str]) -> JSON:
    manifest = make(serial)
    manifest["metadata"]["annotations"].update(notes)
    return manifest
