"""Specs in which a person wrote something of another shape than Kubernetes has there: said at once, and nothing else stops."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    Resource,
)
from dask_gitops.plan import cluster as plan_cluster
from dask_gitops.reconcile.failures import TurnFailed
from dask_gitops.reconcile.readings import Readings

from tests.support.harness import NS, Harness, play
from tests.unit.objects import group

JSON = dict[str, Any]

#: What people write, and how it is answered behind the path of the Pod spec.
WRONG: dict[str, tuple[Any, str]] = {
    "text for a spec": ("containers", ": is a string; expected an object"),
    "a list's stray dash": ({"tolerations": [None]}, ".tolerations[0]: is null; expected an object"),
    "env as a map": (
        {"containers": [{"env": {"A": "1"}}]},
        ".containers[0].env: is an object; expected a list",
    ),
    "a number as a variable": (
        {"containers": [{"env": [{"name": "A", "value": 5}]}]},
        ".containers[0].env[0].value: is a number; expected a string",
    ),
    "a variable without a name": (
        {"containers": [{"env": [{"value": "5"}]}]},
        ".containers[0].env[0].name: is missing",
    ),
    "true as a label of a node": (
        {"nodeSelector": {"gpu": True}},
        ".nodeSelector[gpu]: is true or false; expected a string",
    ),
    "a text for seconds": (
        {"terminationGracePeriodSeconds": "120"},
        ".terminationGracePeriodSeconds: is a string; expected a whole number",
    ),
    "a text for a container": (
        {"containers": [{"name": "x"}, "logs"]},
        ".containers[1]: is a string; expected an object",
    ),
    "containers as a map": (
        {"containers": {"worker": {}}},
        ".containers: is an object; expected a list",
    ),
    "a command in one text": (
        {"containers": [{"args": "dask worker"}]},
        ".containers[0].args: is a string; expected a list",
    ),
    "a number as a word": (
        {"containers": [{"args": ["dask", "worker", "--nthreads", 2]}]},
        ".containers[0].args[3]: is a number; expected a string",
    ),
    "limits as a text": (
        {"containers": [{"resources": {"limits": "2Gi"}}]},
        ".containers[0].resources.limits: is a string; expected an object",
    ),
    "a port's number as a text": (
        {"containers": [{"ports": [{"containerPort": "80"}]}]},
        ".containers[0].ports[0].containerPort: is a string; expected a whole number",
    ),
    "an init container of text": (
        {"initContainers": ["wait"]},
        ".initContainers[0]: is a string; expected an object",
    ),
    "a switch as a text": (
        {"containers": [{"securityContext": {"readOnlyRootFilesystem": "true"}}]},
        ".containers[0].securityContext.readOnlyRootFilesystem: is a string; expected true or false",
    ),
}  # fmt: skip
every_wrong = pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG)


def stalled(h: Harness, res: Resource, name: str, path_and_said: str) -> None:
    """Is it, with that message, for the present generation?"""
    found = h.find(res, name)
    status, reason, message = h.condition(res, name, "Stalled")
    assert (status, reason) == ("True", "Invalid"), found["status"]
    assert path_and_said in message
    assert h.condition(res, name, "Ready")[0] == "False"
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]


def make(h: Harness, kind: str, spec: Any) -> tuple[Resource, str, str]:
    """An object of that kind with this Pod spec -> what to look at, and the path of the spec."""
    if kind == "scheduler":
        h.cluster(scheduler={"spec": spec})
        return DASKCLUSTERS, "demo", "spec.scheduler.spec"
    if kind == "worker":
        h.cluster(worker={"replicas": 1, "spec": spec})
        return DASKCLUSTERS, "demo", "spec.worker.spec"
    if kind == "inline group":
        h.cluster(workerGroups=[{"name": "gpu", "worker": {"replicas": 1, "spec": spec}}])
        return DASKCLUSTERS, "demo", "spec.workerGroups[0].worker.spec"
    if kind == "group":
        h.cluster()
        h.group("more", worker={"replicas": 1, "spec": spec})
        return DASKWORKERGROUPS, "more", "spec.worker.spec"
    if kind == "job":
        h.job(job={"spec": spec})
        return DASKJOBS, "nightly", "spec.job.spec"
    h.job(cluster={"spec": {"worker": {"spec": spec}}})
    return DASKJOBS, "nightly", "spec.cluster.spec.worker.spec"


KINDS = ("scheduler", "worker", "inline group", "group", "job", "job's cluster")


@every_wrong
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_object_says_at_once_what_is_wrong_with_it(kind: str, wrong: Any, said: str) -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the spec is wrong on purpose")
        res, name, path = make(h, kind, wrong)
        h.start()
        await h.pass_time(2)
        stalled(h, res, name, path + said)
        await h.settle()
        stalled(h, res, name, path + said)
        assert not h.bugs

    play(main)


@every_wrong
def test_a_running_cluster_goes_on_from_the_last_spec_that_could_be_read(
    wrong: Any, said: str
) -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the spec is wrong on purpose")
        h.judge.allow("current", "what counts is the spec before")
        h.cluster(worker={"replicas": 2}, scheduler={"spec": {"priorityClassName": "high"}})
        h.start()
        await h.settle()
        before = {p["metadata"]["uid"] for p in h.api.items(PODS)}
        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": None}})
        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": wrong}, "worker": {"spec": wrong}})
        await h.settle()
        assert {p["metadata"]["uid"] for p in h.api.items(PODS)} == before
        for path in ("spec.scheduler.spec", "spec.worker.spec"):
            stalled(h, DASKCLUSTERS, "demo", path + said)

        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 4}})
        h.delete_pod("demo-scheduler")
        await h.settle()
        assert len(h.workers()) == 4
        again = h.find(PODS, "demo-scheduler")
        assert again["metadata"]["uid"] not in before
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
        await h.settle()
        assert len(h.workers()) == 1
        stalled(h, DASKCLUSTERS, "demo", "spec.scheduler.spec" + said)

        right: JSON = {"scheduler": {"spec": None}, "worker": {"spec": None}}
        h.edit(DASKCLUSTERS, "demo", right)
        await h.settle()
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        assert h.condition(DASKCLUSTERS, "demo", "Stalled")[0] == ""

    play(main)


def test_a_new_process_makes_nothing_of_what_it_cannot_read_and_ends_nothing() -> None:
    wrong = {"containers": [{"env": {"A": "1"}}]}

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the spec is wrong on purpose")
        h.judge.allow("current", "nobody can tell what is current")
        h.judge.allow("counts", "nobody can tell what is current")
        h.cluster(worker={"replicas": 3}, updateStrategy={"maxUnavailable": "100%"})
        h.group("more", worker={"replicas": 2})
        h.start()
        await h.settle()
        before = {p["metadata"]["uid"] for p in h.api.items(PODS)}
        h.kill()
        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": wrong}, "worker": {"spec": wrong}})
        h.edit(DASKWORKERGROUPS, "more", {"worker": {"spec": wrong}})
        h.start()
        await h.settle()
        assert {p["metadata"]["uid"] for p in h.api.items(PODS)} == before
        stalled(h, DASKCLUSTERS, "demo", "spec.scheduler.spec.containers[0].env")
        stalled(h, DASKWORKERGROUPS, "more", "spec.worker.spec.containers[0].env")
        assert "spec" not in h.find(DASKWORKERGROUPS, "demo-default")["spec"]["worker"]

        # The cluster's own group still has its spec, and the number is no part of it.
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 4}})
        h.edit(DASKWORKERGROUPS, "more", {"worker": {"replicas": 1}})
        await h.settle()
        assert (len(h.workers()), len(h.workers("more"))) == (4, 1)

        h.delete_pod("demo-scheduler")
        h.delete_pod(h.workers("more")[0])
        await h.settle()
        assert h.api.find(PODS, NS, "demo-scheduler") is None
        assert not h.workers("more")
        stalled(h, DASKCLUSTERS, "demo", "there is no scheduler; spec.scheduler.spec")

        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": None}, "worker": {"spec": None}})
        h.edit(DASKWORKERGROUPS, "more", {"worker": {"spec": None}})
        await h.settle()
        assert (len(h.workers()), len(h.workers("more"))) == (4, 1)
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"

    play(main)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ({"hostNetwork": True}, {"hostNetwork": 1}, ".hostNetwork: is a number"),
        (
            {"terminationGracePeriodSeconds": 30},
            {"terminationGracePeriodSeconds": 30.0},
            ".terminationGracePeriodSeconds: has a fraction or an exponent",
        ),
        (
            {"terminationGracePeriodSeconds": 1},
            {"terminationGracePeriodSeconds": True},
            ".terminationGracePeriodSeconds: is true or false",
        ),
    ],
)
def test_what_is_equal_in_python_is_not_the_same(right: JSON, wrong: JSON, said: str) -> None:
    readings = Readings()
    first = group({"worker": {"spec": right}}, generation=1)
    assert not readings.of(first).wrong
    second = group({"worker": {"spec": wrong}}, generation=2)
    assert str(readings.of(second).wrong[0]).startswith(f"spec.worker.spec{said}")
    counts = readings.what_counts(second)
    assert counts.spec["worker"]["spec"] == right
    assert readings.of(counts) is readings.of(second), "what counts is not read once more"


def test_deletion_and_removal_do_not_need_the_spec() -> None:
    wrong = {"containers": [None]}

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the spec is wrong on purpose")
        h.judge.allow("current", "what counts is the spec before")
        group = {"name": "gpu", "worker": {"replicas": 2}}
        h.cluster(worker={"replicas": 1}, workerGroups=[group])
        h.start()
        await h.settle()
        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"spec": wrong}, "workerGroups": []})
        await h.settle()
        assert not h.workers("demo-gpu")
        h.edit(DASKCLUSTERS, "demo", {"suspend": True})
        await h.settle()
        assert not h.api.items(PODS)
        stalled(h, DASKCLUSTERS, "demo", "spec.scheduler.spec.containers[0]: is null")
        h.api.remove(DASKCLUSTERS, NS, "demo")
        await h.settle()
        assert not h.api.items(DASKWORKERGROUPS)

    play(main)


@pytest.mark.parametrize("before", ["nothing ran", "it ran"])
def test_a_job_ends_by_its_deadline(before: str) -> None:
    wrong = {"containers": ["job"]}

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the spec is wrong on purpose")
        if before == "it ran":
            h.judge.allow("job", "its spec is wrong while it runs")
        if before == "nothing ran":
            h.job(job={"spec": wrong}, activeDeadlineSeconds=300)
            h.start()
        else:
            h.job(activeDeadlineSeconds=300)
            h.start()
            await h.pass_time(60)
            h.edit(DASKJOBS, "nightly", {"job": {"spec": wrong}})
        await h.pass_time(60)
        stalled(h, DASKJOBS, "nightly", "spec.job.spec.containers[0]: is a string")
        assert len(h.api.names(PODS, NS)) == (0 if before == "nothing ran" else 3)
        await h.pass_time(300)
        assert h.find(DASKJOBS, "nightly")["status"]["jobStatus"] == "Failed"
        assert h.condition(DASKJOBS, "nightly", "Failed")[1] == "DeadlineExceeded"
        assert not h.bugs

    play(main)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"minimum": "1"}, "spec.minimum: is a string; expected a whole number"),
        ({"maximum": 4.5}, "spec.maximum: has a fraction or an exponent; expected a whole number"),
        ({"maximum": 2**70}, "spec.maximum: is out of range"),
        ({"interval": {}}, "spec.interval: is an object; expected a whole number"),
        ({"scaleUp": [1]}, "spec.scaleUp: is a list; expected an object"),
        ({"scaleDown": {"maxPercent": True}}, "spec.scaleDown.maxPercent: is true or false"),
        ({"minimum": -1}, "spec.minimum: is less than 0"),
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_numbers_of_an_autoscaler(spec: JSON, said: str, new: bool) -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the spec is wrong on purpose")
        h.cluster(worker={"replicas": 2})
        h.autoscaler(1, 5)
        if new:
            h.edit(DASKAUTOSCALERS, "demo", spec)
        h.start()
        await h.pass_time(30)
        if not new:
            h.edit(DASKAUTOSCALERS, "demo", spec)
            await h.pass_time(30)
        stalled(h, DASKAUTOSCALERS, "demo", said)
        h.demand(100)
        await h.pass_time(60)
        assert len(h.workers()) == (2 if new else 5)  # the last numbers that could be read
        h.api.remove(DASKAUTOSCALERS, NS, "demo")
        h.demand(0)
        await h.settle()
        assert not h.bugs

    play(main)


# ---- a bug of ours


def failing(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> list[int]:
    """Let every turn of a cluster raise; how often it did."""
    turns = []

    def boom(*_: Any, **__: Any) -> None:
        turns.append(1)
        raise error()

    monkeypatch.setattr(plan_cluster, "plan_cluster", boom)
    return turns


def test_a_turn_that_raises_is_told_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(h: Harness) -> None:
        logging.getLogger("dask_gitops").setLevel(logging.INFO)
        h.judge.allow("in-progress", "turns fail on purpose")
        h.cluster(worker={"replicas": 2})
        h.start()
        await h.settle()
        with monkeypatch.context() as patched:
            turns = failing(patched, lambda: KeyError("containers"))
            h.edit(DASKCLUSTERS, "demo", {"idleTimeout": 5000})
            await h.pass_time(120)
            assert 4 <= len(turns) <= 20  # with back-off
            status, reason, message = h.condition(DASKCLUSTERS, "demo", "InternalError")
            assert (status, reason) == ("True", "TurnFailed")
            assert "KeyError" in message
            assert h.condition(DASKCLUSTERS, "demo", "Ready")[:2] == ("False", "InternalError")
            assert h.condition(DASKCLUSTERS, "demo", "Reconciling")[0] == "True"
            assert h.events().count("InternalError") == 1
            assert sum(r.exc_info is not None for r in caplog.records) == 1
            assert {type(e) for e in h.bugs} == {TurnFailed}
            failing(patched, lambda: ValueError("another"))
            await h.pass_time(60)
            assert sum(r.exc_info is not None for r in caplog.records) == 2
        await h.pass_time(60)
        assert h.condition(DASKCLUSTERS, "demo", "InternalError") == ("", "", "")
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        assert h.events().count("InternalError") == 2
        h.errors.clear()

    play(main)


def test_the_end_of_a_job_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(h: Harness) -> None:
        h.job()
        h.start()
        await h.settle()
        h.kubelet.finish(NS, "nightly-runner", 0)
        await h.settle()
        before = h.find(DASKJOBS, "nightly")["status"]
        with monkeypatch.context() as patched:

            def boom(*_: Any, **__: Any) -> None:
                raise RuntimeError("bug")

            patched.setattr("dask_gitops.reconcile.job.plan_job", boom)
            h.edit(DASKJOBS, "nightly", {"ttlSecondsAfterFinished": 10**6})
            await h.pass_time(30)
            status = h.find(DASKJOBS, "nightly")["status"]
            assert status["jobStatus"] == "Successful"
            assert h.condition(DASKJOBS, "nightly", "Ready")[0] == "True"
            assert h.condition(DASKJOBS, "nightly", "Complete")[0] == "True"
            assert h.condition(DASKJOBS, "nightly", "InternalError")[0] == "True"
        await h.pass_time(60)
        after = h.find(DASKJOBS, "nightly")["status"]
        assert [c["type"] for c in after["conditions"]] == [c["type"] for c in before["conditions"]]
        h.errors.clear()

    play(main)


@pytest.mark.parametrize("value", [5, True, {"a": 1}, [5], "IPv4"], ids=str)
def test_odd_families_of_a_service_stop_nothing_else(value: Any) -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "a Service of the wrong shape")
        h.cluster(worker={"replicas": 1})
        h.start()
        await h.settle()
        service = {"ipFamilies": value}
        h.edit(DASKCLUSTERS, "demo", {"scheduler": {"service": service}, "worker": {"replicas": 2}})
        await h.pass_time(60)
        assert len(h.workers()) == 2
        assert (
            "spec.scheduler.service.ipFamilies" in h.condition(DASKCLUSTERS, "demo", "Stalled")[2]
        )
        assert not h.bugs

    play(main)


def test_an_autoscaler_that_cannot_be_read_any_more_is_not_taken_away() -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "an autoscaler of the wrong shape")
        h.cluster(worker={"replicas": 1}, autoscaler={"minimum": 0, "maximum": 5})
        h.start()
        await h.settle()
        h.kill()
        h.edit(DASKCLUSTERS, "demo", {"autoscaler": {"scaleUp": {"maxPercent": 0}}})
        h.start()
        await h.settle()
        assert h.api.names(DASKAUTOSCALERS, NS, "") == ["demo"]

    play(main)
