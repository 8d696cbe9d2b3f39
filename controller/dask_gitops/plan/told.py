"""Pure: what a scheduler said of where it listens, and whether that is still the one that runs."""

from __future__ import annotations

from dataclasses import dataclass

from dask_gitops.resources.listening import Listening
from dask_gitops.resources.observed import Pod

SILENT_S = 60.0  # how often a scheduler that does not answer is asked again: it may never do so


@dataclass(frozen=True, slots=True)
class Told:
    """Where a scheduler says that it listens.

    :ivar scheduler: uid of its pod.
    :ivar listens: None: it does not say, as one that runs since an earlier version.
    :ivar silent: when it was asked and did not answer (seconds since the epoch); None: it answered.
    """

    scheduler: str
    listens: Listening | None
    silent: float | None = None


def was_asked(told: Told | None, scheduler: Pod) -> bool:
    """Is this what that very scheduler said?"""
    return told is not None and told.scheduler == scheduler.meta.uid and told.silent is None


def ask_in(told: Told | None, scheduler: Pod, now: float) -> float | None:
    """Seconds until this scheduler is to be asked, if somebody needs to know; None: it has answered."""
    if was_asked(told, scheduler):
        return None
    if told is None or told.scheduler != scheduler.meta.uid or told.silent is None:
        return 0.0
    since = now - told.silent  # a clock that was set back holds nothing up
    return SILENT_S - since if 0 <= since < SILENT_S else 0.0


def listens(told: Told | None, scheduler: Pod | None) -> Listening | None:
    """Where the present scheduler says that it listens, if that is known."""
    if told is None or scheduler is None or not was_asked(told, scheduler):
        return None
    return told.listens
