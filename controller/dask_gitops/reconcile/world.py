"""The rooms that every reconcile works with, around one API server, its caches and the schedulers."""

from __future__ import annotations

import time
from collections.abc import Callable

from dask_gitops.kube.client import Api
from dask_gitops.metrics import Metrics
from dask_gitops.reconcile.ask import Asker, Schedulers
from dask_gitops.reconcile.execute import Executor
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.observe import Observer
from dask_gitops.reconcile.places import Places
from dask_gitops.reconcile.report import Reporter
from dask_gitops.reconcile.standing import Standing
from dask_gitops.reconcile.stores import Key, Stores
from dask_gitops.reconcile.writes import Writer
from dask_gitops.resources.inject import ControlApi
from dask_gitops.scheduler.source import BESIDE, PRELOAD, SOURCE_ENV, TOKEN_ENV, control_source
from dask_gitops.settings import Settings


class World:
    """:ivar observe: caches and memory to states.
    :ivar ask: what schedulers say.
    :ivar execute: carries plans out.
    :ivar report: status and Events.
    :ivar memory: what all of them remember.
    """

    __slots__ = (
        "again", "ask", "clock", "control", "execute", "memory", "observe", "report", "settings", "stores", "write",
    )  # fmt: skip

    def __init__(
        self,
        api: Api,
        schedulers: Schedulers,
        stores: Stores,
        settings: Settings,
        metrics: Metrics,
        again: Callable[[Key, float], None],
        clock: Callable[[], float] = time.time,
        control: ControlApi | None = None,
    ) -> None:
        """
        :param again: asks for another reconcile of a key after so many seconds.
        :param clock: wall clock, seconds since the epoch.
        :param control: what schedulers are given, to be asked by; default: ours.
        """
        self.stores, self.settings, self.again, self.clock = stores, settings, again, clock
        self.control = control or ControlApi(
            PRELOAD, BESIDE, SOURCE_ENV, control_source(), TOKEN_ENV
        )
        self.memory = Memory(Places(settings.limits), stores.reports, stores.crowded)
        self.observe = Observer(stores, self.memory, clock)
        self.ask = Asker(schedulers, self.memory, lambda key: not stores.has_left(key), clock)
        self.write = Writer(api, stores)
        self.report = Reporter(api, stores, self.memory, self.write, again, clock)
        self.execute = Executor(
            self.ask,
            stores,
            self.memory,
            self.write,
            self.report,
            Standing(stores, self.memory, clock),
            metrics,
            again,
            clock,
        )
