"""Pure: what to do about one cluster (scheduler Pod, Service, default group), and what to report of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask_gitops import reasons
from dask_gitops import status as words
from dask_gitops.model.declared import TLS, Place, unread_below
from dask_gitops.model.podspec import PodSpec
from dask_gitops.model.shape import WrongShape
from dask_gitops.plan import idle, replacement
from dask_gitops.plan.actions import Apply, Create, Delete, Draft, Emit, Patch, Plan, TryOut
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.groupstatus import (
    also,
    first_problem,
    is_up,
    limited,
    settling,
    unmet,
    unready,
)
from dask_gitops.plan.groupstatus import latch as group_latch
from dask_gitops.plan.rollout import scheduler_is_current, target, when
from dask_gitops.plan.told import Told, ask_in, listens, was_asked
from dask_gitops.resources import (
    addresses,
    autoscalers,
    groups,
    labels,
    names,
    numbers,
    pods,
    services,
)
from dask_gitops.resources.inject import ControlApi
from dask_gitops.resources.listening import Listening
from dask_gitops.resources.metadata import metadata_patch, with_note
from dask_gitops.resources.observed import (
    CustomResource,
    Meta,
    Pod,
    Problem,
    Service,
    parse_time,
)
from dask_gitops.resources.pods import PROGRESS_DEADLINE_S
from dask_gitops.resources.revision import revision

JSON = dict[str, Any]

POLL_IDLE_S = 10  # how often a scheduler that is to be replaced is asked whether it is idle
PREDECESSOR_S = 1  # how often to look whether an older cluster's object of the same name is gone
_TRIED = "dask-gitops-tries-this-out"  # the name of a Service that is never made
_REFUSALS = (
    reasons.FORBIDDEN,
    reasons.INVALID,
    reasons.NAME_TAKEN,
    reasons.NAMESPACE_TERMINATING,
    reasons.QUOTA_EXCEEDED,
)
FOLLOWS_A_LOOK = {
    idle.ENDING,
    idle.PARKING,
}  # parts that are planned for what an idle scheduler says


@dataclass(frozen=True, slots=True)
class Load:
    """What a scheduler has to do, and what it would lose."""

    tasks: int  # that run, or wait to
    results: int  # in memory


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Everything observed about one cluster at one moment.

    :ivar schedulers: all scheduler pods under the cluster's name, also of a deleted cluster of the same name.
    :ivar groups: the groups that name this cluster, the default group among them.
    :ivar orphans: worker pods with the cluster's labels and without any owner.
    :ivar predecessor: the cluster's scheduler pod that was seen last, maybe gone; None: never, by this process.
    :ivar working: worker pods of this cluster that have neither ended nor been deleted, of any group.
    :ivar autoscaler: the DaskAutoscaler of the cluster's name, whoever made it.
    :ivar wrong: what cannot be read of the cluster's spec.
    :ivar unread: places in the cluster's spec for which nothing counts.
    :ivar told: what its schedulers said last of where they listen; None: nobody asked.
    """

    cluster: CustomResource
    schedulers: tuple[Pod, ...] = ()
    service: Service | None = None
    groups: tuple[GroupState, ...] = ()
    orphans: tuple[Pod, ...] = ()
    predecessor: Pod | None = None
    working: int = 0
    autoscaler: CustomResource | None = None
    wrong: tuple[WrongShape, ...] = ()
    unread: frozenset[Place] = frozenset()
    told: Told | None = None

    @property
    def blind(self) -> bool:
        """Can nobody tell what the scheduler is to run, or make it so?"""
        return unread_below(self.unread, "scheduler", "spec") or bool(
            self.unread & {("image",), TLS}
        )

    def is_current(self, scheduler: Pod) -> bool:
        """Does the scheduler run what the spec says now, as far as anybody can tell?"""
        return self.blind or scheduler_is_current(scheduler, self.cluster)

    @property
    def suspended(self) -> bool:
        return idle.is_suspended(self.cluster)

    @property
    def rested(self) -> bool:
        """Did the last scheduler go because the cluster was suspended? Then the next one begins anew."""
        last = self.predecessor
        return last is not None and labels.SUSPENDED in last.meta.annotations

    @property
    def scheduler(self) -> Pod | None:
        """The scheduler pod that works, or will."""
        return next((p for p in self.schedulers if not p.gone and self.owns(p)), None)

    @property
    def listens(self) -> Listening | None:
        """Where the present scheduler says that it listens, if that is known."""
        return listens(self.told, self.scheduler)

    @property
    def default_group(self) -> GroupState | None:
        name = names.default_group_name(self.cluster.meta.name)
        return next((g for g in self.groups if g.name == name), None)

    def owns(self, thing: Pod | Service) -> bool:
        return thing.meta.owner_uid == self.cluster.meta.uid


