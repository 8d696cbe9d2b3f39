"""Schedulers run users' code. Whatever one answers, or does not, harms nobody but its own cluster."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, EVENTS, PODS
from dask_gitops.resources import labels
from dask_gitops.scheduler import client as client_module
from dask_gitops.scheduler import patience
from dask_gitops.scheduler.client import MAX_ANSWER, SchedulerClient, SchedulerUnavailable
from dask_gitops.scheduler.patience import Patience

from tests.support import virtual_time
from tests.support.harness import NS, Harness, play
from tests.support.memory_api import Kubelet, MemoryApi

JSON = dict[str, Any]
ROW: JSON = {
    "status": "running",
    "processing": 0,
    "running": 0,
    "long_running": 0,
    "keys": 1,
    "unique_keys": 1,
    "bytes": 1,
    "unique_bytes": 1,
    "actors": 0,
    "nthreads": 1,
    "resources": {},
    "last_seen_age": 0.1,
    "leaving": False,
    "refused": None,
}
STATE: JSON = {
    "id": "Scheduler-1",
    "version": "2026.8.0",
    "now": 1.0,
    "idle_since": None,
    "clients": 0,
    "tasks": {},
}


class Honest:
    """What good schedulers answer, by the pods of a `MemoryApi`."""

    def __init__(self, api: MemoryApi) -> None:
        self.api = api
        self.retired: set[str] = set()

    def answer(self, cluster: str, what: str, body: JSON) -> bytes:
        pods = {
            pod["metadata"]["uid"]: pod
            for pod in self.api._objects(PODS, None)
            if pod["metadata"]["labels"].get(labels.CLUSTER) == cluster
            and pod["metadata"]["labels"].get(labels.COMPONENT) == labels.WORKER
            and pod["status"].get("phase") == "Running"
            and pod["metadata"]["uid"] not in self.retired
        }
        if what == "state":
            rows = [
                {
                    **ROW,
                    "id": uid,
                    "address": f"tcp://{pod['status']['podIP']}:4000",
                    "host": pod["status"]["podIP"],
                    "name": pod["metadata"]["name"],
                }
                for uid, pod in pods.items()
            ]
            return json.dumps({**STATE, "workers": rows}).encode()
        self.retired |= set(body["ids"]) & pods.keys()
        states = {i: "retired" if i in self.retired else "gone" for i in body["ids"]}
        out = {i: {"state": state, "message": ""} for i, state in states.items()}
        return json.dumps({"workers": out}).encode()


# ---- any number of schedulers that never answer


class MuteAndHonest(SchedulerClient):
    """The client as it is, but for the wire: clusters called evil-... never answer."""

    def __init__(self, api: MemoryApi, **options: Any) -> None:
        super().__init__(None, **options)  # type: ignore[arg-type]
        self.honest = Honest(api)
        self.waiting: dict[str, int] = {}
        self.most = 0

    async def _raw(self, method: str, url: str, token: str, body: Any) -> bytes:
        ip, what = url.split("/")[2].rpartition(":")[0], url.rpartition("/")[2]
        pods = self.honest.api._objects(PODS, None)
        cluster = next(
            pod["metadata"]["labels"][labels.CLUSTER]
            for pod in pods
            if pod["status"].get("podIP") == ip
        )
        if cluster.startswith("evil"):
            self.waiting[cluster] = self.waiting.get(cluster, 0) + 1
            self.most = max(self.most, self.waiting[cluster])
            try:
                await asyncio.sleep(1e9)
            finally:
                self.waiting[cluster] -= 1
        return self.honest.answer(cluster, what, body)


class WithRealClient(Harness):
    def start(self) -> None:
        super().start()
        self.client = MuteAndHonest(self.api, aside=self.queue.aside)
        self.world.ask.schedulers = self.client


def seconds_to_create_and_scale(evil: int) -> tuple[float, WithRealClient]:
    """Virtual seconds that a good cluster takes beside so many whose schedulers never answer."""
    took = 0.0

    async def story(h: Harness) -> None:
        nonlocal took
        now = asyncio.get_running_loop().time
        for n in range(evil):
            h.cluster(f"evil-{n}", worker={"replicas": 2})
        h.start()
        await h.settle(quiet_s=20)
        for n in range(evil):
            h.edit(DASKWORKERGROUPS, f"evil-{n}-default", {"worker": {"replicas": 1}})
        await h.pass_time(40)  # all of them are being asked, again and again
        started = now()
        h.cluster("good", worker={"replicas": 4})

        async def become(count: int) -> None:
            while len(h.workers("good-default")) != count or not all(
                "retiring" not in str(pod["metadata"]["annotations"])
                and pod["status"]["phase"] == "Running"
                for pod in h.api.items(PODS, NS)
                if pod["metadata"]["labels"].get(labels.GROUP) == "good-default"
            ):
                assert now() - started < 300, "the good cluster waits for the evil ones"
                await h.pass_time(0.5)

        await become(4)
        h.edit(DASKWORKERGROUPS, "good-default", {"worker": {"replicas": 2}})
        await become(2)
        took = now() - started

    h = play(story, WithRealClient)
    assert isinstance(h, WithRealClient)
    assert took > 0
    return took, h


def test_two_hundred_mute_schedulers_delay_nobody_else() -> None:
    usual, _ = seconds_to_create_and_scale(0)
    beside, h = seconds_to_create_and_scale(200)
    assert beside <= usual + 3, f"{beside:.1f} s instead of {usual:.1f} s"
    assert not h.bugs
    assert h.client.most <= patience.AT_ONCE
    status, _, message = h.condition(DASKWORKERGROUPS, "evil-7-default", "ScaleDownHeld")
    assert status == "True"
    assert "the scheduler does not answer (timeout after 5 s)" in message
    assert len(h.workers("evil-7-default")) == 2  # held, not discarded


# ---- turns


def test_calls_to_one_scheduler_are_few_at_a_time() -> None:
    async def main() -> int:
        some, inside, most = Patience(), 0, 0

        async def call() -> None:
            nonlocal inside, most
            async with some.turn(("url", "token"), 0):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.1)
                inside -= 1

        await asyncio.gather(*(call() for _ in range(40)))
        return most

    assert virtual_time.run(main()) == patience.AT_ONCE


def test_a_scheduler_that_failed_is_left_alone_longer_and_longer() -> None:
    async def main() -> list[float]:
        some, now, calls = Patience(), asyncio.get_running_loop().time, []
        start = now()
        while now() < start + 60:
            with suppress(SchedulerUnavailable):
                async with some.turn(("url", "token"), 0):
                    calls.append(now() - start)
                    raise SchedulerUnavailable("is away")
            await asyncio.sleep(0.1)
        with pytest.raises(SchedulerUnavailable, match="is away"):
            async with some.turn(("url", "token"), 0):
                raise AssertionError("called")
        async with some.turn(("url", "another pod's token"), 0):
            pass
        return calls

    pauses = [b - a for a, b in itertools.pairwise(virtual_time.run(main()))]
    assert [round(p) for p in pauses[:5]] == [1, 2, 4, 8, 8]


def test_an_answer_that_costs_much_is_not_asked_for_again_at_once() -> None:
    async def main() -> float:
        some, now = Patience(), asyncio.get_running_loop().time
        start = now()
        for _ in range(3):
            async with some.turn(("url", "token"), 0) as turn:
                turn.size = MAX_ANSWER
        return now() - start

    assert virtual_time.run(main()) >= 2 * MAX_ANSWER / 2**20 * patience.PAUSE_S_PER_MIB


def test_slow_ones_wait_for_each_other_only() -> None:
    """Also when every answer is right: it holds memory and a connection for long."""

    async def main() -> float:
        some, now = Patience(), asyncio.get_running_loop().time

        async def slow(n: int) -> None:
            while True:
                async with some.turn((f"slow-{n}", ""), 0):
                    await asyncio.sleep(4.9)

        tasks = [asyncio.create_task(slow(n)) for n in range(500)]
        await asyncio.sleep(60)
        start = now()
        async with some.turn(("good", ""), 0):
            took = now() - start
        for task in tasks:
            task.cancel()
        return took

    assert virtual_time.run(main()) < 1


def test_schedulers_that_are_gone_are_forgotten() -> None:
    async def main() -> tuple[int, int]:
        some = Patience()
        for n in range(3000):
            async with some.turn((f"good-{n}", ""), 0):
                pass
        good = len(some._records)
        for n in range(3000):
            with suppress(SchedulerUnavailable):
                async with some.turn((f"bad-{n}", ""), 0):
                    raise SchedulerUnavailable("is away")
        return good, len(some._records)

    good, bad = virtual_time.run(main())
    assert good == 0
    assert bad <= patience.RECORDS


# ---- what decoding costs


BOMBS = {
    "lists": b"[" + b"[]," * (MAX_ANSWER // 3 - 2) + b"1]",
    "objects": b"[" + b'{"":1},' * (MAX_ANSWER // 7 - 2) + b"1]",
    "numbers": b"[" + b"9," * (MAX_ANSWER // 2 - 2) + b"1]",
    "nested lists": b"[" + (b"[" * 900 + b"]" * 900 + b",") * (MAX_ANSWER // 1801 - 1) + b"1]",
    "names": b"{" + b",".join(b'"%d":1' % n for n in range(180_000)) + b"}",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_an_answer_of_too_many_parts_is_not_even_decoded(kind: str) -> None:
    started = time.process_time()
    with pytest.raises(client_module._Invalid, match="too many parts"):
        client_module._decode(BOMBS[kind])
    assert time.process_time() - started < 1


def test_five_thousand_workers_are_read_in_pieces() -> None:
    """None of them keeps the event loop for long: others run in between."""
    rows = [
        {**ROW, "id": f"Worker-{n:036}", "address": "tcp://10.0.0.7:40123", "host": "10.0.0.7"}
        | {"name": f"demo-default-worker-{n:010}"}
        for n in range(5000)
    ]
    raw = json.dumps({**STATE, "workers": rows}).encode()
    assert len(raw) < MAX_ANSWER
    turns = 0

    async def main() -> int:
        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(others())
        state = await client_module._parse_state(client_module._decode(raw))
        task.cancel()
        return len(state.workers)

    assert asyncio.run(main()) == 5000
    assert turns >= 5000 // client_module.ROWS_AT_ONCE - 1


# ---- on the wire: every kind at once, beside a good cluster in the same process

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECRET_BAIT = "\x1b[2J\x1b]0;owned\x07\r\nSet-Cookie: a=b\u202eevil"


def says(
    body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()

    return talk


def state_with(**fields: Any) -> bytes:
    row = {**ROW, "id": "w", "address": "tcp://1.2.3.4:5", "host": "1.2.3.4", "name": "w"}
    return json.dumps({**STATE, "workers": [{**row, **fields}]}).encode()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def head_bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Y: z\r\n" * 1000)
        await writer.drain()


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


HOSTILE: dict[str, Talk] = {
    "endless": endless,
    "slow": slow,
    "slow-head": slow_head,
    "head-bomb": head_bomb,
    "mute": mute,
    "hang-up": hang_up,
    "redirect": says(b"", b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/control/v1/state\r\n"),
    "not-json": says(b"<html>\x00\xff"),
    "deep": says(b"[" * 10_000),
    "lists": says(BOMBS["lists"]),
    "huge-number": says(state_with(bytes=10**4000)),
    "huge-float": says(
        state_with(last_seen_age=1).replace(b'"last_seen_age": 1', b'"last_seen_age": 1e999')
    ),
    "nan": says(state_with(last_seen_age=float("nan"))),
    "wrong-type": says(state_with(keys="5")),
    "negative": says(state_with(processing=-1)),
    "million": says(b'{"workers":[' + b"{}," * 700_000 + b"{}]}"),
    "escape-name": says(state_with(name=SECRET_BAIT)),
    "long-name": says(state_with(name="n" * 100_000)),
    "stranger": says(state_with(name="x" * 1000)),
    "reason": says(b"", f"HTTP/1.1 500 {SECRET_BAIT.splitlines()[0]}\r\n".encode()),
    "pickle": says(b"\x80\x04\x95", b"HTTP/1.1 200 OK\r\nContent-Type: application/x-pickle\r\n"),
    "gzip": says(b"\x1f\x8b" + b"0" * 100, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"),
}


class LoopbackKubelet(Kubelet):
    """Pods have loopback addresses, so that a server of the test is every scheduler."""

    def run(self, namespace: str, name: str, *, ready: bool = True) -> None:
        if not self._pod(namespace, name)["status"].get("podIP"):
            number = next(self._ips)
            ip = f"127.77.{number // 250}.{number % 250 + 1}"
            self.api.edit(PODS, namespace, name, {"status": {"podIP": ip}})
        super().run(namespace, name, ready=ready)


class OnTheWire(Harness):
    """A controller in memory whose schedulers are real HTTP servers; real time."""

    def __init__(self) -> None:
        super().__init__()
        self.kubelet = LoopbackKubelet(self.api)
        self.honest = Honest(self.api)
        self.tokens: set[str] = set()
        self.connections = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._talk, "0.0.0.0", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
        ) as session:
            self.start()
            self.world.ask.schedulers = SchedulerClient(session, aside=self.queue.aside)
            nodes = asyncio.create_task(self._nodes())
            try:
                yield
            finally:
                nodes.cancel()
                self.kill()
                server.close()

    async def _nodes(self) -> None:
        while True:
            self.api.collect_garbage()
            self.kubelet.tick()
            await asyncio.sleep(0.1)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        address = writer.get_extra_info("sockname")[0]
        pods = self.api._objects(PODS, None)
        cluster = next(
            pod["metadata"]["labels"][labels.CLUSTER]
            for pod in pods
            if pod["status"].get("podIP") == address
        )
        fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
        body = await reader.readexactly(int(fields.get("Content-Length", 0)))
        if cluster in HOSTILE:
            await HOSTILE[cluster](reader, writer)
            return
        what = head.split()[1].rpartition("/")[2]
        await says(self.honest.answer(cluster, what, json.loads(body or b"{}")))(reader, writer)

    def declare(self, name: str, replicas: int) -> None:
        port = {"name": "SCHEDULER_CONTROL_PORT", "value": str(self.port)}
        containers = [{"name": "scheduler", "env": [port]}]
        scheduler = {"spec": {"containers": containers}}
        self.cluster(name, worker={"replicas": replicas}, scheduler=scheduler)

    async def until(self, what: str, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(90):
            while not true():
                await asyncio.sleep(0.05)


def test_every_kind_at_once_beside_a_good_cluster(caplog: pytest.LogCaptureFixture) -> None:
    h = OnTheWire()
    longest = 0.0

    async def main() -> None:
        nonlocal longest
        async with h.running():
            for name in HOSTILE:
                h.declare(name, 2)
            await h.until("all run", lambda: len(h.api.items(PODS, NS)) == 3 * len(HOSTILE))
            await h.until(
                "workers run",
                lambda: all(p["status"].get("phase") == "Running" for p in h.api.items(PODS, NS)),
            )
            await asyncio.sleep(1)
            for name in HOSTILE:
                h.edit(DASKWORKERGROUPS, f"{name}-default", {"worker": {"replicas": 1}})
            h.declare("good", 4)
            await h.until("four", lambda: len(h.workers("good-default")) == 4)
            await h.until("ready", lambda: h.condition(DASKCLUSTERS, "good", "Ready")[0] == "True")
            h.edit(DASKWORKERGROUPS, "good-default", {"worker": {"replicas": 2}})
            await h.until("two", lambda: len(h.workers("good-default")) == 2)

            def held(name: str) -> bool:
                return (
                    h.condition(DASKWORKERGROUPS, f"{name}-default", "ScaleDownHeld")[0] == "True"
                )

            await h.until("all held", lambda: all(held(n) for n in HOSTILE if n != "stranger"))
            tokens = [
                env["value"]
                for pod in h.api.items(PODS, NS)
                for container in pod["spec"]["containers"]
                for env in container.get("env", ())
                if env["name"] == "SCHEDULER_CONTROL_TOKEN"
            ]
            h.tokens.update(tokens)

    asyncio.run(main())
    assert not h.bugs
    assert len(h.tokens) == len(HOSTILE) + 1
    for name in HOSTILE:
        assert len(h.workers(f"{name}-default")) == 2, name  # held, none taken
    told = [
        text
        for res in (DASKCLUSTERS, DASKWORKERGROUPS)
        for obj in h.api.items(res)
        for c in obj["status"].get("conditions") or ()
        for text in (c["message"], c["reason"])
    ] + [event["message"] for event in h.api.items(EVENTS)]
    assert any("does not answer" in text for text in told)
    assert any("too many parts" in text for text in told)
    for text in told:
        assert text.isprintable()
        assert len(text) <= 1024
        assert "owned" not in text
    everything = "\n".join([*told, caplog.text])
    assert not any(token in everything for token in h.tokens)


def test_few_large_answers_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 schedulers answer with 1.6 MiB in the same moment: never more than the budget is looked through, and none is
    taken for slow because it waited for the others."""
    large = json.dumps({**STATE, "workers": [], "fill": "x" * 1_600_000}).encode()
    held = most = 0

    async def main() -> None:
        client = SchedulerClient(Any)  # type: ignore[arg-type]

        async def answer(*_: object) -> bytes:
            await asyncio.sleep(0.01)
            return large

        async def parse(decoded: Any) -> int:
            nonlocal held, most
            held += len(large)
            most = max(most, held)
            await asyncio.sleep(0.5)  # it gives others their turn while it looks through
            held -= len(large)
            return len(decoded["fill"])

        monkeypatch.setattr(client, "_answer", answer)
        calls = [client._call("GET", f"http://10.0.0.{n}", "state", "t", parse) for n in range(80)]
        assert set(await asyncio.gather(*calls)) == {1_600_000}
        assert most <= patience.DECODED
        assert all(not record.trouble for record in client._patience._records.values())

    virtual_time.run(main())


@pytest.mark.parametrize("size", [1, 5, 10, 50])
def test_a_budget_is_never_overdrawn_and_always_given_back(size: int) -> None:
    async def main() -> None:
        budget, now, most = patience.Budget(10), 0, 0

        async def use(number: int) -> None:
            nonlocal now, most
            async with budget.of(size):
                now += 1
                most = max(most, now)
                try:
                    await asyncio.sleep(number % 7)
                finally:
                    now -= 1

        tasks = [asyncio.create_task(use(n)) for n in range(60)]
        for task in tasks[::3]:
            await asyncio.sleep(0.1)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert now == 0
        assert most <= max(1, 10 // size)
        async with budget.of(10) as waited:
            assert waited == 0

    virtual_time.run(main())
