"""Where a test run's time goes: for each lane its wall time, the CPU of all that it started, fixed waits, programs started."""

from __future__ import annotations

import json
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from tests.support.lanes import INSTANCES

_TICKS = os.sysconf("SC_CLK_TCK")
_CGROUPS = (  # of the pods on the real node, version 1 and 2: file, unit in seconds
    (Path("/sys/fs/cgroup/cpuacct/dask-gitops/cpuacct.usage"), 1e-9),
    (Path("/sys/fs/cgroup/dask-gitops/cpu.stat"), 1e-6),
)


@dataclass
class Spent:
    """Seconds, and a count."""

    wall: float = 0.0
    cpu: float = 0.0
    waits: float = 0.0
    kubectl: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class Accounts:
    """One for a process of the tests; `during` what each lane spends."""

    def __init__(self) -> None:
        self.lanes: dict[str, Spent] = {}
        self.waited = 0.0
        self.kubectl = 0
        self._daemons: dict[str, float] = {}  # process -> seconds of CPU when it was seen last

    def count_waits(self) -> None:
        """From now on every time.sleep of the main thread is a fixed wait."""
        sleep, main = time.sleep, threading.main_thread()

        def counted(seconds: float) -> None:
            if threading.current_thread() is main:
                self.waited += seconds
            sleep(seconds)

        time.sleep = counted

    @contextmanager
    def during(self, lane: str, *, programs: bool) -> Iterator[None]:
        """:param programs: it starts programs that live on; reading their times costs some milliseconds."""
        before = self._now(lane, programs)
        try:
            yield
        finally:
            spent = self._now(lane, programs) - before
            self.lanes[lane] = self.lanes.get(lane, Spent()) + spent

    def _now(self, lane: str, programs: bool) -> Spent:
        cpu = sum(
            used.ru_utime + used.ru_stime
            for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        if programs:
            cpu += descendants(os.getpid()) + self._lab(INSTANCES.get(lane, ""))
        return Spent(time.monotonic(), cpu, self.waited, self.kubectl)

    def _lab(self, instance: str) -> float:
        """CPU seconds of an instance's programs, also of those that have ended, as they were seen last."""
        for name, seconds in daemons(instance).items():
            self._daemons[name] = max(seconds, self._daemons.get(name, 0.0))
        return sum(self._daemons.values())


def daemons(instance: str) -> dict[str, float]:
    """CPU seconds of the programs of a local Kubernetes, and of its pods."""
    default = "/var/lib/dask-gitops/kubernetes"
    folder = Path(os.environ.get("DASK_GITOPS_STATE") or default) / instance / "processes"
    found = {}
    for file in folder.glob("*.json") if instance else ():
        try:
            pid = json.loads(file.read_text())["pid"]
            _, started, seconds = stat(pid)
            found[f"{pid}@{started}"] = seconds
        except (OSError, ValueError, KeyError):
            continue  # it has just ended
    if instance == INSTANCES["dask"]:
        found |= {str(file): _usage(file) * unit for file, unit in _CGROUPS if file.exists()}
    return found


def _usage(file: Path) -> int:
    return int(file.read_text().removeprefix("usage_usec").split()[0])


def descendants(pid: int) -> float:
    """CPU seconds of a process' living descendants, and of those that they waited for."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent, _, used[int(entry)] = stat(int(entry))
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry))
    total, todo = 0.0, list(children.get(pid, ()))
    while todo:
        one = todo.pop()
        total += used[one]
        todo += children.get(one, ())
    return total


def stat(pid: int) -> tuple[int, str, float]:
    """Of a process: its parent, when it started, its CPU seconds with those of the children that it waited for."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[1]), words[19], sum(map(int, words[11:15])) / _TICKS


accounts = Accounts()
