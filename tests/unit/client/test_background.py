from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from dask_gitops.client.background import Background, background, forget


@pytest.fixture
def loop() -> Iterator[Background]:
    one = Background()
    yield one
    one.stop()


async def where() -> str:
    return threading.current_thread().name


def test_all_is_said_in_one_thread(loop: Background) -> None:
    assert loop.call(where()) == "dask-gitops"
    assert asyncio.run(loop.acall(where())) == "dask-gitops"
    assert loop.submit(where()).result(5) == "dask-gitops"

    async def inside() -> str:
        return await loop.acall(where())

    assert loop.call(inside()) == "dask-gitops"


def test_a_blocked_loop_of_the_user_stops_nothing(loop: Background) -> None:
    async def user() -> None:
        ticks = loop.submit(count())
        ticks.result(5)  # blocks the user's loop meanwhile

    async def count() -> None:
        for _ in range(10):
            await asyncio.sleep(0.01)

    asyncio.run(user())


def test_errors_and_timeouts(loop: Background) -> None:
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.call(fails())
    with pytest.raises(ValueError, match="no"):
        asyncio.run(loop.acall(fails()))
    cleaned: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append("yes")

    with pytest.raises(TimeoutError):
        loop.call(slow(), 0.05)
    assert cleaned == ["yes"]

    async def impatient() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(loop.acall(slow()), 0.05)
        for _ in range(100):
            if len(cleaned) == 2:
                return
            await asyncio.sleep(0.01)

    asyncio.run(impatient())
    assert cleaned == ["yes", "yes"]


def test_a_call_from_its_own_thread_is_refused(loop: Background) -> None:
    async def itself() -> None:
        loop.call(where())

    with pytest.raises(RuntimeError, match="in the thread it waits for"):
        loop.call(itself())


def test_one_for_the_process() -> None:
    first = background()
    assert background() is first
    assert forget() is first
    second = background()
    assert second is not first
    assert forget() is second
    for one in (first, second):
        one.stop()
    assert "dask-gitops" not in [thread.name for thread in threading.enumerate()]


def test_a_forked_child_has_its_own() -> None:
    program = """
import os, sys
from dask_gitops.client.background import background

async def pid():
    return os.getpid()

assert background().call(pid(), 10) == os.getpid()
child = os.fork()
if not child:
    sys.stdout.write("child" if background().call(pid(), 10) == os.getpid() else "wrong")
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert background().call(pid(), 10) == os.getpid()
print(" parent")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("child parent\n", 0), done.stderr


def test_control_c_cancels_and_lets_it_clean_up() -> None:
    program = """
import asyncio, signal
from dask_gitops.client.background import background

# As on a terminal: where tests are started in the background, nobody hears it.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def create():
    try:
        print("created", flush=True)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        print("deleted", flush=True)

try:
    background().call(create())
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "created\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "deleted\ninterrupted\n"
    assert process.returncode == 0


def test_it_keeps_no_interpreter_alive() -> None:
    program = """
import asyncio
from dask_gitops.client.background import background
background().submit(asyncio.sleep(600))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_call_that_is_interrupted_before_it_began_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C comes right after the work was handed over, before anybody waits for it."""
    it = Background()
    submit = it.submit

    async def work() -> None:
        await asyncio.sleep(600)

    def interrupted(some: Any) -> Any:
        submit(some)
        raise KeyboardInterrupt

    monkeypatch.setattr(it, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        it.call(work())
    monkeypatch.undo()
    assert it.call(_others()) == 0
    it.stop()


async def _others() -> int:
    return len(asyncio.all_tasks()) - 1
