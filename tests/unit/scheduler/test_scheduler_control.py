"""The control API inside real schedulers: workers leave, and nothing is lost or run twice.

Right results alone prove little, as Dask computes again what it lost: values here are random or
scattered, starts are counted in files, and the scheduler's own events are read.

`test_other_versions.py` runs this file with other versions of Dask.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import aiohttp
import dask
import pytest
from dask_gitops.scheduler import (
    PORT_ENV,
    PRELOAD,
    PRELOAD_ENV,
    SOURCE_ENV,
    TOKEN_ENV,
    SchedulerClient,
    SchedulerUnavailable,
    control,
    control_source,
    health,
)
from distributed import Client, Scheduler, Worker

from tests.unit.scheduler.remote import gated, starts

TOKEN = "a-token"
pytestmark = pytest.mark.filterwarnings("ignore")  # what dask warns of is not ours


# ---- help


@contextlib.asynccontextmanager
async def cluster(n, **config):
    """A scheduler with our API and `n` workers of one thread, all in this process."""
    config = {
        # the machine's other load must not pause our workers
        **{f"distributed.worker.memory.{k}": False for k in ("target", "spill", "pause")},
        "distributed.worker.memory.terminate": False,
        **config,
    }
    os.environ[TOKEN_ENV] = TOKEN
    os.environ[PORT_ENV] = str(port := free_port())
    with dask.config.set(config):
        async with contextlib.AsyncExitStack() as stack:
            s = await stack.enter_async_context(
                Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0")
            )
            control.serve(s)
            stack.callback(health.SERVERS.pop().stop)
            workers = [
                await stack.enter_async_context(Worker(s.address, nthreads=1, name=f"w{i}"))
                for i in range(n)
            ]
            dask_client = await stack.enter_async_context(Client(s.address, asynchronous=True))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            yield SimpleNamespace(
                s=s,
                dask=dask_client,
                workers=workers,
                ids=[w.id for w in workers],
                api=Api(session, f"http://127.0.0.1:{port}"),
                dashboard=f"http://127.0.0.1:{s.http_server.port}",
                add=lambda name, **more: stack.enter_async_context(
                    Worker(s.address, nthreads=1, name=name, **more)
                ),
            )


class Api:
    def __init__(self, session, url):
        self.session, self.url, self.client = session, url, SchedulerClient(session, timeout_s=20)

    async def state(self):
        return await self.client.state(self.url, TOKEN)

    async def demand(self):
        """{needs: (waiting, running, seconds)} and {name: process}."""
        found = await self.client.demand(self.url, TOKEN)
        kinds = {k.needs: (k.waiting, k.running, round(k.seconds, 1)) for k in found.kinds}
        return kinds, {p.name: p for p in found.processes}

    async def row(self, i):
        return {row.id: row for row in (await self.state()).workers}[i]

    async def retire(self, ids, wait_s=0.0, **flags):
        """One call: {id: (state, message)}."""
        out = await self.client.retire(self.url, TOKEN, ids, wait_s, **flags)
        return {i: (o.state, o.message) for i, o in out.items()}

    async def retired(self, ids, **flags):
        """Repeat the call until nothing is draining; return {id: state}."""
        for _ in range(20):
            out = await self.retire(ids, 20, **flags)
            if not any(state == "draining" for state, _ in out.values()):
                return {i: state for i, (state, _) in out.items()}
        raise AssertionError(out)

    async def undrain(self, ids):
        return await self.client.undrain(self.url, TOKEN, ids)

    async def post(self, what, body, token=TOKEN, **kw):
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.url}/control/v1/{what}"
        async with self.session.post(url, data=body, headers=headers, **kw) as answer:
            return answer.status, await answer.text()


async def until(true, what="it", every=0.01):
    end = time.monotonic() + 90
    while time.monotonic() < end:
        result = true()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        await asyncio.sleep(every)
    raise AssertionError(f"waited for {what} in vain")


async def removals(dask_client):
    """The scheduler's own words on each removed worker."""
    events = await dask_client.get_events()
    return [e for _, e in events["all"] if isinstance(e, dict) and e["action"] == "remove-worker"]


async def assert_nothing_lost(dask_client, addresses):
    events = await removals(dask_client)
    assert sorted(e["worker"] for e in events) == sorted(addresses)
    for event in events:
        assert event.get("expected", True) is True  # a word of newer versions
        assert not event.get("lost-computed-tasks")
        assert not event.get("lost-scattered-tasks")


def random_value(_):
    return os.urandom(16)


# ---- a worker leaves


def test_six_become_three_and_no_value_changes():
    async def main():
        async with cluster(6) as c:
            made = c.dask.map(random_value, range(60), pure=False)
            sown = await c.dask.scatter([os.urandom(16) for _ in range(15)])
            before = await c.dask.gather([*made, *sown])
            leave, gone = c.ids[:3], [w.address for w in c.workers[:3]]
            rows = {row.id: row for row in (await c.api.state()).workers}
            assert sum(rows[i].unique_keys for i in leave) > 0

            assert await c.api.retired(leave) == dict.fromkeys(leave, "retired")

            await assert_nothing_lost(c.dask, gone)
            assert await c.dask.gather([*made, *sown]) == before
            state = await c.api.state()
            assert sorted(row.id for row in state.workers) == sorted(c.ids[3:])
            assert sum(row.unique_keys for row in state.workers) == 75
            # Again, and for one that never was.
            again = await c.api.retire([*leave, "Worker-never-known"])
            assert {i: state for i, (state, _) in again.items()} == {
                **dict.fromkeys(leave, "retired"),
                "Worker-never-known": "gone",
            }
            assert len((await c.api.state()).workers) == 3

    asyncio.run(main())


@pytest.mark.parametrize("stealing", [True, False])
def test_running_tasks_finish_and_waiting_ones_move(tmp_path, stealing):
    async def main():
        async with cluster(2, **{"distributed.scheduler.work-stealing": stealing}) as c:
            a, _ = c.workers
            first = c.dask.submit(
                gated,
                tmp_path / "first",
                tmp_path / "gate",
                workers=[a.address],
                allow_other_workers=True,
                pure=False,
            )
            await until((tmp_path / "first").exists)
            (tmp_path / "open").touch()
            rest = [
                c.dask.submit(
                    gated,
                    tmp_path / f"rest{n}",
                    tmp_path / "open",
                    workers=[a.address],
                    allow_other_workers=True,
                    pure=False,
                )
                for n in range(3)
            ]
            leaving = await c.api.retire([a.id])
            assert leaving[a.id][0] == "draining"
            if stealing:  # they do not wait for the first to end
                await c.dask.gather(rest)
                row = await until(lambda: exact(c, a.id))
                assert (row.status, row.running, row.leaving) == ("closing_gracefully", 1, True)
                assert (await c.api.retire([a.id]))[a.id] == ("draining", "1 tasks running")
            (tmp_path / "gate").touch()
            assert await c.api.retired([a.id]) == {a.id: "retired"}
            await c.dask.gather([first, *rest])
            assert [starts(p) for p in sorted(tmp_path.glob("*t*")) if p.name != "gate"] == [1] * 4
            await assert_nothing_lost(c.dask, [a.address])
            (event,) = await removals(c.dask)
            if stealing:
                assert not event["processing-tasks"]

    async def exact(c, i):
        row = await c.api.row(i)
        return row if row.running == row.processing == 1 else None

    asyncio.run(main())


def test_a_name_that_comes_back_is_another_worker():
    async def main():
        async with cluster(2) as c:
            old, name = c.ids[0], c.workers[0].name
            assert await c.api.retired([old]) == {old: "retired"}
            new = await c.add(name)
            assert await c.api.retired([old]) == {old: "retired"}
            row = await c.api.row(new.id)
            assert (row.name, row.leaving, row.status) == (name, False, "running")

    asyncio.run(main())


def test_keys_that_two_leaving_workers_hold(tmp_path):
    async def main():
        async with cluster(3) as c:
            values = [os.urandom(8) for _ in range(10)]
            where = [w.address for w in c.workers[:2]]
            sown = await c.dask.scatter(values, broadcast=True, workers=where)
            # Two callers at the same time, each with one of the holders.
            a, b = await asyncio.gather(*(c.api.retired([i]) for i in c.ids[:2]))
            assert {**a, **b} == dict.fromkeys(c.ids[:2], "retired")
            assert await c.dask.gather(sown) == values
            # Not through the client: dask's own event of the broadcast does not pickle.
            events = [e for _, e in c.s.get_events("all") if e["action"] == "remove-worker"]
            assert sorted(e["worker"] for e in events) == sorted(where)
            assert not any(e.get("lost-scattered-tasks") for e in events)

    asyncio.run(main())


def test_interrupt_moves_the_keys_first_and_reruns_the_task(tmp_path):
    async def main():
        async with cluster(2) as c:
            a, _ = c.workers
            sown = await c.dask.scatter([os.urandom(8) for _ in range(5)], workers=[a.address])
            before = await c.dask.gather(sown)
            task = c.dask.submit(
                gated,
                tmp_path / "log",
                tmp_path / "gate",
                workers=[a.address],
                allow_other_workers=True,
                pure=False,
            )
            await until(lambda: starts(tmp_path / "log") == 1)
            assert await c.api.retired([a.id], interrupt=True) == {a.id: "retired"}
            await until(lambda: starts(tmp_path / "log") == 2)
            (tmp_path / "gate").touch()
            assert len(await task) == 8
            assert await c.dask.gather(sown) == before
            await assert_nothing_lost(c.dask, [a.address])
            (event,) = await removals(c.dask)
            assert set(event["processing-tasks"]) == {task.key}

    asyncio.run(main())


def test_refused_without_recipient_until_there_is_one():
    async def main():
        async with cluster(2) as c:
            sown = await c.dask.scatter([b"a", b"b"], workers=[c.workers[0].address])
            sown += await c.dask.scatter([b"c", b"d", b"e"], workers=[c.workers[1].address])
            out = await c.api.retire(c.ids)
            assert out == {
                c.ids[0]: ("refused", "no worker can take its 2 keys"),
                c.ids[1]: ("refused", "no worker can take its 3 keys"),
            }
            state = await c.api.state()
            assert {(row.refused, row.leaving) for row in state.workers} == {
                ("no worker can take its 2 keys", False),
                ("no worker can take its 3 keys", False),
            }
            await until(lambda: len(c.s.running) == 2, "both at work again")
            assert await c.dask.submit(sum, [1, 2]) == 3
            assert await removals(c.dask) == []
            await c.add("w2")
            assert await c.api.retired(c.ids) == dict.fromkeys(c.ids, "retired")
            assert await c.dask.gather(sown) == [b"a", b"b", b"c", b"d", b"e"]

    asyncio.run(main())


def test_a_task_that_ends_in_a_key_without_place_ends_the_drain(tmp_path):
    async def main():
        async with cluster(1) as c:
            task = c.dask.submit(gated, tmp_path / "log", tmp_path / "gate", pure=False)
            await until((tmp_path / "log").exists)
            assert (await c.api.retire(c.ids))[c.ids[0]] == ("draining", "1 tasks running")
            (tmp_path / "gate").touch()
            await task
            await until(lambda: len(c.s.running) == 1, "back at work")  # without another call
            row = await c.api.row(c.ids[0])
            assert row.refused == "no worker can take its 1 keys"

    asyncio.run(main())


class Counter:
    def count(self):
        return 1


def test_discard_takes_what_nothing_else_may_take():
    async def main():
        async with cluster(1) as c:
            actor = await c.dask.submit(Counter, actor=True)
            sown = await c.dask.scatter([b"a", b"b"])
            out = await c.api.retire(c.ids, interrupt=True)
            assert out[c.ids[0]] == ("refused", "holds 1 actors, which cannot move")
            out = await c.api.retire(c.ids, 20, discard=True)
            assert out[c.ids[0]] == (
                "retired",
                "removed; 2 keys and 1 actors had no place and are lost",
            )
            (event,) = await removals(c.dask)
            assert event.get("expected", True) is True
            assert len(event.get("lost-scattered-tasks", sown)) == 2
            said = [e for _, e in (await c.dask.get_events("all")) if "id" in e]
            assert [e["action"] for e in said] == ["control-refused", "control-discarded"]
            assert (said[1]["keys"], said[1]["actors"]) == (2, 1)
            assert actor

    asyncio.run(main())


def test_discard_still_moves_what_has_a_place():
    async def main():
        async with cluster(2) as c:
            a, _ = c.workers
            actor = await c.dask.submit(Counter, actor=True, workers=[a.address])
            sown = await c.dask.scatter([b"a", b"b"], workers=[a.address])
            assert await c.api.retired([a.id], discard=True) == {a.id: "retired"}
            assert await c.dask.gather(sown) == [b"a", b"b"]
            assert not (await removals(c.dask))[0].get("lost-scattered-tasks")
            assert actor

    asyncio.run(main())


def test_undrain_puts_it_back_to_work(tmp_path):
    async def main():
        async with cluster(2) as c:
            a, _ = c.workers
            task = c.dask.submit(
                gated, tmp_path / "log", tmp_path / "gate", workers=[a.address], pure=False
            )
            await until((tmp_path / "log").exists)
            assert (await c.api.retire([a.id]))[a.id][0] == "draining"
            assert await c.api.undrain([a.id, "Worker-x"]) == {a.id: "running", "Worker-x": "gone"}
            await until(lambda: len(c.s.running) == 2)
            assert not (await c.api.row(a.id)).leaving
            (tmp_path / "gate").touch()
            await task
            assert await c.dask.submit(lambda: 7, workers=[a.address]) == 7
            assert await removals(c.dask) == []
            # Back and forth at once: the last word holds.
            for _ in range(3):
                await c.api.retire([a.id])
                await c.api.undrain([a.id])
            assert await c.api.retired([a.id]) == {a.id: "retired"}
            assert len(await task) == 8

    asyncio.run(main())


def test_the_drain_goes_on_when_the_caller_is_gone(tmp_path):
    async def main():
        async with cluster(2) as c:
            a, _ = c.workers
            task = c.dask.submit(
                gated,
                tmp_path / "log",
                tmp_path / "gate",
                workers=[a.address],
                allow_other_workers=True,
                pure=False,
            )
            await until((tmp_path / "log").exists)
            call = asyncio.ensure_future(c.api.retire([a.id], 20))
            await until(lambda: len(c.s.running) == 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            (tmp_path / "gate").touch()
            await until(lambda: len(c.s.workers) == 1)
            assert len(await task) == 8
            assert starts(tmp_path / "log") == 1
            await assert_nothing_lost(c.dask, [a.address])
            assert (await c.api.retire([a.id]))[a.id] == ("retired", "removed")

    asyncio.run(main())


def test_a_worker_that_dies_while_it_drains_is_gone(tmp_path):
    async def main():
        async with cluster(2) as c:
            a, _ = c.workers
            task = c.dask.submit(
                gated,
                tmp_path / "log",
                tmp_path / "gate",
                workers=[a.address],
                allow_other_workers=True,
                pure=False,
            )
            await until((tmp_path / "log").exists)
            await c.api.retire([a.id])
            await c.s.remove_worker(a.address, stimulus_id="test", close=False)
            assert await c.api.retired([a.id]) == {a.id: "gone"}
            (tmp_path / "gate").touch()
            await task

    asyncio.run(main())


# ---- what the scheduler tells


def test_state(tmp_path):
    async def main():
        async with cluster(1) as c:
            worker = await c.add("gpu")
            c.s.workers[worker.address].resources.update({"GPU": 2.0, "odd": float("inf")})
            state = await c.api.state()
            assert (state.id, state.clients) == (c.s.id, 1)
            assert state.version == sys.modules["distributed"].__version__
            assert abs(state.now - time.time()) < 60
            row = await c.api.row(worker.id)
            assert (row.host, row.address, row.name) == ("127.0.0.1", worker.address, "gpu")
            assert (row.status, row.nthreads, row.resources) == ("running", 1, {"GPU": 2.0})
            idle_since = state.idle_since
            assert idle_since is not None
            assert (await c.api.state()).idle_since == idle_since
            task = c.dask.submit(gated, tmp_path / "log", tmp_path / "gate")
            await until((tmp_path / "log").exists)
            state = await c.api.state()
            assert (state.idle_since, state.idle_seconds) == (None, None)
            assert state.tasks["processing"] == 1
            (tmp_path / "gate").touch()
            await task
            state = await c.api.state()
            assert state.idle_since > idle_since
            assert state.tasks["memory"] == 1
            assert sum(row.unique_bytes for row in state.workers) > 0

    asyncio.run(main())


def test_idle_since_the_start_or_the_last_work_although_nobody_asked():
    async def main():
        before = time.time()
        async with cluster(1) as c:
            await asyncio.sleep(2.5)
            state = await c.api.state()
            assert before <= state.idle_since <= state.now - 2
            await c.dask.submit(random_value, 0)
            end = time.time()
            await asyncio.sleep(3.5)
            state = await c.api.state()
            assert state.idle_since <= end + 2  # it looks every second
            assert state.idle_since > before + 2
            assert state.idle_seconds > 1

    asyncio.run(main())


GPU = (("GPU", 1.0),)


def test_demand_of_tasks_that_nobody_can_run():
    """By what they need; those for a worker or host that is not there are no demand."""

    async def main():
        async with cluster(0) as c:
            assert await c.api.demand() == ({}, {})
            tasks = c.dask.map(random_value, range(5), pure=False)
            tasks += c.dask.map(random_value, range(3), pure=False, resources={"GPU": 1})
            tasks += c.dask.map(
                random_value, range(2), pure=False, workers=["10.9.9.9"], allow_other_workers=True
            )
            none = c.dask.map(random_value, range(7), pure=False, workers=["tcp://10.9.9.9:1"])

            async def all_known():
                kinds, _ = await c.api.demand()
                return kinds if kinds.keys() == {(), GPU} and kinds[()][0] == 7 else None

            kinds = await until(all_known, "all tasks")
            assert kinds == {(): (7, 0, 3.5), GPU: (3, 0, 1.5)}  # half a second each, until known
            assert none
            del tasks

    asyncio.run(main())


def test_demand_of_queued_waiting_and_running_tasks(tmp_path):
    """A kind of task of which none has ended is as long as its longest one has run."""

    async def main():
        async with cluster(1) as c:
            await c.add("gpu", resources={"GPU": 1.0})
            log, gate = tmp_path / "log", tmp_path / "gate"
            some = [c.dask.submit(gated, log, gate, pure=False) for _ in range(40)]
            some += [
                c.dask.submit(gated, log, gate, pure=False, resources={"GPU": 1}) for _ in range(3)
            ]

            async def they_run():
                kinds, processes = await c.api.demand()
                if kinds.get((), (0, 0))[1] and sum(kinds.get(GPU, (0, 0))[:2]) == 3:
                    return kinds, processes
                return None

            kinds, processes = await until(they_run, "tasks of both kinds")
            assert sum(kinds[()][:2]) == 40
            assert processes["gpu"].resources == {"GPU": 1.0}
            assert processes["gpu"].nthreads == processes["w0"].nthreads == 1
            assert processes["gpu"].busy

            async def seen_to_be_long():
                waiting, running, seconds = (await c.api.demand())[0][()]
                return seconds > 1.0 * (waiting + running)

            await until(seen_to_be_long, "a longer time", every=0.1)
            gate.touch()
            await c.dask.gather(some)
            kinds, processes = await c.api.demand()
            assert kinds == {}
            assert sum(p.keys for p in processes.values()) == 43
            assert sum(p.bytes for p in processes.values()) > 0
            assert not any(p.busy for p in processes.values())

    asyncio.run(main())


def test_demand_stands_aside_for_others():
    """A hundred thousand tasks are not walked in one go."""

    async def main():
        async with cluster(0) as c:
            some = c.dask.map(random_value, range(9000), pure=False, resources={"GPU": 1})
            await until(lambda: len(c.s.unrunnable) == 9000)
            turns = 0

            async def others():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.ensure_future(others())
            found = await control.Control(c.s).demand()
            task.cancel()
            assert found["kinds"][0]["waiting"] == 9000
            assert turns >= 4
            del some

    asyncio.run(main())


def test_demand_of_too_many_kinds_is_cut():
    async def main():
        async with cluster(0) as c:
            some = [
                c.dask.submit(random_value, 0, pure=False, resources={"GPU": 1 + n})
                for n in range(control.KINDS + 3)
            ]
            await until(lambda: len(c.s.unrunnable) == len(some))
            found = await c.api.client.demand(c.api.url, TOKEN)
            assert len(found.kinds) == control.KINDS

    asyncio.run(main())


def test_no_word_without_the_token():
    async def main():
        async with cluster(1) as c:
            for token in ("wrong", "", "a-tokena-token", "ä"):
                with pytest.raises(SchedulerUnavailable, match="refuses our token"):
                    await c.api.client.state(c.api.url, token)
                assert (await c.api.post("retire", "{}", token))[0] == 401
            async with c.api.session.get(f"{c.api.url}/control/v1/state") as answer:
                assert answer.status == 401

    asyncio.run(main())


def test_an_empty_token_opens_nothing():
    async def main():
        async with cluster(0) as c:
            os.environ[TOKEN_ENV] = ""
            os.environ[PORT_ENV] = str(port := free_port())
            async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as s:
                control.serve(s)
                with pytest.raises(SchedulerUnavailable, match="refuses our token"):
                    await c.api.client.state(f"http://127.0.0.1:{port}", "")
                health.SERVERS.pop().stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "body is not JSON"),
        ("[" * 100000, "body is not JSON"),
        (b"\xff", "body is not JSON"),
        ("[]", "body is not an object"),
        ("{}", "ids is not"),
        ('{"ids": "abc"}', "ids is not"),
        ('{"ids": []}', "ids is not"),
        ('{"ids": [1]}', "ids is not"),
        ('{"ids": ["a"], "wait_s": "1"}', "wait_s is not"),
        ('{"ids": ["a"], "wait_s": NaN}', "wait_s is not"),
        ('{"ids": ["a"], "wait_s": 21}', "wait_s is not"),
        ('{"ids": ["a"], "wait_s": true}', "wait_s is not"),
        ('{"ids": ["a"], "interrupt": 1}', "interrupt is not"),
        ('{"ids": ["a"], "discard": "yes"}', "discard is not"),
    ],
)
def test_a_bad_body_is_told_what_is_wrong(body, says):
    async def main():
        async with cluster(0) as c:
            status, text = await c.api.post("retire", body)
            assert status == 400
            assert says in text

    asyncio.run(main())


