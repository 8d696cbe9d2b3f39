"""What is asked of schedulers, and told them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from dask_gitops.plan.actions import Retire, Undrain
from dask_gitops.plan.cluster import Load
from dask_gitops.plan.demand import Demand
from dask_gitops.plan.groupstate import Worker
from dask_gitops.plan.idle import Look, look_in, timeout
from dask_gitops.plan.told import Told
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.observe import Observer
from dask_gitops.resources.observed import CustomResource, Pod
from dask_gitops.scheduler.client import Outcome, SchedulerUnavailable, State, base_url

WAIT_S = 2.0  # how long a retire call may wait inside the scheduler
UNFINISHED = ("waiting", "processing", "queued", "no-worker")  # Dask's states of tasks to be done


class Schedulers(Protocol):
    """What is asked of schedulers; tests have one in memory."""

    async def state(self, base_url: str, token: str) -> State: ...

    async def demand(self, base_url: str, token: str) -> Demand: ...

    async def retire(
        self,
        base_url: str,
        token: str,
        ids: Iterable[str],
        wait_s: float = 0.0,
        interrupt: bool = False,
        discard: bool = False,
    ) -> dict[str, Outcome]: ...

    async def undrain(self, base_url: str, token: str, ids: Iterable[str]) -> dict[str, str]: ...


@dataclass(slots=True)
class Asker:
    """:ivar clock: wall clock, seconds since the epoch."""

    schedulers: Schedulers
    observe: Observer
    memory: Memory
    clock: Callable[[], float]

    async def workers(self, scheduler: Pod) -> list[Worker]:
        """The workers that this scheduler knows.

        :raises SchedulerUnavailable: its ``reason`` continues "the scheduler ...".
        """
        state = await self._state(scheduler)
        return [
            Worker(w.id, w.host, w.name, w.processing, w.bytes, w.actors) for w in state.workers
        ]

    async def _state(self, scheduler: Pod) -> State:
        """What this scheduler says; where it listens is kept.

        :raises SchedulerUnavailable: as above.
        """
        state = await self.schedulers.state(*address(scheduler))
        meta = scheduler.meta
        self.memory.told[meta.namespace, scheduler.cluster] = Told(meta.uid, state.listens)
        return state

    async def demand(self, scheduler: Pod) -> tuple[Demand | None, str]:
        """What this scheduler has to do; or None, and why it does not answer, in words."""
        try:
            return await self.schedulers.demand(*address(scheduler)), ""
        except SchedulerUnavailable as error:
            return None, error.reason

    async def load(self, cluster: CustomResource) -> tuple[Load | None, str]:
        """What the cluster's scheduler has to do; or None, and why it does not answer, in words."""
        scheduler = self.observe.cluster_state(cluster).scheduler
        if scheduler is None:
            return None, "is not running"
        try:
            state = await self._state(scheduler)
        except SchedulerUnavailable as error:
            return None, error.reason
        tasks, results = _load(state)
        return Load(tasks=tasks, results=results), ""

    async def look(self, cluster: CustomResource) -> Look | None:
        """Ask the cluster's scheduler whether it is idle, if it is time for that."""
        pods = self.observe.schedulers(cluster.meta.namespace, cluster.meta.name)
        if not timeout(self.memory.readings.what_counts(cluster)) and not any(
            p.idles for p in pods
        ):
            return None
        scheduler = self.observe.cluster_state(cluster).scheduler
        if scheduler is None or self.look_in(cluster, scheduler) != 0:
            return None
        uid = scheduler.meta.uid
        try:
            said = await self._state(scheduler)
        except SchedulerUnavailable as error:
            found = Look(uid, self.clock(), silence=error.reason)
        else:
            tasks, results = _load(said)
            found = Look(uid, self.clock(), said.idle_seconds, tasks, results)
        self.memory.looks[cluster.meta.namespace, cluster.meta.name] = found
        return found

    async def retire(self, scheduler: Pod, action: Retire) -> dict[str, Outcome]:
        """:raises SchedulerUnavailable: nobody knows what became of it."""
        return await self.schedulers.retire(
            *address(scheduler),
            action.ids,
            wait_s=WAIT_S,
            interrupt=action.interrupt,
            discard=action.discard,
        )

    async def undrain(self, scheduler: Pod, action: Undrain) -> None:
        """:raises SchedulerUnavailable: nobody knows what became of it."""
        await self.schedulers.undrain(*address(scheduler), action.ids)

    def last_look(self, cluster: CustomResource) -> Look | None:
        return self.memory.looks.get((cluster.meta.namespace, cluster.meta.name))

    def look_in(self, cluster: CustomResource, scheduler: Pod | None) -> float | None:
        """Seconds until the scheduler is to be asked whether it is idle; None: never, as things are."""
        counts = self.memory.readings.what_counts(cluster)
        return look_in(counts, scheduler, self.last_look(cluster), self.clock())


def address(scheduler: Pod) -> tuple[str, str]:
    """Base URL and token of its control API.

    :raises SchedulerUnavailable: nobody can ask it.
    """
    if not scheduler.ip or not scheduler.running:
        raise SchedulerUnavailable("is not running")
    if not scheduler.token:
        raise SchedulerUnavailable("has no control API (its pod was not made by this controller)")
    return base_url(scheduler.ip, scheduler.control_port), scheduler.token


def _load(state: State) -> tuple[int, int]:
    """Tasks to be done, and results in memory."""
    tasks = sum(state.tasks.get(word, 0) for word in UNFINISHED)
    return tasks, state.tasks.get("memory", 0)