def needs_load(state: ClusterState) -> bool:
    """Must the scheduler be asked what it has to do? Only when it is to be replaced as soon as it is idle."""
    scheduler = state.scheduler
    return (
        scheduler is not None
        and scheduler.running
        and not state.suspended
        and when(state.cluster) == "WhenIdle"
        and not state.is_current(scheduler)
    )


def listening_in(state: ClusterState, now: float) -> float | None:
    """Seconds until the scheduler is to be asked where it listens, 0 for now; None: nobody needs to know, or all do.

    Once: where its spec leaves that open, where the last status said something else (another process was told so), and
    when workers keep ending that its spec may have misled.
    """
    scheduler = state.scheduler
    if scheduler is None or not scheduler.ready or not scheduler.token:
        return None
    due = ask_in(state.told, scheduler, now)
    if due is None or (
        not addresses.left_open(state.cluster.spec)
        and not words.says(state.cluster.status, words.LISTENS_ELSEWHERE)
        and not _said_elsewhere(state)
        and not any(p.restarts and not p.ready for g in state.groups for p in g.live)
    ):
        return None
    return due


def _said_elsewhere(state: ClusterState) -> bool:
    """Does the last status tell what a scheduler said of where it listens, and what the present one was not asked yet?

    Of the same spec: nothing of it is taken back before.
    """
    cluster, scheduler = state.cluster, state.scheduler
    if scheduler is not None and (not scheduler.token or was_asked(state.told, scheduler)):
        return False  # there is nothing to wait for
    if state.suspended:
        return False
    if cluster.status.get("observedGeneration") != cluster.meta.generation:
        return False
    if words.says(cluster.status, words.LISTENS_ELSEWHERE):
        return True
    declared = _addresses(cluster, None)
    return any(cluster.status.get(key) not in (None, said) for key, said in declared.items())


def _addresses(cluster: CustomResource, told: Listening | None) -> JSON:
    """Where scheduler and dashboard are found, as the status tells it.

    :param told: where the scheduler says that it listens; None: what the spec says counts.
    """
    what = cluster.meta.name, cluster.meta.namespace, cluster.spec, told
    return {
        "schedulerAddress": addresses.scheduler_address(*what),
        "dashboardAddress": addresses.dashboard_address(*what),
    }


def plan_cluster(
    state: ClusterState,
    now: float,
    *,
    load: Load | None = None,
    silence: str = "",
    look: idle.Look | None = None,
    default_image: str,
    control: ControlApi,
    token: str,
    reserved: tuple[str, ...] = (),
) -> Plan:
    """The next step: what is missing is created, what ended is cleared away, what the user changed is handed on.

    :param load: what the scheduler says it has to do; None if it was not asked or does not answer.
    :param silence: why it does not answer, in words.
    :param look: what it says of being idle, if it was asked for that.
    :param token: a new secret, used if a scheduler pod is created.
    """
    draft, cluster = Draft(), state.cluster
    if cluster.meta.deleting is not None:
        return draft.done()

    def manifest() -> JSON:
        return pods.scheduler_pod(
            cluster, default_image=default_image, control=control, token=token, reserved=reserved
        )

    scheduler = state.scheduler
    _scheduler(state, now, draft, manifest)
    about = ("service", "serviceMetadata")  # without either, a Service could be open to the world
    service_known = not state.blind and not any(
        unread_below(state.unread, "scheduler", field) for field in about
    )
    if state.service is None:
        if not state.suspended and service_known:
            made = services.scheduler_service(cluster, reserved=reserved)
            draft.part("service", declared=True).add(Create("Service", (made,)))
    elif not state.owns(state.service):
        draft.look_again(PREDECESSOR_S)
    elif state.service.meta.deleting is None and service_known:
        _changed_service(cluster, state.service, draft, reserved)
    _groups(state, draft, reserved)
    _autoscaler(state, draft)
    if scheduler is None:
        for pod in state.schedulers:  # Dask may have ended it for good, as it was idle
            if state.owns(pod) and not state.suspended and idle.ended_idle(cluster, pod, now):
                idle.plan_idle(cluster, pod, None, now, draft)
        return draft.done()
    if state.suspended:
        if not state.working:
            text = f"no worker is left; {scheduler.meta.name} goes until spec.suspend is false"
            draft.part("suspend").add(
                _mark_suspended(scheduler, "true"),
                Delete("Pod", scheduler.meta),
                Emit("Suspended", text),
            )
    else:
        if state.rested:  # resumed before it went
            draft.part("suspend").add(_mark_suspended(scheduler, None))
        any_ready = any(p.ready for g in state.groups for p in g.live)
        idle.plan_woken(scheduler, any_ready, now, draft)
        _keep_current(state, scheduler, now, draft, load, silence, manifest, reserved)
    # Last, as nothing is to be made for a cluster that goes.
    idle.plan_idle(cluster, scheduler, look, now, draft)
    return draft.done()


