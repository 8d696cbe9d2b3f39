"""One worker group: every branch of the plan, the status and the latch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan.actions import Create, Delete, Emit, Patch, Plan, Retire, Undrain
from dask_gitops.plan.drain import match
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.groupstatus import group_status, latch, ready_revision
from dask_gitops.plan.limits import Limit
from dask_gitops.plan.workergroup import MOST_AT_ONCE, needs_scheduler, plan_group
from dask_gitops.resources import pods
from dask_gitops.resources.observed import CustomResource, Pod, Problem

from tests.unit.objects import T0, cluster, ended, group, pending, running, scheduler, worker

JSON = dict[str, Any]
NOW = T0 + 1000
JUST_NOW = "2030-01-01T00:16:40Z"  # NOW
LONG_AGO = "2030-01-01T00:00:00Z"  # 1000 s before NOW


def state(
    *pods: Pod,
    replicas: int | None = 3,
    removed: bool = False,
    scheduler: Pod | None = scheduler(),  # noqa: B008
    of: CustomResource | None = cluster(),  # noqa: B008
    neighbours: tuple[Pod, ...] = (),
    **spec: Any,
) -> GroupState:
    declared = group({"worker": {} if replicas is None else {"replicas": replicas}, **spec})
    return GroupState(
        "demo-default", None if removed else declared, of, scheduler, pods, neighbours
    )


def known(serial: int, *, name: str | None = None, host: str | None = None, **facts: int) -> Worker:
    """The scheduler's view of the worker in pod ``serial``."""
    name = name or f"demo-default-worker-{serial}"
    facts = {"processing": 0, "bytes": 0, **facts}
    return Worker(f"id-{serial}", host or f"10.0.0.{serial + 1}", name, **facts)


def plan(of: GroupState, workers: list[Worker] | None = None, **kwargs: Any) -> Plan:
    return plan_group(of, workers, NOW, default_image="dask:1", **kwargs)


def words(found: Plan) -> list[str]:
    """The plan's actions in short."""
    out = []
    for action in found.actions:
        match action:
            case Create(kind, manifests):
                serials = [m["metadata"]["labels"]["dask.org/worker-serial"] for m in manifests]
                out.append(f"create {kind} {','.join(serials)}")
            case Delete(_, meta):
                out.append(f"delete {meta.name.rpartition('-')[2]}")
            case Patch(_, meta, body, subresource):
                what = "scale" if subresource else "mark"
                value = body["spec"]["replicas"] if subresource else meta.name.rpartition("-")[2]
                out.append(f"{what} {value}")
            case Retire(pods, _, interrupt, discard):
                flags = " interrupt" * interrupt + " discard" * discard
                out.append(
                    f"retire {','.join(p.meta.name.rpartition('-')[2] for p in pods)}{flags}"
                )
            case Undrain(pods):
                out.append(f"undrain {','.join(p.meta.name.rpartition('-')[2] for p in pods)}")
            case Emit(reason):
                out.append(reason)
    return out


# ---- growing


def test_nothing_to_do() -> None:
    assert plan(state(worker(0), worker(1), worker(2))) == Plan()


def test_missing_workers_are_created_with_the_next_serials() -> None:
    assert words(plan(state(worker(4)))) == ["create Pod 5,6", "ScaledUp"]
    assert words(plan(state())) == ["create Pod 0,1,2", "ScaledUp"]


def test_serials_also_go_on_from_pods_that_are_ending() -> None:
    ending = worker(7, deleting="2030-01-01T00:20:00Z")
    assert words(plan(state(worker(0), worker(1), ending))) == ["create Pod 8", "ScaledUp"]


def test_new_workers_run_the_image_of_the_scheduler() -> None:
    (create, _) = plan(state()).actions
    assert isinstance(create, Create)
    assert create.manifests[0]["spec"]["containers"][0]["image"] == "dask:1"


STARTING: JSON = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2030-01-01T00:16:35Z"}
    ],
}  # scheduled 5 s before NOW


