"""``logs``: what a cluster's Pods have printed, line by line, and go on to print."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from dask_gitops.client import actions, refusals
from dask_gitops.client.errors import ClusterNotFoundError
from dask_gitops.client.session import Session
from dask_gitops.kube import ApiError, ApiUnreachable
from dask_gitops.resources import labels
from dask_gitops.status import listed, timestamp
from dask_gitops.text import printable

from . import screen, shell
from .once import NEVER, Gap, Once, Reading, Stamp, split
from .options import Where, complain
from .overview import JSON, WORDS

#: So many logs are read at once, where they are only read.
AT_ONCE = 16
#: Between two attempts to follow the same log.
FIRST_WAIT_S, LAST_WAIT_S = 0.5, 5.0
#: After so long a Pod's status tells of a container that was started anew.
STATUS_S = 15.0
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")
Say = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose logs: of nothing named, of all.

    :ivar scheduler: of the scheduler.
    :ivar workers: names of workers' Pods.
    :ivar groups: of all workers of these.
    :ivar tail: so many of the last lines of each; None: all.
    """

    scheduler: bool = False
    workers: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    previous: bool = False
    tail: int | None = None

    def takes(self, cluster: str, pod: JSON) -> bool:
        """Is this one of the cluster's Pods wanted?"""
        marks = pod["metadata"].get("labels") or {}
        component = marks.get(labels.COMPONENT)
        if component not in (labels.SCHEDULER, labels.WORKER):
            return False
        if not (self.scheduler or self.workers or self.groups):
            return True
        if component == labels.SCHEDULER:
            return self.scheduler
        groups = {actions.group_name(cluster, group) for group in self.groups}
        return pod["metadata"]["name"] in self.workers or marks.get(labels.GROUP) in groups


def logs(name: str, wish: Wish, follow: bool, where: Where, output: str) -> None:
    if follow:
        shell.run(_follow(name, wish, where))
        return
    found = shell.run(_read(name, wish, where))
    if output == "json":
        screen.document(found)
        return
    for line in found["lines"]:
        print_line(line["pod"], line["line"])
    for pod in found["without"]:
        complain(f"{pod['pod']}: {pod['reason']}")


def print_line(pod: str, text: str) -> None:
    """On a terminal nothing but text: what a container prints moves no cursor."""
    if screen.is_terminal():
        colour = COLOURS[sum(pod.encode()) % len(COLOURS)]
        text = "".join(c if c.isprintable() or c == "\t" else " " for c in text)
        pod = click.style(pod, fg=colour)
    screen.say(f"{pod} | {text}")


async def _check(session: Session, wish: Wish) -> None:
    """Is there what was named?

    :raises WorkerGroupNotFoundError, ClusterNotFoundError: no.
    """
    if wish.groups:
        there = await session.access.told(actions.groups(session))
        for group in wish.groups:
            if group not in there:
                raise refusals.no_group(session.name, group, there)
    known = sorted(pod["metadata"]["name"] for pod in session.live.workers)
    for worker in wish.workers:
        if worker not in known:
            raise ClusterNotFoundError(
                f"cluster {session.name} has no worker {worker!r}; it has: {listed(known) or 'none'}"
            )


def _pods(session: Session, wish: Wish) -> list[JSON]:
    return sorted(
        (pod for pod in session.live.pods if wish.takes(session.name, pod)),
        key=lambda pod: str(pod["metadata"]["name"]),
    )


# ---- once


