"""What becomes of clusters at the end of a process."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from dask_gitops.client import lifetime


class Ends:
    """Notes what it was told, and does what it should not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.deadlines: list[float] = []
        self._error = error

    def _at_exit(self, deadline: float) -> None:
        self.deadlines.append(deadline)
        if self._error is not None:
            raise self._error

    def _forked(self) -> None:
        pass


@pytest.fixture
def several() -> Iterator[list[Ends]]:
    found = [Ends(), Ends(RuntimeError("no threads")), Ends(socket.gaierror("no")), Ends()]
    for one in found:
        lifetime.watch_over(one)
    yield found
    for one in found:
        lifetime.let_go(one)


def test_what_goes_wrong_with_one_is_nothing_to_the_others(several: list[Ends]) -> None:
    lifetime._at_exit()
    assert [len(one.deadlines) for one in several] == [1, 1, 1, 1]


def test_all_share_the_time(several: list[Ends]) -> None:
    lifetime._at_exit()
    assert len({deadline for one in several for deadline in one.deadlines}) == 1