def _mark_suspended(scheduler: Pod, word: str | None) -> Patch:
    return Patch("Pod", scheduler.meta, {"metadata": {"annotations": {labels.SUSPENDED: word}}})


def _scheduler(state: ClusterState, now: float, draft: Draft, manifest: Callable[[], JSON]) -> None:
    for pod in state.schedulers:
        if pod.meta.deleting is not None:
            if pod.meta.owner_kind != state.cluster.kind:
                continue  # not of our making
            # Judged from the pod alone: whoever could confirm its end is away.
            overdue = pod.meta.deleting + replacement.LOST_NODE_S
            if now >= overdue:
                text = f"{pod.meta.name} never confirmed its end; removed"
                draft.part("lost scheduler").add(
                    Delete("Pod", pod.meta, force=True), Emit("SchedulerLost", text, warning=True)
                )
            else:
                draft.look_again(overdue - now)
        elif pod.finished and state.owns(pod):
            if state.blind:
                continue  # nobody could come in its place
            idle_end = idle.ended_idle(state.cluster, pod, now) and not state.suspended
            if idle_end and idle.kept_because(state.cluster) is None:
                continue  # it goes with its cluster: with it alone, the reason would be gone
            current = state.is_current(pod)
            wait = replacement.may_be_replaced_in(pod, now) if current else 0.0
            if wait > 0:
                draft.look_again(wait)
            else:
                part = draft.part("ended scheduler")
                part.add(Delete("Pod", pod.meta))
                if idle_end:  # its successor is made as one that is parked
                    part.add(idle.rests_by_dask(state.cluster))
        elif not state.owns(pod):
            draft.look_again(PREDECESSOR_S)
    if not state.schedulers and not state.suspended and not state.blind:
        last, made = None if state.rested else state.predecessor, manifest()
        renewed = last is not None and not scheduler_is_current(last, state.cluster)
        if not state.rested:
            notes = replacement.scheduler_notes(last, state.cluster, now, renewed=renewed)
            made["metadata"]["annotations"].update(notes | idle.carried(state.cluster, last, now))
        part = draft.part("scheduler")
        part.add(Create("Pod", (made,)))
        # When it is replaced in due time, the Event about that has told all.
        if not (renewed and when(state.cluster) != "OnDelete"):
            part.add(replacement.scheduler_event(made, warning=not renewed))


def _keep_current(
    state: ClusterState,
    scheduler: Pod,
    now: float,
    draft: Draft,
    load: Load | None,
    silence: str,
    manifest: Callable[[], JSON],
    reserved: tuple[str, ...],
) -> None:
    """Bring the scheduler pod to what is declared: its labels as it runs, its spec by another pod, in due time."""
    cluster = state.cluster
    patch = metadata_patch(with_note(pods.scheduler_metadata(cluster, reserved)), scheduler.meta)
    if patch and not unread_below(state.unread, "scheduler", "metadata"):
        change = Patch("Pod", scheduler.meta, {"metadata": patch})
        draft.part("metadata", declared=True).add(change)
    if state.is_current(scheduler):
        return
    why, again = waits_because(state, scheduler, now, load, silence)
    # Before the old pod goes, and as soon as the change is made: a spec that is refused is found while all goes on.
    part = draft.part("new scheduler", declared=True)
    part.add(TryOut("Pod", manifest(), target(cluster), again=why is None))
    if why is None:
        part.add(
            Delete("Pod", scheduler.meta),
            Emit("SchedulerUpdating", f"{scheduler.meta.name} is replaced: its spec changed"),
        )
        return
    draft.held = why
    if again is not None:
        draft.look_again(again)
    if _deadline_of_wait(cluster) is not None and _waits_since(scheduler, cluster) is None:
        note = {labels.UPDATE_WAITS: f"{target(cluster)} {words.timestamp(now)}"}
        part.add(Patch("Pod", scheduler.meta, {"metadata": {"annotations": note}}))