async def _read(name: str, wish: Wish, where: Where) -> JSON:
    async with shell.session(name, where) as session:
        await session.find()
        await _check(session, wish)
        places = asyncio.Semaphore(AT_ONCE)
        pods = _pods(session, wish)

        async def one(pod: JSON) -> str:
            async with places:
                return await session.api.logs(
                    session.namespace,
                    pod["metadata"]["name"],
                    container=actions.container_of(pod),
                    previous=wish.previous,
                    tail=wish.tail,
                    timestamps=True,
                )

        texts = await asyncio.gather(*(one(pod) for pod in pods), return_exceptions=True)
        lines: list[tuple[Stamp, str, str]] = []
        without = []
        for pod, text in zip(pods, texts, strict=True):
            pod_name = pod["metadata"]["name"]
            if isinstance(text, str):
                lines += _lines(pod_name, text)
                reason = "" if text else "it has printed nothing"
            else:
                reason = _reason(session, text)
            if reason:
                without.append({"pod": pod_name, "reason": reason})
        if not pods:
            complain(_nobody(session, wish))
        lines.sort(key=lambda line: line[0])
        return {
            "namespace": session.namespace,
            "name": session.name,
            "lines": [
                {"time": _time(stamp), "pod": pod, "line": text} for stamp, pod, text in lines
            ],
            "without": without,
        }


def _lines(pod: str, text: str) -> Sequence[tuple[Stamp, str, str]]:
    found = []
    stamp = NEVER
    for raw in text.removesuffix("\n").split("\n") if text else ():
        stamp, said = split(raw, stamp)
        found.append((stamp, pod, said))
    return found


def _time(stamp: Stamp) -> str:
    return f"{timestamp(stamp.second).removesuffix('Z')}.{stamp.nano:09}Z"


def _reason(session: Session, error: BaseException) -> str:
    """Why a Pod has no log, in the server's words.

    :raises DaskGitopsError: nobody may read any, or nobody answers.
    """
    if not isinstance(error, ApiError) or error.status in (401, 403):
        raise session.access.refusal(error) if isinstance(error, Exception) else error
    return f"no log: {printable(error.message or str(error), WORDS)}"


def _nobody(session: Session, wish: Wish) -> str:
    groups = f" of {', '.join(wish.groups)}" if wish.groups else ""
    ready = ""
    for each in ((session.live.cluster or {}).get("status") or {}).get("conditions") or ():
        if each.get("type") == "Ready":
            ready = f": {printable(str(each.get('message') or ''), WORDS)}"
    return f"cluster {session.namespace}/{session.name} has no Pods{groups} now{ready}"


# ---- on and on


async def _follow(name: str, wish: Wish, where: Where) -> None:
    """Until Ctrl-C, or until the cluster is deleted."""
    async with shell.session(name, where) as session:
        await session.find()
        await _check(session, wish)
        if not _pods(session, wish):
            complain(_nobody(session, wish))
        follower = Follower(session, wish, print_line, lambda pod, why: complain(f"{pod}: {why}"))
        await follower.run()
        complain(str(session.deleted()))


