"""What a busy machine does to a test, told apart from what the product does.

Only a failure of these types gets a second try, and only where a test may have one (tests/support/second_try.py).
"""

from __future__ import annotations

import threading
import time

TICK_S = 0.1
STALL_S = 2.0  # a tick that comes so much too late: this process was kept from running


class MachineStalled(AssertionError):
    """Something did not come in time, and meanwhile this very process was kept from running."""


class News:
    """Wakes whoever waits when something happened; nothing that happens between two looks is missed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """How much happened until now."""
        return self._count

    def tell(self) -> None:
        """Something happened."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Until more than ``seen`` happened, or ``seconds`` went by."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, seconds)


#: What the watches of this process tell.
news = News()


class Ticks:
    """Waiting in short ticks, which shows whether this process runs.

    :ivar late: how much the latest tick came too late, in seconds.
    """

    def __init__(self) -> None:
        self.late = 0.0

    def wait(self, seconds: float, seen: int, at_least: float) -> None:
        """Until there is news, or ``seconds`` went by; ``at_least`` so long in any case."""
        began = time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            ready = time.monotonic() - began >= at_least
            if ready and news.count != seen:
                return
            tick = min(TICK_S, left) if ready else min(TICK_S, left, at_least)
            before = time.monotonic()
            if ready:
                news.wait(seen, tick)
            else:
                _sleep(tick)
            self.late = max(self.late, time.monotonic() - before - tick)

    def failure(self, message: str) -> AssertionError:
        """What to raise: the machine is named when it kept this process from running."""
        if self.late <= STALL_S:
            return AssertionError(message)
        return MachineStalled(
            f"{message}\nThe machine: a tick of {TICK_S} s came {self.late:.1f} s too late."
        )


# tests/support/accounts.py counts the time.sleep of tests as fixed waits; ticks are none.
_sleep = time.sleep
