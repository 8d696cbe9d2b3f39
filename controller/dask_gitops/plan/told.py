"""Pure: what a scheduler said of where it listens, and whether that is still the one that runs."""

from __future__ import annotations

from dataclasses import dataclass

from dask_gitops.resources.listening import Listening
from dask_gitops.resources.observed import Pod


@dataclass(frozen=True, slots=True)
class Told:
    """Where a scheduler says that it listens.

    :ivar scheduler: uid of its pod.
    :ivar listens: None: it does not say, as one that runs since an earlier version.
    """

    scheduler: str
    listens: Listening | None


def was_asked(told: Told | None, scheduler: Pod) -> bool:
    """Is this what that very scheduler said?"""
    return told is not None and told.scheduler == scheduler.meta.uid


def listens(told: Told | None, scheduler: Pod | None) -> Listening | None:
    """Where the present scheduler says that it listens, if that is known."""
    if told is None or scheduler is None or not was_asked(told, scheduler):
        return None
    return told.listens
