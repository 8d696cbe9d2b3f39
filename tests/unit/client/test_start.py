"""Stories of starts, second by second."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.client.start import Seen, Start, begin, lacking, look

JSON = dict[str, Any]
IMAGE = "ghcr.io/dask/dask:2026.8.0"


def cluster(*conditions: JSON, generation: int = 1, **status: Any) -> JSON:
    return {
        "metadata": {"name": "demo", "namespace": "team-b", "generation": generation},
        "status": {**({"conditions": list(conditions)} if conditions else {}), **status},
    }


def condition(kind: str, status: str, reason: str, message: str = "", generation: int = 1) -> JSON:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


ACTED = cluster(condition("Ready", "False", "Starting", "scheduler is starting"))


def pod(
    state: JSON | None = None,
    *,
    node: bool = True,
    ready: bool = False,
    restarts: int = 0,
    last: JSON | None = None,
    unschedulable: str = "",
    name: str = "demo-scheduler",
) -> JSON:
    scheduled: JSON = {"type": "PodScheduled", "status": "True" if node else "False"}
    if unschedulable:
        scheduled |= {"reason": "Unschedulable", "message": unschedulable}
    conditions = [scheduled] if node or unschedulable else []
    status: JSON = {
        "name": "scheduler",
        "image": IMAGE,
        "restartCount": restarts,
        "ready": ready,
        "state": state or {},
        "lastState": {"terminated": last} if last else {},
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "team-b",
            "uid": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"dask.org/component": "scheduler"},
        },
        "spec": {
            "containers": [{"name": "scheduler", "image": IMAGE}],
            **({"nodeName": "n"} if node else {}),
        },
        "status": {
            "phase": "Running" if "running" in (state or {}) else "Pending",
            "conditions": [
                *conditions,
                {"type": "Ready", "status": "True" if ready else "False"},
            ],
            "containerStatuses": [status] if node else [],
        },
    }


WAITING = {"waiting": {"reason": "ContainerCreating"}}
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
PULL = {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}
BACK_OFF = {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}
CRASH = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
ENDED = {"exitCode": 1, "reason": "Error"}


def story(
    *moments: tuple[Any, ...],
    patience_s: float | None = 60,
) -> list[Start]:
    found = [begin("demo", "team-b", 0, patience_s)]
    for now, *seen in moments:
        found.append(look(found[-1], Seen(now, *seen)))
    return found[1:]


def test_all_goes_well() -> None:
    steps = story(
        (0.1, cluster(), None),
        (0.3, ACTED, None),
        (0.4, ACTED, pod(node=False)),
        (0.5, ACTED, pod(WAITING)),
        (0.6, ACTED, pod(WAITING), IMAGE),
        (600.0, ACTED, pod(WAITING), IMAGE),
        (601.0, ACTED, pod(RUNNING)),
        (603.0, ACTED, pod(RUNNING, ready=True)),
    )
    assert [(step.says, step.since) for step in steps] == [
        ("waits for the controller", 0.1),
        ("scheduler: its Pod is being created", 0.3),
        ("scheduler: waits for a node", 0.4),
        ("scheduler: its container is being created", 0.5),
        (f"scheduler: pulling {IMAGE}", 0.6),
        (f"scheduler: pulling {IMAGE}", 0.6),  # ten minutes are no failure
        ("scheduler: started, not ready yet", 601.0),
        ("scheduler: connecting", 603.0),
    ]
    assert [step.reach for step in steps] == 6 * [False] + 2 * [True]
    assert all(step.failure is None for step in steps)
    assert [step.look_at for step in steps] == [60.0] + 7 * [None]


def test_a_scheduler_that_is_ready_and_does_not_answer() -> None:
    why = "tcp://192.0.2.7:8786 does not answer: refused"
    ready = pod(RUNNING, ready=True)
    steps = story(
        (1, ACTED, pod(RUNNING), "", why),  # it need not listen yet
        (100, ACTED, ready, "", why),
        (159.9, ACTED, ready, "", why),
        (160, ACTED, ready, "", why),
    )
    assert steps[0].says == "scheduler: started, not ready yet"
    assert {step.says for step in steps[1:3]} == {f"scheduler: ready, {why}"}
    assert steps[2].look_at == 160
    assert all(step.reach and step.failure is None for step in steps[:3])
    assert steps[3].failure
    assert steps[3].failure.text == f"The scheduler is ready, {why}"


def test_a_load_balancer_may_take_its_time() -> None:
    """And what comes after it has its own."""
    ready = pod(RUNNING, ready=True)
    waits = "its load balancer has no address"
    steps = story(
        (1, ACTED, ready, "", waits, 300.0),
        (299, ACTED, ready, "", waits, 300.0),
        (300, ACTED, ready, "", "tcp://x:1 does not answer: refused"),
        (360, ACTED, ready, "", "tcp://x:1 does not answer: refused"),
    )
    assert [step.failure is None for step in steps] == [True, True, True, False]
    late = story((1, ACTED, ready, "", waits, 300.0), (301, ACTED, ready, "", waits, 300.0))
    assert late[-1].failure
    assert late[-1].failure.text == f"The scheduler is ready, {waits}"


def test_nobody_acts() -> None:
    first, last = story((59.9, cluster(), None), (60.0, cluster(), None))
    assert first.failure is None
    assert last.failure is not None
    assert (last.failure.kind, last.failure.text) == (
        "silent",
        "DaskCluster team-b/demo was not acted on for 60 s, is the Dask Operator running?",
    )
    (patient,) = story((1e6, cluster(), None), patience_s=None)
    assert (patient.failure, patient.look_at) == (None, None)


def test_the_existing_operator_acts_by_a_phase() -> None:
    (step,) = story((100, cluster(phase="Created"), None))
    assert step.says == "scheduler: its Pod is being created"


def test_an_image_that_is_refused() -> None:
    words = f"image {IMAGE}: manifest unknown"
    steps = story(
        (10, ACTED, pod(PULL)),
        (30, ACTED, pod(BACK_OFF)),
        (50, ACTED, pod(PULL)),
        (69.9, ACTED, pod(BACK_OFF)),
        (70, ACTED, pod(BACK_OFF)),
    )
    assert {step.says for step in steps[:-1]} == {f"scheduler: {words}"}
    assert {step.look_at for step in steps[:-1]} == {70}
    assert [step.failure is None for step in steps] == 4 * [True] + [False]
    assert steps[-1].failure
    assert steps[-1].failure.kind == "scheduler"
    assert steps[-1].failure.text == f"Scheduler failed to start. {words}"


def test_an_image_that_comes_at_last() -> None:
    steps = story(
        (10, ACTED, pod(PULL)),
        (60, ACTED, pod(WAITING), IMAGE),
        (80, ACTED, pod(BACK_OFF)),  # counts anew
        (139, ACTED, pod(BACK_OFF)),
        (140, ACTED, pod(RUNNING)),
    )
    assert all(step.failure is None for step in steps)
    assert steps[-1].reach


def test_a_crash_loop() -> None:
    """It runs for a moment between two ends: one story."""
    steps = story(
        (5, ACTED, pod(RUNNING)),
        (6, ACTED, pod(RUNNING, restarts=1, last=ENDED)),
        (10, ACTED, pod(CRASH, restarts=2, last=ENDED)),
        (30, ACTED, pod(RUNNING, restarts=3, last=ENDED)),
        (70, ACTED, pod(CRASH, restarts=3, last=ENDED)),
    )
    assert [step.reach for step in steps] == [True, True, False, False, False]
    assert steps[-1].failure
    assert steps[-1].failure.kind == "crash"
    assert steps[-1].failure.text == (
        "Scheduler failed to start. It ended 3 times, last with exit code 1"
    )


def test_too_little_memory() -> None:
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    (step,) = story((1, ACTED, pod(CRASH, restarts=2, last=killed)))
    assert step.says == "scheduler: It ended 2 times, last with OOMKilled (exit code 137)"


@pytest.mark.parametrize("patience_s", [60, None])
def test_no_room(patience_s: float | None) -> None:
    words = "0/3 nodes are available: Insufficient memory"
    steps = story(
        (1, ACTED, pod(node=False, unschedulable=words)),
        (61, ACTED, pod(node=False, unschedulable=words)),
        patience_s=patience_s,
    )
    assert steps[0].says == f"scheduler: {words}"
    assert (steps[1].failure is None) == (patience_s is None)


def test_a_quota() -> None:
    words = "exceeded quota: small"
    refused = cluster(condition("Ready", "False", "QuotaExceeded", words))
    steps = story((1, refused, None), (61, refused, None))
    assert steps[0].says == f"scheduler: {words}"
    assert steps[1].failure
    assert steps[1].failure.text == f"Scheduler failed to start. {words}"


def test_what_the_controller_gave_up_ends_at_once() -> None:
    given_up = cluster(
        condition("Ready", "False", "Invalid", "spec.x is invalid"),
        condition("Stalled", "True", "Invalid", "spec.x is invalid"),
    )
    (step,) = story((1, given_up, None))
    assert step.failure
    assert step.failure.text == "Scheduler failed to start. spec.x is invalid"
    (running,) = story((1, given_up, pod(RUNNING, ready=True)))
    assert running.failure is None  # an edit was refused; what runs can be used
    assert running.reach


def test_what_was_said_of_an_earlier_spec_does_not_count() -> None:
    given_up = cluster(condition("Stalled", "True", "Invalid", "x", generation=1), generation=2)
    (step,) = story((1, given_up, None))
    assert step.failure is None


def test_a_cluster_that_rests() -> None:
    rests = cluster(
        condition("Ready", "True", "Suspended", "no Pods run"),
        condition("Suspended", "True", "Suspended", "no Pods run: spec.suspend is true"),
    )
    steps = story((1, rests, None), (61, rests, None))
    assert steps[0].says == "scheduler: no Pods run: spec.suspend is true"
    assert steps[1].failure


@pytest.mark.parametrize("deleted", [True, False])
def test_somebody_deletes_it(deleted: bool) -> None:
    going = cluster()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    (step,) = story((1, None if deleted else going, pod(RUNNING)))
    assert step.failure
    assert step.failure.kind == "deleted"
    assert step.failure.text.startswith("DaskCluster team-b/demo ")


def test_workers_that_do_not_come() -> None:
    words = "0/3 nodes are available: Insufficient memory"
    waiting = pod(node=False, unschedulable=words, name="demo-default-worker-1")
    other = pod(node=False, unschedulable=words, name="demo-default-worker-2")
    assert lacking(2, 1, [waiting, pod(RUNNING, ready=True)], 60) == (
        f"Only 1/2 workers arrived after 60. 1 waits: {words}"
    )
    assert lacking(4, 1, [waiting, other, pod(WAITING)], 60) == (
        f"Only 1/4 workers arrived after 60. 2 wait: {words}; 1 is starting"
    )
    assert lacking(4, 1, [], 60.4) == "Only 1/4 workers arrived after 60."
