"""What becomes of clusters when their process ends, and of those that go with a Pod."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol


class Ends(Protocol):
    """A cluster's object that has to do something when the interpreter ends."""

    def _at_exit(self) -> None: ...


_open: weakref.WeakSet[Ends] = weakref.WeakSet()
_process = os.getpid()


def watch_over(cluster: Ends) -> None:
    """Until `let_go`: when the interpreter ends, so does the cluster, if that was wished."""
    _open.add(cluster)


def let_go(cluster: Ends) -> None:
    """It was closed."""
    _open.discard(cluster)


def is_forked() -> bool:
    """Are we a child of the process that loaded this? Its clusters are none of our business."""
    return os.getpid() != _process


def _after_fork() -> None:
    global _process
    _open.clear()
    _process = os.getpid()


@atexit.register
def _at_exit() -> None:
    for cluster in list(_open):
        cluster._at_exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
