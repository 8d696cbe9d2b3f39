"""What all tiers share: the tools on PATH, lanes, and an end that tells the truth.

A tier is a folder of tests/. With ``-n 3`` lanes (tests/support/lanes.py) run side by side in processes of their own, as
most tests of the larger tiers wait. Red is: a failed test, a test that was skipped, a tier that did not end well or
whose statuses were not true, and more than one second try (tests/support/second_try.py). The end tells where the time
went; build/test-run.json holds the same for programs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support import second_try
from tests.support.accounts import accounts
from tests.support.endings import endings
from tests.support.kubernetes import Kubectl
from tests.support.lanes import REAL, account, lane, place, tier
from tests.support.result import TOLD_LINES, Result
from tests.support.witness import Witness

ROOT = Path(__file__).parent.parent
_result = Result()


def pytest_configure(config: pytest.Config) -> None:
    """kubectl, helm and helm3 of the project's own cache come first on PATH."""
    accounts.count_waits()
    if hasattr(config, "workerinput"):
        return  # PATH comes from the process that started this one
    config.pluginmanager.register(Tells(config))
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
    """Long lanes begin first, the others are fillers; what takes a lane's ground away ends it."""
    second_try.mark(items)

    def order(item: pytest.Item) -> tuple[int, bool]:
        return place(lane(item.nodeid)), item.get_closest_marker("ends_the_lane") is not None

    items.sort(key=order)


class Lanes(LoadScopeScheduling):
    """One process runs a lane from end to end; the lanes begin in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    return Lanes(config, log)


# ---- in the process that runs a test


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What the test, its fixtures and the end of its lane spend is its lane's."""
    name = account(lane(item.nodeid))
    with accounts.during(name, programs=tier(item.nodeid) in REAL):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A status that was not true, in the test's own namespace, is the test's failure (the mark `expects_failed` allows Failed)."""
    fixtures = getattr(item, "funcargs", {})
    witness, kubectl = fixtures.get("witness"), fixtures.get("kubectl")
    if not (isinstance(witness, Witness) and isinstance(kubectl, Kubectl)):
        return (yield)
    mark = item.get_closest_marker("expects_failed")
    if mark is not None:
        witness.allow(mark.args[0], kubectl.namespace)
    try:
        yield
    except BaseException:
        found = witness.end_of_test(kubectl.namespace, item.nodeid)
        item.add_report_section("call", "the witness", found or "no status was untrue")
        raise
    found = witness.end_of_test(kubectl.namespace, item.nodeid)
    if found:
        pytest.fail(found, pytrace=False)


# ---- in the process that tells the end


class Tells:
    """A failure is told when it happens, not only at the end of a long run."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _result.add(report)
        terminal = self._plugins.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            end = "\n    ".join(report.longreprtext.strip().splitlines()[-TOLD_LINES:])
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid} ({report.when})\n    {end}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _result.add_process(getattr(node, "workeroutput", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Set the exit status."""
    told = {"endings": endings.problems, "lanes": {n: vars(s) for n, s in accounts.lanes.items()}}
    if hasattr(session.config, "workerinput"):  # the process that started this one counts
        session.config.workeroutput.update(told)  # type: ignore[attr-defined]
        return
    _result.add_process(told)
    if exitstatus == pytest.ExitCode.OK and _result.faults:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        default = ROOT / "build" / "test-run.json"
        _result.write(Path(os.environ.get("DASK_GITOPS_TEST_RUN") or default))
        for line in _result.lines():
            print(line)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT
