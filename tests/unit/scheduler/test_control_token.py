"""The token of the control API: nothing is done without it, and nobody but the controller gets to see it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from dask_gitops.scheduler import (
    PORT_ENV,
    PRELOAD,
    PRELOAD_ENV,
    SOURCE_ENV,
    TOKEN_ENV,
    control,
    control_source,
)
from distributed import Client

from tests.unit.scheduler.test_scheduler_control import Api, cluster, free_port, until

TOKEN = "a-token"  # that of `cluster`
pytestmark = pytest.mark.filterwarnings("ignore")  # what dask warns of is not ours
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "RETIRE")
WITHOUT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "query": {
        "params": {"token": TOKEN, "access_token": TOKEN, "Authorization": f"Bearer {TOKEN}"}
    },
    "cookie": {"headers": {"Cookie": f"token={TOKEN}; Authorization=Bearer {TOKEN}"}},
    "other header": {"headers": {"X-Token": TOKEN, "Proxy-Authorization": f"Bearer {TOKEN}"}},
    "basic": {"headers": {"Authorization": "Basic " + b64encode(f"u:{TOKEN}".encode()).decode()}},
    "bare": {"headers": {"Authorization": TOKEN}},
    "lower": {"headers": {"Authorization": f"bearer {TOKEN}"}},
    "longer": {"headers": {"Authorization": f"Bearer {TOKEN}x"}},
    "shorter": {"headers": {"Authorization": f"Bearer {TOKEN[:-1]}"}},
    "two": {"headers": [("Authorization", "Bearer x"), ("Authorization", f"Bearer {TOKEN}")]},
    "override": {"headers": {"X-HTTP-Method-Override": "POST", "Authorization": "Bearer "}},
    "upgrade": {
        "headers": {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        }
    },
}


def routes() -> list[str]:
    """All that `control.py` adds, as it writes them: a new one is tested from its first day."""
    (pattern,) = re.findall(r'r"/control/v1/\(([a-z|_-]+)\)"', Path(control.__file__).read_text())
    return pattern.split("|")


def test_each_route_by_each_method_without_the_token() -> None:
    async def main() -> None:
        async with cluster(2) as c:
            tried = answered = 0
            for what in [*routes(), "", "nonsense"]:
                for method in METHODS:
                    for kind, extra in WITHOUT.items():
                        body = (
                            None
                            if method in ("GET", "HEAD", "TRACE")
                            else {"ids": c.ids, "discard": True}
                        )
                        url = f"{c.api.url}/control/v1/{what}"
                        where, tried = (what, method, kind), tried + 1
                        # tornado hangs up on a body that it does not want: an answer, too
                        with contextlib.suppress(aiohttp.ClientError):
                            async with c.api.session.request(
                                method, url, json=body, allow_redirects=False, **extra
                            ) as answer:
                                text = await answer.text()
                                assert answer.status in (400, 401, 404, 405, 501), where
                                assert TOKEN not in text, where
                                assert "Worker-" not in text, where
                                answered += 1
            assert answered > tried / 2
            print(f"{tried} requests without the token")
            state = await c.api.state()
            assert [row.status for row in state.workers] == ["running", "running"]
            assert not any(row.leaving for row in state.workers)

    asyncio.run(main())


def test_it_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def compare(got: bytes, want: bytes) -> bool:
        seen.append((got, want))
        return got == want

    monkeypatch.setattr(control.hmac, "compare_digest", compare)

    async def main() -> None:
        async with cluster(0) as c:
            for token in ("wrong", TOKEN):
                async with c.api.session.get(
                    f"{c.api.url}/control/v1/state", headers={"Authorization": f"Bearer {token}"}
                ) as answer:
                    assert answer.status == (200 if token == TOKEN else 401)

    asyncio.run(main())
    right = f"Bearer {TOKEN}".encode()
    assert seen == [(b"Bearer wrong", right), (right, right)]


@contextlib.asynccontextmanager
async def whole_dask(log: Any) -> Any:
    """`dask scheduler` with its dashboard, and a worker, as processes; token as in a pod."""
    token = "s3cret-" + os.urandom(12).hex()
    env = {**os.environ, "BOKEH_LOG_LEVEL": "error"}
    for name in (TOKEN_ENV, SOURCE_ENV, PRELOAD_ENV, PORT_ENV):
        env.pop(name, None)
    ours = {**env, SOURCE_ENV: control_source(), TOKEN_ENV: token, PRELOAD_ENV: PRELOAD}
    port, http, worker_http, control = free_port(), free_port(), free_port(), free_port()
    ours[PORT_ENV] = str(control)
    processes = []

    def start(environment: dict[str, str], *words: str) -> None:
        command = [sys.executable, "-m", *words]
        with open(log, "ab") as file:
            processes.append(
                subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
            )

    url, address = f"http://127.0.0.1:{http}", f"tcp://127.0.0.1:{port}"
    local = ("--host", "127.0.0.1")
    start(ours, "distributed.cli.dask_scheduler", *local, "--port", str(port),
          "--dashboard-address", f"127.0.0.1:{http}")  # fmt: skip
    start(env, "distributed.cli.dask_worker", address, *local, "--no-nanny", "--name", "w",
          "--dashboard-address", f"127.0.0.1:{worker_http}")  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            api = Api(session, f"http://127.0.0.1:{control}")

            async def registered() -> bool:
                with contextlib.suppress(Exception):
                    return len((await api.client.state(api.url, token)).workers) == 1
                return False

            await until(registered, "a worker", 0.2)
            yield SimpleNamespace(
                token=token, url=url, address=address, session=session, api=api,
                http=http, worker_http=worker_http, control=control,
            )  # fmt: skip
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_a_visitor_of_the_dashboard(tmp_path: Any) -> None:
    """No page, no configuration and no log shows the token; Dask's own proxy reaches nothing with it."""

    async def main() -> None:
        async with whole_dask(tmp_path / "log") as c:
            pages = {
                "/", "/status", "/workers", "/tasks", "/system", "/profile", "/graph", "/groups",
                "/health", "/metrics", "/sitemap.json", "/json/counts.json", "/json/identity.json",
                "/json/index.html", "/info", "/info/main/workers.html", "/info/logs.html",
                "/info/main/logs.html", "/info/call-stacks/x.html", "/eventstream", "/proxy/8787/127.0.0.1/",
                "/control/v1/", "/statics/", "/individual-plots.json",
            }  # fmt: skip
            async with c.session.get(f"{c.url}/sitemap.json") as answer:
                known = (await answer.json())["paths"]
            pages |= {
                path if path.startswith("/") else f"/{path}" for path in known if "{" not in path
            }
            read = 0
            for page in sorted(pages):
                with contextlib.suppress(asyncio.TimeoutError, aiohttp.ClientError):
                    async with c.session.get(
                        c.url + page, timeout=aiohttp.ClientTimeout(total=20)
                    ) as answer:
                        text = (await answer.read()).decode(errors="replace")
                        assert c.token not in text + str(answer.headers), page
                        read += answer.status == 200
            assert read >= 10
            print(f"{len(pages)} pages, {read} of them there")
            ids = [row.id for row in (await c.api.client.state(c.api.url, c.token)).workers]
            for port in (c.http, c.worker_http, c.control):
                for host in ("127.0.0.1", "localhost"):
                    async with c.session.post(
                        f"{c.url}/proxy/{port}/{host}/control/v1/retire",
                        json={"ids": ids, "discard": True},
                    ) as answer:
                        assert answer.status >= 400
            async with Client(c.address, asynchronous=True) as client:

                def configuration() -> str:
                    import dask

                    return repr(dask.config.config) + repr(dask.config.collect_env())

                def environment() -> str:
                    import os

                    return repr(dict(os.environ))

                found = [await client.run_on_scheduler(configuration)]
                found += (await client.run(configuration)).values()
                found += (await client.run(environment)).values()  # of workers: they have none
                found += [
                    repr(await client.get_scheduler_logs()),
                    repr(await client.get_worker_logs()),
                ]
                found += [repr(await client.get_events()), repr(client.scheduler_info())]
                assert "preload" in found[0]
                for text in found:
                    assert c.token not in text
            state = await c.api.client.state(c.api.url, c.token)
            assert [(row.id, row.status) for row in state.workers] == [(ids[0], "running")]
            written = (tmp_path / "log").read_text()
            assert "Scheduler at" in written
            assert c.token not in written

    asyncio.run(main())
