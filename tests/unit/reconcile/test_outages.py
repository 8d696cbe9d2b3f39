"""An API server that is in trouble for minutes: a minute after it is well again, all is as declared."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError, ApiUnreachable
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS

from tests.support.harness import Harness, play


def not_found(**details: str) -> ApiError:
    """A 404 that says nothing of the object that was asked for."""
    body = {"kind": "Status", "code": 404, "reason": "NotFound", "details": details}
    return ApiError.from_status({**body, "message": f"{details} not found"})


#: What a proxy, an API server that is starting, or one that does not serve a kind yet says of anything.
ABSENT = {
    "404 page": ApiError(404, "", "404 page not found"),
    "404 of the namespace": not_found(name="default", kind="namespaces"),
    "404 of the resource": not_found(),
    "404 of another object": not_found(name="else", kind="pods"),
}
TROUBLES: dict[str, Any] = {
    "429": ApiError(429, "TooManyRequests", "later", retry_after=30),
    "503": ApiError(503, "ServiceUnavailable", "no endpoints"),
    "500": ApiError(500, "InternalError", "etcdserver: no leader"),
    "token expired": ApiError(401, "Unauthorized", "Unauthorized"),
    "no answer": "timeout",
    "reset": "reset",
    "refused": "refused",
    **ABSENT,
}


@pytest.mark.parametrize("minutes", [1, 5, 20])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_minute_after_an_outage_all_is_as_declared(trouble: str, minutes: int) -> None:
    async def story(h: Harness) -> None:
        h.cluster("old", worker={"replicas": 2})
        h.start()
        await h.settle()
        before = len(h.api.log)
        fault = h.api.fault(times=None, error=TROUBLES[trouble])
        h.api.break_watches(error=ApiUnreachable("reset", sent=True))
        h.edit(DASKWORKERGROUPS, "old-default", {"worker": {"replicas": 4}})
        h.cluster("new", worker={"replicas": 3})
        await h.pass_time(60 * minutes)
        tried = len(h.api.log) - before
        fault.cancel()
        recovered = asyncio.get_running_loop().time()
        while (
            len(h.workers("new-default")) != 3
            or len(h.workers("old-default")) != 4
            or h.condition(DASKCLUSTERS, "new", "Ready")[0] != "True"
        ):
            assert asyncio.get_running_loop().time() - recovered < 60
            await h.pass_time(1)
        assert (
            tried < 6 * 60 * minutes
        )  # six informers, patiently: at most one request a second each
        await h.settle()
        assert len(h.created()) == 1 + 4 + 1 + 3
        assert len(set(h.created())) == len(h.created())

    play(story)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_writes_alone_are_refused_for_minutes(trouble: str) -> None:
    """Reads work all the while, so keys fail again and again and wait longer and longer."""

    async def story(h: Harness) -> None:
        h.start()
        await h.settle()
        fault = h.api.fault(writes=True, times=None, error=TROUBLES[trouble])
        h.cluster("demo", worker={"replicas": 3})
        await h.pass_time(600)
        fault.cancel()
        recovered = asyncio.get_running_loop().time()
        while len(h.workers()) != 3:
            assert asyncio.get_running_loop().time() - recovered < 60
            await h.pass_time(1)
        await h.settle()
        assert len(set(h.created())) == len(h.created()) == 4

    play(story)


@pytest.mark.parametrize("trouble", ABSENT)
def test_what_is_said_to_be_absent_by_a_stranger_is_still_known(trouble: str) -> None:
    """No object is forgotten for it: no pod runs on uncounted, no change is missed."""

    async def story(h: Harness) -> None:
        h.cluster("demo", worker={"replicas": 3})
        h.start()
        await h.settle()
        for verb in ("get", "patch", "delete"):
            fault = h.api.fault(verb, times=None, error=ABSENT[trouble])
            replicas = 4 if verb == "patch" else 2
            h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": replicas}})
            h.edit(DASKCLUSTERS, "demo", {"scheduler": {"metadata": {"labels": {"at": verb}}}})
            await h.pass_time(120)
            fault.cancel()
            assert len(h.world.stores.pods.by_index("cluster", "default", "demo", "worker")) == len(
                h.workers()
            )
            await h.settle()
            assert len(h.workers()) == replicas
            assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        assert len(set(h.created())) == len(h.created())

    play(story)
