"""How long one uninterrupted step may keep the event loop, in CPU, against a fixed piece of work of the same process."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bench.clock import fixed_piece

T = TypeVar("T")

#: A step takes at most so many times the fixed piece of work, which is 0.2 to 0.3 s of CPU on a small machine.
LONGEST = 1.0
#: What is linear takes at most so many times as long at twice the size.
GROWTH = 2.5
#: Below this part of the fixed piece of work a time says nothing.
LEAST = 0.02


@functools.cache
def reference() -> float:
    """CPU seconds of the fixed piece of work in this process."""
    return fixed_piece(time.thread_time)


def cost(work: Callable[[], object], times: int = 3) -> float:
    """CPU that this work takes, in fixed pieces of work; the least of some times, as others only add to it."""

    return min(_once(work) for _ in range(times)) / reference()


def _once(work: Callable[[], object]) -> float:
    """CPU seconds, without the garbage of others: that is collected in jumps."""
    gc.collect()
    gc.disable()
    try:
        began = time.thread_time()
        work()
        return time.thread_time() - began
    finally:
        gc.enable()


def fits_a_step(work: Callable[[], object]) -> None:
    """This may be done without a break."""
    found = cost(work)
    assert found <= LONGEST, f"one step takes {found:.1f} times the fixed piece of work"


def is_linear(make: Callable[[int], Callable[[], object]], size: int) -> None:
    """Twice the size takes at most `GROWTH` times as long: seen from half this size to twice it, as a machine's moods weigh less there.

    - `make`: size -> work; making it does not count.
    """
    works = make(size // 2), make(2 * size)
    # In turns, so that what slows the machine down slows both down.
    times = [[_once(work) / reference() for work in works] for _ in range(5)]
    small, large = (min(some) for some in zip(*times, strict=True))
    small = max(small, LEAST)
    assert large <= GROWTH**2 * small, (
        f"four times the size takes {large / small:.1f} times as long"
    )


def run(work: Coroutine[Any, Any, T]) -> tuple[T, list[float]]:
    """Run what only gives way to others (``asyncio.sleep(0)``); its result and the cost of each step, as `cost` has it."""
    costs: list[float] = []
    while True:
        began = time.thread_time()
        try:
            work.send(None)
        except StopIteration as end:
            return end.value, costs
        finally:
            costs.append((time.thread_time() - began) / reference())
