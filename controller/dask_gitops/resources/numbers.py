"""Pure: numbers that a person writes, whatever they are: nothing overflows, and no time is without end."""

from __future__ import annotations

import math
from typing import Any

LONGEST_S = 3.2e9  # a hundred years: dates still hold them
LARGEST = 2**31 - 1  # as counts in Kubernetes have it


def seconds(value: Any, default: float) -> float:
    """A time; what is none, or is negative, is the default."""
    found = _number(value)
    return default if found is None else min(float(min(found, LARGEST * 2)), LONGEST_S)


def some_seconds(value: Any) -> float | None:
    """A time that may be left out."""
    return None if _number(value) is None else seconds(value, 0.0)


def whole(value: Any) -> int | None:
    """A count; None: it is left out, or is none."""
    found = _number(value)
    return None if found is None else int(min(found, LARGEST))


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if value < 0 else value
