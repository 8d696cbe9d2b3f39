"""A worker whose process is told to end (SIGTERM) hands its keys over first.

Kubernetes sends SIGTERM when a Pod is deleted, evicted, or its node drained. Dask alone then loses
what the worker holds. This runs inside the user's workers and their nannies, as a Dask plugin that
the scheduler gives to each of them when it registers (see `control.py`, whose rules for the source
hold here too). Which process gets the signal depends on the image: the nanny, a worker without one,
or all of them (`tini -g`). So each does the same: it asks the scheduler to retire the worker (which
does so for all who ask in one go), waits, and lets the signal do what it did before.
"""

import asyncio
import logging
import os
import signal
import weakref

from distributed import Nanny, Status
from distributed.diagnostics.plugin import NannyPlugin, WorkerPlugin

log = logging.getLogger("distributed.worker.handover")


def limit():
    """Return the seconds after which the hand-over gives up: before the Pod is killed.

    A preStop hook takes from the same grace period; who has one sets the variable accordingly.
    """
    try:
        grace = max(0, float(os.environ["WORKER_GRACE_PERIOD_S"]))
    except (KeyError, ValueError):
        grace = 30
    return max(0.8 * grace, grace - 6)


async def hand_over(server, who):
    """Have the scheduler retire this worker, or this nanny's worker; then end it in any case.

    Closing is not left to `dask worker`: without a nanny it cancels what happens to be closing the
    worker, and may then wait for ever.
    """
    gone, nanny = False, isinstance(server, Nanny)
    if server.status not in (Status.closing, Status.closed, Status.failed):
        log.info("Told to end: handing over the keys")
        if nanny:
            server.close_gracefully(reason="handover")  # it ends with its worker, starts no other
        try:
            gone = await server.scheduler.control_leave(who=who)
        except Exception as e:
            log.info("Told to end: no keys were handed over: %r", e)
    if nanny or not server.nanny:  # a worker that has a nanny just ends
        # A task that still runs is not waited for: by now it runs again elsewhere.
        await server.close(timeout=2 if gone else 10)


class Handler:
    """SIGTERM's handler in this process, in front of the one that was there."""

    def __init__(self, before, loop):
        self.before, self.loop, self.pid = before, loop, os.getpid()
        self.servers = weakref.WeakKeyDictionary()  # --nworkers 2: two nannies in one process
        self.task = None
        self.begun = False

    def __call__(self, *_):
        # Told twice, or in a process that a task has forked, or nobody would answer.
        if self.begun or os.getpid() != self.pid or not self.loop.is_running():
            return self.go_on()
        self.begun = True
        self.loop.call_soon_threadsafe(self.start)

    def start(self):
        self.task = asyncio.ensure_future(self.run())

    async def run(self):
        tasks = [asyncio.ensure_future(hand_over(s, who)) for s, who in self.servers.items()]
        if tasks:
            await asyncio.wait(tasks, timeout=limit())
        self.go_on()

    def go_on(self):
        signal.signal(signal.SIGTERM, self.before)
        os.kill(os.getpid(), signal.SIGTERM)


class Plugin(WorkerPlugin, NannyPlugin):
    def setup(self, worker=None, nanny=None):
        try:
            loop, handler = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
            if handler in (None, signal.SIG_IGN):
                return  # not ours to replace
            if getattr(handler, "loop", None) is not loop:
                handler = Handler(handler, loop)
                signal.signal(signal.SIGTERM, handler)
            handler.servers[worker or nanny] = worker.id if worker else nanny.address
        except Exception as e:  # not in the main thread
            log.info("No keys will be handed over when this process is told to end: %s", e)

    def teardown(self, worker=None, nanny=None):
        pass  # the two kinds of plugin have other arguments
