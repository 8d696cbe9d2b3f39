"""``dashboard`` and ``port-forward``: a cluster's scheduler on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import webbrowser
from collections.abc import Callable

from dask_gitops.client import links
from dask_gitops.client.background import first_of
from dask_gitops.client.display import shown
from dask_gitops.client.session import Session

from . import screen, shell
from .options import Where, complain
from .overview import JSON

#: Between two attempts to reach a dashboard that does not answer yet.
AGAIN_S = 0.5
#: So long one of them may take: a forwarded port waits as long for its Pod.
PATIENCE_S = 60.0


def dashboard(name: str, port: int, opens: bool, where: Where, output: str) -> None:
    """Lead to the dashboard; open a browser where there is one."""

    def told(found: JSON) -> None:
        screen.say(str(found["dashboard"]))
        if opens and has_browser():
            webbrowser.open(found["dashboard"])

    _until_interrupted(name, port, where, output, told, always=False)


def port_forward(name: str, port: int, where: Where, output: str) -> None:
    """Forward ports to scheduler and dashboard, wherever we are."""

    def told(found: JSON) -> None:
        for what in ("scheduler", "dashboard", "jupyter"):
            if found[what] is not None:
                screen.say(f"{what:<10}{found[what]}")

    _until_interrupted(name, port, where, output, told, always=True)


def has_browser() -> bool:
    """One with a window, not one that takes the terminal."""
    if sys.platform != "linux":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _until_interrupted(
    name: str,
    port: int,
    where: Where,
    output: str,
    told: Callable[[JSON], None],
    *,
    always: bool,
) -> None:
    """:param always: forward also where another way leads there."""
    name, where = shell.split(name, where)
    is_there = False

    def tell(found: JSON) -> None:
        nonlocal is_there
        is_there = True
        (screen.document if output == "json" else told)(found)
        if screen.is_terminal():
            complain("Ctrl-C ends it")

    try:
        shell.run(_stay(name, port, where, output == "json", tell, always))
    except KeyboardInterrupt:
        if not is_there:  # else it is how it ends
            raise


async def _stay(
    name: str, port: int, where: Where, quiet: bool, tell: Callable[[JSON], None], always: bool
) -> None:
    """
    :raises ClusterNotFoundError: there is none of that name, or not any more.
    :raises NotAllowedError, SchedulerStartupError, ControllerSilentError, OSError: nothing leads there.
    """
    show = shown(quiet, name)
    try:
        async with shell.session(name, where, forward=always, port=port, show=show) as session:
            await session.start()
            await session.access.told(first_of(answers(session), session.failure()))
            await session.started()
            show.end("connected")
            tell(_found(session))
            while not session.is_deleted:
                if (error := session.way.refusal) is not None:
                    raise session.access.refusal(error)
                await session.live.change()
            raise session.deleted()
    finally:
        show.end("not connected", failed=True)  # unless it said another end before


def _found(session: Session) -> JSON:
    link = links.dashboard(*session.way.dashboard)
    return {
        "namespace": session.namespace,
        "name": session.name,
        "scheduler": session.way.address,
        "dashboard": link,
        "jupyter": links.jupyter(session.live.cluster or {}, link) or None,
    }


async def answers(session: Session) -> None:
    """Wait until something answers where the dashboard is to be."""
    while True:
        session.unreached = await _unreached(*session.way.dashboard)
        if not session.unreached:
            return
        await asyncio.sleep(AGAIN_S)


async def _unreached(host: str, port: int) -> str:
    """Why nothing answers there; "": something does."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                if await reader.read(1):
                    return ""
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        return str(error) or type(error).__name__
    return "it ends the connection"
