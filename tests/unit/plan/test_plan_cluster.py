"""One cluster: every branch of the plan, the status and the latch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan.actions import Apply, Create, Delete, Emit, Part, Patch, Plan
from dask_gitops.plan.cluster import (
    ClusterState,
    cluster_status,
    is_complete,
    latch,
    plan_cluster,
    ready_revision,
    with_latch,
)
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource, Pod, Problem, Service
from dask_gitops.resources.services import scheduler_service, service_revision

from tests.unit.objects import (
    CONTROL,
    T0,
    cluster,
    group,
    owned,
    pending,
    running,
    scheduler,
    service,
    worker,
)

JSON = dict[str, Any]
NOW = T0 + 1000
SPEC = {"worker": {"replicas": 2}}


def good_service(of: CustomResource) -> Service:
    return service(**{"dask.org/revision": service_revision(of)})


def default_group(of: CustomResource, **spec: Any) -> CustomResource:
    (manifest,) = declared_groups(of)
    if spec:
        manifest["spec"]["worker"] = spec
    return CustomResource.of(
        {**manifest, "metadata": {**manifest["metadata"], "uid": "g", "generation": 1}}
    )


def state(
    of: CustomResource | None = None,
    *workers: Pod,
    schedulers: tuple[Pod, ...] | None = None,
    service: Service | str | None = "good",
    groups: tuple[GroupState, ...] | None = None,
    default: CustomResource | None = None,
) -> ClusterState:
    """A cluster at rest, but for what is said otherwise."""
    of = of or cluster(SPEC)
    schedulers = (scheduler(),) if schedulers is None else schedulers
    if groups is None:
        first = schedulers[0] if schedulers else None
        groups = (GroupState("demo-default", default or default_group(of), of, first, workers),)
    return ClusterState(
        of,
        schedulers,
        good_service(of) if service == "good" else service,  # type: ignore[arg-type]
        groups,
    )


def plan(of: ClusterState) -> Plan:
    return plan_cluster(of, NOW, default_image="dask:1", control=CONTROL, token="t")


def words(found: Plan) -> list[str]:
    out = []
    for action in found.actions:
        match action:
            case Create(kind, manifests):
                out += [f"create {kind} {m['metadata']['name']}" for m in manifests]
            case Delete(kind, meta, force):
                out.append(f"delete {kind} {meta.name}{' by force' * force}")
            case Patch(kind, meta):
                out.append(f"patch {kind} {meta.name}")
            case Emit(reason):
                out.append(reason)
    return out


# ---- plan


def test_at_rest() -> None:
    assert plan(state()) == Plan()


def test_everything_is_created() -> None:
    assert words(plan(state(schedulers=(), service=None, groups=()))) == [
        "create Pod demo-scheduler",
        "SchedulerCreated",
        "create Service demo-scheduler",
        "create DaskWorkerGroup demo-default",
    ]


def test_nothing_for_a_cluster_that_is_being_deleted() -> None:
    ending = cluster(SPEC, deletionTimestamp="2030-01-01T00:00:00Z")
    assert plan(state(ending, schedulers=(), service=None, groups=())) == Plan()


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({"schedulers": ()}, ["create Pod demo-scheduler", "SchedulerCreated"]),
        ({"service": None}, ["create Service demo-scheduler"]),
        ({"groups": ()}, ["create DaskWorkerGroup demo-default"]),
    ],
)
def test_what_is_missing_comes_back(missing: JSON, expected: list[str]) -> None:
    assert words(plan(state(**missing))) == expected


def test_a_scheduler_that_ended_is_replaced() -> None:
    gone = scheduler(status={"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
    found = plan(state(schedulers=(gone,)))
    assert words(found) == ["delete Pod demo-scheduler"]
    found = plan(replace(state(schedulers=()), predecessor=gone))
    assert words(found) == ["create Pod demo-scheduler", "SchedulerReplaced"]
    (_, emit) = found.actions
    assert isinstance(emit, Emit)
    assert emit.message == "created demo-scheduler anew: Evicted: low on memory"
    assert emit.warning


def test_a_scheduler_that_ends_at_once_is_not_replaced_in_a_circle() -> None:
    of = state(schedulers=(scheduler(status={"phase": "Failed"}),))
    found = plan_cluster(of, T0 + 5, default_image="d", control=CONTROL, token="t")
    assert found == Plan(again=5)


@pytest.mark.parametrize(
    ("ends", "expected", "again"),
    [
        ("2030-01-01T00:16:00Z", [], 20),
        ("2030-01-01T00:15:00Z", ["delete Pod demo-scheduler by force", "SchedulerLost"], None),
    ],
)
def test_a_scheduler_on_a_lost_node(ends: str, expected: list[str], again: float | None) -> None:
    found = plan(state(schedulers=(scheduler(deleting=ends),)))
    assert words(found) == expected
    assert found.again == again


def test_a_foreign_pod_under_our_labels_is_nobody_we_touch() -> None:
    for deleting in (None, "2030-01-01T00:00:00Z"):
        for status in ({"phase": "Failed"}, running(name="scheduler")):
            pod = scheduler(owner=None, deleting=deleting, status=status)
            assert words(plan(state(schedulers=(pod,)))) == []


def test_the_scheduler_of_a_deleted_cluster_of_the_same_name_is_waited_for() -> None:
    found = plan(state(schedulers=(scheduler(owner="older"),)))
    assert found == Plan(again=1)


def test_the_service_of_a_deleted_cluster_of_the_same_name_is_waited_for() -> None:
    assert plan(state(service=service(owner="older"))) == Plan(again=1)


def test_the_group_of_a_deleted_cluster_of_the_same_name_is_waited_for() -> None:
    older = group({"worker": {"replicas": 9}}, ownerReferences=owned("older"))
    assert plan(state(default=older)) == Plan(again=1)


def test_a_group_that_is_being_deleted_still_has_its_name() -> None:
    of = cluster(SPEC)
    ending = GroupState("demo-default", None, of, scheduler())
    assert plan(state(of, groups=(ending,))) == Plan(again=1)


def test_a_changed_service_is_applied_as_a_whole() -> None:
    of = cluster({**SPEC, "scheduler": {"service": {"type": "LoadBalancer"}}})
    (apply,) = plan(state(of, service=good_service(cluster(SPEC)))).actions
    assert isinstance(apply, Apply)
    assert apply.manifest == scheduler_service(of)


def test_a_default_group_of_the_users_own_is_left_alone() -> None:
    assert plan(state(default=group({"worker": {"replicas": 9, "spec": {"x": 1}}}))) == Plan()


def test_the_number_is_copied() -> None:
    old = default_group(cluster(SPEC))
    (patch,) = plan(state(cluster({"worker": {"replicas": 5}}), default=old)).actions
    assert isinstance(patch, Patch)
    assert patch.body["spec"] == {"worker": {"replicas": 5}}


def test_inline_groups_come_and_go_but_never_anybody_elses() -> None:
    of = cluster({**SPEC, "workerGroups": [{"name": "gpu"}]})
    mine = group(name="demo-old", ownerReferences=owned())
    users = group(name="demo-users")
    groups = tuple(GroupState(g.meta.name, g, of, scheduler()) for g in (mine, users))
    (first, _) = declared_groups(of)
    stored = CustomResource.of({**first, "metadata": {**first["metadata"], "uid": "g"}})
    found = plan(state(of, groups=(GroupState("demo-default", stored, of, scheduler()), *groups)))
    assert words(found) == [
        "create DaskWorkerGroup demo-gpu",
        "delete DaskWorkerGroup demo-old",
        "GroupRemoved",
    ]


# ---- status


def report(
    of: ClusterState, now: float = NOW, **kwargs: Any
) -> tuple[str, list[tuple[str, str, str]], str, float | None]:
    """phase, (type, status, reason) of the conditions, Ready's message, again."""
    status, again = cluster_status(of, now, **kwargs)
    found = [(c["type"], c["status"], c["reason"]) for c in status["conditions"]]
    return status["phase"], found, status["conditions"][0]["message"], again