def test_a_huge_body_is_not_read():
    async def main():
        async with cluster(0) as c:
            with contextlib.suppress(aiohttp.ClientError):
                status, _ = await c.api.post("retire", b"x" * (control.MAX_BODY + 1))
                assert status == 400
            assert (await c.api.post("state", "{}"))[0] == 405

    asyncio.run(main())


def test_what_fails_at_setup_leaves_the_scheduler_alone():
    """It is a healthy one, and the probes say so."""

    async def main():
        os.environ[PORT_ENV] = str(port := free_port())
        control.serve(object())
        async with aiohttp.ClientSession() as session:
            assert await asked(session, port, "/health") == (200, "ok")
            assert (await asked(session, port, "/control/v1/state"))[0] == 404
        health.SERVERS.pop().stop()

    asyncio.run(main())


def test_a_port_that_is_taken_leaves_the_scheduler_alone():
    async def main():
        async with cluster(1) as c:  # which has it
            control.serve(c.s)
            assert health.SERVERS == []
            assert len((await c.api.state()).workers) == 1

    asyncio.run(main())


async def asked(session, port, path):
    async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


def test_nothing_of_it_is_where_the_dashboard_is():
    async def main():
        async with cluster(1) as c:
            (worker,) = c.ids
            token = {"Authorization": f"Bearer {TOKEN}"}
            for prefix in ("", "/dask"):
                async with c.api.session.get(
                    f"{c.dashboard}{prefix}/control/v1/state", headers=token
                ) as answer:
                    assert answer.status == 404
                async with c.api.session.post(
                    f"{c.dashboard}{prefix}/control/v1/retire",
                    json={"ids": [worker]},
                    headers=token,
                ) as answer:
                    assert answer.status >= 400
            assert (await c.api.row(worker)).status == "running"

    asyncio.run(main())


# ---- as it is used: `dask scheduler` with the source in its env


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.asynccontextmanager
async def command_line(*args, config_preload=True, source=None, scheme="tcp", **more):
    """`dask scheduler` with our env; `.start(...)` starts `dask worker`s. All ended by pid.

    :param more: environment.
    """
    env = {**os.environ, SOURCE_ENV: source or control_source(), TOKEN_ENV: TOKEN, **more}
    env[PORT_ENV] = str(own := free_port())
    for key in ("TARGET", "SPILL", "PAUSE", "TERMINATE"):
        env[f"DASK_DISTRIBUTED__WORKER__MEMORY__{key}"] = "False"
    if config_preload:
        env[PRELOAD_ENV] = PRELOAD
    port, http = free_port(), free_port()
    started = []

    def start(*words):
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", *words],
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return started[-1]

    scheduler = start(
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--dashboard-address",
        f"127.0.0.1:{http}",
        *args,
    )
    try:
        async with aiohttp.ClientSession() as session:
            api = Api(session, f"http://127.0.0.1:{own}")

            async def health():
                with contextlib.suppress(aiohttp.ClientError):
                    return await asked(session, own, "/health") == (200, "ok")

            async def workers(n):
                with contextlib.suppress(SchedulerUnavailable):
                    state = await api.state()
                    return state if len(state.workers) == n else None

            await until(health, "the scheduler", 0.1)
            url = f"{scheme}://127.0.0.1:{port}"
            yield SimpleNamespace(
                api=api,
                url=url,
                http=http,
                scheduler=scheduler,
                has=lambda n: until(lambda: workers(n), f"{n} workers", 0.1),
                start=lambda *words: start(
                    "distributed.cli.dask_worker", url, "--no-dashboard", "--nthreads", "1", *words
                ),
            )
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_command_line_with_two_workers_in_one_pod():
    async def main():
        async with command_line("--no-dashboard") as c:
            both = c.start("--nworkers", "2", "--name", "pair")
            rows = {row.name: row for row in (await c.has(2)).workers}
            assert sorted(rows) == ["pair-0", "pair-1"]
            async with Client(c.url, asynchronous=True) as client:
                sown = await client.scatter([os.urandom(8) for _ in range(20)])
                before = await client.gather(sown)
                old = rows["pair-0"]
                assert await c.api.retired([old.id]) == {old.id: "retired"}
                assert await client.gather(sown) == before
                await assert_nothing_lost(client, [old.address])
                other = rows["pair-1"].id
                assert await c.api.retired([other]) == {other: "refused"}
                assert await c.api.retired([other], discard=True) == {other: "retired"}
                assert await c.has(0)
            await until(lambda: both.poll() is not None, "the command to end")
            assert both.returncode == 0

    asyncio.run(main())