class Follower:
    """Follows the logs of a cluster's Pods, also of those to come.

    :param say: is given a Pod's name and a line; each line that it printed since, once.
    :param note: is given a Pod's name, and why there is nothing now.
    """

    def __init__(self, session: Session, wish: Wish, say: Say, note: Say) -> None:
        self._session = session
        self._wish = wish
        self._say = say
        self._note = note
        self._pods: dict[str, tuple[_Pod, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """:raises DaskGitopsError: logs may not be read.
        :returns: once the cluster is deleted.
        """
        live = self._session.live
        try:
            while not self._session.is_deleted:
                for raw in _pods(self._session, self._wish):
                    uid = raw["metadata"]["uid"]
                    if uid not in self._pods:
                        pod = _Pod(self._session, raw, self._wish.tail, self._say, self._note)
                        self._pods[uid] = pod, asyncio.create_task(pod.run())
                    self._pods[uid][0].see(raw)
                for pod, task in self._pods.values():
                    for each in (task, *pod.tasks):
                        if each.done() and not each.cancelled() and (error := each.exception()):
                            raise error
                await live.change(1.0)
        finally:
            tasks = [each for pod, task in self._pods.values() for each in (task, *pod.tasks)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Pod:
    """One of them.

    :ivar tasks: what reads logs of containers that ended.
    """

    def __init__(self, session: Session, raw: JSON, tail: int | None, say: Say, note: Say) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self._session = session
        self._name = str(raw["metadata"]["name"])
        self._uid = raw["metadata"]["uid"]
        self._container = actions.container_of(raw)
        self._tail = tail
        self._say = say
        self._note = note
        self._once = Once()
        #: With how often its container had been started anew, and until when its end may be told.
        self._gaps: list[tuple[Gap, int, float]] = []
        self._restarts = _restarts(raw, self._container)
        self._said = ""

    def see(self, raw: JSON) -> None:
        """Has its container been started anew? Then the end of the one before may not have been read."""
        self._restarts = _restarts(raw, self._container)
        now = asyncio.get_running_loop().time()
        self._gaps = [each for each in self._gaps if now < each[2]]
        gap = next((gap for gap, restarts, _ in self._gaps if restarts < self._restarts), None)
        if gap is not None:  # the first reaches back farthest
            self._gaps = []
            self.tasks = [task for task in self.tasks if not task.done() or task.exception()]
            self.tasks.append(asyncio.create_task(self._ended(gap)))

    async def _ended(self, reading: Reading) -> None:
        """What the container before the present one has printed since then."""
        with contextlib.suppress(ApiUnreachable):
            try:
                text = await self._session.api.logs(
                    self._session.namespace,
                    self._name,
                    container=self._container,
                    previous=True,
                    tail=self._tail if reading.since is None else None,
                    since_time=_since(reading),
                    timestamps=True,
                )
            except ApiError as error:
                if error.status in (401, 403):
                    raise self._session.access.refusal(error) from error
                return  # it is not kept any more
            for raw in text.removesuffix("\n").split("\n") if text else ():
                self._tell(reading, raw)

    async def run(self) -> None:
        """Until the Pod is gone."""
        loop = asyncio.get_running_loop()
        wait_s = FIRST_WAIT_S
        restarts: int | None = None  # none was read before
        while self._is_there():
            reading, began = self._once.reading(), loop.time()
            if restarts is not None:
                self._gaps.append((self._once.gap(), restarts, began + STATUS_S))
            restarts = self._restarts
            try:
                async with contextlib.aclosing(
                    self._session.api.follow_logs(
                        self._session.namespace,
                        self._name,
                        container=self._container,
                        tail=self._tail if reading.since is None else None,
                        since_time=_since(reading),
                        timestamps=True,
                    )
                ) as lines:
                    async for raw in lines:
                        self._tell(reading, raw)
                        self._said = ""
                if self._has_ended():
                    return
            except ApiError as error:
                if error.status in (401, 403):
                    raise self._session.access.refusal(error) from error
                if self._is_there():
                    self._explain(f"no log: {error.message or error}")
            except ApiUnreachable as error:
                self._explain(f"the connection broke, its log is read again: {error}")
            is_long = loop.time() - began > LAST_WAIT_S
            wait_s = FIRST_WAIT_S if is_long else min(2 * wait_s, LAST_WAIT_S)
            await asyncio.sleep(wait_s)

    def _tell(self, reading: Reading, raw: str) -> None:
        new = reading.new(raw)
        if new is not None:
            self._say(self._name, new[1])

    def _explain(self, why: str) -> None:
        """Once, as long as nothing else is to be said."""
        why = printable(why, WORDS)
        if why != self._said:
            self._note(self._name, why)
        self._said = why

    def _raw(self) -> JSON | None:
        pods = self._session.live.pods
        return next((pod for pod in pods if pod["metadata"]["uid"] == self._uid), None)

    def _is_there(self) -> bool:
        return self._raw() is not None

    def _has_ended(self) -> bool:
        """No container of it will print any more."""
        phase = ((self._raw() or {}).get("status") or {}).get("phase")
        return phase in ("Succeeded", "Failed", None)


def _since(reading: Reading) -> str | None:
    return None if reading.since is None else timestamp(reading.since)


def _restarts(pod: JSON, container: str | None) -> int:
    statuses: list[Any] = (pod.get("status") or {}).get("containerStatuses") or []
    return max(
        (
            int(each.get("restartCount") or 0)
            for each in statuses
            if container in (None, each.get("name"))
        ),
        default=0,
    )
