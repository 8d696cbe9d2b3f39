"""A judge that cannot fail is worth nothing: made-up histories, good ones and bad ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.resources import pods
from dask_gitops.resources.observed import CustomResource
from dask_gitops.status import Condition, conditions, ready, reconciling, stalled

from tests.support.judge import CLUSTER, GROUP, POD, SERVICE, Judge, shape
from tests.support.witness import happened

JSON = dict[str, Any]
T = 1_893_456_000.0


class World:
    """A cluster of two workers under a judge who tolerates two seconds; `up` is how it should be."""

    def __init__(self) -> None:
        self.judge = Judge(tolerance_s=2)
        self.now = T
        self.cluster = self._resource(CLUSTER, "demo", {"worker": {"replicas": 2}})
        self.group = self._resource(
            GROUP, "demo-default", {"cluster": "demo", "worker": {"replicas": 2}}
        )
        self.group["metadata"]["ownerReferences"] = [{"uid": "demo-uid", "controller": True}]
        self.pods: dict[str, JSON] = {}

    @staticmethod
    def _resource(kind: str, name: str, spec: JSON) -> JSON:
        meta = {"name": name, "namespace": "ns", "uid": f"{name}-uid", "generation": 1}
        return {"kind": kind, "metadata": meta, "spec": spec}

    def wait(self, seconds: float = 60) -> None:
        self.now += seconds

    def see(self, kind: str, obj: JSON, **how: Any) -> None:
        self.judge.see(self.now, kind, copy.deepcopy(obj), **how)

    def pod(self, name: str, *, is_ready: bool = True, revision: str = "", **status: Any) -> None:
        """A pod is made or changed; it has the current revision unless told otherwise."""
        component = "scheduler" if name == "demo-scheduler" else "worker"
        group = {} if component == "scheduler" else {"dask.org/workergroup-name": "demo-default"}
        views = [CustomResource.of(one) for one in (self.cluster, self.group)]
        current = (
            pods.scheduler_revision(views[0])
            if component == "scheduler"
            else pods.worker_revision(views[0], views[1])
        )
        self.pods[name] = {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"{name}-uid",
                "labels": {
                    "dask.org/cluster-name": "demo",
                    "dask.org/component": component,
                    **group,
                },
                "annotations": {"dask.org/revision": revision or current},
                "ownerReferences": [{"uid": "demo-uid", "controller": True}],
            },
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": str(is_ready)}],
                **status,
            },
        }
        self.see(POD, self.pods[name])

    def service(self, *, type_: str = "ClusterIP", gone: bool = False) -> None:
        meta = {
            "name": "demo-scheduler",
            "namespace": "ns",
            "uid": "service-uid",
            "ownerReferences": [{"uid": "demo-uid", "controller": True}],
        }
        self.see(SERVICE, {"metadata": meta, "spec": {"type": type_}}, gone=gone)

    def says(self, obj: JSON, found: Any = None, **status: Any) -> None:
        """The controller writes a status: that all is well, unless told otherwise."""
        generation = obj["metadata"]["generation"]
        if found is None:
            found = ready("AllReady", "2 of 2 workers ready")
        counts: JSON = (
            {"phase": "Running", "workers": {"desired": 2, "ready": 2}}
            if obj is self.cluster
            else {"replicas": 2, "readyReplicas": 2}
        )
        obj["status"] = {
            "observedGeneration": generation,
            "conditions": conditions(found, obj.get("status") or {}, generation, self.now),
            **counts,
            **status,
        }
        self.see(obj["kind"], obj)

    def new_spec(self, obj: JSON, spec: JSON) -> None:
        obj["spec"] = {**obj["spec"], **spec}
        obj["metadata"]["generation"] += 1
        self.see(obj["kind"], obj)

    def up(self) -> None:
        for obj in (self.cluster, self.group):
            self.see(obj["kind"], obj)
        self.service()
        for name in ("demo-scheduler", "w1", "w2"):
            self.pod(name)
        self.wait()
        self.says(self.cluster)
        self.says(self.group)
        self.wait()

    def verdict(self) -> list[str]:
        self.judge.end(self.now)
        return [v.why for v in self.judge.violations]


@pytest.fixture
def world() -> World:
    it = World()
    it.up()
    return it


def test_all_is_well(world: World) -> None:
    assert world.verdict() == []
    assert world.judge.seen == {"Current": 2}


def test_ready_survives_a_lost_worker(world: World) -> None:
    world.see(POD, world.pods["w1"], gone=True)
    world.wait(1)
    world.says(world.group, ready("R", "1 of 2 workers ready"), replicas=1, readyReplicas=1)
    world.wait()
    assert world.verdict() == []


def test_on_its_way(world: World) -> None:
    world.new_spec(world.group, {"worker": {"replicas": 3}})
    world.wait(1)
    world.says(world.group, reconciling("Progressing", "2 of 3 workers ready"))
    world.wait(600)
    assert world.verdict() == []  # one worker is missing: so it is


def current_with_an_old_worker(world: World) -> None:
    world.new_spec(world.group, {"worker": {"replicas": 2, "spec": {"priority": 1}}})
    world.wait()
    world.says(world.group)


def current_with_an_old_scheduler(world: World) -> None:
    world.new_spec(world.cluster, {"scheduler": {"spec": {"priority": 1}}})
    world.wait()
    world.says(world.cluster)


def cluster_current_with_an_old_worker_of_its_own_group(world: World) -> None:
    world.new_spec(world.group, {"worker": {"replicas": 2, "spec": {"priority": 1}}})
    world.wait()
    world.says(world.cluster, ready("R", "another message"))


def current_without_scheduler(world: World) -> None:
    world.see(POD, world.pods["demo-scheduler"], gone=True)
    world.wait()
    world.says(world.group, ready("R", "another message"))


def current_with_a_scheduler_that_is_down(world: World) -> None:
    world.pod("demo-scheduler", is_ready=False)
    world.wait()
    world.says(world.group, ready("R", "another message"))


def current_but_never_up(world: World) -> None:
    world.new_spec(world.group, {"worker": {"replicas": 5}})
    world.wait()
    world.says(world.group)


def current_without_its_cluster(world: World) -> None:
    world.see(CLUSTER, world.cluster, gone=True)
    world.wait()
    world.says(world.group, ready("R", "another message"))


def failed(world: World) -> None:
    world.pod("w2", is_ready=False)
    world.new_spec(world.group, {"worker": {"replicas": 2, "spec": {"priority": 1}}})
    world.says(world.group, stalled("Invalid", "refused"), readyReplicas=1)


def in_progress_after_an_eviction(world: World) -> None:
    world.pod("w2", phase="Failed", reason="Evicted")
    world.wait()
    found = reconciling("Progressing", "1 of 2 workers ready")
    world.says(world.group, found, replicas=1, readyReplicas=1)


def in_progress_although_complete(world: World) -> None:
    world.new_spec(world.group, {"drainTimeout": 5})
    world.wait()
    world.says(world.group, reconciling("Progressing", "2 of 2 workers ready"))


def left_in_progress(world: World) -> None:
    world.new_spec(world.group, {"drainTimeout": 5})
    world.says(world.group, reconciling("Progressing", "2 of 2 workers ready"))
    world.wait()


def left_unobserved(world: World) -> None:
    world.new_spec(world.cluster, {"drainTimeout": 5})
    world.wait()


def wrong_counts(world: World) -> None:
    world.says(world.group, readyReplicas=1)


def wrong_counts_of_the_cluster(world: World) -> None:
    world.says(world.cluster, workers={"desired": 2, "ready": 3})


def running_without_service(world: World) -> None:
    world.service(gone=True)
    world.wait()
    world.says(world.cluster, reconciling("Progressing", "the scheduler is starting"))


def running_without_an_address(world: World) -> None:
    world.service(type_="LoadBalancer")
    world.wait()
    world.says(world.cluster, ready("AllReady", "2 of 2 workers ready, as ever"))


def pending_although_both_are_there(world: World) -> None:
    world.pod("demo-scheduler", is_ready=False)
    world.wait()
    starts = reconciling("Progressing", "the scheduler is starting")
    world.says(world.cluster, starts, phase="Pending")


def an_error_of_a_scheduler_that_works(world: World) -> None:
    world.says(world.cluster, phase="Error")


@pytest.mark.parametrize(
    ("story", "why"),
    [
        (current_with_an_old_worker, "Current with pods of an old revision: w1, w2"),
        (current_with_an_old_scheduler, "Current with pods of an old revision: demo-scheduler"),
        (
            cluster_current_with_an_old_worker_of_its_own_group,
            "Current with pods of an old revision: w1, w2",
        ),
        (current_without_scheduler, "Current without a ready scheduler"),
        (current_with_a_scheduler_that_is_down, "Current without a ready scheduler"),
        (current_but_never_up, "Current with 2 of 5 workers, and never had all of them"),
        (current_without_its_cluster, "Current without its cluster"),
        (failed, "Failed, and nobody said that a person acted wrongly"),
        (
            in_progress_after_an_eviction,
            "InProgress with 1 of 2 workers, after it was up for this very spec",
        ),
        (in_progress_although_complete, "InProgress although all that is declared is there"),
        (left_in_progress, "left InProgress although all that is declared is there"),
        (left_unobserved, "left InProgress although all that is declared is there"),
        (wrong_counts, "readyReplicas is 1, there are 2"),
        (wrong_counts_of_the_cluster, "workers.ready is 3, there are 2"),
        (
            running_without_service,
            "phase is Running, the scheduler's Pod is there: True, its Service: False",
        ),
        (
            running_without_an_address,
            "phase is Running, the scheduler's Pod is there: True, its Service: False",
        ),
        (
            pending_although_both_are_there,
            "phase is Pending, the scheduler's Pod is there: True, its Service: True",
        ),
        (
            an_error_of_a_scheduler_that_works,
            "phase is Error, the scheduler's Pod is there: True, its Service: True",
        ),
    ],
)
def test_a_lie(world: World, story: Callable[[World], None], why: str) -> None:
    story(world)
    assert why in world.verdict()
    report = world.judge.report(lambda namespace: f"the test of {namespace}")
    assert "the test of ns/demo" in report
    assert why in report


def test_update_pending_is_said(world: World) -> None:
    world.new_spec(world.group, {"worker": {"replicas": 2, "spec": {"priority": 1}}})
    world.wait()
    pending = Condition("UpdatePending", True, "EarlierSpec", "2 of 2 run an earlier spec")
    world.says(world.group, [*ready("R", "m"), pending])
    world.says(world.cluster, ready("R", "another message"))
    assert world.verdict() == []


def test_what_changed_just_before_is_no_evidence(world: World) -> None:
    world.pod("w1", is_ready=False)
    world.wait(1)
    world.says(world.group, ready("R", "another message"))
    world.pod("demo-scheduler", is_ready=False)
    world.wait(1)
    world.says(world.cluster, ready("R", "another message"))
    assert world.verdict() == []


def test_a_held_watch_is_no_evidence(world: World) -> None:
    world.judge.blind = lambda: True
    world.pod("demo-scheduler", is_ready=False)
    world.wait()
    world.says(world.cluster, ready("R", "another message"))
    assert world.verdict() == []


@pytest.mark.parametrize("namespace", [None, "ns"])
def test_who_acts_wrongly_says_so(world: World, namespace: str | None) -> None:
    world.judge.allow("failed", "a spec that is refused", namespace)
    failed(world)
    assert world.verdict() == []


def test_an_allowance_is_for_one_namespace_and_one_rule(world: World) -> None:
    world.judge.allow("failed", "elsewhere", "other")
    world.judge.allow("counts", "nothing but counts")
    failed(world)
    assert "Failed, and nobody said that a person acted wrongly" in world.verdict()


def test_an_allowance_that_nothing_needs_is_a_lie_itself(world: World) -> None:
    world.judge.allow("failed", "a spec that is refused")
    assert world.verdict() == ["declared, but nothing Failed"]


def test_an_allowance_has_a_reason(world: World) -> None:
    with pytest.raises(ValueError, match="say why"):
        world.judge.allow("failed", "")
    with pytest.raises(ValueError, match="allow one of"):
        world.judge.allow("Failed", "x")


def test_a_late_watch_does_not_make_the_others_look_old() -> None:
    assert happened([1, 9, 3, 4, 30, 8]) == [1, 3, 3, 4, 8, 8]


# ---- the form


GOOD = {
    "observedGeneration": 2,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "AllReady",
            "message": "2 of 2 workers ready",
            "observedGeneration": 2,
            "lastTransitionTime": "2030-01-01T00:00:10Z",
        }
    ],
}


def changed(**fields: Any) -> JSON:
    return {**GOOD, "conditions": [{**GOOD["conditions"][0], **fields}]}  # type: ignore[index]


def with_condition(**fields: Any) -> JSON:
    one = GOOD["conditions"][0]  # type: ignore[index]
    return {**GOOD, "conditions": [one, {**one, **fields}]}


def test_a_good_form() -> None:
    assert shape(GOOD, 2, {}) == []
    assert shape(GOOD, 3, GOOD) == []
    assert shape(with_condition(type="UpdatePending"), 2, GOOD) == []


@pytest.mark.parametrize(
    ("status", "before", "why"),
    [
        ({"conditions": GOOD["conditions"]}, {}, "observedGeneration is None"),
        ({**GOOD, "observedGeneration": 4}, {}, "observedGeneration is 4"),
        (GOOD, {**GOOD, "observedGeneration": 3}, "observedGeneration went back"),
        ({"observedGeneration": 2}, {}, "no line of the table: {}"),
        (changed(status="False"), {}, "no line of the table"),
        (changed(status="Unknown"), {}, "no line of the table"),
        (with_condition(type="Reconciling"), {}, "no line of the table"),
        (with_condition(type="Stalled"), {}, "no line of the table"),
        (with_condition(), {}, "twice"),
        (with_condition(type="Happy"), {}, "unknown condition Happy"),
        (with_condition(type="UpdatePending", status="False"), {}, "only while it is true"),
        (changed(observedGeneration=1), {}, "observed for generation 1"),
        (changed(reason="not one word"), {}, "has the reason"),
        (changed(reason=None), {}, "has the reason"),
        (changed(message="two\nlines"), {}, "no printable message"),
        (changed(message=""), {}, "no printable message"),
        (changed(message=None), {}, "no printable message"),
        (changed(message="x" * 1025), {}, "1025 characters"),
        (changed(lastTransitionTime="yesterday"), {}, "lastTransitionTime 'yesterday'"),
        (changed(lastTransitionTime="2030-01-01T00:00:11Z"), GOOD, "its lastTransitionTime did"),
        (
            {
                **GOOD,
                "conditions": [
                    {**c, "status": "False", "lastTransitionTime": "2030-01-01T00:00:09Z"}
                    for c in with_condition(type="Reconciling")["conditions"]
                ],
            },
            GOOD,
            "went back",
        ),
    ],
)
def test_a_bad_form(status: JSON, before: JSON, why: str) -> None:
    assert why in "; ".join(shape(status, 3, before))
