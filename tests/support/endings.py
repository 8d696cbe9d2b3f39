"""What went wrong when something of a whole tier ended: kept for the process that sets the exit status.

A teardown of a package is no test's. Raised there it would be called the failure of whichever test came last.

    with endings.noted("the controller stops"):
        process.stop()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Endings:
    """
    :ivar problems: what went wrong, in words.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """A failure inside fails the run, and what comes after it is ended all the same."""
        try:
            yield
        except (Exception, pytest.fail.Exception, pytest.exit.Exception) as error:
            self.problems.append(f"{what}: {error or repr(error)}")


endings = Endings()
