"""What is asked of schedulers, and told them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from dask_gitops.plan.actions import Retire, Undrain
from dask_gitops.plan.autoscaler import ScalerState
from dask_gitops.plan.cluster import ClusterState, Load, listening_in, needs_load
from dask_gitops.plan.demand import Demand
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.idle import Look, look_in
from dask_gitops.plan.job import needs_listening as job_needs_listening
from dask_gitops.plan.jobrun import JobState
from dask_gitops.plan.told import Told
from dask_gitops.plan.workergroup import needs_scheduler
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.stores import Key, key_of
from dask_gitops.resources.observed import Pod
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


@dataclass(frozen=True, slots=True)
class Said:
    """What a scheduler said in this turn, or why it did not.

    :ivar scheduler: uid of its pod; "": nobody was asked.
    :ivar silence: why it does not answer, in words that continue "the scheduler ...".
    """

    scheduler: str = ""
    silence: str = ""
    workers: list[Worker] | None = None
    demand: Demand | None = None
    load: Load | None = None
    look: Look | None = None

    @property
    def asked(self) -> bool:
        return bool(self.scheduler)

    def by(self, scheduler: Pod | None) -> Said:
        """What this very pod said; another one, which came meanwhile, was not asked."""
        same = scheduler is not None and scheduler.meta.uid == self.scheduler
        return self if same else Said()


@dataclass(slots=True)
class Asker:
    """Each turn asks once at most, and only if the state needs it.

    :ivar there: is there still something of what this key names?
    :ivar clock: wall clock, seconds since the epoch.
    """

    schedulers: Schedulers
    memory: Memory
    there: Callable[[Key], bool]
    clock: Callable[[], float]

    async def group(self, state: GroupState) -> Said:
        """Which workers the scheduler knows, where some are to leave."""
        scheduler = state.scheduler
        if scheduler is None or not needs_scheduler(state):
            return Said()
        try:
            said = await self._state(scheduler)
        except SchedulerUnavailable as error:
            return Said(scheduler.meta.uid, error.reason)
        workers = [
            Worker(w.id, w.host, w.name, w.processing, w.bytes, w.actors) for w in said.workers
        ]
        return Said(scheduler.meta.uid, workers=workers)

    async def autoscaler(self, state: ScalerState) -> Said:
        """What there is to do."""
        scheduler = state.group.scheduler if state.group is not None else None
        if scheduler is None:
            return Said(silence="is not running")
        try:
            demand = await self.schedulers.demand(*address(scheduler))
        except SchedulerUnavailable as error:
            return Said(scheduler.meta.uid, error.reason)
        return Said(scheduler.meta.uid, demand=demand)

    async def cluster(self, state: ClusterState) -> Said:
        """What the scheduler has to do, where it is to be replaced; whether it is idle, and where it listens, in their time."""
        scheduler = state.scheduler
        looks, listens = self.look_in(state) == 0, listening_in(state, self.clock()) == 0
        if scheduler is None or not (looks or listens or needs_load(state)):
            return Said()
        uid, load, silence = scheduler.meta.uid, None, ""
        try:
            said = await self._state(scheduler)
        except SchedulerUnavailable as error:
            silence = error.reason
            look = Look(uid, self.clock(), silence=silence)
            if listens:
                self._hear(scheduler, Told(uid, None, silent=self.clock()))
        else:
            tasks, results = _load(said)
            load = Load(tasks=tasks, results=results)
            look = Look(uid, self.clock(), said.idle_seconds, tasks, results)
        if looks:
            self.memory.looks[key_of(state.cluster)] = look
        if not needs_load(state):
            load = None
        return Said(uid, silence, load=load, look=look if looks else None)

    def last_look(self, state: ClusterState) -> Look | None:
        """What the scheduler said when it was asked last whether it is idle."""
        return self.memory.looks.get(key_of(state.cluster))

    def look_in(self, state: ClusterState) -> float | None:
        """Seconds until the scheduler is to be asked whether it is idle; None: never, as things are."""
        return look_in(state.cluster, state.scheduler, self.last_look(state), self.clock())

    async def job(self, state: JobState) -> None:
        """Where the scheduler of its cluster listens, if that must be known."""
        if state.scheduler is not None and job_needs_listening(state):
            with suppress(SchedulerUnavailable):
                await self._state(state.scheduler)

    async def _state(self, scheduler: Pod) -> State:
        """What this scheduler says; where it listens is kept.

        :raises SchedulerUnavailable: its ``reason`` continues "the scheduler ...".
        """
        state = await self.schedulers.state(*address(scheduler))
        self._hear(scheduler, Told(scheduler.meta.uid, state.listens))
        return state

    def _hear(self, scheduler: Pod, told: Told) -> None:
        key = Key("DaskCluster", scheduler.meta.namespace, scheduler.cluster)
        if self.there(key):  # else nobody would forget it
            self.memory.hear(key, told)

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
