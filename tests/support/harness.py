"""A whole controller against the API server in memory: informers, queue and World, wired as `main.Controller` does.

    async def main(h: Harness) -> None:
        h.cluster("demo", worker={"replicas": 3})
        h.start()
        await h.settle()
        assert len(h.workers("demo-default")) == 3

    play(main)

`FakeSchedulers` plays the Dask schedulers: every worker pod that runs is registered, keys live on workers, and whatever
is lost with a pod that was not retired is written down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from dask_gitops.kube.errors import ApiUnreachable, KubeError
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    SERVICES,
    Resource,
)
from dask_gitops.kube.workqueue import WorkQueue
from dask_gitops.metrics import Metrics
from dask_gitops.plan.demand import Demand, Kind, Process
from dask_gitops.reconcile.failures import TurnFailed
from dask_gitops.reconcile.serving import Serving
from dask_gitops.reconcile.stores import Key
from dask_gitops.reconcile.wiring import build_stores, reconcile
from dask_gitops.reconcile.world import World
from dask_gitops.resources import labels
from dask_gitops.resources.inject import ControlApi
from dask_gitops.resources.listening import Listening
from dask_gitops.resources.observed import parse_time
from dask_gitops.scheduler.client import Outcome, SchedulerUnavailable, State, WorkerRow
from dask_gitops.settings import Settings

from tests.support import virtual_time
from tests.support.dask_workers import worker_ids, worker_name
from tests.support.judge import Judge
from tests.support.memory_api import Kubelet, MemoryApi, MemoryClient

JSON = dict[str, Any]
NS = "default"
HOT = 5000  # turns at one moment
CONTROL = ControlApi(
    "import os; preload", "import os; beside", "CONTROL_SOURCE", "source", "SCHEDULER_CONTROL_TOKEN"
)


async def _nothing(what: str, number: int, when: str) -> None:
    pass


def living(pod: JSON) -> list[str]:
    """Ids of the Dask workers in a pod, those before a restart of its containers not among them."""
    restarts = sum(s["restartCount"] for s in pod["status"].get("containerStatuses") or [])
    return worker_ids(f"{pod['metadata']['uid']}/{restarts}", pod)


class FakeSchedulers:
    """All schedulers of a `MemoryApi`, with workers, keys and the control API's answers.

    :ivar keys: worker id -> the keys that only it holds.
    :ivar running: worker ids on which a task runs that does not end.
    :ivar work: cluster -> what its scheduler says is to be done.
    :ivar resources: Dask resources of the workers of these groups.
    :ivar lost: keys of workers whose pods went without being retired.
    :ivar silent: why no scheduler answers, if so.
    :ivar listens: where all of them say that they listen.
    :ivar waiting: tasks without a worker.
    :ivar active: when something ran last (seconds since the epoch); a scheduler's start counts as that, too.
    """

    def __init__(self, api: MemoryApi, kubelet: Kubelet | None = None) -> None:
        self.api = api
        self.kubelet = kubelet
        self.keys: dict[str, set[str]] = {}
        self.running: set[str] = set()
        self.work: dict[str, list[Kind]] = {}
        self.resources: dict[str, dict[str, float]] = {}
        self.retired: set[str] = set()
        self.leaving: set[str] = set()
        self.lost: set[str] = set()
        self.discarded: set[str] = set()
        self.silent: str | None = None
        self.listens: Listening | None = None
        self.waiting = 0
        self.active = 0.0
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        #: Asked with "call", its number from 1 on and "before" or "after" its effect; what it raises, the caller gets.
        self.strike: Callable[[str, int, str], Awaitable[None]] = _nothing

    def workers(self) -> dict[str, JSON]:
        """Worker id -> its pod, for all that are connected now."""
        found = {}
        for pod in self.api._objects(PODS, None):  # read only, so no copies
            if (pod["metadata"].get("labels") or {}).get(labels.COMPONENT) != labels.WORKER:
                continue
            if self.kubelet is not None and pod["metadata"]["uid"] in self.kubelet.lost:
                continue
            statuses = pod["status"].get("containerStatuses") or []
            if any("running" in s["state"] for s in statuses):
                found.update({w: pod for w in living(pod) if w not in self.retired})
        for worker in list(self.keys):
            if worker not in found and worker not in self.retired:
                self.lost |= self.keys.pop(worker)
        self.leaving &= found.keys()
        return found

    def scatter(self, per_worker: int = 2) -> set[str]:
        """Give each worker keys that only it holds."""
        for worker in self.workers():
            held = self.keys.setdefault(worker, set())
            held |= {f"{worker}#{n}" for n in range(per_worker)}
        return self.all_keys()

    def all_keys(self) -> set[str]:
        return set().union(*self.keys.values()) if self.keys else set()

    async def _call(self, what: str, ids: Iterable[str] = ()) -> dict[str, JSON]:
        self.calls.append((what, tuple(ids)))
        number = len(self.calls)
        await asyncio.sleep(0)
        if self.silent is not None:
            raise SchedulerUnavailable(self.silent)
        await self.strike("call", number, "before")
        return self.workers()

    async def _answered(self, call: int) -> None:
        """The call has had its effect; does its answer arrive?"""
        await self.strike("call", call, "after")

    async def state(self, base_url: str, token: str) -> State:
        call = len(self.calls) + 1
        pods = await self._call("state")
        await self._answered(call)
        rows = tuple(
            WorkerRow(
                id=worker,
                address=f"tcp://{pod['status']['podIP']}:4000",
                host=pod["status"]["podIP"],
                name=worker_name(worker, pod),
                status="closing_gracefully" if worker in self.leaving else "running",
                processing=int(worker in self.running),
                running=int(worker in self.running),
                long_running=0,
                keys=len(self.keys.get(worker, ())),
                unique_keys=len(self.keys.get(worker, ())),
                bytes=8 * len(self.keys.get(worker, ())),
                unique_bytes=8 * len(self.keys.get(worker, ())),
                actors=0,
                nthreads=1,
                resources={},
                last_seen_age=0.1,
                leaving=worker in self.leaving,
                refused=None,
            )
            for worker, pod in pods.items()
        )
        held = sum(len(self.keys.get(worker, ())) for worker in pods)
        busy = len(self.running & pods.keys())
        tasks = {"memory": held, "processing": busy, "no-worker": self.waiting}
        now = self.api.now().timestamp()
        if busy or self.waiting:
            self.active = now
        idle_since = None if busy or self.waiting else max(self.active, self._started(base_url))
        return State("scheduler", "2026.8.0", now, idle_since, 0, tasks, rows, self.listens)

    def _started(self, base_url: str) -> float:
        """When the container of the scheduler at this address was started."""
        found = [
            p
            for p in self.api._objects(PODS, None)
            if p["status"].get("podIP") and f"//{p['status']['podIP']}:" in base_url
        ]
        if not found:
            raise SchedulerUnavailable("does not answer")  # its pod is gone
        (pod,) = found
        states = [status["state"] for status in pod["status"]["containerStatuses"]]
        times = [
            parse_time(state["running"]["startedAt"]) for state in states if "running" in state
        ]
        started = [time for time in times if time is not None]
        if not started:
            raise SchedulerUnavailable("does not answer")
        return max(started)

    async def demand(self, base_url: str, token: str) -> Demand:
        pods = await self._call("demand")
        await self._answered(len(self.calls))
        ip = base_url.partition("//")[2].rpartition(":")[0]
        found = [
            pod
            for pod in self.api._objects(PODS, None)
            if pod["status"].get("podIP") == ip and labels.GROUP not in pod["metadata"]["labels"]
        ]
        if not found:
            raise SchedulerUnavailable("does not answer")  # its pod is gone
        (scheduler,) = found
        name = scheduler["metadata"]["labels"][labels.CLUSTER]
        rows = tuple(
            Process(
                host=pod["status"]["podIP"],
                name=worker_name(worker, pod),
                nthreads=1,
                memory_limit=1000,
                bytes=8 * len(self.keys.get(worker, ())),
                keys=len(self.keys.get(worker, ())),
                tasks=int(worker in self.running),
                actors=0,
                resources=self.resources.get(pod["metadata"]["labels"][labels.GROUP], {}),
            )
            for worker, pod in pods.items()
            if pod["metadata"]["labels"][labels.CLUSTER] == name
        )
        return Demand(scheduler["metadata"]["uid"], 5.0, tuple(self.work.get(name, ())), rows)

    async def retire(
        self,
        base_url: str,
        token: str,
        ids: Iterable[str],
        wait_s: float = 0.0,
        interrupt: bool = False,
        discard: bool = False,
    ) -> dict[str, Outcome]:
        ids = list(ids)
        call = len(self.calls) + 1
        pods = await self._call("retire", ids)
        self.leaving |= set(ids) & pods.keys()
        out = {}
        for worker in ids:
            stay = sorted(pods.keys() - self.leaving)
            if worker in self.retired:
                out[worker] = Outcome("retired", "")
            elif worker not in pods:
                out[worker] = Outcome("gone", "")
            elif worker in self.running and not interrupt:
                out[worker] = Outcome("draining", "1 task running")
            elif self.keys.get(worker) and not stay and not discard:
                self.leaving.discard(worker)
                out[worker] = Outcome("refused", "no worker can take its 2 keys")
            else:
                held = self.keys.pop(worker, set())
                if stay:
                    self.keys.setdefault(stay[0], set()).update(held)
                else:
                    self.discarded |= held
                self.retired.add(worker)
                self.leaving.discard(worker)
                out[worker] = Outcome("retired", "")
        await self._answered(call)
        if any(o.state == "draining" for o in out.values()):
            await asyncio.sleep(wait_s)
        return out

    async def undrain(self, base_url: str, token: str, ids: Iterable[str]) -> dict[str, str]:
        ids = list(ids)
        call = len(self.calls) + 1
        pods = await self._call("undrain", ids)
        self.leaving -= set(ids)
        await self._answered(call)
        return {i: "running" if i in pods else "gone" for i in ids}


class _Wire(MemoryClient):
    """The controller's client: counts requests, so that something can happen right before or after the n-th."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness.api, "controller")
        self.harness = harness

    async def _request(self, *args: Any, **kwargs: Any) -> Any:
        self.harness.asked += 1
        number = self.harness.asked
        await self.harness.strike("request", number, "before")
        try:
            return await super()._request(*args, **kwargs)
        finally:
            await self.harness.strike("request", number, "after")