@pytest.mark.parametrize(
    ("of", "again"),
    [
        (None, None),
        (scheduler(node=False, status={"phase": "Pending"}), None),
        (scheduler(status=STARTING), 5),
    ],
)
def test_no_worker_takes_the_schedulers_room(of: Pod | None, again: float | None) -> None:
    assert plan(state(scheduler=of)) == Plan(again=again)


def test_workers_start_while_the_schedulers_image_is_pulled() -> None:
    conditions = [{**STARTING["conditions"][0], "lastTransitionTime": "2030-01-01T00:16:30Z"}]
    of = scheduler(status={"phase": "Pending", "conditions": conditions})
    assert words(plan(state(scheduler=of)))[0] == "create Pod 0,1,2"


def test_a_group_without_its_cluster_has_no_pods() -> None:
    assert plan(state(ended(0), of=None)) == Plan()


def test_a_number_that_nobody_gives_is_held() -> None:
    assert words(plan(state(replicas=None))) == ["scale 1", "create Pod 0", "ScaledUp"]
    assert words(plan(state(worker(0), worker(1), replicas=None))) == ["scale 2"]
    # At rest there are none for now: who wrote that down would have none for ever.
    asleep = state(replicas=None, of=cluster({"suspend": True}))
    assert words(plan(asleep)) == []
    parked = scheduler(annotations={"dask.org/parked": LONG_AGO})
    assert words(plan(state(replicas=None, scheduler=parked))) == []


def test_a_warning_is_handed_on_while_the_spec_is_the_same() -> None:
    declared = group({"worker": {"replicas": 2}})
    for note, expected in (("x", True), ("other", False)):
        (create, _) = plan(state()).actions
        assert isinstance(create, Create)
        revision = create.manifests[0]["metadata"]["annotations"]["dask.org/revision"]
        kept = {
            "dask.org/spec-warning": "unknown field",
            "dask.org/revision": revision if note == "x" else "old",
        }
        of = GroupState(
            "demo-default", declared, cluster(), scheduler(), (worker(0, annotations=kept),)
        )
        (create, _) = plan(of).actions
        assert isinstance(create, Create)
        made = create.manifests[0]["metadata"]["annotations"]
        assert ("dask.org/spec-warning" in made) is expected


# ---- pods that ended


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (ended(2), ["delete 2", "create Pod 3", "WorkersReplaced"]),
        (ended(2, "Succeeded"), ["delete 2", "create Pod 3", "WorkersReplaced"]),
    ],
)
def test_an_ended_pod_is_replaced(pod: Pod, expected: list[str]) -> None:
    assert words(plan(state(worker(0), worker(1), pod))) == expected


def test_an_ended_pod_that_was_leaving_is_only_removed() -> None:
    of = state(worker(0), ended(1, retiring=JUST_NOW), replicas=1)
    assert words(plan(of)) == ["delete 1"]


def test_a_pod_that_ends_at_once_is_not_replaced_in_a_circle() -> None:
    of = state(worker(0), worker(1), ended(2))
    found = plan_group(of, None, T0 + 3, default_image="dask:1")
    assert found == Plan(again=7)
    assert words(plan_group(of, None, T0 + 10, default_image="dask:1"))[0] == "delete 2"


def test_workers_that_ended_with_their_scheduler_are_replaced_at_once() -> None:
    old = scheduler()
    new = replace(old, meta=replace(old.meta, created=T0 + 2))
    of = state(worker(0), worker(1), ended(2, "Succeeded"), scheduler=new)
    assert words(plan_group(of, None, T0 + 3, default_image="dask:1"))[0] == "delete 2"


def test_a_pod_that_ended_at_once_and_is_not_wanted_goes() -> None:
    found = plan_group(state(worker(0), ended(2), replicas=1), None, T0 + 3, default_image="dask:1")
    assert words(found) == ["delete 2", "WorkersFailed"]


def test_a_pod_that_is_being_deleted_is_left_alone() -> None:
    assert plan(state(ended(1, deleting=JUST_NOW), replicas=0)) == Plan()


# ---- limits


