"""The client against real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from dask_gitops.kube import (
    DASKWORKERGROUPS,
    NAMESPACES,
    PODS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    ApiError,
    ApiUnreachable,
    Informer,
    KubeClient,
    LeaseElector,
    NotLeader,
    Resource,
)
from dask_gitops.kube import client as client_module
from dask_gitops.kube.client import _warnings
from dask_gitops.kube.credentials import Issued, RefreshedCredentials, StaticCredentials
from dask_gitops.kube.nesting import Cut

POD = {"metadata": {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7"}}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str = "", message: str = "", **more: Any) -> web.Response:
    headers = more.pop("headers", None)
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, **more}
    return web.json_response(body, status=code, headers=headers)


class Server:
    """Answers every request with the next of ``answers``, the last one for ever."""

    def __init__(self, *answers: web.Response | Handler | dict[str, Any]) -> None:
        self.answers = list(answers)
        self.requests: list[web.Request] = []
        self.bodies: list[Any] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        raw = await request.read()
        self.bodies.append(json.loads(raw) if raw else None)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, dict):
            return web.json_response(answer)
        if isinstance(answer, web.Response):
            body = answer.body or b""
            assert isinstance(body, bytes)
            return web.Response(body=body, status=answer.status, headers=answer.headers)
        return await answer(request)

    async def __aenter__(self) -> Server:
        self._server = web.Server(self.handle)  # type: ignore[arg-type]
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def play(
    main: Callable[[KubeClient, Server], Awaitable[None]],
    *answers: web.Response | Handler | dict[str, Any],
    **options: Any,
) -> None:
    async def start() -> None:
        async with Server(*answers) as server:
            credentials = StaticCredentials(server.url, fixed={"Authorization": "Bearer t"})
            async with KubeClient(credentials, **options) as client:
                await main(client, server)

    asyncio.run(start())


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_backoff", lambda failures: 0.01)


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


def test_paths_and_queries() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        await client.get(PODS, "ns", "a")
        await client.create(PODS, "ns", POD, dry_run=True)
        await client.patch(
            DASKWORKERGROUPS,
            "ns",
            "g",
            {"spec": {"replicas": 1}},
            subresource="scale",
            field_manager="me",
        )
        await client.patch(NAMESPACES, None, "n", [], patch_type="json")
        await client.delete(PODS, "ns", "a", uid="u", grace_period_s=0, propagation="Background")
        assert [f"{request.method} {request.path_qs}" for request in server.requests] == [
            "GET /api/v1/namespaces/ns/pods/a",
            "POST /api/v1/namespaces/ns/pods?fieldValidation=Warn&fieldManager=dask-gitops&dryRun=All",
            "PATCH /apis/kubernetes.dask.org/v1/namespaces/ns/daskworkergroups/g/scale?fieldManager=me",
            "PATCH /api/v1/namespaces/n?fieldManager=dask-gitops",
            "DELETE /api/v1/namespaces/ns/pods/a",
        ]
        assert [request.content_type for request in server.requests[1:]] == [
            "application/json",
            "application/merge-patch+json",
            "application/json-patch+json",
            "application/json",
        ]
        assert server.bodies[-1] == {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": "u"},
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Background",
        }
        assert server.requests[0].headers["Authorization"] == "Bearer t"
        assert server.requests[0].headers["Accept-Encoding"] == "identity"
        with pytest.raises(ValueError, match="namespace"):
            await client.get(PODS, None, "a")
        with pytest.raises(ValueError, match="empty name"):
            await client.delete(PODS, "ns", "", uid="u")

    play(main, POD)


def test_list_follows_continue_and_takes_it_at_once_after_a_410() -> None:
    first = {"metadata": {"resourceVersion": "9", "continue": "t o+k/en"}, "items": [{"n": 1}]}
    second = {"metadata": {"resourceVersion": "9"}, "items": [{"n": 2}]}

    async def main(client: KubeClient, server: Server) -> None:
        page = await client.list(
            PODS, label_selector="a in (b,c),!d", field_selector="metadata.name=x", limit=1
        )
        assert page == ([{"n": 1}, {"n": 2}], "9")
        assert server.requests[1].query["continue"] == "t o+k/en"
        assert server.requests[1].query["labelSelector"] == "a in (b,c),!d"
        assert server.requests[1].query["fieldSelector"] == "metadata.name=x"
        server.answers[:] = [
            web.json_response(first),
            status(410, "Expired"),
            web.json_response({**second, "items": [{"n": 1}, {"n": 2}]}),
        ]
        assert len((await client.list(PODS, limit=1)).items) == 2
        assert "limit" not in server.requests[-1].query

    play(main, first, second)


def test_warnings_come_back() -> None:
    warned = web.json_response(POD, status=201)
    warned.headers.add("Warning", '299 - "unknown field \\"spec.foo\\""')
    warned.headers.add("Warning", '299 - "one, with comma", 299 api "two"')

    async def main(client: KubeClient, server: Server) -> None:
        created = await client.create(PODS, "ns", POD)
        assert created.object == POD
        assert created.warnings == ['unknown field "spec.foo"', "one, with comma", "two"]
        assert (await client.create(PODS, "ns", POD)).warnings == []

    play(main, warned, POD)
    assert _warnings(["nonsense"]) == []


def test_retry_after_is_waited_for_without_a_slot() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        began = time.monotonic()
        first = asyncio.create_task(client.create(PODS, "ns", POD))
        await asyncio.sleep(0.2)
        await client.create(PODS, "ns", POD)  # the only slot is free meanwhile
        assert time.monotonic() - began < 0.9
        await first
        assert 1.0 <= time.monotonic() - began < 2.5
        assert len(server.requests) == 3

    busy = status(429, "TooManyRequests", headers={"Retry-After": "1"})
    play(main, busy, POD, writes_in_flight=1)


def test_a_wait_beyond_the_deadline_is_left_to_the_caller() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        with pytest.raises(ApiError) as caught:
            await client.create(PODS, "ns", POD)
        assert caught.value.retry_after == 30  # what was said is cut: an hour would be too long
        assert len(server.requests) == 1

    play(main, status(429, headers={"Retry-After": "60"}))


def test_reads_are_repeated_and_writes_are_not() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        for failure in (status(500), status(503), reset):
            server.answers[:] = [failure, failure, failure, web.json_response(POD)]
            assert await client.get(PODS, "ns", "a") == POD
            assert not server.answers[1:]
            server.answers[:] = [failure, web.json_response(POD)]
            with pytest.raises((ApiError, ApiUnreachable)) as caught:
                await client.create(PODS, "ns", POD)
            assert getattr(caught.value, "sent", True)
            server.answers[:] = [failure]
            with pytest.raises((ApiError, ApiUnreachable)):
                await client.get(PODS, "ns", "a")

    play(main, POD)


def test_nothing_listens() -> None:
    async def main() -> None:
        async with Server(POD) as server:
            url = server.url
        async with KubeClient(StaticCredentials(url)) as client:
            with pytest.raises(ApiUnreachable) as caught:
                await client.create(PODS, "ns", POD)
            assert not caught.value.sent
            stream = client.watch(PODS, resource_version="1", timeout_s=10)
            with pytest.raises(ApiUnreachable) as caught:
                await anext(stream)
            assert not caught.value.sent

    asyncio.run(main())


def test_who_does_not_answer_is_told_in_words() -> None:
    """Whatever is asked; and never with the address of an object."""

    async def words(url: str) -> set[str]:
        found = set()
        credentials = StaticCredentials(url, ssl=ssl.create_default_context())
        async with KubeClient(credentials, timeout_s=0.2, deadline_s=0.1) as client:

            async def watched() -> None:
                await anext(client.watch(PODS, "a", resource_version="1", timeout_s=10))

            async def spoken() -> None:
                async with client.websocket(PODS, "a", "b", "portforward", {}, "x"):
                    pass

            asks = (client.list(PODS, "a"), client.create(PODS, "a", POD), client.about("/version"))
            for ask in (*asks, watched(), spoken()):
                with pytest.raises(ApiUnreachable) as caught:
                    await ask
                found.add(str(caught.value).partition(": ")[2])
        return found

    async def main() -> None:
        (nowhere,) = await words("https://no-such-host.invalid:6443")
        assert re.fullmatch(r"cannot find the host no-such-host\.invalid( \(.+\))?", nowhere)
        async with Server(hang) as server:
            mute, port = server.url, server.url.rpartition(":")[2]
            assert await words(mute) == {"no answer within 0.2 s"}
        (closed,) = await words(f"https://127.0.0.1:{port}")
        assert closed == (
            f"ClientConnectorError: Cannot connect to host 127.0.0.1:{port} "
            f"[Connect call failed ('127.0.0.1', {port})]"
        )

    asyncio.run(main())


def test_a_write_is_repeated_when_the_connection_could_not_be_made() -> None:
    async def main() -> None:
        async with Server(POD) as server:
            url = server.url
        port = int(url.rpartition(":")[2])
        seen = []
        credentials = StaticCredentials(url)
        async with KubeClient(credentials, on_request=lambda *a: seen.append(a[2])) as client:
            creating = asyncio.create_task(client.create(PODS, "ns", POD))
            while not seen:
                await asyncio.sleep(0.001)
            late = Server(POD)
            runner = web.ServerRunner(web.Server(late.handle))  # type: ignore[arg-type]
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            assert (await creating).object == POD
            assert len(late.requests) == 1
            assert seen[0] == 0
            assert seen[-1] == 200
            await runner.cleanup()

    asyncio.run(main())


def test_time_outs() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        with pytest.raises(ApiUnreachable) as caught:
            await client.create(PODS, "ns", POD)
        assert caught.value.sent
        server.answers[:] = [hang, web.json_response(POD)]
        assert await client.get(PODS, "ns", "a") == POD

    play(main, hang, timeout_s=0.1)


def test_errors_say_what_they_are() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        async def error(answer: web.Response) -> ApiError:
            server.answers[:] = [answer]
            with pytest.raises(ApiError) as caught:
                await client.create(PODS, "ns", POD)
            return caught.value

        assert (await error(status(409, "AlreadyExists"))).is_already_exists
        assert not (await error(status(409, "AlreadyExists"))).is_conflict
        assert (await error(status(409, "Conflict"))).is_conflict
        assert (await error(status(422, "Invalid"))).is_invalid
        assert (await error(status(410, "Expired"))).is_gone
        quota = await error(status(403, "Forbidden", 'pods "a" is forbidden: exceeded quota: q'))
        assert quota.is_forbidden_quota
        assert not quota.is_namespace_terminating
        causes = {"causes": [{"reason": "NamespaceTerminating"}]}
        assert (await error(status(403, "Forbidden", details=causes))).is_namespace_terminating
        plain = await error(web.Response(status=502, text="bad gateway " * 100))
        assert plain.status == 502
        assert str(plain).startswith("502: bad gateway")
        assert len(plain.message) == 500
        late = await error(status(504, "Timeout", details={"retryAfterSeconds": 3}))
        assert late.retry_after == 3
        moved = await error(web.Response(status=302, headers={"Location": "http://elsewhere/"}))
        assert moved.status == 302  # never followed: it would carry our token away

    play(main, POD)


GONE = {"name": "a", "kind": "pods"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(web.Response(status=404, text="404 page not found\n"), id="path"),
        pytest.param(web.Response(status=404, text="<html>nginx</html>"), id="proxy"),
        pytest.param(status(404, "NotFound"), id="resource"),
        pytest.param(status(404, "NotFound", details={}), id="no details"),
        pytest.param(status(404, "NotFound", details=["a"]), id="odd details"),
        pytest.param(
            status(404, "NotFound", details={"name": "ns", "kind": "namespaces"}), id="namespace"
        ),
        pytest.param(status(404, "NotFound", details={**GONE, "name": "b"}), id="another"),
        pytest.param(status(404, "NotFound", details={**GONE, "group": "x.io"}), id="other group"),
        pytest.param(status(404, "NotFound", details={**GONE, "kind": "nodes"}), id="other kind"),
        pytest.param(status(404, "", details=GONE), id="no reason"),
        pytest.param(status(410, "NotFound", details=GONE), id="no 404"),
    ],
)
def test_only_a_404_of_this_very_object_says_that_it_is_gone(answer: web.Response) -> None:
    async def main(client: KubeClient, server: Server) -> None:
        for call in (
            client.get(PODS, "ns", "a"),
            client.patch(PODS, "ns", "a", {}),
            client.patch(PODS, "ns", "a", {}, subresource="status"),
            client.delete(PODS, "ns", "a", uid="u"),
        ):
            with pytest.raises(ApiError) as caught:
                await call
            assert not caught.value.is_not_found

    play(main, answer)


@pytest.mark.parametrize(
    ("resource", "details"),
    [
        (PODS, GONE),
        (PODS, {**GONE, "group": "", "uid": "u"}),
        (
            DASKWORKERGROUPS,
            {"name": "a", "kind": "daskworkergroups", "group": "kubernetes.dask.org"},
        ),
    ],
)
def test_a_404_of_this_very_object(resource: Resource, details: dict[str, str]) -> None:
    async def main(client: KubeClient, server: Server) -> None:
        for call in (
            client.get(resource, "ns", "a"),
            client.patch(resource, "ns", "a", {}),
            client.patch(resource, "ns", "a", {}, subresource="status"),
        ):
            with pytest.raises(ApiError) as caught:
                await call
            assert caught.value.is_not_found
        assert await client.delete(resource, "ns", "a", uid="u") is None
        # What is to be created cannot be missing.
        with pytest.raises(ApiError) as caught:
            await client.create(resource, "ns", POD)
        assert not caught.value.is_not_found

    play(main, status(404, "NotFound", details=details))


def test_nonsense_is_no_answer() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        for text in ("<html>", "[1]", ""):
            server.answers[:] = [web.Response(text=text)]
            with pytest.raises(ApiUnreachable):
                await client.create(PODS, "ns", POD)

    play(main, POD)


def test_delete_of_what_is_gone_is_none() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        assert await client.delete(PODS, "ns", "a", uid="u") == POD
        server.answers[:] = [status(200, status="Success")]
        assert await client.delete(PODS, "ns", "a", uid="u") is None
        server.answers[:] = [status(200)]
        with pytest.raises(ApiUnreachable):
            await client.delete(PODS, "ns", "a", uid="u")
        server.answers[:] = [status(404, "NotFound", details=GONE)]
        assert await client.delete(PODS, "ns", "a", uid="u") is None
        for words in (
            "Precondition failed: UID in precondition: u, UID in object meta: v",
            "the UID in the precondition (u) does not match the UID in record (v)",
        ):
            server.answers[:] = [status(409, "Conflict", words)]
            assert await client.delete(PODS, "ns", "a", uid="u") is None
        server.answers[:] = [status(409, "Conflict", "something else")]
        with pytest.raises(ApiError):
            await client.delete(PODS, "ns", "a", uid="u")

    play(main, POD)


def test_guard_lets_nothing_out() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        client.guard = lambda: False
        for call in (
            client.create(PODS, "ns", POD),
            client.patch(PODS, "ns", "a", {}),
            client.delete(PODS, "ns", "a", uid="u"),
        ):
            with pytest.raises(NotLeader):
                await call
        assert server.requests == []
        await client.get(PODS, "ns", "a")
        await client.unguarded().create(PODS, "ns", POD)
        assert len(server.requests) == 2

    play(main, POD)


def test_guard_is_asked_again_after_every_wait() -> None:
    async def main(client: KubeClient, server: Server) -> None:
        leading = True
        client.guard = lambda: leading
        waiting = asyncio.create_task(client.create(PODS, "ns", POD))
        await asyncio.sleep(0.3)
        leading = False
        with pytest.raises(NotLeader):
            await waiting
        assert len(server.requests) == 1

    play(main, status(429, headers={"Retry-After": "1"}), POD)


#: A write of each kind.
WRITES: list[Callable[[KubeClient], Awaitable[Any]]] = [
    lambda client: client.create(PODS, "ns", POD),
    lambda client: client.patch(PODS, "ns", "a", {"spec": 1}),
    lambda client: client.delete(PODS, "ns", "a", uid="u"),
]


def test_guard_is_asked_when_the_request_goes_out() -> None:
    """It was the leader when the write began, and is not when the connection is there."""

    async def main(client: KubeClient, server: Server) -> None:
        for write in WRITES:
            asked = 0

            def guard() -> bool:
                nonlocal asked
                asked += 1
                return asked == 1

            client.guard = guard
            with pytest.raises(NotLeader):
                await write(client)
            assert asked == 2
        await asyncio.sleep(0.05)
        assert server.bodies == []
        client.guard = lambda: True
        for write in WRITES:
            await write(client)
        assert len(server.bodies) == 3
        assert all(server.bodies)

    play(main, POD)


async def headers_only(self: Any, writer: Any, conn: Any, length: int | None = None) -> None:
    """An aiohttp that does not come for the body as it does today."""
    writer.send_headers()
    await writer.drain()


async def another_way(self: Any, writer: Any, conn: Any, length: int | None = None) -> None:
    """An aiohttp that takes the body in another way, and tells its protocol of nothing."""
    await writer.write(await self._body.as_bytes())
    await writer.write_eof()


async def from_the_inside(self: Any, writer: Any, conn: Any, length: int | None = None) -> None:
    """An aiohttp that knows where its own payloads have their bytes."""
    await writer.write(self._body._value or b"")
    await writer.write_eof()


@pytest.mark.parametrize("changed", [headers_only, another_way, from_the_inside])
def test_a_guard_that_is_not_asked_means_that_nothing_is_written(
    changed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a later aiohttp does with a request: it has no body to send unless the guard said yes."""
    monkeypatch.setattr(aiohttp.ClientRequest, "write_bytes", changed)

    async def main(client: KubeClient, server: Server) -> None:
        for write in WRITES:
            answers = iter([True])  # for the question before a connection is made
            client.guard = lambda answers=answers: next(answers, False)  # type: ignore[misc]
            with pytest.raises((NotLeader, ApiUnreachable)):
                await write(client)
        await asyncio.sleep(0.05)
        assert server.bodies == []

    play(main, POD, timeout_s=0.2)


