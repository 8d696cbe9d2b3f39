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


_before: list[int] = []  # the network namespaces that this process came from


@contextmanager
def own_network() -> Iterator[None]:
    """A new network namespace for this thread and for every process and thread that it starts inside.

    It leads nowhere: there is loopback, and a bridge with nobody on it. It ends with the last of its processes.

    Raises:
        PermissionError: this is not root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = _current()
    try:
        _checked(libc.unshare(CLONE_NEWNET))
        _before.append(before)
        try:
            for line in LINES:
                subprocess.run(["ip", *line.split()], check=True)
            yield
        finally:
            _before.pop()
            _checked(libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


@contextmanager
def first_network() -> Iterator[None]:
    """Back where this process began, to fetch something."""
    libc = ctypes.CDLL(None, use_errno=True)
    inside = _current()
    try:
        if _before:
            _checked(libc.setns(_before[0], CLONE_NEWNET))
        yield
    finally:
        _checked(libc.setns(inside, CLONE_NEWNET))
        os.close(inside)


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: a network namespace of its own needs root")