UP = [("Ready", "True", "ClusterReady")]


def on_its_way(reason: str = "Progressing") -> list[tuple[str, str, str]]:
    return [("Ready", "False", reason), ("Reconciling", "True", reason)]


def stuck(reason: str) -> list[tuple[str, str, str]]:
    return [("Ready", "False", reason), ("Stalled", "True", reason)]


def pulling(since: str) -> Pod:
    """A scheduler whose image cannot be pulled since then."""
    status = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": since}],
        "containerStatuses": [
            {
                "name": "scheduler",
                "image": "x:1",
                "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}},
            }
        ],
    }
    return scheduler(status=status)


def was_up(of: CustomResource) -> Pod:
    return scheduler(annotations={"dask.org/was-ready": ready_revision(of)})


UNREADY = scheduler(status=running(name="scheduler", ready=False))
PULL = "the scheduler is starting; demo-scheduler: image x:1: not found"


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (state(None, worker(0), worker(1)), ("Running", UP, "scheduler ready, 2 of 2 workers ready", None)),
        (state(None, worker(0)), ("Running", on_its_way(), "scheduler ready, 1 of 2 workers ready", None)),
        (state(None, worker(0), schedulers=(was_up(cluster(SPEC)),)), ("Running", UP, "scheduler ready, 1 of 2 workers ready", None)),
        (state(schedulers=()), ("Created", on_its_way(), "the scheduler is being created", None)),
        (state(schedulers=(UNREADY,)), ("Running", on_its_way(), "the scheduler is starting", None)),
        (state(schedulers=(UNREADY,), service=None), ("Pending", on_its_way(), "the scheduler is starting", None)),
        (state(None, worker(0), worker(1), service=None), ("Pending", on_its_way(), "scheduler ready, 2 of 2 workers ready", None)),
        (state(schedulers=(pulling("2030-01-01T00:16:00Z"),)), ("Running", on_its_way("ImagePullBackOff"), PULL, 561)),
        (state(schedulers=(pulling("2030-01-01T00:01:00Z"),)), ("Error", stuck("ImagePullBackOff"), PULL, None)),
    ],
)  # fmt: skip
def test_status(of: ClusterState, expected: Any) -> None:
    assert report(of) == expected


