"""Reasons of conditions are read by people's scripts: their words stand in one place, and none of them changes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from dask_gitops import reasons

#: What each of these takes as its reason: where, and under which name.
TAKES = {
    "Condition": (2, "reason"),
    "Problem": (0, "reason"),
    "End": (1, "reason"),
    "ready": (0, "reason"),
    "reconciling": (0, "reason"),
    "stalled": (0, "reason"),
    "unready": (None, "reason"),
}
ROOMS = ("model", "plan", "reconcile", "resources")
API = """
ApiServerWarning ClusterDeleted ClusterLimit ClusterMissing ClusterReady ClusterRests ControllerLimit CrashLoopBackOff
DeadlineExceeded Forbidden GroupLimit GroupMissing GroupOfItsOwn Invalid JobSuccessful NameTaken NamespaceLimit
NamespaceTerminating NoOwner NodeLost NotInSpec NothingIsDiscarded NumberIsReset Parked Parking PodFailed Progressing QuotaExceeded
Retrying RunnerDeleted RunnerFailed Running ScaledElsewhere SchedulerNotReady SchedulerSilent SecondAutoscaler
StartedBefore Steering Suspended Suspending TurnFailed UnknownField Unschedulable WaitsForDelete WaitsForEnd WaitsForIdle
WaitsForScheduler WorkersReady
"""


def test_no_word_is_lost() -> None:
    said = [word for name, word in vars(reasons).items() if name.isupper()]
    assert sorted(said) == API.split()


def literals(tree: ast.AST) -> Iterator[ast.Constant]:
    """Reasons that are written out where they are given, alone or as one of two."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        place, word = TAKES.get(name, (None, None))
        given = [k.value for k in call.keywords if word is not None and k.arg == word]
        if place is not None:
            given += call.args[place : place + 1]
        for value in given:
            parts = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            yield from (p for p in parts if isinstance(p, ast.Constant))


def test_nobody_writes_one_elsewhere(root: Path) -> None:
    package = root / "controller" / "dask_gitops"
    found = [
        f"{path.relative_to(root)}:{said.lineno} {said.value}"
        for path in [
            *(p for room in ROOMS for p in (package / room).rglob("*.py")),
            package / "status.py",
        ]
        for said in literals(ast.parse(path.read_text()))
    ]
    assert found == []
    assert [
        p.value
        for p in literals(ast.parse("stalled('A' if x else B, m); Condition(K, True, 'C', m)"))
    ] == ["A", "C"]
