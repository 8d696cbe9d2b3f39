"""What all tiers share: the tools on PATH, counts per tier, and no test that silently did not run.

A tier is a folder of tests/. With ``-n 3`` three lanes (tests/support/lanes.py) run side by side, each in a process of
its own, as most tests of the larger tiers wait. Those beside real programs get a second try, and the end tells why. The
last line says how many tests of each ran, and how long all of it took.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.lanes import TIERS, lane, tier
from tests.support.starting import CANNOT_RUN

REAL = ("cluster", "gitops", "dask")
TOLD_LINES = 30  # of what went wrong before a second try
ROOT = Path(__file__).parent.parent
_started = time.monotonic()
_counts: dict[str, Counter[str]] = {}
_lines: list[str] = []
_told: list[str] = []  # what tests recorded as "closing": numbers for people, at the end of the run


def pytest_configure(config: pytest.Config) -> None:
    """kubectl, helm and helm3 of the project's own cache come first on PATH."""
    command = [
        sys.executable,
        "ci/kubernetes",
        "build",
        "--no-packages",
        "--only",
        "kubectl,helm,helm3",
    ]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        raise pytest.UsageError(f"{' '.join(command)} failed, see above")
    os.environ["PATH"] = found.stdout.strip() + os.pathsep + os.environ["PATH"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One second try beside real programs on a busy machine. Each is told at the end, with what went wrong first."""
    for item in items:
        if tier(item.nodeid) in REAL:
            item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=CANNOT_RUN))


class Lanes(LoadScopeScheduling):
    """One process runs a lane from end to end; the lanes begin in the order of the command line."""

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    return Lanes(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    counts = _counts.setdefault(tier(report.nodeid), Counter())
    if report.outcome == "rerun":
        end = "\n    ".join(str(report.longrepr).strip().splitlines()[-TOLD_LINES:])
        _told.append(f"SECOND TRY of {report.nodeid}; the first:\n    {end}")
    elif report.failed:
        counts["failed"] += 1
    elif report.skipped:
        counts["skipped"] += 1
    elif report.when == "call":
        counts["passed"] += 1
    if report.when == "teardown":
        _told.extend(str(value) for name, value in report.user_properties if name == "closing")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that was skipped has not been run: that is a failure."""
    if hasattr(session.config, "workerinput"):
        return  # one of several processes: the one that started them counts
    total = sum(_counts.values(), Counter())
    if total["skipped"] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    minutes, seconds = divmod(round(time.monotonic() - _started), 60)
    tiers = [f"{name} {_words(_counts[name])}" for name in (*TIERS, "other") if name in _counts]
    _lines.extend(_told)
    _lines.append("{passed} passed, {failed} failed, {skipped} skipped".format_map(_all(total)))
    _lines.append(f"{' · '.join(tiers)} · {minutes} min {seconds} s")


def _all(counts: Counter[str]) -> dict[str, int]:
    return {word: counts[word] for word in ("passed", "failed", "skipped")}


def _words(counts: Counter[str]) -> str:
    bad = [f"{n} {word.upper()}" for word, n in _all(counts).items() if n and word != "passed"]
    return " ".join([str(counts["passed"]), *bad])


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    for line in _lines:
        print(line)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT
