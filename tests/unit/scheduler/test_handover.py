"""Worker processes that are told to end hand their keys over first: real ones, by real signals.

Nobody may wait for the grace period, which is twenty minutes here; nothing waits for a running task.
"""

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
from dask_gitops.scheduler import PORT_ENV, control, control_source, health
from distributed import Scheduler, Worker, __version__

from tests.unit.scheduler.processes import (
    NANNY_STAYS,
    cluster,
    flaws_seen,
    free_port,
    until,
    workers_of,
)
from tests.unit.scheduler.remote import gated, remove, starts, terminated_child

ROOT = Path(__file__).parents[3]
CURRENT = re.search(r"^distributed==(.*)", (ROOT / "tests/requirements.txt").read_text(), re.M)[1]
pytestmark = pytest.mark.filterwarnings("ignore")  # what dask warns of is not ours


def test_this_is_the_version_that_was_asked_for():
    assert __version__ == os.environ.get("DASK_VERSION_UNDER_TEST", CURRENT)


def told(process):
    process.send_signal(signal.SIGTERM)


def group_told(process):
    """As `tini -g` does, the first process of Dask's own images."""
    os.killpg(process.pid, signal.SIGTERM)


def states(held):
    """What the client knows of futures by their worker."""
    return {future.status for some in held.values() for future in some}


KINDS = {
    "nanny": ((), 1, told),
    "nanny and worker": ((), 1, group_told),
    "no nanny": (("--no-nanny",), 1, told),
    "two workers": (("--nworkers", "2"), 2, told),
    "two workers, all": (("--nworkers", "2"), 2, group_told),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_is_told_to_end_hands_over(tmp_path, kind):
    words, n, tell = KINDS[kind]

    async def main():
        async with cluster(tmp_path) as c:
            c.start_worker("--name", "stays", "--no-nanny")
            goes = c.start_worker("--name", "goes", *words)
            addresses = await c.workers(1 + n)
            gone = [a for name, a in addresses.items() if name != "stays"]
            futures = [f for a in gone for f in await c.sow(a)]
            before = await c.client.gather(futures)
            tell(goes)
            await c.ended(goes)
            assert await c.workers(1) == {"stays": addresses["stays"]}
            assert await c.client.gather(futures) == before
            await c.assert_nothing_lost(*gone)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["nanny", "no nanny"])
def test_a_running_task_runs_again_elsewhere(tmp_path, kind):
    words, _, tell = KINDS[kind]

    async def main():
        async with cluster(tmp_path) as c:
            c.start_worker("--name", "stays", "--no-nanny")
            goes = c.start_worker("--name", "goes", *words)
            address = (await c.workers(2))["goes"]
            futures = await c.sow(address)
            before = await c.client.gather(futures)
            files = tmp_path / "started", tmp_path / "gate"
            task = c.client.submit(
                gated, *files, workers=[address], allow_other_workers=True, pure=False
            )
            await until(lambda: starts(files[0]) == 1)
            tell(goes)
            await c.ended(goes)
            await until(lambda: starts(files[0]) == 2, "the second start")
            files[1].touch()
            assert len(await task) == 8
            assert await c.client.gather(futures) == before
            await c.assert_nothing_lost(address)
            (event,) = await c.removals()
            assert len(event["processing-tasks"]) == 1

    asyncio.run(main())


def test_half_of_the_workers_leave_at_the_same_moment(tmp_path):
    half = 10 if __version__ == CURRENT else 4  # an older one takes its time to start them

    async def main():
        async with cluster(tmp_path) as c:
            goes = c.start_worker("--name", "goes", "--nworkers", str(half))
            c.start_worker("--name", "stays", "--nworkers", str(half))
            addresses = await c.workers(2 * half)
            gone = [a for name, a in addresses.items() if name.startswith("goes")]
            futures = [f for some in await asyncio.gather(*map(c.sow, gone)) for f in some]
            before = await c.client.gather(futures)
            group_told(goes)
            await c.ended(goes)
            assert all(name.startswith("stays") for name in await c.workers(half))
            assert await c.client.gather(futures) == before
            await c.assert_nothing_lost(*gone)

    asyncio.run(main())


@pytest.mark.parametrize("scheduler", ["ends too", "stays", "is dead"])
def test_nobody_waits_when_all_end(tmp_path, scheduler):
    async def main():
        async with cluster(tmp_path) as c:
            pods = [c.start_worker("--name", "a", "--no-nanny")]
            pods += [c.start_worker("--name", "b", "--nworkers", "2")]
            held = {a: await c.sow(a) for a in (await c.workers(3)).values()}
            await c.assert_held(held)
            if scheduler != "stays":
                await c.client.close()
                c.scheduler.send_signal(
                    signal.SIGTERM if scheduler == "ends too" else signal.SIGKILL
                )
            for pod in pods:
                group_told(pod)
            await c.ended(*pods)
            if scheduler == "stays":
                assert await c.workers(0) == {}
                assert {e.get("expected", True) for e in await c.removals()} == {True}
                # Nobody was left to take them, and nobody says otherwise.
                await until(lambda: "finished" not in states(held), "the loss of all keys")

    asyncio.run(main())


def test_one_whose_keys_never_arrive_gives_up_before_it_is_killed(tmp_path):
    async def main():
        async with cluster(tmp_path) as c:
            stays = c.start_worker("--name", "stays", "--no-nanny")
            short = c.start_worker("--name", "short", "--no-nanny", WORKER_GRACE_PERIOD_S="15")
            long = c.start_worker("--name", "long", "--no-nanny")
            addresses = await c.workers(3)
            held = {a: await c.sow(a) for n, a in addresses.items() if n != "stays"}
            await c.assert_held(held)
            stays.send_signal(signal.SIGSTOP)
            told(short)
            told(long)
            await asyncio.sleep(3)
            assert (short.poll(), long.poll()) == (None, None)
            await c.assert_held(held)  # by those that asked for a place for them, and got none
            await c.ended(short)
            assert long.poll() is None
            await c.assert_held({addresses["long"]: held[addresses["long"]]})
            told(long)  # a second time
            await c.ended(long)

    asyncio.run(main())


def test_a_retired_worker_ends_at_once(tmp_path):
    async def main():
        async with cluster(tmp_path) as c:
            pod = c.start_worker("--name", "only")
            (address,) = (await c.workers(1)).values()
            await c.client.run_on_scheduler(remove, address)
            told(pod)
            await c.ended(pod)

    asyncio.run(main())


def test_processes_that_tasks_fork_end_as_ever(tmp_path):
    async def main():
        async with cluster(tmp_path) as c:
            c.start_worker()
            assert await c.client.submit(terminated_child) == -signal.SIGTERM

    asyncio.run(main())


BROKEN = {
    "not python": "def (",
    "raises": "raise ValueError('no')",
    "no setup": "class Plugin(WorkerPlugin, NannyPlugin):\n def setup(self, **kw): raise OSError",
}


@pytest.mark.parametrize("why", [*BROKEN, "unknown to the scheduler", "absent"])
def test_a_worker_starts_and_ends_without_it(tmp_path, why):
    """The group is told: nothing of ours may keep a worker's process from ending."""
    source = control_source()
    if why in BROKEN:
        source += f"HANDOVER = {BROKEN[why]!r}\n"
    elif why == "absent":
        source += "HANDOVER = ''\n"
    else:  # as with a scheduler that was replaced by an older one
        source += "Control.leave = None\nsetup = serve\n"
        source += "def serve(s): setup(s); del s.handlers['control_leave']\n"

    async def main():
        async with cluster(tmp_path, source) as c:
            pod = c.start_worker()
            await c.workers(1)
            assert await c.client.submit(sum, [1, 2]) == 3
            group_told(pod)
            await c.ended(pod)

    asyncio.run(main())


