"""What a plan may ask for. Plans name; the reconcile room carries out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dask_gitops.resources.observed import Meta, Pod

JSON = dict[str, Any]
Kind = Literal["Pod", "Service", "DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob"]


@dataclass(frozen=True, slots=True)
class Create:
    """Create these objects, the first alone, then twice as many each time, so that a refusal costs little.

    :ivar manifests: each is taken once, when its turn comes.
    """

    kind: Kind
    manifests: Sequence[JSON]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly this object (by uid); ``force`` leaves no grace, for pods on nodes that are lost.

    ``exact``: only as long as nobody changed it meanwhile.
    """

    kind: Kind
    meta: Meta
    force: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """JSON merge patch on exactly this object (by uid); ``exact``: only as long as nobody changed it meanwhile.

    :ivar manager: the field manager that it is noted under.
    """

    kind: Kind
    meta: Meta
    body: JSON
    subresource: str | None = None
    exact: bool = False
    manager: str = "dask-gitops"


@dataclass(frozen=True, slots=True)
class Apply:
    """Make exactly this object (by uid) what the manifest declares: what we declared before and do not any more goes.

    :ivar take_over: what we wrote by other means is noted as applied first.
    :ivar way_out: what a person can do where the API server refuses it, to be told with its words.
    """

    kind: Kind
    meta: Meta
    manifest: JSON
    take_over: bool = False
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class TryOut:
    """Ask the API server whether it would take this object, without making it. A refusal ends the part.

    :ivar word: what is tried; an accepted one is not tried again while nothing follows from it.
    :ivar again: ask in any case, as something follows from it now.
    """

    kind: Kind
    manifest: JSON
    word: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Retire:
    """Ask the scheduler to empty and retire these workers, then delete the pods whose workers are all retired."""

    pods: tuple[Pod, ...]
    ids_by_pod: tuple[tuple[str, ...], ...]  # server ids of the workers in each of them
    interrupt: bool = False  # do not wait for running tasks any longer
    discard: bool = False  # keys without a place may go

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(i for ids in self.ids_by_pod for i in ids)


@dataclass(frozen=True, slots=True)
class Undrain:
    """Let these workers work again, then take the mark of leaving from their pods."""

    pods: tuple[Pod, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emit:
    """A Kubernetes Event: one for each decision."""

    reason: str
    message: str
    warning: bool = False


Action = Create | Delete | Patch | Apply | TryOut | Retire | Undrain | Emit


@dataclass(frozen=True, slots=True)
class Part:
    """One concern of a plan. What the API server refuses ends this part, and no other.

    :ivar name: what it is about; the same from turn to turn, as a refusal is remembered by it.
    :ivar actions: in order.
    :ivar after: parts that must have come to their end before, where this turn has them.
    :ivar again: look again after so many seconds once this was carried out; a refused part has no say in that.
    :ivar declared: a person declared this, so nothing is ready without it, whatever runs.
    """

    name: str
    actions: tuple[Action, ...]
    after: tuple[str, ...] = ()
    again: float | None = None
    declared: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Independent parts, in the order in which they are begun.

    :ivar again: look again after so many seconds, even if nothing happens; None: only when something does.
    """

    parts: tuple[Part, ...] = ()
    again: float | None = None
    held: str | None = None  # why a change waits, in words

    @property
    def actions(self) -> tuple[Action, ...]:
        """Those of all parts."""
        return tuple(action for part in self.parts for action in part.actions)


@dataclass(slots=True)
class PartDraft:
    """A part while it is being made."""

    actions: list[Action] = field(default_factory=list)
    after: tuple[str, ...] = ()
    again: float | None = None
    declared: bool = False

    def add(self, *actions: Action) -> None:
        self.actions.extend(actions)

    def look_again(self, seconds: float) -> None:
        """Once this part was carried out."""
        self.again = _sooner(self.again, seconds)


@dataclass(slots=True)
class Draft:
    """A plan while it is being made."""

    parts: dict[str, PartDraft] = field(default_factory=dict)
    again: float | None = None
    held: str | None = None

    def part(self, name: str, *, after: tuple[str, ...] = (), declared: bool = False) -> PartDraft:
        """The part of this name, which is begun when it is asked for first."""
        return self.parts.setdefault(name, PartDraft(after=after, declared=declared))

    def look_again(self, seconds: float) -> None:
        """Whatever becomes of the parts."""
        self.again = _sooner(self.again, seconds)

    @property
    def actions(self) -> list[Action]:
        """Those of all parts so far."""
        return [action for part in self.parts.values() for action in part.actions]

    def done(self) -> Plan:
        parts = tuple(
            Part(name, tuple(some.actions), some.after, some.again, some.declared)
            for name, some in self.parts.items()
            if some.actions
        )
        return Plan(parts, self.again, self.held)


def _sooner(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)