def waits_because(
    state: ClusterState, scheduler: Pod, now: float, load: Load | None, silence: str
) -> tuple[str | None, float | None]:
    """Why a scheduler of an earlier spec is not replaced yet (None: now), and when to look again (seconds)."""
    cluster = state.cluster
    strategy = when(cluster)
    never_served = not scheduler.ready and labels.WAS_READY not in scheduler.meta.annotations
    if strategy == "OnDelete":
        return "delete the pod to renew it", None
    if strategy == "Immediate" or not scheduler.running or (never_served and load is None):
        return None, None
    if load is not None and not load.tasks and not load.results:
        return None, None
    if load is None:
        why = f"the scheduler {silence or 'was not asked'}"
    else:
        busy = ["tasks are running or waiting"] if load.tasks else []
        busy += ["results are in memory"] if load.results else []
        why = " and ".join(busy)
    deadline, since = _deadline_of_wait(cluster), _waits_since(scheduler, cluster)
    again: float = POLL_IDLE_S
    if deadline is not None and since is not None:
        left = since + deadline - now
        if left <= 0:
            return None, None
        again = min(again, left)
    return f"it is replaced when the cluster is idle; now {why}", again


def _deadline_of_wait(cluster: CustomResource) -> float | None:
    value = (cluster.spec.get("updateStrategy") or {}).get("schedulerDeadlineSeconds")
    return numbers.some_seconds(value)


def _waits_since(scheduler: Pod, cluster: CustomResource) -> float | None:
    """Since when this very change waits, as noted on the scheduler pod."""
    what, _, since = scheduler.meta.annotations.get(labels.UPDATE_WAITS, "").rpartition(" ")
    try:
        return parse_time(since) if what == target(cluster) else None
    except ValueError:
        return None


def _changed_service(
    cluster: CustomResource, service: Service, draft: Draft, reserved: tuple[str, ...]
) -> None:
    """What is declared is applied; what Kubernetes does not change in place, by a new Service at once.

    Not where people outside know its address: there the API server's refusal goes into the status.
    """
    want = services.service_declared(cluster, service, reserved=reserved)
    if want is None:
        return
    part = draft.part("service", declared=True)
    fixed = services.fixed_field(want, service)
    if fixed is None or service.spec.get("type", "ClusterIP") != "ClusterIP":
        way_out = f"if it cannot be changed in place, delete the Service {service.meta.name}: it is made anew at once"
        part.add(Apply("Service", service.meta, want, not service.applied, way_out))
        return
    # Under another name: the API server says of a name that is taken before it looks at the address.
    tried = {**want, "metadata": {**want["metadata"], "name": _TRIED}}
    text = f"{service.meta.name} is made anew: Kubernetes changes {fixed} of no Service"
    part.add(
        TryOut("Service", tried, services.service_revision(cluster), again=True),
        Delete("Service", service.meta, exact=True),
        Emit("ServiceReplaced", text),
    )


def _groups(state: ClusterState, draft: Draft, reserved: tuple[str, ...]) -> None:
    """Create, change and remove the groups that the cluster itself declares; never anybody else's."""
    cluster = state.cluster
    wanted = {g["metadata"]["name"]: g for g in groups.declared_groups(cluster, reserved=reserved)}
    existing = _stored_groups(state)
    ending = {g.name for g in state.groups if g.group is None}  # their names are still taken
    for name, want in wanted.items():
        group = existing.get(name)
        if name in ending:
            draft.look_again(PREDECESSOR_S)
        elif group is None:
            if not state.suspended and not _unread_group(state, name):
                made = Create("DaskWorkerGroup", (want,))
                draft.part(_part_of(name), declared=True).add(made)
        elif group.meta.owner_uid == cluster.meta.uid and group.meta.deleting is None:
            body = _group_patch(state, want, group)
            if body:
                # Exact, so that a leader that was asleep copies no number over a later one.
                change = Patch("DaskWorkerGroup", group.meta, body, exact="spec" in body)
                draft.part(_part_of(name), declared=True).add(change)
        elif group.meta.owner_uid is not None:
            draft.look_again(PREDECESSOR_S)
    for name, group in existing.items():
        if unread_below(state.unread, "workerGroups") and name not in wanted:
            continue  # perhaps it is still meant to be there
        if (
            name not in wanted
            and group.meta.owner_uid == cluster.meta.uid
            and group.meta.deleting is None
        ):
            # Its pods belong to the cluster: they are drained before they go.
            draft.part(_part_of(name), declared=True).add(
                Delete("DaskWorkerGroup", group.meta),
                Emit("GroupRemoved", f"removed worker group {name}"),
            )


def _part_of(group: str) -> str:
    """Each group is a concern of its own."""
    return f"worker group {group}"


