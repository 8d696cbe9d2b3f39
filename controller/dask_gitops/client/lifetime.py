"""What becomes of clusters when their process ends, or forks."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
import weakref
from typing import Protocol


class Ends(Protocol):
    """A cluster's object that has to do something then."""

    def _at_exit(self, deadline: float) -> None:
        """The interpreter ends: there is no loop and no thread to be had any more.

        :param deadline: of `time.monotonic`: it should not last longer.
        """

    def _forked(self) -> None:
        """We are in a child: all that was open belongs to its parent."""


log = logging.getLogger("dask_gitops")
#: So long an interpreter may take longer to end, however many clusters there are.
FAREWELL_S = 10.0
_open: weakref.WeakSet[Ends] = weakref.WeakSet()


def watch_over(cluster: Ends) -> None:
    """Until `let_go`."""
    _open.add(cluster)


def let_go(cluster: Ends) -> None:
    """It was closed."""
    _open.discard(cluster)


@atexit.register
def _at_exit() -> None:
    deadline = time.monotonic() + FAREWELL_S
    for cluster in list(_open):
        try:
            cluster._at_exit(deadline)
        except Exception:  # of one; the others get their turn
            with contextlib.suppress(Exception):
                log.debug("at the end", exc_info=True)


def _after_fork() -> None:
    for cluster in list(_open):
        cluster._forked()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