def test_without_credentials_nobody_answers() -> None:
    """A token that cannot be had is a trouble as others are: the callers wait and try again."""

    async def main() -> None:
        def fetch() -> Issued:
            raise OSError("no plugin")

        async with Server(POD) as server:
            credentials = RefreshedCredentials(server.url, fetch)
            async with KubeClient(credentials) as client:
                reads = [lambda c: c.get(PODS, "ns", "a"), lambda c: c.list(PODS)]
                for call in (*reads, *WRITES):
                    with pytest.raises(ApiUnreachable, match="no plugin") as caught:
                        await call(client)
                    assert not caught.value.sent
                with pytest.raises(ApiUnreachable, match="no plugin"):
                    async for _ in client.watch(PODS, resource_version="1", timeout_s=1):
                        pass
            assert server.requests == []

    asyncio.run(main())


def test_guard_is_asked_before_aiohttp_repeats_a_delete() -> None:
    """aiohttp repeats a DELETE whose kept-alive connection died, also when that took long."""

    async def main(client: KubeClient, server: Server) -> None:
        await client.get(PODS, "ns", "a")  # a connection to keep
        leading = True

        async def die(request: web.Request) -> web.StreamResponse:
            nonlocal leading
            leading = False
            return await reset(request)

        client.guard = lambda: leading
        server.answers[:] = [die, web.json_response(POD)]
        with pytest.raises(NotLeader):
            await client.delete(PODS, "ns", "a", uid="u")
        assert len(server.requests) == 2

    play(main, POD)


