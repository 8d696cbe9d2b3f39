"""Roll-outs: which pods go, how many at a time, when the scheduler is replaced, and what the status says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan import cluster as cluster_plan
from dask_gitops.plan.actions import Create, Delete, Patch, Plan, TryOut, Undrain
from dask_gitops.plan.cluster import ClusterState, Load, cluster_status, plan_cluster
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.groupstatus import group_status, is_up, latch, ready_revision
from dask_gitops.plan.rollout import Budget
from dask_gitops.plan.turnover import turnover
from dask_gitops.plan.workergroup import needs_scheduler, plan_group
from dask_gitops.resources import labels
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource, Pod, Problem
from dask_gitops.resources.pods import scheduler_revision, worker_revision
from dask_gitops.resources.services import service_revision

from tests.unit.objects import (
    CONTROL,
    T0,
    cluster,
    group,
    pending,
    running,
    scheduler,
    service,
    worker,
)

JSON = dict[str, Any]
NOW = T0 + 1000
OLD = {"dask.org/revision": "earlier"}
NEW_SPEC = {"spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "2"}]}]}}


def declared(replicas: int = 10, **spec: Any) -> CustomResource:
    return group({"worker": {"replicas": replicas, **NEW_SPEC}, **spec})


def current(of: CustomResource, **kwargs: Any) -> dict[str, str]:
    return {"dask.org/revision": worker_revision(kwargs.get("cluster", cluster()), of)}


def state(
    *pods: Pod,
    of: CustomResource | None = None,
    in_: CustomResource | None = None,
    scheduler_pod: Pod | None = None,
) -> GroupState:
    of = of or declared()
    return GroupState("demo-default", of, in_ or cluster(), scheduler_pod or scheduler(), pods)


def old(*serials: int, **kwargs: Any) -> list[Pod]:
    return [worker(n, annotations=OLD, **kwargs) for n in serials]


def new(*serials: int, of: CustomResource | None = None, **kwargs: Any) -> list[Pod]:
    return [worker(n, annotations=current(of or declared()), **kwargs) for n in serials]


def unready(serial: int) -> JSON:
    return running(f"10.0.0.{serial + 1}", ready=False)


def known(*pods: Pod) -> list[Worker]:
    return [Worker(f"id-{p.serial}", str(p.ip), p.meta.name, 0, 0) for p in pods]


def plan(of: GroupState, workers: list[Worker] | None = None, **kwargs: Any) -> Plan:
    workers = known(*of.live) if workers is None else workers
    return plan_group(of, workers, NOW, default_image="dask:1", **kwargs)


def created(found: Plan) -> int:
    return sum(len(a.manifests) for a in found.actions if isinstance(a, Create))


def deleted(found: Plan) -> list[int]:
    return [int(a.meta.name.rpartition("-")[2]) for a in found.actions if isinstance(a, Delete)]


def marked(found: Plan) -> list[int]:
    return sorted(
        int(a.meta.name.rpartition("-")[2])
        for a in found.actions
        if isinstance(a, Patch) and "dask.org/retiring" in a.body["metadata"]["annotations"]
    )


# ---- how many


@pytest.mark.parametrize(
    ("strategy", "want", "budget"),
    [
        ({}, 10, Budget(3, 0)),
        ({}, 1, Budget(1, 0)),
        ({}, 0, Budget(1, 0)),
        ({"maxSurge": 2}, 10, Budget(2, 0)),
        ({"maxUnavailable": "25%"}, 10, Budget(3, 2)),
        ({"maxSurge": 0, "maxUnavailable": 3}, 10, Budget(0, 3)),
        ({"maxSurge": "0%", "maxUnavailable": 0}, 10, Budget(1, 0)),
        ({"maxSurge": 0, "maxUnavailable": "5%"}, 10, Budget(1, 0)),
        ({"maxSurge": "100%"}, 7, Budget(7, 0)),
        ({"maxSurge": "lots", "maxUnavailable": -1}, 7, Budget(1, 0)),
        ({"maxSurge": None}, 8, Budget(2, 0)),
    ],
)
def test_budget(strategy: JSON, want: int, budget: Budget) -> None:
    assert Budget.of(want, group({"updateStrategy": strategy}), cluster()) == budget


def test_the_groups_own_strategy_goes_before_the_clusters() -> None:
    of = cluster({"updateStrategy": {"maxSurge": 5, "maxUnavailable": 4}})
    assert Budget.of(10, group({}), of) == Budget(5, 4)
    assert Budget.of(10, group({"updateStrategy": {"maxSurge": 1}}), of) == Budget(1, 4)


# ---- workers


def test_new_ones_come_first_and_no_old_one_goes_before_they_are_ready() -> None:
    first = plan(state(*old(*range(10))))
    assert (created(first), deleted(first), marked(first)) == (3, [], [])
    starting = [*old(*range(10)), *(p for n in (10, 11, 12) for p in new(n, status=unready(n)))]
    second = plan(state(*starting))
    assert (created(second), deleted(second), marked(second)) == (0, [], [])
    third = plan(state(*old(*range(10)), *new(10, 11, 12)))
    assert (created(third), deleted(third), len(marked(third))) == (0, [], 3)


def test_the_old_ones_that_leave_are_idle_ones() -> None:
    pods = [*old(*range(10)), *new(10, 11, 12)]
    busy = [
        Worker(w.id, w.host, w.name, processing=int(i < 7), bytes=0)
        for i, w in enumerate(known(*pods))
    ]
    assert marked(plan(state(*pods), busy)) == [7, 8, 9]


def test_leaving_ones_hold_their_place_until_they_are_gone() -> None:
    leaving = [
        worker(n, annotations={**OLD, "dask.org/retiring": "2030-01-01T00:16:39Z"})
        for n in (7, 8, 9)
    ]
    held = plan(state(*old(*range(7)), *leaving, *new(10, 11, 12)))
    assert (created(held), marked(held)) == (0, [])
    freed = plan(state(*old(*range(7)), *new(10, 11, 12)))
    assert (created(freed), marked(freed)) == (3, [])


def test_max_unavailable_lets_old_ones_go_first() -> None:
    of = declared(10, updateStrategy={"maxSurge": 0, "maxUnavailable": 3})
    first = plan(state(*old(*range(10)), of=of))
    assert (created(first), len(marked(first))) == (0, 3)


def test_old_ones_that_never_started_go_at_once() -> None:
    of = declared(3)
    found = plan(state(*old(0, 1), pending(2, annotations=OLD), of=of))
    assert (deleted(found), created(found), marked(found)) == ([2], 2, [])


def test_a_bad_image_stops_the_rollout_and_the_next_good_spec_goes_on() -> None:
    bad = [pending(n, annotations={"dask.org/revision": "bad"}) for n in (10, 11, 12)]
    of = declared(10)
    stuck_pods = [replace(p, meta=replace(p.meta, annotations=current(of))) for p in bad]
    stuck = plan(state(*old(*range(10)), *stuck_pods, of=of))
    assert (created(stuck), deleted(stuck), marked(stuck)) == (0, [], [])
    after = plan(state(*old(*range(10)), *bad, of=of))
    assert (deleted(after), created(after), marked(after)) == ([10, 11, 12], 3, [])


def test_broken_old_ones_go_before_ready_ones_within_the_room_that_new_ones_give() -> None:
    pods = [*old(*range(9)), *old(9, status=unready(9)), *new(10, 11, 12)]
    assert marked(plan(state(*pods))) == [7, 8, 9]
    # All of them broken: one for each new one, as long as it is not known whether new ones work at all.
    broken = [worker(n, annotations=OLD, status=unready(n)) for n in range(10)]
    assert marked(plan(state(*broken, *new(10, 11, 12)))) == [7, 8, 9]
    assert (
        marked(plan(state(*broken, *(p for n in (10, 11) for p in new(n, status=unready(n))))))
        == []
    )


def test_scaled_down_while_it_rolls_old_ones_go_first() -> None:
    of = declared(5)
    found = plan(state(*old(*range(7)), *new(10, 11, 12, of=of), of=of))
    assert (created(found), marked(found)) == (0, [2, 3, 4, 5, 6])


def test_scaled_up_while_it_rolls() -> None:
    of = declared(20)
    found = plan(state(*old(*range(7)), *new(10, 11, 12, of=of), of=of))
    assert (created(found), marked(found)) == (15, [])  # 25 at most, 10 there


def test_to_zero_while_it_rolls() -> None:
    of = declared(0)
    found = plan(state(*old(0, 1), *new(2, of=of), of=of))
    assert (created(found), marked(found)) == (0, [0, 1, 2])


def test_back_to_the_earlier_spec_those_about_to_leave_stay() -> None:
    of = declared(3)
    leaving = worker(0, annotations={**current(of), "dask.org/retiring": "2030-01-01T00:16:39Z"})
    found = plan(state(leaving, *new(1, of=of), *old(2), of=of))
    (undrain,) = (a for a in found.actions if isinstance(a, Undrain))
    assert undrain.ids == ("id-0",)


def test_those_about_to_leave_do_not_stay_where_enough_are_new() -> None:
    of = declared(2)
    leaving = worker(0, annotations={**current(of), "dask.org/retiring": "2030-01-01T00:16:39Z"})
    found = plan(state(leaving, *new(1, 2, of=of), *old(3), of=of))
    assert not [a for a in found.actions if isinstance(a, Undrain)]


def test_nothing_is_drained_while_the_scheduler_is_silent_or_not_ready() -> None:
    pods = [*old(*range(10)), *new(10, 11, 12)]
    silent = plan_group(state(*pods), None, NOW, default_image="d", silence="does not answer")
    assert marked(silent) == []
    assert silent.held == "workers of an earlier spec should go, but the scheduler does not answer"
    starting = scheduler(status=running("10.0.1.1", name="scheduler", ready=False))
    quiet = plan_group(state(*pods, scheduler_pod=starting), None, NOW, default_image="d")
    assert (marked(quiet), quiet.held) == ([], None)


def test_drain_by_the_users_wish_goes_one_by_one_after_a_while() -> None:
    of, inside = declared(1), cluster({"whenUnreachable": "Drain"})
    pods = new(0, 1, 2, of=of)
    first = plan_group(state(*pods, of=of, in_=inside), None, NOW, default_image="d")
    assert len(marked(first)) == 2

    def leaving(at: str, **kwargs: Any) -> list[Pod]:
        notes = {**current(of), "dask.org/retiring": at}
        return [worker(n, annotations=notes, **kwargs) for n in (1, 2)]

    fresh = state(pods[0], *leaving("2030-01-01T00:16:00Z"), of=of, in_=inside)
    waiting = plan_group(fresh, None, NOW, default_image="d", silence="does not answer")
    assert (deleted(waiting), waiting.again) == ([], 20)
    ripe = leaving("2030-01-01T00:15:00Z")
    going = plan_group(state(pods[0], *ripe, of=of, in_=inside), None, NOW, default_image="d")
    assert deleted(going) == [1]
    one_ends = [worker(1, annotations=current(of), deleting="2030-01-01T00:17:00Z"), ripe[1]]
    after = plan_group(state(pods[0], *one_ends, of=of, in_=inside), None, NOW, default_image="d")
    assert deleted(after) == []
    assert deleted(plan_group(state(pods[0], *ripe, of=of), None, NOW, default_image="d")) == []


def test_the_scheduler_is_asked_only_when_somebody_may_go() -> None:
    assert not needs_scheduler(state(*old(*range(10))))
    assert needs_scheduler(state(*old(*range(10)), *new(10)))
    assert not needs_scheduler(state(*new(*range(10))))


def test_a_number_that_nobody_gave_is_written_down_before_it_rolls() -> None:
    of = group({"worker": dict(NEW_SPEC)})
    found = plan(state(*old(0, 1), of=of))
    (scale,) = found.actions
    assert isinstance(scale, Patch)
    assert (scale.subresource, scale.body) == ("scale", {"spec": {"replicas": 2}})


# ---- what makes a worker old


def test_a_later_restart_only() -> None:
    of = declared(1)
    for asked, noted, renewed in (
        ("2030-01-02T00:00:00Z", None, True),  # later than the pod
        ("2030-01-01T00:00:00Z", None, True),  # in its second: it was made before
        ("2029-01-02T00:00:00Z", None, False),
        ("2029-01-02T00:00:00Z", "2029-01-01T00:00:00Z", True),  # later than the last
        ("2029-01-01T00:00:00Z", "2029-01-01T00:00:00Z", False),
        ("2029-01-01T01:00:00+01:00", "2029-01-01T00:00:00Z", False),  # the same moment
        ("2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z", False),
        (None, "2029-01-01T00:00:00Z", False),
        ("not a time", "2029-01-01T00:00:00Z", False),
    ):
        notes = {**current(of), **({"dask.org/restarted-at": noted} if noted else {})}
        inside = cluster({"restartedAt": asked})
        pods = state(worker(0, annotations=notes), of=of, in_=inside)
        assert bool(pods.old) is renewed, (asked, noted)


def test_workers_without_an_image_of_their_own_follow_the_schedulers() -> None:
    of = declared(1)
    notes = {**current(of), "dask.org/scheduler-image": "dask:1"}
    pod = worker(0, annotations=notes)
    assert not state(pod, of=of).old
    newer = replace(scheduler(), image="dask:2")
    assert state(pod, of=of, scheduler_pod=newer).old
    own = cluster({"image": "dask:1"})
    named = worker(0, annotations=current(of, cluster=own))
    assert not state(named, of=of, in_=own, scheduler_pod=newer).old


def test_back_to_a_spec_that_was_up_once_is_not_ready_while_others_run() -> None:
    of = declared(2)
    noted = ready_revision(state(of=of))
    assert noted is not None
    remembers = scheduler(annotations={labels.GROUP_WAS_READY + "demo-default": noted})
    mine = [worker(n, annotations=current(of)) for n in (0, 1)]
    for pods, ready in ((mine[:1], "True"), ([*old(5), *mine], "False")):
        status, _ = group_status(state(*pods, of=of, scheduler_pod=remembers), NOW)
        found = {c["type"]: c["status"] for c in status["conditions"]}
        assert found["Ready"] == ready


def test_a_pod_without_a_note_of_its_spec_is_left_alone() -> None:
    assert not state(worker(0), of=declared(1)).old


# ---- one change of the image of both


IMAGE_2 = cluster({"image": "dask:2"})


def test_workers_wait_for_the_scheduler_when_the_image_of_both_changes() -> None:
    of, pods = declared(2), old(0, 1)
    waiting = state(*pods, of=of, in_=IMAGE_2, scheduler_pod=scheduler(annotations=OLD))
    assert waiting.held_image == "dask:1"
    assert plan(waiting).actions == ()
    status, _ = group_status(waiting, NOW)
    found = {c["type"]: c for c in status["conditions"]}
    assert found["Ready"]["status"] == "True"
    assert found["UpdatePending"]["message"] == (
        "2 workers of an earlier spec wait for the scheduler, whose image changes too"
    )
    assert status["updatedReplicas"] == 0


def test_a_worker_that_is_made_meanwhile_keeps_the_image_and_counts_as_old() -> None:
    of = declared(2)
    waiting = state(*old(0), of=of, in_=IMAGE_2, scheduler_pod=scheduler(annotations=OLD))
    (create,) = (a for a in plan(waiting).actions if isinstance(a, Create))
    (made,) = create.manifests
    assert made["spec"]["containers"][0]["image"] == "dask:1"
    notes = made["metadata"]["annotations"]
    later = state(worker(1, annotations=notes), of=of, in_=IMAGE_2)
    assert later.old, "it would keep the old image for ever"


def test_workers_do_not_wait_when_only_one_image_or_no_image_changes() -> None:
    old_scheduler = scheduler(annotations=OLD)
    env_only = cluster({"scheduler": {"spec": {"nodeName": "x"}}})
    assert state(*old(0), in_=env_only, scheduler_pod=old_scheduler).held_image is None
    # A group with an image of its own, as for GPUs, that stays what it is.
    own = group({"worker": {"spec": {"containers": [{"name": "worker", "image": "dask:1"}]}}})
    assert state(*old(0), of=own, in_=IMAGE_2, scheduler_pod=old_scheduler).held_image is None
    # The scheduler's spec changes, but not its image: those of the workers need not wait for that.
    newer = group({"worker": {"spec": {"containers": [{"name": "worker", "image": "dask:2"}]}}})
    kept = cluster({"image": "dask:1", "scheduler": {"spec": {"nodeName": "x"}}})
    assert state(*old(0), of=newer, in_=kept, scheduler_pod=old_scheduler).held_image is None
    empty = state(of=declared(1), in_=IMAGE_2, scheduler_pod=old_scheduler)
    assert empty.held_image == "dask:1"
    gpu = group({"worker": {"spec": {"containers": [{"name": "worker", "image": "gpu:1"}]}}})
    assert state(of=gpu, in_=IMAGE_2, scheduler_pod=old_scheduler).held_image is None


# ---- status of a group that rolls


def test_progress_is_counted() -> None:
    rolling = state(*old(*range(7)), *new(10, 11, 12))
    status, _ = group_status(rolling, NOW)
    found = {c["type"]: (c["status"], c["message"]) for c in status["conditions"]}
    assert found["Ready"] == ("False", "10 of 10 workers ready, 3 of 10 updated")
    assert "Reconciling" in found
    assert status["updatedReplicas"] == 3
    assert latch(rolling) == {}
    assert is_up(state(*new(*range(10))))


# ---- labels in place


def test_changed_metadata_reach_live_pods_and_nothing_restarts() -> None:
    of = group({"worker": {"replicas": 1, "metadata": {"labels": {"team": "b"}}}})
    (patch,) = plan(state(*new(0, of=of), of=of)).actions
    assert isinstance(patch, Patch)
    assert patch.body["metadata"]["labels"] == {"team": "b"}


# ---- the scheduler


def whole(pod: Pod, of: CustomResource, *, workers: tuple[Pod, ...] | None = None) -> ClusterState:
    (manifest,) = declared_groups(of)
    meta = manifest["metadata"]
    spec = {**manifest["spec"], "worker": {**manifest["spec"]["worker"], "replicas": 1}}
    default = group(
        spec,
        labels=meta["labels"],
        annotations=meta["annotations"],
        ownerReferences=meta["ownerReferences"],
    )
    notes = {"dask.org/revision": worker_revision(of, default)}
    pods = (worker(0, annotations=notes),) if workers is None else workers
    groups = (GroupState("demo-default", default, of, pod, pods),)
    return ClusterState(of, (pod,), service(**{"dask.org/revision": service_revision(of)}), groups)


def cluster_words(found: Plan) -> list[str]:
    return [type(a).__name__ for a in found.actions]


def steps(of: ClusterState, load: Load | None = None, now: float = NOW, **kwargs: Any) -> Plan:
    return plan_cluster(of, now, load=load, default_image="d", control=CONTROL, token="t", **kwargs)


IDLE = Load(0, 0)
CHANGED = cluster({"scheduler": {"spec": {"priority": 1}}})
SERVED = {**OLD, "dask.org/was-ready": "x"}


def test_a_current_scheduler_is_left_alone() -> None:
    pod = scheduler(annotations={"dask.org/revision": scheduler_revision(CHANGED)})
    assert steps(whole(pod, CHANGED)) == Plan()
    assert not cluster_plan.needs_load(whole(pod, CHANGED))


@pytest.mark.parametrize(
    ("load", "silence", "why"),
    [
        (
            Load(3, 0),
            "",
            "it is replaced when the cluster is idle; now tasks are running or waiting",
        ),
        (Load(0, 2), "", "it is replaced when the cluster is idle; now results are in memory"),
        (
            Load(1, 1),
            "",
            "it is replaced when the cluster is idle; "
            "now tasks are running or waiting and results are in memory",
        ),
        (
            None,
            "does not answer",
            "it is replaced when the cluster is idle; now the scheduler does not answer",
        ),
    ],
)
def test_it_waits_until_nothing_would_be_lost(load: Load | None, silence: str, why: str) -> None:
    of = whole(scheduler(annotations=SERVED), CHANGED)
    assert cluster_plan.needs_load(of)
    found = steps(of, load, silence=silence)
    assert cluster_words(found) == ["TryOut"]
    assert (found.held, found.again) == (why, 10)
    status, _ = cluster_status(of, NOW, waits=found.held)
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    assert conditions["UpdatePending"]["message"] == f"demo-scheduler runs an earlier spec; {why}"


def test_it_is_tried_out_and_goes_when_idle() -> None:
    found = steps(whole(scheduler(annotations=SERVED), CHANGED), IDLE)
    assert cluster_words(found) == ["TryOut", "Delete", "Emit"]
    tried = found.actions[0]
    assert isinstance(tried, TryOut)
    assert tried.again
    assert tried.manifest["spec"]["priority"] == 1


def test_immediate_and_on_delete() -> None:
    at_once = cluster({**CHANGED.spec, "updateStrategy": {"scheduler": "Immediate"}})
    of = whole(scheduler(annotations=SERVED), at_once)
    assert not cluster_plan.needs_load(of)
    assert cluster_words(steps(of)) == ["TryOut", "Delete", "Emit"]
    never = cluster({**CHANGED.spec, "updateStrategy": {"scheduler": "OnDelete"}})
    of = whole(scheduler(annotations=SERVED), never)
    assert not cluster_plan.needs_load(of)
    found = steps(of, IDLE)
    assert (cluster_words(found), found.held) == (["TryOut"], "delete the pod to renew it")


def test_one_that_never_served_is_replaced_at_once() -> None:
    stuck = scheduler(annotations=OLD, status={"phase": "Pending"})
    assert cluster_words(steps(whole(stuck, CHANGED, workers=()))) == ["TryOut", "Delete", "Emit"]
    deaf = scheduler(annotations=OLD, status=running("10.0.1.1", name="scheduler", ready=False))
    found = steps(whole(deaf, CHANGED, workers=()), None, silence="does not answer")
    assert cluster_words(found) == ["TryOut", "Delete", "Emit"]


def test_the_deadline_counts_from_the_change() -> None:
    of = cluster({**CHANGED.spec, "updateStrategy": {"schedulerDeadlineSeconds": 100}})
    first = steps(whole(scheduler(annotations=SERVED), of), Load(1, 0))
    assert cluster_words(first) == ["TryOut", "Patch"]
    note = first.actions[1]
    assert isinstance(note, Patch)
    noted = {**SERVED, **note.body["metadata"]["annotations"]}
    waiting = whole(scheduler(annotations=noted), of)
    assert cluster_words(steps(waiting, Load(1, 0), NOW + 95)) == ["TryOut"]
    assert steps(waiting, Load(1, 0), NOW + 95).again == 5
    assert cluster_words(steps(waiting, Load(1, 0), NOW + 100)) == ["TryOut", "Delete", "Emit"]
    # Another change waits anew.
    other = cluster({**of.spec, "image": "dask:9"})
    again = steps(whole(scheduler(annotations=noted), other), Load(1, 0), NOW + 100)
    assert "Delete" not in cluster_words(again)


def test_a_refused_scheduler_spec_is_stalled_while_the_old_one_goes_on() -> None:
    of = whole(scheduler(annotations=SERVED), CHANGED)
    refused = Problem("Invalid", "spec.priority: no", NOW, refused=True)
    status, _ = cluster_status(of, NOW, problems=[refused], waits="x")
    found = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert found["Ready"] == ("False", "Invalid")
    assert found["Stalled"] == ("True", "Invalid")
    assert status["phase"] == "Running"


def test_restart_of_the_scheduler() -> None:
    of = cluster({"restartedAt": "2030-01-02T00:00:00Z"})
    notes = {"dask.org/revision": scheduler_revision(of)}
    assert cluster_words(steps(whole(scheduler(annotations=notes), of), IDLE)) == [
        "TryOut",
        "Delete",
        "Emit",
    ]
    noted = {**notes, "dask.org/restarted-at": "2030-01-02T00:00:00Z"}
    assert steps(whole(scheduler(annotations=noted), of), IDLE).actions == ()


def test_turnover_of_a_group_at_rest_is_nothing() -> None:
    rest = turnover(state(*new(*range(10))))
    assert (rest.missing, rest.cancel, rest.leave, rest.rolling) == (0, (), 0, False)
