"""What `pip install dask-gitops` leaves out, and how it is told that it is missing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

#: Exit code of a command that cannot run here.
UNUSABLE = 2


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports: a package that an extra would bring ends the process with one line, not a traceback.

    :param extra: its name in pyproject.toml.
    :raises SystemExit: `UNUSABLE`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "dask_gitops"):  # a fault of ours: installing something mends nothing
            raise
        print(
            f"error: {missing} is not installed; pip install 'dask-gitops[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(UNUSABLE)
