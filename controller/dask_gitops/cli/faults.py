"""How a fault of our own is told."""

from __future__ import annotations

import traceback
from pathlib import Path

from dask_gitops.text import printable


def fault(error: BaseException) -> str:
    """What was raised and where, in one line, for who looks for the fault."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = printable(" ".join(str(error).split()), 200)
    return f"{type(error).__name__}{where}{f': {said}' if said else ''}"
