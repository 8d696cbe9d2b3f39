"""What the benchmark itself costs, and a fixed piece of work that says how fast the machine was meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process so far.

    :raises OSError: there is no such process.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Clock:
    """Wall and CPU seconds by part: this process, what it started, and the control planes' programs."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}
        self._pids: list[int] = []
        self._ended = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside counts as that part; parts of one name are added up."""
        wall, cpu = time.monotonic(), self._cpu()
        try:
            yield
        finally:
            before = self.parts.get(name, (0.0, 0.0))
            spent = before[1] + self._cpu() - cpu
            # The kernel counts whole ticks; differences of floating point are a little beside them.
            self.parts[name] = (before[0] + time.monotonic() - wall, round(spent * TICKS) / TICKS)

    @contextlib.contextmanager
    def daemons(self, pids: list[int]) -> Iterator[None]:
        """Processes that are not ours, and end right afterwards."""
        self._pids = pids
        try:
            yield
        finally:
            self._ended += self._alive()
            self._pids = []

    def _cpu(self) -> float:
        return sum(os.times()[:4]) + self._ended + self._alive()

    def _alive(self) -> float:
        total = 0.0
        for pid in self._pids:
            with contextlib.suppress(OSError):
                total += cpu_of(pid)
        return total


def fixed_piece(clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds for always the same work on one core: JSON, sorting, hashing, as a controller does it.

    :param clock: what they are seconds of; time.process_time: of CPU.
    """
    rows = [{"name": f"worker-{n * 7919 % 10007}", "n": n} for n in range(10_000)]
    started = clock()
    digest = b""
    for _ in range(20):
        text = json.dumps(sorted(rows, key=lambda row: str(row["name"])))
        digest = hashlib.sha256(digest + text.encode()).digest()
        rows = json.loads(text)
    return clock() - started
