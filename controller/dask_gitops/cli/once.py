"""Pure: lines of a container's log, each told once, however often it is read anew.

A log is read again from a second on, never from a line on; and lines may be there twice with the same time and text. So
lines are counted: of each, as many are new as no reading before has brought.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import NamedTuple

#: Lines that are so much older than the newest are not remembered, and hardly ever asked for again.
WINDOW_S = 60
#: The two streams of a container may be told in another order than they were printed, by so much.
BACK_S = 1
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)(?: |$)")


class Stamp(NamedTuple):
    """When a line was printed: seconds since the epoch, and nanoseconds."""

    second: int
    nano: int


NEVER = Stamp(0, 0)


def split(raw: str, before: Stamp = NEVER) -> tuple[Stamp, str]:
    """A line as the kubelet writes it with its time, and its text.

    :param before: of the line before, for a piece that has none.
    """
    match = _STAMP.match(raw)
    if match is None:
        return before, raw
    clock, fraction, zone = match.groups()
    second = int(datetime.fromisoformat(clock + zone.replace("Z", "+00:00")).timestamp())
    return Stamp(second, int((fraction or "").ljust(9, "0"))), raw[match.end() :]


class _Counts:
    """How often each line was there, of the last seconds."""

    def __init__(self) -> None:
        self._of: dict[int, Counter[str]] = {}

    def add(self, second: int, raw: str) -> int:
        """:returns: how often it was there, this time included."""
        counter = self._of.setdefault(second, Counter())
        counter[raw] += 1
        return counter[raw]

    def get(self, second: int, raw: str) -> int:
        return self._of.get(second, Counter())[raw]

    def copy(self) -> _Counts:
        found = _Counts()
        found._of = {second: Counter(lines) for second, lines in self._of.items()}
        return found

    def forget_before(self, second: int) -> None:
        for old in [each for each in self._of if each < second]:
            del self._of[old]


class Once:
    """All that is known of one Pod's lines.

    :ivar newest: second of the newest line; None: none was told yet.
    """

    def __init__(self) -> None:
        self.newest: int | None = None
        self._told = _Counts()

    @property
    def since(self) -> int | None:
        """From which second on the log is to be read again; None: from where one likes."""
        return None if self.newest is None else self.newest - BACK_S

    def copy(self) -> _Counts:
        return self._told.copy()

    def reading(self) -> Reading:
        """To be made before the log is read again from `since` on."""
        return Reading(self)

    def gap(self) -> Gap:
        """The same, for the log of a container that has ended."""
        return Gap(self)

    def tell(self, stamp: Stamp, raw: str, times: int) -> bool:
        """Is the line new, which a reading has brought so many times?"""
        if times <= self._told.get(stamp.second, raw):
            return False
        self._told.add(stamp.second, raw)
        if self.newest is None or stamp.second > self.newest:
            self.newest = stamp.second
            self._told.forget_before(self.oldest)
        return True

    @property
    def oldest(self) -> int:
        """What is older is not remembered."""
        return 0 if self.newest is None else self.newest - WINDOW_S


class Reading:
    """One pass over a log, from a second on.

    :ivar since: that second; None: from where one likes.
    """

    def __init__(self, once: Once) -> None:
        self.since = once.since
        self._once = once
        self._counts = _Counts()
        self._before = Stamp(self.since or 0, 0)

    def new(self, raw: str) -> tuple[Stamp, str] | None:
        """When the line was printed, and its text; None: it was told before."""
        stamp, text = split(raw, self._before)
        self._before = stamp
        times = self._counts.add(stamp.second, raw)
        is_new = self._is_new(stamp, raw, times)
        self._counts.forget_before(self._once.oldest)
        return (stamp, text) if is_new else None

    def _is_new(self, stamp: Stamp, raw: str, times: int) -> bool:
        return self._once.tell(stamp, raw, times)


class Gap(Reading):
    """What a container may have printed after a reading broke off and before it ended itself: read after its successor
    has begun to print, so it remembers what was told until now."""

    def __init__(self, once: Once) -> None:
        super().__init__(once)
        self._then = once.copy()

    def _is_new(self, stamp: Stamp, raw: str, times: int) -> bool:
        return times > self._then.get(stamp.second, raw) and super()._is_new(stamp, raw, times)