def _autoscaler(state: ClusterState, draft: Draft) -> None:
    """Make, change and remove the autoscaler that the cluster itself declares.

    It is made, or brought to what is declared, once for each ``spec.autoscaler``, which is noted on the default group:
    somebody who deletes it (``KubeCluster.scale``) or changes it (``KubeCluster.adapt``) has the last word.
    """
    if unread_below(state.unread, "autoscaler") or TLS in state.unread:
        return  # nobody can tell what is wanted, or make it
    cluster, found = state.cluster, state.autoscaler
    default = state.default_group.group if state.default_group else None
    ours = found is not None and autoscalers.is_from(found, cluster) and not found.meta.deleting
    want = autoscalers.declared_autoscaler(cluster)
    part = draft.part("autoscaler", declared=True)
    if want is None:
        if found is not None and ours:
            part.add(
                Delete("DaskAutoscaler", found.meta),
                Emit("AutoscalerRemoved", f"removed DaskAutoscaler {found.meta.name}"),
            )
    elif default is None or default.meta.deleting is not None or _autoscaler_noted(state):
        return
    elif found is None:
        part.add(Create("DaskAutoscaler", (want,)))
    elif ours:
        patch = autoscalers.autoscaler_patch(want, found)
        if patch:
            part.add(Patch("DaskAutoscaler", found.meta, patch, exact=True))
    else:
        return  # somebody else's
    if default is None or default.meta.owner_uid != cluster.meta.uid:
        return
    note = autoscalers.declared_revision(cluster) if want else None
    if default.meta.annotations.get(labels.INLINE_AUTOSCALER) != note:
        body = {"metadata": {"annotations": {labels.INLINE_AUTOSCALER: note}}}
        part.add(Patch("DaskWorkerGroup", default.meta, body))


def _autoscaler_noted(state: ClusterState) -> bool:
    """Was the autoscaler made for what is declared now?"""
    group = state.default_group.group if state.default_group else None
    if group is None or group.meta.owner_uid != state.cluster.meta.uid:
        return False
    noted = group.meta.annotations.get(labels.INLINE_AUTOSCALER)
    return noted == autoscalers.declared_revision(state.cluster)


def _autoscaler_current(state: ClusterState) -> bool:
    """Is there nothing to be made, or to be removed?"""
    ours = state.autoscaler is not None and autoscalers.is_from(state.autoscaler, state.cluster)
    if not state.cluster.spec.get("autoscaler"):
        return not ours
    return ours or _autoscaler_noted(state)


def _stored_groups(state: ClusterState) -> dict[str, CustomResource]:
    """The groups that are there, as they lie on the API server."""
    return {g.name: g.stored or g.group for g in state.groups if g.group is not None}


def _unread_group(state: ClusterState, name: str) -> bool:
    """Can nobody tell what this group of the cluster is to be, or make it so?"""
    inline = name.removeprefix(f"{state.cluster.meta.name}-")
    default = name == names.default_group_name(state.cluster.meta.name)
    place = ("worker",) if default else ("workerGroups", inline, "worker")
    return TLS in state.unread or unread_below(state.unread, *place)


def _group_patch(state: ClusterState, want: JSON, group: CustomResource) -> JSON:
    """What brings a group to what its cluster says; one of which nobody can tell that keeps its spec, but for its number."""
    if not _unread_group(state, group.meta.name):
        return groups.group_patch(want, group)
    kept = {**(group.spec.get("worker") or {})}
    said = want["spec"]["worker"].get("replicas")
    kept.pop("replicas", None)
    if said is not None:
        kept["replicas"] = said
    return groups.group_patch({**want, "spec": {**group.spec, "worker": kept}}, group)


def _groups_current(state: ClusterState) -> bool:
    existing = _stored_groups(state)
    for want in groups.declared_groups(state.cluster):
        group = existing.get(want["metadata"]["name"])
        if group is None or (
            group.meta.owner_uid == state.cluster.meta.uid
            and "spec" in _group_patch(state, want, group)
        ):
            return False
    return True


# ---- status


def ready_revision(cluster: CustomResource) -> str:
    """What "was up once" is remembered for: everything that a person says about the cluster."""
    return revision(cluster.spec)


def is_complete(state: ClusterState) -> bool:
    """Scheduler and Service are there, and every group has the workers that it should have."""
    scheduler = state.scheduler
    return (
        scheduler is not None
        and scheduler.ready
        and not state.unread
        and state.service is not None
        and state.owns(state.service)
        and state.service.meta.annotations.get(labels.REVISION)
        == services.service_revision(state.cluster)
        and _groups_current(state)
        and _autoscaler_current(state)
        and all(is_up(g) for g in state.groups)
    )


def was_ready(state: ClusterState) -> bool:
    scheduler = state.scheduler
    if scheduler is None or any(g.old for g in state.groups) or state.unread:
        return False
    return scheduler.meta.annotations.get(labels.WAS_READY) == ready_revision(state.cluster)


