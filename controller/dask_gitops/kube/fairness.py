"""A few places, and lanes that want them: however much one lane wants, the others get theirs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

#: A lane may hold so many times as many places as are free: of 64, one alone gets 49, two get 28 each, and there is
#: always room for one that comes anew.
SHARE = 3.0


class Line(Generic[T]):
    """Who waits for a place, lane by lane. Lanes are served in turns; within one, first in is first out.

    :param places: how many there are.
    :param share: see `SHARE`; infinite: a lane may hold them all.
    """

    def __init__(self, places: int, share: float = SHARE) -> None:
        self._places = places
        self._share = share
        self._waiting: dict[Hashable, dict[T, float]] = {}  # the lane that is next comes first
        self._taken: Counter[Hashable] = Counter()
        self._total = 0

    def push(self, lane: Hashable, item: T, since: float) -> None:
        """``item`` waits in ``lane``, once, since then."""
        self._waiting.setdefault(lane, {}).setdefault(item, since)

    def has(self, lane: Hashable, item: T) -> bool:
        return item in self._waiting.get(lane, ())

    def remove(self, lane: Hashable, item: T) -> None:
        """It waits no longer."""
        waiting = self._waiting.get(lane, {})
        waiting.pop(item, None)
        if not waiting:
            self._waiting.pop(lane, None)

    def clear(self) -> None:
        """Nobody waits any longer."""
        self._waiting.clear()

    def pop(self) -> tuple[Hashable, T, float] | None:
        """(lane, item, since when it waited) of the next one, which has a place from now on; None: nobody may have one."""
        free = self._places - self._total
        if free <= 0:
            return None
        for lane, waiting in self._waiting.items():
            if self._taken[lane] <= self._share * free:
                item = next(iter(waiting))
                since = waiting.pop(item)
                del self._waiting[lane]
                if waiting:
                    self._waiting[lane] = waiting  # behind all others
                self.take(lane)
                return lane, item, since
        return None

    def take(self, lane: Hashable) -> None:
        """A place, also where none is free."""
        self._taken[lane] += 1
        self._total += 1

    def give_back(self, lane: Hashable) -> None:
        """A place is free again."""
        self._total -= 1
        self._taken[lane] -= 1
        if not self._taken[lane]:
            del self._taken[lane]

    @property
    def depth(self) -> int:
        """How many wait."""
        return sum(len(waiting) for waiting in self._waiting.values())

    def oldest(self) -> float | None:
        """Since when the one waits that waits for longest."""
        return min((next(iter(w.values())) for w in self._waiting.values()), default=None)


class Places:
    """A semaphore whose places are shared out fairly: ``async with places.of(lane)``."""

    def __init__(self, places: int) -> None:
        self._line: Line[asyncio.Future[None]] = Line(places)

    @asynccontextmanager
    async def of(self, lane: Hashable) -> AsyncIterator[None]:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.push(lane, mine, 0.0)
        self._grant()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._line.remove(lane, mine)
            else:  # it came in the same moment
                self._give_back(lane)
            raise
        try:
            yield
        finally:
            self._give_back(lane)

    def _give_back(self, lane: Hashable) -> None:
        self._line.give_back(lane)
        self._grant()

    def _grant(self) -> None:
        while (found := self._line.pop()) is not None:
            lane, mine, _ = found
            if mine.cancelled():  # it has not heard of it yet
                self._line.give_back(lane)
            else:
                mine.set_result(None)