def test_writes_in_flight_are_limited_and_reads_are_not() -> None:
    flying = most = 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.02)
        flying -= 1
        return web.json_response(POD)

    async def main(client: KubeClient, server: Server) -> None:
        nonlocal most
        await asyncio.gather(*(client.create(PODS, "ns", POD) for _ in range(20)))
        assert most == 4
        most = 0
        await asyncio.gather(*(client.get(PODS, "ns", "a") for _ in range(20)))
        assert most > 4
        most = 0
        writes = [client.create(PODS, "ns", POD) for _ in range(8)]
        await asyncio.gather(*writes, client.unguarded().create(PODS, "ns", POD))
        assert most == 5

    play(main, slow, writes_in_flight=4)


def test_writes_of_one_namespace_do_not_hold_up_those_of_another() -> None:
    """Hundreds wait in one, and the server does not answer: the other's is sent at once."""

    async def main() -> None:
        never = asyncio.Event()

        async def silent(request: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response()

        async with Server(silent) as server, KubeClient(StaticCredentials(server.url)) as client:
            many = [asyncio.create_task(client.create(PODS, "bad", POD)) for _ in range(200)]
            while len(server.requests) < 49:  # of 64 places
                await asyncio.sleep(0.01)
            one = asyncio.create_task(client.patch(PODS, "good", "a", {}))
            while len(server.requests) < 50:
                await asyncio.sleep(0.01)
            assert server.requests[-1].path == "/api/v1/namespaces/good/pods/a"
            await asyncio.sleep(0.05)
            assert len(server.requests) == 50
            for task in (one, *many):
                task.cancel()
            await asyncio.gather(one, *many, return_exceptions=True)
            never.set()

    asyncio.run(main())


def test_a_rotated_token_is_fetched_after_a_401() -> None:
    async def main() -> None:
        async def check(request: web.Request) -> web.StreamResponse:
            good = request.headers["Authorization"] == "Bearer 2"
            return web.json_response(POD) if good else status(401, "Unauthorized")

        tokens = iter("1234")
        async with Server(check) as server:
            credentials = RefreshedCredentials(
                server.url, lambda: Issued({"Authorization": f"Bearer {next(tokens)}"}, None)
            )
            async with KubeClient(credentials) as client:
                assert (await client.create(PODS, "ns", POD)).object == POD
                assert len(server.requests) == 2
                server.answers[:] = [status(401, "Unauthorized")]
                with pytest.raises(ApiError) as caught:
                    await client.create(PODS, "ns", POD)
                assert caught.value.status == 401

    asyncio.run(main())


def test_an_object_that_nests_deep_costs_itself_only() -> None:
    """100,000 levels: in a list, in a watch, in the answer to a read, a write, and in an error."""
    deep = b"[" * 100_000 + b"]" * 100_000
    raw = json.dumps({**POD, "spec": "DEEP"}).encode().replace(b'"DEEP"', deep)
    whole = json.dumps(POD).encode()

    def answer(body: bytes, code: int = 200) -> web.Response:
        return web.Response(body=body, status=code)

    async def main(client: KubeClient, server: Server) -> None:
        server.answers[:] = [answer(raw)]
        got = await client.get(PODS, "ns", "a")
        made = (await client.create(PODS, "ns", POD)).object
        patched = await client.patch(PODS, "ns", "a", {})
        deleted = await client.delete(PODS, "ns", "a", uid="u")
        for found in (got, made, patched, deleted):
            assert isinstance(found, Cut)
            assert found["metadata"] == POD["metadata"]
        items = b",".join([whole, raw, whole])
        server.answers[:] = [
            answer(b'{"metadata": {"resourceVersion": "1"}, "items": [%s]}' % items)
        ]
        page = await client.list(PODS)
        assert [isinstance(item, Cut) for item in page.items] == [False, True, False]
        assert page.items[2] == POD
        lines = b"".join(b'{"type": "ADDED", "object": %s}\n' % o for o in (whole, raw, whole))
        server.answers[:] = [answer(lines)]
        seen = client.watch(PODS, "ns", resource_version="1", timeout_s=1)
        assert [isinstance(obj, Cut) async for _, obj in seen] == [False, True, False]
        server.answers[:] = [answer(raw, 500)]
        with pytest.raises(ApiError):
            await client.create(PODS, "ns", POD)

    play(main, POD)


@pytest.mark.parametrize(
    "line", [b"[1]", b"1", b"{}", b'{"type": "ADDED", "object": []}', b"<html>"]
)
def test_a_line_that_is_no_event_is_a_broken_watch(line: bytes) -> None:
    async def main(client: KubeClient, server: Server) -> None:
        server.answers[:] = [web.Response(body=line + b"\n")]
        with pytest.raises(ApiUnreachable):
            async for _ in client.watch(PODS, "ns", resource_version="1", timeout_s=1):
                pass

    play(main, POD)


def stream(*chunks: bytes, end: bool = True) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.005)
        if not end:
            await asyncio.sleep(5)
        return response

    return handle


