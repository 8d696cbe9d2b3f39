"""On which machine, with which versions, and how busy it was."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench import ROOT


def model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.machine()


def described() -> str:
    """Cores, memory, processor, now."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {model()}"


def load() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def load_words(before: float, after: float, cores: int) -> str:
    """Whether the seconds mean something."""
    words = f"load {before:.1f} before, {after:.1f} after"
    if before > cores / 2:
        words += f": **the machine was busy** ({cores} cores); read times, CPU and requests, not the seconds"
    return words


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def versions(kubernetes: str, peer: Mapping[str, str]) -> str:
    found = {"Python": platform.python_version(), "Kubernetes": kubernetes}
    found["distributed"] = importlib.metadata.version("distributed")
    listed = [f"dask-gitops {commit()}", *(f"{name} {is_}" for name, is_ in found.items())]
    others = ", ".join(f"{n} {v}" for n, v in peer.items() if n not in ("dask-kubernetes",))
    if peer:
        listed.append(f"existing operator: dask-kubernetes {peer['dask-kubernetes']} ({others})")
    return "; ".join(listed)


def commit() -> str:
    """Of this tree; marked when it holds more than that."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=9"]
    with contextlib.suppress(OSError):
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    return "(no git)"
