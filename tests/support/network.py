"""A network of a tier's own, so that tiers run side by side: what one listens on, another never meets."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
LINES = (
    "link set lo up",
    "link add lan type bridge",  # an API server wants an address that is not loopback, and a default route
    "addr add 10.99.0.1/24 dev lan",
    "link set lan up",
    "route add default via 10.99.0.2",
)


@contextmanager
def own_network() -> Iterator[None]:
    """A new network namespace for this thread and for every process and thread that it starts inside.

    It leads nowhere: there is loopback, and a bridge with nobody on it. It ends with the last of its processes.

    Raises:
        PermissionError: this is not root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(libc.unshare(CLONE_NEWNET))
        try:
            for line in LINES:
                subprocess.run(["ip", *line.split()], check=True)
            yield
        finally:
            _checked(libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: a network namespace of its own needs root")