def event(kind: str, name: str, fill: int = 0) -> bytes:
    meta = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "8"}
    obj = {"metadata": meta, "fill": "x" * fill}
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


async def watched(client: KubeClient) -> list[tuple[str, str]]:
    seen = []
    watch = client.watch(
        PODS,
        "ns",
        label_selector="a=b",
        field_selector="metadata.name=x",
        resource_version="7",
        timeout_s=250.5,
    )
    async with aclosing(watch) as events:
        async for kind, obj in events:
            seen.append((kind, obj["metadata"].get("name", "")))
    return seen


def test_watch_puts_lines_together() -> None:
    lines = event("ADDED", "a") + event("MODIFIED", "é" * 3) + event("BOOKMARK", "")
    big = event("ADDED", "big", fill=300_000) + event("DELETED", "a")
    expected = [("ADDED", "a"), ("MODIFIED", "é" * 3), ("BOOKMARK", "")]

    async def main(client: KubeClient, server: Server) -> None:
        assert await watched(client) == expected
        assert server.requests[0].query == {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": "7",
            "timeoutSeconds": "250",
            "labelSelector": "a=b",
            "fieldSelector": "metadata.name=x",
        }
        for size in (1, 7, 50):
            chunks = [lines[start : start + size] for start in range(0, len(lines), size)]
            server.answers[:] = [stream(*chunks)]
            if size == 1:
                server.answers[:] = [stream(*[lines[n : n + 1] for n in range(60)], lines[60:])]
            assert await watched(client) == expected
        server.answers[:] = [stream(big)]
        assert await watched(client) == [("ADDED", "big"), ("DELETED", "a")]
        server.answers[:] = [stream(b"\n", b"\n" + lines)]
        assert await watched(client) == expected

    play(main, stream(lines))


def test_watch_errors() -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    line = json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n"

    async def main(client: KubeClient, server: Server) -> None:
        with pytest.raises(ApiError) as caught:
            await watched(client)
        assert caught.value.is_gone
        server.answers[:] = [status(410, "Expired")]
        with pytest.raises(ApiError) as caught:
            await watched(client)
        assert caught.value.is_gone
        server.answers[:] = [stream(b"no json\n")]
        with pytest.raises(ApiUnreachable):
            await watched(client)

        async def cut(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(event("ADDED", "a")[:20])
            return await reset(request)

        server.answers[:] = [cut]
        with pytest.raises(ApiUnreachable):
            await watched(client)

    play(main, stream(line))


def text(words: bytes) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=words, content_type="text/plain")

    return handle


def test_logs() -> None:
    words = "one\nzwölf\r 100 %\n".encode() + b"\xff no end"

    async def main(client: KubeClient, server: Server) -> None:
        assert await client.logs("ns", "a") == "one\nzwölf\r 100 %\n\ufffd no end"
        server.answers[:] = [text(b"")]
        since = "2030-01-01T00:00:00Z"
        printed = await client.logs(
            "ns", "a", container="c", previous=True, tail=0, since_time=since, timestamps=True
        )
        assert printed == ""
        assert {request.path for request in server.requests} == {"/api/v1/namespaces/ns/pods/a/log"}
        assert not any(request.query for request in server.requests[:3])
        assert dict(server.requests[3].query) == {
            "container": "c",
            "previous": "true",
            "tailLines": "0",
            "sinceTime": since,
            "timestamps": "true",
        }
        for name in ("", "a/b"):
            server.answers[:] = [status(404, "NotFound")]
            with pytest.raises((ValueError, ApiError)):
                await client.logs("ns", name)
        assert server.requests[-1].rel_url.raw_path.endswith("/pods/a%2Fb/log")

    play(main, status(500), reset, text(words))


