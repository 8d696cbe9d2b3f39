"""A cluster that asks for encryption, which this version cannot give: never plain text instead, and nobody's work is ended."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Resource,
)

from tests.support.harness import NS, Harness, play

JSON = dict[str, Any]
WAYS = {"by a Secret": {"secretName": "certificates"}, "in whatever way": {}}
each_way = pytest.mark.parametrize("tls", WAYS.values(), ids=WAYS)
MADE = (PODS, SERVICES, DASKWORKERGROUPS, DASKAUTOSCALERS)


def stalled(h: Harness, resource: Resource, name: str, *words: str) -> None:
    for condition, status in (("Ready", "False"), ("Stalled", "True")):
        found, reason, message = h.condition(resource, name, condition)
        assert (found, reason) == (status, "Invalid")
        assert all(word in message for word in ("spec.tls", "plain text", *words)), message


@each_way
def test_nothing_is_made_in_plain_text(tls: JSON) -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "nobody can encrypt")
        auto = {"minimum": 1, "maximum": 3}
        h.cluster(tls=tls, worker={"replicas": 2}, autoscaler=auto, workerGroups=[{"name": "gpu"}])
        h.group("more", worker={"replicas": 1})
        h.start()
        await h.pass_time(600)
        assert [h.api.items(kind) for kind in (PODS, SERVICES, DASKAUTOSCALERS)] == [[], [], []]
        assert [g["metadata"]["name"] for g in h.api.items(DASKWORKERGROUPS)] == ["more"]
        stalled(h, DASKCLUSTERS, "demo")
        stalled(h, DASKWORKERGROUPS, "more", "DaskCluster demo")

    play(main)


def test_a_job_starts_nothing_either() -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "nobody can encrypt")
        h.job("nightly", cluster={"spec": {"tls": {}}})
        h.start()
        await h.pass_time(600)
        assert [h.api.items(kind) for kind in (*MADE, DASKCLUSTERS)] == [[]] * 5
        stalled(h, DASKJOBS, "nightly", "spec.cluster.spec.tls")

    play(main)


@each_way
@pytest.mark.parametrize("restart", [False, True], ids=["by a change", "by an upgrade"])
def test_what_runs_is_left_running_and_nothing_is_added(tls: JSON, restart: bool) -> None:
    """Neither a worker more, nor one in the place of one that died, nor a changed spec."""

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "nobody can encrypt")
        h.cluster(worker={"replicas": 3})
        h.start()
        await h.settle()
        before = {p["metadata"]["uid"] for p in h.api.items(PODS)}
        assert len(before) == 4
        h.edit(DASKCLUSTERS, "demo", {"tls": tls, "image": "another", "worker": {"replicas": 5}})
        if restart:
            h.restart()
        await h.pass_time(600)
        assert {p["metadata"]["uid"] for p in h.api.items(PODS)} == before
        stalled(h, DASKCLUSTERS, "demo")
        stalled(h, DASKWORKERGROUPS, "demo-default", "DaskCluster demo")
        lost = h.find(PODS, h.workers("demo-default")[0])["metadata"]
        h.api.remove(PODS, NS, lost["name"])
        await h.pass_time(600)
        assert {p["metadata"]["uid"] for p in h.api.items(PODS)} == before - {lost["uid"]}
        h.edit(DASKCLUSTERS, "demo", {"tls": None})
        await h.pass_time(600)
        assert len(h.workers("demo-default")) == 5
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"

    play(main)


def test_a_suspended_cluster_goes_all_the_same() -> None:
    async def main(h: Harness) -> None:
        h.judge.allow("failed", "nobody can encrypt")
        h.cluster(worker={"replicas": 2})
        h.start()
        await h.settle()
        h.edit(DASKCLUSTERS, "demo", {"tls": {}, "suspend": True})
        await h.pass_time(600)
        assert h.api.items(PODS) == []

    play(main)
