"""Who comes in the place of pods that ended, when, and what is remembered of them."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.plan import replacement
from dask_gitops.resources.observed import Pod, Problem

from tests.unit.objects import T0, TIME, cluster, pending, scheduler, worker

JSON = dict[str, Any]
ROW = "dask.org/quick-deaths"


def died(lived: int = 5, *, row: str | None = None, **kwargs: Any) -> Pod:
    """A worker that ran for so many seconds from T0 on, after a row of others."""
    ended = {
        "exitCode": 1,
        "reason": "Error",
        "startedAt": TIME,
        "finishedAt": f"2030-01-01T00:{lived // 60:02}:{lived % 60:02}Z",
    }
    states = [{"name": "worker", "restartCount": 0, "state": {"terminated": ended}}]
    notes = {} if row is None else {ROW: row}
    status = {"phase": "Failed", "containerStatuses": states}
    return worker(0, status=status, annotations=notes, **kwargs)


@pytest.mark.parametrize(
    ("pod", "now", "wait"),
    [
        (died(), T0 + 5, 10),
        (died(), T0 + 12, 3),
        (died(59), T0 + 59, 10),
        (died(60), T0 + 60, 0),
        (died(row="1"), T0 + 5, 20),
        (died(row="4"), T0 + 5, 160),
        (died(row="5"), T0 + 5, 300),
        (died(row="999999999"), T0 + 5, 300),
        (died(row="many"), T0 + 5, 10),
        (died(60, row="7"), T0 + 60, 0),
        (died(retiring=TIME), T0 + 5, 0),
        (died(), T0 - 1000, 10),  # the node's clock is ahead
    ],
)
def test_when_it_may_be_replaced(pod: Pod, now: float, wait: float) -> None:
    assert replacement.may_be_replaced_in(pod, now) == wait


def test_the_row_is_handed_on_with_its_beginning() -> None:
    first = replacement.notes(died())
    assert first == {
        ROW: "1",
        "dask.org/failing-since": TIME,
        "dask.org/last-death": "Error (exit code 1)",
    }
    second = died()
    second.meta.annotations.update(first)  # type: ignore[attr-defined]
    assert replacement.notes(second) == {**first, ROW: "2"}
    assert replacement.notes(died(60, row="3")) == {}


@pytest.mark.parametrize(
    ("pod", "problem"),
    [
        (pending(0), None),
        (pending(0, annotations={ROW: "1"}), None),
        (
            pending(0, annotations={ROW: "2", "dask.org/last-death": "Error (exit code 1)"}),
            Problem(
                "CrashLoopBackOff",
                "demo-default-worker-0: 2 before it died at once, the last by Error (exit code 1)",
                T0,
            ),
        ),
        (worker(0, annotations={ROW: "9"}), None),  # it is ready
        (
            died(
                row="1",
            ),
            Problem("PodFailed", "demo-default-worker-0: Error (exit code 1)", T0),
        ),
    ],
)
def test_the_problem(pod: Pod, problem: Problem | None) -> None:
    assert replacement.problem(pod) == problem


def test_a_problem_is_as_old_as_its_row() -> None:
    notes = {ROW: "3", "dask.org/failing-since": "2029-12-31T23:00:00Z"}
    found = replacement.problem(worker(0, status={"phase": "Failed"}, annotations=notes))
    assert found is not None
    assert found.since == T0 - 3600


def notes(last: Pod | None, status: JSON | None = None, **how: Any) -> JSON:
    how.setdefault("renewed", False)
    return replacement.scheduler_notes(last, cluster(status=status), T0 + 1000, **how)


def test_a_first_scheduler_has_no_notes() -> None:
    assert notes(None) == {}


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}


@pytest.mark.parametrize(
    ("last", "how", "count", "why"),
    [
        (scheduler(), {}, "1", "the pod was deleted"),
        (scheduler(deleting="2030-01-01T00:16:30Z"), {}, "1", "the pod was deleted"),
        (
            scheduler(deleting="2030-01-01T00:15:40Z"),
            {},
            "1",
            "the pod was deleted, and its node never confirmed its end",
        ),
        (scheduler(status=EVICTED), {}, "1", "Evicted: low on memory"),
        (
            scheduler(annotations={"dask.org/scheduler-restarts": "4"}),
            {},
            "5",
            "the pod was deleted",
        ),
        (scheduler(), {"renewed": True}, "1", "its spec changed"),
    ],
)
def test_what_a_successor_says(last: Pod, how: JSON, count: str, why: str) -> None:
    found = notes(last, **how)
    assert found["dask.org/scheduler-restarts"] == count
    assert found["dask.org/last-restart"] == why


def test_after_a_restart_of_the_controller_the_status_is_all_there_is() -> None:
    found = notes(None, {"scheduler": {"restarts": 6}})
    assert found == {
        "dask.org/scheduler-restarts": "7",
        "dask.org/last-restart": "the pod was gone when the controller started",
    }


def test_who_ended_is_told_as_far_as_people_read() -> None:
    event = replacement.growth(5, 9, dead=[died()] * 5, was_up=True)
    one = "demo-default-worker-0 (Error (exit code 1))"
    assert event.message == f"created 5 workers, 9 wanted; ended: {one}, {one}, {one} and 2 more"
    assert event.warning
