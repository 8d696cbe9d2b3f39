"""A controller that is killed at chosen requests, each time while it leads, and at once started again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fake_scheduler import FakeSchedulers
from tests.support.fault_proxy import FaultProxy, Strike
from tests.support.kubernetes import eventually
from tests.support.warm_controller import WarmController


@dataclass(frozen=True)
class Kill:
    """What one kill met.

    :ivar at: the request.
    :ivar met: a process was there, and it led.
    :ivar left: how much work there was still to do.
    """

    at: str
    met: bool
    left: int


@dataclass
class Kills:
    """Kills at one request after the other; the counts of each begin when the next leader has begun.

    So none strikes a process that only starts, and none comes when all is done: it is armed before.
    """

    controller: WarmController
    schedulers: FakeSchedulers
    proxy: FaultProxy
    done: list[Kill] = field(default_factory=list)
    _namespace: str = ""
    _todo: list[tuple[str, int, str]] = field(default_factory=list)
    _left: Callable[[], int] = lambda: 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(
        self, namespace: str, points: list[tuple[str, int, str]], left: Callable[[], int]
    ) -> None:
        """From now on.

        :param points: (words of the request, the how-manieth of a leader, "killed before" or "killed after").
        :param left: counts what is still to do.
        """
        self._namespace, self._todo, self._left = namespace, list(points), left
        self._aim()

    def wait(self, count: int) -> None:
        """Until so many have been killed, and the next one leads; each met a leader, and unfinished work."""
        eventually(f"{count} kills", lambda: len(self.done) >= count, timeout=120)
        eventually("the next one leads", lambda: self.controller.leads)
        assert len(self.done) == count, self.done
        idle = [kill for kill in self.done if not kill.met or kill.left <= 0]
        assert not idle, f"met nobody, or no work: {idle}"

    def strike(self) -> None:
        """Kill, aim at the next request, start again; in a thread of the proxy's or of the schedulers'."""
        with self._lock:
            led = self.controller.leads
            words, nth, fault = self._todo.pop(0)
            met = self.controller.kill() and led
            self.done.append(Kill(f"{words} {nth} {fault}", met, self._left()))
            self._aim()
            self.controller.start()

    def _aim(self) -> None:
        self.proxy.disarm(self._namespace)
        self.schedulers.strikes.pop(self._namespace, None)
        if not self._todo:
            return
        strike = Strike(*self._todo[0], when=lambda: self.controller.leads)
        if strike.words.startswith("call "):
            self.schedulers.strikes[self._namespace] = strike
        else:
            self.proxy.place(self._namespace, strike)


@contextmanager
def killing(
    kubeconfig: str, account_kubeconfig: str, schedulers: FakeSchedulers, folder: Path
) -> Iterator[Kills]:
    """A controller with these rights, behind a proxy and without a Lease: after a kill nobody waits for the end of a term."""
    proxy = FaultProxy(kubeconfig, lambda: kills.strike())
    proxy.start()
    through = proxy.kubeconfig(account_kubeconfig, folder / "kubeconfig")
    kills = Kills(WarmController(through, folder / "log"), schedulers, proxy)
    schedulers.on_kill = kills.strike
    kills.controller.start()
    try:
        kills.controller.wait()
        yield kills
    finally:
        proxy.stop()  # first: it may still kill, and start anew
        kills.controller.stop()