def test_two_billion_are_planned_as_two_hundred_are(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    worker_pod = pods.worker_pod

    def count(cluster: Any, group: Any, serial: int, **rest: Any) -> JSON:
        made.append(serial)
        return worker_pod(cluster, group, serial, **rest)

    monkeypatch.setattr(pods, "worker_pod", count)
    (create, _) = plan(state(replicas=2_000_000_000)).actions
    assert isinstance(create, Create)
    assert made == []  # each is made when it is its turn
    assert len(create.manifests) == MOST_AT_ONCE
    serials = [m["metadata"]["labels"]["dask.org/worker-serial"] for m in create.manifests[198:]]
    assert serials == ["198", "199"]
    assert made == [198, 199]


def test_the_first_of_many_remember_who_died_before_them() -> None:
    dead = (ended(0), ended(1))
    found = plan_group(state(*dead, replicas=500), None, T0 + 100, default_image="dask:1")
    create = next(a for a in found.actions if isinstance(a, Create))
    notes = [m["metadata"]["annotations"].get("dask.org/quick-deaths") for m in create.manifests]
    assert notes[:3] == ["1", "1", None]
    assert len(notes) == MOST_AT_ONCE


@pytest.mark.parametrize(
    ("most", "others", "there", "want", "expected"),
    [
        (5, 0, 0, 9, 5),
        (5, 2, 0, 9, 3),
        (5, 0, 8, 9, 8),  # who is there stays
        (5, 0, 8, 7, 7),
        (5, 9, 2, 9, 2),
        (5, 0, 3, 4, 4),
    ],
)
def test_how_many_fit(most: int, others: int, there: int, want: int, expected: int) -> None:
    of = state(*(worker(n) for n in range(there)), replicas=want)
    wide, tight = Limit("namespace", 1000, 0), Limit("cluster", most, others)
    of = replace(of, limits=(wide, tight))
    assert of.fits == expected
    assert of.limit == (None if expected == want else tight)


@pytest.mark.parametrize("note", ["x." + "9" * 5000, "x.2000000000000", "x.-1", "x.1e9", "."])
def test_a_noted_number_that_is_none_of_ours(note: str) -> None:
    of = state(
        replicas=None, scheduler=scheduler(annotations={"ready.dask.org/demo-default": note})
    )
    assert of.want == 1


# ---- choosing who leaves


def test_pending_pods_first_the_newest_first() -> None:
    of = state(worker(0), pending(1), pending(2), worker(3), replicas=3)
    assert words(plan(of, [known(0), known(3)])) == ["delete 2", "ScaledDown"]


def test_then_the_idle_and_light_ones() -> None:
    of = state(*(worker(n) for n in range(5)), pending(9), replicas=3)
    workers = [
        known(0, bytes=10),
        known(1, processing=1),
        known(2, actors=1),
        known(3, bytes=1),
        known(4, bytes=20),
    ]
    found = plan(of, workers)
    assert words(found) == ["delete 9", "ScaledDown", "mark 3", "mark 0", "ScalingDown"]
    assert {part.name: part.again for part in found.parts} == {"cancel": None, "marks": 0}
    assert found.again is None  # at once, but only once they are marked


def test_among_equals_the_newest_goes() -> None:
    of = state(*(worker(n) for n in range(4)))
    assert words(plan(of, [known(n) for n in range(4)]))[0] == "mark 3"


def test_a_pod_without_a_worker_goes_first() -> None:
    of = state(*(worker(n) for n in range(4)))
    assert words(plan(of, [known(0), known(2), known(3)]))[0] == "mark 1"


def test_a_pod_without_a_worker_goes_last_while_strangers_are_there() -> None:
    of = state(*(worker(n) for n in range(4)))
    workers = [known(0), known(2), known(3), known(9, host="1.2.3.4", name="stranger")]
    assert words(plan(of, workers))[0] == "mark 3"


def test_the_mark_is_a_time_on_exactly_that_pod() -> None:
    (patch, _) = plan(state(worker(0), worker(1), replicas=1), [known(0), known(1)]).actions
    body = {"metadata": {"annotations": {"dask.org/retiring": JUST_NOW}}}
    assert patch == Patch("Pod", worker(1).meta, body)


def test_while_the_scheduler_is_silent_nobody_is_chosen() -> None:
    found = plan(state(worker(0), worker(1), pending(2), replicas=1), silence="refuses our token")
    assert words(found) == ["delete 2", "ScaledDown"]
    assert found.held == "1 worker should go, but the scheduler refuses our token"
    assert found.again == 10


def test_an_explicit_zero_marks_also_when_the_scheduler_is_silent() -> None:
    found = plan(state(worker(0), worker(1), replicas=0), silence="x")
    assert words(found) == ["mark 1", "mark 0", "ScalingDown"]


# ---- leaving


def test_the_marked_ones_are_retired_exactly() -> None:
    of = state(worker(0), worker(1, retiring=JUST_NOW), worker(2, retiring=JUST_NOW), replicas=1)
    found = plan(of, [known(0), known(1, processing=5), known(2)])
    assert words(found) == ["retire 1,2"]
    (retire,) = found.actions
    assert isinstance(retire, Retire)
    assert retire.ids == ("id-1", "id-2")
    assert [part.again for part in found.parts] == [1]


def test_all_processes_of_a_pod_leave() -> None:
    of = state(worker(0), worker(1, retiring=JUST_NOW), replicas=1)
    two = [
        Worker("a", "10.0.0.2", "demo-default-worker-1-0", 0, 0),
        Worker("b", "10.0.0.2", "demo-default-worker-1-1", 0, 0),
    ]
    (retire,) = plan(of, [known(0), *two]).actions
    assert isinstance(retire, Retire)
    assert retire.ids_by_pod == (("a", "b"),)


@pytest.mark.parametrize(
    ("replicas", "expected"), [(1, "retire 1 interrupt"), (0, "retire 1 interrupt discard")]
)
def test_after_drain_timeout(replicas: int, expected: str) -> None:
    of = state(*([worker(0)] if replicas else []), worker(1, retiring=LONG_AGO), replicas=replicas)
    assert words(plan(of, [known(0), known(1)])) == [expected]


def test_the_patient_and_the_overdue_side_by_side() -> None:
    of = state(worker(0, retiring=LONG_AGO), worker(1, retiring=JUST_NOW), replicas=0)
    assert words(plan(of, [known(0), known(1)])) == ["retire 1", "retire 0 interrupt discard"]


@pytest.mark.parametrize(("own", "clusters", "overdue"), [
    (None, None, True), (2000, None, False), (None, 2000, False), (0, 2000, True),
])  # fmt: skip
def test_whose_drain_timeout(own: int | None, clusters: int | None, overdue: bool) -> None:
    of = state(
        worker(0),
        worker(1, retiring=LONG_AGO),
        replicas=1,
        of=cluster({"drainTimeout": clusters}),
        drainTimeout=own,
    )
    expected = "retire 1 interrupt" if overdue else "retire 1"
    assert words(plan(of, [known(0), known(1)])) == [expected]


def test_a_marked_pod_that_the_scheduler_does_not_know_is_deleted_after_a_moment() -> None:
    of = state(worker(0), worker(1, retiring=JUST_NOW), replicas=1)
    found = plan(of, [known(0)])
    assert found == Plan(again=5)
    assert words(plan_group(of, [known(0)], NOW + 5, default_image="d")) == ["delete 1"]


def test_a_ready_pod_is_not_unknown_while_a_worker_cannot_be_matched() -> None:
    of = state(worker(0), worker(1, retiring=LONG_AGO), replicas=1)
    stranger = known(9, host="1.2.3.4", name="stranger")
    found = plan(of, [known(0), stranger])
    assert words(found) == []
    assert found.held is not None
    assert "stranger" in found.held
    assert found.again == 10


def test_an_unready_pod_is_unknown_all_the_same() -> None:
    unready = worker(1, retiring=LONG_AGO, status=running("10.0.0.2", ready=False))
    stranger = known(9, host="1.2.3.4", name="stranger")
    assert words(plan(state(worker(0), unready, replicas=1), [known(0), stranger])) == ["delete 1"]


def test_an_explicit_zero_ends_also_this() -> None:
    of = state(worker(1, retiring=LONG_AGO), replicas=0)
    assert words(plan(of, [known(9, host="1.2.3.4", name="stranger")])) == ["delete 1"]


def test_a_neighbours_worker_is_no_stranger_and_never_touched() -> None:
    other = worker(5, group="demo-gpu")
    of = state(worker(0), worker(1, retiring=LONG_AGO), replicas=1, neighbours=(other,))
    workers = [known(0), known(5, host="10.0.0.6", name="demo-gpu-worker-5")]
    assert words(plan(of, workers)) == ["delete 1"]


def test_marked_pods_wait_while_the_scheduler_is_silent() -> None:
    found = plan(state(worker(0), worker(1, retiring=LONG_AGO), replicas=1), silence="x y")
    assert words(found) == []
    assert found.held == "1 worker should go, but the scheduler x y"
    assert found.again == 10


def test_an_explicit_zero_discards_after_drain_timeout() -> None:
    of = state(worker(0, retiring=LONG_AGO), worker(1, retiring=JUST_NOW), replicas=0)
    found = plan(of)
    assert words(found) == ["delete 0", "ResultsDiscarded"]
    assert found.held == "1 worker should go, but the scheduler is not running"


def removed(*serials: int, of: CustomResource | None = None, **kwargs: Any) -> GroupState:
    pods = tuple(worker(n, group="demo-big", **kwargs) for n in serials)
    return GroupState("demo-big", None, of or cluster(), scheduler(), pods)


def test_a_removed_group_is_drained() -> None:
    workers = [known(n, name=f"demo-big-worker-{n}") for n in (0, 1)]
    assert words(plan(removed(0, 1), workers)) == ["mark 1", "mark 0", "ScalingDown"]
    assert words(plan(removed(0, retiring=JUST_NOW), workers[:1])) == ["retire 0"]


def test_a_group_that_comes_back_loses_nobody() -> None:
    """Somebody deleted a group that its cluster declares."""
    of = cluster({"workerGroups": [{"name": "big"}]})
    assert plan(removed(0, 1, of=of), []) == Plan()
    assert plan(state(worker(0), removed=True), [known(0)]) == Plan()


# ---- staying after all


def test_who_was_leaving_is_taken_back_first() -> None:
    of = state(worker(0), worker(1, retiring=JUST_NOW), worker(2, retiring=JUST_NOW), replicas=2)
    found = plan(of, [known(0), known(1), known(2)])
    assert words(found) == ["undrain 1", "retire 2"]


def test_the_rest_is_created() -> None:
    of = state(worker(0), worker(1, retiring=JUST_NOW), replicas=3)
    found = plan(of, [known(0), known(1)])
    assert words(found) == ["undrain 1", "create Pod 2", "ScaledUp"]


def test_who_has_already_left_is_not_taken_back() -> None:
    of = state(worker(0), worker(1, retiring=LONG_AGO), replicas=2)
    assert words(plan(of, [known(0)])) == ["delete 1", "create Pod 2", "ScaledUp"]


def test_without_the_scheduler_nobody_is_taken_back() -> None:
    of = state(worker(0), worker(1, retiring=JUST_NOW), replicas=2)
    assert words(plan(of)) == ["create Pod 2", "ScaledUp"]


# ---- when to ask


@pytest.mark.parametrize(
    ("of", "asks"),
    [
        (state(worker(0), worker(1), worker(2)), False),
        (state(worker(0)), False),
        (state(worker(0), pending(1), replicas=1), False),
        (state(worker(0), worker(1), replicas=1), True),
        (state(worker(0, retiring=JUST_NOW)), True),
        (state(worker(0), replicas=0), True),
        (state(worker(0), replicas=0, scheduler=None), False),
        (state(worker(0), replicas=0, of=None), False),
        (state(), False),
        (state(worker(0), removed=True), True),
    ],
)
def test_the_scheduler_is_asked_only_when_someone_leaves(of: GroupState, asks: bool) -> None:
    assert needs_scheduler(of) is asks


# ---- matching


@pytest.mark.parametrize(
    ("host", "name", "pod"),
    [
        ("10.0.0.1", "anything", "demo-default-worker-0"),
        ("10.0.0.1", "demo-default-worker-1", "demo-default-worker-0"),  # the address is stronger
        ("1.2.3.4", "demo-default-worker-1", "demo-default-worker-1"),
        ("1.2.3.4", "demo-default-worker-1-3", "demo-default-worker-1"),
        ("1.2.3.4", "anything", None),
        ("", "", None),
    ],
)
def test_match(host: str, name: str, pod: str | None) -> None:
    found = Worker("id", host, name, 0, 0)
    matched, strangers = match(state(worker(0), worker(1)), [found])
    assert matched == ({f"{pod}-uid": [found]} if pod else {})
    assert strangers == ([] if pod else [found])


# ---- status and latch


def report(of: GroupState, **kwargs: Any) -> tuple[list[tuple[str, str, str]], str, float | None]:
    """(type, status, reason) of the conditions, Ready's message, again."""
    status, again = group_status(of, kwargs.pop("now", NOW), **kwargs)
    found = [(c["type"], c["status"], c["reason"]) for c in status["conditions"]]
    return found, status["conditions"][0]["message"], again


def up(reason: str) -> list[tuple[str, str, str]]:
    return [("Ready", "True", reason)]


def on_its_way(reason: str) -> list[tuple[str, str, str]]:
    return [("Ready", "False", reason), ("Reconciling", "True", reason)]


def stuck(reason: str) -> list[tuple[str, str, str]]:
    return [("Ready", "False", reason), ("Stalled", "True", reason)]


def unschedulable(serial: int, since: str = LONG_AGO) -> Pod:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "no room",
        "lastTransitionTime": since,
    }
    return worker(serial, node=False, status={"phase": "Pending", "conditions": [condition]})