def test_a_nanny_that_stays_is_let_off_only_where_that_is_known(tmp_path, capsys):
    """One that is stopped misses the end of its worker, too."""

    async def main():
        async with cluster(tmp_path) as c:
            pod = c.start_worker()
            await c.workers(1)
            (worker,) = workers_of(pod)
            pod.send_signal(signal.SIGSTOP)
            worker.kill()
            await until(lambda: workers_of(pod) == [])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(c.ended(pod, version=CURRENT, patience=0.5), 3)
            assert pod.poll() is None
            await c.ended(pod, version="2023.3.2", patience=0.5)

    asyncio.run(main())
    assert flaws_seen(capsys.readouterr().out) == {("2023.3.2", NANNY_STAYS)}


# ---- the scheduler's side, in this process


@contextlib.asynccontextmanager
async def three_workers(monkeypatch):
    monkeypatch.setattr(control, "HANDOVER", "pass")  # no signal handler in this process
    monkeypatch.setenv(PORT_ENV, str(free_port()))
    async with contextlib.AsyncExitStack() as stack:
        s = await stack.enter_async_context(
            Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0")
        )
        made = []
        setup = control.Control.__init__
        monkeypatch.setattr(
            control.Control, "__init__", lambda self, s: (made.append(self), setup(self, s))[1]
        )
        control.serve(s)
        stack.callback(health.SERVERS.pop().stop)
        workers = [
            await stack.enter_async_context(Worker(s.address, nthreads=1, name=f"w{i}"))
            for i in range(3)
        ]
        yield s, made[0], workers


def test_one_that_is_told_to_end_is_not_put_back_to_work(monkeypatch):
    async def main():
        async with three_workers(monkeypatch) as (s, api, (a, _, _)):
            monkeypatch.setattr(api, "is_finished", lambda *_: False)
            call = asyncio.ensure_future(a.scheduler.control_leave(who=a.id))
            await until(lambda: a.id in api.leaving)
            api.retire([a.id], interrupt=False, discard=False)
            assert api.leaving[a.id].interrupt
            assert api.undrain([a.id]) == {a.id: {"state": "closing_gracefully"}}
            assert s.workers[a.address] not in s.running
            assert not call.done()
            monkeypatch.undo()
            assert await call is True
            assert a.address not in s.workers

    asyncio.run(main())


def test_keys_are_suggested_once_for_all_that_leave(monkeypatch):
    """Never to another that leaves, though each asks for itself."""
    suggestions = []
    run = control.MoveKeys.run

    def spy(policy):
        moves = run(policy)
        with contextlib.suppress(StopIteration):
            suggestion = next(moves)
            while True:
                to = yield suggestion
                if suggestion[0] == "replicate" and to is not None:
                    suggestions.append((suggestion[1].key, to.address))
                suggestion = moves.send(to)

    async def main():
        async with three_workers(monkeypatch) as (s, _, (a, b, c)):
            monkeypatch.setattr(control.MoveKeys, "run", spy)
            for w in (a, b):
                keys = {f"{w.name}-{n}": n for n in range(50)}
                w.update_data(data=keys)
                s.update_data(who_has={k: [w.address] for k in keys}, nbytes=dict.fromkeys(keys, 8))
            asked = [w.scheduler.control_leave(who=w.id) for w in (a, b)]
            assert await asyncio.gather(*asked) == [True, True]
            assert {to for _, to in suggestions} == {c.address}
            assert len(suggestions) == 100
            assert len(c.data) == 100

    asyncio.run(main())


def test_the_nannys_address_stands_for_its_worker(monkeypatch):
    async def main():
        async with three_workers(monkeypatch) as (s, _, (a, b, c)):
            s.workers[b.address].nanny = "tcp://127.0.0.1:7"
            assert await a.scheduler.control_leave(who="tcp://127.0.0.1:7") is True
            assert set(s.workers) == {a.address, c.address}
            assert await a.scheduler.control_leave(who="tcp://127.0.0.1:7") is True

    asyncio.run(main())