CRASH = {"name": "scheduler", "image": "x:1", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param({"phase": "Pending"}, "Progressing", id="its image is pulled"),
        pytest.param(
            {"phase": "Running", "containerStatuses": [CRASH]}, "CrashLoopBackOff", id="it crashes"
        ),
    ],
)
def test_the_phase_is_no_word_for_ready(status: dict[str, Any], reason: str) -> None:
    """Clients of the existing operator wait for it until a timeout, and look for crashes after it only."""
    since = {"type": "Ready", "status": "False", "lastTransitionTime": "2030-01-01T00:16:00Z"}
    one = scheduler(status={**status, "conditions": [since]})
    phase, found, _, _ = report(state(schedulers=(one,)))
    assert (phase, found) == ("Running", on_its_way(reason))


def test_the_phase_of_a_cluster_that_is_on_the_way_to_its_rest() -> None:
    of = cluster({**SPEC, "suspend": True})
    assert report(state(of, worker(0)))[0] == "Running"
    assert report(replace(state(of, worker(0), schedulers=()), working=1))[0] == "Pending"
    assert report(state(of, schedulers=()))[0] == "Suspended"


def test_a_service_that_is_another_ones_or_on_the_way_out_is_none() -> None:
    of = cluster(SPEC)
    meta = good_service(of).meta
    for other in (replace(meta, owner_uid="other"), replace(meta, deleting=NOW + 30)):
        assert report(state(of, service=Service(other)))[0] == "Pending"


def test_a_refusal_of_the_scheduler_pod() -> None:
    problems = [Problem("Invalid", "bad spec", NOW, refused=True)]
    found = report(state(schedulers=()), problems=problems)
    assert found == ("Error", stuck("Invalid"), "the scheduler is being created; bad spec", None)


def test_a_worker_that_cannot_start() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "no room",
        "lastTransitionTime": "2030-01-01T00:16:00Z",
    }
    stuck_one = worker(1, node=False, status={"phase": "Pending", "conditions": [condition]})
    phase, found, message, again = report(state(None, worker(0), stuck_one))
    assert (phase, found, again) == ("Running", on_its_way("Unschedulable"), 561)
    assert message == "scheduler ready, 1 of 2 workers ready; demo-default-worker-1: no room"


@pytest.mark.parametrize(
    ("kind", "generation", "expected"),
    [
        ("Reconciling", 1, on_its_way("QuotaExceeded")),
        ("Stalled", 1, stuck("QuotaExceeded")),
        ("Stalled", 0, on_its_way()),  # about an older spec
    ],
)
def test_what_is_refused_to_a_group_shows_at_the_cluster(
    kind: str, generation: int, expected: Any
) -> None:
    of = cluster(SPEC)
    conditions = [
        {"type": "Ready", "status": "False", "reason": "QuotaExceeded", "message": "0 of 2; a; b", "observedGeneration": generation},
        {"type": kind, "status": "True", "reason": "QuotaExceeded", "message": "a; b", "observedGeneration": generation},
    ]  # fmt: skip
    declared = default_group(of)
    refused = CustomResource(
        declared.meta, declared.kind, declared.spec, {"conditions": conditions}
    )
    _, found, message, _ = report(state(of, default=refused))
    assert found == expected
    if generation:
        assert message.endswith("; worker group demo-default: a; b")


@pytest.mark.parametrize("kind", ["Pod", "Service"])
def test_a_name_that_something_else_has(kind: str) -> None:
    if kind == "Pod":
        of = state(schedulers=(scheduler(owner=None),))
    else:
        of = state(None, worker(0), worker(1), service=service(owner=None))
    _, found, message, _ = report(of, now=T0 + 5)
    assert found == on_its_way("NameTaken")
    assert f"{kind} demo-scheduler was not made for this cluster and belongs to nobody" in message
    assert report(of, now=T0 + 700)[1] == stuck("NameTaken")