def latch(state: ClusterState) -> Plan:
    """Remember on the scheduler pod what was up once for what the user says now; forget groups that are gone.

    For the groups too, as all of them tend to be up at the same time, and one write does.
    """
    draft = Draft()
    if state.scheduler is None:
        return draft.done()
    groups_there = {labels.GROUP_WAS_READY + g.name for g in state.groups if g.group is not None}
    annotations: JSON = {
        key: None
        for key in state.scheduler.meta.annotations
        if key.startswith(labels.GROUP_WAS_READY) and key not in groups_there
    }
    for group in state.groups:
        annotations |= group_latch(group)
    rests = idle.rest(state.cluster, state.scheduler)
    if is_complete(state) and not rests and not was_ready(state):
        annotations[labels.WAS_READY] = ready_revision(state.cluster)
    if annotations:
        note = Patch("Pod", state.scheduler.meta, {"metadata": {"annotations": annotations}})
        draft.part("latch").add(note)
    return draft.done()


def with_latch(steps: Plan, state: ClusterState) -> Plan:
    """Beside these steps, remember what was up; not on a scheduler pod that goes, nor of workers that are to go with this turn."""
    going = {action.meta.uid for action in steps.actions if isinstance(action, Delete)}
    kept = {r.meta.uid for r in (state.cluster, state.scheduler) if r is not None}
    if going & kept or any(part.name == idle.PARKING for part in steps.parts):
        return steps
    return replace(steps, parts=(*steps.parts, *latch(state).parts))


def names_taken(state: ClusterState) -> list[Problem]:
    """What stands where our objects should be, and is nobody's whom garbage collection would take."""
    cluster = state.cluster
    ours = {g["metadata"]["name"] for g in groups.declared_groups(cluster)}
    things: list[tuple[str, Meta]] = [("Pod", p.meta) for p in state.schedulers]
    if state.service is not None:
        things.append(("Service", state.service.meta))
    things += [
        ("DaskWorkerGroup", g.group.meta)
        for g in state.groups
        if g.name in ours and g.group is not None and g.group.meta.owner_uid is not None
    ]
    if cluster.spec.get("autoscaler") and state.autoscaler and not _autoscaler_noted(state):
        things.append(("DaskAutoscaler", state.autoscaler.meta))
    return [
        Problem(
            reasons.NAME_TAKEN,
            f"{kind} {meta.name} belongs to something else"
            if meta.owner_uid
            else f"{kind} {meta.name} was not made for this cluster and belongs to nobody; "
            "delete it, and the cluster makes its own",
            max(cluster.meta.created, meta.created),
        )
        for kind, meta in things
        if meta.owner_uid != cluster.meta.uid and meta.deleting is None
    ]


def refusal_of(group: CustomResource | None) -> words.Condition | None:
    """What the API server refuses to a group, as its status says; nothing else of that status is read for its cluster."""
    said = words.unready(group.status, group.meta.generation) if group is not None else None
    return said if said is not None and said.reason in _REFUSALS else None


def groups_refused(state: ClusterState, now: float) -> list[Problem]:
    """What the API server refuses to the groups: there are no pods that could tell."""
    found = []
    for each in state.groups:
        said = refusal_of(each.group)
        if said is not None:
            message = f"worker group {each.name}: {said.message}"
            refused = said.type == words.STALLED
            # Where all workers are up, it is something else that is declared.
            found.append(Problem(said.reason, message, now, refused, declared=is_up(each)))
    return found


