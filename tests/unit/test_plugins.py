"""Plugins by entry point: loaded, or said that they cannot be; they act where the leader acts."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import kopf
import pytest
from dask_gitops.main import build_shell, load_plugins

from tests.support.plugin import install

HANDLER = """
import kopf

@kopf.on.create("service", labels={"dask.org/component": "scheduler"})
async def seen(**_):
    pass
"""


@pytest.fixture
def registry() -> kopf.OperatorRegistry:
    """The registry that plugins find, new for each test."""
    before = kopf.get_default_registry()
    mine = kopf.OperatorRegistry()
    kopf.set_default_registry(mine)
    yield mine
    kopf.set_default_registry(before)


def test_none_is_there(registry: kopf.OperatorRegistry) -> None:
    assert load_plugins() == 0


def test_one_that_cannot_be_loaded_stops_nobody_else(
    registry: kopf.OperatorRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, "broken_plugin", "import no_such_module"))
    install(tmp_path, "good_plugin", HANDLER)
    with caplog.at_level(logging.INFO):
        assert load_plugins() == 1
    said = {(r.levelname, r.getMessage()) for r in caplog.records}
    assert said == {
        ("ERROR", "plugin broken_plugin (broken_plugin) cannot be loaded"),
        ("INFO", "plugin good_plugin loaded"),
    }
    assert "no_such_module" in caplog.text
    del sys.modules["good_plugin"]


class Process:
    """Stands for the controller: notes what the shell asks of it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.leading = asyncio.Event()

    async def start(self) -> None:
        self.done.append("start")

    async def leads(self) -> None:
        await self.leading.wait()
        self.done.append("leads")

    async def stop(self) -> None:
        self.done.append("stop")


def started(registry: kopf.OperatorRegistry) -> tuple[Process, Any]:
    """The controller and the shell's start handler, called as kopf calls it."""
    process = Process()
    build_shell(process)  # type: ignore[arg-type]
    (start,) = [h.fn for h in registry._activities.get_all_handlers() if h.fn.__name__ == "start"]
    return process, start(settings=kopf.OperatorSettings())


def test_without_plugins_a_standby_starts_at_once(registry: kopf.OperatorRegistry) -> None:
    async def scenario() -> list[str]:
        process, start = started(registry)
        await start
        return process.done

    assert asyncio.run(scenario()) == ["start"]


def test_plugins_start_with_the_leadership(
    registry: kopf.OperatorRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that kopf waits for the start to end, and watches nothing."""
    monkeypatch.syspath_prepend(install(tmp_path, "waiting_plugin", HANDLER))

    async def scenario() -> None:
        process, start = started(registry)
        task = asyncio.create_task(start)
        await asyncio.sleep(0.05)
        assert (process.done, task.done()) == (["start"], False)
        process.leading.set()
        await task
        assert process.done == ["start", "leads"]

    asyncio.run(scenario())


def test_a_standby_that_is_told_to_stop_stops_cleanly(
    registry: kopf.OperatorRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, "stopped_plugin", HANDLER))

    async def scenario() -> None:
        process, start = started(registry)
        task = asyncio.create_task(start)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert process.done == ["start", "stop"]

    asyncio.run(scenario())
