"""Pure: everything observed about one worker group, and what follows from it at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from dask_gitops.model.declared import Place
from dask_gitops.model.shape import WrongShape
from dask_gitops.plan import idle
from dask_gitops.plan.limits import Limit, tightest
from dask_gitops.plan.rollout import image_to_hold, is_of, is_restarted
from dask_gitops.resources import labels, numbers, pods
from dask_gitops.resources.observed import CustomResource, Pod

SETTLED_S = 10  # so long must a worker run that nothing probes, before it counts as one that works


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process as the scheduler sees it."""

    id: str  # server id: names and addresses also match a process that came after
    host: str
    name: str
    processing: int  # tasks sent to it
    bytes: int  # of the results that it holds
    actors: int = 0


@dataclass(frozen=True)
class GroupState:
    """Everything observed about one group at one moment.

    :ivar group: None when it was removed (or is being deleted) while its pods are still there.
    :ivar cluster: None when it is missing or being deleted.
    :ivar scheduler: the cluster's scheduler pod, unless it has ended or is being deleted.
    :ivar pods: the group's worker pods of this very cluster (by uid).
    :ivar neighbours: addresses and names of the cluster's other worker pods.
    :ivar highest: the highest serial of a worker that was ever seen, also of one that is gone.
    :ivar autoscaled: a DaskAutoscaler moves its number.
    :ivar limits: what stops its growth; empty: nothing.
    :ivar granted: how many workers a roll-out that is under way began with; None: nobody remembers.
    :ivar now: the moment (seconds); by default, long after everything.
    :ivar stored: the group as it lies on the API server; ``group`` says what counts of it.
    :ivar wrong: what cannot be read of its spec.
    :ivar unread: places in the group's spec for which nothing counts.
    :ivar blind: what the scheduler is to run cannot be read, and nothing counts for that.
    """

    name: str
    group: CustomResource | None
    cluster: CustomResource | None
    scheduler: Pod | None
    pods: tuple[Pod, ...] = ()
    neighbours: tuple[Pod, ...] = ()
    highest: int = -1
    now: float = math.inf
    autoscaled: bool = False
    limits: tuple[Limit, ...] = ()
    granted: int | None = None
    stored: CustomResource | None = None
    wrong: tuple[WrongShape, ...] = ()
    unread: frozenset[Place] = frozenset()
    blind: bool = False

    @cached_property
    def live(self) -> list[Pod]:
        return [p for p in self.pods if not p.gone]

    @cached_property
    def leaving(self) -> list[Pod]:
        return [p for p in self.live if p.retiring is not None]

    @cached_property
    def staying(self) -> list[Pod]:
        return [p for p in self.live if p.retiring is None]

    @property
    def declared(self) -> int | None:
        """``spec.worker.replicas`` as it stands; 0 for a removed group."""
        if self.group is None:
            return 0
        return numbers.whole((self.group.spec.get("worker") or {}).get("replicas"))

    @property
    def rest(self) -> idle.Rest:
        """Does the cluster rest? Then there are to be no workers, whatever the group says."""
        return idle.rest(self.cluster, self.scheduler) if self.cluster is not None else ""

    @property
    def target(self) -> int:
        """How many workers there are to be at work. A number that nobody gives any more is held."""
        return self.held if self.declared is None else self.declared

    @property
    def want(self) -> int:
        """How many workers there should be now."""
        return 0 if self.rest else self.target

    @cached_property
    def fits(self) -> int:
        """How many of the wanted workers there are to be, as the limits have it; those that are there are among them."""
        there = len(self.staying)
        if self.rolls and self.granted is not None:
            there = self.granted  # some are there twice, some are between two
        return int(min(self.want, max(self._room, there)))

    @property
    def limit(self) -> Limit | None:
        """What keeps the group from the number that is wanted; None: nothing."""
        return tightest(self.limits) if self.fits < self.want else None

    @property
    def spare(self) -> float:
        """How many workers a roll-out may have beside those that are to be there, as the limits have it."""
        return max(0.0, self._room - self.fits)

    @property
    def _room(self) -> float:
        """How many workers there may be beside all others."""
        limit = tightest(self.limits)
        if limit is None:
            return math.inf
        # Who leaves in a roll-out leaves the place to a successor.
        return limit.room + (len(self.leaving) if self.rolls else 0)

    @property
    def rolls(self) -> bool:
        """Are workers of an earlier spec being replaced, the last of which may be on the way out?"""
        return any(p.meta.uid in self.old for p in self.live)

    @property
    def may_discard(self) -> bool:
        """May results go that have no place, when time is up?

        Only by an explicit zero, which a parked cluster is not; an autoscaler only thinks that nothing is left.
        """
        number = self.declared if self.rest == "parked" else self.target
        return (number == 0 and not self.autoscaled) or self.rest == "suspended"

    @property
    def held(self) -> int:
        """How many there were to be until the number was taken away; 1 for a new group."""
        old = sum(not self.is_current(p) for p in self.staying)
        there = max(old, len(self.staying) - old)  # in a roll-out, some are there twice
        before = self._up_with
        if before is None:
            return there if self.live else 1
        if self.leaving and all(self.is_current(p) for p in self.live):
            return there  # on the way down; who stays is what was asked for
        return max(there, before)  # on the way up nobody has to leave again

    @property
    def _up_with(self) -> int | None:
        """With how many workers the group was complete last, as far as this scheduler pod remembers."""
        notes = self.scheduler.meta.annotations if self.scheduler else {}
        _, dot, number = notes.get(labels.GROUP_WAS_READY + self.name, "").rpartition(".")
        return int(number) if dot and number.isdecimal() and len(number) < 10 else None

    @cached_property
    def held_image(self) -> str | None:
        """The image that workers keep until the scheduler changes its own too; None: they wait for nothing."""
        if self.cluster is None or self.group is None or self.blind or self.unread:
            return None
        return image_to_hold(self.scheduler, self.cluster, self.group, self.live)

    @cached_property
    def revision(self) -> str | None:
        """Of the workers' spec; None for a removed group, or one whose workers nobody can tell."""
        if self.cluster is None or self.group is None or self.unread:
            return None
        return pods.worker_revision(self.cluster, self.group)

    def is_current(self, pod: Pod) -> bool:
        """Was this pod made from what is declared now? There is nothing to be renewed in a removed group."""
        if self.cluster is None or self.revision is None:
            return True
        followed = pod.meta.annotations.get(labels.SCHEDULER_IMAGE)
        if followed is not None and self.scheduler is not None and followed != self.scheduler.image:
            return False
        return is_of(pod, self.revision) and is_restarted(pod, self.cluster)

    @cached_property
    def old(self) -> frozenset[str]:
        """Uids of the live workers of an earlier spec that are to be replaced now."""
        if self.held_image is not None or self.declared is None:
            return frozenset()  # a number that is not written down yet would grow with the surge
        return frozenset(p.meta.uid for p in self.live if not self.is_current(p))

    @property
    def judged(self) -> list[Pod]:
        """Live workers whose problems count: those of an earlier spec say nothing about what is declared now."""
        return [p for p in self.live if p.meta.uid not in self.old]

    def settles_in(self, pod: Pod) -> float:
        """Seconds until a ready worker counts as one that works, 0 if it does.

        Without a readiness probe, Kubernetes calls a container ready that has just been started, also when it ends at
        once, again and again.
        """
        if pod.probed or pod.ready_since is None:
            return 0.0
        # A node's clock may be ahead.
        return max(0.0, min(SETTLED_S, pod.ready_since + SETTLED_S - self.now))

    def is_available(self, pod: Pod) -> bool:
        return pod.ready and self.settles_in(pod) == 0

    @property
    def settling(self) -> float | None:
        """Seconds until the next ready worker counts as one that works; None: all of them do."""
        times = [s for p in self.live if p.ready and (s := self.settles_in(p))]
        return min(times, default=None)

    @property
    def drain_timeout(self) -> float:
        for resource in (self.group, self.cluster):
            if resource is not None:
                said = numbers.some_seconds(resource.spec.get("drainTimeout"))
                if said is not None:
                    return said
        return pods.DRAIN_TIMEOUT_S


def known_warning(state: GroupState) -> str | None:
    if state.group is None or state.cluster is None:
        return None
    return next(
        (
            p.meta.annotations[labels.SPEC_WARNING]
            for p in state.pods
            if labels.SPEC_WARNING in p.meta.annotations
            and p.meta.annotations.get(labels.REVISION) == state.revision
        ),
        None,
    )
