"""Clusters that nobody uses: when to look, what to do, and what to say; all without a world."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.plan import idle
from dask_gitops.plan.actions import Delete, Draft, Emit, Patch
from dask_gitops.plan.cluster import ClusterState, cluster_status
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.groupstatus import group_status
from dask_gitops.resources.observed import CustomResource, Pod, Problem
from dask_gitops.status import timestamp

from tests.unit.objects import T0, cluster, group, owned, scheduler, worker

JSON = dict[str, Any]
NOW = T0 + 1000
HELM = {"app.kubernetes.io/managed-by": "Helm"}
PARKED = {"dask.org/parked": timestamp(NOW - 100)}
SCALE = {"idleTimeout": 600, "idleAction": "Scale"}


def look(idle_s: float | None = 700.0, **known: Any) -> idle.Look:
    return idle.Look("demo-scheduler-uid", NOW, idle_s, **known)


def plan(spec: JSON, pod: Pod, said: idle.Look | None, **meta: Any) -> Draft:
    draft = Draft()
    gone = idle.plan_idle(cluster(spec, **meta), pod, said, NOW, draft)
    assert gone == any(isinstance(a, Delete) for a in draft.actions)
    return draft


def reasons(draft: Draft) -> list[str]:
    return [a.reason for a in draft.actions if isinstance(a, Emit)]


# ---- when to look


@pytest.mark.parametrize("spec", [{}, {"idleTimeout": 0}, {"idleTimeout": None}])
def test_never_where_nothing_is_asked_for(spec: JSON) -> None:
    assert idle.look_in(cluster(spec), scheduler(), None, NOW) is None
    assert idle.look_in(cluster(spec), scheduler(annotations=PARKED), None, NOW) is None


@pytest.mark.parametrize("spec", [{}, {"idleTimeout": 0}, {"idleAction": "Scale"}])
def test_nothing_follows_where_no_timeout_is_given(spec: JSON) -> None:
    assert plan(spec, scheduler(), look()).actions == []


@pytest.mark.parametrize(
    ("spec", "pod"),
    [
        (SCALE, None),
        (SCALE, scheduler(status={"phase": "Pending"})),
        ({**SCALE, "suspend": True}, scheduler()),
    ],
)
def test_never_while_nobody_could_answer_or_nothing_would_follow(
    spec: JSON, pod: Pod | None
) -> None:
    assert idle.look_in(cluster(spec), pod, look(), NOW) is None


@pytest.mark.parametrize(
    ("last", "wait"),
    [
        (None, 0),
        (idle.Look("another pod", NOW, 10.0), 0),
        (look(None), 600),  # busy: at the end of a whole timeout at the earliest
        (look(10.0), 590),
        (look(599.5), idle.SOONEST_S),
        (look(10.0, results=1), 600),  # when they go, it begins anew
        (look(None, silence="does not answer"), idle.SILENT_S),
    ],
)
def test_the_next_look(last: idle.Look | None, wait: float) -> None:
    of, pod = cluster(SCALE), scheduler()
    assert idle.look_in(of, pod, last, NOW) == wait
    assert idle.look_in(of, pod, last, NOW + 5) == max(0, wait - 5)
    assert idle.look_in(of, pod, last, NOW + 5000) == 0
    assert idle.look_in(of, pod, last, NOW - 5000) == wait  # the clock was set back


def test_results_put_no_deletion_off() -> None:
    assert (
        idle.look_in(cluster({"idleTimeout": 600}), scheduler(), look(10.0, results=1), NOW) == 590
    )


def test_a_parked_cluster_is_asked_for_work_every_few_seconds() -> None:
    assert idle.look_in(cluster(SCALE), scheduler(annotations=PARKED), look(), NOW) == 5


# ---- what to do


@pytest.mark.parametrize("said", [None, look(None, silence="is silent"), look(None), look(599.9)])
@pytest.mark.parametrize("spec", [SCALE, {"idleTimeout": 600}])
def test_nothing(spec: JSON, said: idle.Look | None) -> None:
    assert plan(spec, scheduler(), said).actions == []


@pytest.mark.parametrize("said", [None, look(None, silence="is silent"), look(100.0)])
def test_nothing_for_a_parked_one(said: idle.Look | None) -> None:
    assert plan(SCALE, scheduler(annotations=PARKED), said).actions == []


def test_delete() -> None:
    """Results do not keep it, as with the existing operator; a change of the object does."""
    delete, event = plan({"idleTimeout": 600}, scheduler(), look(results=7)).actions
    assert isinstance(delete, Delete)
    assert (delete.kind, delete.meta.name, delete.exact) == ("DaskCluster", "demo", True)
    assert isinstance(event, Emit)
    assert event.message == "deleted, as nothing has run for 11 min 40 s (idleTimeout 10 min)"


def test_park() -> None:
    patch, event = plan(SCALE, scheduler(), look()).actions
    assert isinstance(patch, Patch)
    notes = {"dask.org/parked": timestamp(NOW), "dask.org/woken": None}
    assert (patch.meta.name, patch.body) == ("demo-scheduler", {"metadata": {"annotations": notes}})
    assert isinstance(event, Emit)
    assert event.message == "nothing has run for 11 min 40 s: the workers go until there is work"


@pytest.mark.parametrize("said", [look(results=1), look(tasks=1)])
def test_not_parked_with_results_or_tasks(said: idle.Look) -> None:
    assert plan(SCALE, scheduler(), said).actions == []


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ({"labels": HELM}, "Helm (label app.kubernetes.io/managed-by) would create"),
        ({"ownerReferences": [{**owned("j")[0], "kind": "DaskJob"}]}, "it belongs to a DaskJob"),
    ],
)
def test_what_is_never_deleted(meta: JSON, why: str) -> None:
    spec = {"idleTimeout": 600}
    draft = plan(spec, scheduler(), look(), **meta)
    assert reasons(draft) == ["Parked"]
    assert f"not deleted: {why}" in str(draft.actions)
    assert plan(spec, scheduler(), look(results=1), **meta).actions == []
    parked = scheduler(annotations=PARKED)
    condition = idle.parked_words(cluster(spec, **meta), parked, None)
    assert why in condition.message


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (look(None, tasks=1), "1 task waits"),
        (look(None, tasks=12), "12 tasks wait"),
        (look(5.0, results=2), "results are in memory"),
    ],
)
def test_wake(said: idle.Look, words: str) -> None:
    draft = plan(SCALE, scheduler(annotations=PARKED), said)
    patch = draft.actions[0]
    assert isinstance(patch, Patch)
    notes = {"dask.org/parked": None, "dask.org/woken": timestamp(NOW)}
    assert patch.body == {"metadata": {"annotations": notes}}
    assert reasons(draft) == ["Waking"]
    assert words in str(draft.actions[1])


def test_wake_when_the_timeout_is_gone_without_asking_anybody() -> None:
    assert reasons(plan({}, scheduler(annotations=PARKED), None)) == ["Waking"]


def test_scale_becomes_delete() -> None:
    assert reasons(plan({"idleTimeout": 600}, scheduler(annotations=PARKED), look())) == [
        "IdleDeleted"
    ]


def test_how_long_waking_took() -> None:
    draft = Draft()
    pod = scheduler(annotations={"dask.org/woken": timestamp(NOW - 8)})
    idle.plan_woken(pod, False, NOW, draft)
    assert draft.actions == []
    assert idle.waking_words(pod) == f"; waking since {timestamp(NOW - 8)}"
    idle.plan_woken(pod, True, NOW, draft)
    patch, event = draft.actions
    assert isinstance(patch, Patch)
    note = patch.body["metadata"]["annotations"]["dask.org/woken"]
    assert note == f"{timestamp(NOW - 8)} 8"
    assert isinstance(event, Emit)
    assert event.message == "the first worker is ready, 8 s after the cluster was woken"
    told = scheduler(annotations={"dask.org/woken": note})
    assert idle.waking_words(told).endswith(", the first worker was ready after 8 s")
    again = Draft()
    idle.plan_woken(told, True, NOW, again)
    assert again.actions == []


@pytest.mark.parametrize("note", ["nonsense", "", "2030-01-01T00:00:00Z many"])
def test_a_note_that_is_not_ours_is_no_note(note: str) -> None:
    assert idle.waking_words(scheduler(annotations={"dask.org/woken": note})) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "0 s"),
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (5400, "1 h 30 min"),
        (7201, "2 h 1 s"),
        (1e300, "277777 h 46 min"),  # a scheduler may say anything
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert idle.duration(seconds) == text


def test_silence_is_said_of_this_scheduler_only() -> None:
    silent = look(None, silence="does not answer")
    assert "does not answer" in idle.silence_words(cluster(SCALE), scheduler(), silent)
    assert idle.silence_words(cluster(), scheduler(), silent) == ""
    other = idle.Look("another pod", NOW, silence="does not answer")
    assert idle.silence_words(cluster(SCALE), scheduler(), other) == ""


# ---- the statuses


def conditions(status: JSON) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_what_the_api_server_refuses_on_the_way_is_told() -> None:
    of = cluster({"suspend": True})
    no = Problem("Forbidden", "pods is forbidden", NOW, refused=True)
    some = rests(of, scheduler(), replicas=3)
    state = ClusterState(of, (scheduler(),), groups=(some,), working=1)
    for found in (
        cluster_status(state, NOW, problems=[no])[0],
        group_status(some, NOW, problems=[no])[0],
    ):
        assert conditions(found) == {
            "Ready": ("False", "Forbidden"),
            "Stalled": ("True", "Forbidden"),
        }
        assert "1 worker on the way out" in str(found)
    assert conditions(cluster_status(state, NOW)[0])["Ready"] == ("False", "Suspending")


def test_whose_name_is_taken_can_rest() -> None:
    of = cluster({"suspend": True})
    found, again = cluster_status(ClusterState(of, (scheduler(owner="other"),)), NOW)
    assert (found["phase"], again) == ("Suspended", None)
    assert set(conditions(found)) == {"Ready", "Suspended"}


# ---- the groups


def rests(of: CustomResource, pod: Pod | None, **worker_spec: Any) -> GroupState:
    return GroupState("demo-default", group({"worker": worker_spec}), of, pod, (worker(0),))


def test_no_workers_are_wanted_at_rest_and_only_a_persons_zero_discards() -> None:
    parked = scheduler(annotations=PARKED)
    some = rests(cluster(SCALE), parked, replicas=3)
    assert (some.rest, some.want, some.target, some.may_discard) == ("parked", 0, 3, False)
    none = rests(cluster(SCALE), parked, replicas=0)
    assert (none.want, none.may_discard) == (0, True)
    nobody = rests(cluster(SCALE), parked)  # a number that was just taken away
    assert (nobody.want, nobody.may_discard) == (0, False)
    suspended = rests(cluster({**SCALE, "suspend": True}), parked, replicas=3)
    assert (suspended.rest, suspended.want, suspended.may_discard) == ("suspended", 0, True)
    at_work = rests(cluster(SCALE), scheduler(), replicas=3)
    assert (at_work.rest, at_work.want, at_work.may_discard) == ("", 3, False)