ALL = (worker(0), worker(1), worker(2))


def was_up(of: GroupState) -> Pod:
    """The scheduler with the latch for this group."""
    return scheduler(annotations={"ready.dask.org/demo-default": ready_revision(of)})


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (state(*ALL), (up("WorkersReady"), "3 of 3 workers ready", None)),
        (state(replicas=0), (up("WorkersReady"), "0 of 0 workers ready", None)),
        (state(ALL[0]), (on_its_way("Progressing"), "1 of 3 workers ready", None)),
        (state(*ALL, replicas=1), (on_its_way("Progressing"), "3 of 1 worker ready, 2 on the way out", None)),
        (state(*ALL, scheduler=None), (on_its_way("SchedulerNotReady"), "3 of 3 workers ready; the scheduler is not ready", None)),
        (state(*ALL, of=None), (on_its_way("ClusterMissing"), "waits for DaskCluster demo", None)),
        (state(*ALL[:2], scheduler=was_up(state())), (up("WorkersReady"), "2 of 3 workers ready", None)),
        (state(*ALL[:2], replicas=4, scheduler=was_up(state())), (on_its_way("Progressing"), "2 of 4 workers ready", None)),
        (state(*ALL[:2], unschedulable(2, "2030-01-01T00:16:00Z")), (on_its_way("Unschedulable"), "2 of 3 workers ready; demo-default-worker-2: no room", 561)),
        (state(*ALL[:2], unschedulable(2)), (stuck("Unschedulable"), "2 of 3 workers ready; demo-default-worker-2: no room", None)),
        (state(*ALL[:2], unschedulable(2), of=cluster({"progressDeadlineSeconds": 5000})), (on_its_way("Unschedulable"), "2 of 3 workers ready; demo-default-worker-2: no room", 4001)),
        (state(*ALL[:2], unschedulable(2), scheduler=was_up(state())), (up("WorkersReady"), "2 of 3 workers ready; demo-default-worker-2: no room", None)),
    ],
)  # fmt: skip
def test_status(of: GroupState, expected: Any) -> None:
    assert report(of) == expected


