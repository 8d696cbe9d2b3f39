"""Pure: what a scheduler has to do, and who is there to do it, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Needs = tuple[tuple[str, float], ...]
"""Dask's abstract resources that a task needs, such as ``(("GPU", 1.0),)``, in the order of their names."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks that can run on the same workers.

    :ivar waiting: those that no worker has started; :ivar running: those that run.
    :ivar seconds: how long one thread would take for all of them.
    """

    needs: Needs
    waiting: int
    running: int
    seconds: float

    @property
    def tasks(self) -> int:
        return self.waiting + self.running


@dataclass(frozen=True, slots=True)
class Process:
    """One worker process; a pod may run several.

    :ivar host: IP of its pod, in canonical form.
    :ivar memory_limit: bytes, 0: none.
    :ivar bytes: of the results that it holds; :ivar keys: how many they are.
    :ivar tasks: sent to it, running or waiting there.
    """

    host: str
    name: str
    nthreads: int
    memory_limit: int
    bytes: int
    keys: int
    tasks: int
    actors: int
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        return bool(self.tasks or self.actors)


@dataclass(frozen=True, slots=True)
class Demand:
    """:ivar id: of the scheduler's process: another one knows nothing of what was before.
    :ivar target_seconds: in how many seconds all of it is to be done (Dask's adaptive.target-duration).
    """

    id: str
    target_seconds: float
    kinds: tuple[Kind, ...]
    processes: tuple[Process, ...]
