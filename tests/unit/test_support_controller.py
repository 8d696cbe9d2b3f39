"""The controller's process as tests start it: only a lost Lease is a reason to start it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.controller_process import LEASE_LOST, ControllerEnded, ControllerProcess


class Ended(ControllerProcess):
    """One whose lives say a line each, and end."""

    def live(self, words: str) -> None:
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("a") as file:
            file.write(f"{words}\n")
        self.process = subprocess.Popen([sys.executable, "-c", "pass"])
        self.process.wait()

    def start(self, *, wait: bool = True) -> None:
        self.live("this process is the leader")


@pytest.fixture
def one(tmp_path: Path) -> Ended:
    return Ended("nowhere", tmp_path / "log")


def test_after_a_lost_lease_it_is_started_again(one: Ended) -> None:
    one.live(f"WARNING {LEASE_LOST}")
    one.restart_if_ended()
    assert one.text() == "this process is the leader\n"


def test_the_lease_that_a_life_before_lost_is_no_excuse(one: Ended) -> None:
    one.live(f"WARNING {LEASE_LOST}")
    one.restart_if_ended()
    with pytest.raises(ControllerEnded, match="not for its Lease:\nthis process is the leader"):
        one.restart_if_ended()


def test_one_that_has_ended_does_not_lead(one: Ended) -> None:
    one.start()
    with pytest.raises(ControllerEnded, match="the controller ended"):
        assert one.leads


def test_one_that_nobody_started_has_not_ended(one: Ended) -> None:
    one.restart_if_ended()
    assert not one.has_ended