def test_why_pods_end_at_once_is_told() -> None:
    found, message, _ = report(state(*ALL[:2], ended(2)), now=T0 + 5)
    assert found == on_its_way("PodFailed")
    assert message == "2 of 3 workers ready; demo-default-worker-2: failed"


@pytest.mark.parametrize(
    ("refused", "expected"), [(True, stuck("Invalid")), (False, on_its_way("Invalid"))]
)
def test_what_the_api_server_says(refused: bool, expected: Any) -> None:
    problems = [Problem("Invalid", "bad spec", NOW, refused=refused)]
    found, message, _ = report(state(*ALL[:2], unschedulable(2)), problems=problems)
    if refused:  # comes before older problems
        assert (found, message) == (expected, "2 of 3 workers ready; bad spec")
    else:
        assert found == stuck("Unschedulable")


def test_a_held_scale_down_shows() -> None:
    found, _, _ = report(state(*ALL, replicas=1), held="1 worker should go, but ...")
    assert ("ScaleDownHeld", "True", "NothingIsDiscarded") in found


def test_a_spec_warning_shows() -> None:
    (create, _) = plan(state()).actions
    assert isinstance(create, Create)
    notes = {
        "dask.org/spec-warning": "unknown field",
        "dask.org/revision": create.manifests[0]["metadata"]["annotations"]["dask.org/revision"],
    }
    found, _, _ = report(state(worker(0, annotations=notes), *ALL[1:]))
    assert ("SpecWarning", "True", "UnknownField") in found


