"""Pure: how many workers of a group come and go next, to its number and through a roll-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.rollout import Budget
from dask_gitops.resources.observed import Pod


@dataclass(frozen=True, slots=True)
class Turnover:
    """Which workers come and go next.

    :ivar missing: how many are to be made.
    :ivar short: how many of those that were about to leave may stay instead.
    :ivar cancel: never started, so nothing is lost with them.
    :ivar drain: sets of workers, and how many of each are to leave.
    :ivar rolling: workers of an earlier spec are being replaced.
    """

    missing: int
    short: int
    cancel: tuple[Pod, ...]
    drain: tuple[tuple[tuple[Pod, ...], int], ...]
    rolling: bool = False

    @property
    def leave(self) -> int:
        return sum(number for _, number in self.drain)


def turnover(state: GroupState) -> Turnover:
    """The next step from the workers that there are to the number and kind that is declared."""
    old = [p for p in state.staying if p.meta.uid in state.old]
    if old:
        new = [p for p in state.staying if p.meta.uid not in state.old]
        return _roll(state, old, new)
    missing, cancel, drain = _resize(state.staying, state.fits)
    # Who is there may stay, whatever the limits say.
    return Turnover(missing, max(0, state.want - len(state.staying)), cancel, (drain,))


def _resize(
    some: Sequence[Pod], want: int
) -> tuple[int, tuple[Pod, ...], tuple[tuple[Pod, ...], int]]:
    surplus = max(0, len(some) - want)
    pending = sorted((p for p in some if not p.started), key=lambda p: -p.serial)[:surplus]
    started = tuple(p for p in some if p.started)
    return max(0, want - len(some)), tuple(pending), (started, surplus - len(pending))


def _roll(state: GroupState, old: Sequence[Pod], new: Sequence[Pod]) -> Turnover:
    """As a Deployment does it: new ones within the surge, old ones as far as enough are ready without them."""
    want = state.fits
    budget = Budget.of(want, state.group, state.cluster).within(state.spare)
    at_least = want - budget.unavailable
    cancel = tuple(p for p in old if not p.started)
    ready_old = tuple(p for p in old if p.started and p.ready)
    broken = tuple(p for p in old if p.started and not p.ready)
    ready_new = sum(state.is_available(p) for p in new)
    room = len(ready_old) + len(broken) + ready_new - at_least
    free = len(state.live) - len(cancel)
    _, surplus_new, drain_new = _resize(new, want)
    return Turnover(
        missing=max(0, min(want - len(new), want + budget.surge - free)),
        short=max(0, want - len(new)),
        cancel=(*cancel, *surplus_new),
        drain=(
            (broken, max(0, min(len(broken), room))),
            (ready_old, max(0, min(len(ready_old), len(ready_old) + ready_new - at_least))),
            drain_new,
        ),
        rolling=True,
    )