def cluster_status(
    state: ClusterState,
    now: float,
    *,
    problems: Sequence[Problem] = (),
    waits: str | None = None,
    look: idle.Look | None = None,
) -> tuple[JSON, float | None]:
    """Status of a cluster, and when it will change by itself (seconds), if it will.

    :param problems: what the API server refused in this round.
    :param waits: why a changed scheduler is not replaced yet.
    :param look: what the scheduler said last of being idle, if it was asked.
    """
    cluster, scheduler = state.cluster, state.scheduler
    deadline = numbers.seconds(cluster.spec.get("progressDeadlineSeconds"), PROGRESS_DEADLINE_S)
    refusal = first_problem((), problems)
    problems = [*problems, *names_taken(state)]
    live = [p for g in state.groups for p in g.live]
    desired, ready = sum(g.want for g in state.groups), sum(p.ready for p in live)
    count = f"{ready} of {words.workers(desired)} ready"
    if any(g.old for g in state.groups):
        updated = sum(g.is_current(p) for g in state.groups for p in g.live)
        count += f", {updated} of {desired} updated"
    current = scheduler is None or state.is_current(scheduler)
    scheduler_problem = first_problem(
        [scheduler] if scheduler else [p for p in state.schedulers if p.finished], problems
    )
    problem, limit = scheduler_problem, limited(state.groups, cluster.status, now)
    if state.suspended:
        found = _suspended(state, refusal, now)
        problem, current = None, True
    elif scheduler is None:
        text = "there is no scheduler" if state.blind else "the scheduler is being created"
        found = unready(text, problem, now, deadline=deadline)
    elif not scheduler.ready:
        found = unready("the scheduler is starting", problem, now, deadline=deadline)
    else:
        judged = [p for g in state.groups for p in g.judged]
        limits = [limit.problem] if limit else []
        others = [*problems, *groups_refused(state, now), *limits]
        problem = first_problem(judged, others)
        refused = unmet(others)
        if refused is None and not current:
            refused = next((p for p in problems if p.refused), None)
        if refused is not None:  # the running scheduler goes on
            found = unready(f"scheduler ready, {count}", refused, now, deadline=deadline)
        elif idle.rest(cluster, scheduler):
            found, problem = _parked(state, scheduler, look, refusal), None
        elif is_complete(state) or was_ready(state):
            text = also(f"scheduler ready, {count}", problem)
            text += idle.waking_words(scheduler) + idle.silence_words(cluster, scheduler, look)
            found = words.ready(reasons.CLUSTER_READY, text)
            problem = None
        else:
            text = f"scheduler ready, {count}{settling(*state.groups)}"
            found = unready(text, problem, now, deadline=deadline)
    found = words.misshapen(found, state.wrong)
    default = state.default_group
    found += [limit.condition] if limit else []
    found += _overridden(state)
    held = _said_elsewhere(state)
    found += _as_it_said(cluster) if held else _elsewhere(state)
    if state.orphans:
        count, some = (
            words.workers(len(state.orphans)),
            words.listed(p.meta.name for p in state.orphans),
        )
        verb = "belongs" if len(state.orphans) == 1 else "belong"
        message = f"{count.replace('worker', 'worker pod')} {verb} to nobody, nobody drains or replaces them: {some}"
        found.append(words.Condition(words.ORPHANED_PODS, True, reasons.NO_OWNER, message))
    warning = scheduler.meta.annotations.get(labels.SPEC_WARNING) if scheduler else None
    if warning:
        found.append(words.spec_warning(warning))
    if scheduler is not None and not current:
        message = (
            f"{scheduler.meta.name} runs an earlier spec; {waits or 'it is about to be replaced'}"
        )
        reason = reasons.WAITS_FOR_DELETE if when(cluster) == "OnDelete" else reasons.WAITS_FOR_IDLE
        found.append(words.Condition(words.UPDATE_PENDING, True, reason, message))
    name = cluster.meta.name
    out: JSON = {
        "observedGeneration": cluster.meta.generation,
        "phase": _phase(state, found),
        "conditions": words.conditions(found, cluster.status, cluster.meta.generation, now),
        # A status takes 32 bits, of which each group may want all.
        "workers": {"desired": min(desired, 2**31 - 1), "ready": ready},
        "replicas": len(default.live) if default else 0,
        "selector": labels.as_string(labels.group_selector(name, names.default_group_name(name))),
        **_addresses(cluster, state.listens),
    }
    if held:
        out |= {
            key: cluster.status[key] for key in _addresses(cluster, None) if key in cluster.status
        }
    restarts = scheduler_restarts(state)
    if restarts:
        out["scheduler"] = restarts
    soon = [g.settling for g in state.groups if g.settling is not None]
    if problem is not None and not problem.refused and problem.since + deadline > now:
        soon.append(problem.since + deadline - now + 1)
    if limit is not None and limit.again is not None:
        soon.append(limit.again)
    return out, min(soon, default=None)


def _phase(state: ClusterState, found: list[words.Condition]) -> str:
    """In the words of the existing operator, with their meaning: its clients wait for Running, read a
    load balancer's address then, and only after it look why a scheduler does not start.

    Whether the cluster works, the conditions tell and nothing else.
    """
    scheduler, service = state.scheduler, state.service
    told = {condition.type for condition in found}
    if words.SUSPENDED in told:
        return "Suspended"
    if words.STALLED in told and (scheduler is None or not scheduler.ready):
        return "Error"
    if scheduler is None and not state.suspended:
        return "Created"
    if scheduler is None or service is None or not state.owns(service):
        return "Pending"
    return "Pending" if service.meta.deleting is not None or service.awaits_address else "Running"


def _parked(
    state: ClusterState, scheduler: Pod, look: idle.Look | None, refusal: Problem | None
) -> list[words.Condition]:
    """Conditions of a cluster that is parked; on the way there it stays as ready as it was.

    :param refusal: what the API server refused in this round.
    """
    rests = idle.parked_words(state.cluster, scheduler, look)
    if not state.working:
        return [*words.ready(rests.reason, also(rests.message, refusal)), rests]
    text = also(f"{words.workers(state.working)} on the way out; {rests.message}", refusal)
    if was_ready(state):
        return words.ready(rests.reason, text)
    return words.reconciling(reasons.PARKING, text)