def test_counts() -> None:
    old = worker(1, annotations={"dask.org/revision": "old"})
    starting = worker(2, status=running("10.0.0.3", ready=False))
    gone = worker(3, deleting=JUST_NOW)
    status, _ = group_status(state(worker(0), old, starting, gone), NOW)
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (3, 2, 2)
    assert status["observedGeneration"] == 1
    assert status["selector"] == (
        "dask.org/cluster-name=demo,dask.org/component=worker,dask.org/workergroup-name=demo-default"
    )


def test_a_removed_group_has_no_status() -> None:
    with pytest.raises(ValueError, match="removed"):
        group_status(state(removed=True), NOW)


def test_the_latch() -> None:
    full = state(*ALL)
    assert latch(full) == {"ready.dask.org/demo-default": ready_revision(full)}
    assert latch(state(*ALL, scheduler=was_up(full))) == {}
    assert latch(state(*ALL[:2])) == {}
    assert latch(state(*ALL, scheduler=None)) == {}
    assert latch(state(removed=True)) == {}
    starting = scheduler(status=running(name="scheduler", ready=False))
    assert latch(state(*ALL, scheduler=starting)) == {}


def test_another_number_or_spec_needs_another_latch() -> None:
    full = state(*ALL)
    assert ready_revision(state(*ALL, replicas=4)) != ready_revision(full)
    assert ready_revision(state(*ALL, of=cluster({"image": "x"}))) != ready_revision(full)
    assert ready_revision(state(*ALL, of=cluster({"idleTimeout": 1}))) == ready_revision(full)


def conditions_of(of: GroupState) -> dict[str, tuple[str, str]]:
    status, _ = group_status(of, NOW)
    return {c["type"]: (c["reason"], c["message"]) for c in status["conditions"]}


def test_an_address_of_two_pods_tells_nothing() -> None:
    """Two pods with hostNetwork on one node: the names tell them apart."""
    one, two = worker(0), worker(1, status=running("10.0.0.1"))
    workers = [Worker(f"w{n}", "10.0.0.1", f"demo-default-worker-{n}", 0, 0) for n in (0, 1)]
    matched, strangers = match(state(one, two), workers)
    assert {uid: [w.id for w in found] for uid, found in matched.items()} == {
        one.meta.uid: ["w0"],
        two.meta.uid: ["w1"],
    }
    assert strangers == []


def test_the_address_of_an_ended_pod_may_be_somebody_elses() -> None:
    old, new = ended(0), worker(1, status=running("10.0.0.1"))
    old = replace(old, ip="10.0.0.1")
    matched, _ = match(state(old, new), [Worker("w", "10.0.0.1", "any", 0, 0)])
    assert list(matched) == [new.meta.uid]