def test_a_pod_without_logs_says_why() -> None:
    why = 'container "c" in pod "a" is waiting to start: ContainerCreating'

    async def main(client: KubeClient, server: Server) -> None:
        with pytest.raises(ApiError) as caught:
            await client.logs("ns", "a")
        assert (caught.value.status, caught.value.message) == (400, why)
        with pytest.raises(ApiError) as caught:
            await followed(client)
        assert (caught.value.status, caught.value.message) == (400, why)

    play(main, status(400, "BadRequest", why))


async def followed(client: KubeClient, **wishes: Any) -> list[str]:
    async with aclosing(client.follow_logs("ns", "a", **wishes)) as lines:
        return [line async for line in lines]


def test_logs_are_followed_line_by_line() -> None:
    words = "one\n\nzwölf\r 100 %\nlast".encode()
    expected = ["one", "", "zwölf\r 100 %", "last"]

    async def main(client: KubeClient, server: Server) -> None:
        assert await followed(client, container="c", tail=3, timestamps=True) == expected
        assert dict(server.requests[0].query) == {
            "container": "c",
            "follow": "true",
            "tailLines": "3",
            "timestamps": "true",
        }
        for size in (1, 3, 7):
            chunks = [words[start : start + size] for start in range(0, len(words), size)]
            server.answers[:] = [stream(*chunks)]
            assert await followed(client) == expected
        server.answers[:] = [stream(b"bad \xff\n\xc3")]
        assert await followed(client) == ["bad \ufffd", "\ufffd"]
        # A line is there as soon as it is whole, though the next may take for ever.
        server.answers[:] = [stream(b"one\ntw", end=False)]
        async with aclosing(client.follow_logs("ns", "a")) as lines:
            assert await anext(lines) == "one"

    play(main, stream(words))


