"""A whole run: what its processes told, what makes it red beside failed tests, and the lines that end it."""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.clock import fixed_piece
from tests.support.accounts import Spent
from tests.support.lanes import TIERS, tier
from tests.support.second_try import MOST

TOLD_LINES = 30  # of a failure, when it happens, or before a second try
SLOWEST = 15
_WORDS = ("passed", "failed", "skipped")


@dataclass
class Result:
    """
    :ivar outcomes: test id -> passed, failed or skipped; a test counts once, whatever of it failed.
    :ivar second_tries: test id -> why its first try failed.
    :ivar endings: what went wrong when something of a whole tier ended.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    second_tries: dict[str, str] = field(default_factory=dict)
    endings: list[str] = field(default_factory=list)
    lanes: dict[str, Spent] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)  # what tests recorded as "closing"
    started: float = field(default_factory=time.monotonic)

    def add(self, report: pytest.TestReport) -> None:
        """A phase of a test."""
        test = report.nodeid
        self.seconds[test] = self.seconds.get(test, 0.0) + report.duration
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]
            end = "\n    ".join(str(report.longrepr).strip().splitlines()[-TOLD_LINES:])
            self.second_tries[test] = end
        elif report.failed:
            self.outcomes[test] = "failed"
        elif report.skipped:
            self.outcomes.setdefault(test, "skipped")
        elif report.when == "call":
            self.outcomes.setdefault(test, "passed")
        if report.when == "teardown":
            self.told += [str(v) for name, v in report.user_properties if name == "closing"]

    def add_process(self, told: Mapping[str, Any]) -> None:
        """What one process of the tests told at its end."""
        self.endings += told.get("endings", ())
        for lane, spent in told.get("lanes", {}).items():
            self.lanes[lane] = self.lanes.get(lane, Spent()) + Spent(**spent)

    @functools.cached_property
    def reference(self) -> float:
        """CPU seconds of a fixed piece of work, so that times of different machines can be compared."""
        return fixed_piece(time.process_time)

    @property
    def slowest(self) -> list[tuple[str, float]]:
        """Tests and their seconds, the slowest first."""
        return sorted(self.seconds.items(), key=lambda item: -item[1])[:SLOWEST]

    @property
    def faults(self) -> list[str]:
        """What makes the run red although no test of it failed."""
        found = [f"NOT ENDED WELL: {problem}" for problem in self.endings]
        skipped = [test for test, outcome in self.outcomes.items() if outcome == "skipped"]
        if skipped:
            found.append(f"SKIPPED, so not shown: {', '.join(skipped)}")
        if len(self.second_tries) > MOST:
            found.append(f"{len(self.second_tries)} SECOND TRIES; more than {MOST} is a finding")
        return found

    def counts(self) -> dict[str, Counter[str]]:
        """Outcomes of each tier."""
        found: dict[str, Counter[str]] = {}
        for test, outcome in self.outcomes.items():
            found.setdefault(tier(test), Counter())[outcome] += 1
        return found

    def lines(self) -> list[str]:
        """The end of the run, for people."""
        counts = self.counts()
        total = sum(counts.values(), Counter())
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        tiers = [f"{name} {_words(counts[name])}" for name in (*TIERS, "other") if name in counts]
        return [
            *self.told,
            *(f"SECOND TRY of {test}; the first:\n    {why}" for test, why in self.second_tries.items()),
            *self._table(),
            *self._slowest(),
            *self.faults,
            f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped",
            f"{' · '.join(tiers)} · {minutes} min {seconds} s",
        ]  # fmt: skip

    def _table(self) -> list[str]:
        if not self.lanes:
            return []
        rows = [("lane", "wall", "CPU", "fixed waits", "kubectl")]
        for name, spent in sorted(self.lanes.items(), key=lambda item: -item[1].wall):
            times = (f"{value:.0f} s" for value in (spent.wall, spent.cpu, spent.waits))
            rows.append((name, *times, str(spent.kubectl)))
        head = f"Time by lane (a fixed piece of work took {self.reference:.2f} s of CPU here)"
        return [head, *(f"  {r[0]:<14} {r[1]:>7} {r[2]:>7} {r[3]:>12} {r[4]:>8}" for r in rows)]

    def _slowest(self) -> list[str]:
        if not self.seconds:
            return []
        told = (f"  {seconds:6.1f} s  {test}" for test, seconds in self.slowest)
        return ["Slowest tests", *told]

    def write(self, file: Path) -> None:
        """The same for programs."""
        if not self.outcomes:
            return
        content = {
            "seconds": round(time.monotonic() - self.started, 1),
            "fixed_work_cpu_seconds": round(self.reference, 3),
            "tiers": self.counts(),
            "lanes": {n: {k: round(v, 1) for k, v in vars(s).items()} for n, s in self.lanes.items()},
            "slowest": {test: round(seconds, 1) for test, seconds in self.slowest},
            "second_tries": self.second_tries,
            "faults": self.faults,
        }  # fmt: skip
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2) + "\n")


def _words(counts: Counter[str]) -> str:
    bad = [f"{counts[w]} {w.upper()}" for w in _WORDS if counts[w] and w != "passed"]
    return " ".join([str(counts["passed"]), *bad])
