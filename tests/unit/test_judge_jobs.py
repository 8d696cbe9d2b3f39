"""The judge of jobs: made-up histories, good ones and bad ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from dask_gitops.status import Condition, conditions, ready, reconciling, stalled

from tests.support.judge import JOB, POD, Judge

JSON = dict[str, Any]
T = 1_893_456_000.0
ENDED = "2030-01-01T00:01:00Z"
COMPLETE = [*ready("JobSuccessful", "it is done"), Condition("Complete", True, "R", "m")]
FAILED = [*stalled("RunnerFailed", "it failed"), Condition("Failed", True, "R", "m")]


class World:
    """One job under a judge."""

    def __init__(self) -> None:
        self.judge = Judge(tolerance_s=2)
        self.judge.allow("failed", "on purpose")
        self.now = T
        meta = {"name": "nightly", "namespace": "ns", "uid": "job-uid", "generation": 1}
        self.job: JSON = {"kind": JOB, "metadata": meta, "spec": {}}
        self.judge.see(self.now, JOB, copy.deepcopy(self.job))

    def runner(self, phase: str, *, gone: bool = False) -> None:
        meta = {
            "name": "nightly-runner",
            "namespace": "ns",
            "uid": "pod-uid",
            "labels": {"dask.org/cluster-name": "nightly", "dask.org/component": "job-runner"},
            "ownerReferences": [{"uid": "job-uid", "controller": True}],
        }
        self.judge.see(self.now, POD, {"metadata": meta, "status": {"phase": phase}}, gone=gone)

    def says(self, word: str, found: list[Condition], **more: Any) -> None:
        self.now += 10
        self.job["status"] = {
            "observedGeneration": 1,
            "jobStatus": word,
            "conditions": conditions(found, self.job.get("status") or {}, 1, self.now),
            **more,
        }
        self.judge.see(self.now, JOB, copy.deepcopy(self.job))

    def wiped(self) -> None:
        self.job["status"] = {}
        self.judge.see(self.now, JOB, copy.deepcopy(self.job))

    def runs(self) -> None:
        self.says("JobCreated", reconciling("Progressing", "on its way"))
        self.says("ClusterCreated", reconciling("Progressing", "on its way"))
        self.runner("Running")
        self.says("Running", ready("Running", "it runs"))

    @property
    def blamed(self) -> list[tuple[str, str]]:
        return [(v.rule, v.why) for v in self.judge.violations]


def test_a_good_run() -> None:
    w = World()
    w.runs()
    w.runner("Succeeded")
    w.says("Successful", COMPLETE, endTime=ENDED)
    w.judge.end(w.now + 60)
    assert w.blamed == [("failed", "declared, but nothing Failed")]


def test_another_run_may_begin() -> None:
    w = World()
    w.runs()
    w.says("Failed", FAILED, endTime=ENDED)
    w.says("JobCreated", reconciling("Progressing", "again"), restartedAt=ENDED)
    w.says("Failed", FAILED, endTime=ENDED, restartedAt=ENDED)
    assert w.blamed == []


def test_a_wiped_status_may_only_say_the_same_again() -> None:
    w = World()
    w.runs()
    w.runner("Succeeded")
    w.says("Successful", COMPLETE, endTime=ENDED)
    w.wiped()
    w.says("Successful", COMPLETE, endTime=ENDED)
    assert w.blamed == []
    w.wiped()
    w.says("JobCreated", reconciling("Progressing", "again"))
    assert "went back from Successful to JobCreated" in w.blamed[0][1]


def test_without_children_nothing_remembers() -> None:
    w = World()
    w.runs()
    w.says("Successful", COMPLETE, endTime=ENDED)
    w.runner("Succeeded", gone=True)
    w.wiped()
    w.says("JobCreated", reconciling("Progressing", "again"))
    assert w.blamed == []


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        (None, ("Running", ready("R", "m"), {}), "no runner has ever run"),
        (None, ("Successful", COMPLETE, {"endTime": ENDED}), "no runner has ever run"),
        (None, ("Ready", ready("R", "m"), {}), "jobStatus is 'Ready'"),
        (None, ("JobCreated", ready("R", "m"), {}), "JobCreated is Current"),
        ("run", ("ClusterCreated", reconciling("R", "m"), {}), "went back from Running"),
        ("run", ("Running", reconciling("R", "m"), {}), "Running is InProgress"),
        ("run", ("Successful", ready("R", "m"), {"endTime": ENDED}), "with the conditions"),
        ("run", ("Successful", COMPLETE, {}), "endTime is None"),
        ("run", ("Running", ready("R", "m"), {"endTime": ENDED}), "endTime is"),
        ("run", ("Failed", COMPLETE, {"endTime": ENDED}), "with the conditions"),
        ("end", ("Successful", COMPLETE, {"endTime": ENDED}), "Failed at"),
        ("end", ("Failed", FAILED, {"endTime": "2030-01-01T00:02:00Z"}), "became Failed at"),
    ],
)
def test_what_is_blamed(first: str | None, then: tuple[str, Any, JSON], why: str) -> None:
    w = World()
    if first:
        w.runs()
    if first == "end":
        w.says("Failed", FAILED, endTime=ENDED)
    assert w.blamed == []
    word, found, more = then
    w.says(word, found, **more)
    assert any(why in said for _, said in w.blamed), w.blamed


def test_a_job_that_is_left_without_an_end() -> None:
    w = World()
    w.runs()
    w.runner("Succeeded")
    w.judge.end(w.now + 60)
    assert ("in-progress", "left without an end, and nightly-runner has succeeded") in w.blamed


def test_after_the_test_its_namespace_ends_in_whatever_order() -> None:
    w = World()
    w.runs()
    w.judge.end(w.now, "ns")
    w.says("Failed", FAILED)
    assert w.blamed == []
