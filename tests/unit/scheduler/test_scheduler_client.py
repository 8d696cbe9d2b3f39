"""The client against schedulers that answer anything."""

import asyncio
import contextlib
import gzip
import json
import re
import socket

import aiohttp
import pytest
from aiohttp import web
from dask_gitops.plan.demand import Demand, Kind, Process
from dask_gitops.resources.listening import Listening
from dask_gitops.scheduler import Outcome, SchedulerClient, SchedulerUnavailable, base_url
from dask_gitops.scheduler.client import MAX_ANSWER

TOKEN = "secret-token"
WORKER = {
    "id": "Worker-1",
    "address": "tcp://10.0.0.7:40123",
    "host": "10.0.0.7",
    "name": "demo-default-worker-0a1b2c3d4e",
    "status": "running",
    "processing": 2,
    "running": 1,
    "long_running": 0,
    "keys": 5,
    "unique_keys": 3,
    "bytes": 500,
    "unique_bytes": 300,
    "actors": 0,
    "nthreads": 2,
    "resources": {"GPU": 1},
    "last_seen_age": 0.25,
    "leaving": False,
    "refused": None,
}
STATE = {
    "id": "Scheduler-1",
    "version": "2026.8.0",
    "now": 1000.5,
    "idle_since": 900,
    "clients": 1,
    "tasks": {"memory": 5},
    "workers": [WORKER],
}


def call(answer, what=lambda client, url: client.state(url, TOKEN), timeout_s=20.0):
    """Run `what` against a server whose every answer is made by `answer(request)`."""

    async def main():
        server = web.Server(answer)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        try:
            async with aiohttp.ClientSession() as session:
                client = SchedulerClient(session, timeout_s=timeout_s)
                return await what(client, base_url("127.0.0.1", port))
        finally:
            await runner.cleanup()

    return asyncio.run(main())


def answers(body, status=200, **headers):
    async def answer(request):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(body=raw, status=status, headers=headers)

    return answer


def raw_call(talk, timeout_s=20.0):
    """As `call`, with a server that is only a TCP connection: `talk(writer)`."""

    async def main():
        async def serve(reader, writer):
            with contextlib.suppress(ConnectionError):
                await reader.readuntil(b"\r\n\r\n")
                await talk(writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession() as session:
                client = SchedulerClient(session, timeout_s=timeout_s)
                port = server.sockets[0].getsockname()[1]
                return await client.state(base_url("127.0.0.1", port), TOKEN)
        finally:
            server.close()

    return asyncio.run(main())


def reason(function, *args, **kwargs):
    with pytest.raises(SchedulerUnavailable) as caught:
        function(*args, **kwargs)
    said = caught.value.reason
    assert said == str(caught.value)
    assert len(said) < 120
    assert said.isprintable()
    assert TOKEN not in said
    return said


# ---- what it makes of good answers


def test_state_is_parsed():
    state = call(answers(STATE))
    assert (state.id, state.version, state.clients) == ("Scheduler-1", "2026.8.0", 1)
    assert (state.idle_since, state.idle_seconds) == (900.0, 100.5)
    assert state.tasks == {"memory": 5}
    (row,) = state.workers
    assert {k: getattr(row, k) for k in WORKER} == WORKER


LISTENS = {"address": "tls://10.0.0.1:8786", "http": 8787, "https": False, "prefix": "/dask/demo"}


def test_where_it_listens():
    assert call(answers(STATE)).listens is None  # a scheduler of an earlier version
    told = call(answers({**STATE, "listens": LISTENS})).listens
    assert told == Listening("tls", 8786, "http", 8787, "/dask/demo")
    told = call(answers({**STATE, "listens": {**LISTENS, "https": True, "prefix": ""}})).listens
    assert (told.http_scheme, told.prefix) == ("https", "")


@pytest.mark.parametrize(
    "more",
    [
        {"address": 1},
        {"http": "8787"},
        {"http": -1},
        {"https": 1},
        {"prefix": None},
        {"prefix": "/a\n"},
    ],
)
def test_where_it_listens_in_odd_words(more):
    with pytest.raises(SchedulerUnavailable, match="answer is not valid: listens"):
        call(answers({**STATE, "listens": {**LISTENS, **more}}))


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "tcp://10.0.0.1:x", "TCP;rm://10.0.0.1:1", "inproc://a/b/1", ""]
)
def test_an_address_that_no_worker_could_be_told(address):
    assert call(answers({**STATE, "listens": {**LISTENS, "address": address}})).listens is None


