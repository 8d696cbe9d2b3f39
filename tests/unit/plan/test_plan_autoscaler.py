"""When an autoscaler changes the number, by how much, and in which words."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from dask_gitops.plan.actions import Create, Delete, Emit, Patch
from dask_gitops.plan.autoscaler import (
    Memory,
    ScalerState,
    Steps,
    Wish,
    autoscaler_status,
    contested_until,
    decide,
    due_in,
    is_contested,
    plan_autoscaler,
    remember,
    within,
)
from dask_gitops.plan.cluster import ClusterState, cluster_status, plan_cluster
from dask_gitops.plan.demand import Demand, Kind, Process
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.resources import labels
from dask_gitops.resources.autoscalers import Limits, declared_autoscaler, declared_revision
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource

from tests.unit.objects import CONTROL, T0, TIME, cluster, group, scheduler, service, worker

JSON = dict[str, Any]
TASKS = Wish(12, "12 tasks queued")


def scaler(low: int = 1, high: int = 20, *, name: str = "demo", **spec: Any) -> CustomResource:
    meta = {"name": name, "namespace": "ns", "uid": f"{name}-scaler", "generation": 1}
    return CustomResource.of(
        {
            "kind": "DaskAutoscaler",
            "metadata": {**meta, "creationTimestamp": TIME},
            "spec": {"cluster": "demo", "minimum": low, "maximum": high, **spec},
        }
    )


def limits(low: int = 1, high: int = 20, **spec: Any) -> Limits:
    return Limits.of(scaler(low, high, **spec))


# ---- windows and steps


@pytest.mark.parametrize(
    ("current", "wanted", "spec", "number", "words"),
    [
        (2, TASKS, {}, 12, "12 tasks queued for 2 workers: 2 to 12"),
        (
            2,
            TASKS,
            {"scaleUp": {"maxPercent": 200}},
            6,
            "12 tasks queued for 2 workers: 2 to 6, limited by maxPercent",
        ),
        (1, TASKS, {"scaleUp": {"maxPercent": 1}}, 2, "12 tasks queued for 1 worker: 1 to 2, limited by maxPercent"),
        (2, TASKS, {"high": 5}, 5, "12 tasks queued for 2 workers: 2 to 5, limited by the maximum"),
        (3, Wish(5, "results in memory"), {}, 5, "results in memory for 3 workers: 3 to 5"),
        (10, Wish(3, "x"), {}, 3, "3 of 10 workers needed for 90 s: 10 to 3"),
        (10, Wish(0, "x"), {"low": 0}, 0, "nothing to do for 90 s: 10 to 0"),
        (10, Wish(0, "x"), {}, 1, "nothing to do for 90 s: 10 to 1, limited by the minimum"),
        (
            10,
            Wish(0, "x"),
            {"low": 0, "scaleDown": {"maxPercent": 25, "stabilizationSeconds": 0}},
            8,
            "nothing to do: 10 to 8, limited by maxPercent",
        ),
        (30, Wish(25, "x"), {}, 20, "the maximum is 20: 30 to 20"),
        (0, Wish(0, "x"), {"low": 2}, 2, "the minimum is 2: 0 to 2"),
        (0, TASKS, {"low": 2}, 12, "12 tasks queued for 0 workers: 0 to 12"),
        (0, TASKS, {"low": 2, "scaleUp": {"maxPercent": 50}}, 2, "12 tasks queued for 0 workers: 0 to 2, limited by maxPercent"),
        (12, TASKS, {}, 12, ""),
    ],
)  # fmt: skip
def test_a_decision(
    current: int, wanted: Wish, spec: dict[str, Any], number: int, words: str
) -> None:
    these = limits(**spec)
    inside = max(these.minimum, min(these.maximum, wanted.number))
    assert decide(current, ((T0 - 1000, inside),), these, wanted, T0) == (number, words)


def test_what_was_wished_within_a_window() -> None:
    wishes = ((0.0, 5), (10.0, 1), (20.0, 3))
    assert within(wishes, 0, 20) == [3]
    assert within(wishes, 0, 15) == [1, 3]  # 3 holds until something else is said
    assert within(wishes, 5, 20) == [1, 3]
    assert within(wishes, 10, 20) == [1, 3]
    assert within(wishes, 10.1, 20) == [5, 1, 3]
    assert remember(wishes, 3, 25, 90) == wishes
    assert remember(wishes, 4, 25, 10) == ((10.0, 1), (20.0, 3), (25, 4))
    assert remember(wishes, 4, 1000, 90) == ((20.0, 3), (1000, 4))


def test_down_only_when_the_whole_window_agrees() -> None:
    these = limits()
    wishes = ((0.0, 10), (50.0, 4), (70.0, 2))
    assert decide(10, wishes, these, Wish(2, ""), 139)[0] == 10
    assert decide(10, wishes, these, Wish(2, ""), 140)[0] == 4
    assert decide(10, wishes, these, Wish(2, ""), 160)[0] == 2


def test_nulls_and_nonsense_in_a_spec_mean_the_defaults() -> None:
    found = limits(interval=None, scaleUp=None, scaleDown={"stabilizationSeconds": None})
    assert (found.interval, found.up.window, found.down.window) == (5, 0, 90)
    assert (found.up.percent, found.down.percent) == (None, None)
    assert limits(scaleDown={"stabilizationSeconds": 10**9}).down.window == 3600


# ---- one look


def state(*pods: Any, replicas: int = 2, of: CustomResource | None = None) -> ScalerState:
    found = GroupState(
        "demo-default",
        group({"worker": {"replicas": replicas}}),
        cluster(),
        scheduler(),
        pods,
        now=T0,
        autoscaled=True,
    )
    return ScalerState(of or scaler(), cluster(), found, None, (found,), {"demo-default": 20})


def demand(tasks: int, *processes: Process, of: str = "s", seconds: float = 60) -> Demand:
    kinds = (Kind((), tasks, 0, tasks * seconds),) if tasks else ()
    return Demand(of, 5.0, kinds, processes)


def at_work(serial: int, tasks: int = 1) -> Process:
    return Process(f"10.0.0.{serial + 1}", f"w{serial}", 1, 10**9, 0, 0, tasks, 0)


def look(memory: Memory, what: Demand | None, now: float, replicas: int = 2) -> Steps:
    return plan_autoscaler(
        state(worker(0), worker(1), replicas=replicas), what, "is mute", memory, now
    )


def number(steps: Steps) -> int | None:
    return next((a.body["spec"]["replicas"] for a in steps.actions if isinstance(a, Patch)), None)


def test_a_clock_that_is_set_back_delays_no_look() -> None:
    memory = Memory("u", generation=1, asked=T0)
    assert [due_in(state(), memory, T0 + s) for s in (0, 2, 7, -3600)] == [5, 3, 0, 5]


def test_what_was_not_written_long_ago_is_not_ours_when_somebody_else_writes_it() -> None:
    tried = look(Memory("u"), demand(5), T0).memory
    soon = look(tried, demand(0), T0 + 10, replicas=5)
    assert [a.reason for a in soon.actions if isinstance(a, Emit)] == ["ScaledUp"]
    quiet = look(tried, demand(0), T0 + 300)
    later = look(quiet.memory, demand(0), T0 + 600, replicas=5)
    assert later.actions == ()
    assert not later.memory.ours


def test_the_number_is_written_over_the_one_that_was_judged() -> None:
    steps = look(Memory("u"), demand(5), T0)
    patch, event = steps.actions
    assert isinstance(patch, Patch)
    assert (patch.kind, patch.subresource, patch.manager) == (
        "DaskWorkerGroup",
        "scale",
        "dask-gitops-autoscaler",
    )
    assert event == Emit("ScaledUp", "5 tasks queued for 2 workers: 2 to 5")
    assert (steps.memory.number, steps.after.number, steps.after.ours) == (2, 5, True)


def test_a_write_whose_answer_was_not_heard_is_told_when_it_is_seen() -> None:
    lost = look(Memory("u"), demand(5), T0).memory
    steps = look(lost, demand(5), T0 + 5, replicas=5)
    assert steps.actions == (Emit("ScaledUp", "5 tasks queued for 2 workers: 2 to 5"),)
    assert steps.after.decision == "5 tasks queued for 2 workers: 2 to 5"
    assert steps.after.resets == ()
    # It did not arrive: it is written again, and nobody is blamed.
    steps = look(lost, demand(5), T0 + 5)
    assert number(steps) == 5
    assert steps.after.resets == ()


def test_who_sets_it_back_is_left_alone_longer_and_longer() -> None:
    memory, now, written = Memory("u"), T0, []
    for _ in range(3000):
        steps = look(memory, demand(5), now)  # it is 2 again, each time
        memory = steps.after
        if number(steps):
            written.append(now - T0)
        now += 5
    gaps = [b - a for a, b in itertools.pairwise(written)]
    assert gaps[:8] == [5, 5, 65, 125, 245, 485, 605, 605]
    assert min(gaps[8:]) >= 485
    assert is_contested(memory, now)
    assert contested_until(memory) > now - 600
    assert not is_contested(memory, now + 901)


def test_another_scheduler_begins_the_windows_anew() -> None:
    memory = look(Memory("u"), demand(0), T0).after
    assert number(look(memory, demand(0), T0 + 89)) is None
    assert number(look(memory, demand(0), T0 + 91)) == 1
    assert number(look(memory, demand(0, of="another"), T0 + 91)) is None
    silent = look(memory, None, T0 + 50).after
    assert number(look(silent, demand(0), T0 + 91)) is None


def test_workers_with_tasks_stay_but_not_those_that_leave_already() -> None:
    pods = (worker(0), worker(1), worker(2, retiring=TIME))
    here = state(*pods, replicas=3)
    memory = Memory("u", scheduler="s", number=3, wishes=((T0 - 100, 0),))
    busy = demand(0, *(at_work(n) for n in range(3)))
    steps = plan_autoscaler(here, busy, "", memory, T0)
    assert number(steps) == 2


def test_a_silent_scheduler_is_reported_after_a_while() -> None:
    memory = look(Memory("u"), demand(0), T0).after
    memory = look(memory, None, T0 + 5).after

    def reason(now: float) -> str:
        written, _ = autoscaler_status(state(), memory, now)
        return str(written["conditions"][0]["reason"])

    assert reason(T0 + 20) == "Steering"
    assert reason(T0 + 36) == "SchedulerSilent"
    never = look(Memory("u"), None, T0).after
    assert autoscaler_status(state(), never, T0 + 1)[0]["conditions"][0]["reason"] == "Progressing"


# ---- of a cluster


INLINE = {"minimum": 1, "maximum": 4}


def declared(
    *, note: str | None = None, found: CustomResource | None = None, spec: JSON | None = INLINE
) -> ClusterState:
    of = cluster({"autoscaler": spec} if spec else {})
    (made,) = declared_groups(of)
    annotations = made["metadata"]["annotations"]
    if note is not None:
        annotations[labels.INLINE_AUTOSCALER] = note
    own = group(
        made["spec"],
        ownerReferences=made["metadata"]["ownerReferences"],
        labels=made["metadata"]["labels"],
        annotations=annotations,
    )
    default = GroupState("demo-default", own, of, scheduler(), now=T0)
    return ClusterState(of, (scheduler(),), service(), (default,), autoscaler=found)


def steps_of(of: ClusterState) -> list[Any]:
    found = plan_cluster(of, T0, default_image="d", control=CONTROL, token="t")
    kinds = (Create, Delete, Patch)
    return [
        a
        for a in found.actions
        if isinstance(a, kinds) and a.kind in ("DaskAutoscaler", "DaskWorkerGroup")
    ]


def made_by_us(**spec: Any) -> CustomResource:
    of = cluster({"autoscaler": {**INLINE, **spec}})
    want = declared_autoscaler(of)
    assert want is not None
    meta = {**want["metadata"], "uid": "a", "generation": 1, "creationTimestamp": TIME}
    return CustomResource.of({**want, "metadata": meta})


def test_made_first_and_noted_then() -> None:
    create, note = steps_of(declared())
    assert isinstance(create, Create)
    assert create.manifests == (declared_autoscaler(cluster({"autoscaler": INLINE})),)
    assert isinstance(note, Patch)
    revision = declared_revision(cluster({"autoscaler": INLINE}))
    assert note.body == {"metadata": {"annotations": {labels.INLINE_AUTOSCALER: revision}}}
    assert steps_of(declared(note=revision)) == []  # also when it is there no longer
    # Made, but not noted: a process ended in between.
    assert [type(a) for a in steps_of(declared(found=made_by_us()))] == [Patch]


def test_changed_when_the_declaration_changes() -> None:
    patch, note = steps_of(declared(found=made_by_us(maximum=9), note="before"))
    assert (patch.kind, patch.body["spec"], patch.exact) == ("DaskAutoscaler", {"maximum": 4}, True)
    assert note.kind == "DaskWorkerGroup"


def test_removed_with_the_declaration_if_it_is_ours() -> None:
    delete, note = steps_of(declared(found=made_by_us(), note="before", spec=None))
    assert isinstance(delete, Delete)
    assert note.body == {"metadata": {"annotations": {labels.INLINE_AUTOSCALER: None}}}
    assert steps_of(declared(found=scaler(), spec=None)) == []


def test_a_foreign_one_of_the_same_name_is_in_the_way() -> None:
    of = declared(found=scaler())
    assert steps_of(of) == []
    conditions = cluster_status(of, T0)[0]["conditions"]
    ready = next(c for c in conditions if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NameTaken")
    assert "DaskAutoscaler demo was not made for this cluster" in ready["message"]