def test_a_line_without_end_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_LINE", 1000)

    async def main(client: KubeClient, server: Server) -> None:
        lines = await followed(client)
        assert "".join(lines) == "é" * 5000 + "end"
        assert len(lines) > 2

    play(main, stream(*["é".encode() * 100] * 50, b"end\n"))


def test_broken_logs_are_no_end() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\ntw")
        return await reset(request)

    async def main(client: KubeClient, server: Server) -> None:
        with pytest.raises(ApiUnreachable):
            await followed(client)
        with pytest.raises(ApiUnreachable):
            await client.logs("ns", "a")

    play(main, cut)


def test_reviews_are_questions() -> None:
    """Asked again as reads are, and also by who may write nothing."""
    may = {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "ns"}}

    async def main(client: KubeClient, server: Server) -> None:
        assert await client.review(SELF_SUBJECT_ACCESS_REVIEWS, may) == {"allowed": True}
        assert await client.review(SELF_SUBJECT_REVIEWS) == {"userInfo": {"username": "u"}}
        server.answers[:] = [web.json_response({"status": None})]
        assert await client.review(SELF_SUBJECT_REVIEWS) == {}
        assert [f"{request.method} {request.path_qs}" for request in server.requests[2:4]] == [
            "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
        ]
        assert server.bodies[2:4] == [
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": may,
            },
            {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "spec": {}},
        ]
        server.answers[:] = [status(403, "Forbidden", "no")]
        with pytest.raises(ApiError, match="no"):
            await client.review(SELF_SUBJECT_REVIEWS)

    play(
        main,
        status(503),
        reset,
        {"status": {"allowed": True}},
        {"status": {"userInfo": {"username": "u"}}},
        guard=lambda: False,
    )