@pytest.mark.parametrize(("timeout", "idle"), [("3 s", True), ("1 h", False)])
def test_only_an_end_for_being_idle_is_told(tmp_path, timeout, idle):
    """Else it would be that of a scheduler which somebody sent SIGTERM: both end with 0."""
    log = tmp_path / "termination-log"
    source = control_source().replace("/dev/termination-log", str(log))
    assert source != control_source()

    async def main():
        async with command_line("--no-dashboard", "--idle-timeout", timeout, source=source) as c:
            if not idle:
                c.scheduler.terminate()
            await until(lambda: c.scheduler.poll() is not None, "the end of the scheduler")

    asyncio.run(main())
    assert (log.read_text() if log.exists() else "") == ("idle-timeout" if idle else "")


@pytest.mark.parametrize(
    ("args", "more"),
    [
        (("--dashboard-prefix", "/dask/demo"), {}),
        (("--no-dashboard",), {}),
        (("--dashboard-address", "127.0.0.1:0"), {}),  # a second one counts
        ((), {"DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]"}),
        ((), {"DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "['my_routes']"}),
        (("--protocol", "ws", "--no-dashboard"), {"scheme": "ws"}),
    ],
    ids=["prefix", "no dashboard", "elsewhere", "no routes", "own routes", "another protocol"],
)
def test_probes_and_control_api_know_nothing_of_the_dashboard(args, more, tmp_path):
    """Whatever the user does with it, a healthy scheduler is one."""
    (tmp_path / "my_routes.py").write_text(
        "from distributed.http.utils import RequestHandler\n"
        "class Mine(RequestHandler):\n"
        "    def get(self): self.set_status(503)\n"
        "routes = [('/?.*', Mine, {})]\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    async def main():
        async with command_line(*args, PYTHONPATH=path, **more) as c:
            state = await c.api.state()
            assert state.workers == ()
            scheme, _, port = c.url.replace("://127.0.0.1:", ":").partition(":")
            prefix = "/dask/demo" if "--dashboard-prefix" in args else ""
            assert (state.listens.scheme, state.listens.comm) == (scheme, int(port))
            assert (state.listens.http_scheme, state.listens.prefix) == ("http", prefix)
            assert (state.listens.http == c.http) == ("--dashboard-address" not in args)
            if "--no-dashboard" not in args:  # a probe there would be answered otherwise
                with contextlib.suppress(aiohttp.ClientConnectorError):
                    assert (await asked(c.api.session, c.http, "/health"))[0] != 200

    asyncio.run(main())


def test_probes_are_answered_where_the_rest_cannot_be_loaded():
    """As with a Dask that we do not know: it runs without the API, and nobody kills it."""

    async def main():
        source = control_source().replace("import hmac\n", "import no_such_module\n")
        assert source != control_source()
        async with command_line("--no-dashboard", source=source) as c:
            with pytest.raises(SchedulerUnavailable, match="has no control API"):
                await c.api.state()

    asyncio.run(main())


def test_command_line_beside_the_users_own_preload(tmp_path):
    async def main():
        mark = tmp_path / "mark"
        own = tmp_path / "own.py"
        own.write_text(f"def dask_setup(scheduler):\n    open({str(mark)!r}, 'w').close()\n")
        # Dask ignores the configured preload as soon as the command line has one.
        args = ("--no-dashboard", "--preload", str(own), "--preload", PRELOAD)
        async with command_line(*args):
            assert mark.exists()

    asyncio.run(main())
