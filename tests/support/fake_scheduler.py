"""Plays the control API of the schedulers of pretended clusters, for tests of the controller against a real API server.

Pretended pods have loopback addresses, so one server on all of 127/8 is every scheduler; which one it is, it sees from
the address that was called and the token, as addresses are given out again. Every running worker pod of that cluster is registered with it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from dask_gitops.kube import PODS, Informer, KubeClient, from_kubeconfig

from tests.support.dask_workers import worker_ids, worker_name
from tests.support.fault_proxy import Strike, end_all_others, reset

PORTS = {
    8787,
    8789,
}  # of the dashboard, where Pods of earlier versions have their control API, and of its own
HANGS_S = 10.0  # longer than the controller waits for a scheduler
CODES = {"429": 429, "500": 500, "conflict": 409}
#: What can go wrong with a call.
FAULTS = (
    *CODES,
    *(f"{what} {when}" for what in ("timeout", "reset", "killed") for when in ("before", "after")),
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeSchedulers:
    """Start it once; ``busy`` and ``refuse`` say how single workers behave, ``silent`` makes all of them mute."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self.silent = False
        self.load: dict[str, int] = {}  # pod name -> bytes held
        self.refuse: set[str] = set()  # pod names whose keys have no place
        self.vanish: set[str] = set()  # pod names whose workers end when they are to be retired
        self.draining: set[str] = set()  # ids of workers on which a task runs that does not end
        self.idle: dict[str, float] = {}  # namespace -> for how many seconds nothing has run
        self.tasks: dict[str, dict[str, int]] = {}  # namespace -> Dask's word for a state -> tasks
        #: namespace -> what there is to do: needs -> tasks, which take a minute each
        self.work: defaultdict[str, dict[tuple[tuple[str, float], ...], int]] = defaultdict(dict)
        #: uid of the scheduler pod -> of worker pods that have no worker left
        self.retired: dict[str, set[str]] = defaultdict(set)
        self._left: dict[str, set[str]] = defaultdict(set)  # the same -> ids of retired workers
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        #: namespace -> which of its calls ("call state", "call retire") is to go wrong
        self.strikes: dict[str, Strike] = {}
        self.on_kill: Callable[[], None] = lambda: None
        #: namespace -> how often each call was made
        self.asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _serve(self) -> None:
        self._client = KubeClient(from_kubeconfig(self._kubeconfig))
        self._pods: Informer[dict[str, Any]] = Informer(
            self._client, PODS, lambda pod: pod, label_selector="dask.org/component"
        )
        self._watching = asyncio.create_task(self._pods.run())
        await self._pods.synced.wait()
        app = web.Application(middlewares=[self._maybe_fail])
        app.router.add_get("/control/v1/state", self._state)
        app.router.add_get("/control/v1/demand", self._demand)
        app.router.add_post("/control/v1/{what}", self._post)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        for port in PORTS:
            await web.TCPSite(self._runner, "0.0.0.0", port).start()

    async def _close(self) -> None:
        await self._runner.cleanup()
        await end_all_others()
        await self._client.close()

    @web.middleware
    async def _maybe_fail(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scheduler = self._scheduler(request)
        words = f"call {request.path.rpartition('/')[2]}"
        namespace = scheduler["metadata"]["namespace"]
        self.asked[namespace][words] += 1
        strike = self.strikes.get(namespace)
        if strike is None or not strike.meets(words):
            return await handler(request)
        if strike.fault in CODES:
            return web.Response(status=CODES[strike.fault])
        if strike.fault.endswith(" after"):
            await handler(request)
        if strike.fault.startswith("timeout"):
            await asyncio.sleep(HANGS_S)
        elif strike.fault.startswith("killed"):
            await asyncio.to_thread(self.on_kill)
        return reset(request)

    def _scheduler(self, request: web.Request) -> dict[str, Any]:
        """The pod that was called: of those that have or had the address, the one whose token was sent."""
        assert request.transport is not None
        address, port = request.transport.get_extra_info("sockname")
        token = request.headers.get("Authorization")
        there = [
            pod
            for pod in self._pods.all()
            if pod["status"].get("podIP") == address
            and _component(pod) == "scheduler"
            and _port(pod) == port
        ]
        if not there:
            raise web.HTTPServiceUnavailable
        for pod in there:
            if token == f"Bearer {_token(pod)}":
                return pod
        raise web.HTTPUnauthorized

    async def _workers(self, request: web.Request) -> tuple[str, dict[str, dict[str, Any]]]:
        """Uid of the scheduler's pod, and worker id -> its pod."""
        if self.silent:
            raise web.HTTPServiceUnavailable
        scheduler = self._scheduler(request)
        uid, pods = scheduler["metadata"]["uid"], self._pods.all()
        mine = [
            p
            for p in pods
            if _component(p) == "worker"
            and p["metadata"]["namespace"] == scheduler["metadata"]["namespace"]
            and _cluster(p) == _cluster(scheduler)
            and p["status"].get("phase") == "Running"
        ]
        left = self._left[uid]
        return uid, {w: p for p in mine for w in _ids(p) if w not in left}

    async def _state(self, request: web.Request) -> web.Response:
        _, pods = await self._workers(request)
        rows = [
            {
                "id": worker,
                "address": f"tcp://{p['status']['podIP']}:40000",
                "host": p["status"]["podIP"],
                "name": worker_name(worker, p),
                "status": "running",
                "processing": int(worker in self.draining),
                "running": int(worker in self.draining),
                "long_running": 0,
                "keys": 1,
                "unique_keys": 1,
                "bytes": self.load.get(p["metadata"]["name"], 1000),
                "unique_bytes": self.load.get(p["metadata"]["name"], 1000),
                "actors": 0,
                "nthreads": 1,
                "resources": {},
                "last_seen_age": 0.1,
                "leaving": False,
                "refused": None,
            }
            for worker, p in pods.items()
        ]
        now, namespace = time.time(), self._scheduler(request)["metadata"]["namespace"]
        tasks = self.tasks.get(namespace, {})
        busy = any(count for state, count in tasks.items() if state != "memory")
        return web.json_response(
            {
                "id": "Scheduler-1",
                "version": "2026.8.0",
                "now": now,
                "idle_since": None if busy else now - self.idle.get(namespace, 0),
                "clients": 0,
                "tasks": tasks,
                "workers": rows,
            }
        )

    async def _demand(self, request: web.Request) -> web.Response:
        _, pods = await self._workers(request)
        scheduler = self._scheduler(request)["metadata"]
        some = dict(self.work[scheduler["namespace"]])
        answer = {
            "id": f"Scheduler-{scheduler['uid']}",
            "target_seconds": 5,
            "kinds": [
                {"resources": dict(needs), "waiting": n, "running": 0, "seconds": 60.0 * n}
                for needs, n in some.items()
            ],
            "workers": [
                {
                    "host": p["status"]["podIP"],
                    "name": worker_name(worker, p),
                    "nthreads": 1,
                    "memory_limit": 10**9,
                    "bytes": 0,
                    "keys": 0,
                    "tasks": 0,
                    "actors": 0,
                    "resources": {},
                }
                for worker, p in pods.items()
            ],
        }
        return web.json_response(answer)

    async def _post(self, request: web.Request) -> web.Response:
        scheduler, pods = await self._workers(request)
        body = await request.json()
        what = request.match_info["what"]
        self.calls.append((scheduler, what, body))
        out = {}
        for one in body["ids"]:
            pod = pods.get(one)
            if what == "undrain":
                out[one] = {"state": "running" if pod else "gone"}
            elif pod is None:
                known = one in self._left[scheduler]
                out[one] = {"state": "retired" if known else "gone", "message": ""}
            elif pod["metadata"]["name"] in self.refuse and not body.get("discard"):
                out[one] = {"state": "refused", "message": "no worker can take its 3 unique keys"}
            elif pod["metadata"]["name"] in self.vanish:
                self._left[scheduler].add(one)
                out[one] = {"state": "gone", "message": ""}
            elif one in self.draining and not body.get("interrupt"):
                out[one] = {"state": "draining", "message": "1 task running"}
            else:
                self._leave(scheduler, one, pod)
                out[one] = {"state": "retired", "message": ""}
        return web.json_response({"workers": out})

    def _leave(self, scheduler: str, worker: str, pod: dict[str, Any]) -> None:
        self._left[scheduler].add(worker)
        if self._left[scheduler].issuperset(_ids(pod)):
            self.retired[scheduler].add(pod["metadata"]["uid"])


def _ids(pod: dict[str, Any]) -> list[str]:
    return worker_ids(f"Worker-{pod['metadata']['uid']}", pod)


def _component(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"].get("dask.org/component"))


def _env(pod: dict[str, Any]) -> dict[str, str | None]:
    return {e["name"]: e.get("value") for e in pod["spec"]["containers"][0].get("env") or ()}


def _token(pod: dict[str, Any]) -> str | None:
    return _env(pod).get("SCHEDULER_CONTROL_TOKEN")


def _port(pod: dict[str, Any]) -> int:
    return int(_env(pod).get("SCHEDULER_CONTROL_PORT") or 8787)


def _cluster(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"].get("dask.org/cluster-name"))
