"""``logs``: interleaved, prefixed, each line once whatever happens to connections and containers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dask_gitops.cli import logs, shell
from dask_gitops.cli.logs import Follower, Wish
from dask_gitops.cli.once import Once, Stamp, split
from dask_gitops.cli.options import Where
from dask_gitops.kube import DASKCLUSTERS, PODS, ApiError, ApiUnreachable

from tests.support.memory_api import EPOCH
from tests.support.virtual_time import run
from tests.unit.cli.conftest import JSON, Client, Typed

Printed = list[tuple[float, str]]


class Kubelet(Client):
    """Serves logs as a kubelet does: from whole seconds on, of the present container and the one before."""

    def __init__(self, typed: Typed) -> None:
        super().__init__(typed.api, "us")
        self.typed = typed
        self.printed: dict[str, list[Printed]] = {}
        self.cuts: dict[str, int] = {}
        self.refusals: dict[str, ApiError] = {}
        self.news = asyncio.Condition()
        self.chance = random.Random(0)

    # ---- the world

    def pod(self, name: str, group: str = "", **status: Any) -> None:
        marks = {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"}
        if group:
            component = {"dask.org/component": "worker"}
            marks |= component | {"dask.org/workergroup-name": f"demo-{group}"}
        containers = [{"name": "main"}]
        state = {"phase": "Running", "containerStatuses": [{"name": "main"}], **status}
        self.typed.put(
            PODS, name, spec={"containers": containers}, status=state, metadata={"labels": marks}
        )
        self.printed[name] = [[]]

    async def print(self, name: str, text: str, at: float | None = None) -> None:
        now = asyncio.get_running_loop().time() if at is None else at
        self.printed[name][-1].append((now, text))
        async with self.news:
            self.news.notify_all()

    async def cut(self, name: str) -> None:
        """Its connection breaks."""
        self.cuts[name] = self.cuts.get(name, 0) + 1
        async with self.news:
            self.news.notify_all()

    async def restart(self, name: str, told_after_s: float) -> None:
        """Another container takes over; its status tells of it later."""
        self.printed[name].append([])
        async with self.news:
            self.news.notify_all()
        await asyncio.sleep(told_after_s)
        status = {"name": "main", "restartCount": len(self.printed[name]) - 1}
        patch = {"status": {"containerStatuses": [status]}}
        self.typed.api.edit(PODS, "team-b", name, patch)

    # ---- as the client asks for it

    def _of(self, printed: Printed, since: str | None, tail: int | None = None) -> list[str]:
        second = datetime.fromisoformat(since.replace("Z", "+00:00")) if since else None
        found = [
            f"{stamp(at)} {text}" for at, text in printed if second is None or time_of(at) >= second
        ]
        return found if tail is None else found[len(found) - tail :]

    async def logs(self, namespace: str, name: str, **options: Any) -> str:
        assert (namespace, options["container"], options["timestamps"]) == ("team-b", "main", True)
        if name in self.refusals:
            raise self.refusals[name]
        printed = self.printed[name]
        if options.get("previous") and len(printed) < 2:
            raise ApiError(400, "BadRequest", 'previous terminated container "main" not found')
        part = printed[-2 if options.get("previous") else -1]
        lines = self._of(part, options.get("since_time"), options.get("tail"))
        return "".join(f"{line}\n" for line in lines)

    async def follow_logs(
        self, namespace: str, name: str, **options: Any
    ) -> AsyncGenerator[str, None]:
        if name in self.refusals:
            raise self.refusals[name]
        cuts, container = self.cuts.get(name, 0), len(self.printed[name]) - 1
        printed = self.printed[name][container]
        for line in self._of(printed, options["since_time"], options["tail"]):
            yield line
        given = len(printed)
        while True:
            while given < len(printed):
                given += 1
                yield self._of(printed[given - 1 : given], None)[0]
            if self.cuts.get(name, 0) > cuts:
                raise ApiUnreachable("get pods: ServerDisconnectedError", sent=True)
            if len(self.printed[name]) > container + 1:
                return
            async with self.news:
                await self.news.wait()
                # What was printed just before a cut does not arrive.
                if self.cuts.get(name, 0) > cuts:
                    raise ApiUnreachable("get pods: ServerDisconnectedError", sent=True)


def time_of(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    return time_of(seconds).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@pytest.fixture
def kubelet(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Kubelet:
    found = Kubelet(typed)
    monkeypatch.setattr(shell, "connect", lambda credentials: found)
    ready = {"type": "Ready", "status": "False", "message": "suspended"}
    typed.put(DASKCLUSTERS, "demo", status={"conditions": [ready]})
    for group in ("default", "gpu", "none"):
        typed.group("demo", group, 1, 1)
    return found


def world(kubelet: Kubelet) -> None:
    kubelet.pod("demo-scheduler")
    kubelet.pod("w1", "default")
    kubelet.pod("w2", "gpu")
    kubelet.printed["demo-scheduler"] = [[(0.5, "old")], [(1.0, "a"), (3.0, "c [x]")]]
    kubelet.printed["w1"] = [[(2.0, "b"), (2.0, "")]]
    kubelet.refusals["w2"] = ApiError(400, "BadRequest", 'container "main" is waiting to start')


def test_lines_in_the_order_of_time_each_with_its_pod(kubelet: Kubelet) -> None:
    world(kubelet)
    result = kubelet.typed("logs", "demo")
    assert result.exit_code == 0
    assert result.stdout == "demo-scheduler | a\nw1 | b\nw1 | \ndemo-scheduler | c [x]\n"
    assert result.stderr == 'w2: no log: container "main" is waiting to start\n'
    assert kubelet.typed.document("logs", "demo") == {
        "namespace": "team-b",
        "name": "demo",
        "lines": [
            {"time": "2030-01-01T00:00:01.000000000Z", "pod": "demo-scheduler", "line": "a"},
            {"time": "2030-01-01T00:00:02.000000000Z", "pod": "w1", "line": "b"},
            {"time": "2030-01-01T00:00:02.000000000Z", "pod": "w1", "line": ""},
            {"time": "2030-01-01T00:00:03.000000000Z", "pod": "demo-scheduler", "line": "c [x]"},
        ],
        "without": [{"pod": "w2", "reason": 'no log: container "main" is waiting to start'}],
    }


@pytest.mark.parametrize(
    ("words", "pods"),
    [
        (["--scheduler"], {"demo-scheduler"}),
        (["--worker", "w1"], {"w1"}),
        (["-g", "default"], {"w1"}),
        (["-g", "gpu", "--worker", "w1"], {"w1", "w2"}),
        (["--scheduler", "-g", "default"], {"demo-scheduler", "w1"}),
    ],
)
def test_whose(kubelet: Kubelet, words: list[str], pods: set[str]) -> None:
    world(kubelet)
    found = kubelet.typed.document("logs", "demo", *words)
    assert {each["pod"] for each in [*found["lines"], *found["without"]]} == pods


def test_before_and_last(kubelet: Kubelet) -> None:
    world(kubelet)
    result = kubelet.typed("logs", "demo", "--previous", "--scheduler", "--worker", "w1")
    assert result.stdout == "demo-scheduler | old\n"
    assert result.stderr == 'w1: no log: previous terminated container "main" not found\n'
    last = kubelet.typed.done("logs", "demo", "--tail", "1", "--scheduler")
    assert last == "demo-scheduler | c [x]\n"
    kubelet.printed["w1"] = [[]]
    result = kubelet.typed("logs", "demo", "--worker", "w1")
    assert (result.stdout, result.stderr) == ("", "w1: it has printed nothing\n")


def test_what_there_is_not(kubelet: Kubelet) -> None:
    typed = kubelet.typed
    result = typed("logs", "demo", "--group", "none")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "cluster team-b/demo has no Pods of none now: suspended\n"
    world(kubelet)
    assert typed.refused(1, "logs", "demo", "-g", "x") == (
        "error: cluster demo has no worker group 'x'; it has: default, gpu, none"
    )
    assert typed.refused(1, "logs", "demo", "--worker", "x", "-f") == (
        "error: cluster demo has no worker 'x'; it has: w1, w2"
    )
    assert typed.refused(1, "logs", "x").startswith("error: no DaskCluster 'x' in 'team-b'")
    assert "--follow goes with --output text" in typed.refused(2, "logs", "x", "-f", "-o", "json")
    assert "what has ended prints no more" in typed.refused(2, "logs", "x", "-f", "-p")
    message = 'pods "w1" is forbidden: User "bob" cannot get resource "pods/log" in API group "" in the namespace "team-b"'
    kubelet.refusals["w1"] = ApiError(403, "Forbidden", message)
    words = (
        "error: user 'bob' may not get pods/log in namespace 'team-b'; ask for the role 'edit' "
        "there, or use --namespace"
    )
    for more in ([], ["-f"]):
        result = typed("logs", "demo", *more)
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, words)


def following(kubelet: Kubelet, story: Any, wish: Wish | None = None) -> tuple[JSON, list[str]]:
    """What was told of each Pod, and what else was said."""
    said: dict[str, list[str]] = {}
    notes: list[str] = []

    async def main() -> None:
        async with shell.session("demo", Where()) as session:
            await session.find()
            follower = Follower(
                session,
                wish or Wish(),
                lambda pod, line: said.setdefault(pod, []).append(line),
                lambda pod, why: notes.append(f"{pod}: {why}"),
            )
            task = asyncio.ensure_future(follower.run())
            await story()
            await asyncio.sleep(40)
            if not session.is_deleted:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    return said, notes


@pytest.mark.parametrize("seed", range(12))
def test_no_line_is_lost_or_doubled(kubelet: Kubelet, seed: int) -> None:
    """Connections break and containers are started anew at any moment; lines may say the same at the same time."""
    chance = random.Random(seed)
    wanted: dict[str, list[str]] = {"demo-scheduler": [], "w1": []}
    beside: list[asyncio.Task[None]] = []

    async def story() -> None:
        # A kubelet keeps one log of a container that has ended.
        last = dict.fromkeys(wanted, asyncio.get_running_loop().time())
        for number in range(150):
            for name in wanted:
                if chance.random() < 0.7:
                    text = f"{number} of {name}" if chance.random() < 0.8 else "the same"
                    for _ in range(chance.choice((1, 1, 2))):
                        await kubelet.print(name, text)
                        wanted[name].append(text)
                if chance.random() < 0.15:
                    await kubelet.cut(name)
                now = asyncio.get_running_loop().time()
                if chance.random() < 0.1 and now - last[name] > 12:
                    last[name] = now
                    again = kubelet.restart(name, chance.choice((0.0, 0.4, 2.0)))
                    beside.append(asyncio.ensure_future(again))
                    await asyncio.sleep(0.1)  # no two containers print at the same nanosecond
            await asyncio.sleep(chance.choice((0.0, 0.05, 0.3, 3.0)))
        await asyncio.gather(*beside)
        assert len(beside) > 3

    world(kubelet)
    kubelet.printed = {"demo-scheduler": [[]], "w1": [[]], "w2": [[]]}
    said, _ = following(kubelet, story)
    for name, lines in wanted.items():
        told, printed = Counter(said[name]), Counter(lines)
        assert (printed - told, told - printed) == (Counter(), Counter()), name


def test_pods_that_come_later_and_why_one_has_none(kubelet: Kubelet) -> None:
    kubelet.pod("demo-scheduler")

    async def story() -> None:
        await kubelet.print("demo-scheduler", "a")
        await asyncio.sleep(5)
        waiting = ApiError(400, "BadRequest", "ContainerCreating")
        kubelet.refusals["w9"] = waiting
        kubelet.pod("w9", "gpu")
        await asyncio.sleep(20)
        del kubelet.refusals["w9"]
        await kubelet.print("w9", "b")

    said, notes = following(kubelet, story)
    assert said == {"demo-scheduler": ["a"], "w9": ["b"]}
    assert notes == ["w9: no log: ContainerCreating"]


def test_it_ends_with_the_cluster(kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch) -> None:
    world(kubelet)
    kubelet.refusals.clear()

    async def deleted(self: Any) -> None:
        await asyncio.sleep(3)
        kubelet.typed.api.remove(DASKCLUSTERS, "team-b", "demo")
        await followed(self)

    followed = Follower.run
    monkeypatch.setattr(logs.Follower, "run", deleted)
    result = kubelet.typed("logs", "demo", "-f")
    assert (result.exit_code, result.stderr) == (0, "DaskCluster team-b/demo was deleted\n")


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("2030-01-01T00:00:00Z x", (Stamp(1893456000, 0), "x")),
        ("2030-01-01T00:00:00.5Z  x", (Stamp(1893456000, 500_000_000), " x")),
        ("2030-01-01T02:00:00.000000001+02:00 ", (Stamp(1893456000, 1), "")),
        ("2030-01-01T00:00:00Z", (Stamp(1893456000, 0), "")),
        ("the rest of a long line", (Stamp(7, 0), "the rest of a long line")),
        ("2030-99-01 x", (Stamp(7, 0), "2030-99-01 x")),
    ],
)
def test_the_time_of_a_line(raw: str, found: Any) -> None:
    assert split(raw, Stamp(7, 0)) == found


def test_what_is_remembered_is_bounded() -> None:
    once = Once()
    reading = once.reading()
    for second in range(5000):
        assert reading.new(f"{stamp(second)} x") is not None
    assert len(once._told._of) <= 62
    assert len(reading._counts._of) <= 62
