"""``list`` and ``status``: which clusters there are, and how they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from dask_gitops.client import refusals
from dask_gitops.client.access import Access
from dask_gitops.client.live import is_final
from dask_gitops.kube import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS, Informer, KubeClient
from dask_gitops.text import printable

from . import overview, screen, shell
from .options import Where, complain
from .overview import JSON, Row

KINDS = (DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS)
#: Ages are drawn anew so often, where nothing else changes.
AGAIN_S = 5.0
#: So long a server may have trouble before a watch gives up that has shown nothing yet.
OPEN_S = 30.0


def clusters(where: Where, everywhere: bool, output: str) -> None:
    """``list``."""
    there = shell.reached(where)
    namespace = None if everywhere else shell.namespace_of(where, there)
    found = shell.run(there.told(_once(there, namespace)))
    _print(found, namespace, output, overview.LIST, overview.listed)


def status(name: str | None, where: Where, everywhere: bool, watch: bool, output: str) -> None:
    """``status``.

    :param name: of the one cluster that is wanted.
    """
    if name is not None:
        everywhere = everywhere and "/" not in name
        name, where = shell.split(name, where)
    there = shell.reached(where)
    namespace = None if everywhere else shell.namespace_of(where, there)
    if watch:
        shell.run(there.told(_watch(there, namespace, name)))
        return
    found = _chosen(shell.run(there.told(_once(there, namespace))), namespace, name)
    _print(found, namespace, output, overview.STATUS, overview.told)


def _chosen(found: list[Row], namespace: str | None, name: str | None) -> list[Row]:
    """:raises ClusterNotFoundError: there is none of that name."""
    if name is None:
        return found
    chosen = [row for row in found if row.cluster.name == name]
    if not chosen:
        there = [row.cluster.name for row in found]
        raise refusals.no_cluster(name, namespace or "all namespaces", there)
    return chosen


async def _once(there: Access, namespace: str | None) -> list[Row]:
    async with shell.client(there) as api:
        pages = await asyncio.gather(*(api.list(kind, namespace) for kind in KINDS))
    return overview.rows(*(page.items for page in pages))


def _print(
    found: list[Row],
    namespace: str | None,
    output: str,
    head: Sequence[str],
    cells: Callable[[list[Row], float, bool], list[list[screen.Cell]]],
) -> None:
    if output == "json":
        screen.document(overview.document(found))
    elif not found:
        complain(f"no clusters in {_place(namespace)}")
    else:
        screen.table(_head(head, namespace), cells(found, time.time(), namespace is None))


def _place(namespace: str | None) -> str:
    return "any namespace" if namespace is None else f"namespace {namespace}"


def _head(head: Sequence[str], namespace: str | None) -> list[str]:
    return [*(["NAMESPACE"] if namespace is None else []), *head]


# ---- watching


async def _watch(there: Access, namespace: str | None, name: str | None) -> None:
    """Until Ctrl-C.

    :raises ClusterNotFoundError: there is none of that name from the beginning.
    """
    async with shell.client(there) as api:
        seen = _Seen(api, namespace)
        try:
            await seen.open()
            _chosen(seen.rows, namespace, name)
            show = _Drawn(namespace) if screen.is_terminal() else _Lines(namespace)
            with show:
                while True:
                    rows = [row for row in seen.rows if name in (None, row.cluster.name)]
                    show(rows, seen.trouble)
                    await seen.change(AGAIN_S)
        finally:
            await seen.close()


class _Seen:
    """All clusters, groups and autoscalers of a namespace, or of all."""

    def __init__(self, api: KubeClient, namespace: str | None) -> None:
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._informers: list[Informer[JSON]] = [
            Informer(
                api,
                kind,
                lambda raw: raw,
                namespace=namespace,
                on_change=lambda old, new: self._changed.set(),
                on_error=lambda error: self._changed.set(),
            )
            for kind in KINDS
        ]

    async def open(self) -> None:
        """:raises KubeError: the server said no, or nobody answered."""
        self._tasks = [asyncio.create_task(informer.run()) for informer in self._informers]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + OPEN_S
        while not all(informer.synced.is_set() for informer in self._informers):
            error = self._error
            if error is not None and (is_final(error) or loop.time() >= deadline):
                raise error
            await self.change(0.1)

    @property
    def rows(self) -> list[Row]:
        return overview.rows(*(informer.all() for informer in self._informers))

    @property
    def _error(self) -> Exception | None:
        return next((each.trouble for each in self._informers if each.trouble is not None), None)

    @property
    def trouble(self) -> str:
        """Why what is shown may be old; "": it is not."""
        return "" if self._error is None else printable(str(self._error), overview.WORDS)

    async def change(self, timeout_s: float) -> None:
        """Wait until something changed, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
        await asyncio.sleep(0)  # what comes together is shown together

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Drawn:
    """A table that is drawn anew in its place."""

    def __init__(self, namespace: str | None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._namespace = namespace
        self._live = Live(console=Console(highlight=False), auto_refresh=False)

    def __enter__(self) -> _Drawn:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __call__(self, rows: list[Row], trouble: str) -> None:
        from rich.console import Group
        from rich.text import Text

        cells = overview.told(rows, time.time(), self._namespace is None)
        table = screen.drawn(_head(overview.STATUS, self._namespace), cells)
        last = Text(f"this may be old: {trouble}" if trouble else "", style="red")
        shown = table if rows else Text(f"no clusters in {_place(self._namespace)}")
        self._live.update(Group(shown, last), refresh=True)


class _Lines:
    """Where nobody can draw: each line that is new, or says something else than before."""

    def __init__(self, namespace: str | None) -> None:
        self._namespace = namespace
        self._before: dict[tuple[str, str], str] = {}
        self._trouble = ""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, rows: list[Row], trouble: str) -> None:
        if trouble and trouble != self._trouble:
            complain(f"this may be old: {trouble}")
        self._trouble = trouble
        now = {(row.cluster.namespace, row.cluster.name): self._line(row) for row in rows}
        for key, line in now.items():
            if self._before.get(key) != line:
                screen.say(line)
        for namespace, name in self._before.keys() - now.keys():
            screen.say(f"{namespace}/{name}: deleted")
        self._before = now

    @staticmethod
    def _line(row: Row) -> str:
        workers = "?" if row.wanted is None else row.wanted
        state = printable(row.cluster.state, overview.WORDS)
        return f"{row.cluster.namespace}/{row.cluster.name}: {row.ready}/{workers} workers, {state}"