class Harness:
    """:param api: the world to begin with; default: an empty one.

    :ivar judge: sees every status that is written; `play` fails when one of them was not true.
    """

    def __init__(self, api: MemoryApi | None = None, **settings: Any) -> None:
        self.api = api or MemoryApi()
        self.kubelet = Kubelet(self.api)
        self.schedulers = FakeSchedulers(self.api, self.kubelet)
        self.schedulers.strike = self.strike
        self.settings = Settings(dask_image="dask:1", **settings)
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[BaseException] = []
        self.turns: list[Key] = []
        self.at_once = (0.0, 0)  # when the last turn was, and how many there were at that moment
        self.asked = 0
        self.kills = 0
        #: ("request" or "call", its number from 1 on, "before" or "after" its effect) -> what happens then.
        self.strikes: dict[tuple[str, int, str], Callable[[], Awaitable[None] | None]] = {}
        self.struck = 0
        #: For tests: a snapshot of the world before their change, and the keys that workers held then.
        self.before: Any = None
        self.held: set[str] = set()
        self.judge = Judge(tolerance_s=2, blind=lambda: self.api.lags)
        before = sorted(self.api._everything(), key=lambda found: found[0] != PODS)
        for res, obj in before:
            self.judge.see(float("-inf"), res.kind, obj, judge=False)
        self.api.on_change = self._changed

    def _changed(self, res: Resource, old: JSON | None, new: JSON | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        self.judge.see(self._time(), res.kind, obj, gone=new is None)

    def _time(self) -> float:
        return self.api.now().timestamp()

    # ---- the process

    def start(self) -> None:
        """A new process: empty caches, empty queue."""
        metrics = Metrics()
        self.queue: WorkQueue[Key] = WorkQueue(
            self._reconcile,
            lane=lambda key: key.namespace,
            on_turn=self._turned,
            quiet=(KubeError, TurnFailed),
        )
        wire = _Wire(self)
        self.serving = Serving(self.queue.put_after)
        stores = build_stores(wire, self.settings.namespaces, self.serving.put)
        self.world = World(
            api=wire,
            schedulers=self.schedulers,
            stores=stores,
            settings=self.settings,
            metrics=metrics,
            again=self.serving.put,
            clock=self._time,
            control=CONTROL,
        )
        self.informers = stores.informers
        self.serving.take(self.informers)
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(informer.run()) for informer in self.informers]
        self.tasks += [loop.create_task(self.serving.complete(s)) for s in self.serving.scopes]
        self.queue.start()

    def kill(self) -> None:
        """The process ends where it stands (SIGKILL)."""
        self.kills += 1
        queue = self.queue
        queue._stopped = True
        for key in list(queue._timers):
            queue._cancel_timer(key)
        for task in [*self.tasks, *(task for task, _ in queue._running.values())]:
            task.cancel()

    def restart(self) -> None:
        self.kill()
        self.start()

    async def strike(self, what: str, number: int, when: str) -> None:
        """Let happen what ``strikes`` says."""
        act = self.strikes.get((what, number, when))
        if act is not None:
            self.struck += 1
            waits = act()
            if waits is not None:
                await waits
            await asyncio.sleep(0)  # a kill arrives here

    async def _reconcile(self, key: Key) -> None:
        await reconcile(self.world, key)

    def _turned(self, key: Key, waited: float, ran: float, error: BaseException | None) -> None:
        self.turns.append(key)
        if error is not None:
            self.errors.append(error)
        now = self._time()
        self.at_once = (now, self.at_once[1] + 1) if self.at_once[0] == now else (now, 1)
        if self.at_once[1] == HOT:  # virtual time might never pass
            self.queue._stopped = True
            self.errors.append(RuntimeError(f"a hot loop: {HOT} turns at once, the last of {key}"))

    @property
    def bugs(self) -> list[BaseException]:
        """What reconciles raised that the API server did not say."""
        return [e for e in self.errors if not isinstance(e, (KubeError, asyncio.CancelledError))]

    # ---- time

    async def settle(self, quiet_s: float = 75, limit_s: float = 1500) -> None:
        """Play the nodes until nothing in the world changes for ``quiet_s`` virtual seconds."""
        await self.pass_time(limit_s, quiet_s=quiet_s)
        assert not self.bugs, self.bugs

    async def pass_time(self, seconds: float, *, quiet_s: float | None = None) -> None:
        """Play the nodes for so long, or until all is quiet."""
        now = asyncio.get_running_loop().time
        end, seen, pods, since = now() + seconds, 0, (-1, 0), now()
        while now() < end:
            if seen != self.api.version:
                self.api.collect_garbage()
                seen, since = self.api.version, now()
            elif quiet_s is not None and now() - since >= quiet_s:
                return
            news = len(self.api._history.get(PODS, ())), len(self.schedulers.retired)
            if pods != news:
                pods = news
                self.schedulers.workers()
                self.kubelet.tick()
                self._retired_ones_end()
                self.schedulers.workers()
            await asyncio.sleep(0.5 if now() - since < 5 else 2.5)
        assert quiet_s is None, "the world never comes to rest"

    def _retired_ones_end(self) -> None:
        """A pod whose workers were all retired exits with 0; the kubelet of these nodes restarts it only if it says Always."""
        for pod in list(self.api._objects(PODS, None)):
            if (pod["metadata"].get("labels") or {}).get(labels.COMPONENT) != labels.WORKER:
                continue
            name, running = pod["metadata"]["name"], pod["status"]["phase"] == "Running"
            if running and self.schedulers.retired.issuperset(living(pod)):
                if pod["spec"].get("restartPolicy", "Always") == "Always":
                    self.kubelet.restart(NS, name, 0)
                    self.kubelet.set_ready(NS, name, True)
                else:
                    self.kubelet.finish(NS, name, 0)

    # ---- the world

    def cluster(self, name: str = "demo", *, meta: JSON | None = None, **spec: Any) -> JSON:
        return self.api.put(
            DASKCLUSTERS,
            {"metadata": {"name": name, "namespace": NS, **(meta or {})}, "spec": spec},
        )

    def group(self, name: str, cluster: str = "demo", **spec: Any) -> JSON:
        return self.api.put(
            DASKWORKERGROUPS,
            {
                "metadata": {"name": name, "namespace": NS},
                "spec": {"cluster": cluster, **spec},
            },
        )

    def job(self, name: str = "nightly", *, meta: JSON | None = None, **spec: Any) -> JSON:
        """A DaskJob with one worker and a runner container called ``job``, unless ``spec`` says something else."""
        spec.setdefault("job", {"spec": {"containers": [{"name": "job", "image": "dask:1"}]}})
        spec.setdefault("cluster", {"spec": {"worker": {"replicas": 1}}})
        return self.api.put(
            DASKJOBS, {"metadata": {"name": name, "namespace": NS, **(meta or {})}, "spec": spec}
        )

    def autoscaler(self, minimum: int, maximum: int, name: str = "demo", **spec: Any) -> JSON:
        limits = {"cluster": "demo", "minimum": minimum, "maximum": maximum}
        return self.api.put(
            DASKAUTOSCALERS,
            {"metadata": {"name": name, "namespace": NS}, "spec": {**limits, **spec}},
        )

    def demand(
        self, count: int, seconds: float = 60, cluster: str = "demo", **needs: float
    ) -> None:
        """From now on the cluster's scheduler has so many tasks of this kind, which take so long each."""
        key = tuple(sorted(needs.items()))
        kinds = [k for k in self.schedulers.work.get(cluster, ()) if k.needs != key]
        some = [Kind(key, count, 0, count * seconds)] if count else []
        self.schedulers.work[cluster] = [*kinds, *some]

    def edit(self, res: Resource, name: str, spec: JSON) -> None:
        self.api.edit(res, NS, name, {"spec": spec})

    def find(self, res: Resource, name: str) -> JSON:
        found = self.api.find(res, NS, name)
        assert found is not None, f"there is no {res} {name}"
        return found

    def delete_pod(self, name: str) -> None:
        """As ``kubectl delete pod`` does."""
        self.api._delete(PODS, self.api._must(PODS, NS, name), None, None)

    def workers(self, group: str = "demo-default") -> list[str]:
        """Names of the group's pods."""
        return self.api.names(PODS, NS, f"{labels.GROUP}={group}")

    def condition(self, res: Resource, name: str, kind: str) -> tuple[str, str, str]:
        """(status, reason, message) of a condition; three empty texts if it is not there."""
        for c in self.find(res, name)["status"].get("conditions") or []:
            if c["type"] == kind:
                return c["status"], c["reason"], c["message"]
        return "", "", ""

    def events(self) -> list[str]:
        """Reasons of the Events so far, in order."""
        return [r.body["reason"] for r in self.api.requests("create", EVENTS) if r.status == 201]

    def created(self, res: Resource = PODS) -> list[str]:
        """Names of the objects that the controller created, also where it did not hear of it."""
        return [
            str(r.name) for r in self.api.requests("create", res) if str(r.status).startswith("201")
        ]

    def picture(self) -> JSON:
        """The world as users see it, without times, versions, Events and the names of workers."""
        out = {}
        number = Counter[str]()
        for res in (DASKJOBS, DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS, PODS, SERVICES):
            for obj in self.api.items(res):
                meta = obj["metadata"]
                status = obj.get("status") or {}
                if res == PODS:
                    status = {"phase": status.get("phase")}
                for condition in status.get("conditions") or ():
                    condition.pop("lastTransitionTime")
                for container in obj["spec"].get("containers") or ():
                    for env in container.get("env") or ():
                        if env["name"] == CONTROL.token_env:
                            env["value"] = "secret"
                status.pop("lastScaleTime", None)
                obj["spec"].pop("clusterIP", None)
                name = meta["name"]
                if group := (meta.get("labels") or {}).get(labels.GROUP):
                    # A serial is skipped when its create failed and that of a later one did not.
                    number[group] += 1
                    name = f"{group} worker {number[group]}"
                    obj = json.loads(json.dumps(obj).replace(meta["name"], name))
                    meta["labels"].pop(labels.SERIAL)
                out[f"{res} {name}"] = {
                    "labels": meta.get("labels"),
                    "annotations": meta.get("annotations"),
                    "owners": [o["name"] for o in meta.get("ownerReferences") or ()],
                    "deleting": "deletionTimestamp" in meta,
                    "spec": obj["spec"],
                    "status": status,
                }
        return out

    def copy_of_world(self) -> MemoryApi:
        """An API server of its own with the same objects and nothing in its log."""
        api = MemoryApi()
        api.version, store = self.api.snapshot()
        api._store = store
        api._compacted = dict.fromkeys(store, api.version - 1)
        api._uids = itertools.count(100_000)
        return api


def play(
    main: Callable[[Harness], Awaitable[Any]], harness: Callable[[], Harness] = Harness
) -> Harness:
    """Run ``main`` with a new harness under a virtual clock; the harness may be looked at afterwards."""

    async def story() -> Harness:
        h = harness()
        try:
            await main(h)
            h.judge.end(h._time())
        finally:
            if h.tasks:
                h.kill()
            await asyncio.sleep(0)
        assert not h.judge.violations, h.judge.report()
        return h

    log = logging.getLogger("dask_gitops")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        return virtual_time.run(story(), limit_s=1e6)
    finally:
        log.setLevel(level)


__all__ = ["CONTROL", "NS", "ApiUnreachable", "FakeSchedulers", "Harness", "play"]