@pytest.mark.parametrize("prefix", ["/a b", "a", "/$(reboot)", "/", "//"])
def test_a_prefix_that_is_no_path(prefix):
    told = call(answers({**STATE, "listens": {**LISTENS, "prefix": prefix}})).listens
    assert told.prefix == ""


def test_a_newer_scheduler_may_say_more():
    more = {**STATE, "new": [1], "workers": [{**WORKER, "new": {}}]}
    assert call(answers(more)) == call(answers(STATE))


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("[fd00:0::7]", "fd00::7"),
        ("FD00::0007", "fd00::7"),
        ("a.name", "a.name"),
    ],
)
def test_hosts_are_written_as_kubernetes_writes_them(host, canonical):
    state = call(answers({**STATE, "workers": [{**WORKER, "host": host}]}))
    assert state.workers[0].host == canonical


def test_base_url():
    assert base_url("10.0.0.7", 8789) == "http://10.0.0.7:8789"
    assert base_url("fd00::7", 80) == "http://[fd00::7]:80"


def test_ipv6_is_spoken_or_refused():
    """A machine without IPv6 refuses the address: the client tells that as it tells every refusal."""

    async def main():
        runner = web.ServerRunner(web.Server(answers(STATE)))
        await runner.setup()
        try:
            async with aiohttp.ClientSession() as session:
                client = SchedulerClient(session)
                site = web.TCPSite(runner, "::1", 0)
                try:
                    await site.start()
                except OSError:
                    with pytest.raises(SchedulerUnavailable, match="cannot be reached"):
                        await client.state(base_url("::1", 9), TOKEN)
                    return
                port = site._server.sockets[0].getsockname()[1]
                state = await client.state(base_url("::1", port), TOKEN)
                assert state.id == "Scheduler-1"
        finally:
            await runner.cleanup()

    asyncio.run(main())


def test_what_is_sent():
    seen = []

    async def answer(request):
        seen.append((request.method, request.path, dict(request.headers), await request.read()))
        rows = {"a": {"state": "draining", "message": "2 tasks running\n\x1b[31m" + "x" * 999}}
        return web.json_response({"workers": {**rows, "nobody-asked": 7}})

    async def what(client, url):
        return await client.retire(url, TOKEN, iter("aa"), 99, interrupt=True)

    out = call(answer, what)
    assert out["a"].state == "draining"
    assert out["a"].message.startswith("2 tasks running  [31mxxx")
    assert len(out["a"].message) == 200
    ((method, path, headers, body),) = seen
    assert (method, path) == ("POST", "/control/v1/retire")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Accept-Encoding"] == "identity"
    assert json.loads(body) == {"ids": ["a"], "wait_s": 20.0, "interrupt": True, "discard": False}


def test_nobody_asked_for_needs_no_call():
    async def what(client, url):
        return await client.retire(url, TOKEN, []), await client.undrain(url, TOKEN, [])

    assert call(answers(b"", 500), what) == ({}, {})


def test_undrain():
    async def what(client, url):
        return await client.undrain(url, TOKEN, ["a"])

    assert call(answers({"workers": {"a": {"state": "running"}}}), what) == {"a": "running"}


