"""What the judge makes of clusters that are suspended or parked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dask_gitops.status import Condition, ready, reconciling

from tests.support.judge import POD
from tests.unit.test_judge import World

SUSPENDED = [*ready("Suspended", "no Pods run"), Condition("Suspended", True, "Suspended", "so")]
IDLE = [*ready("Parked", "parked"), Condition("Idle", True, "Parked", "so")]
NOBODY = {"workers": {"desired": 0, "ready": 0}}


@pytest.fixture
def world() -> World:
    it = World()
    it.up()
    return it


def leave(world: World, *names: str) -> None:
    for name in names:
        world.see(POD, world.pods[name], gone=True)
    world.wait()


def suspend(world: World) -> None:
    world.new_spec(world.cluster, {"suspend": True})
    world.wait()


def park(world: World) -> None:
    pod = world.pods["demo-scheduler"]
    pod["metadata"]["annotations"]["dask.org/parked"] = "2030-01-01T00:00:00Z"
    world.see(POD, pod)
    world.wait()


def suspended(world: World) -> None:
    suspend(world)
    world.says(world.cluster, reconciling("Suspending", "2 workers on the way out"))
    leave(world, "w1", "w2", "demo-scheduler")
    world.says(world.cluster, SUSPENDED, phase="Suspended", **NOBODY)
    world.says(world.group, SUSPENDED, replicas=0, readyReplicas=0)


def parked(world: World) -> None:
    park(world)
    world.says(world.cluster, ready("Parked", "2 workers on the way out"))
    leave(world, "w1", "w2")
    world.says(world.cluster, IDLE, **NOBODY)
    world.says(world.group, IDLE, replicas=0, readyReplicas=0)


@pytest.mark.parametrize("story", [suspended, parked])
def test_the_truth(world: World, story: Callable[[World], None]) -> None:
    story(world)
    world.wait()
    assert world.verdict() == []


def ready_while_there_are_pods(world: World) -> None:
    suspend(world)
    world.says(world.cluster, SUSPENDED)


def ready_while_the_scheduler_is_there(world: World) -> None:
    suspend(world)
    leave(world, "w1", "w2")
    world.says(world.cluster, SUSPENDED, **NOBODY)


def suspended_and_does_not_say_so(world: World) -> None:
    suspend(world)
    leave(world, "w1", "w2", "demo-scheduler")
    world.says(world.cluster, phase="Suspended", **NOBODY)


def says_suspended_and_is_not(world: World) -> None:
    world.says(world.cluster, SUSPENDED)


def phase_suspended_too_early(world: World) -> None:
    suspend(world)
    world.says(world.cluster, reconciling("Suspending", "soon"), phase="Suspended")


def left_in_progress_when_all_is_gone(world: World) -> None:
    suspend(world)
    leave(world, "w1", "w2", "demo-scheduler")
    world.says(world.cluster, reconciling("Suspending", "soon"), phase="Suspended", **NOBODY)


def parked_and_does_not_say_so(world: World) -> None:
    park(world)
    leave(world, "w1", "w2")
    world.says(world.group, replicas=0, readyReplicas=0)


def says_idle_and_is_not(world: World) -> None:
    world.says(world.group, IDLE)


def parked_is_not_in_progress(world: World) -> None:
    park(world)
    leave(world, "w1", "w2")
    world.says(world.cluster, reconciling("Progressing", "0 of 2"), **NOBODY)


def parked_proves_nothing_of_a_new_spec(world: World) -> None:
    park(world)
    leave(world, "w1", "w2")
    world.new_spec(world.group, {"worker": {"replicas": 2, "spec": {"priority": 1}}})
    world.wait()
    world.says(world.group, IDLE, replicas=0, readyReplicas=0)
    del world.pods["demo-scheduler"]["metadata"]["annotations"]["dask.org/parked"]
    world.see(POD, world.pods["demo-scheduler"])
    world.wait()
    world.says(world.group, replicas=0, readyReplicas=0)


@pytest.mark.parametrize(
    ("story", "why"),
    [
        (ready_while_there_are_pods, "to be suspended, and there are pods"),
        (ready_while_the_scheduler_is_there, "to be suspended, and there are pods"),
        (suspended_and_does_not_say_so, "suspended, and it does not say so"),
        (says_suspended_and_is_not, "Suspended, and it is not"),
        (phase_suspended_too_early, "phase is Suspended, and there are pods"),
        (left_in_progress_when_all_is_gone, "left InProgress"),
        (parked_and_does_not_say_so, "parked, and it does not say so"),
        (says_idle_and_is_not, "Idle, and it is not"),
        (parked_is_not_in_progress, "InProgress"),
        (parked_proves_nothing_of_a_new_spec, "never had all of them"),
    ],
)
def test_lies(world: World, story: Callable[[World], None], why: str) -> None:
    story(world)
    world.wait()
    assert any(why in found for found in world.verdict()), world.judge.violations
