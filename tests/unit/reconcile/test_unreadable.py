"""An object that nests too deep is named; it costs no other, and what it made goes on."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.resource import (
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    Resource,
)

from tests.support.harness import NS, Harness, play


def deep(levels: int = 150) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def told(h: Harness) -> list[tuple[str, str]]:
    return [
        (e["involvedObject"]["name"], e["type"])
        for e in h.api.items(EVENTS)
        if e["reason"] == "Unreadable"
    ]


def names(h: Harness) -> set[str]:
    return {p["metadata"]["uid"] for p in h.api.items(PODS)}


@pytest.mark.parametrize("restart", [False, True], ids=["at watch", "at list"])
@pytest.mark.parametrize("resource", [DASKCLUSTERS, DASKWORKERGROUPS, DASKJOBS], ids=str)
def test_it_is_named_and_what_it_made_goes_on(resource: Resource, restart: bool) -> None:
    async def main(h: Harness) -> None:
        h.cluster("demo", worker={"replicas": 2})
        h.cluster("other", worker={"replicas": 1})
        h.job("nightly")
        h.start()
        await h.settle()
        before = names(h)
        name = {DASKCLUSTERS: "demo", DASKWORKERGROUPS: "demo-default"}.get(resource, "nightly")
        spec = {"spec": {"worker": {"spec": {"x": deep()}}}}
        h.api.edit(resource, NS, name, {"spec": {"x": deep()}} if resource == DASKJOBS else spec)
        if restart:
            h.restart()
        h.edit(DASKCLUSTERS, "other", {"worker": {"replicas": 2}})
        asked = h.asked
        await h.pass_time(600)
        assert h.asked - asked < 200
        assert len(h.workers("other-default")) == 2
        assert h.condition(DASKCLUSTERS, "other", "Ready")[0] == "True"
        assert before <= names(h)  # nothing that runs is ended for it
        assert told(h) == [(name, "Warning")]
        mended = (
            {"spec": {"x": None}}
            if resource == DASKJOBS
            else {"spec": {"worker": {"spec": {"x": None}}}}
        )
        h.api.edit(resource, NS, name, mended)
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 3}})
        await h.settle()
        assert len(h.workers("demo-default")) == 3

    play(main)


def test_one_that_is_deep_from_the_beginning() -> None:
    async def main(h: Harness) -> None:
        h.start()
        h.cluster("demo", worker={"replicas": 1, "spec": {"containers": [], "x": deep()}})
        h.cluster("other", worker={"replicas": 1})
        await h.settle()
        assert told(h) == [("demo", "Warning")]
        assert (len(h.workers("other-default")), len(h.workers("demo-default"))) == (1, 0)
        h.api.remove(DASKCLUSTERS, NS, "demo")
        h.cluster("demo", worker={"replicas": 2})
        await h.settle()
        assert len(h.workers("demo-default")) == 2

    play(main)