def test_retire_outcomes():
    rows = {s: {"state": s, "message": ""} for s in ("retired", "gone", "draining", "refused")}

    async def what(client, url):
        return await client.retire(url, TOKEN, list(rows))

    assert call(answers({"workers": rows}), what) == {s: Outcome(s, "") for s in rows}


@pytest.mark.parametrize(
    ("row", "lost"),
    [
        ({"message": "removed", "lost": True}, True),
        (
            {"message": "removed; 1 keys and 0 actors had no place and are lost", "lost": False},
            False,
        ),
        ({"message": "removed; 1 keys and 0 actors had no place and are lost"}, True),  # of 0.1.0
        ({"message": "removed from lost+found"}, False),
    ],
)
def test_what_was_lost_is_told_by_a_field(row, lost):
    async def what(client, url):
        return await client.retire(url, TOKEN, ["a"])

    found = call(answers({"workers": {"a": {"state": "retired", **row}}}), what)
    assert found["a"].lost is lost


def test_a_loss_that_is_no_truth_is_refused():
    async def what(client, url):
        return await client.retire(url, TOKEN, ["a"])

    row = {"state": "retired", "message": "", "lost": "no"}
    with pytest.raises(SchedulerUnavailable, match=r"workers\[0\].lost is not true or false"):
        call(answers({"workers": {"a": row}}), what)


# ---- each hostility


def broken(at, value):
    """STATE with the value at a path like "workers.0.id" replaced."""
    state = json.loads(json.dumps(STATE))
    *path, last = [int(p) if p.isdigit() else p for p in at.split(".")]
    inner = state
    for p in path:
        inner = inner[p]
    inner[last] = value
    return state


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        ("id", 7, "id is not a string"),
        ("id", "x" * 2000, "id is not a short line of text"),
        ("version", "2\x1b[31m", "version is not a short line of text"),
        ("now", True, "now is not a number"),
        ("now", 10**400, "now is out of range"),
        ("idle_since", "never", "idle_since is not a number"),
        ("clients", 1.5, "clients is not an integer"),
        ("clients", -1, "clients is out of range"),
        ("tasks", [], "tasks is not an object"),
        ("tasks", {"a\nb": 1}, "tasks has a name that is not a short line of text"),
        ("tasks", {"memory": None}, "tasks has a value that is not a number"),
        ("workers", {}, "workers is not a list"),
        ("workers", [WORKER, 7], "workers[1] is not an object"),
        ("workers", [WORKER, WORKER], "workers[1].id is there twice"),
        ("workers", [WORKER] * 5000, "workers[1].id is there twice"),
        ("workers.0.id", None, "workers[0].id is not a string"),
        ("workers.0.keys", 2**70, "workers[0].keys is out of range"),
        ("workers.0.running", False, "workers[0].running is not an integer"),
        ("workers.0.leaving", 1, "workers[0].leaving is not true or false"),
        ("workers.0.refused", [], "workers[0].refused is not a string"),
        (
            "workers.0.resources",
            {"GPU": "1"},
            "workers[0].resources has a value that is not a number",
        ),
        (
            "workers.0.resources",
            {"GPU": 10**400},
            "workers[0].resources has a value that is out of range",
        ),
        ("workers.0.last_seen_age", "1", "workers[0].last_seen_age is not a number"),
    ],
)
def test_a_wrong_field_is_named(at, value, says):
    assert reason(call, answers(broken(at, value))) == f"answer is not valid: {says}"


PROCESS = {
    "host": "10.0.0.7",
    "name": "demo-default-worker-0a1b2c3d4e",
    "nthreads": 2,
    "memory_limit": 1000,
    "bytes": 500,
    "keys": 5,
    "tasks": 2,
    "actors": 0,
    "resources": {"GPU": 1},
}
KIND = {"resources": {"GPU": 1, "A": 2, "B": 0}, "waiting": 3, "running": 1, "seconds": 2.5}
DEMAND = {
    "id": "Scheduler-1",
    "target_seconds": 5,
    "kinds": [KIND],
    "workers": [PROCESS],
}


def asks_demand(client, url):
    return client.demand(url, TOKEN)


def test_demand_is_parsed():
    assert call(answers(DEMAND), asks_demand) == Demand(
        id="Scheduler-1",
        target_seconds=5.0,
        kinds=(Kind((("A", 2.0), ("GPU", 1.0)), 3, 1, 2.5),),
        processes=(Process(**PROCESS),),
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": 7}, "id is not a string"),
        ({"target_seconds": "5s"}, "target_seconds is not a number"),
        ({"target_seconds": 10**400}, "target_seconds is out of range"),
        ({"kinds": {}}, "kinds is not a list"),
        ({"kinds": [KIND] * 201}, "kinds are too many"),
        ({"kinds": [7]}, "kinds[0] is not an object"),
        ({"kinds": [{**KIND, "waiting": -1}]}, "kinds[0].waiting is out of range"),
        ({"kinds": [{**KIND, "waiting": 1.5}]}, "kinds[0].waiting is not an integer"),
        ({"kinds": [{**KIND, "seconds": -0.1}]}, "kinds[0].seconds is out of range"),
        ({"kinds": [{**KIND, "resources": {"A": -1}}]}, "kinds[0].resources has a value"),
        ({"kinds": [{**KIND, "resources": {"A": "1"}}]}, "kinds[0].resources has a value"),
        ({"kinds": [{**KIND, "resources": {"A\n": 1}}]}, "kinds[0].resources has a name"),
        (
            {"kinds": [{**KIND, "resources": {f"r{n}": 1 for n in range(21)}}]},
            "kinds[0].resources are too many",
        ),
        ({"workers": [{**PROCESS, "nthreads": None}]}, "workers[0].nthreads is not an integer"),
        ({"workers": [{**PROCESS, "bytes": 2**63}]}, "workers[0].bytes is out of range"),
        ({"workers": [{**PROCESS, "name": "a\x1b[2J"}]}, "workers[0].name is not a short line"),
    ],
)
def test_a_wrong_demand_is_named(change, says):
    said = reason(call, answers({**DEMAND, **change}), asks_demand)
    assert said.startswith(f"answer is not valid: {says}")


def test_a_missing_field_is_named():
    state = {k: v for k, v in STATE.items() if k != "idle_since"}
    assert reason(call, answers(state)) == "answer is not valid: idle_since is not a number"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe\x00",
        b'{"now": NaN}',
        b'{"now": -Infinity}',
        b"[" * 10_000,
        b"1" * 5000,
        b"\x80\x04\x95",  # the head of a pickle
    ],
    ids=["empty", "html", "bytes", "nan", "infinity", "deep", "huge-number", "pickle"],
)
def test_what_is_not_json(body):
    assert reason(call, answers(body)) == "answer is not valid: not JSON"


@pytest.mark.parametrize("body", [b"7", b"[]", b"null", b'"x"'])
def test_json_that_is_no_object(body):
    assert reason(call, answers(body)) == "answer is not valid: it is not an object"


def test_infinity_by_another_road():
    raw = json.dumps(STATE).replace("1000.5", "1e999").encode()
    assert reason(call, answers(raw)) == "answer is not valid: now is out of range"


@pytest.mark.parametrize("rows", [{}, {"a": 1}, {"a": {"state": "won", "message": ""}}, []])
def test_a_bad_outcome(rows):
    async def what(client, url):
        return await client.retire(url, TOKEN, ["a"])

    assert reason(call, answers({"workers": rows}), what).startswith("answer is not valid: workers")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refuses our token"),
        (403, "refuses our token"),
        (404, "answers 404: has no control API"),
        (400, "answers 400: does not understand us"),
        (500, "answers 500"),
        (204, "answers 204"),
    ],
)
def test_another_status(status, says):
    assert reason(call, answers(b"secrets of others", status)) == says


