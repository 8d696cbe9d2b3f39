"""Pure: which worker group which tasks are for, and how many workers of each would do them in time.

docs/autoscaling.md says the same in words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dask_gitops.model.podspec import PodSpec
from dask_gitops.plan.demand import Kind, Needs, Process
from dask_gitops.resources.commands import option
from dask_gitops.resources.labels import WORKER
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.revision import quantity

FULL = 0.6  # of the workers' memory that results may take, as Dask's own adaptive scaling has it
MAKES = (
    8  # of one group's processes that are told apart: of one spec, there is one, two in a roll-out
)
LOOKS = 300_000  # at what one process or group has of one resource, in one decision
LEAST = 0.001  # threads for tasks that take no time: they need somebody, too


@dataclass(frozen=True)
class Crew:
    """A worker group as its work is shared out.

    :ivar offers: Dask resources of one worker process.
    :ivar threads: of a pod, for as long as none of the group's is there.
    :ivar pods: the processes of each pod that stays, of those that the scheduler knows.
    :ivar maximum: of pods; None: nobody sizes the group by demand.
    """

    name: str
    offers: Mapping[str, float] = field(default_factory=dict)
    threads: int = 1
    pods: tuple[tuple[Process, ...], ...] = ()
    maximum: int | None = None

    def can(self, needs: Needs) -> bool:
        return all(self.offers.get(name, 0) >= amount for name, amount in needs)

    def at_once(self, needs: Needs) -> float:
        """How many such tasks one pod runs at a time, on average."""
        seen = sum(count for _, _, count in self.makes)
        live = sum(count * _at_once(n, has, needs) for n, has, count in self.makes)
        each = live / seen * self._processes / len(self.pods) if seen else 0
        return each or max(1, _at_once(self.threads, self.offers, needs))

    @cached_property
    def makes(self) -> list[tuple[int, Mapping[str, float], int]]:
        """Threads, resources, and how many such processes there are; the most frequent ones stand for all."""
        found = Counter(make(p) for pod in self.pods for p in pod)
        return [(n, dict(has), count) for (n, has), count in found.most_common(MAKES)]

    @cached_property
    def _processes(self) -> int:
        return sum(map(len, self.pods))

    @property
    def busy(self) -> int:
        """Pods on which tasks are, or actors, which cannot move."""
        return sum(any(p.busy for p in pod) for pod in self.pods)

    @property
    def room(self) -> float:
        """Bytes of results that still fit, at 60 % of the memory; without a limit: any."""
        processes = [p for pod in self.pods for p in pod]
        if any(not p.memory_limit for p in processes):
            return math.inf
        return sum(max(0.0, FULL * p.memory_limit - p.bytes) for p in processes)


def make(process: Process) -> tuple[int, frozenset[tuple[str, float]]]:
    """What is the same for processes that can do the same."""
    return process.nthreads, frozenset(process.resources.items())


@dataclass(slots=True)
class Share:
    """Of one group.

    :ivar work: pods that would do its tasks in time.
    :ivar waiting: tasks among them that nobody has started.
    """

    work: float = 0.0
    waiting: int = 0
    needs: set[str] = field(default_factory=set)


def _at_once(threads: int, resources: Mapping[str, float], needs: Needs) -> int:
    fits = [int(min(resources.get(name, 0) / amount, 1e6)) for name, amount in needs]
    return max(0, min([threads, *fits]))


def share(crews: Sequence[Crew], kinds: Sequence[Kind], target_seconds: float) -> dict[str, Share]:
    """What each group with an autoscaler is to do.

    :param crews: all groups of the cluster, in the order in which they are asked.
    """
    shares = {crew.name: Share() for crew in crews if crew.maximum is not None}
    used = [0.0] * len(crews)
    plain = [not crew.offers for crew in crews]
    for kind in _merged(kinds, target_seconds, len(crews) + sum(len(c.makes) for c in crews)):
        threads = kind.threads
        able = [n for n, crew in enumerate(crews) if crew.can(kind.needs)]
        if not kind.needs and any(plain):
            able = [n for n in able if plain[n]]
        fixed = [n for n in able if crews[n].maximum is None]
        sized = [n for n in able if crews[n].maximum is not None]
        for n in (*fixed, *sized):
            crew, each = crews[n], crews[n].at_once(kind.needs)
            most = len(crew.pods) if crew.maximum is None else crew.maximum
            taken = min(threads, max(0.0, most - used[n]) * each)
            threads -= taken
            used[n] += taken / each
            if taken and crew.maximum is not None:
                _add(shares[crew.name], taken / each, kind)
        if threads > 1e-9 and sized:  # more than all of them may do: the first one says so
            _add(
                shares[crews[sized[0]].name], threads / crews[sized[0]].at_once(kind.needs), kind, 0
            )
    return shares


@dataclass(slots=True)
class _Work:
    """All tasks that need the same.

    :ivar threads: that would do them in time.
    """

    needs: Needs
    threads: float = 0.0
    waiting: int = 0


def _merged(kinds: Iterable[Kind], target_seconds: float, width: int) -> list[_Work]:
    """Kinds of the same needs as one, in the order in which they are shared out, those without needs at last.

    What a scheduler of some users' code can make of a cluster with many groups has an end: beyond it, the least work
    waits until the rest is done.

    :param width: how much has to be looked at for each need.
    """
    found: dict[Needs, _Work] = {}
    for kind in kinds:
        work = found.setdefault(kind.needs, _Work(kind.needs))
        work.threads += min(kind.tasks, max(kind.seconds / target_seconds, LEAST))
        work.waiting += kind.waiting
    kept: list[_Work] = []
    looks = 0
    for work in sorted(found.values(), key=lambda w: -w.threads):
        looks += (1 + len(work.needs)) * width
        if kept and looks > LOOKS:
            break
        kept.append(work)
    return sorted(kept, key=lambda w: (not w.needs, w.needs))


def _add(to: Share, work: float, kind: _Work, times: int = 1) -> None:
    to.work += work
    to.waiting += kind.waiting * times
    to.needs |= {name for name, _ in kind.needs}


def workers_for_memory(crew: Crew, others: Sequence[Crew]) -> int:
    """How many pods of a group its results need.

    What is held by a group that offers resources may go to workers that offer none, as far as they have room.
    """
    processes = [p for pod in crew.pods for p in pod]
    if not any(p.keys for p in processes):
        return 0
    held: float = sum(p.bytes for p in processes)
    if crew.offers:
        takers = [o for o in others if not o.offers and any(o.pods)]
        held -= sum(o.room for o in takers)
        if takers and held <= 0:
            return 0
    limit = sum(p.memory_limit for p in processes) / len(crew.pods)
    if not limit or any(not p.memory_limit for p in processes):
        return 1
    return max(1, math.ceil(held / (FULL * limit)))


def declared_threads(group: CustomResource) -> int:
    """Threads of one pod as its spec tells: ``--nthreads`` (and ``--nworkers``), else the CPUs that Kubernetes grants.

    Those are the container's limit, else its request, else what the Pod has as a whole; at least 1.
    """
    spec = PodSpec.of((group.spec.get("worker") or {}).get("spec"))
    container = spec.main(WORKER)
    if container is not None:
        words = container.words
        said, processes = (_whole(option(words, name)) for name in ("--nthreads", "--nworkers"))
        if said:
            return said * max(1, processes)
    granted = [container.limits, container.requests] if container is not None else []
    for some in (*granted, spec.limits, spec.requests):
        if some.get("cpu"):
            return _cpus(some["cpu"])
    return 1


def _cpus(said: object) -> int:
    """A quantity of CPUs -> threads."""
    try:
        return max(1, math.ceil(float(str(quantity(said)))))
    except (ValueError, OverflowError):
        return 1


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 6 else 0
