from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest
from dask_gitops.kube import (
    DEPLOYMENTS,
    LEASES,
    PODS,
    ApiError,
    CredentialsError,
    LeaseElector,
    NotLeader,
)

from tests.support import virtual_time
from tests.support.memory_api import MemoryApi


@pytest.fixture(autouse=True)
def _same_dice() -> None:
    random.seed(1)


class Candidate:
    """A controller: an elector, and a client that it guards."""

    def __init__(self, api: MemoryApi, name: str, skew_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self.said: list[str] = []
        self.elector = LeaseElector(
            api.client(name),
            "system",
            "controller",
            name,
            on_started=lambda: self.said.append("started"),
            on_lost=lambda: self.said.append("lost"),
            clock=lambda: loop.time() + skew_s,
        )
        self.client = api.client(name, guard=self.elector.is_leader)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def pair(api: MemoryApi) -> tuple[Candidate, Candidate]:
    # Clocks of different machines have nothing to do with each other.
    return Candidate(api, "a"), Candidate(api, "b", skew_s=1e6)


def lease(api: MemoryApi) -> dict[str, Any]:
    found = api.find(LEASES, "system", "controller")
    assert found is not None
    spec: dict[str, Any] = found["spec"]
    return spec


def test_one_leads_and_the_other_waits() -> None:
    async def main() -> None:
        api = MemoryApi()
        a, b = pair(api)
        a.start()
        await asyncio.sleep(0.5)
        b.start()
        for _ in range(1000):
            await asyncio.sleep(0.7)
            assert (a.elector.is_leader(), b.elector.is_leader()) == (True, False)
        assert (a.said, b.said) == (["started"], [])
        assert b.elector.holder == "a"
        writes = [request.time for request in api.writes()]
        assert {request.client for request in api.writes()} == {"a"}
        assert min(later - earlier for earlier, later in itertools.pairwise(writes)) >= 5
        spec = lease(api)
        assert spec["holderIdentity"] == "a"
        assert spec["leaseDurationSeconds"] == 15
        assert spec["leaseTransitions"] == 0
        assert spec["renewTime"].endswith("Z")
        assert len(spec["renewTime"]) == len("2030-01-01T00:00:00.000000Z")

    virtual_time.run(main())


def test_two_that_begin_together_do_not_both_lead() -> None:
    async def main() -> None:
        for latency in (0.0, 0.1, 1.0):
            api = MemoryApi(latency_s=latency, answer_latency_s=latency)
            a, b = pair(api)
            a.start()
            b.start()
            for _ in range(100):
                await asyncio.sleep(0.5)
                assert not (a.elector.is_leader() and b.elector.is_leader())
            assert a.elector.is_leader() or b.elector.is_leader()
            await a.stop()
            await b.stop()

    virtual_time.run(main())


def test_a_clean_stop_hands_over_at_once() -> None:
    async def main() -> None:
        api = MemoryApi()
        a, b = pair(api)
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(20)
        await a.stop()
        assert a.said == ["started", "lost"]
        assert lease(api)["holderIdentity"] == ""
        await asyncio.sleep(2.5)
        assert b.elector.is_leader()
        assert lease(api)["leaseTransitions"] == 1

    virtual_time.run(main())


def test_a_stop_in_the_middle_of_a_renewal_hands_over_at_once() -> None:
    """Before it arrives, after it took effect and before its answer, or after that."""

    async def main(later_s: float) -> None:
        api = MemoryApi(latency_s=0.4, answer_latency_s=0.6)
        a, b = pair(api)
        a.start()
        await asyncio.sleep(3)
        b.start()
        await asyncio.sleep(7 + later_s)
        await a.stop()
        assert lease(api)["holderIdentity"] == "", f"stopped {later_s} s later"
        await asyncio.sleep(6)
        assert b.elector.is_leader()

    for tenths in range(60):  # a whole period
        virtual_time.run(main(tenths / 10))


def test_a_crashed_leader_is_replaced_after_its_term() -> None:
    async def main() -> None:
        api = MemoryApi()
        a, b = pair(api)
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(20)
        fault = api.fault(where=lambda request: request.client == "a", times=None)
        began = asyncio.get_running_loop().time()
        while not b.elector.is_leader():
            assert not (a.elector.is_leader() and b.elector.is_leader())
            await asyncio.sleep(0.1)
        took = asyncio.get_running_loop().time() - began
        assert 10 <= took <= 18
        assert a.said == ["started", "lost"]
        fault.cancel()
        await asyncio.sleep(100)
        assert (a.elector.is_leader(), b.elector.is_leader()) == (False, True)

    virtual_time.run(main())


def test_a_stopped_leader_that_wakes_up_sends_nothing() -> None:
    async def main() -> None:
        api = MemoryApi()
        a = Candidate(api, "a")
        a.start()
        await asyncio.sleep(1)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
        await a.client.create(PODS, "ns", pod)
        virtual_time.freeze(60)  # SIGSTOP: no timer has run yet when the next write is tried
        assert a.said == ["started"]
        with pytest.raises(NotLeader):
            await a.client.create(PODS, "ns", pod)
        assert api.count("create", PODS) == 1
        await asyncio.sleep(20)
        assert a.said == ["started", "lost", "started"]  # nobody else was there

    virtual_time.run(main())


def test_whatever_happens_two_never_lead() -> None:
    """Lost answers, refusals, slow servers: at no time do two believe."""

    async def main(seed: int) -> None:
        dice = random.Random(seed)
        api = MemoryApi()
        a, b = pair(api)
        a.start()
        b.start()
        leaders: set[str] = set()
        for _ in range(300):
            api.latency_s = dice.choice([0, 0, 0.2, 2.0])
            api.answer_latency_s = dice.choice([0, 0, 0.2, 2.0])
            if dice.random() < 0.1:
                api.fault(
                    dice.choice(["get", "patch", "create"]),
                    LEASES,
                    error=dice.choice(
                        ["timeout", "reset", ApiError(500), ApiError(409, "Conflict")]
                    ),
                    when=dice.choice(["before", "after"]),
                    times=dice.randrange(1, 6),
                )
            await asyncio.sleep(dice.random() * 4)
            believers = [one for one in (a, b) if one.elector.is_leader()]
            assert len(believers) < 2
            leaders.update(one.elector.identity for one in believers)
        assert leaders
        await a.stop()
        await b.stop()

    for seed in range(12):
        virtual_time.run(main(seed))


def test_an_answer_that_was_lost_is_found_again() -> None:
    async def main() -> None:
        api = MemoryApi()
        a = Candidate(api, "a")
        api.fault("create", LEASES, error="reset", when="after")
        a.start()
        await asyncio.sleep(4)
        assert a.elector.is_leader()  # its own name stands there: no need to wait for the term
        api.fault("patch", LEASES, error="timeout", when="after")
        await asyncio.sleep(60)
        assert a.said == ["started"]

    virtual_time.run(main())


@pytest.mark.parametrize(
    "trouble",
    [
        CredentialsError("no token"),
        KeyError("metadata"),
        TypeError("no object"),
        RecursionError(),
        ApiError(404, "", "404 page not found"),
        ApiError(401, "Unauthorized"),
    ],
    ids=repr,
)
def test_only_its_own_end_costs_the_lease(trouble: Exception) -> None:
    """Whatever goes wrong with its requests: it takes part on, and keeps what it holds for as long as it may."""

    async def main() -> None:
        api = MemoryApi()
        a = Candidate(api, "a")
        first = api.fault(resource=LEASES, error=trouble, times=None)
        a.start()
        await asyncio.sleep(30)
        first.cancel()
        await asyncio.sleep(3)
        assert a.elector.is_leader()
        short = api.fault(resource=LEASES, error=trouble, times=None)
        await asyncio.sleep(7)
        short.cancel()
        await asyncio.sleep(30)
        assert a.said == ["started"]
        long = api.fault(resource=LEASES, error=trouble, times=None)
        await asyncio.sleep(30)
        assert a.said == ["started", "lost"]
        long.cancel()
        await asyncio.sleep(30)
        assert a.said == ["started", "lost", "started"]
        assert a.task is not None
        assert not a.task.done()
        await a.stop()

    virtual_time.run(main())


def test_somebody_else_edits_the_lease() -> None:
    async def main() -> None:
        api = MemoryApi()
        a = Candidate(api, "a")
        a.start()
        await asyncio.sleep(1)
        for turn in range(10):
            note = {"metadata": {"annotations": {"turn": str(turn)}}}
            api.edit(LEASES, "system", "controller", note)
            await asyncio.sleep(10)
            assert a.elector.is_leader()
        api.remove(LEASES, "system", "controller")
        await asyncio.sleep(30)
        assert a.elector.is_leader()
        api.edit(LEASES, "system", "controller", {"spec": {"holderIdentity": "thief"}})
        await asyncio.sleep(11)
        assert not a.elector.is_leader()
        assert a.said[-1] == "lost"

    virtual_time.run(main())


def test_on_lost_is_not_late() -> None:
    async def main() -> None:
        api = MemoryApi()
        loop = asyncio.get_running_loop()
        lost_at = 0.0

        def note() -> None:
            nonlocal lost_at
            lost_at = loop.time()

        elector = LeaseElector(api, "system", "l", "a", on_lost=note, clock=loop.time)
        task = asyncio.create_task(elector.run())
        await asyncio.sleep(0.1)
        api.fault("patch", times=None, error="timeout")
        while elector.is_leader():
            await asyncio.sleep(0.1)
        assert loop.time() - lost_at < 0.2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert lost_at - virtual_time.EPOCH == 12

    virtual_time.run(main())


@pytest.mark.parametrize("refused", ["missing", "forbidden", ""])
def test_the_lease_goes_with_its_owner(refused: str) -> None:
    async def main() -> None:
        api = MemoryApi()
        if refused != "missing":
            meta = {"name": "controller", "namespace": "system"}
            uid = api.put(DEPLOYMENTS, {"metadata": meta})["metadata"]["uid"]
        if refused == "forbidden":
            api.fault("get", DEPLOYMENTS, error=ApiError(403, "Forbidden"))
        elector = LeaseElector(api, "system", "controller", "a", owner=DEPLOYMENTS)
        task = asyncio.create_task(elector.run())
        await asyncio.sleep(1)
        assert elector.is_leader()
        found = api.find(LEASES, "system", "controller")
        assert found is not None
        owners = found["metadata"].get("ownerReferences")
        if refused:
            assert not owners
        else:
            kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
            assert owners == [{**kind, "name": "controller", "uid": uid}]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_time.run(main())


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="less than"):
        LeaseElector(MemoryApi(), "ns", "l", "a", duration_s=8, renew_s=5)