def test_every_attempt_is_reported() -> None:
    seen: list[tuple[str, str, int]] = []

    async def main(client: KubeClient, server: Server) -> None:
        await client.get(PODS, "ns", "a")
        await watched(client)
        server.answers[:] = [reset]
        with pytest.raises(ApiUnreachable):
            await client.create(PODS, "ns", POD)
        assert seen == [
            ("get", "pods", 500),
            ("get", "pods", 200),
            ("watch", "pods", 200),
            ("create", "pods", 0),
        ]

    def note(verb: str, resource: Any, status: int, seconds: float) -> None:
        assert seconds > 0
        seen.append((verb, resource.plural, status))

    play(main, status(500), POD, stream(event("ADDED", "a")), on_request=note)


def test_informer_and_lease_over_real_sockets() -> None:
    """The pieces fit together; how each behaves is tested in memory."""
    listed = {"metadata": {"resourceVersion": "7"}, "items": [POD]}
    lease = {"metadata": {"name": "l", "uid": "l", "resourceVersion": "1"}, "spec": {}}

    async def main(client: KubeClient, server: Server) -> None:
        informer = Informer(client, PODS, lambda raw: str(raw["metadata"]["name"]), silence_s=0.5)
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.synced.wait(), 5)
        while informer.size < 2:
            await asyncio.sleep(0.01)
        assert informer.all() == ["a", "b"]
        while informer.lists < 2:  # the stream is silent after that: noticed
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        absent = {"name": "l", "kind": "leases", "group": "coordination.k8s.io"}
        server.answers[:] = [
            status(404, "NotFound", details=absent),
            web.json_response(lease),
        ]
        elector = LeaseElector(client, "ns", "l", "me")
        client.guard = elector.is_leader
        task = asyncio.create_task(elector.run())
        while not elector.is_leader():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    later = {**listed, "metadata": {"resourceVersion": "9"}}
    silent = stream(end=False)
    play(main, listed, stream(event("ADDED", "b"), end=False), silent, later, silent)