def test_replicas_overridden() -> None:
    of = cluster({"worker": {"replicas": 2}})
    scaled = default_group(of, replicas=1)
    _, found, _, _ = report(state(of, worker(0), default=scaled))
    assert ("ReplicasOverridden", "True", "ScaledElsewhere") in found


def test_a_number_about_to_be_copied_is_not_overridden() -> None:
    old = default_group(cluster({"worker": {"replicas": 1}}))
    _, found, _, _ = report(state(cluster({"worker": {"replicas": 2}}), worker(0), default=old))
    assert found == on_its_way()


def test_a_warning_of_the_scheduler_shows() -> None:
    warned = scheduler(annotations={"dask.org/spec-warning": "unknown field"})
    _, found, _, _ = report(state(None, worker(0), worker(1), schedulers=(warned,)))
    assert found == [*UP, ("SpecWarning", "True", "UnknownField")]


def test_counts_and_addresses() -> None:
    of = cluster(SPEC, generation=4)
    up = running(name="scheduler", restarts=2)
    up["containerStatuses"][0]["lastState"] = {
        "terminated": {"exitCode": 137, "reason": "OOMKilled"}
    }
    other = GroupState("demo-gpu", group({"worker": {"replicas": 5}}, name="demo-gpu"), of, None)
    groups = (
        GroupState("demo-default", default_group(of), of, None, (worker(0), pending(1))),
        other,
    )
    status, _ = cluster_status(state(of, schedulers=(scheduler(status=up),), groups=groups), NOW)
    del status["conditions"]
    assert status == {
        "observedGeneration": 4,
        "phase": "Running",
        "workers": {"desired": 7, "ready": 1},
        "replicas": 2,
        "selector": "dask.org/cluster-name=demo,dask.org/component=worker,dask.org/workergroup-name=demo-default",
        "schedulerAddress": "tcp://demo-scheduler.ns.svc:8786",
        "dashboardAddress": "http://demo-scheduler.ns.svc:8787",
        "scheduler": {"restarts": 2, "lastRestartReason": "OOMKilled (exit code 137)"},
    }


# ---- latch


def latched(of: ClusterState) -> JSON:
    """What is remembered on the scheduler pod; nothing, if all of it is there."""
    notes: JSON = {}
    for action in latch(of).actions:
        assert isinstance(action, Patch)
        assert action.meta.name == "demo-scheduler"
        notes |= action.body["metadata"]["annotations"]
    return notes


def test_the_latch() -> None:
    of = cluster(SPEC)
    notes = latched(state(of, worker(0), worker(1)))
    assert notes.pop("dask.org/was-ready") == ready_revision(of)
    assert list(notes) == ["ready.dask.org/demo-default"]
    assert latched(state(of, worker(0))) == {}
    again = latched(state(of, worker(0), worker(1), schedulers=(was_up(of),)))
    assert list(again) == ["ready.dask.org/demo-default"]
    assert latched(state(of, schedulers=())) == {}


def test_the_latch_stands_beside_all_but_the_end_of_its_pod() -> None:
    of = cluster(SPEC)
    up = state(of, worker(0), worker(1))
    assert up.scheduler is not None
    steps = Plan((Part("service", (Emit("Told", "something else"),)),), again=3)
    assert with_latch(steps, up) == Plan((*steps.parts, *latch(up).parts), again=3)
    for kind, meta in (("Pod", up.scheduler.meta), ("DaskCluster", of.meta)):
        goes = Plan((Part("end", (Delete(kind, meta),)),))
        assert with_latch(goes, up) == goes
    parks = Plan((Part("parking", (Emit("Parked", "nothing has run"),)),))
    assert with_latch(parks, up) == parks


def test_rest_proves_nothing_of_what_is_declared() -> None:
    """All is there that should be now, and that is no worker; after the wake they would count as up."""
    parked = scheduler(annotations={"dask.org/parked": "2030-01-01T00:00:00Z"})
    resting = state(cluster(SPEC), schedulers=(parked,))
    assert is_complete(resting)
    assert latched(resting) == {}


def test_the_latch_of_a_group_that_is_gone_is_forgotten() -> None:
    notes = {"ready.dask.org/demo-old": "x", "ready.dask.org/demo-default": "y"}
    gone = latched(state(None, worker(0), schedulers=(scheduler(annotations=notes),)))
    assert gone == {"ready.dask.org/demo-old": None}
