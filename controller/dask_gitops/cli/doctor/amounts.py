"""Pure: quantities of Kubernetes, and what a worker takes for its own."""

from __future__ import annotations

import re
from typing import Any

from dask.utils import parse_bytes

from dask_gitops.model.podspec import Container

_UNITS = {"m": 1e-3, **{unit: 1000.0**n for n, unit in enumerate("kMGTPE", 1)}}
_UNITS |= {"Ki": 1024.0} | {f"{unit}i": 1024.0**n for n, unit in enumerate("kMGTPE", 1)}
_QUANTITY = re.compile(
    r"([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|(m|[kMGTPE]|[KMGTPE]i))?"
)


def amount(text: Any) -> float | None:
    """A quantity, such as ``1500m`` or ``4Gi``, as a number; None: it is none."""
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        return None
    number, exponent, unit = match.groups()
    return float(number) * 10.0 ** int(exponent or 0) * _UNITS.get(unit or "", 1.0)


def memory_limit(container: Container) -> float | None:
    """Bytes that the container may have; None: no limit."""
    limits = (container.fields.get("resources") or {}).get("limits") or {}
    return amount(limits.get("memory"))


def excess(container: Container) -> str:
    """What its workers take for their own beyond the container's limit, in words; "": nothing, or nobody can tell."""
    limit, words = memory_limit(container), container.words
    said = _value(words, "--memory-limit")
    if limit is None or said is None:
        return ""
    number = _value(words, "--nworkers") or _value(words, "--nprocs") or "1"
    workers = int(number) if number.isdecimal() else 1
    try:
        if float(said) <= 1:  # a part of what there is
            return ""
    except ValueError:
        pass
    try:
        each = parse_bytes(said)
    except ValueError:  # auto
        return ""
    if workers * each <= limit:
        return ""
    of = f"{workers} workers with " if workers > 1 else ""
    return f"{of}--memory-limit {said} in a container of {_shown(limit)}: it is killed before they spill"


def _value(words: list[str], option: str) -> str | None:
    """Of an option in a command: ``--option value`` or ``--option=value``."""
    found = None
    for at, word in enumerate(words):
        if word == option and at + 1 < len(words):
            found = words[at + 1]
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def _shown(amount: float) -> str:
    for unit, size in (("GiB", 2.0**30), ("MiB", 2.0**20)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount:.0f} B"