def test_a_redirect_is_not_followed():
    paths = []

    async def answer(request):
        paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    assert reason(call, answer) == "answers with a redirect, which is not followed"
    assert paths == ["/control/v1/state"]


def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(b"[" + b"0," * 5_000_000 + b"0]")
    packed = answers(bomb, **{"Content-Encoding": "gzip"})
    assert reason(call, packed) == "answer is not valid: compressed"
    silent = answers(bomb)  # without saying so
    assert reason(call, silent) == "answer is not valid: not JSON"


def test_an_endless_body_is_cut():
    sent = 0

    async def answer(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    assert reason(call, answer) == "answer is not valid: larger than 2 MiB"
    assert sent < 4 * MAX_ANSWER  # what the sockets buffer comes on top


def test_the_largest_answer_is_read():
    raw = json.dumps(STATE).encode()
    assert call(answers(raw + b" " * (MAX_ANSWER - len(raw)))).id == "Scheduler-1"
    assert "larger" in reason(call, answers(raw + b" " * (MAX_ANSWER - len(raw) + 1)))


def test_no_answer():
    async def answer(request):
        await asyncio.sleep(60)

    assert reason(call, answer, timeout_s=0.2) == "does not answer (timeout after 0.2 s)"


def test_a_body_that_drips():
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    assert reason(call, answer, timeout_s=0.3) == "does not answer (timeout after 0.3 s)"


def test_retire_may_take_its_wait_longer():
    async def what(client, url):
        return await client.retire(url, TOKEN, ["a"], wait_s=0.3)

    async def answer(request):
        await asyncio.sleep(60)

    said = reason(call, answer, what, timeout_s=0.2)
    assert said == "does not answer (timeout after 0.5 s)"


def test_it_hangs_up():
    async def talk(writer):
        pass

    assert reason(raw_call, talk) == "closed the connection"


def test_it_hangs_up_in_the_middle():
    async def talk(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")

    assert reason(raw_call, talk).startswith("does not speak HTTP")


def test_it_speaks_something_else():
    async def talk(writer):
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n" + TOKEN.encode())

    assert reason(raw_call, talk).startswith("does not speak HTTP")


@pytest.mark.parametrize("head", [b"X: y\r\n", b"X", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_head_without_end(head):
    async def talk(writer):
        writer.write(b"" if head.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(head * 1000)
            await writer.drain()

    said = reason(raw_call, talk, timeout_s=1)
    assert said.startswith(("does not speak HTTP", "does not answer"))


def test_nobody_is_there():
    async def main():
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        async with aiohttp.ClientSession() as session:
            await SchedulerClient(session).state(base_url("127.0.0.1", port), TOKEN)

    said = reason(asyncio.run, main())
    assert re.match(r"cannot be reached on port \d+ \(connection refused\); a NetworkPolicy", said)


def test_a_port_that_nobody_opened():
    """Packets are dropped: nothing comes back, which is no slow scheduler."""

    async def main():
        with socket.socket() as full:  # no room for another connection
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            held = [socket.socket() for _ in range(4)]
            for one in held:
                one.setblocking(False)
                one.connect_ex(address)
            try:
                async with aiohttp.ClientSession() as session:
                    client = SchedulerClient(session, timeout_s=0.5)
                    await client.state(base_url(*address), TOKEN)
            finally:
                for one in held:
                    one.close()

    said = reason(asyncio.run, main())
    assert re.match(r"cannot be reached on port \d+ \(no connection\); a NetworkPolicy", said)


def test_a_url_that_is_none():
    async def main():
        async with aiohttp.ClientSession() as session:
            await SchedulerClient(session).state(base_url("not an address", 8789), TOKEN)

    assert reason(asyncio.run, main())


def test_cookies_stay_out():
    """The session is shared by all schedulers: none may write something down in it."""

    async def what(client, url):
        await client.state(url, TOKEN)
        return len(client._session.cookie_jar)

    assert call(answers(STATE, **{"Set-Cookie": "a=b"}), what) == 0