def _suspended(state: ClusterState, refusal: Problem | None, now: float) -> list[words.Condition]:
    """Conditions of a cluster that is to have no pods.

    :param refusal: what the API server refused in this round.
    """
    going = state.working
    if going or any(state.owns(p) for p in state.schedulers):
        text = f"spec.suspend is true; {words.workers(going)} on the way out, then the scheduler"
        if not going:
            text = "spec.suspend is true; the scheduler is on the way out"
        return unready(text, refusal, now, reason=reasons.SUSPENDING)
    text = "no Pods run: spec.suspend is true"
    rests = words.Condition(words.SUSPENDED, True, reasons.SUSPENDED, text)
    return [*words.ready(reasons.SUSPENDED, also(text, refusal)), rests]


def scheduler_restarts(state: ClusterState) -> JSON:
    """How often the scheduler was restarted, and why last; ``{}`` while there never was one."""
    pod = state.scheduler or state.predecessor
    if state.scheduler is None and (state.suspended or state.rested):
        return {}
    if pod is None and not state.cluster.status.get("scheduler"):
        return {}
    count, why = replacement.restarts(pod) if pod else replacement.reported(state.cluster)
    return {"restarts": count, **({"lastRestartReason": why} if why else {})}


def _elsewhere(state: ClusterState) -> list[words.Condition]:
    """Were workers told another address than where the scheduler listens?"""
    told = state.listens
    unsaid = addresses.unsaid(state.cluster.spec, told) if told is not None else []
    misled = [g.name for g in state.groups if g.group is not None and not _says_address(g.group)]
    if told is None or not unsaid or not misled:
        return []
    name, namespace = state.cluster.meta.name, state.cluster.meta.namespace
    dialled = addresses.scheduler_address(name, namespace, state.cluster.spec)
    message = (
        f"the scheduler listens on port {told.comm} by {told.scheme}; workers of {words.listed(misled)} "
        f"were told {dialled}: write into the container of spec.scheduler {' and '.join(unsaid)}"
    )
    return [words.Condition(words.LISTENS_ELSEWHERE, True, reasons.NOT_IN_SPEC, message)]


def _as_it_said(cluster: CustomResource) -> list[words.Condition]:
    """The same, as the last status has it."""
    said = (c for c in cluster.status.get("conditions") or () if c.get("status") == "True")
    return [
        words.Condition(words.LISTENS_ELSEWHERE, True, reasons.NOT_IN_SPEC, str(c.get("message")))
        for c in said
        if c.get("type") == words.LISTENS_ELSEWHERE
    ]


def _says_address(group: CustomResource) -> bool:
    """Does the user tell these workers the address?"""
    main = PodSpec.trusted((group.spec.get("worker") or {}).get("spec") or {}).main(labels.WORKER)
    return main is not None and "DASK_SCHEDULER_ADDRESS" in main.env


def _overridden(state: ClusterState) -> list[words.Condition]:
    """Of the cluster's own groups: who scaled one itself, or made one itself, so that the cluster's word does not count."""
    cluster = state.cluster
    existing = {g.name: g.group for g in state.groups if g.group is not None}
    autoscaled = {g.name for g in state.groups if g.autoscaled}
    scaled, foreign = [], []
    for want in groups.declared_groups(cluster):
        group = existing.get(want["metadata"]["name"])
        if group is None:
            continue
        path = "spec.worker"
        if group.meta.name != names.default_group_name(cluster.meta.name):
            inline = group.meta.name.removeprefix(f"{cluster.meta.name}-")
            path = f"spec.workerGroups[{inline}].worker"
        own = want["spec"]["worker"].get("replicas")
        number = (group.spec.get("worker") or {}).get("replicas")
        if group.meta.owner_uid is None:
            if want["spec"]["worker"]:
                foreign.append(
                    f"worker group {group.meta.name} was not made for this cluster: "
                    f"it goes by its own spec, not by {path}"
                )
        elif (
            None not in (own, number)
            and own != number
            and group.meta.name not in autoscaled
            # Else the cluster's number is about to be copied.
            and group.meta.annotations.get(labels.CLUSTER_REPLICAS) == str(own)
        ):
            scaled.append(f"{path}.replicas is {own}, the worker group was scaled to {number}")
    if not scaled and not foreign:
        return []
    reason = reasons.GROUP_OF_ITS_OWN if foreign else reasons.SCALED_ELSEWHERE
    message = "; ".join([*foreign, *scaled])
    return [words.Condition(words.REPLICAS_OVERRIDDEN, True, reason, message)]
