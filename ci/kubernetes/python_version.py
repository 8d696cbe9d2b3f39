"""Says that Python is too old. Python 3.8 can read this file, and the entry files as far as their call of it."""

from __future__ import annotations

import sys

OLDEST = (3, 11)


def too_old(version: tuple[int, ...]) -> str:
    """Why this Python will not do, and what to do; nothing if it will."""
    if version[:2] >= OLDEST:
        return ""
    here = ".".join(str(part) for part in version[:3])
    return f"Python 3.11 or newer is needed, this is {here}; use make PYTHON=python3.12"


def demand() -> None:
    """Go on only with a Python that can read the rest."""
    why = too_old(tuple(sys.version_info[:3]))
    if why:
        sys.exit(f"error: {why}")
